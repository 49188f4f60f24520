"""Entries of arrays at a place that is a traced number, not negative, and inside.

`x[i]` and `x.at[i].set(value)` also count from the end, where `i` is negative, which takes longer
to trace and to compile than what is wanted. And of many arrays at once, by `vmap`, JAX makes them a
gather and a scatter, though the place be the same in all; here they remain slices.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array


def entry(x: Array, i: Any, axis: int = 0) -> Array:
    """`x[i]`, along an axis."""
    return _reading(axis)(x, i)


def with_entry(x: Array, value: Any, i: Any, axis: int = 0) -> Array:
    """`x.at[i].set(value)`, along an axis."""
    return _writing(axis)(x, jnp.asarray(value, x.dtype), i)


def diagonal(a: Array) -> Array:
    """`jnp.diag(a)` of a square matrix."""
    return a.reshape(-1)[:: len(a) + 1]


@cache
def _reading(axis: int) -> Callable[[Array, Any], Array]:
    of_one = partial(
        lax.dynamic_index_in_dim, axis=axis, keepdims=False, allow_negative_indices=False
    )

    @custom_vmap
    def read(x: Array, i: Any) -> Array:
        return of_one(x, i)

    @read.def_vmap
    def _(_: int, batched: list[bool], x: Array, i: Any) -> tuple[Array, bool]:
        if batched[1]:
            return jax.vmap(of_one, _axes(batched))(x, i), True
        if not batched[0]:  # but its derivatives are many
            return of_one(x, i), False
        return _reading(axis + 1)(x, i), True

    return read


@cache
def _writing(axis: int) -> Callable[[Array, Array, Any], Array]:
    of_one = partial(lax.dynamic_update_index_in_dim, axis=axis, allow_negative_indices=False)

    @custom_vmap
    def write(x: Array, value: Array, i: Any) -> Array:
        return of_one(x, value, i)

    @write.def_vmap
    def _(n: int, batched: list[bool], x: Array, value: Array, i: Any) -> tuple[Array, bool]:
        if batched[2]:
            return jax.vmap(of_one, _axes(batched))(x, value, i), True
        if not any(batched):  # but their derivatives are
            return of_one(x, value, i), False
        x, value = (
            a if many else jnp.broadcast_to(a, (n, *a.shape))
            for a, many in ((x, batched[0]), (value, batched[1]))
        )
        return _writing(axis + 1)(x, value, i), True

    return write


def _axes(batched: list[bool]) -> list[int | None]:
    return [0 if many else None for many in batched]


def written(write: Callable[[Any], Any], arrays: Any) -> Any:
    """`write(arrays)`, which writes into some of several arrays, once all that it writes is there.

    For else the compiler may write into one of them when what goes into another has yet to be read
    from it, and copies the whole of it before.
    """
    if len(jax.tree.leaves(arrays)) == 1:
        return write(arrays)
    once = lax.optimization_barrier(jnp.ones((), jnp.int32))
    return lax.fori_loop(0, once, lambda _, x: write(x), arrays)
