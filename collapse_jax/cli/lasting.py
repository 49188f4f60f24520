"""`collapse-jax rerun` and `collapse-jax sweep`: their options, and what they do."""

import dataclasses
import json
from typing import Annotated, Any

from tyro.conf import Positional, arg

from collapse_jax.basics import checks
from collapse_jax.cli.options import WORKFLOWS, Options, TargetOptions, make_workflow
from collapse_jax.cli.tasks import TASKS

_REQUIRED = ("workflows", "task", "over", "n_generations", "seeds", "out")
_KEYS = (*_REQUIRED, "metrics", "storage", "memory_limit", "checkpoint")
_OF_RUNS = {field.name for field in dataclasses.fields(Options)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rerun(TargetOptions):
    """Run a saved dataset again, and report the largest difference in each variable."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """The dataset, as simulate or sweep saved it (.nc)."""

    def run(self) -> bool:
        """Run it again and print a table; whether the two are equal up to rounding."""
        import rich
        import rich.table
        import xarray as xr

        from collapse_jax.run.reruns import rerun

        try:
            ds = xr.load_dataset(self.file, engine="h5netcdf")
        except OSError as error:
            raise ValueError(
                f"file must be a readable dataset; {self.file} is not: {error}"
            ) from None
        try:
            regression = json.loads(ds.attrs["config"])["task"]["type"] == "LinearRegression"
        except (KeyError, TypeError, json.JSONDecodeError):
            raise ValueError(
                f"file must be a dataset of simulate or sweep, and {self.file} is none"
            ) from None
        again, differences = rerun(ds, self.read_pair() if regression else self.read())
        table = rich.table.Table("variable", "largest difference", "equal up to rounding")
        for name, difference in differences.items():
            equal = "yes" if difference.only_rounding else "no"
            table.add_row(name, f"{difference.largest:.3g}", equal)
        rich.print(table)
        for name in ("collapse_jax_version", "jax_version", "jaxlib_version", "device"):
            if ds.attrs.get(name) != again.attrs[name]:
                print(f"{name}: {ds.attrs.get(name)} then, {again.attrs[name]} now")
        return all(difference.only_rounding for difference in differences.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Run workflows over a grid of a task's settings, as a file describes them (.yaml)."""

    file: Annotated[Positional[str], arg(metavar="FILE")]
    """The description; docs/sweeps.md explains it."""

    def run(self) -> None:
        """Run all cells, save the dataset, and print the last generation's means."""
        from collapse_jax.basics import files
        from collapse_jax.run.sweeps import sweep

        config = _read_config(self.file)
        out = files.check_writable("out", config.pop("out"), (".nc",))
        names = config.pop("workflows")
        names = [names] if isinstance(names, str) else names
        workflows = [make_workflow(name) for name in names]
        task = _task_maker(config.pop("task"), config["over"])
        ds = sweep(workflows, task, **config)
        files.write_atomically(out, lambda path: ds.to_netcdf(path, engine="h5netcdf"))
        print(
            ds.isel(generation=-1).mean("seed").drop_vars("generation").to_dataframe().to_string()
        )
        print(f"Chains: {out}")


def _read_config(path: str) -> dict[str, Any]:
    """The description of a sweep.

    Raises:
        ValueError: for an unreadable file, and for unknown and missing entries.
    """
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            config = yaml.safe_load(file)
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


def _task_maker(entries: dict[str, Any], over: dict[str, Any]) -> Any:
    """A function that makes the task of a cell; its entries are the options of `simulate`."""
    entries = dict(entries)
    kind = TASKS[checks.one_of("name of task", entries.pop("name", None), TASKS)]
    fields = {f.name: f for f in dataclasses.fields(kind) if f.name not in _OF_RUNS}
    for where, names in (("task", entries), ("over", over)):
        for name in names:
            checks.one_of(f"entry of {where}", name, fields)

    def convert(name: str, value: Any) -> Any:
        if isinstance(fields[name].default, tuple):
            return tuple(value) if isinstance(value, list) else (value,)
        return str(value) if isinstance(fields[name].default, str) else value

    def make(**settings: Any) -> Any:
        given = {name: convert(name, value) for name, value in {**entries, **settings}.items()}
        return kind(workflow=next(iter(WORKFLOWS)), **given).make_task()

    return make
