"""Categorical models: collision probability, fixation, and time to collapse.

The model of generation t is the vector of outcome frequencies in its training set. One minus the
collision probability sum p_i^2 behaves like the trace of a Gaussian covariance, so the factors of
`gaussian` and `mixing` apply unchanged. Approximations and bounds in closed form live here; exact
results for moderate n under Replace, and single outcomes, are in `wright_fisher`.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy

from collapse_jax.theory._checks import (
    FloatArray,
    Numbers,
    check_count,
    check_probabilities,
    generations,
)


class Bounds(NamedTuple):
    """A lower and an upper bound, each `[generation]` or a number."""

    lower: FloatArray
    upper: FloatArray


def collision(probabilities: Numbers, covariance: Numbers) -> FloatArray:
    """E sum_i p_{t,i}^2, exact for every workflow whose covariance factor is known.

    Args:
        probabilities: `[outcome]`, the truth.
        covariance: `[generation]` or a number, the factors of maximum-likelihood models (without
            correction of bias), e.g. `gaussian.accumulate_moments(n, T).covariance`.

    Returns:
        Of the shape of `covariance`.

    Raises:
        ValueError: if the probabilities are not valid.

    Source:
        Seddik et al., arXiv 2404.05090 (Replace); the other workflows by the same algebra.

    Example:
        >>> from collapse_jax.theory import gaussian
        >>> print(collision([0.5, 0.5], gaussian.replace_moments(10, 2).covariance).round(6))
        [0.55  0.595]
    """
    p = check_probabilities(probabilities)
    return np.asarray(1 - (1 - p @ p) * np.asarray(covariance, dtype=np.float64))


def partially_synthetic_collision(
    probabilities: Numbers, n_real: int, n_synthetic: int, n_generations: int
) -> FloatArray:
    """E sum_i p_{t,i}^2 with N fixed real draws and n from the latest model, in closed form.

    Equals `collision` with the factors of `mixing.mixed_moments`, whose `mixed_limit` gives the
    limit S_0 + (1 - S_0)(N + 3n)/(N^2 + 2nN + n).

    Args:
        probabilities: `[outcome]`, the truth.
        n_real: real draws N, the only data of generation 1.
        n_synthetic: synthetic draws n, from generation 2 on.
        n_generations: number of generations T.

    Returns:
        `[generation]`.

    Raises:
        ValueError: if the probabilities or sizes are not valid.

    Source:
        Seddik et al., arXiv 2404.05090, with the sign of the term (alpha/N) beta^(t-1) corrected to
        plus: with the printed minus, a point mass would not stay one.

    Example:
        >>> print(partially_synthetic_collision([0.5, 0.5], 5, 5, 3).round(6))
        [0.6   0.62  0.624]
    """
    p = check_probabilities(probabilities)
    n_r, n_s = check_count("n_real", n_real), check_count("n_synthetic", n_synthetic)
    alpha = n_s / (n_r + n_s)
    beta = alpha * ((1 + 1 / n_r) * alpha - 1 / n_r)
    decay = beta ** (generations(n_generations) - 1)
    keep = 1 - 1 / n_r
    noise = (1 + 2 * alpha - keep * alpha * decay) / n_r
    signal = keep * (p @ p) * (1 + alpha + alpha / n_r * decay)
    return (noise + signal) / (1 + (1 + 1 / n_r) * alpha)


def fixation_bounds(probabilities: Numbers, n_samples: int, n_generations: int) -> Bounds:
    """Bounds on the probability that generation t has a single outcome left, under Replace.

    A model that is not fixed has 2(n - 1)/n^2 <= 1 - sum p^2 <= 1 - 1/s, where s is the largest
    possible number of outcomes; the exact mean of 1 - sum p^2 then bounds the probability.

    Args:
        probabilities: `[outcome]`, the truth.
        n_samples: draws n per generation.
        n_generations: number of generations T.

    Returns:
        Lower and upper bounds, `[generation]`.

    Raises:
        ValueError: if the probabilities or sizes are not valid.

    Source:
        After Seddik et al., arXiv 2404.05090; the lower bound is sharper than theirs by the factor
        n/(2(n - 1)), the upper one uses that n draws show at most n outcomes.

    Example:
        >>> lower, upper = fixation_bounds([0.5, 0.5], 10, 30)
        >>> print(lower[-1].round(4), upper[-1].round(4))
        0.8822 0.9576
    """
    p = check_probabilities(probabilities)
    n, t = check_count("n_samples", n_samples), generations(n_generations)
    support = min(int(np.count_nonzero(p)), n)
    if support == 1:
        return Bounds(np.ones(len(t)), np.ones(len(t)))
    spread = (1 - p @ p) * (1 - 1 / n) ** t
    upper = 1 - spread / (1 - 1 / support)
    return Bounds(np.clip(1 - spread * n**2 / (2 * (n - 1)), 0, 1), np.clip(upper, 0, 1))


def collapse_time(probabilities: Numbers, n_samples: int) -> float:
    """Mean number of generations until one outcome is left, diffusion approximation, Replace.

    -2n sum_i (1 - p_i) log(1 - p_i), which tends to 2n for many rare outcomes. The standard
    deviation is of the same order, so single chains scatter widely. For small n prefer the exact
    `wright_fisher.mean_collapse_time`.

    Args:
        probabilities: `[outcome]`, the truth.
        n_samples: draws n per generation.

    Raises:
        ValueError: if the probabilities or the size are not valid.

    Source:
        Derived from the backward equation p(1 - p) g''/(2n) = -p with g(0) = g(1) = 0.

    Example:
        >>> print(round(collapse_time([0.5, 0.5], 100), 4))
        138.6294
    """
    p = check_probabilities(probabilities)
    return float(
        -2 * check_count("n_samples", n_samples) * np.sum(scipy.special.xlog1py(1 - p, -p))
    )


def collapse_time_bounds(probabilities: Numbers, n_samples: int) -> tuple[float, float]:
    """Rigorous (lower, upper) bounds on the mean time until one outcome is left, under Replace.

    The sums over generations of the bounds behind `fixation_bounds`, each term of the upper one
    cut at 1, which makes it of order n log n.

    Args:
        probabilities: `[outcome]`, the truth.
        n_samples: draws n per generation.

    Raises:
        ValueError: if the probabilities or the size are not valid.

    Source:
        After Seddik et al., arXiv 2404.05090, whose upper bound is 1 + (1 - S_0) n (n - 1).

    Example:
        >>> print([round(bound, 2) for bound in collapse_time_bounds([0.5, 0.5], 100)])
        [100.0, 421.27]
    """
    p = check_probabilities(probabilities)
    n = check_count("n_samples", n_samples)
    support = min(int(np.count_nonzero(p)), n)
    if support == 1:
        return 1.0, 1.0
    spread = 1 - float(p @ p)
    lower = 1 + spread * (n - 1) / (1 - 1 / support)
    rate, scale = 1 - 1 / n, spread * n / 2  # P(not fixed at t) <= scale * rate^(t - 1)
    cut = max(0, math.ceil(math.log(scale) / -math.log(rate)))
    return lower, 1 + cut + scale * rate**cut * n
