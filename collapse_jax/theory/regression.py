"""Linear regression: test error of the three workflows.

Real labels are y = X w* + noise with isotropic Gaussian rows, later labels are X w_t + noise, and
every generation is ordinary (minimum-norm) least squares. With a "fixed" design the same n rows X
are labelled again in each generation, as in the code published with arXiv 2410.16713; with a
"fresh" one new rows are drawn. The test error is E ||w_t - w*||^2, the mean squared error on
noiseless isotropic test rows. Where n is within one of d it is infinite.
"""

from typing import Literal, TypeAlias

import numpy as np

from collapse_jax.theory._checks import (
    FloatArray,
    Number,
    check_choice,
    check_count,
    check_number,
    generations,
)
from collapse_jax.theory.risk import accumulate_risk_ratio, accumulate_subsample_risk_ratio

Design: TypeAlias = Literal["fixed", "fresh"]


def noise_error(n_samples: int, dim: int, noise: Number = 1.0) -> float:
    """What the label noise adds to the test error in one least-squares fit.

    The trace of the inverse Gram matrix (of its dual where n < d), an inverse-Wishart mean:
    noise * d/(n - d - 1) for n >= d + 2, noise * n/(d - n - 1) for n <= d - 2, infinite between.

    Args:
        n_samples: rows n.
        dim: dimension d.
        noise: variance of the label noise.

    Raises:
        ValueError: if a size is below 1 or the variance negative.

    Source:
        Gerstgrasser et al., arXiv 2404.01413, for n > d; the other side by symmetry.

    Example:
        >>> print(noise_error(20, 9), noise_error(9, 20))
        0.9 0.9
    """
    n, d = check_count("n_samples", n_samples), check_count("dim", dim)
    variance = check_number("noise", noise)
    if abs(n - d) <= 1:
        return np.inf if variance else 0.0
    return variance * min(n, d) / (abs(n - d) - 1)


def replace_error(
    n_samples: int,
    dim: int,
    n_generations: int,
    *,
    noise: Number = 1.0,
    design: Design = "fixed",
    signal: Number = 1.0,
) -> FloatArray:
    """Test error under Replace.

    For n > d it grows as t times that of generation 1 with either design. For n < d the first fit
    loses d - n directions of the truth; a fixed design loses no more, whereas fresh designs project
    again in each generation until nothing is left of the truth and the noise saturates.

    Args:
        n_samples: rows n per generation.
        dim: dimension d.
        n_generations: number of generations T.
        noise: variance of the label noise.
        design: "fixed" or "fresh".
        signal: E w_i^2 per true coefficient, which matters for n < d only.

    Returns:
        `[generation]`; infinite where |n - d| <= 1.

    Raises:
        ValueError: if a number is out of range or the design unknown.

    Source:
        Gerstgrasser et al., arXiv 2404.01413, and Kazdan et al., arXiv 2410.16713 (n > d); n < d is
        derived here.

    Example:
        >>> print(replace_error(20, 9, 3).round(6), replace_error(2, 4, 3, noise=0.1).round(6))
        [0.9 1.8 2.7] [2.2 2.4 2.6]
    """
    n, d, t, per_fit, signal = _check(n_samples, dim, n_generations, noise, design, signal)
    if n >= d or design == "fixed":
        return signal * max(d - n, 0) + per_fit * t
    kept = (n / d) ** t
    return signal * d * (1 - kept) + per_fit * (1 - kept) / (1 - n / d)


def accumulate_error(
    n_samples: int,
    dim: int,
    n_generations: int,
    *,
    noise: Number = 1.0,
    design: Design = "fixed",
    signal: Number = 1.0,
) -> FloatArray:
    """Test error under Accumulate.

    Generation t adds the error of a fit on all t batches in which only the newest one is noisy,
    which by symmetry is 1/t of the noise error of t n rows. With a fixed design the t n rows are
    the same n rows, hence 1/t^2.

    Args:
        n_samples: rows n per generation.
        dim: dimension d.
        n_generations: number of generations T.
        noise: variance of the label noise.
        design: "fixed" or "fresh".
        signal: E w_i^2 per true coefficient, which matters for n < d only.

    Returns:
        `[generation]`; infinite from the first generation on whose number of distinct rows is
        within one of d.

    Raises:
        ValueError: if a number is out of range or the design unknown.

    Source:
        Gerstgrasser et al., arXiv 2404.01413 (fixed, n > d, there as a bound); equality, fresh
        designs and n < d are derived here.

    Example:
        >>> print(accumulate_error(20, 9, 3).round(6))
        [0.9   1.125 1.225]
        >>> print(accumulate_error(20, 9, 3, design="fresh").round(6))
        [0.9  1.05 1.11]
    """
    n, d, t, per_fit, signal = _check(n_samples, dim, n_generations, noise, design, signal)
    lost = signal * max(d - n, 0)
    if design == "fixed":
        return lost + per_fit * accumulate_risk_ratio(len(t))
    steps = [noise_error(k * n, d, noise) / k for k in range(1, len(t) + 1)]
    return lost + np.cumsum(steps)


def accumulate_subsample_error(
    n_samples: int, dim: int, n_generations: int, *, noise: Number = 1.0
) -> FloatArray:
    """Test error under Accumulate-Subsample for n much larger than d, with either design.

    Exact in generation 1. Later an approximation from below, since a subsample of a fixed design
    repeats rows: about 8 % below simulations at n = 100, d = 10.

    Args:
        n_samples: rows n per generation.
        dim: dimension d, at most n - 2.
        n_generations: number of generations T.
        noise: variance of the label noise.

    Returns:
        `[generation]`.

    Raises:
        ValueError: if a number is out of range, or n < d + 2.

    Source:
        The universal risk ratio (`risk.accumulate_subsample_risk_ratio`) times the exact error of
        generation 1.

    Example:
        >>> print(accumulate_subsample_error(111, 10, 2).round(6))
        [0.1   0.175]
    """
    d = check_count("dim", dim)
    n = check_count("n_samples", n_samples, minimum=d + 2)
    return noise_error(n, d, noise) * accumulate_subsample_risk_ratio(n_generations)


def _check(
    n_samples: int, dim: int, n_generations: int, noise: Number, design: str, signal: Number
) -> tuple[int, int, FloatArray, float, float]:
    check_choice("design", design, ("fixed", "fresh"))
    per_fit = noise_error(n_samples, dim, noise)
    signal = check_number("signal", signal)
    return int(n_samples), int(dim), generations(n_generations), per_fit, signal
