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
import scipy

from collapse_jax.theory._checks import (
    Estimator,
    FloatArray,
    Number,
    Numbers,
    check_count,
    check_estimator,
    check_number,
    check_sizes,
    check_temperature,
)
from collapse_jax.theory.gaussian import replace_moments


def log_det_mean(
    n_samples: Numbers,
    dim: int,
    n_generations: int,
    estimator: Estimator = "mle",
    *,
    temperature: Numbers = 1.0,
) -> FloatArray:
    """E log det Sigma_t - log det Sigma_0 under Replace.

    A random walk; with a constant size its drift is also the almost sure rate of collapse.

    Args:
        n_samples: `[]` or `[generation]`, rows n of each fit; at least 2 if unbiased.
        dim: dimension d.
        n_generations: number of generations T.
        estimator: "mle" (divide by n) or "unbiased" (by n - 1).
        temperature: `[]` or `[generation]`, factor on the covariance with which model t is sampled.

    Returns:
        `[generation]`; minus infinity from the first fit with n <= d on, as it is singular.

    Raises:
        ValueError: if a size is below 1 or the estimator unknown.

    Example:
        >>> print(log_det_mean(10, 1, 2).round(6))
        [-0.220567 -0.441134]
    """
    n, d, divisor = _check_fit(n_samples, dim, n_generations, estimator)
    freedom = np.maximum(n[:, None] - np.arange(1, d + 1), 1e-9)
    drift = np.sum(scipy.special.digamma(freedom / 2), axis=1) + d * np.log(2 / divisor)
    drift += d * np.log(check_temperature(temperature, len(n)))
    return np.cumsum(np.where(n > d, drift, -np.inf))


def log_det_variance(n_samples: Numbers, dim: int, n_generations: int) -> FloatArray:
    """Var log det Sigma_t under Replace, the same for both estimators.

    Args:
        n_samples: `[]` or `[generation]`, rows n of each fit, more than `dim`.
        dim: dimension d.
        n_generations: number of generations T.

    Returns:
        `[generation]`; it grows linearly with a constant size.

    Raises:
        ValueError: if n <= d (the log-determinant is minus infinity), or a size is not positive.

    Example:
        >>> print(log_det_variance(10, 1, 2).round(6))
        [0.248725 0.49745 ]
    """
    n, d, _ = _check_fit(n_samples, dim, n_generations, "mle")
    if np.any(n <= d):
        raise ValueError(f"n_samples must be greater than dim={d}, got {n.min():g}")
    freedom = n[:, None] - np.arange(1, d + 1)
    return np.cumsum(np.sum(scipy.special.polygamma(1, freedom / 2), axis=1))


def determinant_mean(
    n_samples: Numbers, dim: int, n_generations: int, estimator: Estimator = "mle"
) -> FloatArray:
    """E det Sigma_t / det Sigma_0 under Replace (see the warning of the module).

    Args:
        n_samples: `[]` or `[generation]`, rows n of each fit; at least 2 if unbiased.
        dim: dimension d.
        n_generations: number of generations T.
        estimator: "mle" or "unbiased".

    Returns:
        `[generation]`; zero from the first fit with n <= d on.

    Raises:
        ValueError: if a size is below 1 or the estimator unknown.

    Example:
        >>> print(determinant_mean(10, 2, 2).round(6))
        [0.72   0.5184]
    """
    n, d, divisor = _check_fit(n_samples, dim, n_generations, estimator)
    freedom = np.maximum(n[:, None] - np.arange(1, d + 1), 0)
    return np.cumprod(np.prod(freedom / divisor[:, None], axis=1))


def variance_power_mean(
    n_samples: Numbers,
    power: Number,
    n_generations: int,
    estimator: Estimator = "mle",
    *,
    temperature: Numbers = 1.0,
) -> FloatArray:
    """E (sigma_t^2 / sigma_0^2)^power of a one-dimensional Gaussian under Replace.

    With `power=0.5` the mean standard deviation, with `power=2` the mean squared variance.

    Args:
        n_samples: `[]` or `[generation]`, rows n of each fit, at least 2.
        power: any real power above -(n - 1)/2, where the mean becomes infinite.
        n_generations: number of generations T.
        estimator: "mle" or "unbiased".
        temperature: as in `log_det_mean`.

    Returns:
        `[generation]`.

    Raises:
        ValueError: if the power or a size is too small or the estimator unknown.

    Example:
        >>> print(variance_power_mean(10, 2, 1).round(6), variance_power_mean(10, 0.5, 1).round(6))
        [0.99] [0.922746]
    """
    n = check_sizes("n_samples", n_samples, check_count("n_generations", n_generations), 2)
    divisor = n - 1 if check_estimator(estimator) else n
    check_number("power", power, minimum=-(n.min() - 1) / 2, strict=True)
    factor = power * (np.log((n - 1) / divisor) + np.log(check_temperature(temperature, len(n))))
    sizes, index = np.unique(n, return_inverse=True)
    factor += np.array([_log_power_ratio((size - 1) / 2, power) for size in sizes])[index]
    return np.exp(np.cumsum(factor))


def wasserstein2(
    n_samples: Numbers,
    n_generations: int,
    estimator: Estimator = "mle",
    *,
    temperature: Numbers = 1.0,
) -> FloatArray:
    """E of the squared 2-Wasserstein distance to the truth over sigma_0^2, Replace, one dimension.

    Args:
        n_samples: `[]` or `[generation]`, rows n of each fit, at least 2.
        n_generations: number of generations T.
        estimator: "mle" or "unbiased".
        temperature: as in `log_det_mean`.

    Returns:
        `[generation]`; to first order (3/2) t / n.

    Raises:
        ValueError: if a size is too small or the estimator unknown.

    Example:
        >>> print(wasserstein2(100, 2).round(6))
        [0.015044 0.029975]
    """
    mean_error, variance = replace_moments(
        n_samples, n_generations, estimator, temperature=temperature
    )
    deviation = variance_power_mean(
        n_samples, 0.5, n_generations, estimator, temperature=temperature
    )
    return mean_error + variance + 1 - 2 * deviation


def nll(
    n_samples: Numbers,
    dim: int,
    n_generations: int,
    estimator: Estimator = "mle",
    *,
    log_det_truth: Number = 0.0,
    temperature: Numbers = 1.0,
) -> FloatArray:
    """E of the negative log-likelihood of real data under the model of generation t, Replace.

    With nu = n or n - 1 the divisor and r = nu/(n - d - 2), the quadratic form of a real point
    has mean d [r^t + (1/n) sum_{j<=t} r^j]: the inverse of a Wishart matrix has mean
    identity/(n - d - 2), and each step of the mean adds one term. It grows exponentially.

    Args:
        n_samples: `[]` or `[generation]`, rows n of each fit; at least 2 if unbiased.
        dim: dimension d.
        n_generations: number of generations T.
        estimator: "mle" or "unbiased".
        log_det_truth: log det Sigma_0.
        temperature: as in `log_det_mean`.

    Returns:
        `[generation]`, nats per point; infinite from the first fit with n <= d + 2 on.

    Raises:
        ValueError: if a size is below 1 or the estimator unknown.

    Example:
        >>> print(nll(20, 1, 2).round(4))
        [1.4842 1.5701]
    """
    n, d, divisor = _check_fit(n_samples, dim, n_generations, estimator)
    scale = check_temperature(temperature, len(n))
    ratio = np.where(n > d + 2, divisor / np.maximum(n - d - 2, 1) / scale, np.inf)
    form, power, walk = np.empty(len(n)), 1.0, 0.0
    with np.errstate(over="ignore"):
        for t in range(len(n)):
            power *= ratio[t]
            walk = ratio[t] * (walk + scale[t] / n[t])
            form[t] = d * (power + walk)
    log_det = log_det_mean(n, d, len(n), estimator, temperature=temperature)
    half = 0.5 * (d * math.log(2 * math.pi) + log_det_truth + log_det)
    return np.where(np.isfinite(form), half + form / 2, np.inf)


def _log_power_ratio(shape: float, power: Number) -> float:
    """log of Gamma(shape + power)/(Gamma(shape) shape^power)."""
    if shape > 1e4 * abs(power):  # the difference below would cancel; here poch is a series
        return math.log(scipy.special.poch(shape, power) / shape**power)
    return float(
        scipy.special.gammaln(shape + power)
        - scipy.special.gammaln(shape)
        - power * math.log(shape)
    )


def _check_fit(
    n_samples: Numbers, dim: int, n_generations: int, estimator: Estimator
) -> tuple[FloatArray, int, FloatArray]:
    """Rows and divisor of each generation's fit, `[generation]`, and the dimension."""
    unbiased = check_estimator(estimator)
    length = check_count("n_generations", n_generations)
    n = check_sizes("n_samples", n_samples, length, minimum=2 if unbiased else 1)
    return n, check_count("dim", dim), n - 1 if unbiased else n
