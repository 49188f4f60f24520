"""What many chains say about a curve: periods, robust means, bootstrap, rates of growth."""

from typing import Final

import numpy as np

CONFIDENCE = 0.9
"""Share of bootstrap replicates that must agree with an answer."""
REPLICATES = 400
FEWEST_GENERATIONS = 4
"""Generations that a run needs so that its periods are different ones."""
SLOWEST, FASTEST = -3.0, 10.0
"""Ends of the scale of `growth_exponent`."""
_TRIMMED = 20  # one chain in so many is left out at either end
_EXPONENTS: Final = np.linspace(SLOWEST, FASTEST, 1301)


def periods(curve: np.ndarray) -> np.ndarray:
    """Generation 1, the mean of the second quarter of the generations, and that of the last.

    Args:
        curve: `[..., generation]`.

    Returns:
        `[..., 3]`.
    """
    n = curve.shape[-1]
    generation = np.arange(1, n + 1)
    middle = (generation > 0.25 * n) & (generation <= 0.5 * n)
    late = generation > 0.75 * n
    parts = curve[..., 0], curve[..., middle].mean(-1), curve[..., late].mean(-1)
    return np.stack(parts, axis=-1)


def trimmed_mean(chains: np.ndarray) -> np.ndarray:
    """Mean over chains without 5 % at either end; `[chain, ...]` to `[...]`."""
    out = len(chains) // _TRIMMED
    return np.sort(chains, axis=0)[out : len(chains) - out].mean(axis=0)


def replicates(chains: np.ndarray) -> np.ndarray:
    """Trimmed means of bootstrap replicates, in which whole chains are drawn.

    The same chains always give the same replicates.

    Args:
        chains: `[chain, ...]`.

    Returns:
        `[replicate, ...]`.
    """
    generator, n = np.random.default_rng(0), len(chains)
    return np.stack(
        [trimmed_mean(chains[generator.integers(n, size=n)]) for _ in range(REPLICATES)]
    )


def growth_exponent(errors: np.ndarray, n_generations: int) -> np.ndarray:
    """Exponent a with which errors grow like 1 + c (t^a - 1), from three periods of a run.

    It is read off the share of the whole growth, since generation 1, that happened between the
    second and the last quarter: 1 for linear growth, 0 for logarithmic, negative for growth that
    levels off.

    Args:
        errors: `[..., 3]` from `periods`.
        n_generations: length of the run.

    Returns:
        `[...]`, from `SLOWEST`, also for errors that have not grown, to `FASTEST`, also
        for infinite ones; NaN where generation 1 is not finite.
    """
    first, middle, late = np.moveaxis(np.asarray(errors, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(np.isinf(late), 1.0, (late - middle) / (late - first))
    share = np.where(late > first, share, 0.0)
    generation = np.arange(1, n_generations + 1) / n_generations
    # t^a in units of its last value, which keeps large powers finite.
    early, half, end = periods(generation ** _EXPONENTS[:, None]).T
    with np.errstate(invalid="ignore"):
        shares = (end - half) / (end - early)
    regular = np.isfinite(shares)  # not at a = 0
    exponent = np.interp(share, shares[regular], _EXPONENTS[regular])
    return np.where(np.isfinite(first), exponent, np.nan)
