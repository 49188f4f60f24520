"""Coordinates along the principal axes of the truth, in which it has mean 0 and covariance I."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from collapse_jax.basics import checks
from collapse_jax.numerics import linalg
from collapse_jax.tasks.parts.normal import Normal
from collapse_jax.tasks.parts.tables import standards

_SINGULAR = 1e-13  # least eigenvalue of a correlation matrix that is not taken for rounding
_DEPENDENT = 1e-10  # the same, where it is estimated from rows
_NEAR = 1e-3  # squared distance, relative to the trace, below which a difference of traces is noise


class Axes(NamedTuple):
    """How to come back from these coordinates to the user's units."""

    deviations: Any
    """Standard deviations along the axes, in multiples of `unit`: a number, or `[d]`. Of a traced
    matrix its lower factor `[d, d]`, as nothing less can be differentiated."""
    unit: float
    """A power of two near the greatest of them, so that float32 can square the multiples."""
    log_volume: Any
    """Sum of the logarithms of the standard deviations, in the user's units; -inf if singular."""
    rotation: Any = None
    """From these axes to the user's, an orthogonal `[d, d]`; None where they are the same."""

    def spread(self, x: Float[Array, "d ..."]) -> Float[Array, "d ..."]:
        """Multiply coordinates by the deviations."""
        deviations = jnp.asarray(self.deviations, jnp.float32)
        if deviations.ndim == 2:
            return deviations @ x
        return (deviations if deviations.ndim == 0 or x.ndim == 1 else deviations[:, None]) * x

    def turn(self, x: Float[Array, "d n"]) -> Float[Array, "d n"]:
        """Vectors along the user's axes."""
        return x if self.rotation is None else jnp.asarray(self.rotation, jnp.float32) @ x

    def trace(self, dim: int) -> Float[Array, ""]:
        """Trace of the covariance, in squares of `unit`."""
        return jnp.sum(self.spread(jnp.eye(dim)) ** 2)

    def bures(self, model: Normal) -> Float[Array, ""]:
        """Squared 2-Wasserstein distance of a model from the truth, apart from their means.

        In squares of `unit`. No difference of traces where that would be rounding errors.
        """
        dim = len(model.mean)
        if dim == 1:
            return jnp.sum(self.spread(jnp.expm1(model.log_diag)) ** 2)
        own, factor = jnp.asarray(self.deviations, jnp.float32), model.factor
        if own.ndim == 0:
            return own**2 * jnp.sum((linalg.singular_values(factor) - 1.0) ** 2)
        other, trace = self.spread(factor), self.trace(dim)
        turned = own.T @ other if own.ndim == 2 else own[:, None] * other
        overlap = jnp.sum(linalg.singular_values(turned))
        far = jnp.maximum(trace + jnp.sum(other**2) - 2.0 * overlap, 0.0)
        if own.ndim == 2:
            return far
        rotation = _nearest_rotation(factor, own**2)
        near = jnp.sum(self.spread(jnp.eye(dim) - factor @ rotation) ** 2)
        return jnp.where(far > _NEAR * trace, far, near)


def _nearest_rotation(
    factor: Float[Array, "d d"], variances: Float[Array, " d"]
) -> Float[Array, "d d"]:
    """`Q` that minimises the distance of `S` and `S factor Q` to first order in `factor - I`.

    `S` is the diagonal of the deviations. What is left of an error of Q enters in its square.
    """
    sums = variances[:, None] + variances[None, :]
    rotation = jnp.eye(len(factor))
    for _ in range(2):
        overlap = (factor @ rotation).T * variances
        turn = (overlap - overlap.T) / jnp.where(sums > 0.0, sums, 1.0)
        rotation = rotation + rotation @ turn
        rotation = 1.5 * rotation - 0.5 * rotation @ (rotation.T @ rotation)  # orthogonal again
    return rotation


def axes_of(covariance: Any, dim: int) -> tuple[Any, Axes]:
    """The covariance as numbers, and its axes.

    Args:
        covariance: a positive number, `[dim]` variances or a positive semi-definite `[dim, dim]`.
        dim: the dimension.

    Raises:
        ValueError: for anything else.

    Example:
        >>> covariance, axes = axes_of([[2e40, 1e40], [1e40, 2e40]], 2)
        >>> (axes.unit * axes.deviations).round(-18).tolist()
        [1e+20, 1.73e+20]
    """
    if checks.is_traced(covariance):
        if covariance.ndim == 2:
            factor = linalg.cholesky(covariance)
            return covariance, Axes(factor, 1.0, jnp.sum(jnp.log(jnp.diag(factor))))
        logs = jnp.sum(jnp.broadcast_to(jnp.log(covariance), (dim,)))
        return covariance, Axes(jnp.sqrt(covariance), 1.0, 0.5 * logs)
    array = checks.finite_array("covariance", covariance, ndim=(0, 1, 2))
    if array.ndim < 2:
        if array.ndim == 1 and array.shape != (dim,):
            raise ValueError(f"covariance must have shape ({dim},), got shape {array.shape}")
        if np.any(array <= 0.0):
            raise ValueError(f"covariance must be positive, got {float(array.min())}")
        return array, _in_units(np.sqrt(array), 0.5 * np.log(np.broadcast_to(array, dim)).sum())
    if array.shape != (dim, dim):
        raise ValueError(f"covariance must have shape ({dim}, {dim}), got shape {array.shape}")
    if not np.allclose(array, array.T, rtol=1e-6, atol=1e-9 * np.abs(array).max()):
        raise ValueError(
            "covariance must be symmetric, and differs from its transpose by up to "
            f"{np.abs(array - array.T).max():g}"
        )
    spectrum, rotation = np.linalg.eigh(array)
    if spectrum[0] < -1e-8 * max(spectrum[-1], 0.0) or spectrum[-1] <= 0.0:
        raise ValueError(
            "covariance must be positive semi-definite and not zero, got eigenvalues from "
            f"{spectrum[0]:g} to {spectrum[-1]:g}"
        )
    deviation = np.sqrt(np.clip(np.diag(array), 0.0, None))
    deviation[deviation == 0.0] = 1.0
    correlation = np.linalg.eigvalsh(array / deviation / deviation[:, None])
    flat = int(np.sum(correlation < _SINGULAR * dim))  # whatever the units of the columns
    spectrum[:flat] = 0.0
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(np.arange(dim) < flat, 0.0, np.abs(correlation)))
    return array, _in_units(
        np.sqrt(np.clip(spectrum, 0.0, None)), np.log(deviation).sum() + 0.5 * logs.sum(), rotation
    )


def _in_units(deviations: Any, log_volume: float, rotation: Any = None) -> Axes:
    unit = 2.0 ** (math.frexp(float(np.max(deviations)))[1] - 1)
    return Axes(deviations / unit, unit, float(log_volume), rotation)


class Whitened(NamedTuple):
    """The user's rows in such coordinates."""

    mean: np.ndarray
    """`[d]`"""
    covariance: np.ndarray
    """`[d, d]`, that of divisor n."""
    axes: Axes
    train: np.ndarray
    """Training rows in the new coordinates. `[rows, d]`"""
    test_rows: np.ndarray
    """Test rows in the new coordinates. `[rows, d]`"""
    test: Normal
    """Their moments."""


def whiten(train: np.ndarray, test: np.ndarray) -> Whitened:
    """Whiten rows by the moments of the training rows, once and in double precision.

    Args:
        train: training rows `[rows, d]`.
        test: test rows `[rows, d]`.

    Raises:
        ValueError: if the training rows do not span all dimensions, or have variances that float64
            cannot hold.

    Example:
        >>> rows = np.random.default_rng(0).normal(1e6, 1e-3, (50, 2))
        >>> print(np.cov(whiten(rows, rows).train, rowvar=False, bias=True).round(6) + 0.0)
        [[1. 0.]
         [0. 1.]]
    """
    dim, (mean, deviation) = train.shape[1], standards(train)
    train, test = ((rows - mean) / deviation for rows in (train, test))
    correlation = np.atleast_2d(np.cov(train, rowvar=False, bias=True))
    if np.linalg.eigvalsh(correlation)[0] < _DEPENDENT:
        raise ValueError(
            "data must have a covariance of full rank; its columns are linearly dependent, or "
            f"fewer than dim + 1 = {dim + 1} training rows are left"
        )
    lower = np.linalg.cholesky(correlation)  # which knows no units, unlike the spectrum
    rotation, deviations, turned = np.linalg.svd(deviation[:, None] * lower)
    log_volume = np.log(deviation).sum() + np.log(np.diag(lower)).sum()
    train, test = (np.linalg.solve(lower, rows.T).T @ turned.T for rows in (train, test))
    covariance = deviation[:, None] * correlation * deviation
    axes = _in_units(deviations, log_volume, rotation)
    return Whitened(mean, covariance, axes, train, test, _moments(test))


def _moments(rows: np.ndarray) -> Normal:
    center, dim = rows.mean(axis=0), rows.shape[1]
    _, upper = np.linalg.qr(rows - center)
    upper = np.pad(upper, ((0, dim - len(upper)), (0, 0))) / np.sqrt(len(rows))
    return Normal(
        jnp.asarray(center, jnp.float32), jnp.asarray(upper.T, jnp.float32), jnp.zeros(dim)
    )
