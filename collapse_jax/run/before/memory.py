"""How much memory a run will take, as its programs say once they are compiled."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from collapse_jax.loop.ecosystems.description import Loop
from collapse_jax.machines.devices import memory_in_use
from collapse_jax.machines.flags import usual_flags
from collapse_jax.run import compiled, programs
from collapse_jax.run.before.prepared import Prepared, prepare
from collapse_jax.run.compiled import Chains
from collapse_jax.tasks import AbstractTask
from collapse_jax.tasks.base import Steps


@dataclass(frozen=True)
class Needs:
    """How much memory a run will take, in bytes."""

    process: int
    """What this process has now: Python, the libraries, and what compiling the programs took."""
    programs: int
    """Chains that run at a time, and what they are worked on with; on a GPU, of its memory."""
    metrics: int
    """What is measured of all chains, which the host keeps."""

    @property
    def peak(self) -> int:
        """All together, the most at any time."""
        return self.process + self.programs + self.metrics


def needs(
    workflow: Loop,
    task: AbstractTask,
    n_generations: int,
    seeds: int | Sequence[int],
    *,
    out: str | Path | None = None,
    **options: Any,
) -> Needs:
    """How much memory `simulate` will take at most, from here on.

    The programs of the run are compiled, which takes as long as in the run, and say what they
    need; nothing is run.

    Args:
        workflow: as for `simulate`.
        task: as for `simulate`.
        n_generations: as for `simulate`.
        seeds: as for `simulate`.
        out: as for `simulate`: metrics that go to disk.
        options: `metrics`, `storage`, `devices`, `mesh`, `memory_limit`, `runner`, `features`,
            `include` and `share`, as for `simulate`.

    Returns:
        bytes of this process, of the programs and of the metrics; `peak` is all of them.

    Raises:
        ValueError: as `simulate`, where it would not begin.

    Example:
        >>> import collapse_jax as cj
        >>> found = cj.needs(cj.Replace(), cj.Categorical(3, 30), 1000, seeds=1000)
        >>> found.metrics > 4 * 1000 * 1000, found.peak < 10**10
        (True, True)
    """
    return needs_of(prepare(workflow, task, n_generations, seeds, out=out, **options))


@usual_flags()
def needs_of(ready: Prepared) -> Needs:
    """The same of a run that is prepared."""
    seeds = ready.own_seeds[: ready.width]
    chains = ready.chains()(np.pad(seeds, (0, ready.width - len(seeds)), mode="edge"))
    with programs.devices_of(chains):
        working = (_of_stages if ready.staged else _of_one_program)(chains)
    return Needs(memory_in_use(), working, ready.metrics_bytes)


def _of_one_program(chains: Chains) -> int:
    """Bytes of the pools and of what they are worked on with."""
    context = chains.without_numbers()
    begun, pool = _of_start(context, chains)
    columns, included = chains.part(1, chains.chunk), chains.included(1, chains.chunk)
    numbers = columns, included, jnp.asarray(1, jnp.int32)
    return max(begun, _compile(compiled._advance, (context, *numbers), pool)[0])


def _of_start(context: Chains, chains: Chains) -> tuple[int, Any]:
    """Bytes that it takes to begin, and the shapes of the pools."""
    begun, pool = _compile(compiled._start, chains.beginning(), chains.part(1, 1))
    if not compiled.has_room(chains):
        return begun, pool
    widened, rows = _compile(compiled._with_room, (context, pool.rows), None)
    # While a batch begins, there are the rows of the one before.
    return max(begun + _bytes(rows), widened), pool._replace(rows=rows)


def _of_stages(chains: Chains) -> int:
    """The most bytes of any stage of a generation, with what waits for later ones."""
    context, now = chains.without_numbers(), chains.of(1)._replace(curation=())
    most, pool = _of_start(context, chains)

    def after(stage: programs.Stage, waiting: Any, kept: tuple[Any, ...], used: Any = None) -> Any:
        nonlocal most
        taken, made = _compile(programs._compiled, (stage, context, kept), used)
        most = max(most, taken + _bytes(waiting))
        return made

    pool, data, _ = after(programs.RECEIVE, None, (now,), pool)
    state = after(programs.START, None, (pool, data, now))
    if chains.task.n_steps(n := int(now.drawn)):
        steps = Steps(np.int32(0), np.int32(1), np.int32(n))  # pyright: ignore
        state = after(programs.LEARN, pool, (data, steps, now), state)
    pool, model, _ = after(programs.FINISH, data, (state, now), pool)
    if chains.task.acceptance is None or chains.form.source.edits:
        after(programs.GENERATE, state, (model, data, now), pool)
    else:
        kept = model, np.int32(0), programs.draws(chains, 0), now
        after(programs.SAMPLE, (state, data, pool), kept)
    return most


def _compile(function: Callable[..., Any], context: Any, used: Any) -> tuple[int, Any]:
    """Bytes that a program takes, and the shapes of what it makes."""
    body = inspect.unwrap(function)
    arrays, static = eqx.partition((context, used), _is_array)

    def program(context: Any, used: Any) -> Any:
        return eqx.filter(body(*eqx.combine((context, used), static)), eqx.is_array)

    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of the donated
        found = jax.jit(program, donate_argnums=1).lower(*arrays).compile().memory_analysis()
    taken = 0
    if found is not None:
        kinds = "argument", "output", "temp"
        taken = sum(getattr(found, f"{kind}_size_in_bytes") for kind in kinds)
        taken -= found.alias_size_in_bytes
    return taken, eqx.filter_eval_shape(body, context, used)


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic)


def _bytes(tree: Any) -> int:
    arrays = [leaf for leaf in jax.tree.leaves(tree) if _is_array(leaf)]
    return sum(a.size * a.dtype.itemsize for a in arrays if isinstance(a.dtype, np.dtype))
