"""Checks of arguments: every message names the argument, the value and what is allowed."""

import datetime
import difflib
import math
import operator
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

_LOSSY = (
    ("complex numbers", "c", (complex, np.complexfloating)),
    (
        "dates or times",
        "mM",
        (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64),
    ),
)
"""What a cast to numbers or text would lose: in words, as kinds of arrays, and as types."""


def is_traced(value: Any) -> bool:
    """Whether a value is known only inside a transformed function, and cannot be checked."""
    jax = sys.modules.get("jax")  # whoever traces has loaded it
    return jax is not None and isinstance(value, jax.core.Tracer)


def whole_number(name: str, value: Any, minimum: int = 1, maximum: int = 2**31 - 1) -> Any:
    """`value` as an int in the given range; a traced value passes as it is."""
    if is_traced(value):
        return value
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if not minimum <= number <= maximum:
        raise ValueError(f"{name} must be between {minimum} and {maximum}, got {number}")
    return number


def positive_number(name: str, value: Any, zero_allowed: bool = False) -> Any:
    """`value` as a finite positive float; a traced value passes as it is."""
    if is_traced(value):
        return value
    kind = "number of zero or more" if zero_allowed else "positive number"
    try:
        if isinstance(value, (bool, np.bool_, str)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a finite {kind}, got {value!r}") from None
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero_allowed):
        raise ValueError(f"{name} must be a finite {kind}, got {number}")
    return number


def one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    """`value`, which must be one of the allowed names; the error suggests the nearest."""
    allowed = list(allowed)
    if value in allowed:
        return value
    close = difflib.get_close_matches(str(value).lower(), allowed, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{hint}")


def finite_array(name: str, value: Any, ndim: int | tuple[int, ...]) -> np.ndarray:
    """`value` as a float64 array of a permitted rank, with all entries there and finite."""
    ndims = (ndim,) if isinstance(ndim, int) else ndim
    refuse_lossy(name, value)
    _refuse_objects(f"{name} must be an array of numbers", _array_of(value), (str, bytes))
    try:
        array = _as_numbers(np.asarray(value))
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be an array of numbers, got {_short(value)}") from None
    if array.ndim not in ndims:
        ranks = " or ".join(f"{n}" for n in ndims)
        raise ValueError(f"{name} must have {ranks} dimensions, got shape {array.shape}")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise ValueError(
            f"{name} must be finite, got {array[tuple(bad[0])]}{_place(bad[0])}"
            + (f" ({len(bad)} such entries)" if len(bad) > 1 else "")
        )
    return array


def refuse_lossy(name: str, value: Any) -> None:
    """Refuse masked entries, complex numbers and dates, which a cast would lose without a word."""
    array = _array_of(value)
    if np.ma.is_masked(array):
        masked = np.argwhere(np.ma.getmaskarray(array))
        raise ValueError(
            f"{name} must have no masked entries, got {len(masked)}, the first{_place(masked[0])}; "
            "leave such rows out"
        )
    for kind, codes, types in _LOSSY:
        if array.dtype.kind in codes:
            raise TypeError(f"{name} must not be {kind}, got an array of {array.dtype}")
        _refuse_objects(f"{name} must not be {kind}", array, types)


def _array_of(value: Any) -> np.ndarray:
    """A value as an array, with masks that are within a list; empty where it can be none."""
    try:
        if isinstance(value, (list, tuple)) and any(map(np.ma.isMaskedArray, value)):
            return np.ma.asarray(value)
        return np.asanyarray(value)
    except (TypeError, ValueError):
        return np.empty(0)


def _refuse_objects(message: str, array: np.ndarray, types: tuple[type, ...]) -> None:
    """Refuse an array of objects that has one of these types; NaT is but missing."""
    if array.dtype.kind == "O":
        for index, entry in np.ndenumerate(array):
            if isinstance(entry, types) and str(entry) != "NaT":
                raise TypeError(f"{message}, got {_short(entry)}{_place(index)}")


def refuse_look_alikes(name: str, kind: str, data: Any) -> None:
    """Refuse a number beside text that is written like it, in labels or tokens."""
    seen: dict[str, Any] = {}
    for entry in np.asarray(data, object).ravel().tolist():
        other = seen.setdefault(str(entry), entry)
        if isinstance(other, str) != isinstance(entry, str):
            raise ValueError(
                f"{name} must have {kind} of one type where they are written alike, got "
                f"{other!r} and {entry!r}"
            )


def missing_entries(value: Any) -> np.ndarray:
    """Where an array or a sequence holds None, NaN, or pandas' NA or NaT."""
    import pandas as pd  # slow to import

    return np.asarray(pd.isna(value if hasattr(value, "dtype") else np.asarray(value, object)))


def _as_numbers(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "USV":
        raise TypeError("text")
    if array.dtype.kind == "O":
        array = np.where(missing_entries(array), np.nan, array)
    return array.astype(np.float64)


def _place(index: Iterable[Any]) -> str:
    named = zip(("row", "column"), index, strict=False)
    where = ", ".join(f"{axis} {int(i)}" for axis, i in named)
    return f" at {where}" if where else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
