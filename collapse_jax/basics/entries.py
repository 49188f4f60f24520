"""Entries of arrays at a place that is a traced number, not negative, and inside.

`x[i]` and `x.at[i].set(value)` also count from the end, where `i` is negative, which takes longer
to trace and to compile than what is wanted.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def entry(x: Array, i: Any, axis: int = 0) -> Array:
    """`x[i]`, along an axis."""
    return lax.dynamic_index_in_dim(x, i, axis, keepdims=False, allow_negative_indices=False)


def with_entry(x: Array, value: Any, i: Any, axis: int = 0) -> Array:
    """`x.at[i].set(value)`, along an axis."""
    return lax.dynamic_update_index_in_dim(x, value, i, axis, allow_negative_indices=False)


def written(write: Callable[[Any], Any], arrays: Any) -> Any:
    """`write(arrays)`, which writes into some of several arrays, once all that it writes is there.

    For else the compiler may write into one of them when what goes into another has yet to be read
    from it, and copies the whole of it before.
    """
    if len(jax.tree.leaves(arrays)) == 1:
        return write(arrays)
    once = lax.optimization_barrier(jnp.ones((), jnp.int32))
    return lax.fori_loop(0, once, lambda _, x: write(x), arrays)
