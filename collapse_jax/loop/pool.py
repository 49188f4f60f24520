"""The data kept so far, in the smallest form that the task and the workflow allow."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, Key

from collapse_jax.numerics.keys import Role, stream
from collapse_jax.numerics.subsets import subset as uniform_subset
from collapse_jax.tasks.base import AbstractTask, Model, Rows, Statistic, Training, World


class Form(NamedTuple):
    """Which forms of the data a pool keeps, and for how many batches it has room."""

    statistic: bool
    rows: bool
    capacity: int


class Pool(NamedTuple):
    """Batches of data, the real batch first."""

    statistic: Statistic | None
    """Statistic of everything kept, or None where it is worked out from the rows."""
    rows: Rows | None
    """The batches themselves, `[capacity, n_samples, ...]`, or None."""
    n_batches: Int[Array, ""]
    """How many batches are kept; `rows` beyond them are zeros."""
    n_real_batches: Int[Array, ""]
    """How many of them, from the first, are real."""


def begin(task: AbstractTask, world: World, form: Form, key: Key[Array, ""]) -> Pool:
    """A pool that holds the real data of generation 1."""
    key = stream(key, 0, Role.REAL)
    statistic, rows = None, None
    if form.rows:
        batch = task.real_rows(world, key)
        rows = jax.tree.map(
            lambda b: jnp.zeros((form.capacity, *b.shape), b.dtype).at[0].set(b), batch
        )
        if form.statistic:
            statistic = task.summarise(world, batch, jnp.asarray(task.n_samples))
    else:
        statistic = task.real_statistic(world, key)
    one = jnp.ones((), jnp.int32)
    return Pool(statistic, rows, n_batches=one, n_real_batches=one)


def replace(
    task: AbstractTask, world: World, pool: Pool, model: Model, key: Key[Array, ""]
) -> Pool:
    """Everything kept makes way for `n_samples` fresh rows of the model."""
    statistic, rows = pool.statistic, pool.rows
    if rows is not None:
        batch = task.sample_rows(world, model, key)
        rows = jax.tree.map(lambda buffer, b: buffer.at[0].set(b), rows, batch)
        if statistic is not None:
            statistic = task.summarise(world, batch, jnp.asarray(task.n_samples))
    else:
        statistic = task.sample_statistic(world, model, key)
    return Pool(statistic, rows, jnp.ones((), jnp.int32), jnp.zeros((), jnp.int32))


def extend(task: AbstractTask, world: World, pool: Pool, model: Model, key: Key[Array, ""]) -> Pool:
    """`n_samples` fresh rows of the model join what is kept.

    On the statistic path the model must be the fit of everything kept.
    """
    statistic, rows = pool.statistic, pool.rows
    if rows is not None:
        batch = task.sample_rows(world, model, key)
        rows = jax.tree.map(
            lambda buffer, b: lax.dynamic_update_index_in_dim(buffer, b, pool.n_batches, 0),
            rows,
            batch,
        )
        if statistic is not None:
            n_train = (pool.n_batches + 1) * task.n_samples
            statistic = task.merge(world, statistic, task.summarise(world, batch, n_train))
    else:
        statistic = task.extend_statistic(world, statistic, model, key)
    return Pool(statistic, rows, pool.n_batches + 1, pool.n_real_batches)


def everything(task: AbstractTask, world: World, pool: Pool) -> Training:
    """Train on all that is kept."""
    n_train = pool.n_batches * task.n_samples
    statistic = pool.statistic
    if statistic is None:

        def batch(i):
            return task.summarise(world, jax.tree.map(lambda b: b[i], pool.rows), n_train)

        statistic = lax.fori_loop(
            1, pool.n_batches, lambda i, total: task.merge(world, total, batch(i)), batch(0)
        )
    return Training(statistic, flatten(pool.rows), n_train, pool.n_real_batches * task.n_samples)


def subset(
    task: AbstractTask, world: World, pool: Pool, key: Key[Array, ""], size: int
) -> Training:
    """Train on a uniform subset of the rows kept, drawn without replacement."""
    index = uniform_subset(key, pool.n_batches * task.n_samples, size)
    rows = jax.tree.map(lambda b: b.at[index].get(mode="promise_in_bounds"), flatten(pool.rows))
    n_train = jnp.asarray(size, jnp.int32)
    statistic = task.summarise(world, rows, n_train)
    n_real = jnp.sum(index < pool.n_real_batches * task.n_samples, dtype=jnp.int32)
    return Training(statistic, rows, n_train, n_real)


def flatten(rows: Rows | None) -> Rows | None:
    """Batches `[capacity, n_samples, ...]` laid end to end, `[capacity * n_samples, ...]`."""
    return jax.tree.map(lambda b: b.reshape(-1, *b.shape[2:]), rows)
