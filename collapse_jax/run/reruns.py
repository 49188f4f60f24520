"""Running a dataset again from what it says of itself, and comparing the two."""

import json
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from collapse_jax.records.config import arguments_of
from collapse_jax.run.simulation import simulate
from collapse_jax.run.sweeps import combine

# Float32 sums in another order differ by 1e-7, and by some hundred times that after a long chain;
# chains of other seeds differ by about what they are.
_ROUNDING = 1e-3


class Difference(NamedTuple):
    """How far two runs of the same chains are apart in one variable."""

    largest: float
    """Largest absolute difference; infinite where only one of the two is finite."""
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
        ds: a dataset from `simulate` or `sweep`, or one read back from a file.
        data: the user's own data, where the task was made from such.
        options: further arguments of `simulate`, for instance `progress`.

    Returns:
        the new dataset, and how far it is from `ds` by variable.

    Raises:
        ValueError: for a dataset that does not say how it was made, and for missing or other data.

    Example:
        >>> import collapse_jax as cj
        >>> ds = cj.simulate(cj.Replace(), cj.Categorical(3, 9), 5, seeds=4)
        >>> cj.rerun(ds)[1]["entropy"].largest
        0.0
    """
    try:
        config, seeds = json.loads(ds.attrs["config"]), ds["seed"].values.tolist()
        cells = [arguments_of(run, seeds, data) for run in config.get("runs", [config])]
    except (KeyError, json.JSONDecodeError):
        raise ValueError(
            "ds must be a dataset of simulate or sweep, which says how it was made"
        ) from None
    runs = [simulate(**arguments, **options) for arguments in cells]
    again = combine(runs, config["over"]) if "over" in config else runs[0]
    return again, {str(name): _difference(ds[name].values, again[name].values) for name in again}


def _difference(old: np.ndarray, new: np.ndarray) -> Difference:
    with np.errstate(invalid="ignore"):
        distance = np.where(old == new, 0.0, np.abs(old.astype(float) - new))
    distance = np.where(np.isnan(distance), np.inf, distance)
    sizes = np.abs(old[np.isfinite(old)])
    typical = float(np.median(sizes)) if sizes.size else 0.0
    scale = np.where(np.isfinite(old), np.abs(old), 0.0) + typical
    relative = distance / np.maximum(scale, np.finfo(np.float32).tiny)
    return Difference(float(distance.max()), float(relative.max()))
