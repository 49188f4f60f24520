"""Distances between two distributions, estimated from rows of both.

All take rows of real data and generated rows, `[n, d]` and `[m, d]`. They can be jitted, vmapped
and differentiated (shares of rows are steps, whose gradient is zero). Where rows lie and what their
unit is does not matter, as far as their own type holds their differences.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from collapse_jax.basics import checks
from collapse_jax.numerics import draws, linalg
from collapse_jax.numerics.kernels import between_others, wide_squared_distances
from collapse_jax.numerics.subsets import smallest

_EXPONENT = 0x7F800000  # the bits of a float32 that hold it
_TINY = float(np.finfo(np.float32).tiny)
_NARROWEST = 1e-15  # bandwidth, relative to the largest distance
_ROUNDING = 1e-5  # relative, of squared distances between whole numbers, which are all the same


def frechet(real: ArrayLike, generated: ArrayLike) -> Float[Array, ""]:
    """Squared Frechet distance of the normal distributions with the rows' means and covariances.

    `|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2))`, with covariances of divisor n - 1: the squared
    2-Wasserstein distance, if the rows are normal. It is that of the samples: rows of one law
    have one of the order of d^2/n, relative to a variance.

    Args:
        real: rows of real data, 2 or more. `[n, d]`
        generated: generated rows, 2 or more. `[m, d]`

    Raises:
        ValueError: for fewer rows or other shapes.

    Source:
        Heusel et al., arXiv 1706.08500, equation 6, without their features.

    Example:
        >>> rows = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
        >>> print(frechet(rows, 2.0 * rows + 3.0).round(4))
        34.6667
    """
    a, b, unit = _together(real, generated, least=2)
    gap = jnp.mean(a, axis=0) - jnp.mean(b, axis=0)
    a, b = ((x - jnp.mean(x, axis=0, keepdims=True)) / math.sqrt(len(x) - 1) for x in (a, b))
    apart = jnp.sum(a**2) + jnp.sum(b**2) - 2.0 * _overlap(a, b)
    return _scaled(jnp.sum(gap**2) + jnp.maximum(apart, 0.0), unit, 2)


@jax.custom_jvp
def _overlap(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, ""]:
    """`tr (CC')^(1/2)` of the covariances a'a and b'b: the nuclear norm of two factors' product."""
    own, other, turn = _factors(a, b)
    return jnp.sum(turn * (own.T @ other))


@_overlap.defjvp
def _overlap_slope(rows, tangents):
    """By the linear map from the one normal distribution to the other, and back."""
    own, other, turn = _factors(*rows)
    there = linalg.triangular_inverse(own).T @ turn @ other.T
    back = linalg.triangular_inverse(other).T @ turn.T @ own.T
    slope = jnp.sum(rows[0] @ there * tangents[0]) + jnp.sum(rows[1] @ back * tangents[1])
    return jnp.sum(turn * (own.T @ other)), slope


def _factors(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Lower factors of two covariances, and what turns the one's axes into the other's."""
    own, other = linalg.qr_lower(a), linalg.qr_lower(b)
    return own, other, linalg.nearest_isometry(own.T @ other)


def precision(real: ArrayLike, generated: ArrayLike, neighbours: int = 3) -> Float[Array, ""]:
    """Share of the generated rows that lie where real data are.

    Real data are within a ball around each real row, which reaches to its k-th nearest neighbour
    among the other ones.

    Args:
        real: rows of real data, more than `neighbours`. `[n, d]`
        generated: generated rows. `[m, d]`
        neighbours: k.

    Raises:
        ValueError: for fewer rows or other shapes.

    Source:
        Kynkaanniemi et al., arXiv 1904.06991, section 2.

    Example:
        >>> rows = jnp.arange(8.0)[:, None]
        >>> float(precision(rows, 1.5 * rows, neighbours=1))
        0.75
    """
    return jnp.mean(jnp.any(_in_balls(real, generated, neighbours), axis=0), dtype=jnp.float32)


def recall(real: ArrayLike, generated: ArrayLike, neighbours: int = 3) -> Float[Array, ""]:
    """Share of the real rows that lie where generated data are; `precision` the other way round.

    Args:
        real: rows of real data. `[n, d]`
        generated: generated rows, more than `neighbours`. `[m, d]`
        neighbours: k.

    Raises:
        ValueError: for fewer rows or other shapes.

    Source:
        Kynkaanniemi et al., arXiv 1904.06991, section 2.

    Example:
        >>> rows = jnp.arange(8.0)[:, None]
        >>> float(recall(rows, 0.5 * rows, neighbours=1))
        0.625
    """
    return precision(generated, real, neighbours)


def coverage(real: ArrayLike, generated: ArrayLike, neighbours: int = 5) -> Float[Array, ""]:
    """Share of the real rows with a generated one within reach of their k-th nearest neighbour.

    The balls are those of `precision`, so that a single generated row far out covers nothing.

    Args:
        real: rows of real data, more than `neighbours`. `[n, d]`
        generated: generated rows. `[m, d]`
        neighbours: k.

    Raises:
        ValueError: for fewer rows or other shapes.

    Source:
        Naeem et al., arXiv 2002.09797, section 3.

    Example:
        >>> rows = jnp.arange(8.0)[:, None]
        >>> float(coverage(rows, 4.0 * rows, neighbours=1))
        0.75
    """
    return jnp.mean(jnp.any(_in_balls(real, generated, neighbours), axis=1), dtype=jnp.float32)


def mmd(
    real: ArrayLike,
    generated: ArrayLike,
    bandwidth: Float[Array, ""] | float | None = None,
) -> Float[Array, ""]:
    """Squared maximum mean discrepancy with the kernel `exp(-|x - y|^2 / (2 bandwidth^2))`.

    That of the samples, all pairs counted: never negative, and 0 for the same rows.

    Args:
        real: rows of real data, 2 or more. `[n, d]`
        generated: generated rows, 2 or more. `[m, d]`
        bandwidth: default the median distance between two real rows, whatever is generated (their
            mean distance where more than half of the pairs are at the same place).

    Raises:
        ValueError: for fewer rows or other shapes, and a bandwidth of 0 or less.

    Source:
        Gretton et al. (2012), JMLR 13, equation 5 and section 8.

    Example:
        >>> rows = jnp.array([[0.0], [1.0]])
        >>> float(mmd(rows, rows + 100.0, bandwidth=0.01))
        1.0
    """
    if bandwidth is not None:
        checks.positive_number("bandwidth", bandwidth)
    a, b, unit = _together(real, generated, least=2)
    within = wide_squared_distances(a, a)
    if bandwidth is None:
        width = _typical(lax.stop_gradient(within))
    else:
        width = jnp.asarray(bandwidth, jnp.float32) / unit
    width = jnp.maximum(width, _NARROWEST)

    def mean(squared: Float[Array, "i j"]) -> Float[Array, ""]:
        return jnp.mean(jnp.exp(-0.5 * (squared / width / width)))

    between = mean(wide_squared_distances(a, b))
    return jnp.maximum(mean(within) + mean(wide_squared_distances(b, b)) - 2.0 * between, 0.0)


def _typical(squared: Float[Array, "n n"]) -> Float[Array, ""]:
    """Median distance of two rows, the lower one of two; their mean where that is 0."""
    number = len(squared) * (len(squared) - 1)
    median = smallest(between_others(squared).reshape(-1), number // 2)
    mean = jnp.sum(jnp.sqrt(squared)) / number
    return jnp.where(median > 0.0, jnp.sqrt(median), mean)


def energy(real: ArrayLike, generated: ArrayLike) -> Float[Array, ""]:
    """Energy distance, `2 E|X - Y| - E|X - X'| - E|Y - Y'|`.

    That of the samples, all pairs counted: never negative, and 0 for the same rows. In one
    dimension it is the square of `scipy.stats.energy_distance`.

    Args:
        real: rows of real data. `[n, d]`
        generated: generated rows. `[m, d]`

    Raises:
        ValueError: for other shapes.

    Source:
        Szekely & Rizzo (2013), J. Stat. Plan. Inference 143, 1249.

    Example:
        >>> float(energy(jnp.array([[0.0], [1.0]]), jnp.array([[2.0], [3.0]])))
        3.0
    """
    a, b, unit = _together(real, generated)

    def mean(x: Array, y: Array) -> Float[Array, ""]:
        squared = wide_squared_distances(x, y)
        apart = squared > 0.0  # the length of nothing has no slope
        return jnp.mean(jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0))

    return _scaled(jnp.maximum(2.0 * mean(a, b) - mean(a, a) - mean(b, b), 0.0), unit, 1)


def sliced_wasserstein(
    real: ArrayLike,
    generated: ArrayLike,
    key: Key[Array, ""],
    directions: int = 64,
    power: int = 2,
) -> Float[Array, ""]:
    """Mean p-th power of the p-Wasserstein distance of projections on random directions.

    Each is exact, by the quantiles of both samples. In one dimension with power 1 it is
    `scipy.stats.wasserstein_distance`.

    Args:
        real: rows of real data. `[n, d]`
        generated: generated rows. `[m, d]`
        key: the key of the directions, which are uniform on the sphere.
        directions: how many.
        power: p, 1 or 2.

    Raises:
        ValueError: for other shapes, no directions or another power.

    Source:
        Bonneel et al. (2015), J. Math. Imaging Vis. 51, 22.

    Example:
        >>> rows = jnp.array([[0.0], [1.0], [5.0]])
        >>> print(sliced_wasserstein(rows, rows + 2.0, jax.random.key(0)).round(4))
        4.0
    """
    checks.whole_number("directions", directions)
    if power not in (1, 2):
        raise ValueError(f"power must be 1 or 2, got {power!r}")
    a, b, unit = _together(real, generated)
    axes = directions_of(key, directions, a.shape[1])
    i, j, weight = _quantiles(len(a), len(b))
    a, b = (jnp.sort(axes @ rows.T, axis=1) for rows in (a, b))
    gap = jnp.abs(a[:, i] - b[:, j]) ** power
    return _scaled(jnp.mean(gap @ jnp.asarray(weight, jnp.float32)), unit, power)


def directions_of(key: Key[Array, ""], number: int, dim: int) -> Float[Array, "number dim"]:
    """Independent directions, uniform on the sphere."""
    axes = draws.normal(key, (number, dim))
    return axes / jnp.linalg.norm(axes, axis=1, keepdims=True)


def _quantiles(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows of two sorted samples belong together, and how large each such share is."""
    ends = np.unique(np.concatenate([np.arange(1, n + 1) * m, np.arange(1, m + 1) * n]))
    last = ends - 1
    return last // m, last // n, np.diff(ends, prepend=0) / (n * m)


def _in_balls(real: Any, other: Any, neighbours: int) -> Any:
    """Whether each of the other rows lies in the ball of each real row. `[n, m]`"""
    checks.whole_number("neighbours", neighbours)
    a, b, _ = _together(real, other)
    n = len(a)
    if neighbours >= n:
        raise ValueError(
            f"neighbours must be below the number of rows, {n}, of which a row has {n - 1} others, "
            f"got {neighbours}"
        )
    radius = smallest(between_others(wide_squared_distances(a, a)), neighbours)
    return wide_squared_distances(a, b) <= (1.0 + _ROUNDING) * radius[:, None]


def _together(real: Any, generated: Any, least: int = 1) -> tuple[Array, Array, Array]:
    """Both sets of rows around the real ones' mean, in a unit in which squares are numbers.

    The unit is a power of two, so that nothing is rounded.
    """
    on_device = isinstance(real, jax.Array) or isinstance(generated, jax.Array)
    xp: Any = jnp if on_device else np  # which has more digits
    dtype = jnp.float32 if on_device else np.float64
    a, b = (xp.asarray(rows, dtype) for rows in (real, generated))
    for name, rows in (("real", a), ("generated", b)):
        if rows.ndim != 2 or len(rows) < least or not rows.shape[1]:
            raise ValueError(
                f"{name} must be rows [n, d], {least} or more, got shape {tuple(rows.shape)}"
            )
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"generated must have the {a.shape[1]} columns of real, got {b.shape[1]}")
    first = a[:1]
    center = first + xp.mean(a - first, axis=0, keepdims=True)
    a, b = (jnp.asarray(rows - center, jnp.float32) for rows in (a, b))
    largest = lax.stop_gradient(jnp.maximum(jnp.max(jnp.abs(a)), jnp.max(jnp.abs(b))))
    exponent = lax.bitcast_convert_type(largest, jnp.int32) & _EXPONENT
    unit = jnp.maximum(lax.bitcast_convert_type(exponent, jnp.float32), _TINY)
    return a / unit, b / unit, unit


def _scaled(x: Array, unit: Array, power: int) -> Array:
    """`x * unit**power`, where the power alone may be no number."""
    return x * unit * unit if power == 2 else x * unit
