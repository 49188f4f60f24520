"""Workflows as plain dictionaries, and back."""

import dataclasses
from typing import Any

from collapse_jax.loop.presets import PRESETS, name_of
from collapse_jax.loop.workflow import Fit, Latest, Mixed, Past, Real, Synthetic, Workflow
from collapse_jax.records.values import read_schedule, write_schedule

_STREAMS: dict[str, type] = {"real": Real, "synthetic": Synthetic, "fit": Fit}
_SOURCES: dict[str, type] = {cls.__name__: cls for cls in (Latest, Past, Mixed)}


def describe_workflow(workflow: Workflow, n_generations: int | None) -> dict[str, Any]:
    """See `config.describe`; fields that are at their default are left out."""
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
    """The fields of a stream or a source that are not at their default."""
    written: dict[str, Any] = {}
    usual = cls() if cls is not Mixed else None
    for field in dataclasses.fields(cls):
        value = getattr(part, field.name)
        if value == getattr(usual, field.name, None):
            continue
        name = f"{where}.{field.name}"
        source = next((kind for kind in _SOURCES.values() if isinstance(value, kind)), None)
        if source is None:
            written[field.name] = write_schedule(name, value, n_generations)
        else:
            fields = _changed(name, value, source, n_generations)
            written[field.name] = {"type": source.__name__, **fields}
    return written


def rebuild_workflow(written: dict[str, Any]) -> Workflow:
    """The workflow that `describe_workflow` described."""
    if written["type"] in PRESETS:
        return PRESETS[written["type"]]()
    parts = {part: fields for part, fields in written.items() if part != "type"}
    return Workflow(**{part: _STREAMS[part](**_fields(parts[part])) for part in parts})


def _fields(written: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a stream or a source."""
    fields = {}
    for name, value in written.items():
        if isinstance(value, dict) and "type" in value:
            arguments = {key: inner for key, inner in value.items() if key != "type"}
            fields[name] = _SOURCES[value["type"]](**_fields(arguments))
        else:
            fields[name] = read_schedule(value)
    return fields
