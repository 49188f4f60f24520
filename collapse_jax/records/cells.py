"""The runs that a dataset holds: itself, or the cells of a grid and the models of their chains."""

import itertools
import json
from typing import Any

import xarray as xr


def runs_of(ds: xr.Dataset) -> list[xr.Dataset]:
    """The runs that a dataset holds, each as `as_run` has it.

    Args:
        ds: a dataset of `simulate` or `sweep`, or a part of one.

    Returns:
        a dataset for each combination of the swept settings and of the models that feed each other,
        which are coordinates of it.

    Example:
        >>> import collapse_jax as cj
        >>> grid = cj.sweep(cj.Replace(), cj.Categorical(3), {"n_samples": [9, 30]}, 2, seeds=4)
        >>> [config_of(run)["task"]["n_samples"] for run in runs_of(grid)]
        [9, 30]
    """
    swept = [*_config(ds).get("over", {}), "model"]
    dims = [name for name in swept if name in ds.dims]
    ranges = [range(ds.sizes[name]) for name in dims]
    places = (dict(zip(dims, place, strict=True)) for place in itertools.product(*ranges))
    return [as_run(ds.isel(place)) for place in places]


def as_run(ds: xr.Dataset) -> xr.Dataset:
    """A cell of a sweep as the run that it was; any other dataset as it is.

    It has that run's configuration, and no generations after its last. Where the dataset does not
    say which cell it is, it has no configuration.
    """
    config = _config(ds)
    if "over" in config:
        found = _place(ds, config["over"])
        if found is not None:
            ds = ds.assign_attrs(config=json.dumps(config["runs"][found] if found >= 0 else {}))
            ds.attrs["workflow"] = str(ds["workflow"].item()) if "workflow" in ds.coords else ""
    last = ds.coords.get("last_generation")
    return ds if last is None or last.ndim else ds.sel(generation=slice(None, last.item()))


def config_of(ds: xr.Dataset) -> dict[str, Any]:
    """The configuration of a run, of a cell of a sweep its own; empty where it is unknown."""
    return _config(as_run(ds))


def _place(ds: xr.Dataset, over: dict[str, list[Any]]) -> int | None:
    """Which run of a grid a dataset is; -1 where it does not say, None for several."""
    place = 0
    for name, values in over.items():
        if name in ds.dims:
            return None
        value = ds[name].item() if name in ds.coords else None
        if value not in values:
            return -1
        place = place * len(values) + values.index(value)
    return place


def _config(ds: xr.Dataset) -> dict[str, Any]:
    return json.loads(ds.attrs.get("config", "{}"))
