"""What a run will be: all that is checked and worked out before anything is compiled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from collapse_jax.basics import checks
from collapse_jax.loop.captions import caption
from collapse_jax.loop.checks import check_loop, check_rows
from collapse_jax.loop.ecosystems.description import Ecosystem, Loop, extended
from collapse_jax.loop.form import Form, Numbers, Storage, columns_of, form_of
from collapse_jax.loop.generation import metric_names
from collapse_jax.loop.inclusion.masks import Include, Mask, checked_mask, included_sizes
from collapse_jax.loop.plan import CURATION, Plan, host_sizes
from collapse_jax.machines import hosts, model_mesh, programs
from collapse_jax.machines.devices import default_memory_limit
from collapse_jax.records.config import describe
from collapse_jax.records.masks import describe_mask
from collapse_jax.records.regions import block_of
from collapse_jax.records.values import write_value
from collapse_jax.run import compiled
from collapse_jax.run.arguments import (
    check_options,
    check_results,
    checked_loop,
    checked_seeds,
    in_stages,
)
from collapse_jax.run.needs import check_arrays
from collapse_jax.run.portions.blocks import block_size
from collapse_jax.run.results import Labels
from collapse_jax.run.room import find_mesh, placed, safe_mesh, width_of
from collapse_jax.tasks import AbstractTask, AbstractTrained
from collapse_jax.tasks.parts.comparison import Features, units_of
from collapse_jax.tasks.trained import FAILED

CHUNK = 128
"""Most generations between two reports of progress."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run that is about to begin."""

    workflow: Loop
    task: AbstractTask
    n_generations: int
    seeds: np.ndarray
    storage: Storage
    features: Features | None
    chunk: int
    """Most generations in one call of a program."""
    names: tuple[str, ...]
    """The metrics."""
    sizes: dict[str, np.ndarray]
    """Those of them that the plan knows. `[generation]`, or `[seed, generation]`"""
    computed: tuple[str, ...]
    """All others, and what is looked at in every run, asked for or not."""
    plan: Plan
    mask: Mask | None
    form: Form
    numbers: Numbers
    staged: bool
    mesh: Mesh
    own_seeds: np.ndarray
    """Those of this process."""
    block: int
    """Seeds that are had together, all of them but where they are shared or go to disk."""
    on_disk: bool
    """Whether metrics are kept there, and not in memory."""
    width: int
    """Chains that run at a time."""
    pool_bytes: int
    """Of each chain's pool."""
    scratch_bytes: int
    """Of what each chain works on."""

    @property
    def metrics_bytes(self) -> int:
        """Of what the host keeps: the metrics of all chains, and more of those that run."""
        numbers = self.n_generations * max(self.form.models, 1)
        shared = self.together or len(self.own_seeds) == len(self.seeds)
        whole = len(self.own_seeds) + (0 if shared else len(self.seeds))
        labelled = len(self.seeds)
        if self.on_disk:
            whole = labelled = self.block
        units = units_of(self.task, self.features)
        in_units = sum(units.get(name, 1.0) != 1.0 for name in self.names)
        every = 4 * whole * len(self.computed) + 8 * labelled * in_units
        running = min(self.width, self.block) * _kept_bytes(self.computed)
        if len(self.own_seeds) <= min(self.width, self.block):
            running //= 2  # pieces have gone before the memory of all is touched
        return numbers * (every + running)

    @property
    def together(self) -> bool:
        """Whether models are split, and so all processes run all chains."""
        return model_mesh.splits_models(self.mesh)

    def config(self, in_folder: bool = True) -> dict[str, Any]:
        """What a dataset and a folder say of the run."""
        # In a folder, which may see more generations, a function is never replaced by its values.
        config = {
            "workflow": describe(self.workflow, None if in_folder else self.n_generations),
            "task": describe(self.task),
            "n_generations": self.n_generations,
            "metrics": list(self.names),
            "storage": self.storage,
        }
        if self.features is not None:
            config["features"] = write_value("features", self.features)
        return config if self.mask is None else {**config, "include": describe_mask(self.mask)}

    def labels(self, config: dict[str, Any]) -> Labels:
        """What makes the dataset of what is measured."""
        return Labels(
            *(self.task, self.features, self.names, self.sizes, self.seeds, config),
            *(caption(self.workflow), getattr(self.workflow, "n_models", 0), self.mesh),
        )

    def chains(self) -> Callable[[np.ndarray], compiled.Chains]:
        """What makes the engine's description of `width` chains of their seeds."""
        form, task = self.form, self.task
        by_rows = form.rows or form.synthetic.by_rows or task.population is not None
        return partial(
            compiled.Chains,
            placed(compiled.traceable(task.prepared(), sizes=not by_rows), self.mesh),
            form,
            self.computed,
            self.numbers,
            min(self.chunk, self.n_generations),
            self.mesh,
            features=self.features,
            mask=self.mask,
        )


@programs.garbage_kept()  # shapes are found by tracing
def prepare(
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
    times: Mapping[str, float] | None = None,
    observe: Callable[[Any], None] | None = None,
    runner: str | None = None,
    features: Features | None = None,
    include: Include | None = None,
    chunk: int = CHUNK,
    share: bool = False,
    out: str | Path | None = None,
) -> Prepared:
    """Check the arguments of `simulate`, and work out sizes. Nothing is compiled or run.

    Raises:
        ValueError: as `simulate` (`TypeError` for arguments of another type).

    Example:
        >>> import collapse_jax as cj
        >>> found = prepare(cj.Replace(), cj.Categorical(n_samples=50), 20, seeds=100)
        >>> len(found.seeds), found.pool_bytes
        (100, 40)
    """
    hosts.check_not_forked()
    loop, between = checked_loop(workflow, task, runner, observe, mesh)
    n_generations = checks.whole_number("n_generations", n_generations, maximum=2**26)
    check_options(loop, task, metrics, storage, times or {}, features, between)
    names = metric_names(task, metrics, bool(loop.synthetic.curation), between)
    n_models = getattr(workflow, "n_models", 1)
    on_disk, block = out is not None, None if out is None else block_of(out)
    if not on_disk:
        check_results(seeds, n_generations, len(names), n_models)
    seed_list = checked_seeds(seeds)
    staged = in_stages(task, runner, observe)
    mesh = find_mesh(task, devices, mesh)
    limit = checks.whole_number(
        "memory_limit",
        default_memory_limit(mesh) if memory_limit is None else memory_limit,
        maximum=2**62,
    )
    plan = workflow.plan(n_generations, task.n_samples)
    check_loop(loop, task, plan)
    mask = checked_mask(include, plan, seed_list, task, isinstance(workflow, Ecosystem), staged)
    form = extended(workflow, form_of(loop, task, plan, storage, masked=mask is not None))
    numbers = columns_of(plan, form, task.population)
    first = numbers.of(1)
    own = seed_list if model_mesh.splits_models(mesh) else hosts.share(seed_list)
    known = host_sizes(plan) if mask is None else included_sizes(mask, plan)
    sizes = {name: column for name, column in known.items() if name in names}
    wanted = dict.fromkeys((*names, *_checked_metrics(task, plan)))
    computed = tuple(name for name in wanted if name not in sizes)
    scratch = compiled.scratch_bytes(task, form, names, features)
    mesh = safe_mesh(mesh, task, form, computed, first, features)
    block = block or block_size(len(own), n_generations * n_models, staged, share, on_disk)
    if form.rows:
        check_rows(form.slots, form.width)
    pool = compiled.bytes_per_chain(task, form, first)
    if mask is not None:
        pool += form.slots * min(chunk, n_generations)
    width = width_of(
        *(task, form, mesh, block, limit),
        pool_bytes=pool,
        scratch_bytes=scratch,
        kept_bytes=n_generations * max(form.models, 1) * _kept_bytes(computed),
    )
    there = 2 * max(limit, default_memory_limit(mesh))  # a limit is one of pools
    check_arrays(task, form, computed, first, features, there)
    return Prepared(
        *(workflow, task, n_generations, seed_list, storage, features, chunk, names, sizes),
        *(computed, plan, mask, form, numbers, staged, mesh, own, block),
        *(on_disk, width, pool, scratch),
    )


def _kept_bytes(computed: Sequence[str]) -> int:
    """Bytes of the metrics of a generation of a chain that runs: in pieces, and joined."""
    return 2 * 4 * len(computed)


def _checked_metrics(task: AbstractTask, plan: Plan) -> tuple[str, ...]:
    """What is looked at in every run, asked for or not."""
    trained = (FAILED,) if isinstance(task, AbstractTrained) else ()
    return (*(CURATION if plan.curation else ()), *trained)
