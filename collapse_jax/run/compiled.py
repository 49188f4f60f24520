"""The compiled part of `simulate`: many chains, a chunk of generations at a time."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from collapse_jax.basics.entries import entry, shared_entry, with_entry
from collapse_jax.loop.ecosystems.steps import begin, make_world, step
from collapse_jax.loop.form import Columns, Form, Numbers
from collapse_jax.loop.generation import Metrics
from collapse_jax.loop.inclusion.masks import Mask
from collapse_jax.loop.inclusion.numbers import including
from collapse_jax.loop.pool import Pool
from collapse_jax.loop.sources import Latest
from collapse_jax.machines import programs
from collapse_jax.machines.devices import AXIS
from collapse_jax.numerics.keys import chain_key
from collapse_jax.tasks.base import AbstractTask, Rows
from collapse_jax.tasks.parts.comparison import (
    Features,
    check_number,
    distances_among,
    real_vectors,
)

SPLIT, WHOLE = PartitionSpec(AXIS), PartitionSpec()
traceable = programs.traceable


class Chains(eqx.Module):
    """A batch of chains, apart from its pool. Arrays are traced, the rest is compiled in."""

    task: AbstractTask
    form: Form
    names: tuple[str, ...]
    numbers: Numbers | None = eqx.field(static=True)
    """Those of the loop; None where they are handed over apart."""
    chunk: int
    mesh: Mesh
    seeds: Any
    """Seeds of the chains, of NumPy but where a stage is traced. `[seed]`"""
    features: Features | None = None
    """What distances compare of each row."""
    mask: Mask | None = eqx.field(static=True, default=None)
    """Which batches count; None also where its part is handed over."""

    def without_numbers(self) -> "Chains":
        """The same, whose numbers are handed over apart, so that others do not recompile.

        Nor does another curation, where that is none of the program's affair.
        """
        on_host = self.task.acceptance is not None
        form = self.form._replace(curation=()) if on_host else self.form
        return dataclasses.replace(self, form=form, numbers=None, mask=None)

    def beginning(self) -> "Chains":
        """What the first batch depends on; `_with_room` adds the room for later ones."""
        form = _beginning(self.form)
        other = {"names": (), "numbers": None, "chunk": 0, "features": None, "mask": None}
        return dataclasses.replace(self, form=form, **other)

    def part(self, first: int, steps: int) -> Columns:
        """The numbers of `steps` generations from `first` on."""
        return self._known.part(first, steps)

    def of(self, generation: int) -> Columns:
        """The numbers of one generation."""
        return self._known.of(generation)

    def included(self, first: int, steps: int) -> Any:
        """Which slots count in `steps` generations from `first` on, `[seed, steps, slot]`."""
        if self.mask is None:
            return None
        return jnp.asarray(self.mask.slots(self._known.plan, self.form, self.seeds, first, steps))

    @property
    def _known(self) -> Numbers:
        if self.numbers is None:
            raise ValueError("numbers must be asked of the chains as they were made")
        return self.numbers


def _beginning(form: Form) -> Form:
    """What is the same in loops that begin alike, however they go on, so that they share a program.

    What is replaced first, `begin` does not look at; storage, what is kept and slots change nothing
    but how much room there is beside the first batch of rows, which is added afterwards.
    """
    if form.history:  # for whose shape a fit is traced, which looks at all of it
        return form
    begun = form._replace(
        drawn=0,
        drawn_varies=False,
        with_replacement=False,
        weighted=False,
        phases=(),
        tempered=False,
        source=form.source if form.source.edits else Latest(),
        curation=(),
        warm=False,
    )
    if form.statistic and (form.storage == "apart" or form.masked):
        return begun
    one: dict[str, Any] = {"keep": 1, "slots": 1}
    real, synthetic = form.real._replace(**one), form.synthetic._replace(**one)
    return begun._replace(storage="latest", real=real, synthetic=synthetic)


def bytes_per_chain(task: AbstractTask, form: Form, first: Columns) -> int:
    """Bytes of one chain's pool."""
    pool = eqx.filter_eval_shape(_begin_traced_once, task, form, first, np.zeros((), np.uint32))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pool))


def scratch_bytes(
    task: AbstractTask, form: Form, names: Sequence[str], features: Features | None
) -> int:
    """Bytes of what a generation of one chain works on, pools apart.

    Raises:
        ValueError: if the task has no rows that can be compared, or too few of them.
    """
    names = distances_among(task, names)
    models = max(form.models, 1)
    if not names:
        return models * task.scratch_bytes

    def rows(seed):
        key = chain_key(seed)
        one = form._replace(models=0)
        return real_vectors(task, make_world(task, one, key), key, features)

    n, d = eqx.filter_eval_shape(rows, np.zeros((), np.uint32)).shape
    check_number(names, n)
    return models * (task.scratch_bytes + 12 * n**2 + 16 * n * d)


def start(chains: Chains, spare: Rows | None = None) -> Pool:
    """The pools of all chains before generation 1, `[seed, ...]`.

    Args:
        chains: the chains.
        spare: what others of the same description have left over, which is used up.
    """
    # To draw rows takes no time however it is compiled; to work out a statistic of them may.
    begin = _compiled_start(1 if chains.form.statistic and chains.form.real.by_rows else 0)
    with programs.garbage_kept():
        pool = begin(chains.beginning(), chains.part(1, 1))
        if not has_room(chains):
            return pool
        context = chains.without_numbers(), pool.rows
        return pool._replace(rows=_with_room(context, spare))


def left_over(chains: Chains, pool: Pool) -> Rows | None:
    """Memory of finished chains in which others can be started, where there is much of it."""
    return pool.rows if has_room(chains) else None


def advance(chains: Chains, pool: Pool, first: int, steps: int) -> tuple[Pool, Metrics]:
    """Run generations `first`, `first + 1`, ... (`steps` of them, at most `chains.chunk`).

    Returns:
        The pools, and the metrics `[seed, chunk]`, of which `steps` columns are valid, with an axis
        of models at the end where there are several. The pool handed in is used up.
    """
    columns = chains.part(first, chains.chunk)
    numbers = columns, chains.included(first, chains.chunk), jnp.asarray(steps, jnp.int32)
    with programs.garbage_kept():
        return _advance((chains.without_numbers(), *numbers), pool)


def _begin(task: AbstractTask, form: Form, first: Columns, seed: jax.Array) -> Pool:
    key = chain_key(seed)
    return begin(task, form, make_world(task, form, key), key, first)


_begin_traced_once = eqx.filter_jit(_begin)


def _start(chains: Chains, columns: Columns) -> Pool:
    def share(chains, seeds, columns):
        first = jax.tree.map(lambda x: x[0], columns)
        pool = jax.vmap(partial(_begin, chains.task, chains.form, first))(seeds)
        before = (slice(None),) * _slot_axis(chains)
        return pool._replace(rows=jax.tree.map(lambda x: x[*before, :1], pool.rows))

    return split(share, chains, ((columns, WHOLE),), SPLIT)


@functools.cache
def _compiled_start(level: int) -> Callable[[Chains, Columns], Pool]:
    # Runs once per batch: quick to compile matters more than quick to run.
    options = programs.quick_to_compile(level)
    return eqx.filter_jit(_start, compiler_options=options)  # pyright: ignore


# Large arrays are slow to get anew: a page of memory costs more than what is written into it.
@eqx.filter_jit(donate="all-except-first", keep_unused=True)  # pyright: ignore
def _with_room(context: tuple[Chains, Rows], spare: Rows | None) -> Rows:
    """Rows with empty slots for later ones: a program of its own, optimised, as it writes much.

    What is spare is not read: the rows take its place.
    """
    chains, rows = context

    def share(chains, _, rows):
        def widened(x):
            wanted = ((0, chains.form.slots - 1) if i == axis else (0, 0) for i in range(x.ndim))
            return jnp.pad(x, tuple(wanted))

        axis = _slot_axis(chains)
        return jax.tree.map(widened, rows)

    return split(share, chains, ((rows, SPLIT),), SPLIT)


def has_room(chains: Chains) -> bool:
    """Whether pools have slots for rows beside the first."""
    return chains.form.rows and chains.form.slots > 1


def _slot_axis(chains: Chains) -> int:
    """That of the rows of many pools."""
    return 1 + len(chains.form.models_axis)


@eqx.filter_jit(donate="all-except-first")
def _advance(context: tuple[Chains, Columns, Any, jax.Array], pool: Pool) -> tuple[Pool, Metrics]:
    chains, columns, included, steps = context

    def share(chains, seeds, pool, columns, included, steps):
        def chain(seed, pool, included, empty):
            key = chain_key(seed)
            # Drawn again in each chunk rather than kept: what is shared by chains stays shared.
            world = make_world(chains.task, chains.form, key)

            def body(i, state):
                pool, metrics = state
                # The same in all chains, so that what depends on them stays a slice or a branch.
                now = jax.tree.map(lambda x: shared_entry(x, i), columns)
                slots = jax.tree.map(lambda x: entry(x, i), included)
                now = including(chains.form, now, slots)
                parts = (chains.task, chains.form, world, pool, key, now, chains.names)
                pool, found = step(*parts, chains.features)
                return pool, {name: with_entry(metrics[name], found[name], i) for name in found}

            return lax.fori_loop(0, steps, body, (pool, empty))

        # Made here, for what becomes an array of many chains within a loop is traced twice.
        shape = (len(seeds), chains.chunk, *chains.form.models_axis)
        empty = {name: jnp.zeros(shape) for name in chains.names}
        return jax.vmap(chain)(seeds, pool, included, empty)

    arguments = ((pool, SPLIT), (columns, WHOLE), (included, SPLIT), (steps, WHOLE))
    return split(share, chains, arguments, (SPLIT, SPLIT))


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
