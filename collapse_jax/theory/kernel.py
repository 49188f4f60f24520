"""Kernel density estimates with a Gaussian kernel of fixed bandwidth: moments per workflow.

Sampling such an estimate is a bootstrap draw plus kernel noise, so each generation of data is wider
than the one it was made from: h^2 is added to the variance per step, and the mean takes a random
walk whose steps do not shrink.

Everything is relative to a true variance of 1, with the bandwidth h in units of the true standard
deviation. In d dimensions all traces follow with h^2 replaced by h^2 d/tr Sigma_0 and the results
multiplied by tr Sigma_0. Data are needed through their first two moments only, so the truth need
not be Gaussian.

Source:
    derived for the settings of Kazdan et al., arXiv 2410.16713, sec. 2.
"""

from typing import NamedTuple

import numpy as np

from collapse_jax.theory._checks import FloatArray, Number, check_count, check_number, generations
from collapse_jax.theory.gaussian import subsample_factors


class KernelMoments(NamedTuple):
    """Second moments of a chain of kernel density estimates, relative to the true variance.

    Attributes:
        mean_error: `[generation]`, E (mean of model t - true mean)^2.
        covariance: `[generation]`, E of the variance of model t (its data's and the kernel's).
        pool_covariance: `[generation]`, E of the variance of all rows kept, divisor their number.
    """

    mean_error: FloatArray
    covariance: FloatArray
    pool_covariance: FloatArray


def replace_moments(n_samples: int, n_generations: int, *, bandwidth: Number) -> KernelMoments:
    """Moments under Replace; the variance tends to n h^2, the mean error grows by h^2 a generation.

    Args:
        n_samples: rows n per generation.
        n_generations: number of generations T.
        bandwidth: h over the true standard deviation.

    Returns:
        The moments of generations 1..T.

    Raises:
        ValueError: if a size is below 1 or the bandwidth negative.

    Example:
        >>> result = replace_moments(10, 30, bandwidth=0.5)
        >>> print(result.covariance[[9, 29]].round(4), result.mean_error[[9, 29]].round(4))
        [1.977  2.4364] [1.523  6.0636]
    """
    n = check_count("n_samples", n_samples)
    t, h2 = generations(n_generations), _variance(bandwidth)
    kept = 1 - 1 / n
    variance = kept**t + h2 * (n - 1) * (1 - kept ** (t - 1))
    return KernelMoments(1 + (t - 1) * h2 - variance, variance + h2, variance)


def spread_moments(n_samples: int, n_generations: int, *, factor: Number) -> KernelMoments:
    """Moments under Replace with a bandwidth scaled by the spread of each training set.

    The variance shrinks or grows geometrically, by 1 - 1/n + c^2 a generation: with
    `"0.5*spread"` c is 0.5, and with `"scott*spread"` n^(-1/(d + 4)).

    Args:
        n_samples: rows n per generation, at least 2.
        n_generations: number of generations T.
        factor: c, the bandwidth over the root of the training rows' variance, of divisor n - 1.

    Returns:
        The moments of generations 1..T.

    Raises:
        ValueError: if a size is below 1 or the factor negative.

    Example:
        >>> result = spread_moments(10, 30, factor=0.5)
        >>> print(result.covariance[[9, 29]].round(4), result.mean_error[[9, 29]].round(4))
        [ 4.0456 66.2118] [ 2.0304 43.4745]
    """
    n = check_count("n_samples", n_samples)
    t, c2 = generations(n_generations), check_number("factor", factor) ** 2
    covariance = (1 - 1 / n + c2) ** t
    return KernelMoments(
        np.cumsum(np.concatenate([[1.0], covariance[:-1]])) / n,
        covariance,
        (1 - 1 / n) * np.concatenate([[1.0], covariance[:-1]]),
    )


def accumulate_moments(n_samples: int, n_generations: int, *, bandwidth: Number) -> KernelMoments:
    """Moments under Accumulate; the variance grows like h^2 log t.

    Args:
        n_samples: rows n that each generation adds.
        n_generations: number of generations T.
        bandwidth: h over the true standard deviation, the same in all generations.

    Returns:
        The moments of generations 1..T.

    Raises:
        ValueError: if a size is below 1 or the bandwidth negative.

    Example:
        >>> result = accumulate_moments(10, 30, bandwidth=0.5)
        >>> print(result.covariance[-1].round(4), result.mean_error[-1].round(4))
        1.8195 0.1793
    """
    n = check_count("n_samples", n_samples)
    t, h2 = generations(n_generations), _variance(bandwidth)
    return _recursion(n, h2, np.zeros(len(t)), np.ones(len(t)))


def accumulate_subsample_moments(
    n_samples: int, n_generations: int, *, bandwidth: Number
) -> KernelMoments:
    """Moments under Accumulate-Subsample, n of t n rows drawn without replacement.

    Args:
        n_samples: rows n that each generation is fitted to, and adds.
        n_generations: number of generations T.
        bandwidth: h over the true standard deviation.

    Returns:
        The moments of generations 1..T.

    Raises:
        ValueError: if a size is below 1 or the bandwidth negative.

    Example:
        >>> result = accumulate_subsample_moments(10, 30, bandwidth=0.5)
        >>> print(result.covariance[-1].round(4), result.mean_error[-1].round(4))
        1.6426 0.3562
    """
    n = check_count("n_samples", n_samples)
    t, h2 = generations(n_generations), _variance(bandwidth)
    displacement = subsample_factors(n, t, unbiased=False)[0]
    return _recursion(n, h2, displacement, 1 - displacement)


def _variance(bandwidth: Number) -> float:
    return check_number("bandwidth", bandwidth) ** 2


def _recursion(n: int, h2: float, displacement: FloatArray, spread: FloatArray) -> KernelMoments:
    """Pools that grow; both factors multiply the pool's variance, see `subsample_factors`."""
    pool, mean_error = np.empty(len(spread)), np.empty(len(spread))
    pool[0], mean_error[0] = 1 - 1 / n, 1 / n
    for k in range(1, len(spread)):
        model = spread[k - 1] * pool[k - 1] + h2
        moved = displacement[k - 1] * pool[k - 1]  # of the model's mean from the pool's
        step = (moved + model / n) / (k + 1) ** 2
        mean_error[k] = mean_error[k - 1] + step
        pool[k] = (k * pool[k - 1] + moved + model) / (k + 1) - step
    return KernelMoments(mean_error + displacement * pool, spread * pool + h2, pool)
