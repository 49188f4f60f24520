"""First and second moments of a loop of two streams, generation by generation.

Everything that matters is a point on a line: the truth, the mean of each batch that is kept, the
mean of each model that is sampled. New points are averages of old ones plus independent noise, so
the expected products of all distances (a Gram matrix) follow from those before. Distances are taken
from the newest model, not from the truth, since what a collapsing chain still has of spread would
drown in the rounding errors of its distance from the truth. Batches that are never dropped are
merged into one point, so that time and memory depend on windows, not on the number of generations.

Two readings of it. The exact one follows the spread of the models as well; it holds for any model
that is a mean and a covariance and generates rows with these moments, and for random subsets as
long as all rows weigh the same. In the other one rows keep their variance: the large-sample limit
for any smooth model, and exact for least squares on a fixed design.

Source: our derivation; the Gaussian process of Dey & Donoho, arXiv 2410.22812, is its limit.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from collapse_jax.theory._checks import Estimator, FloatArray, check_estimator
from collapse_jax.theory.moments import SecondMoments

Counts = npt.NDArray[np.int64]


class Streams(NamedTuple):
    """A loop in plain numbers; entry t - 1 of an array is for generation t."""

    real_rows: Counts
    """Rows of the real batch that is new in generation t, 0 for none. `[generation]`"""
    synthetic_rows: Counts
    """Rows that model t generates, new in generation t + 1. `[generation]`"""
    real_kept: Counts
    """How many of the newest real batches generation t sees. `[generation]`"""
    synthetic_kept: Counts
    """How many of the newest generated batches generation t sees. `[generation]`"""
    row_weights: FloatArray
    """Weight of one real and of one generated row; all rows together have 1. `[generation, 2]`"""
    drawn: Counts | None = None
    """Rows drawn at random for the fit; None for all. `[generation]`"""
    with_replacement: bool = False
    temperature: FloatArray | float = 1.0
    """Factor on the variance with which model t is sampled. `[generation]` or a number"""
    last: int | None = 1
    """Rows come from the last so many of: the truth, model 1, ..., model t; None for all."""
    equally: bool = False
    """Whether each of these gives the same number of rows, or a random one."""
    truth_share: FloatArray | float = 0.0
    """Probability that a generated row is a real one instead. `[generation]` or a number"""
    population: int | None = None
    """Rows of the data set that real batches are dealt from, shuffled anew when it is used up."""


def exact_moments(streams: Streams, estimator: Estimator = "mle") -> SecondMoments:
    """Moments of models that are the mean and covariance of their rows, for any sizes.

    Args:
        streams: the loop. With `drawn`, all rows must weigh the same.
        estimator: "mle" divides by the total weight; "unbiased" divides by one minus the sum of the
            squared weights of the rows, as usual.

    Returns:
        The moments of generations 1..T, relative to the true covariance (with divisor P for data).

    Raises:
        ValueError: if the estimator is unknown, or "unbiased" and a fit rests on a single row.

    Source:
        Derived; see the module.

    Example:
        >>> ones, ten = np.ones(3, int), np.full(3, 10)
        >>> replace = Streams(ten * [1, 0, 0], ten, ones * [1, 0, 0], ones * [0, 1, 1],
        ...     np.full((3, 2), 0.1))
        >>> print(exact_moments(replace).covariance.round(6))
        [0.9   0.81  0.729]
    """
    unbiased = check_estimator(estimator)
    return _Recursion(streams, exact=True, unbiased=unbiased).run()


def noise_variance(streams: Streams) -> FloatArray:
    """Variance of the model's error for rows of variance 1: the large-sample limit.

    Times the rows of an ordinary fit it is the risk ratio of the loop, for any smooth model.

    Args:
        streams: the loop.

    Returns:
        `[generation]`.

    Source:
        Dey & Donoho, arXiv 2410.22812 (the process); windows, sources and subsets are derived here.

    Example:
        >>> ones, ten = np.ones(3, int), np.full(3, 10)
        >>> accumulate = Streams(ten * [1, 0, 0], ten, ones, ones * [0, 1, 2],
        ...     np.array([[0.1] * 2, [0.05] * 2, [1 / 30] * 2]))
        >>> print((10 * noise_variance(accumulate)).round(4))
        [1.     1.25   1.3611]
        >>> subsample = accumulate._replace(drawn=ten)
        >>> print((10 * noise_variance(subsample)).round(4))
        [1.     1.75   2.0833]
    """
    return _Recursion(streams, exact=False, unbiased=False).run().mean_error


class _Gram:
    """Expected products of the distances of points from the newest model."""

    def __init__(self, capacity: int) -> None:
        self.values = np.zeros((capacity, capacity))
        self._free = list(range(capacity))

    def add(self, cross: FloatArray, own: float) -> int:
        slot = self._free.pop()
        self.set(slot, cross, own)
        return slot

    def set(self, slot: int, cross: FloatArray, own: float) -> None:
        self.values[slot, :] = cross
        self.values[:, slot] = cross
        self.values[slot, slot] = own

    def drop(self, slot: int) -> None:
        self._free.append(slot)

    def move_origin(self, slot: int) -> None:
        row = self.values[slot].copy()
        self.values += row[slot] - row[:, None] - row[None, :]

    def merge(self, into: int, other: int, share: float) -> float:
        """Averages two points, `share` for the other; returns their mean squared distance."""
        k = self.values
        apart = k[into, into] + k[other, other] - 2 * k[into, other]
        own = k[into, into] + share * (share * apart + 2 * (k[into, other] - k[into, into]))
        self.set(into, (1 - share) * k[into] + share * k[other], own)
        self.drop(other)
        return float(apart)


class _Pool:
    """What is kept of a stream: points with their rows and the squares around them."""

    def __init__(self, gram: _Gram, *, merged: bool, exact: bool) -> None:
        self._gram, self._merged, self._exact = gram, merged, exact
        self.batches: deque[tuple[int, int, float]] = deque()
        self.born = 0

    def add(self, slot: int, rows: int, scatter: float) -> None:
        self.born += 1
        if self._merged and self.batches:
            old, weight, squares = self.batches.pop()
            rows, share = rows + weight, rows / (rows + weight)
            apart = self._gram.merge(old, slot, share)
            slot, scatter = old, scatter + squares
            if self._exact:
                scatter += share * (1 - share) * rows * apart
        self.batches.append((slot, rows, scatter))

    def keep(self, newest: int) -> None:
        """Drops all but the newest batches (a merged pool keeps all while it keeps any)."""
        while len(self.batches) > newest:
            self._gram.drop(self.batches.popleft()[0])

    @property
    def rows(self) -> int:
        return sum(rows for _, rows, _ in self.batches)

    @property
    def scatter(self) -> float:
        return sum((scatter for *_, scatter in self.batches), 0.0)


class _Recursion:
    def __init__(self, streams: Streams, *, exact: bool, unbiased: bool) -> None:
        self.streams, self.exact, self.unbiased = streams, exact, unbiased
        length = len(streams.real_rows)
        n_real = int(np.count_nonzero(streams.real_rows))
        merge_real = streams.real_kept[-1] == n_real
        merge_synthetic = streams.synthetic_kept[-1] == length - 1
        merge_models = not streams.equally and (streams.last is None or streams.last > length)
        self.window = length + 1 if streams.last is None else min(streams.last, length + 1)
        capacity = 8 + sum(
            1 if merged else int(kept)
            for merged, kept in (
                (merge_real, np.max(streams.real_kept)),
                (merge_synthetic, np.max(streams.synthetic_kept)),
                (merge_models, self.window),
            )
        )
        self.gram = _Gram(capacity)
        self.truth = self.gram.add(np.zeros(capacity), 0.0)
        population = streams.population
        self.dealt = np.inf if population is None else float(population)
        self.apart = 1.0 if population is None else population / max(population - 1, 1)
        if population == 1:  # a single row has no spread to be relative to
            self.apart = 0.0
        self.left = self.dealt
        self.row = self.gram.add(np.zeros(capacity), min(self.apart, 1.0))
        self.real = _Pool(self.gram, merged=bool(merge_real), exact=exact)
        self.synthetic = _Pool(self.gram, merged=bool(merge_synthetic), exact=exact)
        self.models = _Pool(self.gram, merged=merge_models, exact=exact)
        self.spreads: deque[float] = deque()
        self.spread_sum = 0.0

    def run(self) -> SecondMoments:
        s = self.streams
        length = len(s.real_rows)
        temperature = np.broadcast_to(s.temperature, (length,))
        truth_share = np.broadcast_to(s.truth_share, (length,))
        mean_error, covariance = np.empty(length), np.empty(length)
        for t in range(length):
            if s.real_rows[t]:
                self.add_real(int(s.real_rows[t]))
            self.real.keep(int(s.real_kept[t]))
            self.synthetic.keep(int(s.synthetic_kept[t]))
            covariance[t] = self.fit(t)
            mean_error[t] = self.gram.values[self.truth, self.truth]
            if t < length - 1:
                self.generate(
                    int(s.synthetic_rows[t]), float(temperature[t]), float(truth_share[t])
                )
        return SecondMoments(mean_error, covariance)

    def add_real(self, n: int) -> None:
        """Deals a batch; what is left of the data are rows like `self.row`."""
        k, batch = self.gram.values, _Pool(self.gram, merged=True, exact=self.exact)
        while n:
            if self.left == self.dealt and n >= self.dealt:  # all of the data, again and again
                rows = n - n % int(self.dealt)
                batch.add(
                    self.gram.add(k[self.truth], k[self.truth, self.truth]), rows, float(rows)
                )
            else:
                rows = int(min(n, self.left))
                common = k[self.row, self.row] - self.apart
                slot = self.gram.add(k[self.row], common + self.apart / rows)
                k[slot, self.row] = k[self.row, slot] = common
                inside = rows - 1 if self.exact else rows
                batch.add(slot, rows, inside * self.apart)
                self.left -= rows
            n -= rows
            if self.left == 0:
                self.left = self.dealt
                own = k[self.truth, self.truth] + min(self.apart, 1.0)
                self.gram.set(self.row, k[self.truth].copy(), own)
        self.real.add(*batch.batches[0])

    def fit(self, t: int) -> float:
        """Adds model t and moves the origin there; returns its spread."""
        s, k = self.streams, self.gram.values
        weights = np.zeros(len(k))
        inside = noise = 0.0
        for pool, weight in zip((self.real, self.synthetic), s.row_weights[t], strict=True):
            for slot, rows, _ in pool.batches:
                weights[slot] = weight * rows
            inside += weight * pool.scatter
            noise += weight**2 * pool.scatter
        cross = weights @ k
        own = float(weights @ cross)
        size = self.real.rows + self.synthetic.rows
        drawn = float(size if s.drawn is None else s.drawn[t])
        if not self.exact:
            factor = size / drawn - (0.0 if s.with_replacement else 1.0)
            extra, spread = noise * factor, 1.0
        else:
            spread = inside + max(float(weights @ k.diagonal()) - own, 0.0)
            extra = 0.0
            if s.drawn is not None:
                others = drawn if s.with_replacement else drawn * max(size - 1, 1) / size
                extra = spread / others * (1.0 if s.with_replacement else 1 - drawn / size)
                spread *= (drawn - 1) / others
        if self.unbiased:
            spread *= self.correction(t, drawn)
        slot = self.gram.add(cross, own + extra)
        self.gram.move_origin(slot)
        self.models.add(slot, 1, 0.0)
        self.models.keep(self.window)
        self.spreads.append(spread)
        self.spread_sum += spread
        if len(self.spreads) > self.window:
            self.spreads.popleft()
        return spread

    def correction(self, t: int, drawn: float) -> float:
        real, synthetic = self.streams.row_weights[t] ** 2
        sum_of_squares = real * self.real.rows + synthetic * self.synthetic.rows
        size = drawn if self.streams.drawn is not None else 1 / sum_of_squares
        if size < 1 + 1e-12:
            raise ValueError(f"a fit of generation {t + 1} must have two rows or more if unbiased")
        return size / (size - 1)

    def generate(self, n: int, temperature: float, truth_share: float) -> None:
        """Adds the batch that is sampled after a fit."""
        k, s = self.gram.values, self.streams
        available = min(self.window, self.models.born + 1)
        from_truth = available > self.models.born
        shares = np.zeros(len(k))
        if s.equally:
            rows = np.full(available, n // available)
            rows[available - n % available :] += 1
            parts = rows / n
            for (slot, *_), share in zip(self.models.batches, parts[from_truth:], strict=True):
                shares[slot] = share
            spreads = float(parts[from_truth:] @ np.array(self.spreads))
            truth = float(parts[0]) if from_truth else 0.0
        else:
            for slot, count, _ in self.models.batches:
                shares[slot] = (1 - truth_share) * count / available
            total = self.spread_sum if len(self.spreads) == self.models.born else sum(self.spreads)
            spreads = (1 - truth_share) * total / available
            truth = truth_share + (1 - truth_share) * from_truth / available
        shares[self.truth] = truth
        within = temperature * spreads + truth
        cross = shares @ k
        own = float(shares @ cross)
        between = 0.0
        if self.exact:
            between = max(float(shares @ k.diagonal()) - own, 0.0)
            between += (1 - truth_share) * self.models.scatter / available
        noise = within if s.equally else within + between
        slot = self.gram.add(cross, own + noise / n)
        self.synthetic.add(slot, n, n * (within + between) - (noise if self.exact else 0.0))
