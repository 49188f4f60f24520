"""Running a dataset again from what it says of itself, and comparing the two."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from collapse_jax.basics import checks
from collapse_jax.records.config import arguments_of
from collapse_jax.records.labels import check_dataset
from collapse_jax.records.run_files import check_config
from collapse_jax.run.simulation import simulate
from collapse_jax.run.sweeps import combine

# Float32 sums in another order differ by 1e-7, and by some hundred times that after a long chain;
# chains of other seeds differ by about what they are.
_ROUNDING = 1e-3


class Difference(NamedTuple):
    """How far two runs of the same chains are apart in one variable."""

    largest: float
    """Largest absolute difference; infinite where only one of the two is finite. NaN equals NaN."""
    relative: float
    """Largest difference relative to the value and the variable's typical size."""

    @property
    def only_rounding(self) -> bool:
        """Whether the order in which numbers are added can explain it."""
        return self.relative <= _ROUNDING


def rerun(
    ds: xr.Dataset, data: Any = None, **options: Any
) -> tuple[xr.Dataset, dict[str, Difference]]:
    """Run a dataset's chains again, and compare.

    Args:
        ds: a dataset from `simulate` or `sweep`, or one read back from a file; or some variables,
            seeds, generations or settings of one.
        data: the user's own data, where the task was made from such.
        options: further arguments of `simulate`, for instance `progress`.

    Returns:
        the new dataset, and how far it is from `ds` by variable.

    Raises:
        TypeError: for what is no dataset.
        ValueError: for a dataset that does not say how it was made or holds something else, such as
            a mean over chains, and for missing or other data.

    Example:
        >>> import collapse_jax as cj
        >>> ds = cj.simulate(cj.Replace(), cj.Categorical(3, 9), 5, seeds=4)
        >>> cj.rerun(ds)[1]["entropy"].largest
        0.0
    """
    return run_planned(plan_rerun(ds, data), **options)


class Planned(NamedTuple):
    """What is to be run to have a dataset again."""

    ds: xr.Dataset
    dims: list[str]
    axes: dict[str, Any]
    """Those of a sweep."""
    cells: list[dict[str, Any]]
    """The arguments of `simulate`."""


def plan_rerun(ds: xr.Dataset, data: Any = None) -> Planned:
    """What `rerun` will run.

    Raises:
        ValueError: as `rerun`.
    """
    check_dataset(ds)
    try:
        config = check_config(ds)
    except ValueError as error:
        raise ValueError(f"ds must be a dataset of simulate or sweep: {error}") from None
    cells, axes = config.get("runs", [config]), config.get("over", {})
    several = ["model"] if config["workflow"].get("type") == "Ecosystem" else []
    dims = [*axes, "seed", *several, "generation"]
    _check_parts(ds, config["metrics"], dims)
    seeds = np.atleast_1d(ds["seed"].values).tolist()
    arguments = [arguments_of({**run, "metrics": list(ds)}, seeds, data) for run in cells]
    last = int(np.max(ds["generation"].values))  # however many a file says there were
    for of_cell in arguments:
        of_cell["n_generations"] = max(1, min(of_cell["n_generations"], last))
    return Planned(ds, dims, axes, arguments)


def run_planned(planned: Planned, **options: Any) -> tuple[xr.Dataset, dict[str, Difference]]:
    """The rest of `rerun`."""
    ds, dims, axes, cells = planned
    runs = [simulate(**{**of_cell, **options}) for of_cell in cells]
    whole = combine(runs, axes) if axes else runs[0]
    part = whole.isel({name: _places(whole, ds, name) for name in dims})
    again = part.map(lambda found: found.transpose(*ds[found.name].dims), keep_attrs=True)
    return again, {str(name): _difference(ds[name].values, again[name].values) for name in ds}


def _check_parts(ds: xr.Dataset, metrics: list[str], coordinates: list[str]) -> None:
    """Refuse a dataset that holds something else than a part of a run."""
    for name in ds:
        checks.one_of("variables of ds", name, metrics)
    if not list(ds):
        raise ValueError(f"ds must hold variables of the run: {', '.join(metrics)}")
    for name in coordinates:
        if name not in ds.coords:
            raise ValueError(
                f"ds must say which {name} its values are of, and has no coordinate {name!r}; a "
                "mean over chains cannot be run again"
            )
        if not ds[name].size:
            raise ValueError(f"ds must hold at least one {name}")


def _places(whole: xr.Dataset, ds: xr.Dataset, name: str) -> xr.DataArray:
    """Where in a whole run a part's values of a coordinate are (truth values select by no mask)."""
    places = whole.indexes[name].get_indexer(np.atleast_1d(ds[name].values))
    if np.any(places < 0):
        raise ValueError(
            f"ds must hold a part of the run, whose {name} are {whole[name].values.tolist()}; got "
            f"{ds[name].values.tolist()}"
        )
    return ds[name].copy(data=places.reshape(ds[name].shape))


def _difference(old: np.ndarray, new: np.ndarray) -> Difference:
    same = (old == new) | (np.isnan(old) & np.isnan(new))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(old.astype(float) - new))
    distance = np.where(np.isnan(distance), np.inf, distance)
    sizes = np.abs(old[np.isfinite(old)])
    typical = float(np.median(sizes)) if sizes.size else 0.0
    scale = np.where(np.isfinite(old), np.abs(old), 0.0) + typical
    relative = distance / np.maximum(scale, np.finfo(np.float32).tiny)
    return Difference(float(distance.max()), float(relative.max()))
