"""Joint second moments of several models that feed each other, generation by generation.

The truth, the batches that are kept and the newest models are points. A new point is an average of
old ones plus independent noise, so the expected squared distances between all points follow from
those before. Batches that are never dropped are merged into one.

Source: our derivation, as `collapse_jax.theory.recursion`, which has one model and more loops.
"""

from typing import NamedTuple

import numpy as np

from collapse_jax.theory._checks import Estimator, FloatArray, Numbers, check_estimator
from collapse_jax.theory.recursion import Streams

_TRUTH = 0


class JointMoments(NamedTuple):
    """Second moments of the models, relative to the true covariance; each `[model, generation]`."""

    mean_error: FloatArray
    """Squared distance of the mean from the truth."""
    covariance: FloatArray
    """The factor of the covariance."""
    apart: FloatArray
    """Squared distance of the mean from that of the other models; 0 for a model alone."""


class _Batch(NamedTuple):
    """Rows that are kept, as a point and the squares around it."""

    point: int
    rows: int
    squares: float


def joint_moments(
    streams: Streams,
    shares: Numbers,
    *,
    shared_real: bool = False,
    estimator: Estimator = "mle",
    curvature: float | None = None,
    fixed_noise: bool = False,
) -> JointMoments:
    """Moments of models that are the means, and perhaps the covariances, of their rows.

    Args:
        streams: the loop that each model goes through. All rows are used, and real rows of a data
            set come in one batch.
        shares: `[model, model + 1]`, the probability that a row of a model's batch comes from each
            model and, at last, from the truth; rows sum to 1.
        shared_real: whether the models have the same real rows.
        estimator: "mle" or "unbiased", of the covariance.
        curvature: for models that are a mean only and whose rows have the variance
            V_0 + curvature (mean - truth)^2, relative to V_0 where that is 1.
        fixed_noise: whether rows have the variance of the truth's in all generations, whichever
            models they come from: the large-sample limit.

    Raises:
        ValueError: for another shape, for random subsets of rows, and for several real batches of
            one data set.

    Source:
        Derived; see the module.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> from collapse_jax.theory.plans import streams_of
        >>> streams = streams_of(Workflow().plan(3, n_samples=10))
        >>> two = joint_moments(streams, [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
        >>> print(two.mean_error[0].round(4), two.apart[0].round(4))
        [0.1    0.145  0.1878] [0.2    0.19   0.1805]
        >>> alone = joint_moments(streams, [[1.0, 0.0]])
        >>> print(alone.covariance.round(3))
        [[0.9   0.81  0.729]]
    """
    p = np.asarray(shares, np.float64)
    if p.ndim != 2 or p.shape[1] != p.shape[0] + 1:
        raise ValueError(f"shares must be of shape (models, models + 1), got {p.shape}")
    if streams.drawn is not None:
        raise ValueError("streams must use all rows, got random subsets of them")
    if streams.population is not None and np.any(streams.real_rows[1:]):
        raise ValueError("streams must have one real batch where real rows are of a data set")
    unbiased = check_estimator(estimator)
    ecosystem = _Models(streams, p, shared_real, unbiased, curvature, fixed_noise)
    return ecosystem.run()


class _Points:
    """Expected squared distances of points, of which the first is the truth."""

    def __init__(self) -> None:
        self.distances = np.zeros((1, 1))
        self._free: list[int] = []

    def between(self, weights: dict[int, float]) -> float:
        """Mean squared distance of points from their weighted mean."""
        places, w = list(weights), np.array(list(weights.values()))
        return float(w @ self.distances[np.ix_(places, places)] @ w) / 2

    def add(self, weights: dict[int, float], noise: float = 0.0) -> int:
        """A new point: an average of others, and noise of this variance."""
        row = sum(w * self.distances[place] for place, w in weights.items())
        row = np.maximum(row - self.between(weights), 0.0) + noise
        if not self._free:
            n = len(self.distances)
            self.distances = np.pad(self.distances, (0, n))
            row = np.pad(row, (0, n))
            self._free = list(range(n, 2 * n))
        place = self._free.pop(0)
        row[place] = 0.0
        self.distances[place, :] = self.distances[:, place] = row
        return place

    def drop(self, place: int) -> None:
        self.distances[place, :] = self.distances[:, place] = 0.0
        self._free.append(place)


class _Models:
    def __init__(
        self,
        streams: Streams,
        shares: FloatArray,
        shared_real: bool,
        unbiased: bool,
        curvature: float | None,
        fixed_noise: bool,
    ) -> None:
        self.streams, self.shares, self.unbiased = streams, shares, unbiased
        self.curvature, self.fixed_noise = curvature, fixed_noise
        self.points = _Points()
        k, last = len(shares), len(streams.real_rows) - 1
        self.real: list[list[_Batch]] = [[] for _ in range(1 if shared_real else k)]
        self.synthetic: list[list[_Batch]] = [[] for _ in range(k)]
        n_real = int(np.count_nonzero(streams.real_rows))
        self.merge_real = bool(streams.real_kept[last] == n_real)
        self.merge_synthetic = bool(streams.synthetic_kept[last] == last)

    def run(self) -> JointMoments:
        s, k = self.streams, len(self.shares)
        length = len(s.real_rows)
        temperature = np.broadcast_to(s.temperature, (length,))
        found = np.empty((3, k, length))
        for t in range(length):
            if s.real_rows[t]:
                for pool in self.real:
                    self._keep(pool, self._real_batch(int(s.real_rows[t])), self.merge_real)
            for pools, kept in ((self.real, s.real_kept), (self.synthetic, s.synthetic_kept)):
                for pool in pools:
                    while len(pool) > kept[t]:
                        self.points.drop(pool.pop(0).point)
            models, spreads = zip(*(self._fit(i, t) for i in range(k)), strict=True)
            d = self.points.distances
            found[0, :, t] = [d[m, _TRUTH] for m in models]
            found[1, :, t] = spreads
            found[2, :, t] = [self._apart(m, [x for x in models if x != m]) for m in models]
            if t < length - 1:
                sizes = int(s.synthetic_rows[t]), float(temperature[t])
                for i, pool in enumerate(self.synthetic):
                    batch = self._batch(models, np.array(spreads), self.shares[i], *sizes)
                    self._keep(pool, batch, self.merge_synthetic)
            for model in models:
                self.points.drop(model)
        return JointMoments(*found)

    def _keep(self, pool: list[_Batch], new: _Batch, merged: bool) -> None:
        """Add a batch, to the one that there is where batches are never dropped."""
        if merged and pool:
            old = pool.pop()
            rows = old.rows + new.rows
            weights = {old.point: old.rows / rows, new.point: new.rows / rows}
            squares = old.squares + new.squares + rows * self.points.between(weights)
            point = self.points.add(weights)
            self.points.drop(old.point)
            self.points.drop(new.point)
            new = _Batch(point, rows, squares)
        pool.append(new)

    def _real_batch(self, n: int) -> _Batch:
        people = self.streams.population
        noise = 1.0 / n
        if people is not None:
            noise = max(1.0 / n - 1.0 / people, 0.0) * people / max(people - 1, 1)
        return _Batch(self.points.add({_TRUTH: 1.0}, noise), n, n * (1.0 - noise))

    def _batch(
        self,
        models: tuple[int, ...],
        spreads: FloatArray,
        shares: FloatArray,
        n: int,
        temperature: float,
    ) -> _Batch:
        """Rows of these models and of the truth."""
        weights = dict(zip((*models, _TRUTH), map(float, shares), strict=True))
        variance = temperature * float(shares[:-1] @ spreads) + float(shares[-1])
        if not self.fixed_noise:
            variance += self.points.between(weights)
        return _Batch(self.points.add(weights, variance / n), n, (n - 1) * variance)

    def _fit(self, i: int, t: int) -> tuple[int, float]:
        """Model i, and the variance of its rows."""
        weights: dict[int, float] = {}
        inside = squared = 0.0
        real = self.real[0 if len(self.real) == 1 else i]
        both = zip((real, self.synthetic[i]), self.streams.row_weights[t], strict=True)
        for pool, weight in both:
            for batch in pool:
                weights[batch.point] = float(weight) * batch.rows
                inside += float(weight) * batch.squares
                squared += float(weight) ** 2 * batch.rows
        model = self.points.add(weights)
        if self.fixed_noise:
            return model, 1.0
        if self.curvature is not None:
            return model, 1.0 + self.curvature * float(self.points.distances[model, _TRUTH])
        spread = inside + self.points.between(weights)
        return model, spread / (1.0 - squared) if self.unbiased else spread

    def _apart(self, model: int, others: list[int]) -> float:
        """Squared distance of a model from the mean of others."""
        if not others:
            return 0.0
        weights = dict.fromkeys(others, 1.0 / len(others))
        mean = sum(w * self.points.distances[model, place] for place, w in weights.items())
        return float(mean) - self.points.between(weights)
