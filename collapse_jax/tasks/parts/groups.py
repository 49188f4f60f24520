"""The user's own rows with labels and groups."""

from typing import Any, NamedTuple

import numpy as np

from collapse_jax.basics import checks
from collapse_jax.tasks.parts.labels import checked_labels, doubt_measured
from collapse_jax.tasks.parts.tables import split

Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows `[rows, columns]`, numbers of their labels and of their groups `[rows]`."""


class Groups(NamedTuple):
    """Rows for training and tests."""

    train: Part
    test: Part
    labels: tuple[str, ...]
    """Names of the labels, in their order."""
    n_groups: int


def read_groups(data: Any, test_fraction: float, split_seed: int) -> Groups:
    """Training and test rows of `(X, y, group)`, or of two of these, as numbers.

    Raises:
        ValueError: for other shapes, missing entries, fewer than two labels or groups, and for
            labels or groups of test rows that training rows do not have.
    """
    shape = "data must be (X, y, group), or two of these: training rows and test rows"
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise ValueError(f"{shape}; got {type(data).__name__}")
    if len(data) == 2:
        if any(not isinstance(part, tuple | list) or len(part) != 3 for part in data):
            raise ValueError(shape)
        rows, tests = (_checked(f"data[{i}]", part) for i, part in enumerate(data))
        if tests[0].shape[1] != rows[0].shape[1]:
            raise ValueError(
                f"data[1] must have the {rows[0].shape[1]} columns of the training rows, got "
                f"{tests[0].shape[1]}"
            )
    else:
        x, label, group = _checked("data", data)
        order = np.arange(len(x))
        parts = split(order, test_fraction, split_seed)
        rows, tests = ((x[part], label[part], group[part]) for part in parts)
    names = [np.unique(rows[i]) for i in (1, 2)]
    for what, i in (("label", 1), ("group", 2)):
        if len(names[i - 1]) < 2:
            raise ValueError(f"data must have two {what}s in the training rows, got one")
        unknown = np.setdiff1d(tests[i], names[i - 1])
        if len(unknown):
            raise ValueError(
                f"data must have each {what} of the test rows in the training rows; "
                f"{unknown[0]} is not there"
            )
    train, test = (
        (x, np.searchsorted(names[0], label), np.searchsorted(names[1], group))
        for x, label, group in (rows, tests)
    )
    return Groups(train, test, tuple(map(str, names[0].tolist())), len(names[1]))


def _checked(name: str, part: Any) -> Part:
    x = checks.finite_array(f"{name}: X", part[0], ndim=2)
    if not x.size:
        raise ValueError(f"{name}: X must have rows and columns, got shape {x.shape}")
    label = checked_labels(f"{name}: y", part[1])
    doubt_measured(f"{name}: y", label)
    group = checked_labels(f"{name}: group", part[2])
    if not len(x) == len(label) == len(group):
        raise ValueError(
            f"{name} must have a label and a group for each row of X, got {len(x)} rows, "
            f"{len(label)} labels and {len(group)} groups"
        )
    return x, label, group
