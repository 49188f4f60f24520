"""Laws of the next token, draws from many of them at once, and tokens that are drawn anew."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num, UInt32

from collapse_jax.numerics.draws import to_integers, to_uniform


class Conditional(NamedTuple):
    """Laws by weights, of which some may be zero, made ready to draw from.

    Example:
        >>> import jax
        >>> from collapse_jax.numerics.threefry import words
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


class TokenEdit(NamedTuple):
    """Which tokens are drawn anew, and from which law."""

    share: Any
    """The probability of those that are too probable to be drawn anew."""
    threshold: Any
    """Tokens of a higher probability are too probable."""
    beta: Any
    """New ones have probabilities like `p ** (1 / beta)`."""
    top_k: int | None
    """Of so many of the most probable tokens; None for all."""


def redrawn(
    scores: Float[Array, "m vocab"],
    tokens: Int[Array, " m"],
    chance: Float[Array, " m"],
    drawn: UInt32[Array, "2 m"],
    how: TokenEdit,
    allowed: Bool[Array, " vocab"] | None = None,
) -> Int[Array, " m"]:
    """Tokens, of which some are new.

    Args:
        scores: logarithms of the probabilities of each token in its place, up to a constant; -inf
            for what cannot be there.
        tokens: the tokens that are there.
        chance: uniform random numbers, which are compared with the share.
        drawn: random words.
        how: which tokens are drawn anew, and from which law.
        allowed: which tokens new ones may be, beside those that -inf rules out. Default all.

    Source:
        Zhu et al., arXiv 2412.14689, and its code: `beta` 1.5 and `top_k` 8, the old token being
        one of them.

    Example:
        >>> scores = jnp.log(jnp.array([[0.0, 1.0, 0.0], [0.25, 0.5, 0.25]]))
        >>> how = TokenEdit(1.0, 0.9, 1.0, None)
        >>> drawn = jnp.zeros((2, 2), jnp.uint32)
        >>> redrawn(scores, jnp.array([1, 2]), jnp.zeros(2), drawn, how).tolist()
        [1, 2]
    """
    log_p = jax.nn.log_softmax(scores, axis=1)
    there = jnp.take_along_axis(log_p, tokens[:, None], axis=1)[:, 0]
    chosen = (jnp.exp(there) > how.threshold) & (chance < how.share)
    if allowed is not None:
        log_p = jnp.where(allowed, log_p, -jnp.inf)
    below = log_p - jnp.max(log_p, axis=1, keepdims=True)
    weights = jnp.exp(below / how.beta)
    if how.top_k is not None and how.top_k < scores.shape[1]:
        least = lax.top_k(weights, how.top_k)[0][:, -1:]
        weights = jnp.where(weights >= least, weights, 0.0)
    new = Conditional.of(weights).draw(jnp.arange(len(tokens), dtype=jnp.int32), drawn)
    return jnp.where(chosen, new, tokens)
