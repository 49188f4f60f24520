"""Distances between all pairs of rows, and what is sought among them."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from collapse_jax.numerics import kernels

_COLUMNS = 8  # whose differences are one operation
_INFINITE = 0x7F800000  # the bits of infinity


def between_others(squared: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Distances of rows among each other, infinite from a row to itself."""
    return jnp.where(jnp.eye(len(squared), dtype=bool), jnp.inf, squared)


def squared_distances(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Squared Euclidean distances by explicit differences, some columns at a time."""
    d = a.shape[1]
    if d <= _COLUMNS:
        return kernels.squared_distances(a, b)

    def blocks(rows: Array) -> Array:
        rows = jnp.pad(rows, ((0, 0), (0, -d % _COLUMNS)))
        return jnp.swapaxes(rows.reshape(len(rows), -1, _COLUMNS), 0, 1)

    @jax.checkpoint  # a gradient works the differences out again, and does not keep them all
    def add(total, block):
        return total + kernels.squared_distances(*block), None

    return lax.scan(add, jnp.zeros((len(a), len(b))), (blocks(a), blocks(b)))[0]


def smallest(values: Float[Array, "*n m"], rank: int) -> Float[Array, "*n"]:
    """The value of this rank, from 1, along the last axis; none is negative.

    By halving the range of their bits, which are in the order of the values. Much faster than
    sorting on a CPU.
    """
    bits = lax.bitcast_convert_type(lax.stop_gradient(values), jnp.int32)

    def halve(_, bracket):
        low, high = bracket  # what is sought lies above the one, and not above the other
        middle = low + (high - low) // 2
        enough = jnp.sum(bits <= middle[..., None], axis=-1, dtype=jnp.int32) >= rank
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    shape = values.shape[:-1]
    bracket = (jnp.full(shape, -1, jnp.int32), jnp.full(shape, _INFINITE, jnp.int32))
    return lax.bitcast_convert_type(lax.fori_loop(0, 32, halve, bracket)[1], jnp.float32)
