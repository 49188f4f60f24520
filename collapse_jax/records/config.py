"""Workflows and tasks as plain dictionaries, which a dataset carries to say how it was made."""

import contextlib
import importlib
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr

from collapse_jax import tasks, trained
from collapse_jax.basics.fingerprints import digest
from collapse_jax.basics.paths import import_path, imported, parameters
from collapse_jax.loop.ecosystems.description import Ecosystem
from collapse_jax.loop.workflow import Workflow
from collapse_jax.records.loops import LOOPS, describe_workflow, rebuild_workflow
from collapse_jax.records.masks import rebuild_mask
from collapse_jax.records.values import read_value, reason_of, unknown, write_value

KNOWN: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        tasks.Categorical,
        tasks.ExponentialFamily,
        tasks.Gaussian,
        tasks.GaussianMixture,
        tasks.KernelDensity,
        tasks.LinearRegression,
        tasks.LogisticRegression,
        tasks.NGram,
        *trained.TRAINED,
    )
}
_CORPORA = "Grammar", "Text", "Hub", "WordTokenizer", "ByteTokenizer", "FileTokenizer"
_LANGUAGE = {
    "LanguageModel": "language.task",
    **dict.fromkeys(_CORPORA, "language.corpora"),
    "LoRA": "language.model.lora",
    "Optimizer": "language.model.training",
    "Sampling": "language.model.sampling",
    **dict.fromkeys(("Architecture", "RopeScaling"), "language.model.architecture"),
}
"""What language models are described by, and its modules, which are slow to import."""


def describe(module: Any, n_generations: int | None = None) -> dict[str, Any]:
    """The arguments that make this workflow or task again, as JSON can hold them.

    The user's own data are represented by their number of rows and a fingerprint, a corpus that was
    read from somewhere by that place and a fingerprint. What cannot be written down exactly is
    replaced by the reason why; see `check_exact`.

    Args:
        module: a workflow or a task, of the package or of the user's own.
        n_generations: where the description is to serve so many generations only, schedules that
            are functions and cannot be imported again are written down by their values.

    Example:
        >>> import collapse_jax as cj
        >>> describe(cj.Workflow(cj.Real(every=True), cj.Synthetic(n=[30, 40])))
        {'type': 'Workflow', 'real': {'every': True}, 'synthetic': {'n': [30, 40]}}
    """
    if isinstance(module, Workflow | Ecosystem):
        return describe_workflow(module, n_generations)
    if _is_known(type(module)):
        return _describe_known(module)
    return _describe_foreign(module)


def check_exact(config: dict[str, Any], name: str = "checkpoint") -> None:
    """Check that a configuration, kept by the argument `name`, says all there is to say.

    Raises:
        ValueError: if part of it could not be written down, so that two runs which differ in it
            would look the same.
    """
    if (reason := reason_of(config)) is not None:
        raise ValueError(f"{name} cannot keep this run apart from others: {reason}")


def _is_known(cls: type) -> bool:
    if cls.__name__ in _LANGUAGE:
        return cls.__module__.startswith("collapse_jax.")
    return KNOWN.get(cls.__name__) is cls


def _describe_known(module: Any) -> dict[str, Any]:
    written: dict[str, Any] = {"type": type(module).__name__}
    has_data = getattr(module, "population", None) is not None
    for name in inspect.signature(type(module)).parameters:
        if name == "data":
            written[name] = _describe_data(module) if has_data else None
        else:
            written[name] = _write_known(module, name, has_data)
    return written | _fingerprint(module)


def _write_known(module: Any, name: str, has_data: bool) -> Any:
    value = getattr(module, name)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return None if has_data and value.ndim else np.asarray(value).tolist()
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, str | int | float | list | tuple):
        return list(value) if isinstance(value, tuple) else value
    if isinstance(value, Mapping):
        return {key: describe(part) for key, part in value.items()}
    return describe(value)


def _describe_data(module: Any) -> dict[str, Any]:
    # What is worked out from rows differs in its last digits from one processor to another.
    known = getattr(module, "data_digest", None)
    leaves = [known] if isinstance(known, np.ndarray | jax.Array) else jax.tree.leaves(module)
    arrays = [leaf for leaf in leaves if getattr(leaf, "ndim", 0)]
    names = getattr(module, "outcomes", None)  # labels are but numbers of these
    named = [] if names is None else [np.asarray(names)]
    return {"rows": module.population, "fingerprint": digest(*arrays, *named)}


def _fingerprint(module: Any) -> dict[str, str]:
    found = getattr(module, "fingerprint", None)
    return {"fingerprint": found} if isinstance(found, str) else {}


def _describe_foreign(module: Any) -> dict[str, Any]:
    """The same for a class of the user's own, which may keep its arguments or not."""
    cls, path = type(module), import_path(type(module))
    written: dict[str, Any] = {"type": f"{cls.__module__}:{cls.__qualname__}"}
    if path is None:
        written["class"] = unknown(
            f"{cls.__qualname__} is a class that cannot be imported again; write it in a module"
        )
    has_data = getattr(module, "population", None) is not None
    inherited = _known_base(cls)[1]
    for name in parameters(cls):
        if name == "data" and (has_data or name in inherited):
            written[name] = _describe_data(module) if has_data else None
        elif name in inherited:
            written[name] = _write_known(module, name, has_data)
        elif not hasattr(module, name):
            written[name] = unknown(
                f"{cls.__qualname__} does not keep its argument {name!r}; keep the argument as an "
                "attribute of its name"
            )
        else:
            value = getattr(module, name)
            nested = isinstance(value, eqx.Module) or type(value).__name__ in _LANGUAGE
            label = f"the argument {name!r} of {cls.__qualname__}"
            written[name] = describe(value) if nested else write_value(label, value)
    written |= _fingerprint(module)
    ours = str(cls.__init__.__module__).startswith("collapse_jax.")  # which keep their arguments
    if path is not None and not has_data and not ours and reason_of(written) is None:
        _check_again(module, written)
    return written


def _known_base(cls: type) -> tuple[str, Mapping[str, Any]]:
    """The class of the package from which a class inherits, and the arguments of that."""
    base = next((base for base in cls.__mro__ if _is_known(base)), None)
    return ("", {}) if base is None else (base.__name__, inspect.signature(base).parameters)


def _check_again(module: Any, written: dict[str, Any]) -> None:
    """Mark what is kept under the name of an argument but is not that argument."""
    name = type(module).__qualname__
    try:
        again = _made_again(written)
        differing = [key for key in written if _plainly(again, key) != _plainly(module, key)]
        same = _arrays(again) == _arrays(module)
    except Exception as error:  # whatever the user's class raises for what it kept
        if "large array" in str(error):
            return
        differing, same = [], False
    for key in differing:
        written[key] = unknown(
            f"{name} keeps something else than its argument {key!r} under that name; keep the "
            "argument as an attribute of its name"
        )
    if not differing and not same:
        written["class"] = unknown(
            f"{name} is not the same when it is made again from the arguments that it keeps; keep "
            "each argument as an attribute of its name"
        )


def _made_again(written: dict[str, Any]) -> Any:
    """Made from what is written, from which arguments are taken that the class gives itself."""
    while True:
        try:
            return rebuild(written)
        except TypeError as error:
            twice = re.search(r"multiple values for (?:keyword )?argument '(\w+)'", str(error))
            if twice is None or twice[1] not in written:
                raise
            del written[twice[1]]


def _plainly(module: Any, name: str) -> str:
    value = getattr(module, name, None)
    return repr(value) if isinstance(value, eqx.Module) else json.dumps(write_value(name, value))


def _arrays(module: Any) -> list[str]:
    return [digest(np.asarray(leaf)) for leaf in jax.tree.leaves(module) if eqx.is_array_like(leaf)]


def rebuild(written: dict[str, Any], data: Any = None) -> Any:
    """The workflow or task that `describe` described.

    Args:
        written: what `describe` returned.
        data: the user's own data, where the task was made from such.

    Raises:
        ValueError: for an unknown type, for a class or function of the user's own whose module is
            not imported, for what could not be written down, and for data that are missing or are
            not the same.
    """
    arguments = dict(written)
    name = arguments.pop("type")
    if name in LOOPS:
        return rebuild_workflow(written)
    if (reason := reason_of(arguments)) is not None:
        raise ValueError(f"the run cannot be made again: {reason}")
    made = known_class(name)
    fingerprint = arguments.pop("fingerprint", None)
    described = arguments.pop("data", None)
    base, inherited = _known_base(made)
    for key, value in arguments.items():
        if isinstance(value, dict) and isinstance(value.get("type"), str):
            arguments[key] = rebuild(value)
        elif key not in inherited:
            arguments[key] = read_value(value)
        elif base in _LANGUAGE and isinstance(value, dict):  # parts by name
            arguments[key] = {own: rebuild(part) for own, part in value.items()}
        elif base in _LANGUAGE and isinstance(value, list):  # JSON has no tuples
            arguments[key] = tuple(value)
    if not isinstance(described, dict) or "rows" not in described:
        if described is not None:
            arguments["data"] = read_value(described)
        module = made(**arguments)
        if fingerprint is not None and module.fingerprint != fingerprint:
            raise ValueError(f"{name} must be that of the run, and its fingerprint differs")
        return module
    if data is None:
        raise ValueError(f"data must be given: the run used {described['rows']} rows of its own")
    arguments = {key: value for key, value in arguments.items() if value is not None}
    module = made(**arguments, data=data)
    if describe(module)["data"] != described:
        raise ValueError(
            "data must be those of the run, and their fingerprint differs, as it may also where "
            "another version read the same rows"
        )
    return module


def remake(task: Any, **changes: Any) -> Any:
    """A task like this one with other values of some arguments.

    Raises:
        ValueError: for a task with data of the user's own, or one that does not keep its arguments.
    """
    written = describe(task)
    name = type(task).__name__
    if written.get("data") is not None:
        raise ValueError(
            "task must be a function where it has data of its own, for instance "
            f"functools.partial({name}, data=rows)"
        )
    kept = [key for key in written if key not in ("type", "class", "data", "fingerprint")]
    others = {key: written[key] for key in kept if key not in changes}
    if (reason := reason_of(others)) is not None:
        raise ValueError(f"task must be a function where it cannot be made again: {reason}")
    arguments = {key: getattr(task, key) for key in kept if hasattr(task, key)}
    try:
        return type(task)(**arguments | changes)
    except ValueError:
        for key in others:  # one that the old values of others imply goes with these
            rest = {name: value for name, value in arguments.items() if name != key}
            with contextlib.suppress(TypeError, ValueError):
                if describe(type(task)(**rest)) == written:
                    return type(task)(**rest | changes)
        raise


def known_class(name: str) -> Any:
    """The class that `describe` calls so. Raises `ValueError` where there is none."""
    if name in KNOWN:
        return KNOWN[name]
    if ":" in name:
        return imported(name, eqx.Module)
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
        "features": read_value(config.get("features")),
        "include": rebuild_mask(config.get("include"), seeds),
    }
