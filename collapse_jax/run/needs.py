"""What a generation needs, worked out before anything is made."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import linalg

from collapse_jax.loop.ecosystems.steps import begin, make_world, step
from collapse_jax.loop.form import Columns, Form
from collapse_jax.loop.generation import fitted
from collapse_jax.numerics.keys import chain_key
from collapse_jax.tasks import AbstractTask
from collapse_jax.tasks.parts.comparison import Features

_LARGE = 2**14  # without a number above it there is no array that is too large
_LAPACK = {getattr(linalg, name).name for name in dir(linalg) if name.endswith("_p")}
_LOOKED_THROUGH: dict[Any, bool] = {}
_MOST_KNOWN = 256
_FREE = {"broadcast_in_dim", "iota"}  # never made, but where they are used


class Array(NamedTuple):
    """An array without its contents."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def check_arrays(
    task: AbstractTask,
    form: Form,
    names: Sequence[str],
    first: Columns,
    features: Features | None,
    limit: int,
) -> None:
    """Refuse a task that works on an array which alone is more than there is memory.

    One generation of a chain is traced for it, where the task or the loop has a large number.

    Args:
        task: the task.
        form: the loop.
        names: the metrics.
        first: the numbers of the first generation.
        features: what distances compare.
        limit: bytes that arrays may take.

    Raises:
        ValueError: names the numbers that make the array so large.
    """
    large = {name: n for name, n in (*_numbers(task), *_widths(form)) if n >= _LARGE}
    if not large:
        return
    widest = largest(task, form, names, first, features)
    if widest.n_bytes <= limit:
        return
    in_shape = {name: n for name, n in large.items() if any(s % n == 0 for s in widest.shape if s)}
    blamed = ", ".join(f"{name} ({n:,})" for name, n in (in_shape or large).items())
    raise ValueError(
        f"{blamed} must be smaller: one array of a generation, {widest.dtype.name}"
        f"{list(widest.shape)}, takes {widest.n_bytes:,} bytes, and {limit:,} are there"
    )


def largest(
    task: AbstractTask,
    form: Form,
    names: Sequence[str],
    first: Columns,
    features: Features | None = None,
) -> Array:
    """The largest array that one generation of one chain works on."""
    traced = _traced(task, form, names, first, features)
    return max(_arrays(traced), key=lambda array: array.n_bytes)


def calls_lapack(
    task: AbstractTask,
    form: Form,
    names: Sequence[str],
    first: Columns,
    features: Features | None = None,
) -> bool:
    """Whether a generation factorises matrices by `jax.numpy.linalg` or `jax.scipy.linalg`.

    It is looked through once for all tasks of one structure, whatever their numbers.
    """
    leaves, structure = jax.tree.flatten(task)
    shapes = tuple((np.shape(leaf), str(getattr(leaf, "dtype", ""))) for leaf in leaves)
    key = structure, shapes, form, tuple(names), features
    try:
        known = _LOOKED_THROUGH.get(key)
    except (TypeError, ValueError):  # a part of it, of the user's own, cannot be compared
        key, known = None, None
    if known is None:
        traced = _traced(task, form, names, first, features)
        known = any(equation.primitive.name in _LAPACK for equation in _equations(traced))
        if key is not None:
            if len(_LOOKED_THROUGH) >= _MOST_KNOWN:  # it holds on to functions of the user's
                _LOOKED_THROUGH.clear()
            _LOOKED_THROUGH[key] = known
    return known


def _traced(
    task: AbstractTask,
    form: Form,
    names: Sequence[str],
    first: Columns,
    features: Features | None,
) -> Any:
    """One generation of one chain, as JAX traces it."""

    def generation(task: AbstractTask, first: Columns, seed: Any) -> Any:
        key = chain_key(seed)
        world = make_world(task, form, key)
        pool = begin(task, form, world, key, first)
        if task.acceptance is None:
            return step(task, form, world, pool, key, first, names, features)
        parts = task, form, world, pool, key, first
        pool, model, _, found = fitted(*parts, names, features)
        n = min(task.acceptance.batch, form.synthetic.width)
        return pool, found, task.sample(world, model, key, n, temperature=None)

    seed = np.zeros((), np.uint32)
    return eqx.filter_make_jaxpr(generation)(task, first, seed)[0].jaxpr


def _arrays(jaxpr: Any) -> Iterator[Array]:
    """All arrays that a traced function makes, and those it is given."""
    yield Array((), jnp.dtype(jnp.float32))
    for variable in jaxpr.invars:
        yield from _array(variable)
    for equation in _equations(jaxpr):
        if equation.primitive.name not in _FREE:
            for variable in equation.outvars:
                yield from _array(variable)


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All operations of a traced function, those of the functions within it too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_traced):
            if _is_traced(inner):
                yield from _equations(getattr(inner, "jaxpr", inner))


def _array(variable: Any) -> Iterator[Array]:
    shape, dtype = (getattr(variable.aval, name, None) for name in ("shape", "dtype"))
    if shape is not None and isinstance(dtype, np.dtype):  # and not a key
        yield Array(shape, dtype)


def _is_traced(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _numbers(part: Any) -> Iterator[tuple[str, int]]:
    """The whole numbers that a task was given, and their names."""
    if not dataclasses.is_dataclass(part):
        return
    for field in dataclasses.fields(part):
        value = getattr(part, field.name, None)
        if isinstance(value, int):
            yield field.name, value
        elif isinstance(value, Mapping | list | tuple):
            continue
        elif getattr(value, "ndim", None) == 0 and isinstance(value, np.integer):
            yield field.name, int(value)
        else:
            yield from _numbers(value)


def _widths(form: Form) -> Iterator[tuple[str, int]]:
    """How many rows a loop has, where it has any."""
    for stream in (form.real, form.synthetic):
        yield "the number of rows", stream.width
