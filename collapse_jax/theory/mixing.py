"""Real data mixed in again: exact moments, fixed points and the best weight.

From generation 2 on, a model is fitted to n_r real rows and n_s rows sampled from the model before
it, all counted alike. The real rows are either the same ones for ever ("fixed") or drawn afresh in
every generation ("fresh"). Results are relative to the true covariance, as in `moments`.
"""

import math
from typing import Literal, TypeAlias

import numpy as np

from collapse_jax.theory._checks import (
    Estimator,
    FloatArray,
    Number,
    check_choice,
    check_count,
    check_estimator,
    check_number,
)
from collapse_jax.theory.moments import SecondMoments

RealData: TypeAlias = Literal["fixed", "fresh"]


def mixed_moments(
    n_real: int,
    n_synthetic: int,
    n_generations: int,
    *,
    real: RealData = "fixed",
    sampling_scale: Number = 1.0,
    estimator: Estimator = "mle",
) -> SecondMoments:
    """Moments of a chain that sees n_r real rows in every generation.

    Args:
        n_real: real rows n_r per generation; at least 2 if unbiased.
        n_synthetic: rows n_s from the latest model, from generation 2 on.
        n_generations: number of generations T.
        real: "fixed" if the rows of generation 1 come back, "fresh" if new ones are drawn.
        sampling_scale: factor on the covariance with which models are sampled.
        estimator: "mle" or "unbiased".

    Returns:
        The moments of generations 1..T.

    Raises:
        ValueError: if a number is out of range, or an option unknown.

    Source:
        Derived; settings of Bertrand et al., arXiv 2310.00429 (fixed), and of Alemohammad et al.,
        arXiv 2307.01850 (both, with sampling bias).

    Example:
        >>> print(mixed_moments(5, 5, 4, real="fresh").covariance.round(6))
        [0.8    0.86   0.872  0.8744]
    """
    check_count("n_generations", n_generations)
    n, step, constant = _linear_map(n_real, n_synthetic, real, sampling_scale, estimator)
    first = 1.0 if estimator == "unbiased" else 1 - 1 / n
    states = [np.array([1 / n, first])]
    for _ in range(n_generations - 1):
        states.append(step @ states[-1] + constant)
    mean_error, covariance = np.array(states).T
    return SecondMoments(mean_error, covariance)


def mixed_limit(
    n_real: int,
    n_synthetic: int,
    *,
    real: RealData = "fixed",
    sampling_scale: Number = 1.0,
    estimator: Estimator = "mle",
) -> tuple[float, float]:
    """Limit of `mixed_moments` as t grows: (mean error, covariance factor).

    For large n_r and n_s = lambda n_r, unbiased sampling, n_r times the mean error tends to
    1 + lambda/(1 + 2 lambda) with fixed real data, and to (1 + lambda)/(1 + 2 lambda), better than
    real data alone, with fresh ones.

    Args:
        n_real: real rows per generation; at least 2 if unbiased.
        n_synthetic: synthetic rows per generation.
        real: "fixed" or "fresh".
        sampling_scale: factor on the covariance with which models are sampled.
        estimator: "mle" or "unbiased".

    Raises:
        ValueError: if a number is out of range, an option unknown, or `sampling_scale` so far above
            one that the chain has no limit.

    Source:
        Fixed point of the linear recursion behind `mixed_moments`.

    Example:
        >>> print(mixed_limit(5, 5), mixed_limit(5, 5, real="fresh"))
        (0.25, 0.75) (0.125, 0.875)
    """
    _, step, constant = _linear_map(n_real, n_synthetic, real, sampling_scale, estimator)
    if np.max(np.abs(np.linalg.eigvals(step))) >= 1:
        raise ValueError(f"sampling_scale must let the chain converge, got {sampling_scale!r}")
    mean_error, covariance = np.linalg.solve(np.eye(2) - step, constant)
    return float(mean_error.round(15)), float(covariance.round(15))


def weighted_limit(real_weight: Number, n_real: int, n_synthetic: int) -> float:
    """Limit of the error of an estimate that averages fresh real and synthetic estimates.

    Generation t + 1 is w times an estimate from n_r fresh real rows plus 1 - w times one from n_s
    rows of model t.

    Args:
        real_weight: w in (0, 1].
        n_real: fresh real rows per generation.
        n_synthetic: synthetic rows per generation.

    Returns:
        The limit of the variance, in units of the variance of one row.

    Raises:
        ValueError: if a number is out of range.

    Source:
        He, Xu & Cheng, arXiv 2502.18049 (the setting); the formula is derived: the fixed point of
        V = w^2/n_r + (1 - w)^2 (V + 1/n_s).

    Example:
        >>> print(round(weighted_limit(0.5, 1, 1), 6))
        0.666667
    """
    w = check_number("real_weight", real_weight, maximum=1.0)
    if w == 0:
        raise ValueError("real_weight must be positive, or the chain diverges, got 0")
    n_r, n_s = check_count("n_real", n_real), check_count("n_synthetic", n_synthetic)
    return (w**2 / n_r + (1 - w) ** 2 / n_s) / (1 - (1 - w) ** 2)


def optimal_real_weight(n_real: int, n_synthetic: int) -> float:
    """The weight of real data that minimises `weighted_limit`.

    Equal sizes give 1/(golden ratio). At the optimum the limit itself equals weight/n_r.

    Args:
        n_real: fresh real rows per generation.
        n_synthetic: synthetic rows per generation.

    Raises:
        ValueError: if a size is below 1.

    Source:
        He, Xu & Cheng, arXiv 2502.18049 (the golden ratio); derived for any ratio of sizes.

    Example:
        >>> print(round(optimal_real_weight(100, 100), 6))
        0.618034
    """
    ratio = check_count("n_real", n_real) / check_count("n_synthetic", n_synthetic)
    # (sqrt(k^2 + 4k) - k)/2 without the cancellation at large k
    return 2 * ratio / (math.sqrt(ratio**2 + 4 * ratio) + ratio)


def _linear_map(
    n_real: int, n_synthetic: int, real: str, sampling_scale: Number, estimator: str
) -> tuple[int, FloatArray, FloatArray]:
    """The map (mean error, covariance) -> step @ (...) + constant of one generation."""
    unbiased = check_estimator(estimator)
    fixed = check_choice("real", real, ("fixed", "fresh")) == "fixed"
    scale = check_number("sampling_scale", sampling_scale)
    n_r = check_count("n_real", n_real, minimum=2 if unbiased else 1)
    n_s = check_count("n_synthetic", n_synthetic)
    total = n_r + n_s
    share, correction = n_s / total, total / (total - 1) if unbiased else 1.0
    # with fixed real data, E[model mean x real mean] keeps the value 1/n_r of generation 1
    overlap = 2 * share * (1 - share) / n_r if fixed else 0.0
    mean_row = np.array([share**2, share**2 * scale / n_s])
    mean_constant = (1 - share) ** 2 / n_r + overlap
    square_row = np.array([share, share * scale])
    step = np.array([mean_row, correction * (square_row - mean_row)])
    return n_r, step, np.array([mean_constant, correction * (1 - share - mean_constant)])
