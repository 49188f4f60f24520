"""Where real data are: nearest neighbours among them, for tails, modes and hallucinations."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from collapse_jax.numerics.kernels import squared_distances
from collapse_jax.tasks.parts.tables import Split

PROBES = 64
"""Rows that a model generates to be compared with real ones."""
_BLOCK = 16  # rows at a time, so that the distances of many chains stay in the cache


class Centred(NamedTuple):
    """Rows of the user's in units of the device, for float32 holds 7 digits."""

    train: np.ndarray
    test: np.ndarray
    exponent: int
    """Of the power of two that is the unit, so that scaling rounds nothing."""
    origin: np.ndarray
    """In the user's units. `[d]`"""


def centred(rows: np.ndarray, parts: Split) -> Centred:
    """Both parts of a table, less its mean, and scaled to a spread of about 1.

    Raises:
        ValueError: if all rows are the same.
    """
    largest = int(np.frexp(np.max(np.abs(rows)))[1])  # squares of large numbers are no numbers
    mean = np.ldexp(rows, -largest).mean(axis=0)
    train, test = (np.ldexp(part, -largest) - mean for part in parts)
    spread = float(np.max(np.std(train, axis=0))) or float(np.max(np.std(test, axis=0)))
    if spread == 0.0:
        raise ValueError(f"data must have rows that differ, got {len(rows)} times {rows[0]}")
    exponent = int(np.frexp(spread)[1])
    train, test = np.ldexp(train, -exponent), np.ldexp(test, -exponent)
    return Centred(train, test, largest + exponent, np.ldexp(mean, largest))


def spacing(rows: Float[Array, "m d"]) -> Float[Array, " m"]:
    """Distance of each row to the nearest different one; 0 where all are the same."""

    def of_row(row):
        squared = squared_distances(row[None], rows)[0]
        return jnp.min(jnp.where(squared > 0.0, squared, jnp.inf))

    nearest = lax.map(of_row, rows)
    return jnp.sqrt(jnp.where(jnp.isfinite(nearest), nearest, 0.0))


def distances(
    probes: Float[Array, "p d"], rows: Float[Array, "m d"], mode: Int[Array, " m"]
) -> Float[Array, "p 2"]:
    """Distance of each probe to the nearest row, and to the nearest one of another mode.

    Args:
        probes: where to measure from.
        rows: real rows.
        mode: that of each row; where it is the same for all, the second distance is infinite.
    """

    def of_probe(probe):
        squared = squared_distances(probe[None], rows)[0]
        nearest = jnp.min(squared)
        own = jnp.max(jnp.where(squared == nearest, mode, -1))
        return jnp.stack([nearest, jnp.min(jnp.where(mode == own, jnp.inf, squared))])

    return jnp.sqrt(lax.map(of_probe, probes, batch_size=_BLOCK))


def variance(rows: Float[Array, "n d"]) -> Float[Array, ""]:
    """The sum of the columns' variances."""
    return jnp.sum(jnp.var(rows, axis=0, ddof=1))
