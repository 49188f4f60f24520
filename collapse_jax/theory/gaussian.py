"""Closed-form moments of the three workflows: mean error and model covariance.

A model here is a mean and a covariance fitted to its training set, and its samples have exactly
these two moments. That covers the Gaussian (for which the module is named), the categorical
distribution (`diag(p) - p p'` takes the place of the covariance) and the bootstrap. All results
are relative to the true covariance, hence free of the dimension.
"""

import math

import numpy as np
import scipy

from collapse_jax.theory._checks import (
    Estimator,
    FloatArray,
    Numbers,
    check_count,
    check_estimator,
    check_sizes,
    check_temperature,
    generations,
)
from collapse_jax.theory.moments import SecondMoments


def replace_moments(
    n_samples: Numbers,
    n_generations: int,
    estimator: Estimator = "mle",
    *,
    temperature: Numbers = 1.0,
) -> SecondMoments:
    """Moments under Replace: each generation is fitted to samples of the one before it.

    The maximum-likelihood covariance shrinks by 1 - 1/n per generation on average. The unbiased
    one keeps its mean (while almost every chain still dies) and the mean drifts without bound.

    Args:
        n_samples: `[]` or `[generation]`, rows in each generation; at least 2 if unbiased.
        n_generations: number of generations T.
        estimator: "mle" (divide by n) or "unbiased" (by n - 1).
        temperature: `[]` or `[generation]`, factor on the covariance with which model t is sampled.

    Returns:
        The moments of generations 1..T.

    Raises:
        ValueError: if a size is too small or the estimator unknown.

    Source:
        Kazdan et al., arXiv 2410.16713, sec. 2 (the setting); Shumailov et al., arXiv 2305.17493
        (unbiased); Alemohammad et al., arXiv 2307.01850 (temperature). Schedules: derived.

    Example:
        >>> print(replace_moments(10, 3).covariance.round(6))
        [0.9   0.81  0.729]
    """
    unbiased = check_estimator(estimator)
    t = generations(n_generations)
    sizes = check_sizes("n_samples", n_samples, len(t), minimum=2 if unbiased else 1)
    scale = check_temperature(temperature, len(t))
    covariance = np.cumprod(scale * (1 if unbiased else 1 - 1 / sizes), dtype=np.float64)
    sampled = scale * np.concatenate([[1.0], covariance[:-1]])
    return SecondMoments(np.cumsum(sampled / sizes), covariance)


def accumulate_moments(
    n_samples: Numbers, n_generations: int, estimator: Estimator = "mle"
) -> SecondMoments:
    """Moments under Accumulate: each generation is fitted to all data so far.

    Args:
        n_samples: `[]` or `[generation]`, rows that each generation adds (the first is real); at
            least 2 if unbiased.
        n_generations: number of generations T.
        estimator: "mle" (divide by the size N of the pool) or "unbiased" (by N - 1).

    Returns:
        The moments of generations 1..T.

    Raises:
        ValueError: if a size is too small or the estimator unknown.

    Source:
        Kazdan et al., arXiv 2410.16713, sec. 2 (the setting); the exact finite-n factors, the
        unbiased case and unequal batches are derived here.

    Example:
        >>> print(accumulate_moments(10, 3).covariance.round(6))
        [0.9     0.8775  0.86775]
    """
    unbiased = check_estimator(estimator)
    t = generations(n_generations)
    sizes = check_sizes("n_samples", n_samples, len(t), minimum=2 if unbiased else 1)
    total = np.cumsum(sizes)
    correction = total / (total - 1) if unbiased else np.ones(len(t))
    previous = np.concatenate([[1.0], correction[:-1]])
    share = sizes / total
    pool = np.cumprod(1 - share * (1 - previous * (1 - 1 / total)))
    covariance = correction * pool
    sampled = np.concatenate([[1.0], covariance[:-1]])
    return SecondMoments(np.cumsum(sampled * sizes / total**2), covariance)


def accumulate_subsample_moments(
    n_samples: int,
    n_generations: int,
    estimator: Estimator = "mle",
    *,
    with_replacement: bool = False,
) -> SecondMoments:
    """Moments under Accumulate-Subsample: n rows drawn from the pool of t n rows.

    With the maximum-likelihood covariance the spread settles on a plateau. With the unbiased one
    the mean covariance grows for ever, like t^(1/n): a subsample's unbiased covariance is on
    average the larger, N - 1 version of the pool's, and every batch carries that surplus back.

    Args:
        n_samples: rows n that each generation is fitted to and then adds; at least 2 if unbiased.
        n_generations: number of generations T.
        estimator: "mle" (divide by n) or "unbiased" (by n - 1).
        with_replacement: whether a row may be drawn more than once (then also in generation 1).

    Returns:
        The moments of generations 1..T.

    Raises:
        ValueError: if a size is too small or the estimator unknown.

    Source:
        Kazdan et al., arXiv 2410.16713, sec. 3 (the setting); the moments are derived here.

    Example:
        >>> print(accumulate_subsample_moments(10, 3).covariance.round(6))
        [0.9      0.831316 0.803605]
    """
    unbiased = check_estimator(estimator)
    n = check_count("n_samples", n_samples, minimum=2 if unbiased else 1)
    t = generations(n_generations)
    if with_replacement:
        displacement = np.full(len(t), 1 / n)
        spread = np.full(len(t), 1.0 if unbiased else 1 - 1 / n)
    else:
        displacement, spread = subsample_factors(n, t, unbiased=unbiased)
    growth = (
        1 + (displacement + spread - 1) / (t + 1) - (displacement + spread / n) / (t + 1) ** 2
    )[:-1]
    pool = (1 - 1 / n) * np.cumprod(np.concatenate([[1.0], growth]), dtype=np.float64)
    steps = (pool * (displacement + spread / n) / (t + 1) ** 2)[:-1]
    pool_mean_error = 1 / n + np.cumsum(np.concatenate([[0.0], steps]))
    return SecondMoments(pool_mean_error + displacement * pool, spread * pool)


def subsample_factors(n: int, t: FloatArray, *, unbiased: bool) -> tuple[FloatArray, FloatArray]:
    """What drawing n of t n rows without replacement does to the moments of the pool.

    Both factors multiply the pool's covariance (with divisor t n).

    Args:
        n: rows drawn.
        t: `[generation]`, pool size in units of n.
        unbiased: whether the covariance of the drawn rows has the divisor n - 1.

    Returns:
        Two arrays `[generation]`: the covariance of the drawn mean around the pool's mean, and
        the expected covariance of the drawn rows.

    Source:
        Finite-population sampling; both lines follow from the covariance -1/(N - 1) between two
        rows drawn without replacement.

    Example:
        >>> displacement, spread = subsample_factors(2, np.array([1.0, 3.0]), unbiased=False)
        >>> print(displacement, spread)
        [0.  0.4] [1.  0.6]
    """
    others = np.maximum(t * n - 1, 1)  # a pool of one row has no spread: any divisor will do
    return (t - 1) / others, t * (n if unbiased else n - 1) / others


def accumulate_limit(n_samples: int, estimator: Estimator = "mle") -> float:
    """Limit of the covariance factor under Accumulate as t grows.

    sin(x)/x at x = pi/sqrt(n) for the MLE, a ratio of Gamma functions for the unbiased estimator.

    Args:
        n_samples: rows per batch; at least 2 if unbiased.
        estimator: "mle" or "unbiased".

    Raises:
        ValueError: if the size is too small or the estimator unknown.

    Source:
        Infinite products of the factors of `accumulate_moments`, by Euler's product.

    Example:
        >>> print(round(accumulate_limit(10), 6))
        0.843436
    """
    unbiased = check_estimator(estimator)
    n = check_count("n_samples", n_samples, minimum=2 if unbiased else 1)
    if not unbiased:
        return float(np.sinc(1 / math.sqrt(n)))
    root = math.sqrt(1 + 4 * n)
    above, below = (1 + root) / (2 * n), (1 - root) / (2 * n)
    log_gamma = scipy.special.gammaln
    return float(np.exp(log_gamma(2 - 1 / n) - log_gamma(2 - above) - log_gamma(2 - below)))


def accumulate_subsample_limit(
    n_samples: int, estimator: Estimator = "mle", *, with_replacement: bool = False
) -> float:
    """Limit of the covariance factor under Accumulate-Subsample as t grows.

    Positive for the MLE and n > 1 (a plateau, no collapse), infinite for the unbiased estimator.

    Args:
        n_samples: rows per generation; at least 2 if unbiased.
        estimator: "mle" or "unbiased".
        with_replacement: as in `accumulate_subsample_moments`.

    Raises:
        ValueError: if the size is too small or the estimator unknown.

    Source:
        Infinite products of the factors of `accumulate_subsample_moments`.

    Example:
        >>> print(round(accumulate_subsample_limit(10), 6))
        0.738991
    """
    unbiased = check_estimator(estimator)
    n = check_count("n_samples", n_samples, minimum=2 if unbiased else 1)
    if unbiased:
        return math.inf
    if n == 1:
        return 0.0
    if with_replacement:
        return float(np.sinc(math.sqrt(2 * n - 1) / n))
    root = math.sqrt(12 * n - 3)
    above, below = (2 * n - 1 + root) / (2 * n), (2 * n - 1 - root) / (2 * n)
    log_gamma = scipy.special.gammaln
    ratio = log_gamma(1 - 1 / n) - log_gamma(1 + above) - log_gamma(1 + below)
    return float((1 - 1 / n) ** 2 * np.exp(ratio))


def from_finite_population(moments: SecondMoments, population: int) -> SecondMoments:
    """Moments when the real rows of generation 1 are drawn without replacement from a data set.

    The truth is then the data set itself, with its covariance of divisor P. Everything after
    generation 1 is linear in what generation 1 saw, so one factor P/(P - 1) and one constant carry
    over from the case of independent rows.

    Args:
        moments: the moments for independent real rows, of any workflow whose only real rows are
            those of generation 1.
        population: number of rows P of the data set.

    Returns:
        The moments relative to the covariance of the data set.

    Raises:
        ValueError: if the population has fewer than two rows.

    Source:
        Derived: n rows out of P have covariance (1 - 1/n) P/(P - 1) on average, and their mean has
        variance (P - n)/(n (P - 1)).

    Example:
        >>> moments = from_finite_population(replace_moments(10, 2), population=10)
        >>> print(moments.covariance.round(6), moments.mean_error.round(6))
        [1.  0.9] [0.  0.1]
    """
    rows = check_count("population", population, minimum=2)
    factor = rows / (rows - 1)
    return SecondMoments(factor * moments.mean_error - 1 / (rows - 1), factor * moments.covariance)
