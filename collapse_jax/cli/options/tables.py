"""The user's own data on the command line: which table, which columns, which target."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from collapse_jax.basics.annotations import File
from collapse_jax.cli.options.settings import Setting, settings_of

KINDS = ("TABLE", "MIXED", "LABELS", "PAIR", "CLASSES")
"""What the annotation of an argument says that takes data."""
_PAIRS = ("PAIR", "CLASSES")


def read_data(kind: str, data: File | None = None, **reading: Any) -> Any:
    """The user's own data, as a task takes them; None where none are given.

    Which columns are used, and why others are not, is printed on the standard error.

    Args:
        kind: what the task takes: a table, of numbers or mixed, labels, or a pair of a table and a
            target, which may be of classes.
        data: learn from this table: .csv or .tsv with a header line (also .csv.gz), .npy, .parquet,
            or - for the standard input.
        reading: how it is read, the arguments of `read_table`.

    Raises:
        ValueError: for what cannot be read in one way, and for arguments without a table.
    """
    from collapse_jax.machines import hosts
    from collapse_jax.tasks.parts.tables import read_table

    target = reading.get("target")
    if data is None:
        for name, value in reading.items():
            if value not in ((), [], None, False):
                shown = value if isinstance(value, str | bool) else " ".join(map(str, value))
                raise ValueError(f"{name} can only be chosen together with data, got {shown}")
        return None
    if kind in _PAIRS and target is None:
        raise ValueError("target must be given together with data")
    if kind not in _PAIRS and target is not None:
        raise ValueError(f"target can only be chosen for a regression, got {target!r}")
    texts = kind in ("MIXED", "CLASSES")
    table = read_table(data, labels=kind == "LABELS", texts=texts, **reading)
    if hosts.is_first():
        print(f"{data}: {table.report}", file=sys.stderr)
    if kind == "MIXED":
        return dict(zip(table.names, table.rows.T, strict=True))
    if kind in _PAIRS:
        x, y = table.rows[:, :-1].astype(np.float64), table.rows[:, -1]
        return x, y if isinstance(y[0], str) else y.astype(np.float64)
    return table.rows


def file_settings(kind: str | None = "PAIR", default: Any = None) -> list[Setting]:
    """The options that say where data are and how they are read.

    Args:
        kind: what the task takes; one that takes a target for all options.
        default: `REQUIRED` where there must be data.
    """
    from collapse_jax.tasks.parts.tables import read_table

    others = {"path", "labels", "texts", *([] if kind in _PAIRS else ["target"])}
    names = [name for name in inspect.signature(read_table).parameters if name not in others]
    (data,) = settings_of(read_data, ["data"])
    return [replace(data, default=default), *settings_of(read_table, names)]


def with_files(settings: Sequence[Setting]) -> list[Setting]:
    """The settings, those of tables in place of an argument that takes data."""
    taken = [setting for setting in settings if setting.metavar in KINDS]
    others = [setting for setting in settings if setting not in taken]
    return [s for data in taken[:1] for s in file_settings(data.metavar, data.default)] + others


def kind_of(settings: Sequence[Setting]) -> str | None:
    """What kind of data an argument takes, if one does."""
    return next((setting.metavar for setting in settings if setting.metavar in KINDS), None)


def with_data(kind: str | None) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A function that puts the data of a task in place of what says where they are.

    It reads the same data once, however many tasks are made of them.
    """
    read = functools.cache(functools.partial(read_data, kind or ""))
    names = [setting.name for setting in file_settings()]

    def replaced(given: Mapping[str, Any]) -> dict[str, Any]:
        where = {name: _hashable(given[name]) for name in names if name in given}
        others = {name: value for name, value in given.items() if name not in where}
        return others if kind is None else {**others, "data": read(**where)}

    return replaced


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
