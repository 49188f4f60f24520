"""The two streams of a loop as pictures show them: batches, their generations and their sources."""

from typing import Any, NamedTuple

import numpy as np

from collapse_jax.loop.plan import Plan
from collapse_jax.loop.workflow import Mixed, Past


class Batch(NamedTuple):
    """Rows that came at the same time."""

    rows: int
    first: int
    """The first generation that is fitted to them."""
    last: int
    """The last one."""
    sources: dict[int, float]
    """Shares of the models that they come from; 0 is the truth."""


def batches_of(plan: Plan) -> tuple[list[Batch], list[Batch]]:
    """The real and the generated batches of a plan that a generation is fitted to, in order."""
    t = np.arange(1, plan.n_generations + 1)
    births = t[plan.real_rows > 0]
    real = [
        Batch(int(plan.real_rows[first - 1]), int(first), last, {0: 1.0})
        for first, last in _spans(births, np.cumsum(plan.real_rows > 0), plan.real_batches)
    ]
    synthetic = [
        Batch(int(plan.synthetic_rows[first - 2]), int(first), last, _sources(plan, int(first) - 1))
        for first, last in _spans(t[1:], t - 1, plan.synthetic_batches)
    ]
    return real, synthetic


def _spans(births: Any, born: Any, kept: Any) -> list[tuple[int, int]]:
    """First and last generation of each batch, from how many there were and how many are left."""
    spans = []
    for number, first in enumerate(births.tolist()):
        there = np.flatnonzero((born > number) & (born - kept <= number))
        spans.append((first, int(there[-1]) + 1))
    return spans


def _sources(plan: Plan, model: int) -> dict[int, float]:
    """Shares of the rows that are generated after fit `model`, by the model that makes them."""
    if isinstance(plan.source, Mixed):
        share = float(plan.truth_share[model - 1])
        return {0: share, model: 1.0 - share}
    if not isinstance(plan.source, Past):
        return {model: 1.0}
    count = min(model + 1, plan.source.last or model + 1)
    shares = np.full(count, 1.0 / count)
    if plan.source.equally:
        n = int(plan.synthetic_rows[model - 1])
        shares = (n // count + (np.arange(count) < n % count)) / n
    return {model - i: float(share) for i, share in reversed(list(enumerate(shares)))}
