"""`collapse-jax rerun` and `collapse-jax sweep`."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import File
from collapse_jax.cli.options.imports import import_functions, imported_here
from collapse_jax.cli.options.parser import PROGRAM
from collapse_jax.cli.options.settings import settings_of
from collapse_jax.cli.options.tables import kind_of, read_data
from collapse_jax.cli.options.tasks import find_kind
from collapse_jax.cli.options.values import check_generations
from collapse_jax.cli.options.workflows import read_workflow
from collapse_jax.cli.options.yaml_files import read_yaml
from collapse_jax.loop.settings import NAMES, flat
from collapse_jax.records.run_files import read_run, write_run

_REQUIRED = ("workflows", "task", "over", "n_generations", "seeds", "out")
_PREPARED = ("n_generations", "seeds", "metrics", "storage", "memory_limit")
_KEYS = (*_REQUIRED, "metrics", "storage", "memory_limit", "checkpoint", "stop_when")


def run_again(
    file: File,
    task: Annotated[str | None, "MODULE:CLASS"] = None,
    features: Annotated[str | None, "MODULE:FUNCTION"] = None,
    yes: bool = False,
    **reading: Any,
) -> bool:
    """Run a saved dataset again, and report the largest difference in each variable.

    Args:
        file: the dataset, as simulate or sweep saved it (.nc).
        task: the task of your own that the run was of; nothing is imported that is only named in
            the dataset.
        features: what distances compared in the run, where that was a function of your own.
        yes: begin without a question what takes more than an hour, by an estimate.
        reading: the table that the run learned from, and how it is read, as for simulate.

    Returns:
        whether the two are equal up to rounding.
    """
    import rich
    import rich.table

    from collapse_jax.records.config import known_class
    from collapse_jax.run.reruns import plan_rerun, run_planned

    ds = read_run(file)
    name = json.loads(ds.attrs["config"])["task"]["type"]
    for argument, path in (("task", task), ("features", features)):
        if path is not None:
            imported_here(argument, path)
    kind = kind_of(settings_of(known_class(name))) or "TABLE"
    planned = plan_rerun(ds, read_data(kind, **reading))
    _ask([planned.cells], yes)
    again, differences = run_planned(planned)
    table = rich.table.Table("variable", "largest difference", "equal up to rounding")
    for name, difference in differences.items():
        equal = "yes" if difference.only_rounding else "no"
        table.add_row(name, f"{difference.largest:.3g}", equal)
    rich.print(table)
    for name in (
        "collapse_jax_version",
        "stream_version",
        "jax_version",
        "jaxlib_version",
        "device",
    ):
        if ds.attrs.get(name) != again.attrs[name]:
            print(f"{name}: {ds.attrs.get(name, 'unknown')} then, {again.attrs[name]} now")
    return all(difference.only_rounding for difference in differences.values())


def run_sweep(file: File, trust: bool = False, yes: bool = False) -> None:
    """Run workflows over a grid of settings, as a file describes them (.yaml).

    All cells are run, the dataset is saved, and the last generation's means are printed.

    Args:
        file: the description; docs/sweeps.md explains it.
        trust: import classes and functions that the file names, which runs code of whoever wrote
            them.
        yes: begin without a question what takes more than an hour, by an estimate.
    """
    from collapse_jax.analysis.judged import read_rule
    from collapse_jax.basics import files
    from collapse_jax.run.sweeps import sweep

    config = _read_config(file)
    out = files.check_writable("out", config.pop("out"), (".nc",))
    entries = config.pop("workflows")
    entries = entries if isinstance(entries, list) else [entries]
    if isinstance(config.get("metrics"), str):
        config["metrics"] = [config["metrics"]]
    if "stop_when" in config:
        config["stop_when"] = read_rule(str(config["stop_when"]))
    written = [flat(entry) for entry in entries if isinstance(entry, dict)]
    for settings in (*written, config["over"]):
        import_functions(settings.get("synthetic.curation"), trust)
    workflows = [read_workflow(entry) for entry in entries]
    task = _task_maker(config.pop("task"), config["over"], trust)
    if not yes:  # the tasks are made for the question alone, and again where it is a yes
        _ask(_loops_of(workflows, task, config), yes)
    ds = sweep(workflows, task, **config)
    options = [*(["--trust"] * trust), *(["--yes"] * yes)]
    ds.attrs["command"] = shlex.join([PROGRAM, "sweep", file, *options])
    write_run(ds, out)
    last = ds["last_generation"] if "last_generation" in ds.coords else ds["generation"][-1]
    final = ds.sel(generation=last).mean("seed").drop_vars("generation")
    print(final.to_dataframe().to_string())
    print(f"Chains: {out}")


def _loops_of(workflows: Any, task: Any, config: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """The cells of each workflow of a sweep, as arguments of `simulate`."""
    from collapse_jax.run.sweeps import cells_of

    cells = cells_of(workflows, task, config["over"])
    same = {name: config[name] for name in _PREPARED if name in config}
    return [
        [{**same, "workflow": c.workflow, "task": c.task} for c in cells if c.called == name]
        for name in dict.fromkeys(cell.called for cell in cells)
    ]


def _ask(loops: Sequence[Sequence[Mapping[str, Any]]], yes: bool) -> None:
    """Ask before long work, whose cells are given as arguments of `simulate`."""
    from collapse_jax.cli.consent import ask_before_long
    from collapse_jax.run.before.prepared import prepare

    if yes:
        return
    for cells in loops:
        for cell in cells:
            check_generations(cell["n_generations"], yes)
    ask_before_long([[prepare(**cell) for cell in cells] for cells in loops], yes)


def _read_config(path: str) -> dict[str, Any]:
    """The description of a sweep.

    Raises:
        ValueError: for an unreadable file, and for unknown and missing entries.
    """
    import yaml

    from collapse_jax.basics.files import check_regular

    check_regular("file", path)
    try:
        with open(path, encoding="utf-8") as file:
            config = read_yaml(file.read())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"file must be readable YAML; {path} is not: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"file must hold entries such as 'task: ...', and {path} does not")
    for name in config:
        checks.one_of(f"entry of {path}", name, _KEYS)
    for name in _REQUIRED:
        if name not in config:
            raise ValueError(f"{name} must be given in {path}")
    for name in ("task", "over"):
        if not isinstance(config[name], dict):
            raise TypeError(f"{name} must hold entries such as 'name: value', got {config[name]!r}")
    return config


def _task_maker(entries: Mapping[str, Any], over: Mapping[str, Any], trust: bool) -> Any:
    """A function that makes the task of a cell; its entries are the options of `simulate`."""
    entries = dict(entries)
    kind = find_kind(entries.pop("name", None), trust)
    known = [setting.name for setting in kind.settings]
    for name in entries:
        checks.one_of("entry of task", name, known)
    for name in over:
        checks.one_of("entry of over", name, [*known, *NAMES])
    return lambda **settings: kind.make({**entries, **settings})
