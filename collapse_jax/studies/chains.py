"""Chains that give away what they were fitted to: batches and models of each generation."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from collapse_jax.loop import generation
from collapse_jax.loop import pool as pools
from collapse_jax.loop.checks import check_compiled, check_loop
from collapse_jax.loop.form import Columns, Form, columns_of, form_of
from collapse_jax.loop.pool import Pool
from collapse_jax.loop.workflow import Workflow
from collapse_jax.machines.programs import traceable
from collapse_jax.numerics.keys import Role, check_threefry, stream
from collapse_jax.run.arguments import check_instance
from collapse_jax.tasks.base import AbstractTask, Data, Model, Rows, Steps, World
from collapse_jax.tasks.places import Places


class Loop(NamedTuple):
    """A loop that is run row by row, checked."""

    task: AbstractTask
    form: Form
    columns: Columns
    """`[generation]` each."""
    n_real: int
    """Rows of the first real batch."""


def loop_of(workflow: Workflow, task: AbstractTask, n_generations: int) -> Loop:
    """Check a loop, and say how it is run.

    Raises:
        ValueError: if the task cannot run it or runs on the host only, if its rows are chosen,
            and for another generator of random numbers than Threefry (`TypeError` for what is no
            workflow or task).
    """
    check_threefry()
    check_instance("workflow", workflow, Workflow)
    check_instance("task", task, AbstractTask)
    check_compiled(task)
    task = task.prepared()
    plan = workflow.plan(n_generations, task.n_samples)
    check_loop(workflow, task, plan)
    if plan.curation:
        raise ValueError(
            "workflow.synthetic.curation must be () in a study, which could not tell whether "
            f"batches were filled, got {workflow.synthetic.curation}"
        )
    form = form_of(workflow, task, plan, "rows")
    numbers = columns_of(plan, form, task.population).part(1, n_generations)
    columns = jax.tree.map(jnp.asarray, numbers)
    return Loop(traceable(task), form, columns, int(plan.real_rows[0]))


class Chain(NamedTuple):
    """What a chain was fitted to, and what came of it."""

    world: World
    real: Rows
    """The first real batch. `[row, ...]`"""
    models: Model
    """`[generation, ...]`, in the coordinates of the truth."""
    made: Rows
    """The batches that the models made. `[generation, row, ...]`"""


def run(
    loop: Loop, key: Key[Array, ""], change: Callable[[World, Rows], Rows] | None = None
) -> Chain:
    """One chain, with the same random numbers whatever is changed.

    Args:
        loop: the loop.
        key: the key of the chain.
        change: what is done to the first real batch before anything is fitted.
    """
    task, form, columns, _ = loop
    world = generation.make_world(task, form, key)
    pool = generation.begin(task, form, world, key, jax.tree.map(lambda x: x[0], columns))
    real = jax.tree.map(lambda x: x[0], pool.rows)
    if change is not None:
        real = change(world, real)
        rows = jax.tree.map(lambda buffer, x: buffer.at[0].set(x), pool.rows, real)
        pool = pool._replace(rows=rows, before=None if pool.before is None else real)

    def body(pool: Pool, now: Columns) -> tuple[Pool, tuple[Model, Rows]]:
        pool, inner, data, _ = generation.fitted(task, form, world, pool, key, now)
        model = task.coordinates.compose(pool.frame, inner) if form.moving else inner  # pyright: ignore
        pool, _, rows = generation.generate(task, form, world, pool, inner, data, key, now)
        return pool, (model, rows)

    _, (models, made) = jax.lax.scan(body, pool, columns)
    return Chain(world, real, models, made)


class Fitted(NamedTuple):
    """What the last model of a chain was fitted to."""

    world: World
    rows: Rows
    """All rows that are kept then, slot by slot. `[place, ...]`"""
    times: Int[Array, " place"]
    """How often each is one of those that the model was fitted to."""


def last_fit(loop: Loop, key: Key[Array, ""]) -> Fitted:
    """What the last of the generations of a chain is fitted to.

    Args:
        loop: the loop, whose pool stays in the coordinates of the truth.
        key: the key of the chain.
    """
    task, form, columns, _ = loop
    world = generation.make_world(task, form, key)
    pool = generation.begin(task, form, world, key, jax.tree.map(lambda x: x[0], columns))

    def body(pool: Pool, now: Columns) -> tuple[Pool, None]:
        pool, inner, data, _ = generation.fitted(task, form, world, pool, key, now)
        return generation.generate(task, form, world, pool, inner, data, key, now)[0], None

    pool, _ = jax.lax.scan(body, pool, jax.tree.map(lambda x: x[:-1], columns))
    last = jax.tree.map(lambda x: x[-1], columns)
    pool, _, _ = generation.receive(task, form, world, pool, key, last)
    places = replace(pools.places_of(form, last), real_weight=None)
    n = form.slots * form.width
    if not form.drawn:
        return Fitted(world, pools.flatten(pool.rows), (places.weights(n) > 0).astype(jnp.int32))
    own = stream(key, last.generation, Role.SELECT)
    numbers = places.chosen(own, form.drawn, last.drawn, form.with_replacement, last.skill)
    counted = (jnp.arange(form.drawn) < last.drawn).astype(jnp.int32)
    times = jnp.zeros(n, jnp.int32).at[places.rows(numbers)].add(counted)
    return Fitted(world, pools.flatten(pool.rows), times)


def fit(task: AbstractTask, world: World, rows: Rows, key: Key[Array, ""]) -> Model:
    """A fit to these rows alone, as a first generation would be fitted to them."""
    n = len(jax.tree.leaves(rows)[0])
    size = jnp.asarray(n, jnp.float32)
    statistic = task.summarise(world, rows, None, size=size)
    places = Places.first(jnp.asarray(n, jnp.int32))
    keys = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    data = Data(rows, places, statistic, size, *keys, is_first=jnp.asarray(True))
    steps = Steps(0, task.n_steps(n), n)
    return task.conclude(task.learn(world, data, task.begin(world, data), steps))
