"""Small readings of a dataset."""

import numpy as np
import xarray as xr

from collapse_jax.records.labels import check_dataset


def collapse_time(ds: xr.Dataset, variable: str = "entropy", below: float = 1e-8) -> xr.DataArray:
    """First generation in which a variable falls below a threshold, for each chain.

    With the default, the generation of total collapse of a categorical chain: one outcome is left.

    Args:
        ds: a dataset from `simulate`.
        variable: a variable of it.
        below: the threshold.

    Returns:
        generations, NaN for a chain that has not got there within the run. `[seed]`

    Raises:
        TypeError: for what is no dataset.
        ValueError: for a variable that the dataset does not have.

    Example:
        >>> import collapse_jax as cj
        >>> ds = cj.simulate(cj.Replace(), cj.Categorical(3, 5), 200, seeds=4)
        >>> bool(collapse_time(ds).notnull().all())
        True
    """
    check_dataset(ds)
    if variable not in ds:
        raise ValueError(f"variable must be one of {', '.join(map(str, ds))}, got {variable!r}")
    fallen = ds[variable] < below
    time = ds["generation"].where(fallen, np.inf).min("generation")
    time = time.where(np.isfinite(time)).rename("collapse_time")
    return time.assign_attrs(long_name=f"first generation with {variable} < {below:g}", units="1")
