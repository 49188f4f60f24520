"""Designs by what least squares needs of them, and the user's in well-conditioned coordinates."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.numerics import draws, linalg, threefry

_ROWS = 2**31  # what sets the keys of rows apart from those of their factor
_EPS = float(np.finfo(np.float64).eps)
_LEAST_NOISE, _LOUD = 1e-9, 1e12
_NEARLY_LINEAR = 0.03  # share of the labels' spread that is left when a line has been taken off


class Design(NamedTuple):
    """A design matrix X, by what least squares needs of it."""

    gram: Float[Array, "d d"]
    """X'X."""
    basis: Float[Array, "d d"]
    """Orthonormal basis of the row space; columns beyond the rank are zero."""
    spread: Float[Array, "d d"]
    """`S` with `S S' = (X'X)^+`, so that `S z` has the law of `X^+ eps` for unit noise."""


class KnownRows(NamedTuple):
    """Rows of a design that is known, by their number, with their labels."""

    index: Int[Array, " n"]
    y: Float[Array, " n"]


class FreshRows(NamedTuple):
    """Rows of a design drawn anew in each generation, with their labels."""

    x: Float[Array, "n d"]
    y: Float[Array, " n"]


def wishart_factor(key: Key[Array, ""], n: Any, dim: int) -> Float[Array, "d d"]:
    """Lower factor of X'X for a design X of `n` standard normal rows."""
    log_diag, below, _ = draws.bartlett(key, jnp.asarray(n, jnp.float32), dim)
    return below + jnp.diag(jnp.exp(log_diag))


def rows_of(
    factor: Float[Array, "d d"], key: Key[Array, ""], n: int, size: Any = None
) -> Float[Array, "n d"]:
    """`n` rows X, the first `size` of which are a sample and have `X'X = factor factor'`.

    Args:
        factor: of a Wishart matrix of as many degrees of freedom as rows count. `[d, d]`
        key: the key that the factor was drawn with.
        n: how many rows to make.
        size: how many of them count, default all; the others are zero.
    """
    raw = draws.normal(threefry.fold_in(key, _ROWS), (n, len(factor)))
    if size is not None:
        raw = jnp.where((jnp.arange(n) < size)[:, None], raw, 0.0)
    return linalg.orthonormal(raw, size) @ factor.T


def lower_of(x: Float[Array, "n d"]) -> Float[Array, "d d"]:
    """Lower factor of X'X for known rows, which are rounded."""
    return linalg.qr_lower(x, reference=jnp.linalg.norm(x, axis=0))


def design_of(factor: Float[Array, "d d"]) -> Design:
    """What least squares needs of a design with `X'X = factor factor'`."""
    inverse = linalg.triangular_inverse(linalg.qr_lower(factor))
    basis = factor @ inverse.T
    return Design(factor @ factor.T, basis, basis @ inverse)


def deviation_of(noise: Any) -> Any:
    """The root of a variance, which may be traced."""
    return jnp.sqrt(noise) if checks.is_traced(noise) else float(np.sqrt(noise))


def label_unit(noise: Any) -> float:
    """The unit of labels whose true coefficients are of size 1, so that float32 can square them.

    Raises:
        ValueError: if float32 would lose the noise beside the coefficients.
    """
    if checks.is_traced(noise):
        return 1.0
    if noise < _LEAST_NOISE:
        raise ValueError(
            f"noise must be at least {_LEAST_NOISE:g} without data, as the true coefficients are "
            f"of size 1, got {noise:g}"
        )
    return 1.0 if noise < _LOUD else float(2.0 ** np.frexp(np.sqrt(noise))[1])


class Columns(NamedTuple):
    """Training and test rows in orthonormal coordinates."""

    train: np.ndarray
    """Coordinates of the training rows; a column of ones is last where there is an intercept.
    `[rows, rank]`"""
    test: np.ndarray
    values: np.ndarray
    """Singular values of the standardised columns `[rank]`."""
    right: np.ndarray
    """Their right singular vectors `[rank, columns]`."""
    rounding: float
    """Each column is known to this share of its length."""

    @property
    def squares(self) -> np.ndarray:
        """What the square of a coefficient is in standardised columns, 0 for the intercept."""
        squares = len(self.train) / self.values**2
        return np.pad(squares, (0, self.train.shape[1] - len(squares)))


def orthonormal_columns(x: np.ndarray, other_x: np.ndarray, intercept: bool) -> Columns:
    """Standardise columns by the training rows, and decide the rank once, in float64.

    Columns are scaled to the same length (with an intercept they are centred first), so that the
    rank is no matter of their units. What is dependent on other columns up to the rounding errors
    of the numbers given, is constant or zero has no coordinate of its own. What test rows have
    outside the space of the training rows counts for nothing, as by the solution that has the least
    norm in standardised columns.

    Args:
        x: training rows `[rows, columns]`, without a column of ones.
        other_x: the same of the test rows.
        intercept: whether there is one.
    """
    n = len(x)
    greatest = np.abs(x).max(axis=0, initial=0.0)
    exponent = np.frexp(greatest)[1]
    x, other_x = np.ldexp(x, -exponent), np.ldexp(other_x, -exponent)  # so that squares are numbers
    center = x.mean(axis=0) if intercept else np.zeros(x.shape[1])
    x, other_x = x - center, other_x - center
    length = np.sqrt(np.mean(x**2, axis=0))
    alive = length > 8.0 * _EPS
    x, other_x = (a[:, alive] / length[alive] for a in (x, other_x))
    # Each column is known to this share of its length.
    rounding = _EPS * np.max(1.0 / length[alive], initial=1.0)
    left, values, right = np.linalg.svd(x, full_matrices=False)
    tolerance = max(x.shape) * rounding * np.max(values, initial=0.0)
    rank = int(np.sum(values > tolerance))
    train_z = left[:, :rank] * np.sqrt(n)
    test_z = other_x @ (right[:rank].T * (np.sqrt(n) / values[:rank]))
    if intercept:
        train_z, test_z = (np.column_stack([z, np.ones(len(z))]) for z in (train_z, test_z))
    return Columns(train_z, test_z, values[:rank], right[:rank], float(rounding))


class Whitened(NamedTuple):
    """Training and test rows in orthonormal coordinates, and labels of variance 1."""

    train_x: np.ndarray
    """Coordinates of the training rows; a column of ones is last where there is an intercept.
    `[rows, rank]`"""
    test_x: np.ndarray
    train_y: np.ndarray
    test_y: np.ndarray
    unit: float
    """One label unit of these is so many of the user's."""
    residual: float | None
    """Unbiased variance of the residuals, in the user's label units squared; None for a fit that is
    exact up to rounding."""


def whiten(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    intercept: bool,
    n_samples: int,
) -> Whitened:
    """Standardise columns and labels by the training rows, once and in float64.

    Labels that are all but a linear function of the columns are taken relative to the fit to all
    training rows, since single precision would lose the rest of them. That changes no least-squares
    solution, as long as there are enough rows for it to be unique.

    Args:
        train: design `[rows, columns]`, without a column of ones, and labels `[rows]`.
        test: the same of the test rows.
        intercept: whether there is one.
        n_samples: least number of rows of a fit.
    """
    (x, y), (other_x, other_y) = train, test
    n = len(x)
    train_z, test_z, values, right, rounding = orthonormal_columns(x, other_x, intercept)
    exponent = int(np.frexp(np.abs(y).max())[1])
    y, other_y = np.ldexp(y, -exponent), np.ldexp(other_y, -exponent)
    offset = y.mean() if intercept else 0.0
    y, other_y = y - offset, other_y - offset
    spread = float(np.sqrt(np.mean(y**2)))
    spread = spread if spread > 8.0 * _EPS else 1.0
    y, other_y, unit = y / spread, other_y / spread, float(np.ldexp(spread, exponent))
    fitted = train_z.T @ y / n
    residual = y - train_z @ fitted
    slopes = right.T @ (fitted[: len(values)] / values) * np.sqrt(n)
    known = max(n, right.shape[1]) * (
        _EPS * max(1.0, 1.0 / spread) + rounding * np.abs(slopes).sum()
    )
    left_over = float(np.sqrt(np.mean(residual**2)))
    variance = float(residual @ residual) / max(n - train_z.shape[1], 1) * unit**2
    if left_over < _NEARLY_LINEAR and n_samples >= train_z.shape[1]:
        small = max(left_over, known)
        y, other_y, unit = residual / small, (other_y - test_z @ fitted) / small, unit * small
    return Whitened(train_z, test_z, y, other_y, unit, None if left_over <= known else variance)


def checked_pair(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows and their labels, as finite numbers.

    Raises:
        ValueError: for other shapes (`TypeError` for what is no pair).
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError("data must be a pair (X, y) of an array [rows, columns] and one [rows]")
    x = checks.finite_array("data[0]", data[0], ndim=2)
    y = checks.finite_array("data[1]", data[1], ndim=1)
    if len(x) != len(y):
        raise ValueError(f"data must have as many labels as rows, got {len(x)} and {len(y)}")
    return x, y
