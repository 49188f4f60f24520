"""The settings of a workflow by dotted names, such as `synthetic.of.last`, and how to change them.

Sweeps, descriptions of sweeps and the command line speak of a workflow's settings in this way; the
names are those of the fields of the classes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from collapse_jax.basics import checks
from collapse_jax.loop.presets import PRESETS, Replace
from collapse_jax.loop.sources import KINDS
from collapse_jax.loop.workflow import Fit, Real, Synthetic, Workflow

PARTS: dict[str, type] = {"real": Real, "synthetic": Synthetic, "fit": Fit}
SOURCES: dict[str, type] = {kind.__name__.lower(): kind for kind in KINDS}
"""The kinds of `synthetic.of` by the name that stands for them."""
_OF = "synthetic.of"

NAMES: tuple[str, ...] = (
    *(f"{part}.{field.name}" for part, cls in PARTS.items() for field in dataclasses.fields(cls)),
    *(f"{_OF}.{field.name}" for cls in SOURCES.values() for field in dataclasses.fields(cls)),
)
"""All settings there are."""


def changed(workflow: Workflow, settings: Mapping[str, Any]) -> Workflow:
    """A workflow with other values of some settings.

    Args:
        workflow: the workflow to start from.
        settings: values by dotted name. `synthetic.of` may be the name of a kind, such as
            `"past"`, and operators of `synthetic.curation` may be words.

    Raises:
        ValueError: for unknown names, values outside their range, and settings of another kind of
            `synthetic.of` than there is.

    Example:
        >>> changed(Replace(), {"real.every": True, "synthetic.of.last": 3, "synthetic.of": "past"})
        ... # doctest: +ELLIPSIS
        Workflow(real=Real(n=None, every=True, keep=1), ...of=Past(last=3, equally=False)...
    """
    for name in settings:
        checks.one_of("setting of a workflow", name, NAMES)
    parts = {}
    for part, cls in PARTS.items():
        old = getattr(workflow, part)
        fields = {field.name: getattr(old, field.name) for field in dataclasses.fields(cls)}
        fields |= {
            name.partition(".")[2]: value
            for name, value in settings.items()
            if name.startswith(f"{part}.") and not name.startswith(_OF)
        }
        if part == "synthetic":
            fields["of"] = _source(fields["of"], settings)
        same = all(value is getattr(old, name) for name, value in fields.items())
        parts[part] = old if same else cls(**fields)
    return Workflow(**parts)


def composed(preset: str | None, settings: Mapping[str, Any]) -> Workflow:
    """A preset, by the name that it has in Python or on the command line, with changes.

    Example:
        >>> composed("accumulate-subsample", {"fit.n": None}) == PRESETS["Accumulate"]()
        True
    """
    names = {command_name(name): name for name in PRESETS}
    if preset is None:
        start = Replace()
    elif preset in PRESETS:
        start = PRESETS[preset]()
    else:
        start = PRESETS[names[checks.one_of("workflow", preset, names)]]()
    return changed(start, settings)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings, as a file has them, by dotted names.

    Of a kind of source with settings of its own, `name` is the kind.

    Example:
        >>> flat({"real": {"every": True}, "synthetic": {"of": {"name": "past", "last": 3}}})
        {'real.every': True, 'synthetic.of': 'past', 'synthetic.of.last': 3}
    """
    found = {}
    for name, value in settings.items():
        path = prefix if f"{prefix}.{name}" == f"{_OF}.name" else f"{prefix}.{name}".lstrip(".")
        found.update(flat(value, path) if isinstance(value, Mapping) else {path: value})
    return found


def command_name(name: str) -> str:
    """`AccumulateSubsample` as the command line writes it.

    Example:
        >>> command_name("AccumulateSubsample")
        'accumulate-subsample'
    """
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def _source(old: Any, settings: Mapping[str, Any]) -> Any:
    """What `synthetic.of` becomes."""
    given = settings.get(_OF, old)
    if isinstance(given, str):
        cls = SOURCES[checks.one_of(_OF, given, SOURCES)]
        given = old if isinstance(old, cls) else None
    elif type(given) in SOURCES.values():
        cls = type(given)
    else:
        return given  # refused by Synthetic
    known = [field.name for field in dataclasses.fields(cls)]
    changes = {}
    for name, value in settings.items():
        if name.startswith(f"{_OF}."):
            field = name.removeprefix(f"{_OF}.")
            if field not in known:
                kinds = [kind for kind, c in SOURCES.items() if field in c.__dataclass_fields__]
                raise ValueError(
                    f"{name} can only be given with {_OF} {kinds[0]}, got {cls.__name__}()"
                )
            changes[field] = value
    if given is not None:
        changes = {name: getattr(given, name) for name in known} | changes
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING and field.name not in changes:
            raise ValueError(f"{_OF}.{field.name} must be given with {_OF} {cls.__name__.lower()}")
    return cls(**changes)
