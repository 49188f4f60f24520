"""Entries of arrays at a place that is a traced number, not negative, and inside.

`x[i]` and `x.at[i].set(value)` also count from the end, where `i` is negative, which takes longer
to trace and to compile than what is wanted.
"""

from typing import Any

from jax import lax
from jaxtyping import Array


def entry(x: Array, i: Any, axis: int = 0) -> Array:
    """`x[i]`, along an axis."""
    return lax.dynamic_index_in_dim(x, i, axis, keepdims=False, allow_negative_indices=False)


def with_entry(x: Array, value: Any, i: Any, axis: int = 0) -> Array:
    """`x.at[i].set(value)`, along an axis."""
    return lax.dynamic_update_index_in_dim(x, value, i, axis, allow_negative_indices=False)
