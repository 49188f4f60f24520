"""Operators in words, as files and the command line have them: `best-of:module:reward:4`."""

import dataclasses
import inspect
from typing import Any

from collapse_jax.basics import checks
from collapse_jax.basics.paths import found_at
from collapse_jax.loop.curation import operators
from collapse_jax.loop.curation.operators import AbstractOperator, function_fields


def operator_kinds() -> dict[str, Any]:
    """The operators of the package, by their names."""
    return {
        name: cls
        for name, cls in vars(operators).items()
        if inspect.isclass(cls)
        and issubclass(cls, AbstractOperator)
        and not inspect.isabstract(cls)
        and cls.__module__ == operators.__name__
    }


def read_curation(given: Any) -> tuple[AbstractOperator, ...]:
    """A curation as it may be written: operators or words for such, one or several.

    Raises:
        TypeError: for anything else.
        ValueError: for words that say no operator.

    Example:
        >>> read_curation("nearest:0.5")
        (Nearest(keep=0.5),)
    """
    several = given if isinstance(given, tuple | list) else [given]
    made = tuple(read_operator(part) if isinstance(part, str) else part for part in several)
    for part in made:
        if not isinstance(part, AbstractOperator):
            written = " itself; write its arguments" if inspect.isclass(part) else ""
            raise TypeError(
                f"synthetic.curation must be operators such as BestOf(reward, 4), got {part!r}"
                f"{written}"
            )
        if "__dataclass_fields__" not in vars(type(part)):
            raise TypeError(f"{type(part).__name__} must be a frozen dataclass, as operators are")
    return made


def read_operator(words: str) -> AbstractOperator:
    """An operator that is written with its arguments in their order, functions as `module:name`.

    Raises:
        ValueError: for an unknown operator, arguments that it has not, and functions of modules
            that are not imported.

    Example:
        >>> read_operator("verify:0.9:0.1")
        Verify(right=0.9, wrong=0.1)
    """
    name, *rest = words.split(":")
    names = _by_command_name()
    cls = names[checks.one_of("synthetic.curation", name, names)]
    functions, arguments = function_fields(cls), {}
    for field in dataclasses.fields(cls):
        if not rest:
            break
        if field.name not in functions:
            arguments[field.name] = _number(words, rest.pop(0))
            continue
        if len(rest) < 2:
            raise ValueError(
                f"synthetic.curation must have the function {field.name} of {name} as module:name, "
                f"got {words!r}"
            )
        arguments[field.name] = found_at(":".join(rest[:2]))
        rest = rest[2:]
    missing = [
        field.name
        for field in dataclasses.fields(cls)
        if field.name not in arguments and field.default is dataclasses.MISSING
    ]
    if rest or missing:
        form = ":".join([name, *(field.name for field in dataclasses.fields(cls))])
        raise ValueError(f"synthetic.curation must be written as {form}, got {words!r}")
    return cls(**arguments)


def _by_command_name() -> dict[str, Any]:
    return {
        "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-"): cls
        for name, cls in operator_kinds().items()
    }


def _number(words: str, text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    raise ValueError(f"synthetic.curation must have a number for {text!r}, in {words!r}")


def modules_of(words: str) -> list[str]:
    """The modules that an operator in words takes its functions from.

    Example:
        >>> modules_of("best-of:my_rewards:likes:4")
        ['my_rewards']
    """
    name, *rest = words.split(":")
    cls = _by_command_name().get(name)
    if cls is None:
        return []
    found, functions = [], function_fields(cls)
    for field in dataclasses.fields(cls):
        is_function = field.name in functions
        found += rest[:1] if is_function else []
        rest = rest[2 if is_function else 1 :]
    return found
