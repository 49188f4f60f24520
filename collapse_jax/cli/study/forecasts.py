"""What a study will take: sizes from its plans, time from programs that run for a moment."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from collapse_jax.cli.study.runs import StudyRun
from collapse_jax.machines.flags import usual_flags
from collapse_jax.run import compiled
from collapse_jax.run.before.memory import needs_of
from collapse_jax.run.before.prepared import Prepared

_SECONDS = 0.5
"""How long a program is measured, once it is compiled."""


@dataclass(frozen=True)
class Forecast:
    """What a run, or all cells of a sweep, will take."""

    cells: int
    chains: int
    """Of each cell."""
    generations: int
    together: int
    """Chains that run at a time, the most of any cell."""
    memory_bytes: int
    """About the most at any time, with Python and the libraries; see `collapse_jax.needs`."""
    file_bytes: int
    """Of the dataset."""
    seconds: float | None
    """An estimate; None where nothing was measured."""


def forecast(run: StudyRun) -> Forecast:
    """Sizes and time of a run, of which nothing is kept.

    The programs of the first and the last cell of each workflow run for half a second each, as
    many chains at a time as in the run, and the cells between are taken to cost as much per chain
    and generation. What is trained by steps is not measured: one generation of it may be long.

    Args:
        run: the run.
    """
    ready = run.ready
    numbers = [len(one.seeds) * one.n_generations * len(one.names) for one in ready]
    models = max(max(one.form.models, 1) for one in ready)
    most = [one.width * (one.pool_bytes + one.scratch_bytes) for one in ready]
    widest = most.index(max(most))
    return Forecast(
        cells=len(ready),
        chains=len(ready[0].seeds),
        generations=run.n_generations,
        together=max(one.width for one in ready),
        memory_bytes=needs_of(ready[widest]).peak + 4 * models * (sum(numbers) - numbers[widest]),
        file_bytes=4 * models * sum(numbers),
        seconds=_seconds(run),
    )


def _seconds(run: StudyRun) -> float | None:
    loops = of_loops(run)
    if not all(measurable(ready) for of_loop in loops for ready in of_loop):
        return None
    return sum(map(seconds_of, loops))


def of_loops(run: StudyRun) -> list[list[Prepared]]:
    """The cells of each workflow."""
    cells = list(zip((cell.called for cell in run.cells), run.ready, strict=True))
    return [[ready for name, ready in cells if name == loop] for loop in dict(cells)]


def measurable(ready: Prepared) -> bool:
    """Whether a moment's work says how long all of it takes."""
    return not (ready.staged or ready.task.n_steps(1))


def seconds_of(of_loop: Sequence[Prepared]) -> float:
    """An estimate for the cells of a workflow, from the first and the last of them."""
    costs = [measure(ready) for ready in dict.fromkeys((of_loop[0], of_loop[-1]))]
    each = sum(each for _, each in costs) / len(costs)
    work = sum(batches(ready) * ready.n_generations for ready in of_loop)
    return sum(compiling for compiling, _ in costs) + each * work


def batches(ready: Prepared) -> int:
    """How often chains that run at a time make all of them."""
    return -(-len(ready.own_seeds) // ready.width)


@usual_flags()
def measure(ready: Prepared) -> tuple[float, float]:
    """Seconds that compiling takes, and that a generation of a batch of chains takes.

    The program is that of the run, and starts as the run does.
    """
    start = time.perf_counter()
    seeds = ready.own_seeds[: ready.width]
    chains = ready.chains()(np.pad(seeds, (0, ready.width - len(seeds)), mode="edge"))
    pool, _ = _forward(chains, compiled.start(chains), 1, 1)
    begun = time.perf_counter()
    done, steps, spent = 1, 1, 0.0
    while done < ready.n_generations and spent < _SECONDS:
        steps = min(steps, chains.chunk, ready.n_generations - done)
        pool, seconds = _forward(chains, pool, done + 1, steps)
        spent, done = spent + seconds, done + steps
        steps = max(1, int(done * min(_SECONDS / max(spent, 1e-6), 2)))
    each = spent / max(done - 1, 1) if done > 1 else begun - start
    return begun - start, each


def _forward(chains: compiled.Chains, pool: object, first: int, steps: int) -> tuple:
    """The pools some generations later, and the seconds that it took."""
    start = time.perf_counter()
    pool, metrics = compiled.advance(chains, pool, first, steps)  # pyright: ignore
    jax.block_until_ready((pool, metrics))
    return pool, time.perf_counter() - start


def total_seconds(forecasts: Sequence[Forecast]) -> tuple[float, bool]:
    """The time of several together, and whether all of it is known."""
    known = [f.seconds for f in forecasts if f.seconds is not None]
    return sum(known), len(known) == len(forecasts)
