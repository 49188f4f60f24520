"""Runs over a grid of settings, as one dataset."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import xarray as xr

from collapse_jax.basics import checks
from collapse_jax.basics.paths import parameters
from collapse_jax.loop.captions import caption
from collapse_jax.loop.checks import check_loop
from collapse_jax.loop.settings import NAMES, changed
from collapse_jax.loop.workflow import Workflow
from collapse_jax.records.config import remake
from collapse_jax.run.simulation import simulate
from collapse_jax.tasks import AbstractTask


def sweep(
    workflows: Workflow | Sequence[Workflow],
    task: AbstractTask | Callable[..., AbstractTask],
    over: Mapping[str, Sequence[Any]],
    n_generations: int,
    seeds: int | Sequence[int],
    *,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> xr.Dataset:
    """Run workflows on all combinations of settings, of the task's and of the workflows'.

    The cells of the grid run one after another, each with all its chains at once. Numbers need no
    other compilation; sizes that are shapes are compiled once each. (One program for all cells
    would be 2 to 10 % faster for kernel densities, and 40 ms per cell where that matters.)

    Args:
        workflows: one workflow, or several.
        task: a task whose other settings stay as they are; or a function that makes the task from
            the swept ones, for instance `functools.partial(cj.KernelDensity, data=rows)`.
        over: values by name of the setting, for instance `{"bandwidth": [0.1, 1.0]}`. Dotted names
            are those of a workflow's settings: `{"synthetic.temperature": [0.8, 1.0]}`.
        n_generations: as for `simulate`.
        seeds: as for `simulate`.
        options: as for `simulate`.
        checkpoint: a folder that keeps each cell's chains; the same call goes on where an
            interrupted one stopped, and further values may be added.

    Returns:
        a dataset with dimensions `workflow`, the swept names, `seed` and `generation`. Where cells
        were stopped (`stop_when`) in different generations, NaN follows theirs, which the
        coordinate `last_generation` holds.

    Raises:
        ValueError: before anything is run, for arguments outside their range (`TypeError` for those
            of another type); for a task with data of the user's own, which must be given as a
            function.

    Example:
        >>> import collapse_jax as cj
        >>> task, over = cj.Categorical(3), {"n_samples": [10, 20]}
        >>> ds = cj.sweep([cj.Replace(), cj.Accumulate()], task, over, 5, seeds=4)
        >>> dict(ds.entropy.sizes)
        {'workflow': 2, 'n_samples': 2, 'seed': 4, 'generation': 5}
    """
    cells = cells_of(workflows, task, over)
    for cell in cells:
        plan = cell.workflow.plan(n_generations, cell.task.n_samples)
        check_loop(cell.workflow, cell.task, plan)
    runs = []
    for name, workflow, made, _ in cells:
        folder = None if checkpoint is None else Path(checkpoint) / name
        runs.append(simulate(workflow, made, n_generations, seeds, checkpoint=folder, **options))
    return combine(runs, {"workflow": list(dict.fromkeys(c.called for c in cells)), **over})


class Cell(NamedTuple):
    """One combination of a workflow and of settings."""

    name: str
    """That of its folder."""
    workflow: Workflow
    task: AbstractTask
    called: str
    """The workflow before it is changed."""


def cells_of(workflows: Any, task: Any, over: Mapping[str, Sequence[Any]]) -> list[Cell]:
    """All combinations, the last setting varying fastest.

    Raises:
        ValueError: as `sweep` (`TypeError` for arguments of another type).
    """
    named = _named(workflows)
    _check_over(task, over)
    grid = [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]
    return [
        Cell(_file_name(name, settings), *_cell(workflow, task, settings), name)
        for name, workflow in named.items()
        for settings in grid
    ]


def _named(workflows: Any) -> dict[str, Workflow]:
    """Workflows by a name that tells them apart."""
    listed = list(workflows) if isinstance(workflows, Iterable) else [workflows]
    if not listed:
        raise ValueError("workflows must not be empty")
    for number, workflow in enumerate(listed):
        if not isinstance(workflow, Workflow):
            raise TypeError(
                f"workflows must be workflows, for instance Replace(), got {workflow!r}"
            )
        if workflow in listed[:number]:
            raise ValueError(f"workflows must be distinct, got {caption(workflow)} twice")
    names = [caption(workflow) for workflow in listed]
    counts = {name: itertools.count(1) for name in names}
    return {
        f"{name} ({next(counts[name])})" if names.count(name) > 1 else name: workflow
        for name, workflow in zip(names, listed, strict=True)
    }


def _check_over(task: Any, over: Mapping[str, Sequence[Any]]) -> None:
    for name, values in over.items():
        if "." in name:
            checks.one_of("over", name, NAMES)
        elif isinstance(task, AbstractTask):
            checks.one_of("over", name, [*parameters(type(task)), *NAMES])
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
            raise TypeError(f"over[{name!r}] must be a sequence of values, got {values!r}")
        if not len(values):
            raise ValueError(f"over[{name!r}] must not be empty")
        for value in values:
            if not isinstance(value, str | int | float | np.generic):
                raise TypeError(f"over[{name!r}] must hold numbers or names, got {value!r}")
        if len(set(values)) < len(values):
            raise ValueError(f"over[{name!r}] must be distinct, got {list(values)}")


def _cell(workflow: Workflow, task: Any, settings: dict[str, Any]) -> tuple[Workflow, AbstractTask]:
    """The workflow and the task of a cell."""
    settings = {k: v.item() if isinstance(v, np.generic) else v for k, v in settings.items()}
    of_loop = {name: value for name, value in settings.items() if "." in name}
    of_task = {name: value for name, value in settings.items() if "." not in name}
    workflow = changed(workflow, of_loop)
    if not isinstance(task, AbstractTask):
        task = task(**of_task)
        if not isinstance(task, AbstractTask):
            raise TypeError(f"task must be a task, or a function that makes one, got {task!r}")
        return workflow, task
    return workflow, remake(task, **of_task) if of_task else task


def _file_name(workflow: str, settings: dict[str, Any]) -> str:
    parts = {"workflow": workflow, **settings}
    return ",".join(f"{name}={quote(str(value), safe='')}" for name, value in parts.items())


def combine(runs: list[xr.Dataset], axes: dict[str, Any]) -> xr.Dataset:
    """The runs of a grid, whose last axis varies fastest, as one dataset.

    Where some have stopped earlier than others, NaN follows; `last_generation` says where each ends
    if any has stopped.
    """
    shape = tuple(map(len, axes.values()))
    lengths = [run.sizes["generation"] for run in runs]
    last = {}
    if len({*lengths}) > 1 or any("stopped" in run.attrs for run in runs):
        last["last_generation"] = ([*axes], np.reshape(lengths, shape))
        longest = runs[int(np.argmax(lengths))]["generation"]
        runs = [run.reindex(generation=longest) for run in runs]
    first = runs[0]
    variables = {
        name: (
            (*axes, *first[name].dims),
            np.stack([run[name].values for run in runs]).reshape(*shape, *first[name].shape),
            first[name].attrs,
        )
        for name in first
    }
    coordinates = {name: (name, np.asarray(values)) for name, values in axes.items()}
    configs = [json.loads(run.attrs["config"]) for run in runs]
    over = {name: np.asarray(values).tolist() for name, values in axes.items()}
    attrs = {
        **first.attrs,
        "config": json.dumps({**configs[0], "over": over, "runs": configs}),
        "workflow": ", ".join(axes["workflow"]),
        "wall_seconds": sum(run.attrs["wall_seconds"] for run in runs),
    }
    attrs.pop("stopped", None)
    return xr.Dataset(variables, {**coordinates, **last, **first.coords}, attrs)
