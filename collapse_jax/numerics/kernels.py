"""Distances between rows, and sums of kernels, the whole cost of kernel density estimation."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

_COLUMNS = 8  # whose differences are one operation
_LOG2_E = 1.4426950408889634
_LANES = 16  # rows are padded to a multiple of this, so that no loop has a scalar remainder
# 2**f on [-1/2, 1/2], lowest power first, by Chebyshev interpolation; relative error 1e-7.
_EXP2 = (1.00000007545, 0.693147188026, 0.240221074853, 0.0555035711, 0.0096760319, 0.0013390863)


class KernelSums(NamedTuple):
    """Logarithms of the sum of kernels, at each test row, and of the rows' weights."""

    log_sums: Float[Array, " m"]
    log_weight: Float[Array, ""]

    @classmethod
    def of_rows(
        cls,
        test: Float[Array, "m d"],
        rows: Float[Array, "n d"],
        valid: Bool[Array, " n"] | None,
        bandwidth: Float[Array, ""],
        kernel: str,
    ) -> "KernelSums":
        """Those of some of the rows, each of weight 1. There may be none."""
        n = jnp.asarray(len(rows), jnp.float32)
        if valid is not None:
            n = jnp.sum(valid, dtype=jnp.float32)
            rows = jnp.where(valid[:, None], rows, jnp.inf)  # no kernel reaches from there
        log_sums = log_kernel_sums(test, rows, bandwidth, kernel)
        return cls(jnp.where(n > 0.0, log_sums, -jnp.inf), jnp.log(n))

    @classmethod
    def of_many(
        cls,
        test: Float[Array, "m d"],
        rows: Float[Array, "n d"],
        valid: Bool[Array, " n"],
        bandwidth: Float[Array, ""],
        kernel: str,
        *,
        at_a_time: int,
    ) -> "KernelSums":
        """The same of so many rows that not all distances can be kept at once."""
        spare = -len(rows) % at_a_time
        rows = jnp.pad(rows, ((0, spare), (0, 0))).reshape(-1, at_a_time, rows.shape[1])
        valid = jnp.pad(valid, (0, spare)).reshape(-1, at_a_time)

        def add(total, part):
            rows, valid = part
            return total.merge(cls.of_rows(test, rows, valid, bandwidth, kernel), None), None

        first = cls.of_rows(test, rows[0], valid[0], bandwidth, kernel)
        return lax.scan(add, first, (rows[1:], valid[1:]))[0]

    def merge(self, other: "KernelSums", scales: Float[Array, "2"] | None) -> "KernelSums":
        """Those of both sets of rows, whose weights are multiplied by `scales`."""
        first, second = self, other
        if scales is not None:
            logs = jnp.log(scales)
            first = KernelSums(*(x + logs[0] for x in first))
            second = KernelSums(*(x + logs[1] for x in second))
        return KernelSums(*map(jnp.logaddexp, first, second))


def log_density(
    x: Float[Array, "m d"],
    rows: Float[Array, "n d"],
    weights: Float[Array, " n"],
    bandwidth: Float[Array, ""],
    kernel: str,
) -> Float[Array, " m"]:
    """Logarithm of a kernel density at points, of rows with weights; slow, and for pictures.

    Example:
        >>> x, weights = jnp.array([[0.0], [1.0]]), jnp.array([1.0, 0.0])
        >>> log_density(x, x, weights, jnp.ones(()), "gaussian").round(3).tolist()
        [-0.9190000295639038, -1.4190000295639038]
    """
    d = x.shape[1]
    ball = 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1.0)
    volume = 0.5 * d * math.log(2.0 * math.pi) if kernel == "gaussian" else ball
    logs = jnp.where(weights > 0.0, jnp.log(jnp.where(weights > 0.0, weights, 1.0)), -jnp.inf)

    def at(point):
        squared = jnp.sum(((point - rows) / bandwidth) ** 2, axis=1)
        inside = jnp.where(squared <= 1.0, 0.0, -jnp.inf)
        return jax.nn.logsumexp(logs + (-0.5 * squared if kernel == "gaussian" else inside))

    norm = volume + d * jnp.log(bandwidth) + jnp.log(jnp.sum(weights))
    return lax.map(at, x, batch_size=64) - norm


def block_size(n: int) -> int:
    """How many test rows are evaluated together against `n` rows.

    Measured on a CPU: about 160 KB of distances at a time, in blocks that are not too thin.
    """
    return min(max(40_960 // n // _LANES * _LANES, 64), 256)


def log_kernel_sums(
    test: Float[Array, "m d"],
    rows: Float[Array, "n d"],
    bandwidth: Float[Array, ""],
    kernel: str,
) -> Float[Array, " m"]:
    """Logarithm of the sum of unnormalised kernels centred at the rows, at each test row.

    Squared distances come from explicit differences: the expanded form loses all digits at small
    bandwidths. The nearest row's kernel is factored out, so that no sum underflows.

    Args:
        test: where the sums are evaluated. `[m, d]`
        rows: centres of the kernels. `[n, d]`
        bandwidth: standard deviation of the Gaussian kernel, radius of the tophat.
        kernel: `"gaussian"` or `"tophat"`.

    Returns:
        logarithms, `-inf` where no tophat reaches. `[m]`
    """
    log_sums = _log_tophat_sums if kernel == "tophat" else _log_gaussian_sums
    m, d = test.shape
    # Rows at infinity have no kernel anywhere.
    rows = jnp.pad(rows, ((0, -rows.shape[0] % _LANES), (0, 0)), constant_values=jnp.inf)
    n_blocks = max(2, -(-m // block_size(rows.shape[0])))
    size = -(-m // (n_blocks * _LANES)) * _LANES
    padded = jnp.pad(test, ((0, n_blocks * size - m), (0, 0)), mode="edge")
    # A loop over blocks of test rows, even a short one, keeps the matrix of distances in the cache,
    # and keeps the compiler from computing the rows (random draws!) anew for every test row.
    blocks = lax.map(
        lambda block: log_sums(block, rows, bandwidth), padded.reshape(n_blocks, size, d)
    )
    return blocks.reshape(-1)[:m]


def _log_tophat_sums(test, rows, bandwidth):
    inside = squared_distances(test, rows) < bandwidth**2
    return jnp.log(jnp.sum(inside, axis=1, dtype=jnp.float32))


@jax.custom_jvp
def _log_gaussian_sums(test, rows, bandwidth):
    squared = _scaled_distances(test, rows, bandwidth)
    nearest = jnp.min(squared, axis=1)
    # A product with ones, because XLA's CPU compiler does not vectorise the sum.
    total = _exp2(nearest[:, None] - squared) @ jnp.ones(rows.shape[0])
    return (jnp.log2(total) - nearest) / _LOG2_E


@_log_gaussian_sums.defjvp
def _log_gaussian_slopes(primals, tangents):
    """Each row's share in the sum times the slope of its own logarithm.

    Bits of powers have no derivative, and rows at infinity no finite one.
    """
    test, rows, bandwidth = primals
    test_dot, rows_dot, bandwidth_dot = tangents
    squared = _scaled_distances(test, rows, bandwidth)
    kernels = jnp.exp2(jnp.min(squared, axis=1, keepdims=True) - squared)
    shares = jnp.where(jnp.isfinite(squared), kernels, 0.0)
    shares = shares / jnp.maximum(jnp.sum(shares, axis=1, keepdims=True), 1.0)
    slope = jnp.zeros_like(squared)
    for k in range(rows.shape[1]):
        gap = (test[:, k, None] - jnp.where(jnp.isfinite(rows[:, k]), rows[:, k], 0.0)) / bandwidth
        moved = test_dot[:, k, None] - rows_dot[None, :, k] - gap * bandwidth_dot
        slope = slope - gap * moved / bandwidth
    return _log_gaussian_sums(test, rows, bandwidth), jnp.sum(shares * slope, axis=1)


def _scaled_distances(test, rows, bandwidth):
    """Squared, and scaled so that the kernel is a power of two of them."""
    scale = jnp.sqrt(0.5 * _LOG2_E) / bandwidth
    return squared_distances(scale * test, scale * rows)


def squared_distances(a: Float[Array, "m d"], b: Float[Array, "n d"]) -> Float[Array, "m n"]:
    """Squared Euclidean distances by explicit differences."""
    squared = jnp.zeros((a.shape[0], b.shape[0]))
    for k in range(a.shape[1]):
        squared = squared + (a[:, k, None] - b[None, :, k]) ** 2
    return squared


def wide_squared_distances(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """`squared_distances`, some columns at a time: a small program, whatever their number."""
    d = a.shape[1]
    if d <= _COLUMNS:
        return squared_distances(a, b)

    def blocks(rows: Array) -> Array:
        rows = jnp.pad(rows, ((0, 0), (0, -d % _COLUMNS)))
        return jnp.swapaxes(rows.reshape(len(rows), -1, _COLUMNS), 0, 1)

    @jax.checkpoint  # a gradient works the differences out again, and does not keep them all
    def add(total, block):
        return total + squared_distances(*block), None

    return lax.scan(add, jnp.zeros((len(a), len(b))), (blocks(a), blocks(b)))[0]


def between_others(squared: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Distances of rows among each other, infinite from a row to itself."""
    return jnp.where(jnp.eye(len(squared), dtype=bool), jnp.inf, squared)


def _exp2(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """2**x for x <= 0 to a relative error of 2e-7; 2**-126 below x = -126, and 1 above 0.

    Exponentials are half of the time of a kernel sum. This takes two thirds of the time of
    `jnp.exp` on a CPU: whole powers of two are added to the bits of a polynomial.
    """
    # Above 0 by rounding only: the compiler works out the same distance in two ways.
    x = jnp.clip(x, -126.0, 0.0)
    whole = jnp.round(x)
    fraction = x - whole
    power = jnp.full_like(x, _EXP2[-1])
    for coefficient in reversed(_EXP2[:-1]):
        power = power * fraction + coefficient
    bits = lax.bitcast_convert_type(power, jnp.int32)
    return lax.bitcast_convert_type(bits + (whole.astype(jnp.int32) << 23), jnp.float32)
