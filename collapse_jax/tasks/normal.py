"""Normal distributions in a form that survives thousands of generations."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from collapse_jax.basics import checks
from collapse_jax.numerics import linalg


class Normal(NamedTuple):
    """A normal distribution, singular ones included, by the log-Cholesky form of its covariance.

    The covariance is `F F'` with `F = lower * exp(log_diag)`. Where variances shrink exponentially
    and at different rates, `lower` stays of order one, and the log-determinant is exact.
    """

    mean: Float[Array, " d"]
    lower: Float[Array, "d d"]
    """Lower triangular with ones on the diagonal."""
    log_diag: Float[Array, " d"]
    """Logarithms of the diagonal of `F`; -inf for a column of zeros."""

    @property
    def factor(self) -> Float[Array, "d d"]:
        """The lower triangular `F`."""
        return self.lower * jnp.exp(self.log_diag)

    @classmethod
    def from_factor(cls, mean: Float[Array, " d"], factor: Float[Array, "d d"]) -> "Normal":
        """From any lower triangular factor whose diagonal is not negative."""
        diagonal = jnp.diag(factor)
        dead = diagonal <= 0.0
        lower = jnp.where(dead, jnp.eye(len(mean)), factor / jnp.where(dead, 1.0, diagonal))
        return cls(mean, lower, jnp.log(jnp.where(dead, 0.0, diagonal)))

    def transform(self, standard: "Normal") -> "Normal":
        """The law of `mean + F u` when `u` has the law `standard`."""
        gap = self.log_diag[:, None] - jnp.where(jnp.isneginf(self.log_diag), 0.0, self.log_diag)
        below = jnp.tril(standard.lower * jnp.exp(jnp.minimum(gap, 80.0)))
        return Normal(
            mean=self.mean + self.factor @ standard.mean,
            lower=self.lower @ (jnp.tril(below, -1) + jnp.eye(len(self.mean))),
            log_diag=self.log_diag + standard.log_diag,
        )

    def scaled(self, factor: Float[Array, ""]) -> "Normal":
        """The law of `factor` times a variable of this law."""
        return Normal(factor * self.mean, self.lower, self.log_diag + jnp.log(factor))

    def widened(self, temperature: Float[Array, ""] | None) -> "Normal":
        """The law with the covariance multiplied by the temperature, if there is one."""
        if temperature is None:
            return self
        return self._replace(log_diag=self.log_diag + 0.5 * jnp.log(temperature))

    def beyond(self, z: float) -> Float[Array, ""]:
        """Probability of coordinates beyond -z and z, on average over the coordinates."""
        deviation = self._deviations
        return jnp.mean(ndtr((-z - self.mean) / deviation) + ndtr((self.mean - z) / deviation))

    def reach_beyond(self, z: float, reach: float) -> Float[Array, ""]:
        """Probability, to the standard normal, of what this one reaches beyond -z and z.

        It reaches `reach` standard deviations to either side of its mean. On average over the
        coordinates.
        """
        low, high = (self.mean + side * reach * self._deviations for side in (-1.0, 1.0))
        within = ndtr(jnp.minimum(high, z)) - ndtr(jnp.maximum(low, -z))
        return jnp.mean(ndtr(high) - ndtr(low) - jnp.maximum(within, 0.0))

    @property
    def _deviations(self) -> Float[Array, " d"]:
        """Standard deviations of the coordinates; tiny, not zero, where there is no variance."""
        return jnp.maximum(jnp.sqrt(jnp.sum(self.factor**2, axis=1)), 1e-30)


class Moments(NamedTuple):
    """Mean and biased covariance of a data set, the sufficient statistic of its rows."""

    n: Float[Array, ""]
    normal: Normal


def checked_mean(mean: Any, dim: int) -> Any:
    """The mean, a number or a vector."""
    if checks.is_traced(mean):
        return mean
    mean = checks.finite_array("mean", mean, ndim=(0, 1))
    if mean.ndim == 1 and mean.shape != (dim,):
        raise ValueError(f"mean must be a number or have shape ({dim},), got shape {mean.shape}")
    return mean


def checked_covariance(covariance: Any, dim: int) -> tuple[Any, Any]:
    """The covariance and a lower triangular factor of it, each a number, a diagonal or a matrix."""
    if checks.is_traced(covariance):
        is_matrix = covariance.ndim == 2
        return covariance, linalg.cholesky(covariance) if is_matrix else jnp.sqrt(covariance)
    array = checks.finite_array("covariance", covariance, ndim=(0, 1, 2))
    if array.ndim < 2:
        if array.ndim == 1 and array.shape != (dim,):
            raise ValueError(f"covariance must have shape ({dim},), got shape {array.shape}")
        if np.any(array <= 0.0):
            raise ValueError(f"covariance must be positive, got {float(array.min())}")
        return array, np.sqrt(array)
    if array.shape != (dim, dim):
        raise ValueError(f"covariance must have shape ({dim}, {dim}), got shape {array.shape}")
    if not np.allclose(array, array.T, rtol=1e-6, atol=1e-9 * np.abs(array).max()):
        raise ValueError(
            "covariance must be symmetric, and differs from its transpose by up to "
            f"{np.abs(array - array.T).max():g}"
        )
    spectrum, vectors = np.linalg.eigh(array)
    if spectrum[0] < -1e-8 * max(spectrum[-1], 0.0) or spectrum[-1] <= 0.0:
        raise ValueError(
            "covariance must be positive semi-definite and not zero, got eigenvalues from "
            f"{spectrum[0]:g} to {spectrum[-1]:g}"
        )
    root = vectors * np.sqrt(np.clip(spectrum, 0.0, None))
    upper = np.linalg.qr(root.T)[1]
    return array, upper.T * np.where(np.diag(upper) < 0.0, -1.0, 1.0)
