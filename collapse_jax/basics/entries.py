"""Entries of arrays at a place that is a traced number, not negative, and inside.

`x[i]` and `x.at[i].set(value)` also count from the end, where `i` is negative, which takes longer
to trace and to compile than what is wanted. And of many arrays at once, by `vmap`, JAX makes them a
gather and a scatter, though the place be the same in all; here they remain slices. Derivatives are
those of slices, in either direction.
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


def shared_entry(x: Array, i: Any) -> Array:
    """`x[i]` of an array that is one for all: less to trace."""
    return _plain_reading(0)(x, i)


def with_entry(x: Array, value: Any, i: Any, axis: int = 0) -> Array:
    """`x.at[i].set(value)`, along an axis."""
    return _writing(axis)(x, _as_in(x, value), i)


def with_entries(arrays: Any, values: Any, i: Any) -> Any:
    """`with_entry` of several arrays, but none before the values of all are there.

    For else the compiler may write into one of them when what goes into another has yet to be read
    from it, and copies the whole of it before.

    Args:
        arrays: a pytree of them. `[place, ...]`
        values: a pytree like it. `[...]`
        i: the place.
    """
    values = jax.tree.map(_as_in, arrays, values)
    if len(jax.tree.leaves(arrays)) == 1:
        return _each(with_entry, arrays, values, i)
    return _together(arrays, values, i)


def _as_in(x: Array, value: Any) -> Array:
    """Numbers of Python become the array's kind; other arrays may not."""
    return jnp.asarray(value, None if hasattr(value, "dtype") else x.dtype)


def diagonal(a: Array) -> Array:
    """`jnp.diag(a)` of a square matrix."""
    return a.reshape(-1)[:: len(a) + 1]


@cache
def _reading(axis: int) -> Callable[[Array, Any], Array]:
    plain = _plain_reading(axis)

    @custom_vmap
    def read(x: Array, i: Any) -> Array:
        return plain(x, i)

    @read.def_vmap
    def _(_: int, batched: list[bool], x: Array, i: Any) -> tuple[Array, bool]:
        if batched[1]:
            return jax.vmap(plain, _axes(batched))(x, i), True
        return _reading(axis + 1)(x, i), True

    return _with_derivative(read, lambda slopes, i: plain(slopes[0], i))


@cache
def _writing(axis: int) -> Callable[[Array, Array, Any], Array]:
    plain = _plain_writing(axis)

    @custom_vmap
    def write(x: Array, value: Array, i: Any) -> Array:
        return plain(x, value, i)

    @write.def_vmap
    def _(n: int, batched: list[bool], x: Array, value: Array, i: Any) -> tuple[Array, bool]:
        if batched[2]:
            return jax.vmap(plain, _axes(batched))(x, value, i), True
        x, value = (
            a if many else jnp.broadcast_to(a, (n, *a.shape))
            for a, many in ((x, batched[0]), (value, batched[1]))
        )
        return _writing(axis + 1)(x, value, i), True

    return _with_derivative(write, lambda slopes, i: plain(slopes[0], slopes[1], i))


def _plain_reading(axis: int) -> Callable[[Array, Any], Array]:
    return partial(
        lax.dynamic_index_in_dim, axis=axis, keepdims=False, allow_negative_indices=False
    )


def _plain_writing(axis: int) -> Callable[[Array, Array, Any], Array]:
    return partial(lax.dynamic_update_index_in_dim, axis=axis, allow_negative_indices=False)


def _axes(batched: list[bool]) -> list[int | None]:
    return [0 if many else None for many in batched]


def _with_derivative(f: Callable[..., Any], slope: Callable[[Any, Any], Any]) -> Any:
    """A function that is linear in all of its arguments but the last, a place."""
    linear = jax.custom_jvp(f)

    @linear.defjvp
    def _(arguments: Any, slopes: Any) -> tuple[Any, Any]:
        return linear(*arguments), slope(slopes[:-1], arguments[-1])

    return linear


def _each(write: Callable[..., Array], arrays: Any, values: Any, i: Any) -> Any:
    return jax.tree.map(lambda x, value: write(x, value, i), arrays, values)


def _once(arrays: Any, values: Any, i: Any) -> Any:
    one = lax.optimization_barrier(jnp.ones((), jnp.int32))  # or it would be no loop
    return lax.fori_loop(0, one, lambda _, x: _each(with_entry, x, values, i), arrays)


def _slope(slopes: Any, i: Any) -> Any:
    def write(x: Any, value: Any, i: Any) -> Any:
        return x if x.dtype == jax.dtypes.float0 else _plain_writing(0)(x, value, i)

    return _each(write, slopes[0], slopes[1], i)


_together = _with_derivative(_once, _slope)
