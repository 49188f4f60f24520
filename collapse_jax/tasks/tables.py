"""The user's own data: tables read from files, and their split into training and test rows."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from collapse_jax.basics import checks

SUFFIXES = (".csv", ".npy", ".parquet")


class Split(NamedTuple):
    """Rows of a table, split once and for all: every chain has the same training and test rows."""

    train: np.ndarray
    test: np.ndarray


def split(rows: np.ndarray, test_fraction: float, split_seed: int) -> Split:
    """Split rows at random into training and test rows.

    Args:
        rows: the table. `[rows, ...]`
        test_fraction: share of test rows, above 0 and below 1; rounded up to whole rows.
        split_seed: seed of the split, a whole number of zero or more.

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
            f"data must leave at least 2 training and 2 test rows; {len(rows)} rows with "
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


def read_table(path: str | Path, columns: list[str] | None = None) -> np.ndarray:
    """Read a table of numbers (or of labels) from a file.

    Args:
        path: a `.csv` file with a header line, an `.npy` array, or a `.parquet` file.
        columns: names of the columns to keep, in this order (for `.npy`: their numbers). Default
            all numeric columns.

    Returns:
        the table. `[rows, columns]`

    Raises:
        ValueError: for an unreadable file, an unknown column or an empty table.
    """
    import pandas as pd

    path = Path(path)
    checks.one_of("the suffix of data", path.suffix.lower(), SUFFIXES)
    try:
        if path.suffix.lower() == ".npy":
            array = np.load(path, allow_pickle=False)
            array = array.reshape(-1, 1) if array.ndim == 1 else array
            frame = pd.DataFrame(array)
            frame.columns = [str(c) for c in frame.columns]
        elif path.suffix.lower() == ".csv":
            frame = pd.read_csv(path)
        else:
            frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise ValueError(f"data must be a readable file, and there is no file {path}") from None
    except Exception as error:  # every library has its own way to say that it cannot read a file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"data must be a readable file; {path} is not: {reason}") from None
    if columns is None:
        frame = frame.select_dtypes("number") if len(frame.columns) > 1 else frame
    else:
        for name in columns:
            checks.one_of("columns", name, [str(c) for c in frame.columns])
        frame = frame[list(columns)]
    if frame.empty:
        raise ValueError(f"data must have at least one row and one numeric column; {path} has none")
    return frame.to_numpy()
