"""Datasets in files: every byte of a run is read back as it was written, or refused."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collapse_jax.basics import files

if TYPE_CHECKING:  # loaded when a file is read, so that the command line starts quickly
    import xarray as xr

_OF_RUN = {"workflow": dict, "task": dict, "n_generations": int, "metrics": list}


def read_run(path: str | Path) -> "xr.Dataset":
    """A dataset of `simulate` or `sweep` that was saved in a file.

    Nothing is imported or run that the file names.

    Args:
        path: the file (.nc).

    Raises:
        ValueError: for a file that cannot be read, and one that says not how it was made.
    """
    import xarray as xr

    with files.readable("file", path):
        ds = xr.load_dataset(path, engine="h5netcdf")
    try:
        check_config(ds)
    except ValueError as error:
        raise ValueError(
            f"file must be a dataset of simulate or sweep, and {path} is none: {error}"
        ) from None
    return ds


def write_run(ds: "xr.Dataset", path: str | Path) -> None:
    """Save a dataset in a file (.nc), with a check sum of each piece of its numbers.

    Raises:
        OSError: when that fails, for instance on a full disk.
    """
    checked = {
        name: {"fletcher32": True}
        for name, variable in ds.variables.items()
        if variable.size and variable.ndim and variable.dtype.kind in "biuf"
    }
    files.write_atomically(
        path, lambda name: ds.to_netcdf(name, engine="h5netcdf", encoding=checked)
    )


def check_config(ds: "xr.Dataset") -> dict[str, Any]:
    """The configuration of a dataset, which says how it was made.

    Raises:
        ValueError: where it is missing, or not of the form in which runs and sweeps write it.
    """
    try:
        config = json.loads(ds.attrs["config"])
    except (KeyError, RecursionError, TypeError, ValueError):
        raise ValueError("it does not say how it was made (its attribute config)") from None
    _check_run(config, "config")
    if "over" in config or "runs" in config:
        over, runs = config.get("over"), config.get("runs")
        if not isinstance(over, dict) or not all(isinstance(v, list) for v in over.values()):
            raise ValueError(f"over must be lists of values by their names, got {over!r:.80}")
        if not isinstance(runs, list) or len(runs) != math.prod(map(len, over.values())):
            raise ValueError("runs must be as many as there are combinations of what was swept")
        for number, run in enumerate(runs):
            _check_run(run, f"runs[{number}]")
    return config


def _check_run(config: Any, name: str) -> None:
    if not isinstance(config, dict):
        raise ValueError(f"{name} must have entries, got {config!r:.80}")
    for entry, kind in _OF_RUN.items():
        if not isinstance(config.get(entry), kind):
            raise ValueError(f"{name} must have {entry}, got {config.get(entry)!r:.80}")
    if not isinstance(config["task"].get("type"), str):
        raise ValueError(f"{name} must say the type of its task, got {config['task']!r:.80}")
