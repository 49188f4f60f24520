"""The user's own data: tables read from files, and their split into training and test rows."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from collapse_jax.basics import checks
from collapse_jax.basics.delimited import Dialect
from collapse_jax.basics.frames import Frame, read_frame

# Under such names, whole numbers that occur once are no measurements: Index, user_id, PassengerId.
_OF_IDENTIFIERS = re.compile(
    r"(?i:id|identifier|index|obs|row|row[ _.]?(names?|numbers?))|.*[_ .](?i:id)|.*[a-z]I[dD]"
)
_NO_NAME = re.compile(r"(Unnamed: \d+|__index_level_\d+__)?")


class Split(NamedTuple):
    """Rows of a table, split once and for all: every chain has the same training and test rows."""

    train: np.ndarray
    test: np.ndarray


def split(rows: np.ndarray, test_fraction: float, split_seed: int, name: str = "data") -> Split:
    """Split rows at random into training and test rows.

    Args:
        rows: the table. `[rows, ...]`
        test_fraction: share of test rows, above 0 and below 1; rounded up to whole rows.
        split_seed: seed of the split, a whole number of zero or more.
        name: of the argument that the rows came in.

    Raises:
        ValueError: when a side would have fewer than two rows.
    """
    fraction = checks.positive_number("test_fraction", test_fraction)
    seed = checks.whole_number("split_seed", split_seed, minimum=0)
    if fraction >= 1.0:
        raise ValueError(f"test_fraction must be below 1, got {fraction:g}")
    n_test = int(np.ceil(fraction * len(rows)))
    if n_test < 2 or len(rows) - n_test < 2:
        raise ValueError(
            f"{name} must leave at least 2 training and 2 test rows; {len(rows)} rows with "
            f"test_fraction={fraction:g} give {len(rows) - n_test} and {n_test}"
        )
    order = np.random.default_rng(seed).permutation(len(rows))
    return Split(train=rows[order[n_test:]], test=rows[order[:n_test]])


def sample_size(n_samples: Any, available: int, minimum: int = 1) -> int:
    """How many of the training rows a generation uses: all of them for None."""
    if n_samples is None:
        n_samples = available
    n_samples = checks.whole_number("n_samples", n_samples, minimum)
    if n_samples > available:
        raise ValueError(
            f"n_samples must not exceed the {available} training rows of data, got {n_samples}"
        )
    return n_samples


def spread_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column `[rows, columns]`.

    The deviation of a constant column is 0, though the mean of equal numbers is rounded.
    """
    constant = rows.min(axis=0) == rows.max(axis=0)
    return rows.mean(axis=0), np.where(constant, 0.0, rows.std(axis=0))


def standards(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column of training rows, all of which vary.

    Raises:
        ValueError: if a column is constant, or has a variance that float64 cannot hold.
    """
    mean, deviation = spread_of(train)
    if np.any(deviation == 0.0):
        raise ValueError(
            f"data must vary in every column; column {int(np.argmin(deviation))} is constant "
            "in the training rows"
        )
    if not np.all((deviation > 1e-150) & (deviation < 1e150)):
        raise ValueError(
            "data must have standard deviations between 1e-150 and 1e150, got "
            f"{deviation.min():g} to {deviation.max():g}"
        )
    return mean, deviation


class Table(NamedTuple):
    """Columns of a file, and what became of the others."""

    names: list[str]
    rows: np.ndarray
    """`[rows, columns]`"""
    left_out: dict[str, str]
    """Why each other column is not used."""
    n_incomplete: int
    """Rows that were left out because a value was missing."""
    remarks: dict[str, str]
    """What is worth knowing of columns that are used."""

    @property
    def report(self) -> str:
        """Which columns are used, which are not, and why."""
        used = _explained({name: self.remarks.get(name, "") for name in self.names})
        parts = [f"{len(self.rows)} rows", f"columns used: {used}"]
        if self.left_out:
            parts.append(f"left out: {_explained(self.left_out)}")
        if self.n_incomplete:
            parts.append(f"rows left out for missing values: {self.n_incomplete}")
        return "; ".join(parts)


def read_table(
    path: str | Path,
    columns: Annotated[Sequence[str], "NAME ..."] = (),
    *,
    target: Annotated[str | None, "NAME"] = None,
    drop: Annotated[Sequence[str], "NAME ..."] = (),
    sep: str | None = None,
    decimal: str = ".",
    thousands: str | None = None,
    encoding: str = "utf-8",
    header: bool | None = None,
    na_values: Sequence[str] = (),
    drop_missing: bool = False,
    labels: bool = False,
    texts: bool = False,
) -> Table:
    r"""Read a table of numbers, of numbers and categories, or a column of labels, from a file.

    What may be read in several ways is refused, with the argument that says what is meant.

    Args:
        path: a `.csv` or `.tsv` file, perhaps with `.gz` behind it, a `.parquet` file, an `.npy`
            array, or `-` for text on the standard input.
        columns: columns of the table to use; those of .npy and of tables without a header are
            called 0, 1, 2, ... Default all that hold numbers, but for those without a name and
            for identifiers (whole numbers, each once, under a name such as id or index).
        target: a column to use beside the others, as the last one.
        drop: columns of the table not to use.
        sep: the character between fields, a blank for any white space. Default a comma, in .tsv a
            tab.
        decimal: the decimal mark.
        thousands: the character between groups of three digits. Default none.
        encoding: the encoding of the text.
        header: whether the first line has the names of the columns. Default yes, with an error
            where it may be data.
        na_values: what stands for a missing value, beside nothing, NA, nan and the like.
        drop_missing: leave out rows with a missing value in a column that is used.
        labels: read one column, of labels of any kind; those of text as they are written there.
        texts: use columns of text and of truth values too, as text; with a target, where it is one
            and no other. Rows are then objects. Columns that have another text in each row are left
            out unless they are asked for.

    Returns:
        the columns that are used, and why the others are not.

    Raises:
        ValueError: for an unreadable file or one with several meanings, for unknown columns,
            columns of text and columns that are numbers but for some cells, for missing values and
            empty tables.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "t.csv"
        >>> _ = path.write_text("id;width;colour\n7;1,5;red\n9;2,5;blue\n")
        >>> table = read_table(path, sep=";", decimal=",")
        >>> table.rows.tolist(), table.left_out
        ([[1.5], [2.5]], {'id': 'an identifier', 'colour': "text such as 'red'"})
    """
    given, dropped, missing = (_listed(names) for names in (columns, drop, na_values))
    dialect = Dialect(sep, decimal, encoding, header, tuple(missing), thousands)
    frame = read_frame(path, dialect, as_text=labels)
    wanted = _wanted(frame, given, dropped, target)
    named = {target} if target is not None else set(wanted)
    reasons = (
        {}
        if labels
        else {
            n: _why_not(frame, n, bool(given) or n == target, texts and n in named) for n in wanted
        }
    )
    names = [name for name in wanted if not reasons.get(name)]
    absent = {name: "not asked for" for name in frame.names if name not in wanted}
    absent |= dict.fromkeys(dropped, "dropped")
    absent |= {name: reason for name, reason in reasons.items() if reason}
    if labels and len(names) != 1:
        raise ValueError(f"columns must name the one column of labels, of {len(names)}")
    if frame.table.empty or not names or names == [target]:
        found = _explained(absent) or "nothing"
        kind = "column of numbers or categories" if texts and target is None else "numeric column"
        raise ValueError(
            f"data must have at least one row and one {kind}; {path} has none, but {found}"
        )
    if labels:
        rows = frame.table[names].to_numpy()
    else:
        rows = frame.cells(names) if texts else frame.numbers(names)
    complete = frame.complete(names, rows, drop_missing)
    remarks = {target: "the target"} if target is not None else {}
    if not labels:
        counting = [name for name, v in zip(names, rows.T, strict=True) if _counts(v)]
        remarks = dict.fromkeys(counting, "counts the rows") | remarks
    return Table(names, rows[complete], absent, int(np.sum(~complete)), remarks)


def _listed(names: str | Sequence[Any]) -> list[str]:
    return [names] if isinstance(names, str) else [str(name) for name in names]


def _explained(columns: dict[str, str]) -> str:
    return ", ".join(f"{name} ({text})" if text else name for name, text in columns.items())


def _counts(values: np.ndarray) -> bool:
    return len(values) > 2 and values[0] in (0, 1) and bool(np.all(np.diff(values) == 1))


def _wanted(frame: Frame, given: list[str], dropped: list[str], target: str | None) -> list[str]:
    """The columns that are asked for, the target last."""
    known = frame.names
    targets = [] if target is None else [target]
    for argument, names in (("columns", given), ("drop", dropped), ("target", targets)):
        for name in names:
            checks.one_of(argument, name, known)
            if names.count(name) > 1:
                raise ValueError(f"{argument} must be distinct, got {name!r} more than once")
    for name in dropped:
        if name in (*given, *targets):
            raise ValueError(f"drop must not hold columns that are to be used, got {name!r}")
    others = [name for name in given or known if name not in (*dropped, *targets)]
    if not others and target is not None:
        raise ValueError(f"columns must hold another one than the target {target!r}")
    return [*others, *targets]


def _why_not(frame: Frame, name: str, asked_for: bool, may_be_text: bool) -> str:
    """Why a column is not used; nothing where it is."""
    if may_be_text and frame.has_categories(name):
        differs = frame.table[name].dropna().is_unique and not asked_for
        return "another text in each row" if differs else ""
    reason = frame.why_no_numbers(name)
    if asked_for and reason:
        raise ValueError(f"columns must hold numbers; {name!r} of {frame.path} holds {reason}")
    if reason or asked_for:
        return reason
    if _NO_NAME.fullmatch(name):
        return "without a name"
    return "an identifier" if _identifies(name, frame.numbers([name])[:, 0]) else ""


def _identifies(name: str, values: np.ndarray) -> bool:
    values = values[~np.isnan(values)]
    if not _OF_IDENTIFIERS.fullmatch(name) or np.any(values != np.round(values)):
        return False
    return len(np.unique(values)) == len(values)
