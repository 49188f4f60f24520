"""Which rows of the user's an exponential family can have."""

from typing import Any

import numpy as np

from collapse_jax.basics import checks
from collapse_jax.numerics.families import Kind

LARGEST_COUNT = 2**24  # of a row; larger ones are not exact in single precision


def checked_rows(data: Any, family: str, kind: Kind, copies: Any) -> np.ndarray:
    """Rows of data that the family can have, as a vector.

    Args:
        data: `[rows]` or `[rows, 1]`.
        family: its name, for messages.
        kind: its kind.
        copies: of a binomial law, the largest row.

    Raises:
        ValueError: for other rows.
    """
    rows = checks.finite_array("data", data, ndim=(1, 2))
    if rows.ndim == 2:
        if rows.shape[1] != 1:
            raise ValueError(f"data must have one column, got {rows.shape[1]}")
        rows = rows[:, 0]
    if kind == "gamma":
        allowed, wrong = "positive numbers", rows <= 0.0
    else:
        largest = copies if kind == "binomial" else LARGEST_COUNT
        allowed = f"whole numbers between 0 and {largest}"
        wrong = (rows < 0.0) | (rows > largest) | (rows != np.round(rows))
    if np.any(wrong):
        first = int(np.argmax(wrong))
        raise ValueError(f"data must be {allowed} for {family}, got {rows[first]:g} at row {first}")
    return rows
