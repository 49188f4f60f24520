"""Normal laws near to the posterior of a classifier, and near to what is left of one; on the host.

A point is a classifier's weights, laid end to end. `[k]`
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]

_POINTS, _MANY_POINTS, _ROUNDS = 2**10, 2**14, 4
_AT_A_TIME = 2**22  # numbers
_STEPS, _PART, _FARTHEST = 100, 0.5, 10.0  # whole steps overshoot
_SETTLED = 1e-2  # standard deviations; a divergence is about half the square of those left
_FEWEST = 30  # independent points for each number, so that a covariance can be read off them


class Normal(NamedTuple):
    """A normal law."""

    mean: Numbers
    """`[k]`"""
    precision: Numbers
    """The inverse of its covariance `[k, k]`; a prior may be flat in some directions."""

    @property
    def root(self) -> Numbers:
        """The covariance is `root root'`; `LinAlgError` where there is none. `[k, k]`"""
        root = np.linalg.inv(np.linalg.cholesky(self.precision)).T
        return np.asarray(root, np.float64)

    def points(self, n: int) -> Numbers:
        """Points of this law, always by the same random numbers. `[n, k]`"""
        return self.mean + _standard(len(self.mean), n) @ self.root.T

    def within(self, points: Numbers, share: float) -> npt.NDArray[np.bool_]:
        """Where the density is above a share of its maximum. `[point]`"""
        return self.lengths(points) < (np.inf if share == 0.0 else -2.0 * np.log(share))

    def lengths(self, points: Numbers) -> Numbers:
        """Squared distances from the mean, in standard deviations. `[point]`"""
        gap = points - self.mean
        return np.sum((gap @ self.precision) * gap, axis=1)

    def divergence(self, other: "Normal") -> float:
        """Kullback-Leibler divergence of this law from another one, in nats.

        Example:
            >>> narrow, wide = (Normal(np.zeros(1), p * np.eye(1)) for p in (1.0, 0.25))
            >>> print(round(narrow.divergence(wide), 3), round(wide.divergence(narrow), 3))
            0.318 0.807
        """
        ratio = self.root.T @ other.precision @ self.root
        gap = self.mean - other.mean
        spread = np.trace(ratio) - len(gap) - np.linalg.slogdet(ratio)[1]
        return float(0.5 * (spread + gap @ other.precision @ gap))


class Likelihood(NamedTuple):
    """Rows with labels, of which a classifier gives the probabilities."""

    x: Numbers
    """`[row, column]`"""
    labels: npt.NDArray[np.int64]
    """`[row]`"""
    weights: Numbers
    """How often each row counts. `[row]`"""
    n_classes: int

    def values(self, points: Numbers) -> Numbers:
        """Log-likelihood at each of some points. `[point]`"""
        found, which = np.empty(len(points)), np.maximum(self.labels - 1, 0)
        for part, odds, total in self._at(points):
            own = np.where(self.labels > 0, odds[:, np.arange(len(self.x)), which], 0.0)
            found[part] = (own - total) @ self.weights
        return found

    def derivatives(
        self, points: Numbers, counted: npt.NDArray[np.bool_]
    ) -> tuple[Numbers, Numbers]:
        """Slope `[k]` and curvature `[k, k]` (minus the second derivatives), means over points.

        Args:
            points: `[point, k]`
            counted: at which points they are not taken as 0. `[point]`
        """
        c = self.n_classes - 1
        slope, curvature = np.zeros((len(self.x), c)), np.zeros((len(self.x), c, c))
        for _, odds, total in self._at(points[counted]):
            p = np.exp(odds - total[:, :, None])
            mean = np.sum(p, axis=0)
            slope += len(p) * np.eye(self.n_classes)[self.labels, 1:] - mean
            curvature += np.eye(c) * mean[:, None, :] - np.einsum("pna,pnb->nab", p, p)
        scale = (self.weights / len(points))[:, None]
        found = np.einsum("nab,nd,ne->adbe", curvature, scale * self.x, self.x, optimize=True)
        return ((scale * slope).T @ self.x).ravel(), found.reshape(c * self.x.shape[1], -1)

    def _at(self, points: Numbers) -> Iterator[tuple[slice, Numbers, Numbers]]:
        """Some points at a time: which, log-odds against the first class, and their log-sums."""
        c, d = self.n_classes - 1, self.x.shape[1]
        width = max(1, _AT_A_TIME // (len(self.x) * c))
        for first in range(0, len(points), width):
            part = slice(first, first + width)
            odds = np.swapaxes(points[part].reshape(-1, c, d) @ self.x.T, 1, 2)
            yield part, odds, np.logaddexp.reduce(odds, axis=2, initial=0.0)


def nearest(
    likelihood: Likelihood, base: Normal, sign: float, cutoff: float, start: Normal
) -> Normal:
    """The normal law q that is nearest to `base` times the likelihood, or over it, by KL(q, .).

    It has the slope and the curvature of that density, on average over q itself.

    Args:
        likelihood: that of some rows.
        base: what it multiplies or divides.
        sign: 1 to multiply, -1 to divide.
        cutoff: the likelihood counts where `base` is above this share of its maximum. That points
            enter and leave this region as q moves does not count, as in descent along samples.
        start: where to begin.

    Raises:
        ValueError: if there is none.
    """
    q = start
    for _ in range(_STEPS):
        points = q.points(_POINTS)
        slope, curvature = likelihood.derivatives(points, base.within(points, cutoff))
        precision = base.precision + sign * curvature
        new = Normal(q.mean, (1.0 - _PART) * q.precision + _PART * precision)
        try:
            root = new.root
        except np.linalg.LinAlgError:
            break
        move = root @ root.T @ (sign * slope - base.precision @ (q.mean - base.mean))
        far = np.sqrt(move @ q.precision @ move)
        wider = np.abs(root.T @ q.precision @ root - np.eye(len(move))).max()
        q = new._replace(mean=q.mean + _PART * min(1.0, _FARTHEST / max(far, 1.0)) * move)
        if max(far, wider) < _SETTLED:
            return q
    raise ValueError(
        "no normal law is nearest to a posterior here; a greater penalty or cutoff makes one"
    )


def covering(likelihood: Likelihood, base: Normal, cutoff: float) -> Normal:
    """The normal law q that is nearest to `base` over the likelihood, by KL(., q).

    It has the mean and the covariance of that density, by points of `base`, each with a weight, and
    then by points of the law that was found before.

    Args:
        likelihood: that of some rows.
        base: what it divides.
        cutoff: the likelihood counts where `base` is above this share of its maximum.

    Raises:
        ValueError: if few of the points have nearly all of the weight.
    """
    q, independent = base, 0.0
    for _ in range(_ROUNDS):
        points = q.points(_MANY_POINTS)
        counted = np.where(base.within(points, cutoff), likelihood.values(points), 0.0)
        logs = 0.5 * (q.lengths(points) - base.lengths(points)) - counted
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        independent = 1.0 / np.sum(weights**2)
        if independent < 2 * points.shape[1]:
            break
        mean = weights @ points
        gap = points - mean
        q = Normal(mean, np.linalg.inv((gap * weights[:, None]).T @ gap))
    if independent < _FEWEST * len(q.mean):
        raise ValueError(
            "method must not be 'reversed' where so much is removed that only "
            f"{independent:.0f} points of the posterior of everything tell of what is left"
        )
    return q


@lru_cache(maxsize=4)
def _standard(k: int, n: int) -> Numbers:
    """Standard normal points, each with its opposite. `[n, k]`"""
    half = np.random.default_rng(0).standard_normal((n // 2, k))
    return np.concatenate([half, -half])
