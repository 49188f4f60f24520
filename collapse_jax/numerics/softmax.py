"""Weights of linear classifiers with the greatest likelihood, by Newton's method."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from collapse_jax.numerics.linalg import solve_positive

FAR = 20.0
"""Log-odds of the least certain label where classes are apart: a chance of 2e-9 to be another."""
_APART = 2.0  # log-odds at which the direction of such weights is settled
_STEPS = 40
_SURE = 1.5  # steps that move log-odds by less than this lower the loss, whatever the data are
_SETTLED = 2e-3  # of the last step; what is left is about half its square
_TOUCHING = 1e-3  # log-odds that rounding may have made
_FLAT = 1e-9  # curvature below which a direction has no best fit


class Best(NamedTuple):
    """The best fit."""

    weights: Float[Array, "c d"]
    """Log-odds against the first class are these times rows."""
    endless: Bool[Array, ""]
    """Whether the likelihood grows without end along some direction."""


class _State(NamedTuple):
    step: Array
    weights: Array
    odds: Array
    settled: Array
    flat: Array


def best_weights(
    x: Float[Array, "n d"],
    counts: Float[Array, "k n"],
    ridge: Float[Array, " d"],
    start: Float[Array, "c d"],
) -> Best:
    """Weights of greatest likelihood, or of least penalised loss.

    Full steps, and damped ones where these overshoot: with `r` the greatest change of log-odds,
    `log(1 + r)/r` of a step lowers the loss for certain. Where classes are apart, so that weights
    would grow for ever, those are returned that have log-odds of 20 at the row that is nearest to
    the others. What has no best fit otherwise stays finite too.

    Args:
        x: the rows.
        counts: how often, or with what weight, each row has each label.
        ridge: what half the square of a weight costs, of each column of `x`. With more than two
            classes all classes have weights, which sum to zero and are penalised alike.
        start: where to start from. Decides nothing but the time that it takes.

    Source:
        Bach, Electron. J. Stat. 4:384, 2010 (the step); Albert & Anderson, Biometrika 71:1, 1984
        (when there is no best fit).

    Example:
        >>> x, counts = jnp.ones((1, 1)), jnp.array([[1.0], [3.0]])
        >>> found = best_weights(x, counts, jnp.zeros(1), jnp.zeros((1, 1)))
        >>> print(f"{jnp.exp(found.weights).item():.3f}", found.endless)
        3.000 False
    """
    total, k = jnp.sum(counts), len(counts)
    rows, wanted, ridge = jnp.sum(counts, axis=0) / total, counts[1:] / total, ridge / total
    alike = jnp.eye(k - 1) - (1.0 / k if k > 2 else 0.0)
    penalty = jnp.kron(alike, jnp.diag(ridge))
    free = ~jnp.any(ridge > 0.0)

    def margin(odds: Float[Array, "c n"]) -> Float[Array, ""]:
        return jnp.where(free, least_lead(odds, counts), -jnp.inf)

    def newton(state: _State) -> _State:
        weights, odds = state.weights, state.odds
        p = _probabilities(odds)
        slope = (wanted - rows * p) @ x - (alike @ weights) * ridge
        curvature = _curvature(x, rows, p) + penalty
        move, flat = solve_positive(curvature, slope.reshape(-1), _FLAT)
        move = move.reshape(weights.shape)
        changes = jnp.where(rows > 0.0, move @ x.T, 0.0)
        reach = _reach(changes)
        ahead = jnp.sum(changes * (wanted - rows * _probabilities(odds + changes)))
        ahead = ahead - jnp.sum(ridge * move * (alike @ (weights + move)))
        full = (reach < _SURE) | (ahead >= 0.0)  # the loss still falls at the end of the step
        part = jnp.where(full, 1.0, jnp.log1p(reach) / jnp.maximum(reach, _SURE))
        weights = weights + part * move
        return _State(state.step + 1, weights, odds + part * changes, reach < _SETTLED, flat)

    def unfinished(state: _State) -> Bool[Array, ""]:
        return (state.step < _STEPS) & ~state.settled & (margin(state.odds) < _APART)

    no = jnp.zeros((), bool)
    begin = _State(jnp.zeros((), jnp.int32), start, start @ x.T, no, no)
    found = lax.while_loop(unfinished, newton, begin)
    least = margin(found.odds)
    apart = least > _TOUCHING
    scale = jnp.where(apart, jnp.maximum(FAR / jnp.where(apart, least, FAR), 1.0), 1.0)
    return Best(scale * found.weights, apart | ~found.settled | found.flat)


def least_lead(odds: Float[Array, "c n"], counts: Float[Array, "k n"]) -> Float[Array, ""]:
    """Log-odds of a label against all others, least over rows; -inf if a row has two labels."""
    used = counts > 0.0
    if len(odds) == 1:
        lead = jnp.where(used[1], odds[0], -odds[0])
    else:
        odds = _with_first(odds)
        other = jnp.max(jnp.where(used, -jnp.inf, odds), axis=0)
        lead = jnp.max(jnp.where(used, odds, -jnp.inf), axis=0) - other
    labels = jnp.sum(used, axis=0)
    return jnp.min(jnp.where(labels == 1, lead, jnp.where(labels == 0, jnp.inf, -jnp.inf)))


def _probabilities(odds: Float[Array, "c n"]) -> Float[Array, "c n"]:
    """Of all classes but the first."""
    if len(odds) == 1:
        return jax.nn.sigmoid(odds)
    return jax.nn.softmax(_with_first(odds), axis=0)[1:]


def _reach(changes: Float[Array, "c n"]) -> Float[Array, ""]:
    """The greatest change of log-odds of any class against any other."""
    if len(changes) == 1:
        return jnp.max(jnp.abs(changes))
    highest = jnp.max(jnp.maximum(changes, 0.0), axis=0)
    return jnp.max(highest - jnp.min(jnp.minimum(changes, 0.0), axis=0))


def _with_first(odds: Float[Array, "c n"]) -> Float[Array, "k n"]:
    return jnp.pad(odds, ((1, 0), (0, 0)))


def _curvature(
    x: Float[Array, "n d"], rows: Float[Array, " n"], p: Float[Array, "c n"]
) -> Float[Array, "m m"]:
    """Second derivative of the loss."""
    if len(p) == 1:
        return x.T @ (x * (rows * p[0] * (1.0 - p[0]))[:, None])
    spread = rows * p[:, None] * (jnp.eye(len(p))[:, :, None] - p)
    size = x.shape[1] * len(p)
    return jnp.einsum("nd,cen,nf->cdef", x, spread, x).reshape(size, size)
