"""The compiled part of `simulate`: many chains, a chunk of generations at a time."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from collapse_jax.loop import pool as pools
from collapse_jax.loop.generation import Metrics, generation, make_world
from collapse_jax.loop.pool import Form, Pool
from collapse_jax.loop.presets import AbstractWorkflow
from collapse_jax.machines.devices import AXIS
from collapse_jax.numerics.keys import chain_key
from collapse_jax.tasks.base import AbstractTask

# A pool's counters are the same in all chains. They stay unbatched, so that what depends on them
# stays a slice or a loop and does not become a gather or a masked loop.
POOL_AXES: Any = Pool(statistic=0, rows=0, n_batches=None, n_real_batches=None)  # pyright: ignore
SPLIT, WHOLE = PartitionSpec(AXIS), PartitionSpec()
POOL_SPECS: Any = Pool(SPLIT, SPLIT, WHOLE, WHOLE)  # pyright: ignore


class Chains(eqx.Module):
    """A batch of chains, apart from its pool. Arrays are traced, the rest is compiled in."""

    workflow: AbstractWorkflow
    task: AbstractTask
    form: Form
    names: tuple[str, ...]
    chunk: int
    mesh: Mesh
    seeds: np.ndarray


def traceable(module: Any, sizes: bool = False) -> Any:
    """The module with its numbers as arrays, so that other numbers need no other compilation.

    Whole numbers are sizes, and stay as they are unless `sizes`.
    """

    def convert(leaf):
        if isinstance(leaf, float) or (hasattr(leaf, "dtype") and leaf.dtype.kind == "f"):
            return jnp.asarray(leaf, jnp.float32)
        if sizes and isinstance(leaf, int) and not isinstance(leaf, bool):
            return jnp.asarray(leaf, jnp.int32)
        return leaf

    return jax.tree.map(convert, module)


def bytes_per_chain(task: AbstractTask, form: Form) -> int:
    """Bytes of one chain's pool."""
    pool = eqx.filter_eval_shape(_begin, task, form, np.zeros((), np.uint32))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pool))


def start(chains: Chains) -> Pool:
    """The pools of all chains before generation 1, `[seed, ...]`."""
    return _start(chains)  # pyright: ignore


def advance(chains: Chains, pool: Pool, first: int, steps: int) -> tuple[Pool, Metrics]:
    """Run generations `first`, `first + 1`, ... (`steps` of them, at most `chains.chunk`).

    Returns:
        the pools, and the metrics `[seed, chunk]`, of which `steps` columns are valid.
        The pool handed in is used up.
    """
    context = (chains, jnp.asarray(first, jnp.int32), jnp.asarray(steps, jnp.int32))
    pool, metrics = _advance(context, pool)
    check_capacity(chains, pool, first + steps - 1)
    return pool, metrics


def check_capacity(chains: Chains, pool: Pool, generation: int) -> None:
    """Raise `ValueError` where the workflow has kept more batches than it said it would."""
    if chains.form.rows and int(pool.n_batches) > chains.form.capacity:
        raise ValueError(
            f"capacity of {type(chains.workflow).__name__} must be at least the {pool.n_batches} "
            f"batches that it keeps after {generation} generations, got {chains.form.capacity}"
        )


def _begin(task: AbstractTask, form: Form, seed: jax.Array) -> Pool:
    key = chain_key(seed)
    return pools.begin(task, make_world(task, form, key), form, key)


# Runs once per batch: quick to compile matters more than quick to run.
@partial(eqx.filter_jit, compiler_options={"xla_backend_optimization_level": 0})  # pyright: ignore
def _start(chains: Chains) -> Pool:
    def share(chains, seeds):
        begin = partial(_begin, chains.task, chains.form)
        return jax.vmap(begin, out_axes=POOL_AXES)(seeds)

    return split(share, chains, (), POOL_SPECS)


@eqx.filter_jit(donate="all-except-first")
def _advance(context: tuple[Chains, jax.Array, jax.Array], pool: Pool) -> tuple[Pool, Metrics]:
    chains, first, steps = context

    def share(chains, seeds, pool, first, steps):
        def chain(seed, pool):
            key = chain_key(seed)
            # Drawn again in each chunk rather than kept: what is shared by chains stays shared.
            world = make_world(chains.task, chains.form, key)

            def body(i, state):
                pool, metrics = state
                pool, now = generation(
                    chains.workflow, chains.task, world, pool, key, first + i, chains.names
                )
                return pool, {name: metrics[name].at[i].set(now[name]) for name in now}

            empty = {name: jnp.zeros(chains.chunk) for name in chains.names}
            return lax.fori_loop(0, steps, body, (pool, empty))

        return jax.vmap(chain, in_axes=(0, POOL_AXES), out_axes=(POOL_AXES, 0))(seeds, pool)

    arguments = ((pool, POOL_SPECS), (first, WHOLE), (steps, WHOLE))
    return split(share, chains, arguments, (POOL_SPECS, SPLIT))


def split(share, chains: Chains, arguments: tuple[tuple[Any, Any], ...], out_specs: Any) -> Any:
    """Run `share(chains, seeds, *arguments)` on every device for its part of the seeds.

    Where the mesh has no axis for them, the seeds are not split.
    """
    if AXIS not in chains.mesh.axis_names:
        return share(chains, chains.seeds, *(value for value, _ in arguments))
    arrays, static = eqx.partition(eqx.tree_at(lambda c: c.seeds, chains, None), eqx.is_array)

    def on_device(arrays, seeds, *rest):
        return share(eqx.combine(arrays, static), seeds, *rest)

    values, specs = zip(*arguments, strict=True) if arguments else ((), ())
    split = jax.shard_map(
        on_device,
        mesh=chains.mesh,
        in_specs=(WHOLE, SPLIT, *specs),
        out_specs=out_specs,
        check_vma=False,
    )
    return split(arrays, chains.seeds, *values)
