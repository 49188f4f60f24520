"""Numbers that are read off many chains, with their standard errors."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

_GROUPS = 50  # of chains, each of which is left out once


class Estimate(NamedTuple):
    """A number and its standard error over chains."""

    value: float
    error: float


def mean_of(chains: npt.NDArray[np.floating]) -> Estimate:
    """The mean over chains, `[chain]`; the error of a single one is NaN.

    Example:
        >>> mean_of(np.array([1.0, 3.0]))
        Estimate(value=2.0, error=1.0)
    """
    values = np.asarray(chains, np.float64)
    with np.errstate(invalid="ignore"):
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        return Estimate(float(values.mean()), float(error))


def jackknife(
    function: Callable[..., float | np.floating], *chains: npt.NDArray[np.floating]
) -> Estimate:
    """A function of means over chains.

    Chains are left out group by group, the same ones of all arrays, so that what two loops share
    with the same seeds cancels in their difference.

    Args:
        function: of one mean per array, each `[...]`.
        chains: `[chain, ...]` each, as many chains in all of them.

    Returns:
        the function of the means over all chains, and its standard error, which is infinite for a
        single chain.

    Source:
        Miller, Biometrika 61:1, 1974.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=(400, 2))
        >>> found = jackknife(lambda mean: mean[0] - mean[1], draws)
        >>> bool(abs(found.error - np.sqrt(2 / 400)) < 0.02)
        True
    """
    arrays = [np.asarray(array, np.float64) for array in chains]
    n_chains = len(arrays[0])
    groups = n_groups(n_chains)
    value = float(function(*(array.mean(axis=0) for array in arrays)))
    if groups < 2:
        return Estimate(value, np.inf)
    without = [_means_without(array, groups) for array in arrays]
    values = np.array([function(*parts) for parts in zip(*without, strict=True)])
    spread = np.sum((values - values.mean()) ** 2)
    return Estimate(value, float(np.sqrt((groups - 1) / groups * spread)))


def n_groups(n_chains: int) -> int:
    """How many groups of chains `jackknife` makes."""
    return min(_GROUPS, n_chains)


def at(generation: int) -> Callable[[FloatArray], float]:
    """The function that takes the entry of a generation, counted from 1."""
    return lambda curve: float(curve[generation - 1])


def slope(first: int, last: int) -> Callable[[FloatArray], float]:
    """The function that takes the slope of log(curve) over log(generation), by least squares.

    Args:
        first: the first generation that counts.
        last: the last one.

    Example:
        >>> print(round(slope(5, 20)(3.0 / np.arange(1.0, 21.0)), 6))
        -1.0
    """
    generation = np.log(np.arange(first, last + 1))
    weights = generation - generation.mean()
    weights /= np.sum(weights**2)
    return lambda curve: float(weights @ np.log(curve[first - 1 : last]))


def _means_without(array: FloatArray, groups: int) -> FloatArray:
    """Means over the chains without each of the groups `[group, ...]`."""
    sums = np.stack([array[group::groups].sum(axis=0) for group in range(groups)])
    sizes = np.array([len(array[group::groups]) for group in range(groups)])
    left = (len(array) - sizes).reshape(-1, *[1] * (array.ndim - 1))
    return (sums.sum(axis=0) - sums) / left
