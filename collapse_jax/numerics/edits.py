"""Tokens of a text that are drawn anew, where a model finds them too probable."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from collapse_jax.numerics.conditional import Conditional


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
