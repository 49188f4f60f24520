"""Weights of linear classifiers with the greatest likelihood, by Newton's method."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from collapse_jax.numerics.linalg import solve_positive

FAR = 20.0
"""Log-odds of the least certain label where classes are apart: a chance of 2e-9 to be another."""
_APART = 5.0  # log-odds at which the direction of such weights is settled
_STEPS = 60
_SURE = 1.5  # steps that move log-odds by less than this lower the loss, whatever the data are
_SETTLED = 1e-3  # of the last step; the error that is left is about its square
_FLAT = 1e-9  # curvature below which a direction has no best fit


class Best(NamedTuple):
    """The best fit."""

    weights: Float[Array, "d k-1"]
    """Log-odds against the first class are rows times these."""
    endless: Bool[Array, ""]
    """Whether the likelihood grows without end along some direction."""


class _State(NamedTuple):
    step: Array
    weights: Array
    settled: Array
    flat: Array


def best_weights(
    x: Float[Array, "n d"],
    counts: Float[Array, "n k"],
    ridge: Float[Array, " d"],
    start: Float[Array, "d k-1"],
) -> Best:
    """Weights of greatest likelihood, or of least penalised loss.

    Full steps, and damped ones where these could overshoot: with `r` the greatest change of
    log-odds, `log(1 + r)/r` of a step lowers the loss for certain. Where classes are apart, so that
    weights would grow for ever, those are returned that have log-odds of 20 at the row that is
    nearest to the others. What has no best fit otherwise stays finite too.

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
        >>> x, counts = jnp.ones((1, 1)), jnp.array([[1.0, 3.0]])
        >>> found = best_weights(x, counts, jnp.zeros(1), jnp.zeros((1, 1)))
        >>> print(jnp.exp(found.weights), found.endless)
        [[3.]] False
    """
    total = jnp.sum(counts)
    share, ridge = counts / total, ridge / total
    rows = jnp.sum(share, axis=1)
    k = counts.shape[1]
    alike = jnp.eye(k - 1) - (1.0 / k if k > 2 else 0.0)
    used = counts > 0.0
    free = ~jnp.any(ridge > 0.0) & jnp.all(jnp.sum(used, axis=1) <= 1)  # no row with two labels

    def margin(weights: Float[Array, "d k-1"]) -> Float[Array, ""]:
        """Log-odds of a label against all others, least over rows; -inf if weights have an end."""
        odds = _with_first(x @ weights)
        other = jnp.max(jnp.where(used, -jnp.inf, odds), axis=1)
        own = jnp.max(jnp.where(used, odds, -jnp.inf), axis=1)
        least = jnp.min(jnp.where(rows > 0.0, own - other, jnp.inf))
        return jnp.where(free, least, -jnp.inf)

    def newton(state: _State) -> _State:
        weights = state.weights
        odds = x @ weights
        p = jax.nn.softmax(_with_first(odds), axis=1)[:, 1:]
        slope = x.T @ (share[:, 1:] - rows[:, None] * p) - ridge[:, None] * (weights @ alike)
        curvature = _curvature(x, rows, p) + _penalty(ridge, alike)
        move, flat = solve_positive(curvature, slope.reshape(-1), _FLAT)
        move = move.reshape(weights.shape)
        changes = jnp.where(rows[:, None] > 0.0, _with_first(x @ move), 0.0)
        reach = jnp.max(jnp.max(changes, axis=1) - jnp.min(changes, axis=1))
        damped = jnp.log1p(reach) / jnp.maximum(reach, _SURE)
        weights = weights + jnp.where(reach < _SURE, 1.0, damped) * move
        return _State(state.step + 1, weights, reach < _SETTLED, flat)

    def unfinished(state: _State) -> Bool[Array, ""]:
        return (state.step < _STEPS) & ~state.settled & (margin(state.weights) < _APART)

    false = jnp.zeros((), bool)
    found = lax.while_loop(unfinished, newton, _State(jnp.zeros((), jnp.int32), start, false, false))
    least = margin(found.weights)
    apart = least > 1e-3
    scale = jnp.where(apart, jnp.maximum(FAR / jnp.where(apart, least, FAR), 1.0), 1.0)
    return Best(scale * found.weights, apart | ~found.settled | found.flat)


def _with_first(odds: Float[Array, "n k-1"]) -> Float[Array, "n k"]:
    return jnp.pad(odds, ((0, 0), (1, 0)))


def _curvature(
    x: Float[Array, "n d"], rows: Float[Array, " n"], p: Float[Array, "n k-1"]
) -> Float[Array, "m m"]:
    """Second derivative of the loss."""
    classes = p.shape[1]
    if classes == 1:
        return x.T @ (x * (rows[:, None] * p * (1.0 - p)))
    spread = rows[:, None, None] * p[:, :, None] * (jnp.eye(classes) - p[:, None, :])
    size = x.shape[1] * classes
    return jnp.einsum("nd,nce,nf->dcfe", x, spread, x).reshape(size, size)


def _penalty(ridge: Float[Array, " d"], alike: Float[Array, "c c"]) -> Float[Array, "m m"]:
    if len(alike) == 1:
        return jnp.diag(ridge)
    return jnp.kron(jnp.diag(ridge), alike)
