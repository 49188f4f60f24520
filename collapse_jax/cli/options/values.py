"""What a setting may hold in a file, as JSON Schema, by which it is also checked."""

from typing import Any

from collapse_jax.basics import checks
from collapse_jax.cli.options.settings import REQUIRED, Setting

Schema = dict[str, Any]
_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "null": (type(None),),
    "array": (list, tuple),
    "object": (dict,),
}


def schema_of(setting: Setting) -> Schema:
    """The values of a setting, with what help says of it.

    Example:
        >>> schema_of(Setting("minutes", "how long.", 5, number=int, many=True))
        ... # doctest: +NORMALIZE_WHITESPACE
        {'anyOf': [{'type': 'integer'}, {'type': 'array', 'items': {'type': 'integer'}}],
         'description': 'How long. (default: 5)'}
    """
    return {**_any_of(_kinds(setting)), "description": setting.explained}


def check_value(setting: Setting, value: Any) -> None:
    """Check that a value from a file is of a kind that the setting takes.

    What the value must be beyond that, the function or class says to which it is given.

    Raises:
        TypeError: for a value of another kind.
        ValueError: for a word that is none of the names.
    """
    if fits(_any_of(_kinds(setting)), value):
        return
    if setting.names and isinstance(value, str) and not setting.metavar:
        checks.one_of(setting.name, value, setting.names)
    raise TypeError(f"{setting.name} must be {setting.shown}, got {value!r}")


def fits(schema: Schema, value: Any) -> bool:
    """Whether a value is of a schema, of those that `schema_of` makes."""
    if "anyOf" in schema:
        return any(fits(one, value) for one in schema["anyOf"])
    if "enum" in schema:
        return isinstance(value, str) and value in schema["enum"]
    if isinstance(value, bool) != (schema["type"] == "boolean"):
        return False
    if not isinstance(value, _TYPES[schema["type"]]):
        return False
    return "items" not in schema or all(fits(schema["items"], part) for part in value)


def _kinds(setting: Setting) -> list[Schema]:
    if setting.flag:
        kinds = ["boolean"]
    elif setting.number is not None:
        kinds = ["integer" if setting.number is int else "number"]
    else:
        kinds = []
    others = {kind for kind in setting.metavar.removesuffix(" ...").split("|") if kind[:1] != "{"}
    if (setting.text and not setting.names) or others - {"", "FLOAT", "INT"}:
        kinds.append("string")
    if "NAME" in others and setting.many:  # columns, which may be numbers
        kinds.append("integer")
    one: list[Schema] = [{"type": kind} for kind in kinds]
    names = [*setting.names, *(["all"] if setting.none_is_all else [])]
    one += [{"enum": names}] if names else []
    found = list(one)
    if setting.many:
        found.append({"type": "array", "items": _any_of(one)})
    if setting.many and setting.number is float:
        found.append({"type": "array", "items": found[-1]})
    if setting.optional or setting.default is None:
        found.append({"type": "null"})
    return found


def _any_of(kinds: list[Schema]) -> Schema:
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def object_of(settings: list[Setting], **others: Schema) -> Schema:
    """A mapping of settings, and of other entries, and of nothing else.

    Settings with a dotted name are entries of an entry.
    """
    properties: dict[str, Schema] = {}
    parts: dict[str, list[Setting]] = {}
    for setting in settings:
        first, dot, rest = setting.name.partition(".")
        if dot:
            parts.setdefault(first, []).append(Setting(**{**vars(setting), "name": rest}))
        else:
            properties[first] = schema_of(setting)
    for name, inner in parts.items():
        nested = object_of(inner)
        if name in properties:  # also written as a word; its kind is an entry then
            nested["properties"] = {"name": properties[name], **nested["properties"]}
            nested["required"] = ["name"]
            properties[name] = {"anyOf": [properties[name], nested]}
        else:
            properties[name] = nested
    properties |= others
    required = [s.name for s in settings if s.default is REQUIRED and "." not in s.name]
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


MOST_GENERATIONS = 10**7
"""The plan of more of them takes a minute, and gigabytes."""


def check_generations(n_generations: Any, yes: bool) -> None:
    """Check that a file asks for no more generations than anyone means.

    Args:
        n_generations: how many.
        yes: whether all has been agreed to.

    Raises:
        ValueError: if there are more.

    Example:
        >>> check_generations(2**26, yes=True)
    """
    if not yes and isinstance(n_generations, int) and n_generations > MOST_GENERATIONS:
        raise ValueError(
            f"n_generations must be at most {MOST_GENERATIONS:,} without --yes, got "
            f"{n_generations:,}"
        )
