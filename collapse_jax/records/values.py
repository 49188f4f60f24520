"""Values of arguments as JSON can hold them: exactly, or with the reason why not."""

from pathlib import Path, PurePath
from typing import Any

import jax
import numpy as np

from collapse_jax.basics.fingerprints import digest
from collapse_jax.basics.paths import import_path, imported
from collapse_jax.loop.schedules import values_of

_LARGE = 10_000  # entries of an array from which on only its fingerprint is written down
_FIRST = 32  # values of a function by which it is recognised
_SCALARS = (bool, int, float, str, type(None))


def unknown(reason: str) -> dict[str, Any]:
    """What stands for a value that cannot be written down."""
    return {"unknown": reason}


def reason_of(written: Any) -> str | None:
    """Why something in what was written down is not known; None where everything is."""
    if isinstance(written, dict):
        if set(written) == {"unknown"} and isinstance(written["unknown"], str):
            return written["unknown"]
        written = list(written.values())
    if isinstance(written, list):
        return next((reason for part in written if (reason := reason_of(part))), None)
    return None


def write_value(name: str, value: Any) -> Any:
    """A value that `read_value` makes again.

    Args:
        name: of whom it is, for the reason why it cannot be written down.
        value: numbers, names, arrays, functions and classes that can be imported, and lists, tuples
            and dictionaries of such.

    Example:
        >>> write_value("Tilted.tilt", (1, 2.5))
        {'tuple': [1, 2.5]}
    """
    if isinstance(value, np.generic) or (isinstance(value, jax.Array) and not value.ndim):
        value = value.item()
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, PurePath):
        return {"path": str(value)}
    if isinstance(value, np.ndarray | jax.Array):
        return _write_array(name, np.asarray(value))
    if type(value) in (list, tuple):
        parts = [write_value(name, part) for part in value]
        return parts if isinstance(value, list) else {"tuple": parts}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: write_value(name, part) for key, part in value.items()}}
    if callable(value) and (path := import_path(value)) is not None:
        return {"import": path}
    return unknown(f"{name} is {_shown(value)}, which cannot be written down")


def read_value(written: Any) -> Any:
    """What `write_value` wrote down.

    Raises:
        ValueError: if it is not known, or was too large to be written down.
    """
    if isinstance(written, list):
        return [read_value(part) for part in written]
    if not isinstance(written, dict):
        return written
    if (reason := reason_of(written)) is not None:
        raise ValueError(f"the run cannot be made again: {reason}")
    kind, value = next(iter(written.items()))
    if kind == "array":
        return np.asarray(value, written["dtype"]).reshape(written["shape"])
    if kind == "large":
        raise ValueError("the run cannot be made again: it used a large array, which is not kept")
    if kind == "import":
        return imported(value)
    if kind == "path":
        return Path(value)
    read = {key: read_value(part) for key, part in value.items()} if kind == "dict" else value
    return tuple(read_value(part) for part in value) if kind == "tuple" else read


def _write_array(name: str, array: np.ndarray) -> dict[str, Any]:
    if array.dtype.kind not in "biufU":
        return unknown(f"{name} is an array of {array.dtype}, which cannot be written down")
    about = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size > _LARGE:
        return {"large": digest(array), **about}
    return {"array": array.tolist(), **about}


def write_schedule(name: str, schedule: Any, n_generations: int | None) -> Any:
    """A schedule that `read_schedule` makes again.

    Args:
        name: name of the setting.
        schedule: a number, a sequence or a function.
        n_generations: where it is to serve so many generations only, a function that cannot be
            imported is written down by its values; None where it must serve any number.
    """
    if not callable(schedule):
        if isinstance(schedule, str | None):
            return schedule
        return np.asarray(schedule).tolist()
    path = import_path(schedule)
    if path is not None:
        return {"function": path, "first_values": _first_values(schedule)}
    if n_generations is not None:
        return values_of(name, schedule, n_generations).tolist()
    return unknown(
        f"{name} is {_shown(schedule)}, which cannot be imported again; write the function in a "
        "module, or give its values as a list"
    )


def read_schedule(written: Any) -> Any:
    """What `write_schedule` wrote down.

    Raises:
        ValueError: if it is not known, or if the function is not imported or has become another.
    """
    if not isinstance(written, dict):
        return written
    if (reason := reason_of(written)) is not None:
        raise ValueError(f"the run cannot be made again: {reason}")
    function = imported(written["function"])
    if _first_values(function) != written["first_values"]:
        raise ValueError(
            f"{written['function']} must be the function of the run, and its values differ"
        )
    return function


def _first_values(function: Any) -> list[float]:
    """By these an edited function is told from what it was; it may know a few generations only."""
    values: list[float] = []
    for t in range(1, _FIRST + 1):
        try:
            values.append(float(function(t)))
        except Exception:  # whatever the user's function raises beyond its last generation
            break
    return values


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
