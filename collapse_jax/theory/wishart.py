"""Gaussian models under Replace: the laws of determinants, spreads and likelihoods.

Each generation multiplies the covariance by an independent Wishart matrix over its degrees of
freedom, so determinants are products of independent chi-squares, and everything below is exact.

Warning for comparisons with simulations: these products are log-normal in character. The mean of
a determinant, of a power of a variance or of a likelihood is carried by rare chains once t exceeds
roughly n, and the average over a few hundred chains then misses it by far. The log-determinant has
no such trouble.

Source:
    the setting is that of Kazdan et al., arXiv 2410.16713, sec. 2, and Shumailov et al.,
    arXiv 2305.17493; the formulas are derived from the moments of chi-square and Wishart laws.
"""

import math

import numpy as np
from scipy.special import digamma, gammaln, poch, polygamma

from collapse_jax.theory._checks import (
    Estimator,
    FloatArray,
    Number,
    check_count,
    check_estimator,
    check_number,
    generations,
)
from collapse_jax.theory.gaussian import replace_moments


def log_det_mean(
    n_samples: int, dim: int, n_generations: int, estimator: Estimator = "mle"
) -> FloatArray:
    """E log det Sigma_t - log det Sigma_0 under Replace.

    A random walk with constant drift; the drift is also the almost sure rate of collapse.

    Args:
        n_samples: rows n per generation; at least 2 if unbiased.
        dim: dimension d.
        n_generations: number of generations T.
        estimator: "mle" (divide by n) or "unbiased" (by n - 1).

    Returns:
        `[generation]`; minus infinity where n <= d, as every fit is singular then.

    Raises:
        ValueError: if a size is below 1 or the estimator unknown.

    Example:
        >>> print(log_det_mean(10, 1, 2).round(6))
        [-0.220567 -0.441134]
    """
    n, d, divisor = _check_fit(n_samples, dim, estimator)
    t = generations(n_generations)
    if n <= d:
        return np.full(len(t), -np.inf)
    freedom = n - np.arange(1, d + 1)
    return t * np.sum(digamma(freedom / 2) + math.log(2 / divisor))


def log_det_variance(n_samples: int, dim: int, n_generations: int) -> FloatArray:
    """Var log det Sigma_t under Replace, the same for both estimators.

    Args:
        n_samples: rows n per generation, more than `dim`.
        dim: dimension d.
        n_generations: number of generations T.

    Returns:
        `[generation]`, growing linearly.

    Raises:
        ValueError: if n <= d (the log-determinant is minus infinity), or a size is not positive.

    Example:
        >>> print(log_det_variance(10, 1, 2).round(6))
        [0.248725 0.49745 ]
    """
    n, d, _ = _check_fit(n_samples, dim, "mle")
    if n <= d:
        raise ValueError(f"n_samples must be greater than dim={d}, got {n}")
    freedom = n - np.arange(1, d + 1)
    return generations(n_generations) * np.sum(polygamma(1, freedom / 2))


def determinant_mean(
    n_samples: int, dim: int, n_generations: int, estimator: Estimator = "mle"
) -> FloatArray:
    """E det Sigma_t / det Sigma_0 under Replace (see the warning of the module).

    Args:
        n_samples: rows n per generation; at least 2 if unbiased.
        dim: dimension d.
        n_generations: number of generations T.
        estimator: "mle" or "unbiased".

    Returns:
        `[generation]`; zero where n <= d.

    Raises:
        ValueError: if a size is below 1 or the estimator unknown.

    Example:
        >>> print(determinant_mean(10, 2, 2).round(6))
        [0.72   0.5184]
    """
    n, d, divisor = _check_fit(n_samples, dim, estimator)
    per_generation = np.prod(np.maximum(n - np.arange(1, d + 1), 0) / divisor)
    return per_generation ** generations(n_generations)


def variance_power_mean(
    n_samples: int, power: Number, n_generations: int, estimator: Estimator = "mle"
) -> FloatArray:
    """E (sigma_t^2 / sigma_0^2)^power of a one-dimensional Gaussian under Replace.

    With `power=0.5` the mean standard deviation, with `power=2` the mean squared variance.

    Args:
        n_samples: rows n per generation, at least 2.
        power: any real power above -(n - 1)/2, where the mean becomes infinite.
        n_generations: number of generations T.
        estimator: "mle" or "unbiased".

    Returns:
        `[generation]`.

    Raises:
        ValueError: if the power or a size is too small or the estimator unknown.

    Example:
        >>> print(variance_power_mean(10, 2, 1).round(6), variance_power_mean(10, 0.5, 1).round(6))
        [0.99] [0.922746]
    """
    n = check_count("n_samples", n_samples, minimum=2)
    divisor = n - 1 if check_estimator(estimator) else n
    check_number("power", power, minimum=-(n - 1) / 2, strict=True)
    shape = (n - 1) / 2
    if shape > 1e4 * abs(power):  # the difference below would cancel; here poch is a series
        log_ratio = math.log(poch(shape, power) / shape**power)
    else:
        log_ratio = gammaln(shape + power) - gammaln(shape) - power * math.log(shape)
    log_factor = power * math.log((n - 1) / divisor) + log_ratio
    return np.exp(log_factor * generations(n_generations))


def wasserstein2(n_samples: int, n_generations: int, estimator: Estimator = "mle") -> FloatArray:
    """E of the squared 2-Wasserstein distance to the truth over sigma_0^2, Replace, one dimension.

    Args:
        n_samples: rows n per generation, at least 2.
        n_generations: number of generations T.
        estimator: "mle" or "unbiased".

    Returns:
        `[generation]`; to first order (3/2) t / n.

    Raises:
        ValueError: if a size is too small or the estimator unknown.

    Example:
        >>> print(wasserstein2(100, 2).round(6))
        [0.015044 0.029975]
    """
    mean_error, variance = replace_moments(n_samples, n_generations, estimator)
    deviation = variance_power_mean(n_samples, 0.5, n_generations, estimator)
    return mean_error + variance + 1 - 2 * deviation


def nll(
    n_samples: int,
    dim: int,
    n_generations: int,
    estimator: Estimator = "mle",
    *,
    log_det_truth: Number = 0.0,
) -> FloatArray:
    """E of the negative log-likelihood of real data under the model of generation t, Replace.

    With nu = n or n - 1 the divisor and r = nu/(n - d - 2), the quadratic form of a real point
    has mean d [r^t + (1/n) sum_{j<=t} r^j]: the inverse of a Wishart matrix has mean
    identity/(n - d - 2), and each step of the mean adds one term. It grows exponentially.

    Args:
        n_samples: rows n per generation; at least 2 if unbiased.
        dim: dimension d.
        n_generations: number of generations T.
        estimator: "mle" or "unbiased".
        log_det_truth: log det Sigma_0.

    Returns:
        `[generation]`, nats per point; infinite where n <= d + 2.

    Raises:
        ValueError: if a size is below 1 or the estimator unknown.

    Example:
        >>> print(nll(20, 1, 2).round(4))
        [1.4842 1.5701]
    """
    n, d, divisor = _check_fit(n_samples, dim, estimator)
    t = generations(n_generations)
    if n <= d + 2:
        return np.full(len(t), np.inf)
    with np.errstate(over="ignore"):
        power = (divisor / (n - d - 2)) ** t
        quadratic = d * (power + np.cumsum(power) / n)
    log_det = log_det_truth + log_det_mean(n, d, n_generations, estimator)
    return 0.5 * (d * math.log(2 * math.pi) + log_det + quadratic)


def _check_fit(n_samples: int, dim: int, estimator: Estimator) -> tuple[int, int, int]:
    unbiased = check_estimator(estimator)
    n = check_count("n_samples", n_samples, minimum=2 if unbiased else 1)
    return n, check_count("dim", dim), n - 1 if unbiased else n
