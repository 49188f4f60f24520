"""How far generated rows of a table are from real ones: by columns, pairs, and rows before."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from collapse_jax.trained.columns import Columns


def marginal_error(
    columns: Columns,
    rows: Float[Array, "n c"],
    real: Float[Array, "m c"],
    valid: Bool[Array, " n"] | None,
) -> Float[Array, ""]:
    """Mean over columns: Kolmogorov's distance of numbers, total variation of categories."""
    weight = _shares(rows, valid)
    found = []
    for i, column in enumerate(columns.each):
        ours, theirs = rows[:, i], real[:, i]
        if column.categories:
            each = jnp.arange(len(column.categories), dtype=jnp.float32)[:, None]
            share = (ours[None] == each).astype(jnp.float32) @ weight
            known = jnp.mean((theirs[None] == each).astype(jnp.float32), axis=1)
            found.append(0.5 * jnp.sum(jnp.abs(share - known)))
        else:
            found.append(_kolmogorov(ours, weight, theirs))
    return jnp.mean(jnp.stack(found))


def _kolmogorov(
    ours: Float[Array, " n"], weight: Float[Array, " n"], theirs: Float[Array, " m"]
) -> Float[Array, ""]:
    both = jnp.concatenate([ours, theirs])
    mass = jnp.concatenate([weight, jnp.full(len(theirs), -1.0 / len(theirs))])
    order = jnp.argsort(both)
    both, above = both[order], jnp.cumsum(mass[order])
    last = jnp.concatenate([both[1:] != both[:-1], jnp.ones(1, bool)])  # of equal numbers
    return jnp.max(jnp.where(last, jnp.abs(above), 0.0))


def correlation_error(
    columns: Columns,
    rows: Float[Array, "n c"],
    real: Float[Array, "m c"],
    valid: Bool[Array, " n"] | None,
) -> Float[Array, ""]:
    """Frobenius norm of the difference of the correlations of rows in code, 0 with constants."""
    code = jax.vmap(columns.in_code)
    ours = _correlations(code(rows), _shares(rows, valid))
    return jnp.sqrt(jnp.sum((ours - _correlations(code(real), _shares(real, None))) ** 2))


def autocorrelation(
    columns: Columns,
    rows: Float[Array, "n c"],
    before: Float[Array, "n c"],
    valid: Bool[Array, " n"] | None,
) -> Float[Array, ""]:
    """Correlation of each column with the row before, mean over columns, 0 with constants.

    That of categories is the sum of the covariances of their codes over that of their variances.
    """
    weight, owners = _shares(rows, valid), columns.owners
    own = jnp.asarray(owners[:, None] == np.arange(len(columns.each)), jnp.float32)
    now, then = (jax.vmap(columns.in_code)(x) for x in (rows, before))
    now, then = (x - (weight @ x)[None] for x in (now, then))
    together, first, second = ((weight @ (a * b)) @ own for a, b in _pairs(now, then))
    alive = (first > 0.0) & (second > 0.0)
    scale = jnp.sqrt(jnp.where(alive, first * second, 1.0))
    return jnp.mean(jnp.where(alive, together / scale, 0.0))


def _pairs(a: Array, b: Array) -> tuple[tuple[Array, Array], ...]:
    return (a, b), (a, a), (b, b)


def variance_ratio(
    columns: Columns,
    rows: Float[Array, "n c"],
    real: Float[Array, "m c"],
    valid: Bool[Array, " n"] | None,
) -> Float[Array, ""]:
    """Variance of rows in code, over all columns, relative to that of real ones."""
    code = jax.vmap(columns.in_code)
    return _variance(code(rows), _shares(rows, valid)) / _variance(code(real), _shares(real, None))


def _variance(x: Float[Array, "n e"], weight: Float[Array, " n"]) -> Float[Array, ""]:
    return weight @ jnp.sum((x - (weight @ x)[None]) ** 2, axis=1)


def _correlations(x: Float[Array, "n e"], weight: Float[Array, " n"]) -> Float[Array, "e e"]:
    apart = x - (weight @ x)[None]
    covariance = (apart * weight[:, None]).T @ apart
    variance = jnp.diagonal(covariance)
    scale = jnp.where(variance > 0.0, 1.0 / jnp.sqrt(jnp.where(variance > 0.0, variance, 1.0)), 0.0)
    return covariance * jnp.outer(scale, scale)


def _shares(rows: Float[Array, "n c"], valid: Bool[Array, " n"] | None) -> Float[Array, " n"]:
    """Weights of the rows that count, which sum to 1."""
    weight = jnp.ones(len(rows)) if valid is None else valid.astype(jnp.float32)
    return weight / jnp.maximum(jnp.sum(weight), 1.0)
