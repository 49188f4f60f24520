"""Workflows and tasks as plain dictionaries, which a dataset carries to say how it was made."""

import importlib
import inspect
import json
from pathlib import PurePath
from typing import Any

import jax
import numpy as np
import xarray as xr

from collapse_jax import tasks
from collapse_jax.basics.fingerprints import digest
from collapse_jax.loop import presets
from collapse_jax.loop.workflow import Workflow

KNOWN: dict[str, type] = {
    cls.__name__: cls
    for cls in (tasks.Categorical, tasks.Gaussian, tasks.KernelDensity, tasks.LinearRegression)
}
_LANGUAGE = {
    "LanguageModel": "language.task",
    "Grammar": "language.corpora",
    "Text": "language.corpora",
    "Hub": "language.corpora",
    "WordTokenizer": "language.corpora",
    "ByteTokenizer": "language.corpora",
    "FileTokenizer": "language.corpora",
    "Optimizer": "language.model.training",
    "Sampling": "language.model.sampling",
    "Architecture": "language.model.architecture",
}
"""What language models are described by, and its modules, which are slow to import."""


def describe(module: Any) -> dict[str, Any]:
    """The arguments that make this workflow or task again, as JSON can hold them.

    The user's own data are represented by their number of rows and a fingerprint, a corpus that was
    read from somewhere by that place and a fingerprint.
    """
    if isinstance(module, Workflow):
        return {"type": presets.name_of(module) or repr(module)}
    arguments: dict[str, Any] = {"type": type(module).__name__}
    has_data = getattr(module, "population", None) is not None
    for name in inspect.signature(type(module)).parameters:
        if name == "data":
            arguments[name] = _describe_data(module) if has_data else None
            continue
        value = getattr(module, name, None)  # a user's class may keep something else
        if isinstance(value, (np.ndarray, jax.Array)) and value.ndim:
            value = None if has_data else np.asarray(value).tolist()
        elif isinstance(value, (np.ndarray, np.generic, jax.Array)):
            value = value.item()
        elif type(value).__name__ in _LANGUAGE:
            value = describe(value)
        elif isinstance(value, PurePath):
            value = str(value)
        arguments[name] = value
    if isinstance(fingerprint := getattr(module, "fingerprint", None), str):
        arguments["fingerprint"] = fingerprint
    return arguments


def _describe_data(module: Any) -> dict[str, Any]:
    arrays = [leaf for leaf in jax.tree.leaves(module) if getattr(leaf, "ndim", 0)]
    return {"rows": module.population, "fingerprint": digest(*arrays)}


def rebuild(arguments: dict[str, Any], data: Any = None) -> Any:
    """The workflow or task that `describe` described.

    Args:
        arguments: what `describe` returned.
        data: the user's own data, where the task was made from such.

    Raises:
        ValueError: for an unknown type, or for data that are missing or are not the same.
    """
    arguments = dict(arguments)
    name = arguments.pop("type")
    if name in presets.PRESETS:
        return presets.PRESETS[name]()
    made = known_class(name)
    for key, value in arguments.items():
        if isinstance(value, dict) and value.get("type") in _LANGUAGE:
            arguments[key] = rebuild(value)
        elif name in _LANGUAGE and isinstance(value, list):  # JSON has no tuples
            arguments[key] = tuple(value)
    fingerprint = arguments.pop("fingerprint", None)
    described = arguments.pop("data", None)
    if described is None:
        module = made(**arguments)
        if fingerprint is not None and module.fingerprint != fingerprint:
            raise ValueError(f"{name} must be that of the run, and its fingerprint differs")
        return module
    if data is None:
        raise ValueError(f"data must be given: the run used {described['rows']} rows of its own")
    arguments = {key: value for key, value in arguments.items() if value is not None}
    module = made(**arguments, data=data)
    if describe(module)["data"] != described:
        raise ValueError("data must be those of the run, and their fingerprint differs")
    return module


def known_class(name: str) -> Any:
    """The class that `describe` calls so. Raises `ValueError` where there is none."""
    if name in KNOWN:
        return KNOWN[name]
    if name not in _LANGUAGE:
        raise ValueError(f"type must be one of {', '.join((*KNOWN, *_LANGUAGE))}, got {name!r}")
    return getattr(importlib.import_module(f"collapse_jax.{_LANGUAGE[name]}"), name)


def run_arguments(ds: xr.Dataset, data: Any = None) -> dict[str, Any]:
    """Keyword arguments with which `collapse_jax.simulate` makes this dataset again.

    Args:
        ds: a dataset from `simulate`, or one read back from a file.
        data: the user's own data, where the task was made from such.
    """
    return arguments_of(json.loads(ds.attrs["config"]), ds["seed"].values.tolist(), data)


def arguments_of(config: dict[str, Any], seeds: list[int], data: Any = None) -> dict[str, Any]:
    """The same from the configuration of a run and its seeds."""
    return {
        "workflow": rebuild(config["workflow"]),
        "task": rebuild(config["task"], data),
        "n_generations": config["n_generations"],
        "seeds": seeds,
        "metrics": config["metrics"],
        "storage": config["storage"],
    }
