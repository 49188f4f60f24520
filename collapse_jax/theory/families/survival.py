"""When chains of counts die out under Replace: the law of their sums at zero."""

import numpy as np
import scipy

from collapse_jax.theory import wright_fisher
from collapse_jax.theory._checks import FloatArray, Number, Numbers, check_number, check_sizes

_LEAST, _KNOTS = 1e-9, 600  # of the scale of 1 - z on which a generating function is interpolated
_NODES = 250  # of the integral over a gamma variable


def extinction(
    mean: Number, sizes: Numbers, *, dispersion: float = np.inf, all_rows: bool = False
) -> FloatArray:
    """Probability that all rows are 0 in generation t or before, under Replace.

    The sum of a batch is Poisson with the sum before it as its mean, a branching process; its
    generating function is iterated. Geometric and negative binomial rows multiply that mean by a
    gamma variable of mean 1, over which is integrated numerically: to 1e-7 for sizes times r of 2
    or more.

    Args:
        mean: true mean of a row.
        sizes: rows of each generation. `[generation]`
        dispersion: size r of negative binomial rows, 1 for geometric ones; infinite for Poisson.
        all_rows: whether the rows of generation 1 are all of a data set of this mean, and so have
            this mean exactly.

    Returns:
        `[generation]`.

    Raises:
        ValueError: for sizes below 1, or numbers that are not positive.

    Source:
        Suresh et al., arXiv 2412.17646 (Poisson, constant sizes); negative binomials are derived
        here: a branching process in a random environment.

    Example:
        >>> print(extinction(1.0, [2, 2, 2]).round(6))
        [0.135335 0.282454 0.391773]
        >>> print(extinction(1.0, [2, 2], dispersion=1.0).round(6))
        [0.25     0.443627]
    """
    total = np.asarray(sizes)
    n = check_sizes("sizes", sizes, max(total.size, 1))
    mu = check_number("mean", mean)
    ratios = n[1:] / n[:-1]
    if np.isinf(dispersion):
        return np.exp(-_first(mu, n[0], np.inf, all_rows, _branched(ratios)))
    scale = np.linspace(np.log(_LEAST), 0.0, _KNOTS)
    level = _first(mu, n[0], dispersion, all_rows, np.exp(scale))
    dead = [np.exp(-level[-1])]
    for size, ratio in zip(n[1:], ratios, strict=True):
        level = _after(scale, level, float(size * dispersion), float(ratio))
        dead.append(np.exp(-level[-1]))
    return np.array(dead)


def binomial_extinction(
    mean: Number, size: int, n_samples: int, n_generations: int, population: int | None = None
) -> FloatArray:
    """Probability that all rows are 0, or all are at their largest value, under Replace.

    Args:
        mean: true mean of a row.
        size: largest value of a row, 1 for Bernoulli rows.
        n_samples: rows per generation.
        n_generations: number of generations T.
        population: number of rows if those of generation 1 are drawn from a data set without
            replacement (for Bernoulli rows only).

    Returns:
        `[generation]`.

    Source:
        The chain of `wright_fisher.count_spectrum`, of two outcomes and `size` draws per row.

    Example:
        >>> print(binomial_extinction(0.5, 1, 2, 3).round(6))
        [0.5   0.75  0.875]
    """
    share = mean / size
    spectrum = wright_fisher.count_spectrum(
        [1 - share, share], n_samples * size, n_generations, population=population
    )
    return spectrum[:, 0]


def _first(mean: float, n: float, dispersion: float, all_rows: bool, y: FloatArray) -> FloatArray:
    """Minus the logarithm of E (1 - y)^S for the sum S of generation 1."""
    if all_rows:
        with np.errstate(divide="ignore"):
            return -n * mean * np.log1p(-y)
    if np.isinf(dispersion):
        return n * mean * y
    return n * dispersion * np.log1p(mean * y / dispersion)


def _branched(ratios: FloatArray) -> FloatArray:
    """For each generation T, 1 - z such that it is extinct with the probability E z^(S_1)."""
    y = np.ones(len(ratios) + 1)
    for t in reversed(range(len(ratios))):
        y[t + 1 :] = -np.expm1(-ratios[t] * y[t + 1 :])
    return y


def _after(scale: FloatArray, level: FloatArray, shape: float, ratio: float) -> FloatArray:
    """The generating function of the next sum, from that of the sum before it.

    As minus its logarithm at 1 - z = exp(scale).
    """
    gamma, weight = _gamma_rule(shape)
    y = -np.expm1(-np.exp(scale)[:, None] * ratio * gamma)
    finite = np.isfinite(level)
    spline = scipy.interpolate.CubicSpline(scale[finite], np.log(level[finite]))
    below = np.exp(spline(np.clip(np.log(y), scale[0], scale[finite][-1])))
    below = np.where(y < _LEAST, level[0] * y / _LEAST, below)
    return -np.log(np.exp(-below) @ weight)


def _gamma_rule(shape: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the expectation over a gamma variable of mean 1 (Golub and Welsch)."""
    k = np.arange(_NODES)
    beside = np.sqrt(k[1:] * (k[1:] + shape - 1.0))
    nodes, vectors = scipy.linalg.eigh_tridiagonal(2 * k + shape, beside)
    return np.maximum(nodes, 0.0) / shape, vectors[0] ** 2
