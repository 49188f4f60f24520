"""Workflows as plain dictionaries, and back."""

import dataclasses
from typing import Any, TypeGuard

from collapse_jax.basics.paths import import_path, imported
from collapse_jax.loop.curation.detector import Detector
from collapse_jax.loop.curation.words import operator_kinds
from collapse_jax.loop.ecosystems.description import Ecosystem, Loop
from collapse_jax.loop.presets import PRESETS, name_of
from collapse_jax.loop.schedules import Numbered
from collapse_jax.loop.sources import KINDS
from collapse_jax.loop.workflow import Fit, Real, Synthetic, Workflow
from collapse_jax.records.values import (
    read_schedule,
    read_value,
    unknown,
    write_schedule,
    write_value,
)

LOOPS = (*PRESETS, "Workflow", "Ecosystem")
"""What the types of loops are called."""
_STREAMS: dict[str, type] = {"real": Real, "synthetic": Synthetic, "fit": Fit}


def describe_workflow(workflow: Loop, n_generations: int | None) -> dict[str, Any]:
    """See `config.describe`; fields that are at their default are left out."""
    if isinstance(workflow, Ecosystem):
        return {
            "type": "Ecosystem",
            "workflow": describe_workflow(workflow.workflow, n_generations),
            "mixing": [list(shares) for shares in workflow.mixing],
            "truth_share": list(workflow.truth_share),
            "shared_real": workflow.shared_real,
        }
    name = name_of(workflow)
    if name is not None:
        return {"type": name}
    parts = {
        part: written
        for part, cls in _STREAMS.items()
        if (written := _changed(part, getattr(workflow, part), cls, n_generations))
    }
    return {"type": "Workflow", **parts}


def _changed(where: str, part: Any, cls: type, n_generations: int | None) -> dict[str, Any]:
    """The fields of a stream, or of a part of it, that are not at their default."""
    written: dict[str, Any] = {}
    usual = cls() if cls in _STREAMS.values() else None
    for field in dataclasses.fields(cls):
        value = getattr(part, field.name)
        if value == getattr(usual, field.name, field.default):
            continue
        name = f"{where}.{field.name}"
        if isinstance(value, Numbered):
            written[field.name] = _write_part(name, value, n_generations)
        elif isinstance(value, tuple) and all(isinstance(inner, Numbered) for inner in value):
            written[field.name] = [
                _write_part(f"{name}[{i}]", inner, n_generations) for i, inner in enumerate(value)
            ]
        elif isinstance(part, Numbered) and field.name not in part.numbers:
            written[field.name] = write_value(name, value)
        else:
            written[field.name] = write_schedule(name, value, n_generations)
    return written


def _write_part(name: str, part: Any, n_generations: int | None) -> dict[str, Any]:
    """A source, or an operator, by its name or the place where it can be imported again."""
    cls = type(part)
    fields = _changed(name, part, cls, n_generations)
    if _parts().get(cls.__name__) is cls:
        return {"type": cls.__name__, **fields}
    path = import_path(cls)
    if path is None:
        reason = f"{name} is of {cls.__qualname__}, a class that cannot be imported again"
        return {"type": cls.__qualname__, "class": unknown(reason), **fields}
    return {"type": path, **fields}


def _parts() -> dict[str, type]:
    return {cls.__name__: cls for cls in (*KINDS, *operator_kinds().values(), Detector)}


def rebuild_workflow(written: dict[str, Any]) -> Loop:
    """The workflow that `describe_workflow` described."""
    if written["type"] == "Ecosystem":
        several = {name: value for name, value in written.items() if name != "type"}
        return Ecosystem(**{**several, "workflow": rebuild_workflow(several["workflow"])})
    if written["type"] in PRESETS:
        return PRESETS[written["type"]]()
    parts = {part: fields for part, fields in written.items() if part != "type"}
    return Workflow(**{part: _STREAMS[part](**_fields(parts[part])) for part in parts})


def _fields(written: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a stream."""
    return {name: _read(value) for name, value in written.items()}


def _read(value: Any) -> Any:
    """A source, operators or a schedule."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return tuple(map(_read, value))
    if not _is_part(value):
        return read_schedule(value)
    name = value["type"]
    if "class" in value:
        read_value(value["class"])  # which says why not
    cls: Any = _parts()[name] if name in _parts() else imported(name, Numbered)
    given = {key: inner for key, inner in value.items() if key != "type"}
    return cls(
        **{
            key: _read(inner) if key in cls.numbers or _is_part(inner) else read_value(inner)
            for key, inner in given.items()
        }
    )


def _is_part(written: Any) -> TypeGuard[dict[str, Any]]:
    """Whether this is what `_write_part` makes."""
    return isinstance(written, dict) and "type" in written
