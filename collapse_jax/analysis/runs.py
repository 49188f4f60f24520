"""Datasets of `simulate` as figures and tables present them: labels, settings and their theory."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import xarray as xr

from collapse_jax.basics import checks
from collapse_jax.loop.plan import CURATION, SIZES
from collapse_jax.records.cells import config_of, runs_of
from collapse_jax.records.config import known_class, rebuild
from collapse_jax.records.masks import rebuild_mask
from collapse_jax.theory import expected

Runs = xr.Dataset | Mapping[str, xr.Dataset] | Sequence[xr.Dataset]
"""One dataset, or several by their label, or several in their order."""
Theory = bool | xr.Dataset | Mapping[str, xr.Dataset]
"""Whether to compute the theory, or the theory itself: of the one run, or by label."""

_ALWAYS_SHOWN = ("bandwidth",)


class Run(NamedTuple):
    """One dataset and how it is called."""

    label: str
    workflow: str
    """Name of the workflow's class; empty where unknown."""
    task: str
    """Name of the task's class; empty where unknown."""
    settings: dict[str, str]
    """The task's settings that a reader wants to know."""
    ds: xr.Dataset
    theory: xr.Dataset
    """What is known about the same variables and generations; possibly nothing."""

    @property
    def metrics(self) -> list[str]:
        """The task's variables, or all where there are only sizes."""
        names = [str(name) for name in self.ds.data_vars]
        return [name for name in names if name not in {*SIZES, *CURATION}] or names

    def chosen(self, variables: Sequence[str] | None) -> list[str]:
        """The variables of these names; None for `metrics`. Raises `ValueError` for others."""
        if variables is None:
            return self.metrics
        known = [str(name) for name in self.ds.data_vars]
        return [checks.one_of("variables", name, known) for name in variables]


def collect(ds: Runs, theory: Theory = True, models: bool = True) -> list[Run]:
    """Name datasets and find their theory.

    Labels are those of a mapping; otherwise the workflows, with the settings in which the runs
    differ where two runs share a workflow.

    Args:
        ds: one dataset from `collapse_jax.simulate`, or a mapping or sequence of such.
        theory: True to predict what is known from the dataset's attributes, which is nothing where
            the run used data or classes of the user's own; or datasets from
            `collapse_jax.theory.expected`.
        models: whether each model of an `Ecosystem` is a run, or they are refused.

    Raises:
        TypeError: for other types.
        ValueError: for datasets without `seed` or `generation`.
    """
    if isinstance(ds, xr.Dataset):
        labels, datasets = None, [ds]
    elif isinstance(ds, Mapping):
        labels, datasets = [str(label) for label in ds], list(ds.values())
    elif isinstance(ds, Sequence) and not isinstance(ds, str):
        labels, datasets = None, list(ds)
    else:
        raise TypeError(f"ds must be a dataset, or a mapping or sequence of them, got {ds!r}")
    if not datasets:
        raise ValueError("ds must hold at least one dataset")
    labels, datasets = _split(labels, datasets, models)
    for dataset in datasets:
        check_chains(dataset)
    configs = [config_of(dataset) for dataset in datasets]
    settings = [
        _settings(config.get("task", {})) | _found(dataset)
        for config, dataset in zip(configs, datasets, strict=True)
    ]
    workflows = [dataset.attrs.get("workflow", "") for dataset in datasets]
    labels = _labels(workflows, settings) if labels is None else labels
    return [
        Run(
            label,
            workflow,
            dataset.attrs.get("task", ""),
            setting,
            dataset,
            _theory(label, dataset, config, theory, alone=len(datasets) == 1),
        )
        for label, workflow, setting, dataset, config in zip(
            labels, workflows, settings, datasets, configs, strict=True
        )
    ]


def _split(
    labels: list[str] | None, datasets: list[xr.Dataset], models: bool
) -> tuple[list[str] | None, list[xr.Dataset]]:
    """The cells of each grid, and each model of several that feed each other, as a dataset."""
    names, found = [], []
    for number, ds in enumerate(datasets):
        whole = not isinstance(ds, xr.Dataset) or ("model" in ds.dims and not models)
        for part in [ds] if whole else runs_of(ds):
            varied = [] if whole else _varied(ds, part)
            if labels is not None:
                varied = [labels[number], *varied]
            elif len(datasets) > 1 and "workflow" not in getattr(ds, "dims", ()):
                varied = [getattr(ds, "attrs", {}).get("workflow", ""), *varied]
            names.append(", ".join(varied))
            found.append(part)
    return (names if labels is not None or len(found) > len(datasets) else None), found


def _varied(whole: xr.Dataset, part: xr.Dataset) -> list[str]:
    """What tells a part of a dataset from the others."""
    values = {name: part[name].item() for name in whole.dims if name not in part.dims}
    return [
        str(value) if name == "workflow" else f"{name}{' ' if name == 'model' else '='}{value}"
        for name, value in values.items()
        if whole.sizes[name] > 1
    ]


def with_losses(ds: xr.Dataset) -> xr.Dataset:
    """The run as definitions read it: what is better the higher has a loss beside it."""
    return ds.assign({"-elbo": -ds["elbo"]}) if "elbo" in ds else ds


def title(runs: Sequence[Run]) -> str:
    """What the runs have in common: workflow, task and settings."""
    names = [
        next(iter(found)) if len(found := {getattr(run, kind) for run in runs}) == 1 else ""
        for kind in ("task", "workflow")
    ]
    common = [
        f"{key}={value}" if value else key
        for key, value in runs[0].settings.items()
        if all(run.settings.get(key) == value for run in runs)
    ]
    return ": ".join(filter(None, [", ".join(filter(None, names)), ", ".join(common)]))


def check_chains(ds: Any) -> None:
    """Refuse what holds no chains, or those of several runs.

    Raises:
        TypeError: for what is no dataset.
        ValueError: where the dimensions are not those of one run.
    """
    if not isinstance(ds, xr.Dataset | xr.DataArray):
        raise TypeError(f"ds must hold xarray datasets, got {type(ds).__name__}")
    if {"seed", "generation"} == set(ds.dims):
        return
    found = ", ".join(map(repr, ds.dims)) or "none"
    raise ValueError(
        "ds must have the dimensions 'seed' and 'generation', as simulate returns them, got "
        f"{found}; give chains and no means over them, of a sweep one cell: ds.sel(...), and of "
        "several models one: ds.sel(model=0)"
    )


def _labels(workflows: list[str], settings: list[dict[str, str]]) -> list[str]:
    if len(set(workflows)) == len(workflows):
        return workflows
    keys = dict.fromkeys(key for setting in settings for key in setting)
    differing = [key for key in keys if len({setting.get(key) for setting in settings}) > 1]
    several = len(set(workflows)) > 1
    return [
        ", ".join(
            [workflow] * several + [f"{key}={setting[key]}" for key in differing if key in setting]
        )
        or f"run {number}"
        for number, (workflow, setting) in enumerate(zip(workflows, settings, strict=True), 1)
    ]


def _found(ds: xr.Dataset) -> dict[str, str]:
    """What was found out about the user's data: where columns are dependent, their rank."""
    rank, dim = ds.attrs.get("rank"), config_of(ds).get("task", {}).get("dim")
    return {} if rank is None or rank == dim else {"rank": str(rank)}


def _settings(config: dict[str, Any], nested: bool = False) -> dict[str, str]:
    """Sizes, the data set and everything that is not at its default."""
    name, given = config.get("type"), dict(config)
    data = given.pop("data", None)
    given.pop("type", None)
    shown = {} if data is None else {f"data of {data['rows']} rows": ""}
    dataset = given.pop("dataset", None)
    if data is None and dataset is not None:
        shown[str(dataset)] = ""
    try:
        parameters = inspect.signature(known_class(str(name))).parameters
    except ValueError:  # a class of the user's own
        parameters = {}
    for key, value in given.items():
        if data is not None and key == "n_test":  # the data decide it
            continue
        if key in _DERIVED.get(str(name), ()):
            continue
        if isinstance(value, dict) and set(value) == {"unknown"}:  # why it cannot be made again
            continue
        if isinstance(value, dict) and value and "type" not in value:  # several, by their names
            shown[key] = "/".join(value)
            continue
        if isinstance(value, dict):
            inner = _settings(value, nested=True)
            if key == "corpus":
                details = ", ".join(f"{k}={v}" if v else k for k, v in inner.items())
                shown[f"{value['type']}({details})" if details else str(value["type"])] = ""
            else:
                shown |= inner
            continue
        default = key in parameters and _is_hidden_default(parameters[key], value, nested)
        uniform = isinstance(value, list) and all(entry == value[0] for entry in value)
        if value is not None and not default and not uniform:
            shown[key] = _text(value)
    return shown


# What follows from other settings where it is not told.
_DERIVED = {
    "LanguageModel": ("context", "n_test", "mode", "scan", "tokenizer", "param_dtype"),
    "Optimizer": ("micro_batch",),
}


def _is_hidden_default(parameter: inspect.Parameter, value: Any, nested: bool) -> bool:
    """Whether an argument has its default value, which nobody needs to be told.

    Of a task only arguments by keyword are hidden, not its sizes.
    """
    optional = nested or parameter.kind is inspect.Parameter.KEYWORD_ONLY
    return optional and value == parameter.default and parameter.name not in _ALWAYS_SHOWN


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{len(value)} numbers]" if len(value) > 3 else str(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _theory(
    label: str, ds: xr.Dataset, config: dict[str, Any], theory: Theory, alone: bool
) -> xr.Dataset:
    if isinstance(theory, bool):
        found = _expected(ds, config) if theory else xr.Dataset()
    elif isinstance(theory, xr.Dataset):
        if not alone:
            raise ValueError("theory must be a mapping by label where there are several runs")
        found = theory
    elif isinstance(theory, Mapping):
        found = theory.get(label, xr.Dataset())
    else:
        raise TypeError(f"theory must be True, False or datasets, got {theory!r}")
    return found.reindex(generation=ds["generation"].values) if found.data_vars else found


def _expected(ds: xr.Dataset, config: dict[str, Any]) -> xr.Dataset:
    if config.get("task", {}).get("type") == "LanguageModel":  # no theory, and slow to make again
        return xr.Dataset()
    try:
        workflow, task = rebuild(config["workflow"]), rebuild(config["task"])
        include = rebuild_mask(config.get("include"))
    except (KeyError, TypeError, ValueError):  # data or classes of the user's own
        return xr.Dataset()
    if include is not None and include.ndim == 3:  # each chain has a loop of its own
        return xr.Dataset()
    found = expected(workflow, task, int(ds["generation"].max()), include=include)
    return found.isel(model=int(ds["model"])) if "model" in found.dims else found
