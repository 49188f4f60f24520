"""Tables of files as data frames that know where their rows are."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from collapse_jax.basics import checks, delimited, files
from collapse_jax.basics.delimited import Dialect

_SUFFIXES = (*delimited.SEPARATORS, ".npy", ".parquet")
# What people write around digits; without it their numbers can be read.
_AROUND_DIGITS = "[\\s,_'\u2019%$\u20ac\u00a3]"
_MINUS = "[\u2212\u2013]"  # and a dash
_TRUTH = "true and false"


class Frame(NamedTuple):
    """A table, and where its rows are."""

    path: str | Path
    table: Any
    """A data frame."""
    lines: list[int]
    """Line of each row, none where the file has no lines."""
    dialect: Dialect
    """How numbers are written in columns of text."""

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return list(self.table.columns)

    def place(self, row: int, name: str) -> str:
        """Where a cell is."""
        where = f"line {self.lines[row]}" if len(self.lines) == len(self.table) else f"row {row}"
        return f"{where}, column {name!r} of {self.path}"

    def why_no_numbers(self, name: str) -> str:
        """What a column holds that are no numbers; nothing where it holds numbers.

        Raises:
            ValueError: where all but some cells are numbers.
        """
        return _kind(self.table[name]) or self._as_text(name)

    def _as_text(self, name: str) -> str:
        import pandas as pd

        if pd.api.types.is_numeric_dtype(self.table[name]):
            return ""
        everything: Any = self.table[name].dropna().astype(str)
        cells = everything.drop_duplicates()
        plain = cells.str.replace(_AROUND_DIGITS, "", regex=True)
        plain = plain.str.replace(_MINUS, "-", regex=True)
        alike = _as_numbers(plain, Dialect()).notna()
        if max(alike.mean(), everything.isin(cells[alike]).mean()) < 0.5:
            return f"text such as {cells.iloc[0]!r}"
        strays = cells[_as_numbers(cells, self.dialect).isna()]
        if len(strays):
            place = self.place(int(strays.index[0]), name)
            raise ValueError(
                f"data must be numbers throughout a column of numbers, got {strays.iloc[0]!r} in "
                f"{place}; write plain numbers, or give na_values for what is missing, decimal for "
                "another decimal mark, thousands for a mark between digits, or drop for a column "
                "that is not to be used"
            )
        return ""

    def has_categories(self, name: str) -> bool:
        """Whether a column holds text, or true and false.

        Raises:
            ValueError: where all but some cells are numbers.
        """
        kind = _kind(self.table[name])
        return kind == _TRUTH or not (kind or not self._as_text(name))

    def cells(self, names: list[str]) -> np.ndarray:
        """Columns as objects: categories as text, numbers as they are. `[rows, columns]`"""
        cells = np.empty((len(self.table), len(names)), object)
        for i, name in enumerate(names):
            column: Any = self.table[name]
            if self.has_categories(name):
                cells[:, i] = column.astype(str).str.strip().where(column.notna(), None)
            elif column.dtype.kind in "iu":
                cells[:, i] = column
            else:
                cells[:, i] = self.numbers([name])[:, 0]
        return cells

    def numbers(self, names: list[str]) -> np.ndarray:
        """Columns as float64, NaN where a value is missing. `[rows, columns]`"""
        import pandas as pd

        columns = []
        for name in names:
            column: Any = self.table[name]
            if not pd.api.types.is_numeric_dtype(column):
                column = _as_numbers(column.astype(str).where(column.notna()), self.dialect)
            columns.append(column.to_numpy(np.float64, na_value=np.nan))
        return np.column_stack(columns)

    def complete(self, names: list[str], rows: np.ndarray, drop_missing: bool) -> np.ndarray:
        """Which rows have no missing value.

        Raises:
            ValueError: where some have, and are not to be left out.
        """
        import pandas as pd

        missing: Any = pd.isna(rows)
        if missing.any() and not drop_missing:
            row, column = map(int, np.argwhere(missing)[0])
            raise ValueError(
                f"data must have no missing values, got {int(missing.sum())}, the first in "
                f"{self.place(row, names[column])}; drop_missing leaves such rows out"
            )
        return ~missing.any(axis=1)


def _as_numbers(cells: Any, dialect: Dialect) -> Any:
    """A series of numbers, NaN where a cell is none: 1,5 is none with thousands of this mark."""
    digits, mark = r"\d+", dialect.thousands
    if mark is not None:
        digits = rf"(?:\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+|\d+)"
    number = rf"[-+]?(?:{digits}{{0}}\d*|{{0}}\d+|{digits})(?:[eE][-+]?\d+)?"
    written = cells.str.strip()
    plain = written if mark is None else written.str.replace(mark, "", regex=False)
    plain = plain.str.replace(dialect.decimal, ".", regex=False)
    known = written.str.fullmatch(number.replace("{0}", re.escape(dialect.decimal)), na=False)
    return plain.where(known).astype(object).map(float, na_action="ignore").astype(float)


def _kind(column: Any) -> str:
    """What a column holds that is neither numbers nor text."""
    from pandas.api import types

    if column.isna().all():
        return "no values"
    if types.is_bool_dtype(column):
        return _TRUTH
    if types.is_complex_dtype(column):
        return "complex numbers"
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        return "dates"
    return ""


def read_frame(path: str | Path, dialect: Dialect, *, as_text: bool = False) -> Frame:
    """The whole table of a file, with names that are text.

    Args:
        path: a file of delimited text, an `.npy` array or a `.parquet` file; `-` for text on the
            standard input.
        dialect: what delimited text looks like.
        as_text: whether cells of such text are taken as they are written.

    Raises:
        ValueError: for another or an unreadable file, and for text with several meanings.
    """
    import pandas as pd

    suffix = _suffix(path)
    if suffix in delimited.SEPARATORS:
        table, lines = delimited.read(path, dialect, delimited.SEPARATORS[suffix], as_text=as_text)
    else:
        _refuse_dialect(path, dialect)
        lines = []
        with files.readable("data", path):
            if suffix == ".npy":
                table = pd.DataFrame(np.load(path, allow_pickle=False))
            else:
                table = pd.read_parquet(path)
                named = [name for name in table.index.names if name is not None]
                table = table.reset_index(level=named).reset_index(drop=True)
    table.columns = [str(name).strip() for name in table.columns]
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ValueError(f"data must have distinct names of columns, got {twice!r} twice in {path}")
    return Frame(path, table, lines, dialect)


def _suffix(path: str | Path) -> str:
    if str(path) == delimited.STANDARD_INPUT:
        return ".csv"
    name = Path(path).name.lower()
    found = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), Path(name).suffix)
    return checks.one_of("the suffix of data", found, _SUFFIXES)


def _refuse_dialect(path: str | Path, dialect: Dialect) -> None:
    usual = Dialect()
    for name, value in dialect._asdict().items():
        if value != getattr(usual, name):
            raise ValueError(f"{name} can only be given for text, and {path} is none")
