"""Datasets that were saved in files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded when a file is read, so that the command line starts quickly
    import xarray as xr


def read_run(path: str | Path) -> "xr.Dataset":
    """A dataset of `simulate` or `sweep` that was saved in a file.

    Nothing is imported or run that the file names.

    Args:
        path: the file (.nc).

    Raises:
        ValueError: for a file that cannot be read, and one that says not how it was made.
    """
    import xarray as xr

    try:
        ds = xr.load_dataset(path, engine="h5netcdf")
    except OSError as error:
        raise ValueError(f"file must be a readable dataset; {path} is not: {error}") from None
    try:
        config = json.loads(ds.attrs["config"])
        if not isinstance(config["task"]["type"], str):
            raise TypeError
    except (KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(
            f"file must be a dataset of simulate or sweep, and {path} is none"
        ) from None
    return ds
