"""Many chains at once: checks of the arguments, batches that fit into memory, the dataset."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import xarray as xr
from tqdm import tqdm

from collapse_jax.basics.progress import beside
from collapse_jax.loop.captions import caption
from collapse_jax.loop.curation.checks import check_choices
from collapse_jax.loop.ecosystems.description import Loop
from collapse_jax.loop.form import Storage
from collapse_jax.loop.inclusion.masks import Include
from collapse_jax.machines import hosts
from collapse_jax.machines.flags import decisive_flags, usual_flags
from collapse_jax.machines.programs import make_room_for_programs
from collapse_jax.numerics.keys import STREAM_VERSION
from collapse_jax.records.config import check_exact
from collapse_jax.records.midway import Midway
from collapse_jax.records.store import Checkpoint
from collapse_jax.run import compiled
from collapse_jax.run.before.prepared import CHUNK as _CHUNK
from collapse_jax.run.before.prepared import prepare
from collapse_jax.run.driver import Driver
from collapse_jax.run.monitor import Monitor
from collapse_jax.run.on_host.lost import Lost
from collapse_jax.run.portions.portions import check_portions, run_in_blocks
from collapse_jax.run.results import Labels, Results, warn_of_failures
from collapse_jax.run.rounds import Look, Tracker, check_turns, run_until, run_whole
from collapse_jax.run.staged import StagedEngine
from collapse_jax.run.stopping import Rule, check_rule, stop_attributes, text_of
from collapse_jax.tasks import AbstractTask
from collapse_jax.tasks.parts.comparison import (
    Features,
)
from collapse_jax.tasks.trained import FAILED


@usual_flags()
def simulate(
    workflow: Loop,
    task: AbstractTask,
    n_generations: int,
    seeds: int | Sequence[int],
    *,
    metrics: Sequence[str] | None = None,
    storage: Storage = "auto",
    devices: Sequence[Any] | None = None,
    mesh: Any | None = None,
    memory_limit: int | None = None,
    progress: bool | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    checkpoint_wait: float = 0.0,
    observe: Callable[[Any], None] | None = None,
    runner: Literal["compiled", "staged"] | None = None,
    features: Features | None = None,
    stop_when: Rule | None = None,
    include: Include | None = None,
    track: Tracker | None = None,
    share: bool = False,
    out: str | Path | None = None,
) -> xr.Dataset:
    """Run many independent chains and return their metrics.

    A chain depends on its seed and on nothing else: not on the other seeds, on `n_generations`, on
    devices or batches (up to rounding, since other batch widths may add in another order).

    Under `jax.distributed`, every process makes the same call, runs its share of the seeds on its
    own devices, and returns all of them; see `collapse_jax.hosts`.

    Args:
        workflow: what each generation is trained on, for instance `Replace()`; or an `Ecosystem`.
        task: what is learned, for instance `Gaussian(dim=10, n_samples=100)`.
        n_generations: number of fits per chain; generation 1 is fitted to real data only.
        seeds: a number of chains, whose seeds are then `range(seeds)`, or distinct whole numbers of
            zero or more.
        metrics: names of the variables to compute, default all of the task's but those
            `on_request`; the others cost nothing. Tasks that generate rows of numbers also know
            the distances `frechet`, `sliced_wasserstein`, `energy`, `mmd`, `precision`, `recall`
            and `coverage` between these and real rows.
        storage: `"auto"` keeps data in their smallest sufficient form, `"rows"` keeps rows.
        devices: JAX devices over which the seeds are split, default all of this process; see
            `use_all_cores`.
        mesh: for language models too large for one device: a `jax.sharding.Mesh` with the axes
            `data` and `model`, over whose devices, in all processes, each model is split. The seeds
            then run one after another.
        memory_limit: bytes that pools may take at a time, default half of the memory. Seeds that do
            not fit are run one batch after another.
        progress: show a progress bar; default only on a terminal. Elsewhere what runs stage by
            stage then prints how far it is, a line a minute; False is for neither.
        checkpoint: a folder that keeps the chains while they run. The same call goes on where an
            interrupted one stopped, also with other seeds or more generations; Ctrl-C and SIGTERM
            save first.
        checkpoint_seconds: how often to save. What takes long is saved less often.
        checkpoint_wait: how many seconds to wait for another run that is in the folder, before this
            one is refused.
        observe: called after each generation with the models and what they generated, a
            `collapse_jax.run.staged.Generation`, once for each batch of chains, which then run
            stage by stage. With `share`, of the seeds that this process runs; with `stop_when`,
            perhaps of generations after the last one.
        runner: `"compiled"`, all of a chain in one program, or `"staged"`, one program for each
            stage of a generation, with progress and saves within it. Default what the task
            prefers; the chains are the same.
        features: what distances compare of each row, a JAX function of a row to a vector; default
            the row itself.
        stop_when: stops after the first generation that meets a rule over all chains: `Above` or
            `Below` a bound, `Judged`, or a function of the dataset so far to True or False, called
            for each generation in turn (and once before, on ones). The dataset ends there,
            exactly as with so many `n_generations`.
        include: which batches a model is fitted to, of those that the workflow keeps: truth values
            `[seed, generation, batch]`, or `[generation, batch]` for all seeds, with at least
            `n_generations` of both; or a function of generation (from 1) and batch to True or
            False. Batch 0 is what is real, batch b what model b made. Masked rows weigh nothing. A
            folder keeps its mask: later calls with more generations need an array that has room
            for these from the start, and those with other seeds one mask for all.
        track: called with the number of each generation, in turn from 1, and its metrics by name,
            `[seed]` (of an `Ecosystem` `[seed, model]`), for instance to log them; after each
            chunk of generations, in process 0. A run that goes on from its folder tells of all
            generations again. What it raises ends the run, which is saved before.
        share: whether processes that make the same call with the same `checkpoint` share the seeds:
            each takes those that nobody has, also those of a process that was killed, and all
            return the same dataset. Any may come later.
        out: a store (.zarr) for the metrics of more chains than fit into memory. It is written a
            block of seeds at a time, and the dataset that is returned reads of it what is asked
            for. The same call goes on with the blocks that are missing. One call at a time writes
            it, or those that share the run; what cannot be told apart from other runs, such as a
            function that is not in a module, is refused. Needs the extra `zarr`.

    Returns:
        a dataset with dimensions `("seed", "generation")`, the task's metrics and the sizes
        `n_train` and `real_fraction`, each `[seed, generation]` with `long_name` and `units`; with
        a curation also `acceptance_rate` and `mean_reward` of what each model generates; of an
        `Ecosystem` `("seed", "model", "generation")`, and `distance_between` models. Its attributes
        say how it was made; `collapse_jax.config.run_arguments` makes the same run of them;
        `stopped` says by which rule it ended before `n_generations`, and where.

    Raises:
        ValueError: before anything is compiled, for arguments outside their range (`TypeError` for
            those of another type), for a run that does not fit into memory, for a checkpoint or a
            store of another run. Afterwards, where a curation accepts next to nothing.
        OSError: where a checkpoint cannot be saved, for instance on a full disk.

    Example:
        >>> import collapse_jax as cj
        >>> ds = cj.simulate(cj.Replace(), cj.Gaussian(dim=2, n_samples=10), 20, seeds=100)
        >>> ds.trace_ratio.dims
        ('seed', 'generation')
    """
    ready = prepare(
        *(workflow, task, n_generations, seeds),
        metrics=metrics,
        storage=storage,
        devices=devices,
        mesh=mesh,
        memory_limit=memory_limit,
        times={"checkpoint_seconds": checkpoint_seconds, "checkpoint_wait": checkpoint_wait},
        observe=observe,
        runner=runner,
        features=features,
        include=include,
        chunk=_CHUNK,
        share=share,
        out=out,
    )
    check_portions(share, out, checkpoint, stop_when, track)
    plan, together, width = ready.plan, ready.together, ready.width
    seed_list, own_seeds, n_generations = ready.seeds, ready.own_seeds, ready.n_generations
    make_room_for_programs()
    config = ready.config(in_folder=checkpoint is not None)
    interrupted, midway, kept = threading.Event(), None, None
    if checkpoint is not None:
        attending = checkpoint_seconds, checkpoint_wait, interrupted, share
        kept = open_folder(checkpoint, config, *attending)
    labels = ready.labels(config)
    if track is not None and not callable(track):
        raise TypeError(f"track must be a function of a number and metrics, got {track!r}")
    if stop_when is not None:
        check_rule(stop_when, labels.of_ones())
    if stop_when is not None or track is not None:
        check_turns(together, kept, n_turns=-(-len(own_seeds) // width))
    saved = kept.contents() if together and kept is not None else []
    common = {"seeds": seed_list.tolist(), "checkpoint": saved, "stop_when": text_of(stop_when)}
    hosts.agree({**config, **common})
    name = f"{type(task).__name__} {caption(workflow)}"
    bar = tqdm(
        total=n_generations * len(own_seeds),
        desc=name,
        unit="gen",
        unit_scale=True,
        disable=(None if progress is None else not progress) if hosts.is_first() else True,
    )
    if kept is not None and ready.staged and (together or jax.process_count() == 1):
        midway = Midway(kept.folder, checkpoint_seconds, share)
    say = beside(bar, name, wanted=progress is not False and hosts.is_first())
    lost = Lost(None if kept is None else kept.folder)
    monitor = Monitor(say, midway, interrupted)
    driver = Driver(
        StagedEngine(monitor, observe, lost) if ready.staged else compiled,
        ready.chains(),
        n_generations,
        _CHUNK,
        width,
        bar,
        kept,
        interrupted,
        together,
        partial(check_choices, curation=plan.curation) if plan.curation else None,
    )
    shape = (n_generations, *ready.form.models_axis)
    with bar:
        if share or out is not None:
            ds = run_in_blocks(driver, ready, labels, shape, share, out)
        else:
            results = Results(ready.computed, own_seeds, len(seed_list), shape, together)
            ds = _run(driver, own_seeds, results, labels, stop_when, track)
    if midway is not None:
        midway.clear()
    if ready.staged:
        lost.check(own_seeds, len(seed_list), ds.sizes["generation"], together)
    return ds


def _run(
    driver: Driver,
    seeds: np.ndarray,
    results: Results,
    labels: Labels,
    rule: Rule | None,
    track: Tracker | None,
) -> xr.Dataset:
    """Run all chains to the end, or until a rule is met."""
    n, met = driver.n_generations, None
    if rule is None and track is None:
        run_whole(driver, seeds, results)
    else:
        met = run_until(driver, seeds, results, Look(partial(labels.of, results.all), rule, track))
    stop = {} if rule is None else stop_attributes(rule, met, n)
    n = met or n
    warn_of_failures(results.all.get(FAILED), n, labels.seeds.tolist(), level=5)
    return labels.of(results.all, n, **stop)


def open_folder(path: str | Path, config: dict[str, Any], *attending: Any) -> Checkpoint:
    """The folder of a run, which must be told apart from all others.

    Raises:
        ValueError: where it is of another run.
    """
    check_exact(config)
    known = {"stream_version": STREAM_VERSION, "flags": decisive_flags()}
    return Checkpoint(path, {**known, **config}, *attending)
