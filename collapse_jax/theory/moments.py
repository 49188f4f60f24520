"""Exact first and second moments for any workflow with fixed batch weights.

Data arrive in batches. A batch holds real rows, or rows sampled from the model of one earlier
generation; the model of generation t takes its mean and covariance from the batches with weights
that were fixed beforehand. Whatever the distribution of the rows, two numbers per generation then
follow exactly from a linear recursion over the Gram matrix of the batch means: the variance of the
model mean around the truth, and the mean of the model covariance. Both are proportional to the
true covariance, so they are returned relative to it, and they do not depend on the dimension.

Replace, Accumulate, windows, real data mixed in (fixed or fresh), sampling from an old model and
weights by provenance are all choices of the weight matrix. (For what a workflow can be, random
choices of rows and of models among it, see `recursion`, which needs no such matrix.)

Source:
    our derivation; it is the finite-sample counterpart of the Gaussian process of
    Dey & Donoho, arXiv 2410.22812.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from collapse_jax.theory._checks import (
    Estimator,
    FloatArray,
    Number,
    Numbers,
    check_count,
    check_estimator,
    check_number,
    check_sizes,
    generations,
)


class SecondMoments(NamedTuple):
    """Second moments of the models, relative to the true covariance Sigma_0.

    Attributes:
        mean_error: `[generation]`, E ||mu_t - mu_0||^2 / tr Sigma_0.
        covariance: `[generation]`, the factor a_t in E Sigma_t = a_t Sigma_0.
    """

    mean_error: FloatArray
    covariance: FloatArray


def second_moments(
    weights: Numbers,
    sizes: Numbers,
    sources: Numbers | None = None,
    *,
    sampling_scale: Number = 1.0,
    estimator: Estimator = "mle",
    kernel_variance: Number = 0.0,
) -> SecondMoments:
    """Exact second moments of a chain whose models are weighted moments of batches.

    With unbiased sampling and the plain weighted covariance (`sampling_scale=1`,
    `estimator="mle"`, no kernel) the two results add up to 1 in every generation: what the
    models lose in spread they gain in error of the mean.

    Args:
        weights: `[generation, batch]`, the weight that generation t = 1..T gives to each batch;
            non-negative, each row sums to 1, and zero on batches that do not exist yet.
        sizes: `[]` or `[batch]`, number of rows of each batch.
        sources: `[batch]`, the generation whose model produced the batch, 0 for real rows. By
            default batch b = 0, 1, ... comes from generation b: the first one is real, and each
            model adds one batch.
        sampling_scale: factor on the covariance with which models (not the truth) are sampled;
            below 1 for samplers that favour quality over diversity.
        estimator: "mle" divides by the total weight; "unbiased" divides by one minus the sum
            of the squared row weights, which is the usual N - 1 where all rows weigh the same.
        kernel_variance: variance that the model adds to its data, relative to the true variance;
            the squared bandwidth of a kernel density estimate.

    Returns:
        The moments of generations 1..T.

    Raises:
        ValueError: if a shape, weight, size or source is not as described, or the unbiased
            estimator meets a generation that rests on a single row.

    Source:
        Derived for this package. See the module's first lines.

    Example:
        >>> result = second_moments(accumulate_weights(3), sizes=10)
        >>> print(result.covariance.round(6))
        [0.9     0.8775  0.86775]
        >>> print((result.covariance + result.mean_error).round(12))
        [1. 1. 1.]
    """
    weights, batch_sources = _check_weights(weights, sources)
    sizes = check_sizes("sizes", sizes, weights.shape[1])
    unbiased = check_estimator(estimator)
    scale = check_number("sampling_scale", sampling_scale)
    kernel = check_number("kernel_variance", kernel_variance)
    correction = np.ones(len(weights))
    if unbiased:
        concentration = np.sum(weights**2 / sizes, axis=1)
        if np.any(concentration > 1 - 1e-12):
            raise ValueError(
                "sizes must give every generation two rows or more if estimator='unbiased'"
            )
        correction = 1 / (1 - concentration)

    def covariance(t: int, spread: float) -> float:
        return float(correction[t - 1]) * spread + kernel

    return _propagate(weights, sizes, batch_sources, covariance, scale)


def risk_ratio(weights: Numbers, sizes: Numbers = 1, sources: Numbers | None = None) -> FloatArray:
    """Asymptotic risk of each generation, relative to a fit on the first batch's size of real data.

    For estimators that are asymptotically linear (maximum likelihood in smooth families, least
    squares), the estimation errors follow a Gaussian process as the batches grow, and the error
    covariance of generation t is this number times that of an ordinary fit on `n` real rows,
    where a batch of relative size 1 has `n` rows.

    Args:
        weights: `[generation, batch]`, as in `second_moments`.
        sizes: `[]` or `[batch]`, positive batch sizes relative to `n` (need not be integers).
        sources: `[batch]`, as in `second_moments`.

    Returns:
        `[generation]`, the risk ratios.

    Raises:
        ValueError: if a shape, weight, size or source is not as described.

    Source:
        Dey & Donoho, arXiv 2410.22812 (the process); the recursion is derived here.

    Example:
        >>> print(risk_ratio(replace_weights(4)), risk_ratio(accumulate_weights(4)).round(4))
        [1. 2. 3. 4.] [1.     1.25   1.3611 1.4236]
    """
    weights, batch_sources = _check_weights(weights, sources)
    relative = np.asarray(sizes, dtype=np.float64)
    if relative.shape not in ((), (weights.shape[1],)) or not np.all(relative > 0):
        raise ValueError(f"sizes must be positive, of shape () or (batches,), got {sizes!r}")
    relative = np.broadcast_to(relative, (weights.shape[1],))
    return _propagate(weights, relative, batch_sources, lambda t, spread: 1.0, 1.0).mean_error


def replace_weights(n_generations: int) -> FloatArray:
    """Weights `[generation, batch]` of Replace: each generation sees the newest batch only.

    Raises:
        ValueError: if `n_generations` is below 1.

    Example:
        >>> print(replace_weights(2))
        [[1. 0.]
         [0. 1.]]
    """
    return window_weights(n_generations, 1)


def accumulate_weights(n_generations: int, sizes: Numbers = 1) -> FloatArray:
    """Weights `[generation, batch]` of Accumulate: every row so far counts the same.

    Args:
        n_generations: number of generations T.
        sizes: `[]` or `[generation]`, rows per batch.

    Raises:
        ValueError: if an argument is below 1 or not integral.

    Example:
        >>> print(accumulate_weights(2, sizes=[3, 1]))
        [[1.   0.  ]
         [0.75 0.25]]
    """
    return window_weights(n_generations, n_generations, sizes)


def window_weights(n_generations: int, window: int, sizes: Numbers = 1) -> FloatArray:
    """Weights `[generation, batch]` where every row of the last `window` batches counts the same.

    Args:
        n_generations: number of generations T.
        window: how many batches are kept; 1 is Replace, T is Accumulate.
        sizes: `[]` or `[generation]`, rows per batch.

    Raises:
        ValueError: if an argument is below 1 or not integral.

    Example:
        >>> print(window_weights(3, 2))
        [[1.  0.  0. ]
         [0.5 0.5 0. ]
         [0.  0.5 0.5]]
    """
    check_count("window", window)
    age = np.subtract.outer(t := generations(n_generations), t)
    kept = (age >= 0) & (age < window)
    rows = kept * check_sizes("sizes", sizes, len(t))
    return rows / rows.sum(axis=1, keepdims=True)


def _check_weights(
    weights: Numbers, sources: Numbers | None
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"weights must be [generation, batch], got the shape {array.shape}")
    n_generations, n_batches = array.shape
    given = np.arange(n_batches) if sources is None else np.asarray(sources)
    if given.shape != (n_batches,) or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"sources must be {n_batches} integers, one per batch, got {sources!r}")
    if np.any(given < 0):
        raise ValueError(f"sources must be >= 0 (0 for real rows), got {sources!r}")
    if not (np.all(array >= 0) and np.allclose(array.sum(axis=1), 1, rtol=0, atol=1e-9)):
        raise ValueError(f"weights must be >= 0, and every row must sum to 1, got {array}")
    unborn = given[None, :] >= np.arange(1, n_generations + 1)[:, None]
    if np.any(array[unborn] > 0):
        raise ValueError("weights must be 0 unless the source of the batch is below the generation")
    return array, given.astype(np.int64)


def _propagate(
    weights: FloatArray,
    sizes: FloatArray,
    sources: npt.NDArray[np.int64],
    covariance: Callable[[int, float], float],
    scale: float,
) -> SecondMoments:
    """Runs the recursion; `covariance` maps (t, mean weighted spread) to the model covariance."""
    n_generations, n_batches = weights.shape
    gram = np.zeros((n_batches, n_batches))  # E of products of batch means, truth at 0
    square = np.zeros(n_batches)  # E of the square of one row
    mean_error, model = np.zeros(n_generations + 1), np.ones(n_generations + 1)
    for t in range(n_generations + 1):
        cross = np.zeros(n_batches)
        if t:
            cross = gram @ weights[t - 1]
            mean_error[t] = weights[t - 1] @ cross
            model[t] = covariance(t, float(weights[t - 1] @ square - mean_error[t]))
        sampled = model[t] * (scale if t else 1.0)
        born = np.flatnonzero(sources == t)
        gram[born, :] = cross
        gram[:, born] = cross[:, None]
        gram[np.ix_(born, born)] = mean_error[t] + np.diag(sampled / sizes[born])
        square[born] = mean_error[t] + sampled
    return SecondMoments(mean_error[1:], model[1:])
