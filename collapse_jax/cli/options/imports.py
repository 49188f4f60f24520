"""Code that a command line or a file names by its path: imported here, if it may run."""

import importlib
import sys
from typing import Any

from collapse_jax.basics.paths import found_at
from collapse_jax.loop.curation.words import modules_of


def check_trusted(words: str, trust: bool) -> None:
    """Check that code which a file names may run.

    No function of any module may without trust, as one of ours leads to others: `sys.exit` is
    found in every module that imports `sys`.

    Args:
        words: the path of the code, or what holds one.
        trust: whether whoever runs the file trusts it.

    Raises:
        ValueError: where the file is not trusted.

    Example:
        >>> check_trusted("os:system", trust=False)
        Traceback (most recent call last):
        ValueError: os:system would run code that it names; trust must be given for that
    """
    if not trust:
        raise ValueError(f"{words} would run code that it names; trust must be given for that")


def imported_here(argument: str, path: str) -> Any:
    """What is found under `module:name`, where the module may be a file in this folder.

    Args:
        argument: whose value the path is.
        path: such as `my_module:MyTask`.

    Raises:
        ValueError: if there is nothing.

    Example:
        >>> imported_here("features", "math:sqrt")
        <built-in function sqrt>
    """
    module, _, name = path.partition(":")
    if not (all(part.isidentifier() for part in module.split(".")) and name):
        raise ValueError(f"{argument} must be written as MODULE:NAME, got {path!r}")
    import_here(argument, path)
    return found_at(path)


def import_functions(curation: Any, trust: bool) -> None:
    """Import what operators in words take their functions from, if it may run.

    Args:
        curation: one operator or several, also as lists of lists; what is no words is left alone.
        trust: whether whoever runs the file that names them trusts it.

    Raises:
        ValueError: for functions in a file that is not trusted, and for modules that are not there.

    Example:
        >>> import_functions(["nearest:0.5", "best-of:math:sqrt:4"], trust=True)
    """
    if isinstance(curation, list | tuple):
        for part in curation:
            import_functions(part, trust)
    elif isinstance(curation, str):
        for module in modules_of(curation):
            check_trusted(curation, trust)
            import_here("synthetic.curation", module)


def import_here(argument: str, path: str) -> None:
    """Import a module, also from the folder at hand.

    Args:
        argument: whose value names it.
        path: the module, with dots, and perhaps `:name`.

    Raises:
        ValueError: where there is none.
        ImportError: where it needs another that is not there.

    Example:
        >>> import_here("task", "math")
    """
    module = path.partition(":")[0]
    if not module:
        raise ValueError(f"{argument} must name a module, got {path!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ImportError(f"{argument}: {path} needs a module: {error}") from error
        raise ValueError(
            f"{argument} must be of a module that can be imported from here, got {path}: {error}"
        ) from None
