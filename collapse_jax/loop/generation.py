"""The pure layer: one generation, and one chain as a scan over generations."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from collapse_jax.loop import pool as pools
from collapse_jax.loop.pool import Form, Pool
from collapse_jax.loop.presets import AbstractWorkflow
from collapse_jax.numerics.keys import Role, check_threefry, stream
from collapse_jax.tasks.base import AbstractTask, Variable, World

SIZES: dict[str, Variable] = {
    "n_train": Variable("size of the training set", "rows"),
    "real_fraction": Variable("share of the training set that is real", "1"),
}
"""The variables that the workflow, not the task, determines."""

Storage = Literal["auto", "rows"]
Metrics = dict[str, Float[Array, "..."]]


def rollout(
    workflow: AbstractWorkflow,
    task: AbstractTask,
    n_generations: int,
    key: Key[Array, ""],
    *,
    metrics: Sequence[str] | None = None,
    storage: Storage = "auto",
) -> Metrics:
    """One chain, as a pure JAX function.

    May be jitted, and vmapped over the key and over the numeric fields of the task, and be a part
    of a larger program. `collapse_jax.simulate` runs many chains and labels the result.

    Args:
        workflow: what each generation is trained on.
        task: what is learned.
        n_generations: number of fits; generation 1 is fitted to real data only.
        key: a Threefry key. `simulate` uses `jax.random.key(seed, impl="threefry2x32")`.
        metrics: names of the variables to compute, default all of the task's but
            those `on_request`.
        storage: `"auto"` keeps data in their smallest sufficient form, `"rows"` keeps rows even
            where a statistic would do (the same in law, slower; for checks).

    Returns:
        the metrics by name, each `[n_generations]`.

    Raises:
        ValueError: for a key of another generator than Threefry.

    Example:
        >>> import jax, collapse_jax as cj
        >>> chain = lambda noise: cj.rollout(
        ...     cj.Replace(), cj.LinearRegression(dim=3, noise=noise), 10, jax.random.key(0)
        ... )["test_error"]
        >>> jax.vmap(chain)(jax.numpy.array([0.1, 1.0, 10.0])).shape
        (3, 10)
    """
    check_threefry(key)
    form = pool_form(workflow, task, n_generations, storage)
    names = metric_names(task, metrics)
    world = make_world(task, form, key)
    pool = pools.begin(task, world, form, key)

    def body(pool, t):
        return generation(workflow, task, world, pool, key, t, names)

    return jax.lax.scan(body, pool, jnp.arange(1, n_generations + 1))[1]


def generation(
    workflow: AbstractWorkflow,
    task: AbstractTask,
    world: World,
    pool: Pool,
    key: Key[Array, ""],
    t: Int[Array, ""],
    names: Sequence[str],
) -> tuple[Pool, Metrics]:
    """Generation `t`: select, fit, measure, generate, retain."""
    training = workflow.select(task, world, pool, stream(key, t, Role.SELECT))
    model = task.fit(world, training)
    measured = {
        "n_train": training.n_train,
        "real_fraction": training.n_real / training.n_train,
        **task.measure(world, model),
    }
    pool = workflow.retain(task, world, pool, model, stream(key, t, Role.SAMPLE))
    return pool, {name: jnp.asarray(measured[name], jnp.float32) for name in names}


def make_world(task: AbstractTask, form: Form, key: Key[Array, ""]) -> World:
    """What is fixed for a chain before generation 1."""
    return task.world(stream(key, 0, Role.WORLD), rows=form.rows)


def pool_form(
    workflow: AbstractWorkflow, task: AbstractTask, n_generations: int, storage: Storage = "auto"
) -> Form:
    """The smallest form of the data that serves this workflow and task."""
    capacity = workflow.capacity(n_generations)
    by_rows = storage == "rows" or workflow.looks_at_rows
    return Form(
        statistic=not by_rows and task.additive(grows=capacity > 1),
        rows=by_rows or task.keeps_rows,
        capacity=capacity,
    )


def metric_names(task: AbstractTask, metrics: Sequence[str] | None) -> tuple[str, ...]:
    """The variables to compute, in the order of the task; for None all but those on request."""
    known = (*SIZES, *task.variables)
    wanted = set(known) - set(task.on_request) if metrics is None else set(metrics)
    return tuple(name for name in known if name in wanted)
