"""The programs of one generation, run stage by stage: one for each stage, for all chains at once.

Chains are split over the devices, or, where a model is too large for one, each chain over all.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from collapse_jax.basics.returned import checked_rows
from collapse_jax.loop import generation
from collapse_jax.loop.batches import Batch
from collapse_jax.loop.form import Columns
from collapse_jax.machines import model_mesh
from collapse_jax.numerics.keys import Role, chain_key, stream
from collapse_jax.run.compiled import SPLIT, WHOLE, Chains, split
from collapse_jax.tasks.contract import SamplesInParts


class Stage(NamedTuple):
    """A pure function of one chain, `chain(chains, world, key, used, *kept)`, and how it is mapped.

    What is `used` is not needed afterwards: its memory is reused. It has an axis of chains, as what
    is made has.
    """

    chain: Callable[..., Any]
    kept_axes: tuple[int | None, ...]
    """Which of the arguments that are kept have an axis of chains."""


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
            key = chain_key(seed)
            world = generation.make_world(chains.task, chains.form, key)
            return stage.chain(chains, world, key, used, *kept)

        return jax.vmap(chain, in_axes=(0, 0, *stage.kept_axes))(seeds, used, *kept)

    specs = (WHOLE if axis is None else SPLIT for axis in stage.kept_axes)
    arguments = ((used, SPLIT), *zip(kept, specs, strict=True))
    made = split(share, chains, arguments, SPLIT)
    if model_mesh.splits_models(chains.mesh):
        made = model_mesh.constrain_tree(made, chains.mesh)
    return made


def shardings(made: Any, chains: Chains) -> Any:
    """How what a stage has made is split over the devices."""
    if model_mesh.splits_models(chains.mesh):
        return model_mesh.shardings(made, chains.mesh)
    return jax.tree.map(lambda _: NamedSharding(chains.mesh, SPLIT), made)


def everywhere(tree: Any, mesh: Mesh) -> Any:
    """Arrays of this process where a model that is split over the mesh takes them from."""
    if not model_mesh.splits_models(mesh):
        return tree
    return model_mesh.place(jax.tree.map(np.asarray, tree), mesh)


def _receive(chains, world, key, pool, now):
    return generation.receive(chains.task, chains.form, world, pool, key, now)


def _start(chains, world, key, _, pool, data, now):
    return generation.start(chains.task, chains.form, world, pool, data, key, now)


def _learn(chains, world, key, state, data, steps, now):
    return generation.learn(chains.task, world, data, state, steps, key, now)


def _finish(chains, world, key, pool, state, now):
    parts = (chains.task, chains.form, world, pool, state, key, now)
    pool, model, found = generation.finish(*parts, chains.names, chains.features)
    return pool, model, _asked_for(chains, found)


def _asked_for(chains, found):
    """What of the metrics is asked for: the others are not computed."""
    return {name: value for name, value in found.items() if name in chains.names}


def _generate(chains, world, key, pool, model, data, now):
    parts = (chains.task, chains.form, world, pool, model, data, key, now)
    pool, found, rows = generation.generate(*parts)
    return pool, _asked_for(chains, found), rows


def _sample(chains, world, key, _, model, part, places, now):
    task = chains.task
    key = stream(key, now.generation, Role.SAMPLE)
    temperature = now.temperature if chains.form.tempered else None
    if isinstance(task, SamplesInParts):
        return task.sample_part(world, model, key, part, places, temperature)
    own, n = jax.random.fold_in(key, part), len(places)
    rows = task.sample(world, model, own, n, temperature=temperature)
    return checked_rows(task, "sample", rows, n)


def sample_part(
    chains: Chains,
    model: Any,
    part: int,
    now: Columns,
    order: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Any:
    """One of several draws of rows on the way to enough that are acceptable.

    Args:
        chains: the chains.
        model: theirs.
        part: which of the draws.
        now: the numbers of the generation.
        order: at which place of an order the prompt of each draw is. Default they come in turn.
    """
    places = draws(chains, part) if order is None else order(draws(chains, part))
    return run(SAMPLE, chains, (model, np.int32(part), places, now))


def draws(chains: Chains, part: int) -> np.ndarray:
    """The numbers of the rows that one of several draws makes."""
    n = min(chains.task.acceptance.batch, chains.form.synthetic.width)  # pyright: ignore
    return np.arange(part * n, (part + 1) * n, dtype=np.int32)


def _retain(chains, world, _, pool, rows, now):
    pool, found = generation.retain(chains.task, chains.form, world, pool, Batch(rows, None), now)
    return pool, _asked_for(chains, found)


RECEIVE = Stage(_receive, (None,))
START = Stage(_start, (0, 0, None))
LEARN = Stage(_learn, (0, None, None))
FINISH = Stage(_finish, (0, None))
GENERATE = Stage(_generate, (0, 0, None))
SAMPLE = Stage(_sample, (0, None, None, None))
RETAIN = Stage(_retain, (0, None))
