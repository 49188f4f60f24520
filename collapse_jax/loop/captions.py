"""Workflows in a few words: a preset's name, or what differs from `Replace()`."""

import dataclasses
import itertools
from typing import Any

from collapse_jax.basics.paths import import_path
from collapse_jax.loop.ecosystems.description import Ecosystem, Loop
from collapse_jax.loop.presets import name_of
from collapse_jax.loop.schedules import Numbered
from collapse_jax.loop.workflow import Workflow


def caption(workflow: Loop) -> str:
    """What people read of a loop, in figures, tables and datasets.

    Example:
        >>> from collapse_jax.loop.workflow import Past, Real, Synthetic
        >>> caption(Workflow(Real(keep=None), Synthetic(keep=None)))
        'Accumulate'
        >>> caption(Workflow(Real(every=True), Synthetic(n=400, of=Past(last=3))))
        'real.every, synthetic.n=400, synthetic.of=Past(last=3)'
        >>> caption(Workflow(synthetic=Synthetic(curation="nearest:0.5")))
        'synthetic.curation=Nearest(keep=0.5)'
        >>> caption(Ecosystem(Workflow(), mixing=[[0.5, 0.5], [0.5, 0.5]], shared_real=True))
        'Ecosystem(2 x Replace, shared_real)'
    """
    if isinstance(workflow, Ecosystem):
        n, shared = workflow.n_models, ", shared_real" * workflow.shared_real
        truth = f", truth_share={_text(workflow.truth_share)}" * any(workflow.truth_share)
        return f"Ecosystem({n} x {caption(workflow.workflow)}{truth}{shared})"
    name = name_of(workflow)
    if name is not None:
        return name
    usual = Workflow()
    parts = [
        _setting(f"{part}.{field}", value)
        for part in ("real", "synthetic", "fit")
        for field, value in _changes(getattr(workflow, part), getattr(usual, part))
    ]
    return ", ".join(parts)


def _changes(part: Any, usual: Any) -> list[tuple[str, Any]]:
    """The fields that differ from those of another part, or from their defaults."""
    return [
        (field.name, value)
        for field in dataclasses.fields(part)
        if (value := getattr(part, field.name)) != getattr(usual, field.name, field.default)
    ]


def _setting(name: str, value: Any) -> str:
    return name if value is True else f"{name}={_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, Numbered) and dataclasses.is_dataclass(value):
        inner = ", ".join(_setting(*change) for change in _changes(value, None))
        return f"{type(value).__name__}({inner})"
    if callable(value):
        path = import_path(value)
        return "a function" if path is None else path.partition(":")[2]
    if isinstance(value, tuple) and all(isinstance(part, Numbered) for part in value):
        return " then ".join(map(_text, value))
    if isinstance(value, tuple | list):
        distinct = sorted(set(value))
        if len(distinct) == 1:
            return _text(distinct[0])
        if isinstance(distinct[0], str):
            parts = [(word, len(list(same))) for word, same in itertools.groupby(value)]
            return f"[{', '.join(f'{n} {word}' if n > 1 else word for word, n in parts)}]"
        return f"[{len(value)} numbers]" if len(value) > 3 else f"[{', '.join(map(_text, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
