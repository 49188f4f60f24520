"""One generation of all models of a loop, be they several that feed each other or one.

`begin`, `make_world` and `step` are those of `loop.generation` for a chain of one model. Otherwise
pools, models and metrics have an axis of models. Models see each other in the batches that they
generate, and nowhere else.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from collapse_jax.basics.returned import asked_for
from collapse_jax.loop import generation
from collapse_jax.loop.form import Columns, Form
from collapse_jax.loop.generation import Metrics
from collapse_jax.loop.pool import Pool
from collapse_jax.loop.sources import Exchange
from collapse_jax.numerics.keys import model_key
from collapse_jax.tasks.base import AbstractTask, Model, World
from collapse_jax.tasks.parts.comparison import BETWEEN, Features


def make_world(task: AbstractTask, form: Form, key: Key[Array, ""]) -> World:
    """What is fixed for a chain: the same truth for all models.

    Where each model has real rows of the user's own, it has an axis of models.
    """
    if not _worlds_differ(task, form):
        return generation.make_world(task, form, key)
    worlds = jax.vmap(lambda own: generation.make_world(task, form, key, own))
    return worlds(_model_keys(form, key))


def begin(task: AbstractTask, form: Form, world: World, key: Key[Array, ""], now: Columns) -> Pool:
    """What there is before generation 1, whose numbers these are."""
    if not form.models:
        return generation.begin(task, form, world, key, now)

    def one(own: Key[Array, ""], world: World) -> Pool:
        return generation.begin(task, form, world, _real_key(form, key, own), now)

    return jax.vmap(one, in_axes=(0, _world_axis(task, form)))(_model_keys(form, key), world)


def step(
    task: AbstractTask,
    form: Form,
    world: World,
    pool: Pool,
    key: Key[Array, ""],
    now: Columns,
    names: Sequence[str],
    features: Features | None = None,
) -> tuple[Pool, Metrics]:
    """One generation: each model is fitted, and then all of them generate for all."""
    if not form.models:
        return generation.step(task, form, world, pool, key, now, names, features)
    keys, axis = _model_keys(form, key), _world_axis(task, form)

    def fitted(own: Key[Array, ""], world: World, pool: Pool) -> tuple[Any, ...]:
        real = _real_key(form, key, own)
        return generation.fitted(task, form, world, pool, own, now, names, features, real)

    pool, models, data, found = jax.vmap(fitted, in_axes=(0, axis, 0))(keys, world, pool)
    if BETWEEN in names:
        found[BETWEEN] = _apart(jax.vmap(task.point, in_axes=(axis, 0))(world, models))

    def generated(
        i: Array, own: Key[Array, ""], world: World, pool: Pool, model: Model, data: Any
    ) -> tuple[Pool, Metrics]:
        at, kept = now, pool.history
        if isinstance(form.source, Exchange):
            at = now._replace(source={"shares": now.source["shares"][i], "own": i})
            pool = pool._replace(history=models)
        pool, made, _ = generation.generate(task, form, world, pool, model, data, own, at)
        return pool._replace(history=kept), made

    order = jnp.arange(form.models)
    axes = (0, 0, axis, 0, 0, 0)
    pool, made = jax.vmap(generated, in_axes=axes)(order, keys, world, pool, models, data)
    asked = asked_for(task, found | made, names)
    return pool, {name: jnp.asarray(value, jnp.float32) for name, value in asked.items()}


def _model_keys(form: Form, key: Key[Array, ""]) -> Key[Array, " model"]:
    return jax.vmap(lambda i: model_key(key, i))(jnp.arange(form.models))


def _real_key(form: Form, key: Key[Array, ""], own: Key[Array, ""]) -> Key[Array, ""]:
    """The key of a model's real rows."""
    return key if form.shared_real else own


def _worlds_differ(task: AbstractTask, form: Form) -> bool:
    return form.models > 0 and task.population is not None and not form.shared_real


def _world_axis(task: AbstractTask, form: Form) -> int | None:
    return 0 if _worlds_differ(task, form) else None


def _apart(points: Array) -> Array:
    """Squared distance of each point from the mean of the others. `[model]`"""
    # Differences first: models that walk away together may be near to each other.
    gaps = jnp.sum(points[:, None] - points[None, :], axis=1) / (len(points) - 1)
    return jnp.sum(gaps**2, axis=1)
