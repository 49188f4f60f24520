"""The user's own data on the command line: which table, which columns, which target."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from collapse_jax.basics.annotations import File
from collapse_jax.cli.settings import Setting, settings_of

KINDS = ("TABLE", "LABELS", "PAIR")
"""What the annotation of an argument says that takes data."""


def read_data(
    kind: str,
    data: File | None = None,
    columns: Sequence[str] = (),
    target: str | None = None,
) -> Any:
    """The user's own data, as a task takes them; None where none are given.

    Args:
        kind: what the task takes: a table, labels, or a pair of a table and a target.
        data: learn from this table: .csv with a header line, .npy or .parquet.
        columns: columns of the table to use; those of .npy are called 0, 1, 2, ... Default all
            numeric ones.
        target: the column to predict from the others; needed with data.

    Raises:
        ValueError: for columns without a table, missing columns and a wrong number of them.
    """
    columns = [columns] if isinstance(columns, str) else list(columns)
    if kind == "PAIR":
        return _read_pair(data, columns, target)
    table = _read_table(data, columns)
    if kind == "LABELS" and table is not None and table.shape[1] != 1:
        raise ValueError(f"columns must name the one column of labels, of {table.shape[1]}")
    return table


def with_files(settings: Sequence[Setting]) -> list[Setting]:
    """The settings, those of tables in place of an argument that takes data."""
    kind = kind_of(settings)
    if kind is None:
        return list(settings)
    names = ("data", "columns", *(["target"] if kind == "PAIR" else []))
    others = [setting for setting in settings if setting.metavar not in KINDS]
    return [*settings_of(read_data, names), *others]


def kind_of(settings: Sequence[Setting]) -> str | None:
    """What kind of data an argument takes, if one does."""
    return next((setting.metavar for setting in settings if setting.metavar in KINDS), None)


def with_data(given: Mapping[str, Any], kind: str | None) -> dict[str, Any]:
    """The arguments of a task, with the data in place of what says where they are."""
    where = {name: given[name] for name in ("data", "columns", "target") if name in given}
    others = {name: value for name, value in given.items() if name not in where}
    return others if kind is None else {**others, "data": read_data(kind, **where)}


def _read_table(data: str | None, columns: list[str]) -> np.ndarray | None:
    from collapse_jax.tasks.tables import read_table

    if data is None:
        if columns:
            raise ValueError(f"columns can only be chosen together with data, got {columns[0]}")
        return None
    return read_table(data, columns or None)


def _read_pair(
    data: str | None, columns: list[str], target: str | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The table without the target, and the target.

    Columns that equal the target in every row are the target.
    """
    if data is not None and target is None:
        raise ValueError("target must be given together with data")
    if data is None and target is not None:
        raise ValueError(f"target can only be chosen together with data, got {target}")
    x = _read_table(data, columns)
    if x is None or target is None:
        return None
    y = _read_table(data, [target])
    y = y[:, 0] if y is not None else np.empty(0)
    others = [column for column in x.T if not _same(column, y)]
    if not others:
        raise ValueError(f"columns must hold another one than the target {target!r}")
    return np.column_stack(others), y


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    numeric = first.dtype.kind in "iuf" and second.dtype.kind in "iuf"
    return np.array_equal(first, second, equal_nan=numeric)
