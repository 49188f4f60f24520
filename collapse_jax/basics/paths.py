"""Functions and classes: where they can be imported again, and what they are made of."""

import inspect
import sys
from typing import Any


def import_path(thing: Any) -> str | None:
    """`"module:name"` of a function or class; None where that would not find it again.

    Nothing is found again that is nameless, local to a function, or of the program that runs.

    Example:
        >>> import math
        >>> import_path(math.sqrt), import_path(lambda t: t)
        ('math:sqrt', None)
    """
    module = getattr(thing, "__module__", None)
    name = getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    return f"{module}:{name}" if _find(module, name) is thing else None


def imported(path: str, kind: type = object) -> Any:
    """The function or class that a file names by its path, in a module that is imported already.

    Nothing is imported here, and nothing of Python's own library is found but `math`, so that a
    file which somebody else wrote cannot run code: `os:system` is imported in every process.

    Args:
        path: what `import_path` says of it.
        kind: the class that it must be derived from, where it must be a class.

    Raises:
        ValueError: if the module is not imported, or has no such thing, or one of another kind.
    """
    found = found_at(path)
    module = path.partition(":")[0].partition(".")[0]
    if import_path(found) != path or module in sys.stdlib_module_names - {"math"}:
        raise ValueError(f"{path} must be a function or class of yours, at its own place")
    if kind is not object and not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(f"{path} must be a class that is derived from {kind.__name__}")
    return found


def found_at(path: str) -> Any:
    """What is found under a path that the user wrote, whatever it is. Raises as `imported` does."""
    module, _, name = path.partition(":")
    if module not in sys.modules:
        raise ValueError(
            f"{path} must be imported first: write `import {module}`, and try again; commands "
            "import what --task and --features name"
        )
    found = _find(module, name)
    if found is None:
        raise ValueError(f"{path} must still be there, and {module} has no {name}")
    return found


def _find(module: str, name: str) -> Any:
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def parameters(cls: type) -> list[str]:
    """Names of the arguments, those included that are handed on to the class above."""
    names: list[str] = []
    for index, base in enumerate(cls.__mro__):
        if index and "__init__" not in vars(base):
            continue
        passed_on = False
        for parameter in inspect.signature(base).parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                passed_on = True
            elif parameter.name not in names:
                names.append(parameter.name)
        if not passed_on:
            break
    return names
