"""Bandwidths of kernel densities: numbers, rules of the sample's size, multiples of its spread."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from collapse_jax.basics import checks
from collapse_jax.tasks.base import Size

RULES = ("scott", "silverman")
OF_SPREAD = "*spread"
_NAMES = (*RULES, *(rule + OF_SPREAD for rule in RULES), "0.5" + OF_SPREAD)
_LEAST, _MOST = 1e-15, 1e15
"""Bandwidths over the data's spread whose squares, and those of distances, float32 can hold."""
_GRID = 1e-6
"""Spread over the distance from the origin, below which float32 tells no rows apart."""
_POINT, _PLANE = 1e-18, 1e18
"""Bandwidths beyond which a chain, whose spread has vanished or exploded, is not followed."""


class Spread(NamedTuple):
    """Moments of a training set, by which its bandwidth is scaled; they can be merged."""

    weight: Float[Array, ""]
    mean: Float[Array, " d"]
    variance: Float[Array, ""]
    """Mean of the columns' variances, of divisor n."""

    @classmethod
    def of_rows(cls, rows: Float[Array, "n d"], valid: Bool[Array, " n"] | None) -> "Spread":
        """That of some of the rows. There may be none."""
        valid = jnp.ones(len(rows), bool) if valid is None else valid
        n = jnp.sum(valid, dtype=jnp.float32)
        share = jnp.where(valid, 1.0 / jnp.maximum(n, 1.0), 0.0)[:, None]
        mean = jnp.sum(share * rows, axis=0)
        variance = jnp.mean(jnp.sum(share * (rows - mean) ** 2, axis=0))
        return cls(n, mean, jnp.minimum(variance, _PLANE**2))

    def merge(self, other: "Spread", scales: Float[Array, "2"] | None) -> "Spread":
        """That of both sets, whose rows' weights are multiplied by `scales`."""
        sizes = self.weight, other.weight
        if scales is not None:
            sizes = self.weight * scales[0], other.weight * scales[1]
        total = sizes[0] + sizes[1]
        share = sizes[1] / jnp.where(total > 0.0, total, 1.0)
        gap = other.mean - self.mean
        between = share * (1.0 - share) * jnp.minimum(jnp.mean(gap**2), _PLANE**2)
        variance = (1.0 - share) * self.variance + share * other.variance + between
        return Spread(total, self.mean + share * gap, jnp.minimum(variance, _PLANE**2))

    def deviation(self, size: Size) -> Float[Array, ""]:
        """Root of the mean of the columns' unbiased variances.

        Args:
            size: how many rows there are; where they do not all weigh the same, as many as would do
                as well.
        """
        freedom = jnp.maximum(jnp.asarray(size, jnp.float32) - 1.0, 1e-6)  # one row has no spread
        return jnp.sqrt(self.variance * size / freedom)


class Bandwidth(eqx.Module):
    """How the bandwidth of a fit follows from its training set."""

    factor: Any
    """The bandwidth, or what the rule and the spread are multiplied by, in units of the device."""
    rule: str | None = eqx.field(static=True)
    of_spread: bool = eqx.field(static=True)
    """Whether it is scaled by the spread of each training set."""

    @classmethod
    def read(cls, given: Any) -> "Bandwidth":
        """The bandwidth that is written so: a number, perhaps a traced one, or a name."""
        if not isinstance(given, str):
            return cls(checks.positive_number("bandwidth", given), None, of_spread=False)
        first, star, rest = given.replace(" ", "").partition("*")
        of_spread = star + rest == OF_SPREAD
        if first in RULES and (of_spread or not star):
            return cls(1.0, first, of_spread)
        try:
            if not of_spread:
                raise ValueError
            factor = float(first)
        except ValueError:
            checks.one_of("bandwidth", given, _NAMES)  # which it is not
            raise
        return cls(checks.positive_number("bandwidth over the spread", factor), None, of_spread)

    def scaled(self, exponent: int, spread: float) -> "Bandwidth":
        """The same in units of the device.

        Args:
            exponent: of the power of two that is the device's unit.
            spread: that of the data, in these units.

        Raises:
            ValueError: if float32 could not hold what the data's spread and this lead to.
        """
        if checks.is_traced(self.factor):
            return eqx.tree_at(lambda b: b.factor, self, self.factor * 2.0**-exponent)
        if self.of_spread:
            exponent, spread = 0, 1.0
        with np.errstate(over="ignore"):
            factor = float(np.ldexp(self.factor, -exponent))
        if not _LEAST <= factor / spread <= _MOST:
            hint = f"; '{self.rule}{OF_SPREAD}' follows the spread" if self.of_size else ""
            raise ValueError(
                f"bandwidth must be between {_LEAST:g} and {_MOST:g} times the spread of the data, "
                f"got {self.written(0)}, which is {factor / spread:.3g} times{hint}"
            )
        return eqx.tree_at(lambda b: b.factor, self, factor)

    def written(self, exponent: int) -> Any:
        """As the user would write it, in whose units the device's has this exponent."""
        name = OF_SPREAD if self.of_spread else ""
        if self.rule is not None:
            return self.rule + name
        if self.of_spread:
            return f"{self.factor!r}{name}"
        return math.ldexp(self.factor, exponent)

    @property
    def of_size(self) -> bool:
        """Whether it depends on the size of the training set, and on nothing else of it."""
        return self.rule is not None and not self.of_spread

    def of(self, size: Size, dim: int, spread: Spread | None = None) -> Float[Array, ""]:
        """Bandwidth for a training set of this size and spread, in units of the device."""
        bandwidth = jnp.asarray(self.factor, jnp.float32)
        if self.rule is not None:
            n = size if self.rule == "scott" else size * (dim + 2.0) / 4.0
            bandwidth = jnp.asarray(n, jnp.float32) ** (-1.0 / (dim + 4.0)) * bandwidth
        if spread is not None:
            deviation = spread.deviation(size)
            apart = deviation > _GRID * jnp.max(jnp.abs(spread.mean))
            bandwidth = jnp.clip(jnp.where(apart, bandwidth * deviation, 0.0), _POINT, _PLANE)
        return bandwidth


def lost(bandwidth: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether the spread has vanished or exploded, so that no density is left."""
    return (bandwidth <= _POINT) | (bandwidth >= _PLANE)
