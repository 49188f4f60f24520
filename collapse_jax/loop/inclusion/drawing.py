"""Rows that are drawn for a fit, from those that are kept."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from collapse_jax.loop.form import Columns, Form
from collapse_jax.tasks.base import AbstractTask, Data, Rows, World
from collapse_jax.tasks.places import Places


def draw_rows(
    task: AbstractTask,
    form: Form,
    world: World,
    kept: Rows,
    places: Places,
    key: Key[Array, ""],
    now: Columns,
) -> tuple[Data, Int[Array, ""]]:
    """A fit to some rows, drawn from those that are kept, and how many are real.

    Args:
        task: what is learned.
        form: the loop.
        world: what is fixed for the chain.
        kept: the slots of the pool, laid end to end.
        places: where the rows are in these.
        key: the key of the draws.
        now: the numbers of this generation.
    """
    n = form.drawn
    numbers = places.chosen(key, n, now.drawn, form.with_replacement, now.skill)
    valid = jnp.arange(n) < now.drawn if form.drawn_varies else None
    real = numbers < places.real_size
    counted = real if valid is None else real & valid
    n_real = jnp.sum(counted, dtype=jnp.int32)
    if form.weighted:  # real rows first, so that they can be told from the others
        order = jnp.argsort(jnp.where(counted, 0, 1), stable=True)
        numbers = numbers[order]
    index = places.rows(numbers)
    rows = jax.tree.map(lambda b: b.at[index].get(mode="promise_in_bounds"), kept)
    if not form.weighted:
        size = jnp.asarray(now.drawn, jnp.float32)
        statistic = task.summarise(world, rows, valid, size=size)
        return Data(rows, Places.first(now.drawn), statistic, size), n_real
    return _weighted(task, form, world, rows, n_real, now), n_real


def _weighted(
    task: AbstractTask, form: Form, world: World, rows: Rows, n_real: Int[Array, ""], now: Columns
) -> Data:
    """A fit to drawn rows, the real ones first, which have a weight together."""
    each = jnp.arange(form.drawn)
    n_synthetic = now.drawn - n_real
    weight = jnp.where(n_synthetic == 0, 1.0, jnp.where(n_real == 0, 0.0, now.real_weight))
    real_scale = weight / jnp.maximum(n_real, 1)
    synthetic_scale = (1.0 - weight) / jnp.maximum(n_synthetic, 1)
    size = 1.0 / (real_scale**2 * n_real + synthetic_scale**2 * n_synthetic)
    parts = (
        task.summarise(world, rows, each < n_real, size=size),
        task.summarise(world, rows, (each >= n_real) & (each < now.drawn), size=size),
    )
    statistic = task.merge(world, parts, jnp.stack([real_scale, synthetic_scale]))
    places = Places.first(now.drawn)
    places = places.of_two(n_real, n_synthetic, weight)
    return Data(rows, places, statistic, size)
