"""Checks of arguments, shared by the theory modules."""

import math
import operator
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
Estimator: TypeAlias = Literal["mle", "unbiased"]


def check_count(name: str, value: int, minimum: int = 1) -> int:
    """Returns `value` as an int.

    Raises:
        ValueError: if it is not an integer or is below `minimum`.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or count < minimum:
        raise ValueError(f"{name}={value!r}: must be an integer >= {minimum}.")
    return count


def check_choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Returns `value`.

    Raises:
        ValueError: if it is not one of `allowed`.
    """
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(map(repr, allowed))}.")
    return value


def check_estimator(estimator: str) -> bool:
    """Returns whether the covariance estimator is the unbiased one.

    Raises:
        ValueError: if `estimator` is neither "mle" nor "unbiased".
    """
    return check_choice("estimator", estimator, ("mle", "unbiased")) == "unbiased"


def check_number(
    name: str,
    value: float,
    minimum: float = 0.0,
    maximum: float = math.inf,
    *,
    strict: bool = False,
) -> float:
    """Returns `value` as a float.

    Raises:
        ValueError: if it is not finite or lies outside `[minimum, maximum]` (outside the open
            interval where `strict`).
    """
    number = float(value)
    inside = minimum < number < maximum if strict else minimum <= number <= maximum
    if not (math.isfinite(number) and inside):
        left, right = ("(", ")") if strict else ("[", "]")
        raise ValueError(
            f"{name}={value!r}: must be a finite number in {left}{minimum}, {maximum}{right}."
        )
    return number


def check_sizes(name: str, sizes: npt.ArrayLike, length: int, minimum: int = 1) -> FloatArray:
    """Returns sample sizes as a float array `[length]`; one number stands for all of them.

    Raises:
        ValueError: if the shape is neither `[]` nor `[length]`, or a size is not an integer
            >= `minimum`.
    """
    array = np.asarray(sizes, dtype=np.float64)
    if array.shape not in ((), (length,)):
        raise ValueError(f"{name} has shape {array.shape}: must be () or ({length},).")
    if not np.all(np.isfinite(array) & (array >= minimum) & (array == np.round(array))):
        raise ValueError(f"{name}={sizes!r}: must hold integers >= {minimum}.")
    return np.broadcast_to(array, (length,)).copy()


def check_probabilities(probabilities: npt.ArrayLike) -> FloatArray:
    """Returns probabilities as a float64 array `[outcome]` that sums to one exactly.

    Raises:
        ValueError: if they are not a vector, or negative, or their sum is off by more than 1e-4
            (single-precision input is accepted and normalised).
    """
    array = np.asarray(probabilities, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"probabilities has shape {array.shape}: must be a non-empty vector.")
    total = float(array.sum())
    if not (np.all(array >= 0) and abs(total - 1) <= 1e-4):
        raise ValueError(
            f"probabilities has minimum {array.min()} and sum {total}: must be >= 0 and sum to 1."
        )
    return array / total


def population_counts(probabilities: FloatArray, population: int) -> npt.NDArray[np.int64]:
    """Returns how many of `population` rows show each outcome.

    Raises:
        ValueError: if the probabilities are not frequencies among that many rows (up to the
            rounding of single precision).
    """
    exact = probabilities * population
    rows = np.round(exact)
    if np.any(np.abs(rows - exact) > max(1e-2, 1e-6 * population)):
        raise ValueError(f"probabilities: must be frequencies among population={population} rows.")
    return rows.astype(np.int64)


def generations(n_generations: int) -> FloatArray:
    """Returns the generations 1..T as floats, `[generation]`.

    Raises:
        ValueError: if `n_generations` is not a positive integer.
    """
    return np.arange(1, check_count("n_generations", n_generations) + 1, dtype=np.float64)
