"""The dataset that a run returns, and the attributes that say how it was made."""

import json
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from collapse_jax.loop.generation import CURATION, SIZES
from collapse_jax.numerics.keys import STREAM_VERSION
from collapse_jax.tasks import AbstractTask


def label(
    task: AbstractTask, values: dict[str, np.ndarray], seeds: np.ndarray, attrs: dict[str, Any]
) -> xr.Dataset:
    """A dataset of metrics `[seed, generation]`."""
    variables = {**SIZES, **CURATION, **task.variables}
    outcomes = getattr(task, "outcomes", None)
    if outcomes is not None:
        attrs = {**attrs, "outcomes": json.dumps(outcomes, ensure_ascii=False)}
    n_generations = next(iter(values.values())).shape[1]
    return xr.Dataset(
        {
            name: (("seed", "generation"), array, variables[name]._asdict())
            for name, array in values.items()
        },
        coords={
            "seed": ("seed", seeds.astype(np.int64), {"long_name": "seed of the chain"}),
            "generation": (
                "generation",
                np.arange(1, n_generations + 1),
                {"long_name": "generation (number of fits)"},
            ),
        },
        attrs=attrs,
    )


def provenance(config: dict[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Attributes that say what was run, by which versions and on what devices."""
    return {
        "config": json.dumps(config, default=str),
        "workflow": config["workflow"]["type"],
        "task": config["task"]["type"].rpartition(":")[2].rpartition(".")[2],
        "collapse_jax_version": version("collapse_jax"),
        "stream_version": STREAM_VERSION,
        "jax_version": jax.__version__,
        "jaxlib_version": version("jaxlib"),
        "backend": mesh.devices.flat[0].platform,
        "device": mesh.devices.flat[0].device_kind,
        "n_devices": mesh.size,
        "n_processes": jax.process_count(),
    }
