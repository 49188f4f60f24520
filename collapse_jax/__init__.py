"""A laboratory for model collapse: generative models trained on data that models generated."""

import ast
import importlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

__version__ = version("collapse_jax")


def _places() -> dict[str, tuple[str, str]]:
    """Where each public name is: its module, and its name there."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


_PLACES = _places()
__all__ = sorted(_PLACES)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """A public name is imported when it is first asked for, so that the package loads quickly."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    package, own = _PLACES[name]
    found = vars(importlib.import_module(package)).get(own)
    globals()[name] = importlib.import_module(f"{package}.{own}") if found is None else found
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
