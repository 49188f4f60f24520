"""The dataset that a run returns, and the attributes that say how it was made."""

import json
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from collapse_jax.loop.plan import CURATION, SIZES
from collapse_jax.numerics.keys import STREAM_VERSION
from collapse_jax.tasks import AbstractTask, LinearRegression
from collapse_jax.tasks.parts.comparison import between_of, variables_of


def check_dataset(ds: Any) -> None:
    """Refuse what is no dataset, such as one variable of one.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(ds, xr.Dataset):
        found = type(ds).__name__
        hint = f"; ds[[{ds.name!r}]] is one" if isinstance(ds, xr.DataArray) else ""
        raise TypeError(f"ds must be a dataset, as simulate returns it, got a {found}{hint}")


def label(
    task: AbstractTask,
    values: dict[str, np.ndarray],
    seeds: np.ndarray,
    attrs: dict[str, Any],
    n_models: int = 0,
) -> xr.Dataset:
    """A dataset of metrics.

    Args:
        task: what was learned.
        values: by the name of the metric, `[seed, generation]` or `[seed, generation, model]`.
        seeds: of the chains.
        attrs: attributes of the dataset.
        n_models: how many models a chain has; 0 for a dataset without the dimension `model`.
    """
    variables = {**SIZES, **CURATION, **variables_of(task), **between_of(task)}
    outcomes = getattr(task, "outcomes", None)
    if outcomes is not None:
        attrs = {**attrs, "outcomes": json.dumps(outcomes, ensure_ascii=False)}
    survey = getattr(task, "survey", None)
    if survey is not None:
        attrs = {**attrs, "documents": json.dumps(survey._asdict())}
    if isinstance(task, LinearRegression) and task.population is not None:
        attrs = {**attrs, "rank": task.rank}
    n_generations = next(iter(values.values())).shape[1]
    dims, model = ("seed", "generation"), {}
    if n_models:
        dims = ("seed", "model", "generation")
        model = {"model": ("model", np.arange(n_models), {"long_name": "model"})}
        values = {name: _model_first(array, n_models) for name, array in values.items()}
    return xr.Dataset(
        {name: (dims, array, variables[name]._asdict()) for name, array in values.items()},
        coords={
            "seed": ("seed", seeds.astype(np.int64), {"long_name": "seed of the chain"}),
            **model,
            "generation": (
                "generation",
                np.arange(1, n_generations + 1),
                {"long_name": "generation (number of fits)"},
            ),
        },
        attrs=attrs,
    )


def _model_first(values: np.ndarray, n_models: int) -> np.ndarray:
    """Values `[seed, model, generation]` of such with the models at the end, or without them."""
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], n_models, axis=2)
    return np.moveaxis(values, 2, 1)


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
