"""Checks of arguments, shared by the theory modules."""

import math
import operator
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
Number: TypeAlias = float | int
Numbers: TypeAlias = npt.ArrayLike | float | int
"""What NumPy makes an array of (with the numbers spelt out for checks at run time)."""
Estimator: TypeAlias = Literal["mle", "unbiased"]


def check_count(name: str, value: int, minimum: int = 1) -> int:
    """Returns `value` as an int.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is below `minimum`.
    """
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if count < minimum:
        raise ValueError(f"{name} must be {minimum} or more, got {count}")
    return count


def check_choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """Returns `value`.

    Raises:
        ValueError: if it is not one of `allowed`.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def check_estimator(estimator: str) -> bool:
    """Returns whether the covariance estimator is the unbiased one.

    Raises:
        ValueError: if `estimator` is neither "mle" nor "unbiased".
    """
    return check_choice("estimator", estimator, ("mle", "unbiased")) == "unbiased"


def check_number(
    name: str,
    value: Number,
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
            f"{name} must be a finite number in {left}{minimum}, {maximum}{right}, got {value!r}"
        )
    return number


def check_sizes(name: str, sizes: Numbers, length: int, minimum: int = 1) -> FloatArray:
    """Returns sample sizes as a float array `[length]`; one number stands for all of them.

    Raises:
        ValueError: if the shape is neither `[]` nor `[length]`, or a size is not an integer
            >= `minimum`.
    """
    array = np.asarray(sizes, dtype=np.float64)
    if array.shape not in ((), (length,)):
        raise ValueError(f"{name} must have shape () or ({length},), got {array.shape}")
    if not np.all(np.isfinite(array) & (array >= minimum) & (array == np.round(array))):
        raise ValueError(f"{name} must hold integers of {minimum} or more, got {sizes!r}")
    return np.broadcast_to(array, (length,)).copy()


def check_temperature(temperature: Numbers, length: int) -> FloatArray:
    """Returns the temperature with which the model before generation t was sampled, `[generation]`.

    Args:
        temperature: positive, a number or `[generation]`; entry t - 1 is for sampling model t.
        length: number of generations T.

    Raises:
        ValueError: if the shape is neither `[]` nor `[length]`, or a value is not positive.
    """
    array = np.asarray(temperature, dtype=np.float64)
    if array.shape not in ((), (length,)) or not np.all(np.isfinite(array) & (array > 0)):
        raise ValueError(
            f"temperature must be positive, of shape () or ({length},), got {temperature!r}"
        )
    given = np.broadcast_to(array, (length,))
    return np.concatenate([[1.0], given[:-1]])


def check_probabilities(probabilities: Numbers) -> FloatArray:
    """Returns probabilities as a float64 array `[outcome]` that sums to one exactly.

    Raises:
        ValueError: if they are not a vector, or negative, or their sum is off by more than 1e-4
            (single-precision input is accepted and normalised).
    """
    array = np.asarray(probabilities, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"probabilities must be a non-empty vector, got the shape {array.shape}")
    total = float(array.sum())
    if not (np.all(array >= 0) and abs(total - 1) <= 1e-4):
        raise ValueError(
            f"probabilities must be >= 0 and sum to 1, got minimum {array.min()} and sum {total}"
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
        raise ValueError(f"probabilities must be frequencies among population={population} rows")
    return rows.astype(np.int64)


def generations(n_generations: int) -> FloatArray:
    """Returns the generations 1..T as floats, `[generation]`.

    Raises:
        ValueError: if `n_generations` is below 1.
    """
    return np.arange(1, check_count("n_generations", n_generations) + 1, dtype=np.float64)
