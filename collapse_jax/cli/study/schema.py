"""The JSON Schema of studies, from the same settings by which they are checked."""

from typing import Any

from collapse_jax.cli.options.settings import REQUIRED, settings_of
from collapse_jax.cli.options.tasks import OWN, TASKS, find_kind
from collapse_jax.cli.options.values import Schema, object_of
from collapse_jax.cli.options.workflows import workflow_settings
from collapse_jax.cli.study.outputs import KINDS
from collapse_jax.cli.study.reading import NAME_PATTERN, NAME_RULE
from collapse_jax.cli.study.runs import entry_settings
from collapse_jax.loop.presets import PRESETS
from collapse_jax.loop.settings import command_name


def study_schema() -> Schema:
    """What may stand in a study."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of collapse_jax",
        "type": "object",
        "properties": {
            "defaults": {"description": "Entries of all runs.", **_run(named=False)},
            "runs": {
                "description": "What is run, each with a name.",
                "type": "array",
                "minItems": 1,
                "items": _run(named=True),
            },
            "outputs": {
                "description": "What is made of the runs, by the ending of its file.",
                "type": "array",
                "items": {"anyOf": [{"type": "string", "pattern": _endings()}, _output()]},
            },
        },
        "required": ["runs"],
        "additionalProperties": False,
        "$defs": {
            "workflow": _workflow(),
            "task": _task(),
            "value": {"type": ["number", "string", "boolean"]},
        },
    }


def _run(named: bool) -> Schema:
    schema = object_of(
        entry_settings(),
        workflow={"$ref": "#/$defs/workflow"},
        workflows={
            "description": "Several workflows, whose chains are one dataset.",
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/$defs/workflow"},
        },
        task={"$ref": "#/$defs/task"},
        over={
            "description": "Lists of values by the name of a setting of the task, or of the "
            "workflow with dots: all combinations are run.",
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": {"$ref": "#/$defs/value"},
            },
        },
    )
    name = schema["properties"].pop("name")
    schema["required"] = ["name"] if named else []
    if named:
        about = f"{name['description']} Of {NAME_RULE}."
        named_so = {"type": "string", "pattern": f"^{NAME_PATTERN}$", "description": about}
        schema["properties"] = {"name": named_so, **schema["properties"]}
    return schema


def _workflow() -> Schema:
    names = [*PRESETS, *map(command_name, PRESETS)]
    whole = object_of(workflow_settings())
    return {
        "description": "Which data each generation is fitted to: a name, or settings.",
        "anyOf": [{"enum": names}, whole],
    }


def _task() -> Schema:
    """The settings of a task, of which its name says which there are."""
    kinds: list[Any] = []
    for name in TASKS:
        kind = find_kind(name, trust=False)
        then = object_of(
            [setting for setting in kind.settings if setting.default is not REQUIRED],
            name={"const": name, "description": kind.description},
        )
        then["properties"] |= object_of(kind.settings)["properties"]
        kinds.append({"if": {"properties": {"name": {"const": name}}}, "then": then})
    return {
        "description": "What is learned: the options of `collapse-jax simulate NAME`.",
        "type": "object",
        "properties": {
            "name": {
                "anyOf": [
                    {"enum": [*TASKS]},
                    {"type": "string", "pattern": ":", "description": f"Your own: {OWN}."},
                ]
            }
        },
        "required": ["name"],
        "allOf": kinds,
    }


def _output() -> Schema:
    """The settings of an output, of which the ending of its file says which there are."""
    kinds: list[Any] = []
    for endings, make in KINDS.items():
        pattern = _pattern(endings)
        then = object_of(settings_of(make))
        then["properties"]["file"]["pattern"] = pattern
        of_kind = {"properties": {"file": {"pattern": pattern}}, "required": ["file"]}
        kinds.append({"if": of_kind, "then": then})
    return {
        "type": "object",
        "properties": {"file": {"type": "string", "pattern": _endings()}},
        "required": ["file"],
        "allOf": kinds,
    }


def _endings() -> str:
    return _pattern([ending for endings in KINDS for ending in endings])


def _pattern(endings: Any) -> str:
    return f"\\.({'|'.join(ending[1:] for ending in endings)})$"
