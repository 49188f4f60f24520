"""Draws from one of many laws each: of the next token, in the context of the one before."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, Num, UInt32

from collapse_jax.numerics.draws import to_integers, to_uniform


class Conditional(NamedTuple):
    """Laws by weights, of which some may be zero, made ready to draw from.

    Example:
        >>> import jax
        >>> from collapse_jax.numerics.draws import words
        >>> laws = Conditional.of(jnp.array([[0, 3, 0], [0, 0, 2]]))
        >>> laws.draw(jnp.array([0, 1]), words(jax.random.key(0), (2, 2))).tolist()
        [1, 2]
    """

    cumulative: Num[Array, "rows k"]
    last: Int[Array, "rows k"] | None
    """The last outcome up to each that has any weight; None where sums are exact."""

    @classmethod
    def of(cls, weights: Num[Array, "rows k"]) -> "Conditional":
        """The laws with these weights, counts or real numbers."""
        cumulative = jnp.cumsum(weights, axis=1)
        if jnp.issubdtype(weights.dtype, jnp.integer):
            return cls(cumulative, None)
        place = jnp.broadcast_to(jnp.arange(weights.shape[1], dtype=jnp.int32), weights.shape)
        last = lax.cummax(jnp.where(weights > 0.0, place, 0), axis=1)
        return cls(lax.cummax(cumulative, axis=1), last)

    @property
    def total(self) -> Num[Array, " rows"]:
        """Sum of the weights."""
        return self.cumulative[:, -1]

    def draw(self, row: Int[Array, " n"], drawn: UInt32[Array, "2 n"]) -> Int[Array, " n"]:
        """An outcome by each of some laws, never one of weight 0. O(n log k).

        In whole numbers where the weights are, so exact however many there are.

        Args:
            row: which laws; their weights must not all be zero.
            drawn: random words, two for each.
        """
        total = self.total[row]
        exact = self.last is None
        target = to_integers(drawn, total) if exact else to_uniform(drawn[0]) * total
        size = self.cumulative.shape[1]

        def halve(_: Any, between: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = between
            middle = (low + high) // 2
            above = self.cumulative[row, middle] > target
            return jnp.where(above, low, middle + 1), jnp.where(above, middle, high)

        ends = jnp.zeros_like(row), jnp.full_like(row, size - 1)
        found = lax.fori_loop(0, (size - 1).bit_length(), halve, ends)[1]
        return found if self.last is None else self.last[row, found]
