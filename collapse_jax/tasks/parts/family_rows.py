"""Rows of exponential families: which of the user's they can be, and how probable they are."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Array, Float

from collapse_jax.basics import checks
from collapse_jax.numerics.families import Kind
from collapse_jax.views import Curve

_SHOWN = 40  # values at which a law is drawn
LARGEST_COUNT = 2**24  # of a row; larger ones are not exact in single precision


def checked_rows(data: Any, family: str, kind: Kind, copies: Any) -> np.ndarray:
    """Rows of data that the family can have, as a vector.

    Args:
        data: `[rows]` or `[rows, 1]`.
        family: its name, for messages.
        kind: its kind.
        copies: of a binomial law, the largest row.

    Raises:
        ValueError: for other rows.
    """
    rows = checks.finite_array("data", data, ndim=(1, 2))
    if rows.ndim == 2:
        if rows.shape[1] != 1:
            raise ValueError(f"data must have one column, got {rows.shape[1]}")
        rows = rows[:, 0]
    if kind == "gamma":
        allowed, wrong = "positive numbers", rows <= 0.0
    else:
        largest = copies if kind == "binomial" else LARGEST_COUNT
        allowed = f"whole numbers between 0 and {largest}"
        wrong = (rows < 0.0) | (rows > largest) | (rows != np.round(rows))
    if np.any(wrong):
        first = int(np.argmax(wrong))
        raise ValueError(f"data must be {allowed} for {family}, got {rows[first]:g} at row {first}")
    return rows


def mean_loss(rows: np.ndarray, kind: Kind, mean: float, copies: Any) -> float:
    """Mean negative log-likelihood of rows under the law with a mean."""
    from scipy import stats  # slow to import

    m, k = mean, copies
    if kind == "gamma":
        return -float(np.mean(stats.gamma.logpdf(rows, k, scale=m / k)))
    if kind == "poisson":
        return -float(np.mean(stats.poisson.logpmf(rows, m)))
    if kind == "binomial":
        return -float(np.mean(stats.binom.logpmf(rows, k, m / k)))
    return -float(np.mean(stats.nbinom.logpmf(rows, k, k / (k + m))))


def log_law(kind: Kind, x: Float[Array, " n"], mean: Any, copies: Any) -> Float[Array, " n"]:
    """Logarithm of the density at numbers, or of the probability of counts, up to rounding.

    Example:
        >>> print(np.exp(log_law("poisson", jnp.arange(3.0), 1.0, 1)).round(3))
        [0.368 0.368 0.184]
    """
    m, k = (jnp.asarray(part, jnp.float32) for part in (mean, copies))
    log, factorial = special.xlogy, special.gammaln
    if kind == "gamma":
        return log(k, k / m) + log(k - 1.0, x) - k * x / m - factorial(k)
    if kind == "poisson":
        return log(x, m) - m - factorial(x + 1.0)
    if kind == "binomial":
        ways = factorial(k + 1.0) - factorial(x + 1.0) - factorial(k - x + 1.0)
        return jnp.where(x <= k, ways + log(x, m / k) + log(k - x, 1.0 - m / k), -jnp.inf)
    ways = factorial(x + k) - factorial(x + 1.0) - factorial(k)
    return ways + log(k, k / (k + m)) + log(x, m / (k + m))


def law_of(kind: Kind, mean: Any, copies: Any, ratio: Float[Array, ""]) -> Curve:
    """The law whose mean is so many times the true one, beside the true law."""
    m, k = (jnp.asarray(part, jnp.float32) for part in (mean, copies))
    excess = {"gamma": m * m / k, "poisson": m, "binomial": m - m * m / k}
    top = m + 4.0 * jnp.sqrt(excess.get(kind, m + m * m / k)) + 1.0
    if kind == "gamma":
        x, names = jnp.linspace(0.0, top, _SHOWN + 1)[1:], ("value", "density")
    else:
        top = jnp.minimum(top, k) if kind == "binomial" else top
        step = jnp.ceil((top + 1.0) / _SHOWN)
        x, names = jnp.arange(_SHOWN) * step, ("count", "probability")
    there = jnp.ones(x.shape, bool)
    if kind == "binomial":  # there are no counts beyond, and the largest is shown
        there, x = x < k + step, jnp.minimum(x, k)
    fitted, truth = (
        jnp.where(there, jnp.exp(log_law(kind, x, part, copies)), jnp.nan)
        for part in (ratio * m, m)
    )
    return Curve(x, fitted, truth, names, most=math.inf if kind == "gamma" else 1.0)
