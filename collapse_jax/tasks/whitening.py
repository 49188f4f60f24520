"""The user's rows in coordinates in which they have mean 0 and covariance I."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from collapse_jax.tasks.normal import Normal


class Whitened(NamedTuple):
    """Rows in such coordinates, and how to come back from there."""

    mean: np.ndarray
    """`[d]`"""
    covariance: np.ndarray
    """`[d, d]`, that of divisor n."""
    scale: np.ndarray
    """Lower factor of the covariance. `[d, d]`"""
    train: np.ndarray
    """Training rows in the new coordinates. `[rows, d]`"""
    test: Normal
    """Moments of the test rows in the new coordinates."""


def whiten(train: np.ndarray, test: np.ndarray) -> Whitened:
    """Whiten rows by the moments of the training rows, once and in double precision.

    Args:
        train: training rows `[rows, d]`.
        test: test rows `[rows, d]`.

    Raises:
        ValueError: if the training rows do not span all dimensions.

    Example:
        >>> rows = np.random.default_rng(0).normal(1e6, 1e-3, (50, 2))
        >>> print(np.cov(whiten(rows, rows).train, rowvar=False, bias=True).round(6) + 0.0)
        [[1. 0.]
         [0. 1.]]
    """
    dim, mean = train.shape[1], train.mean(axis=0)
    covariance = np.atleast_2d(np.cov(train, rowvar=False, bias=True))
    deviation = np.sqrt(np.diag(covariance))
    if np.any(deviation == 0.0):
        raise ValueError(
            f"data must vary in every column; column {int(np.argmin(deviation))} is constant "
            "in the training rows"
        )
    spectrum = np.linalg.eigvalsh(covariance / np.outer(deviation, deviation))
    if spectrum[0] < 1e-10:
        raise ValueError(
            "data must have a covariance of full rank; its columns are linearly dependent, or "
            f"fewer than dim + 1 = {dim + 1} training rows are left"
        )
    scale = np.linalg.cholesky(covariance)
    white_train, white_test = (np.linalg.solve(scale, (rows - mean).T).T for rows in (train, test))
    center = white_test.mean(axis=0)
    _, upper = np.linalg.qr(white_test - center)
    upper = np.pad(upper, ((0, dim - len(upper)), (0, 0))) / np.sqrt(len(test))
    moments = Normal(
        jnp.asarray(center, jnp.float32), jnp.asarray(upper.T, jnp.float32), jnp.zeros(dim)
    )
    return Whitened(mean, covariance, scale, white_train, moments)
