"""Labels of the user's own, and rows with labels that models give."""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.numerics import draws, threefry
from collapse_jax.tasks.contract import Variable
from collapse_jax.tasks.parts.tables import split

_GRID = np.linspace(-8.0, 8.0, 193)  # standard deviations
_MANY_LABELS, _ROWS_OF_A_LABEL = 10, 10  # more numbers with fewer rows each are doubtful as labels
_WIDE = 20.0  # standard deviation of log-odds beside which those near 0 are one point

VARIABLES = {
    "squared_error": Variable("squared error of the weights", "1"),
    "nll": Variable("negative log-likelihood of real labels under the model", "nat"),
    "accuracy": Variable("share of real labels that the model predicts", "1"),
    "separable": Variable("whether labels are separable, so that no fit is the best one", "1"),
}
"""The metrics of classifiers that are linear."""


class KnownRows(NamedTuple):
    """Rows that are known, by their number, with their labels."""

    index: Int[Array, " n"]
    label: Int[Array, " n"]


class FreshRows(NamedTuple):
    """Rows drawn anew in each generation, with their labels."""

    x: Float[Array, "n d"]
    label: Int[Array, " n"]
    origin: Int[Array, " n"]
    """The class that each came from."""


class Classifier(NamedTuple):
    """A fitted model."""

    weights: Float[Array, "c d"]
    """Log-odds against the first class are these times rows."""
    separable: Bool[Array, ""]


class LabelWorld(NamedTuple):
    """What the rows of a fixed design are."""

    x: Any
    """The rows, where they are drawn once for a chain `[n_samples, d]`; else None."""
    order: Any
    """Their numbers, in the order of the design `[n_samples]`; None where there is no design."""
    origin: Any
    """The class that each came from, where they are drawn once for a chain; else None."""


def split_labels(
    x: np.ndarray, labels: np.ndarray, test_fraction: float, split_seed: int
) -> tuple[tuple[str, ...], tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Names of the labels, and training and test rows, each with the numbers of their labels.

    Raises:
        ValueError: where all training rows have the same label.
    """
    names, codes = np.unique(labels, return_inverse=True)
    parts = split(np.column_stack([x, codes]), test_fraction, split_seed)
    train, test = ((part[:, :-1], part[:, -1]) for part in parts)
    if len(np.unique(train[1])) < 2:
        only = names[int(train[1][0])]
        raise ValueError(f"data must have two labels in the training rows, got only {only}")
    return tuple(map(str, names.tolist())), train, test


def odds_of(weights: Float[Array, "c d"]) -> Callable[[Float[Array, "n d"]], Float[Array, "k n"]]:
    """What gives log-odds of all classes at rows, against the first one."""
    return lambda x: jnp.pad(weights @ x.T, ((1, 0), (0, 0)))


def on_test_rows(odds: Float[Array, "k n"], label: Int[Array, " n"]) -> dict[str, Any]:
    """Metrics of labels that are known."""
    own = jax.nn.log_softmax(odds, axis=0)[label, jnp.arange(len(label))]
    return {"nll": -jnp.mean(own), "accuracy": jnp.mean(jnp.argmax(odds, axis=0) == label)}


def draw_labels(key: Key[Array, ""], odds: Float[Array, "c n"]) -> Int[Array, " n"]:
    """A label of each row, drawn by its log-odds against the first class."""
    p = jax.nn.softmax(jnp.pad(odds, ((1, 0), (0, 0))), axis=0)
    uniform = draws.to_uniform(threefry.words(key, (odds.shape[1],)))
    return jnp.sum(uniform > jnp.cumsum(p, axis=0)[:-1], axis=0, dtype=jnp.int32)


def mean_loss(mean: Float[Array, ""], deviation: Float[Array, ""]) -> Float[Array, ""]:
    """Mean of `log(1 + exp(-z))` over a normal `z`.

    Where this bends on a scale much below the deviation, it is `max(-z, 0)` and little more.
    """
    grid, weight = jnp.asarray(_GRID, jnp.float32), np.exp(-0.5 * _GRID**2)
    heights = jax.nn.softplus(-mean - jnp.minimum(deviation, _WIDE) * grid)
    near = jnp.sum(jnp.asarray(weight / weight.sum(), jnp.float32) * heights)
    wide = jnp.maximum(deviation, _WIDE)
    density = jnp.exp(-0.5 * (mean / wide) ** 2) / math.sqrt(2.0 * math.pi)
    bend = math.pi**2 / 6.0 * density / wide
    far = wide * density - mean * ndtr(-mean / wide) + bend
    return jnp.where(deviation > _WIDE, far, near)


def checked_labels(name: str, data: Any) -> np.ndarray:
    """Labels of any kind, as a vector.

    Args:
        name: of the argument.
        data: names, numbers or truth values, none of them missing.

    Raises:
        ValueError: for missing labels, another shape, or labels that are all the same.
    """
    checks.refuse_lossy(name, data)
    labels = np.asarray(data)
    missing = np.argwhere(checks.missing_entries(data))
    if len(missing):
        row = int(missing[0][0])
        raise ValueError(
            f"{name} must have no missing labels, got {len(missing)}, the first at row {row}; "
            "leave them out (labels[pandas.notna(labels)]), or give them a name of their own"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or len(labels) < 2:
        raise ValueError(f"{name} must be labels [rows], two or more, got shape {labels.shape}")
    if labels.dtype.kind == "f":
        checks.finite_array(name, labels, ndim=1)
    if labels.dtype.kind in "OU":
        checks.refuse_look_alikes(name, "labels", data)
        labels = labels.astype(str)
    if len(np.unique(labels)) < 2:
        raise ValueError(f"{name} must have two or more different labels, got only {labels[0]}")
    return labels


def checked_pair(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows of numbers and a label of each; see `checked_labels`.

    Raises:
        TypeError: for anything but a pair.
        ValueError: for numbers that are measured, or another number of labels than of rows.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError("data must be a pair (X, y) of an array [rows, columns] and labels [rows]")
    x = checks.finite_array("data[0]", data[0], ndim=2)
    labels = checked_labels("data[1]", data[1])
    if len(x) != len(labels):
        raise ValueError(f"data must have as many labels as rows, got {len(x)} and {len(labels)}")
    doubt_measured("data[1]", labels)
    return x, labels


def doubt_measured(name: str, labels: np.ndarray) -> None:
    """Refuse labels that must be measured numbers, and warn of such that may be.

    Names of classes pass, however many there are, and so do numbers that are written as text.

    Raises:
        ValueError: for numbers with fractions, more than half of which differ.
    """
    n_labels, n_rows = len(np.unique(labels)), len(labels)
    if labels.dtype.kind not in "iuf" or n_labels <= 2:
        return
    fractions = labels.dtype.kind == "f" and bool(np.any(labels % 1.0))
    if fractions and 2 * n_labels > n_rows:
        raise ValueError(
            f"{name} must be labels, got {n_labels} different numbers with fractions in {n_rows} "
            "rows; such as are measured are for a LinearRegression"
        )
    if n_labels > _MANY_LABELS and n_rows < _ROWS_OF_A_LABEL * n_labels:
        warnings.warn(
            f"{name} has {n_labels} different numbers in {n_rows} rows, and each is a class of its "
            "own: such as are measured are for a LinearRegression; names of classes that are "
            "numbers may be given as text",
            stacklevel=6,
        )


def checked_class_mean(class_mean: Any, dim: int) -> Any:
    """The centre of one of two classes around zero; by default one of length 1.

    Raises:
        ValueError: for another shape, and for centres beyond 1e6.
    """
    if checks.is_traced(class_mean):
        return class_mean
    if class_mean is None:
        return 1.0 / math.sqrt(dim)
    mean = checks.finite_array("class_mean", class_mean, ndim=(0, 1))
    if mean.ndim == 1 and mean.shape != (dim,):
        raise ValueError(
            f"class_mean must be a number or have shape ({dim},), got shape {mean.shape}"
        )
    if np.max(np.abs(mean)) > 1e6:
        raise ValueError(f"class_mean must be at most 1e6, got {np.max(np.abs(mean)):g}")
    return mean
