"""Mixtures of normal distributions, and their fit by expectation and maximisation."""

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from collapse_jax.numerics import draws, linalg, threefry

Covariance: TypeAlias = Literal["full", "diag", "spherical"]
_NOTHING = 1e-6  # rows; a component of fewer has none


class Mixture(NamedTuple):
    """A mixture of k normal distributions."""

    weights: Float[Array, " k"]
    """Those of components without rows are 0."""
    means: Float[Array, "k d"]
    roots: Float[Array, "k d d"] | Float[Array, "k d"]
    """Lower factors of covariances; standard deviations where these are diagonal."""


def log_densities(model: Mixture, x: Float[Array, "n d"]) -> Float[Array, "k n"]:
    """Log-density of each component at each row, times its weight."""
    weights = jnp.where(model.weights > 0.0, model.weights, 1.0)
    logs = jnp.where(model.weights > 0.0, jnp.log(weights), -jnp.inf)
    gaps = x - model.means[:, None]
    if model.roots.ndim == 3:
        inverse = jax.vmap(linalg.triangular_inverse)(model.roots)
        scaled = jnp.einsum("knd,ked->ken", gaps, inverse)
        volume = jnp.sum(jnp.log(jnp.diagonal(model.roots, axis1=1, axis2=2)), axis=1)
    else:
        scaled = jnp.swapaxes(gaps / model.roots[:, None], 1, 2)
        volume = jnp.sum(jnp.log(model.roots), axis=1)
    norm = logs - volume - 0.5 * x.shape[1] * math.log(2.0 * math.pi)
    return norm[:, None] - 0.5 * jnp.sum(scaled**2, axis=1)


def log_density(model: Mixture, x: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Log-density of the mixture at each row."""
    return jax.nn.logsumexp(log_densities(model, x), axis=0)


def sample(model: Mixture, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
    """`n` independent rows."""
    label = draws.categorical_labels(threefry.fold_in(key, 1), n, model.weights)
    noise = draws.normal(key, (n, model.means.shape[1]))
    if model.roots.ndim == 3:
        return model.means[label] + jnp.einsum("nde,ne->nd", model.roots[label], noise)
    return model.means[label] + model.roots[label] * noise


def variance(model: Mixture) -> Float[Array, ""]:
    """Trace of the covariance of the whole mixture."""
    gaps = model.means - model.weights @ model.means
    inner = jnp.sum(model.roots.reshape(len(model.means), -1) ** 2, axis=1)
    return jnp.sum(model.weights * (inner + jnp.sum(gaps**2, axis=1)))


def maximised(
    x: Float[Array, "n d"],
    shares: Float[Array, "k n"],
    before: Mixture,
    covariance: Covariance,
    floor: Any,
) -> Mixture:
    """The mixture of greatest likelihood, given how much of each row belongs to each component.

    Args:
        x: the rows.
        shares: of each component in each row, times the row's weight.
        before: where components are that have no rows.
        covariance: its form.
        floor: added to all variances.
    """
    rows = jnp.sum(shares, axis=1)
    alive = rows > _NOTHING
    shares = shares / jnp.where(alive, rows, 1.0)[:, None]
    means = jnp.where(alive[:, None], shares @ x, before.means)
    gaps = x - means[:, None]
    if covariance == "full":
        squares = jnp.einsum("kn,knd,kne->kde", shares, gaps, gaps)
        roots = jax.vmap(linalg.cholesky)(squares + floor * jnp.eye(x.shape[1]))
        diagonal = jnp.diagonal(roots, axis1=1, axis2=2)  # 0 where rounding hides the floor
        missing = jnp.where(diagonal > 0.0, 0.0, jnp.sqrt(floor))
        roots = roots + missing[:, None] * jnp.eye(x.shape[1])
    else:
        variances = jnp.einsum("kn,knd->kd", shares, gaps**2)
        if covariance == "spherical":
            variances = jnp.broadcast_to(
                jnp.mean(variances, axis=1, keepdims=True), variances.shape
            )
        roots = jnp.sqrt(variances + floor)
    roots = jnp.where(alive.reshape(-1, *[1] * (roots.ndim - 1)), roots, before.roots)
    rows = jnp.where(alive, rows, 0.0)
    return Mixture(rows / jnp.sum(rows), means, roots)


class _State(NamedTuple):
    step: Array
    model: Mixture
    level: Array
    gain: Array


def improved(
    x: Float[Array, "n d"],
    weight: Float[Array, " n"],
    start: Mixture,
    covariance: Covariance,
    floor: Any,
    steps: int,
    tolerance: Any,
) -> Mixture:
    """The mixture after steps of expectation and maximisation.

    Args:
        x: the rows.
        weight: of each row, 0 for those that do not count.
        start: the mixture before the first step.
        covariance: the form of covariances.
        floor: added to all variances in each step.
        steps: how many there are at most.
        tolerance: they end when the mean log-density of a row gains less than this.

    Source:
        Dempster, Laird & Rubin, J. R. Stat. Soc. B 39:1, 1977.
    """
    total = jnp.sum(weight)

    def step(state: _State) -> _State:
        logs = log_densities(state.model, x)
        level = jax.nn.logsumexp(logs, axis=0)
        shares = jnp.where(weight > 0.0, weight * jnp.exp(logs - level), 0.0)
        model = maximised(x, shares, state.model, covariance, floor)
        mean = jnp.sum(jnp.where(weight > 0.0, weight * level, 0.0)) / total
        return _State(state.step + 1, model, mean, jnp.abs(mean - state.level))

    def unfinished(state: _State) -> Array:
        return (state.step < steps) & ~(state.gain < tolerance)

    begin = _State(jnp.zeros((), jnp.int32), start, jnp.array(-jnp.inf), jnp.array(jnp.inf))
    return lax.while_loop(unfinished, step, begin).model


def seeded(
    key: Key[Array, ""],
    x: Float[Array, "n d"],
    weight: Float[Array, " n"],
    k: int,
    covariance: Covariance,
    floor: Any,
) -> Mixture:
    """A mixture to start from: rows far apart, and of all rows those that are nearest to each.

    The rows are drawn by greedy k-means++: each is the best of a few, drawn with a probability like
    the squared distance to those that there are.

    Args:
        key: the key of the draws.
        x: the rows.
        weight: of each row.
        k: how many components to make.
        covariance: the form of covariances.
        floor: added to all variances.

    Source:
        Arthur & Vassilvitskii, SODA 2007.
    """
    trials = 2 + int(math.log(k))
    uniform = draws.to_uniform(threefry.words(key, (k, trials)))

    def draw(weights: Float[Array, " n"], uniform: Float[Array, " m"]) -> Int[Array, " m"]:
        weights = jnp.where(jnp.any(weights > 0.0), weights, weight)
        sums = jnp.cumsum(weights)
        found = jnp.searchsorted(sums, uniform * sums[-1], side="right")
        last = jnp.max(jnp.where(weights > 0.0, jnp.arange(len(weights)), 0))
        return jnp.minimum(found, last)

    def nearer(distance: Float[Array, " n"], row: Int[Array, ""]) -> Float[Array, " n"]:
        return jnp.minimum(distance, jnp.sum((x - x[row]) ** 2, axis=1))

    def add(i, state):
        centers, distance = state
        rows = draw(weight * distance, uniform[i])
        distances = jax.vmap(nearer, (None, 0))(distance, rows)
        best = jnp.argmin(distances @ weight)
        return centers.at[i].set(x[rows[best]]), distances[best]

    first = draw(weight, uniform[0, :1])[0]
    distance = jnp.sum((x - x[first]) ** 2, axis=1)
    centers = jnp.zeros((k, x.shape[1])).at[0].set(x[first])
    centers, _ = lax.fori_loop(1, k, add, (centers, distance))
    nearest = jnp.argmin(jnp.sum((x - centers[:, None]) ** 2, axis=2), axis=0)
    shares = weight * (nearest == jnp.arange(k)[:, None])
    roots = jnp.ones((k, x.shape[1]))
    roots = jax.vmap(jnp.diag)(roots) if covariance == "full" else roots
    nothing = Mixture(jnp.full(k, 1.0 / k), centers, roots)
    return maximised(x, shares, nothing, covariance, floor)
