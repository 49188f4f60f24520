"""Many chains at once: checks of the arguments, batches that fit into memory, the dataset."""

import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from collapse_jax.basics import checks
from collapse_jax.loop.captions import caption
from collapse_jax.loop.checks import check_loop
from collapse_jax.loop.curation.checks import check_choices
from collapse_jax.loop.ecosystems.description import Ecosystem, Loop, extended
from collapse_jax.loop.form import Storage, columns_of, form_of
from collapse_jax.loop.generation import metric_names
from collapse_jax.loop.inclusion.masks import Include, checked_mask, included_sizes
from collapse_jax.loop.plan import CURATION, Plan, host_sizes
from collapse_jax.machines import hosts, model_mesh
from collapse_jax.machines.devices import default_memory_limit
from collapse_jax.machines.flags import decisive_flags, usual_flags
from collapse_jax.machines.programs import make_room_for_programs
from collapse_jax.numerics.keys import STREAM_VERSION
from collapse_jax.records.config import check_exact, describe
from collapse_jax.records.masks import describe_mask
from collapse_jax.records.midway import Midway
from collapse_jax.records.store import Checkpoint
from collapse_jax.records.values import write_value
from collapse_jax.run import compiled
from collapse_jax.run.arguments import (
    check_options,
    check_results,
    checked_loop,
    checked_seeds,
    in_stages,
)
from collapse_jax.run.driver import Driver
from collapse_jax.run.monitor import Monitor
from collapse_jax.run.needs import check_arrays
from collapse_jax.run.results import Labels, Results
from collapse_jax.run.room import find_mesh, placed, safe_mesh, width_of
from collapse_jax.run.rounds import check_turns, run_until, run_whole
from collapse_jax.run.staged import StagedEngine
from collapse_jax.run.stopping import Rule, check_rule, stop_attributes, text_of
from collapse_jax.tasks import AbstractTask, AbstractTrained
from collapse_jax.tasks.parts.comparison import (
    Features,
)
from collapse_jax.tasks.trained import FAILED

_CHUNK = 128  # most generations between two reports of progress


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
        progress: show a progress bar; default only on a terminal.
        checkpoint: a folder that keeps the chains while they run. The same call goes on where an
            interrupted one stopped, also with other seeds or more generations; Ctrl-C and SIGTERM
            save first.
        checkpoint_seconds: how often to save. What takes long is saved less often.
        checkpoint_wait: how many seconds to wait for another run that is in the folder, before this
            one is refused.
        observe: called after each generation with the models and what they generated, a
            `collapse_jax.run.staged.Generation`, once for each batch of chains, which then run
            stage by stage.
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

    Returns:
        a dataset with dimensions `("seed", "generation")`, the task's metrics and the sizes
        `n_train` and `real_fraction`, each `[seed, generation]` with `long_name` and `units`; with
        a curation also `acceptance_rate` and `mean_reward` of what each model generates; of an
        `Ecosystem` `("seed", "model", "generation")`, and `distance_between` models. Its attributes
        say how it was made; `collapse_jax.config.run_arguments` makes the same run of them;
        `stopped` says by which rule it ended before `n_generations`, and where.

    Raises:
        ValueError: before anything is compiled, for arguments outside their range (`TypeError` for
            those of another type), for a run that does not fit into memory and for a checkpoint of
            another run. Afterwards, where a curation accepts next to nothing.
        OSError: where a checkpoint cannot be saved, for instance on a full disk.

    Example:
        >>> import collapse_jax as cj
        >>> ds = cj.simulate(cj.Replace(), cj.Gaussian(dim=2, n_samples=10), 20, seeds=100)
        >>> ds.trace_ratio.dims
        ('seed', 'generation')
    """
    loop, between = checked_loop(workflow, task, runner, observe, mesh)
    n_generations = checks.whole_number("n_generations", n_generations, maximum=2**26)
    times = {"checkpoint_seconds": checkpoint_seconds, "checkpoint_wait": checkpoint_wait}
    check_options(loop, task, metrics, storage, times, features, between)
    names = metric_names(task, metrics, bool(loop.synthetic.curation), between)
    check_results(seeds, n_generations, len(names), getattr(workflow, "n_models", 1))
    seed_list = checked_seeds(seeds)
    staged = in_stages(task, runner, observe)
    mesh = find_mesh(task, devices, mesh)
    together = model_mesh.splits_models(mesh)
    limit = checks.whole_number(
        "memory_limit",
        default_memory_limit(mesh) if memory_limit is None else memory_limit,
        maximum=2**62,
    )
    plan = workflow.plan(n_generations, task.n_samples)
    check_loop(loop, task, plan)
    mask = checked_mask(include, plan, seed_list, task, isinstance(workflow, Ecosystem), staged)
    form = extended(workflow, form_of(loop, task, plan, storage, masked=mask is not None))

    make_room_for_programs()
    numbers = columns_of(plan, form, task.population)
    own_seeds = seed_list if together else hosts.share(seed_list)
    known = host_sizes(plan) if mask is None else included_sizes(mask, plan)
    sizes = {name: column for name, column in known.items() if name in names}
    wanted = dict.fromkeys((*names, *_checked_metrics(task, plan)))
    computed = tuple(name for name in wanted if name not in sizes)
    mesh = safe_mesh(mesh, task, form, computed, numbers.of(1), features)
    width = width_of(
        *(task, form, numbers.of(1), mesh, max(len(own_seeds), 1), limit),
        scratch_bytes=compiled.scratch_bytes(task, form, names, features),
        mask_bytes=0 if mask is None else form.slots * min(_CHUNK, n_generations),
    )
    check_arrays(task, form, computed, numbers.of(1), features, 2 * limit)

    # In a folder, which may see more generations, a function is never replaced by its values.
    config = {
        "workflow": describe(workflow, n_generations if checkpoint is None else None),
        "task": describe(task),
        "n_generations": n_generations,
        "metrics": list(names),
        "storage": storage,
    } | ({} if features is None else {"features": write_value("features", features)})
    config |= {} if mask is None else {"include": describe_mask(mask)}
    interrupted, midway, kept = threading.Event(), None, None
    if checkpoint is not None:
        kept = _folder(checkpoint, config, *times.values(), interrupted)

    by_rows = form.rows or form.synthetic.by_rows or task.population is not None
    made = placed(compiled.traceable(task.prepared(), sizes=not by_rows), mesh)

    def chains(seeds: np.ndarray) -> compiled.Chains:
        return compiled.Chains(
            made,
            form=form,
            names=computed,
            numbers=numbers,
            chunk=min(_CHUNK, n_generations),
            mesh=mesh,
            seeds=seeds,
            features=features,
            mask=mask,
        )

    labels = Labels(
        *(task, features, names, sizes, seed_list, config, caption(workflow)),
        n_models=getattr(workflow, "n_models", 0),
        mesh=mesh,
    )
    if stop_when is not None:
        check_rule(stop_when, labels.of_ones())
        check_turns(together, kept, n_turns=-(-len(own_seeds) // width))
    saved = kept.contents() if together and kept is not None else []
    common = {"seeds": seed_list.tolist(), "checkpoint": saved, "stop_when": text_of(stop_when)}
    hosts.agree({**config, **common})
    bar = tqdm(
        total=n_generations * len(own_seeds),
        desc=f"{type(task).__name__} {caption(workflow)}",
        unit="gen",
        unit_scale=True,
        disable=(None if progress is None else not progress) if hosts.is_first() else True,
    )
    if kept is not None and staged and (together or jax.process_count() == 1):
        midway = Midway(kept.folder, checkpoint_seconds)
    driver = Driver(
        StagedEngine(Monitor(bar.set_postfix_str, midway, interrupted), observe)
        if staged
        else compiled,
        chains,
        n_generations,
        _CHUNK,
        width,
        bar,
        kept,
        interrupted,
        together,
        partial(check_choices, curation=plan.curation) if plan.curation else None,
    )
    results = Results(
        computed, own_seeds, len(seed_list), (n_generations, *form.models_axis), together
    )
    with bar:
        ds = _run(driver, own_seeds, results, labels, stop_when, kept)
    if midway is not None:
        midway.clear()
    return ds


def _run(
    driver: Driver,
    seeds: np.ndarray,
    results: Results,
    labels: Labels,
    rule: Rule | None,
    kept: Checkpoint | None,
) -> xr.Dataset:
    """Run all chains to the end, or until a rule is met."""
    n = driver.n_generations
    if rule is None:
        run_whole(driver, seeds, results)
        stop = {}
    else:
        met = run_until(driver, seeds, results, rule, partial(labels.of, results.all), kept)
        stop = stop_attributes(rule, met, n)
        n = met or n
    _warn_of_failures(results.all.get(FAILED), n, labels.seeds.tolist())
    return labels.of(results.all, n, **stop)


def _checked_metrics(task: AbstractTask, plan: Plan) -> tuple[str, ...]:
    """What is looked at in every run, asked for or not."""
    trained = (FAILED,) if isinstance(task, AbstractTrained) else ()
    return (*(CURATION if plan.curation else ()), *trained)


def _warn_of_failures(failed: np.ndarray | None, n: int, seeds: Sequence[int]) -> None:
    """Say where training met losses that are no finite numbers: steps `[seed, generation, ...]`."""
    if failed is None:
        return
    found = np.argwhere(failed[:, :n] > 0.0)
    if len(found):
        chain, t, *model = found[0].tolist()
        of_model = f", model {model[0]}," if model else ""
        warnings.warn(
            f"training of seed {seeds[chain]}{of_model} in generation {t + 1} left out step "
            f"{failed[tuple(found[0])]:.0f}, whose loss or slope was no finite number; the metric "
            f"{FAILED} says where else, in {len(found)} fits in all",
            stacklevel=5,
        )


def _folder(path: str | Path, config: dict[str, Any], *attending: Any) -> Checkpoint:
    """The folder of this run, which must be told apart from all others."""
    check_exact(config)
    known = {"stream_version": STREAM_VERSION, "flags": decisive_flags()}
    return Checkpoint(path, {**known, **config}, *attending)
