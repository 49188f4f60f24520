"""Tables of mixed columns: which hold numbers, which categories, and how networks see them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from collapse_jax.basics import checks

_NUMBERS = ("integer", "floating", "mixed-integer-float")
_TEXTS = ("string", "boolean", "categorical")


class Column(NamedTuple):
    """One column of a table."""

    name: str
    categories: tuple[str, ...]
    """Of what a column holds that are no numbers; none for numbers."""

    @property
    def kind(self) -> str:
        """What it is taken for, in words."""
        return f"{len(self.categories)} categories" if self.categories else "numbers"


class Columns(NamedTuple):
    """The columns of a table."""

    each: tuple[Column, ...]

    @property
    def numbers(self) -> list[int]:
        """Which of them hold numbers."""
        return [i for i, column in enumerate(self.each) if not column.categories]

    @property
    def categories(self) -> list[int]:
        """Which of them hold categories."""
        return [i for i, column in enumerate(self.each) if column.categories]

    @property
    def most(self) -> int:
        """Categories of the column that has most of them."""
        return max((len(column.categories) for column in self.each), default=0)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns of numbers, and of the categories of all others."""
        return tuple(
            name
            for column, categories in self.each
            for name in ([f"{column}={c}" for c in categories] or [column])
        )

    @property
    def owners(self) -> np.ndarray:
        """The column that each entry of a row in code belongs to. `[e]`"""
        widths = [max(len(column.categories), 1) for column in self.each]
        return np.repeat(np.arange(len(self.each)), widths)

    def in_code(self, row: Float[Array, " c"]) -> Float[Array, " e"]:
        """A row as vectors: numbers as they are, categories as 1 of many zeros.

        Example:
            >>> columns = Columns((Column("x", ()), Column("colour", ("blue", "red"))))
            >>> columns.in_code(jnp.array([0.5, 1.0])).tolist()
            [0.5, 0.0, 1.0]
        """
        owners = self.owners
        first = np.searchsorted(owners, owners)
        code = jnp.asarray(np.arange(len(owners)) - first, jnp.float32)
        named = np.isin(owners, self.categories)
        entries = row[owners]
        return jnp.where(named, (entries == code).astype(jnp.float32), entries)


def read_columns(data: Any, categorical: Sequence[str] = ()) -> tuple[Columns, np.ndarray]:
    """The user's columns and their rows; a category is its number among those of its column.

    Numbers are numbers, also whole ones, and texts, truth values and pandas' categories are
    categories.

    Args:
        data: a data frame, a dictionary of columns, or an array `[rows, columns]`.
        categorical: names of columns of numbers to be taken for categories.

    Returns:
        the columns, and their rows in float64 `[rows, columns]`.

    Raises:
        ValueError: for columns that have missing or infinite values, one value only, another text
            in each row or no name of their own, for columns of unequal lengths and unknown names.
        TypeError: for columns of dates and of other types, and for what is no table.

    Example:
        >>> columns, rows = read_columns({"x": [1.5, 2.0], "is_new": [True, False]})
        >>> [column.kind for column in columns.each], rows.tolist()
        (['numbers', '2 categories'], [[1.5, 1.0], [2.0, 0.0]])
    """
    table = _frame(data)
    names = list(table.columns)
    chosen = [categorical] if isinstance(categorical, str) else list(categorical)
    for name in chosen:
        checks.one_of("categorical", name, names)
    columns, parts = [], []
    for name in names:
        column, values = _read(name, table[name], name in chosen)
        columns.append(column)
        parts.append(values)
    return Columns(tuple(columns)), np.column_stack(parts)


def _frame(data: Any) -> Any:
    """The table as a data frame, whose columns have names of their own."""
    import pandas as pd  # slow to import

    checks.refuse_lossy("data", data)
    if isinstance(data, Mapping):
        lengths = {str(name): np.shape(column)[:1] for name, column in data.items()}
        if len(set(lengths.values())) > 1 or () in lengths.values():
            shown = ", ".join(f"{n!r}: {length}" for n, length in lengths.items())
            raise ValueError(f"data must have columns of one length, got shapes {shown}")
        table = pd.DataFrame(dict(data))
    elif isinstance(data, pd.DataFrame):
        table = data
    else:
        array = np.asarray(data)
        if array.ndim != 2:
            raise TypeError(
                "data must be a data frame, a dictionary of columns or an array [rows, columns], "
                f"got {type(data).__name__} of shape {array.shape}"
            )
        table = pd.DataFrame(array)
    table = table.reset_index(drop=True)
    table.columns = [str(name) for name in table.columns]
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ValueError(f"data must have distinct names of columns, got {twice!r} twice")
    if table.empty:
        raise ValueError(f"data must have rows and columns, got shape {table.shape}")
    return table


def _read(name: str, values: Any, is_categorical: bool) -> tuple[Column, np.ndarray]:
    import pandas as pd

    missing = np.flatnonzero(values.isna())
    if len(missing):
        raise ValueError(
            f"data must have no missing values, got {len(missing)} in column {name!r}, the first "
            f"in row {missing[0]}"
        )
    kind = pd.api.types.infer_dtype(values, skipna=False)
    if kind in _NUMBERS and not is_categorical:
        numbers = values.to_numpy(np.float64)
        infinite = np.flatnonzero(~np.isfinite(numbers))
        if len(infinite):
            raise ValueError(
                f"data must be finite, got {numbers[infinite[0]]} in row {infinite[0]} of column "
                f"{name!r}"
            )
        return Column(name, ()), numbers
    if kind not in (*_NUMBERS, *_TEXTS):
        raise TypeError(
            f"data must have columns of numbers, texts, truth values or categories, and column "
            f"{name!r} is {kind}; write it as numbers, or leave it out"
        )
    codes, categories = pd.factorize(values, sort=True)
    if len(categories) == len(values) > 1 and kind == "string":
        raise ValueError(
            f"data must have categories that occur more than once, and each of the {len(values)} "
            f"rows has another in column {name!r}; leave it out"
        )
    return Column(name, tuple(map(str, categories))), codes.astype(np.float64)


def check_varied(columns: Columns, rows: np.ndarray) -> None:
    """Check that no column is constant in rows `[n, c]`.

    Raises:
        ValueError: if one is.
    """
    constant = np.flatnonzero(np.ptp(rows, axis=0) == 0.0)
    if len(constant):
        column = columns.each[constant[0]]
        raise ValueError(
            f"data must vary in every column, and {column.name!r} ({column.kind}) is constant in "
            "the training rows"
        )
