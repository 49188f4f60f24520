"""Normal distributions in a form that survives thousands of generations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.basics import checks
from collapse_jax.basics.entries import diagonal
from collapse_jax.numerics import draws, linalg
from collapse_jax.tasks.base import Size


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
        lengths = diagonal(factor)
        dead = lengths <= 0.0
        lower = jnp.where(dead, jnp.eye(len(mean)), factor / jnp.where(dead, 1.0, lengths))
        return cls(mean, lower, jnp.log(jnp.where(dead, 0.0, lengths)))

    @property
    def ratios(self) -> Float[Array, "d d"]:
        """Of the diagonal of `F`: that of each row to that of each column.

        At most e^80; to a column of zeros as to one of length 1.
        """
        gap = self.log_diag[:, None] - jnp.where(jnp.isneginf(self.log_diag), 0.0, self.log_diag)
        return jnp.exp(jnp.minimum(gap, 80.0))

    def transform(self, standard: "Normal", ratios: Float[Array, "d d"] | None = None) -> "Normal":
        """The law of `mean + F u` when `u` has the law `standard`.

        Args:
            standard: the law of `u`.
            ratios: those of this law, where they are known.
        """
        below = jnp.tril(standard.lower * (self.ratios if ratios is None else ratios))
        return Normal(
            mean=self.mean + self.factor @ standard.mean,
            lower=self.lower @ (jnp.tril(below, -1) + jnp.eye(len(self.mean))),
            log_diag=self.log_diag + standard.log_diag,
        )

    def rows_like(self, rows: Float[Array, "n d"], size: Size) -> Float[Array, "n d"]:
        """Rows with this mean and covariance, exactly, whose directions are those of other rows.

        Args:
            rows: other rows, standard normal ones for a sample.
            size: how many of them count, from the first; the others become any. Where they do not
                span all dimensions, columns of `factor` from `size - 1` on must be zero.
        """
        valid = (jnp.arange(len(rows)) < size)[:, None]
        centred = jnp.where(valid, rows - jnp.sum(jnp.where(valid, rows, 0.0), axis=0) / size, 0.0)
        basis = linalg.orthonormal(centred, size - 1)
        return self.mean + jnp.sqrt(jnp.asarray(size, jnp.float32)) * basis @ self.factor.T

    def scaled(self, factor: Float[Array, ""]) -> "Normal":
        """The law of `factor` times a variable of this law."""
        return Normal(factor * self.mean, self.lower, self.log_diag + jnp.log(factor))

    def widened(self, temperature: Float[Array, ""] | None) -> "Normal":
        """The law with the covariance multiplied by the temperature, if there is one."""
        if temperature is None:
            return self
        return self._replace(log_diag=self.log_diag + 0.5 * jnp.log(temperature))

    def extrapolated(self, newer: "Normal", weight: Float[Array, ""]) -> "Normal":
        """The law of mean and covariance `(1 + weight)` times these less `weight` times others.

        The others have their variance in directions in which this one has some. A variance below 0
        becomes 0.
        """
        live = jnp.isfinite(self.log_diag)
        gap = newer.log_diag[None, :] - jnp.where(live, self.log_diag, 0.0)[:, None]
        turned = linalg.triangular_inverse(self.lower) @ newer.lower
        ratio = jnp.where(live[:, None], turned * jnp.exp(jnp.clip(gap, -80.0, 80.0)), 0.0)
        covariance = (1.0 + weight) * jnp.eye(len(self.mean)) - weight * (ratio @ ratio.T)
        beyond = Normal.from_factor(jnp.zeros_like(self.mean), linalg.cholesky(covariance))
        mean = self.mean + weight * (self.mean - newer.mean)
        return self.transform(beyond)._replace(mean=mean)

    def log_density(self, rows: Float[Array, "n d"]) -> Float[Array, " n"]:
        """Logarithm of the density at rows; -inf everywhere where there is none."""
        inverse = linalg.triangular_inverse(self.lower)
        scaled = (rows - self.mean) @ inverse.T * jnp.exp(-self.log_diag)
        volume = jnp.sum(self.log_diag) + 0.5 * rows.shape[1] * jnp.log(2.0 * jnp.pi)
        logs = -0.5 * jnp.sum(scaled**2, axis=1) - volume
        return jnp.where(jnp.isneginf(jnp.min(self.log_diag)), -jnp.inf, logs)

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


class SummedMoments(NamedTuple):
    """The same as plain arrays: quick to merge, and good while the covariance is well conditioned.

    Which is a matter of coordinates: those of the truth, or of a model not long ago.
    """

    n: Float[Array, ""]
    mean: Float[Array, " d"]
    covariance: Float[Array, "d d"]

    @classmethod
    def of(cls, moments: Moments) -> "SummedMoments":
        """From the other form."""
        factor = moments.normal.factor
        return cls(moments.n, moments.normal.mean, factor @ factor.T)

    @property
    def normal(self) -> Normal:
        """The normal distribution with these moments."""
        return Normal.from_factor(self.mean, linalg.cholesky(self.covariance))

    def merged(self, other: "SummedMoments", scales: Float[Array, "2"] | None) -> "SummedMoments":
        """Moments of both sets, whose weights are multiplied by the scales."""
        sizes = (self.n, other.n)
        if scales is not None:
            sizes = (self.n * scales[0], other.n * scales[1])
        total = sizes[0] + sizes[1]
        share = sizes[1] / jnp.where(total > 0.0, total, 1.0)
        gap = other.mean - self.mean
        between = (share * (1.0 - share)) * gap[:, None] * gap
        mean = (1.0 - share) * self.mean + share * other.mean  # exact where one has no weight
        within = (1.0 - share) * self.covariance + share * other.covariance
        return SummedMoments(total, mean, within + between)


class Frame(NamedTuple):
    """A model in whose coordinates many others are given, one after the other."""

    model: Normal
    ratios: Float[Array, "d d"]
    """Its own, whose exponentials are most of what a transformation costs."""


class AffineCoordinates(NamedTuple):
    """Coordinates in which a model of the chain, and not the truth, is standard normal."""

    dim: int

    def start(self) -> Normal:
        """The model that has the coordinates at hand: a standard normal."""
        return Normal(jnp.zeros(self.dim), jnp.eye(self.dim), jnp.zeros(self.dim))

    def frame(self, model: Normal) -> Frame:
        """What is kept of a model in whose coordinates others are given."""
        return Frame(model, model.ratios)

    def compose(self, outer: Frame, inner: Normal) -> Normal:
        """The model that is `inner` in the coordinates of `outer`."""
        return outer.model.transform(inner, outer.ratios)

    def change(self, model: Normal) -> tuple[Array, Array]:
        """What `move` needs to know of the model whose coordinates are wanted."""
        return model.mean, linalg.triangular_inverse(model.factor)

    def place(self, outer: Frame, rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """Rows in the coordinates of `outer`, in those that it is in."""
        return outer.model.mean + rows @ outer.model.factor.T

    def move(self, change: tuple[Array, Array], data: Any) -> Any:
        """Moments of either form, or rows `[..., d]`, in other coordinates."""
        center, inverse = change
        if isinstance(data, SummedMoments):
            covariance = inverse @ data.covariance @ inverse.T
            return SummedMoments(data.n, inverse @ (data.mean - center), covariance)
        if isinstance(data, Moments):
            mean = inverse @ (data.normal.mean - center)
            return Moments(data.n, Normal.from_factor(mean, inverse @ data.normal.factor))
        return (data - center) @ inverse.T


def standard_moments(key: Key[Array, ""], n: Size, dim: int) -> Moments:
    """Moments of `n` standard normal rows, drawn from their own law."""
    n = jnp.asarray(n, jnp.float32)
    rows = jnp.maximum(n, 1.0)  # an empty set has some moments or other, and no weight
    log_diag, below, mean = draws.bartlett(key, n - 1.0, dim, rows, normals=dim)
    live = jnp.isfinite(log_diag)
    lower = below * jnp.exp(-jnp.where(live, log_diag, 0.0)) + jnp.eye(dim)
    return Moments(n, Normal(mean / jnp.sqrt(rows), lower, log_diag))


def moments_of(
    rows: Float[Array, "n d"], valid: Bool[Array, " n"] | None, lower: Callable[..., Array]
) -> Moments:
    """Moments of rows.

    Args:
        rows: the rows.
        valid: which of them count; None for all.
        lower: `linalg.qr_lower` or, where rows are no near combinations, `linalg.gram_lower`.
    """
    if valid is None:
        n, rank = jnp.asarray(len(rows), jnp.float32), len(rows) - 1
        mean = rows.mean(axis=0)
        centred = rows - mean
    else:
        n, rank = jnp.sum(valid, dtype=jnp.float32), None
        rows = jnp.where(valid[:, None], rows, 0.0)
        mean = jnp.sum(rows, axis=0) / jnp.maximum(n, 1.0)
        centred = jnp.where(valid[:, None], rows - mean, 0.0)
    reference = jnp.sqrt(jnp.sum(centred**2, axis=0) + len(rows) * mean**2)
    factor = lower(centred, rank, reference) / jnp.sqrt(jnp.maximum(n, 1.0))
    if valid is not None:  # not more columns than a rank, which is no fixed number here
        factor = jnp.where(jnp.cumsum(jnp.diag(factor) > 0.0) < n, factor, 0.0)
    return Moments(n, Normal.from_factor(mean, factor))


def checked_mean(mean: Any, dim: int) -> Any:
    """The mean, a number or a vector."""
    if checks.is_traced(mean):
        return mean
    mean = checks.finite_array("mean", mean, ndim=(0, 1))
    if mean.ndim == 1 and mean.shape != (dim,):
        raise ValueError(f"mean must be a number or have shape ({dim},), got shape {mean.shape}")
    return mean
