"""Which runs a page shows together: those of one kind of task, and each sweep by itself."""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import xarray as xr

from collapse_jax.analysis.runs import Run, Theory, collect, title
from collapse_jax.records.cells import as_run

_RUN = {"seed", "model", "generation"}


class Cell(NamedTuple):
    """The runs of one combination of swept settings; of all there is where nothing was swept."""

    settings: dict[str, Any]
    runs: list[Run]


class Study(NamedTuple):
    """What belongs to one set of curves."""

    heading: str
    axes: dict[str, list[Any]]
    """Values by the name of a swept setting; workflows are curves and no axis."""
    cells: list[Cell]
    """The last axis varies fastest."""
    sources: dict[str, xr.Dataset]
    """The datasets as they were given, by label."""

    @property
    def labels(self) -> list[str]:
        """The curves."""
        return list(dict.fromkeys(run.label for cell in self.cells for run in cell.runs))

    @property
    def metrics(self) -> list[str]:
        """All metrics of all curves."""
        every = (run for cell in self.cells for run in cell.runs)
        return list(dict.fromkeys(name for run in every for name in run.metrics))


def studies_of(datasets: Mapping[str, xr.Dataset], theory: Theory) -> list[Study]:
    """Sort datasets into studies, in their order.

    Raises:
        TypeError: for what is no dataset.
        ValueError: for what holds no chains.
    """
    alone: dict[str, dict[str, xr.Dataset]] = {}
    found: list[Any] = []
    for label, ds in datasets.items():
        if not isinstance(ds, xr.Dataset):
            raise TypeError(f"runs must be datasets, got {ds!r}")
        if not set(ds.dims) <= _RUN:
            found.append(_sweep(label, ds, theory))
            continue
        kind = f"{ds.attrs.get('task', '')} {'model' in ds.dims}"
        if kind not in alone:
            alone[kind] = {}
            found.append(alone[kind])
        alone[kind][label] = as_run(ds)
    return [_plain(part, theory) if isinstance(part, dict) else part for part in found]


def _plain(datasets: dict[str, xr.Dataset], theory: Theory) -> Study:
    runs = collect(list(datasets.values()), theory)
    if len({run.label for run in runs}) < len(runs):
        runs = collect(datasets, theory)
    runs = [run._replace(label=run.label or "run") for run in runs]
    return Study(title(runs) or ", ".join(datasets), {}, [Cell({}, runs)], datasets)


def _sweep(label: str, ds: xr.Dataset, theory: Theory) -> Study:
    """Each cell as a run of its own, with its own configuration."""
    values = {str(name): ds[name].values.tolist() for name in ds.dims if name not in _RUN}
    axes = {name: found for name, found in values.items() if name != "workflow"}
    cells = []
    for chosen in itertools.product(*axes.values()):
        settings = dict(zip(axes, chosen, strict=True))
        part = ds.isel({name: values[name].index(value) for name, value in settings.items()})
        several = "workflow" in values
        loops = (
            [part.isel(workflow=i) for i in range(len(values["workflow"]))] if several else [part]
        )
        named = {str(run.attrs["workflow"]): run for run in map(as_run, loops)}
        cells.append(Cell(settings, collect(named, theory)))
    shared = title([run for cell in cells for run in cell.runs])
    return Study(shared or label, axes, cells, {label: ds})
