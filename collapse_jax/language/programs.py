"""The programs of a language model's generation: one for each stage, for all chains at once.

Chains are split over the devices, or, where a model is too large for one, each chain over all.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.model.sampling import sample
from collapse_jax.language.model.training import STATE_AXES, start_training, train_steps
from collapse_jax.loop import pool as pools
from collapse_jax.loop.batches import Batch
from collapse_jax.loop.generation import make_world
from collapse_jax.machines import model_mesh
from collapse_jax.numerics.keys import Role, chain_key, stream
from collapse_jax.run.compiled import SPLIT, WHOLE, Chains, split


class Selected(NamedTuple):
    """The documents of a training set, the first so many, and how many of them are real."""

    rows: Documents
    n_real: jax.Array


class Stage(NamedTuple):
    """A pure function of one chain, `chain(task_and_more, key, used, *kept)`, and how it is mapped.

    What is `used` is not needed afterwards: its memory is reused. Axes are 0 or None, as in `vmap`.
    """

    chain: Callable[..., Any]
    used_axes: Any
    kept_axes: tuple[Any, ...]
    out_axes: Any


def run(stage: Stage, chains: Chains, kept: tuple[Any, ...], used: Any = None) -> Any:
    """Run a stage in all chains, within `devices_of` these."""
    return _compiled((stage, chains.without_numbers(), kept), used)


def devices_of(chains: Chains) -> AbstractContextManager[Any]:
    """What makes models split over the mesh of these chains, if they are."""
    return jax.set_mesh(chains.mesh) if model_mesh.splits_models(chains.mesh) else nullcontext()


@eqx.filter_jit(donate="all-except-first")
def _compiled(context: tuple[Stage, Chains, tuple[Any, ...]], used: Any) -> Any:
    stage, chains, kept = context

    def share(chains, seeds, used, *kept):
        def chain(seed, used, *kept):
            return stage.chain(chains, chain_key(seed), used, *kept)

        axes = (0, stage.used_axes, *stage.kept_axes)
        return jax.vmap(chain, in_axes=axes, out_axes=stage.out_axes)(seeds, used, *kept)

    specs = map(_specs, (stage.used_axes, *stage.kept_axes))
    arguments = tuple(zip((used, *kept), specs, strict=True))
    made = split(share, chains, arguments, _specs(stage.out_axes))
    if model_mesh.splits_models(chains.mesh):
        made = model_mesh.constrain_tree(made, chains.mesh)
    return made


def shardings(made: Any, axes: Any, chains: Chains) -> Any:
    """How what a stage has made, of these output axes, is split over the devices."""
    if model_mesh.splits_models(chains.mesh):
        return model_mesh.shardings(made, chains.mesh)
    return jax.tree.map(
        lambda spec, part: jax.tree.map(lambda _: NamedSharding(chains.mesh, spec), part),
        _specs(axes),
        made,
    )


def everywhere(tree: Any, mesh: Mesh) -> Any:
    """Arrays of this process where a model that is split over the mesh takes them from."""
    if not model_mesh.splits_models(mesh):
        return tree
    return model_mesh.place(jax.tree.map(np.asarray, tree), mesh)


def _specs(axes: Any) -> Any:
    return jax.tree.map(lambda a: WHOLE if a is None else SPLIT, axes, is_leaf=lambda a: a is None)


def _arrive(chains, key, pool, now):
    world = make_world(chains.task, chains.form, key)
    return pools.add_real(chains.task, chains.form, world, pool, key, now)


def _select(chains, key, _, pool, now):
    world = make_world(chains.task, chains.form, key)
    choice = stream(key, now.generation, Role.SELECT)
    data, n_real = pools.select(chains.task, chains.form, world, pool, choice, now)
    if not data.places.in_order:
        order = data.places.rows(jnp.arange(data.rows.lengths.shape[0]))
        data = data._replace(rows=jax.tree.map(lambda x: x[order], data.rows))
    return Selected(data.rows, n_real)


def _fresh_start(chains, key, _, t):
    params = chains.task.initialise(stream(key, t, Role.INITIALISE))
    return start_training(chains.task.optimizer, params)


def _start_from(chains, key, _, params):
    return start_training(chains.task.optimizer, params)


def _fit(chains, key, state, documents, n_train, t, steps):
    task = chains.task
    key = stream(key, t, Role.FIT)
    bos_id = task.tokenizer.bos_id
    return train_steps(
        task.graphdef, task.optimizer, state, documents, n_train, key, steps, bos_id=bos_id
    )


def _measure(chains, key, _, params):
    return chains.task.measure(make_world(chains.task, chains.form, key), params)


def _sample(chains, key, _, params, t, part):
    task, tokenizer = chains.task, chains.task.tokenizer
    if task.dtype != task.param_dtype:  # once, not at each token
        params = jax.tree.map(lambda p: p.astype(task.dtype), params)
    return sample(
        task.graphdef,
        params,
        jax.random.fold_in(stream(key, t, Role.SAMPLE), part),
        min(task.sample_batch, chains.form.synthetic.width),
        task.context,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        settings=task.sampling,
    )


def _measure_documents(chains, key, _, documents):
    return chains.task.measure_documents(documents)


def _retain(chains, key, pool, documents, now):
    world = make_world(chains.task, chains.form, key)
    batch = Batch(documents, None)
    return pools.add_synthetic(chains.task, chains.form, world, pool, batch, now)


ARRIVE = Stage(_arrive, 0, (None,), 0)
SELECT = Stage(_select, None, (0, None), 0)
FRESH_START = Stage(_fresh_start, None, (None,), STATE_AXES)
START_FROM_BASE = Stage(_start_from, None, (None,), STATE_AXES)
START_FROM_PREVIOUS = Stage(_start_from, None, (0,), STATE_AXES)
FIT = Stage(_fit, STATE_AXES, (0, None, None, None), STATE_AXES)
MEASURE = Stage(_measure, None, (0,), 0)
SAMPLE = Stage(_sample, None, (0, None, None), 0)
MEASURE_DOCUMENTS = Stage(_measure_documents, None, (0,), 0)
RETAIN = Stage(_retain, 0, (0, None), 0)
