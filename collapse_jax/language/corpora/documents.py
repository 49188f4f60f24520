"""Documents as arrays: what corpora draw, models are trained on, and sampling returns."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

_OF_16_BITS = 2**16
_MOST = 2**31  # places are counted in 32 bits


class Documents(NamedTuple):
    """Documents as rows of token ids; what lies beyond a row's length means nothing.

    A whole document ends with EOS, which its length counts; BOS is not in the row. A row of length
    0 is no document.
    """

    tokens: Int[Array, "n time"]
    lengths: Int[Array, " n"]

    @property
    def learned(self) -> None:
        """All tokens are."""
        return None


class Masked(NamedTuple):
    """Documents of which models learn to write some tokens only, such as those of responses."""

    tokens: Int[Array, "n time"]
    lengths: Int[Array, " n"]
    learned: Bool[Array, "n time"]
    """Which tokens. The others are read."""


AnyDocuments = Documents | Masked


def documents_of(
    tokens: Int[Array, "n time"],
    lengths: Int[Array, " n"],
    learned: Bool[Array, "n time"] | None = None,
) -> AnyDocuments:
    """Documents of which these tokens are learned; None for all."""
    rows = Documents(tokens, lengths)
    return rows if learned is None else Masked(*rows, learned)


class Ragged(eqx.Module):
    """Documents end to end, without what lies beyond their ends, in as few bits as they need.

    Example:
        >>> kept = Ragged(np.array([[7, 8, 0], [9, 0, 0]]), np.array([2, 1]), vocab_size=10)
        >>> kept.tokens, kept.rows(jnp.array([1])).tokens
        (Array([7, 8, 9], dtype=uint16), Array([[9, 0, 0]], dtype=int32))
    """

    tokens: Integer[Array, " total"]
    learned: Bool[Array, " total"] | None
    starts: Int[Array, " n"]
    lengths: Int[Array, " n"]
    width: int = eqx.field(static=True)

    def __init__(
        self,
        tokens: Integer[np.ndarray, "n width"],
        lengths: Integer[np.ndarray, " n"],
        learned: Bool[np.ndarray, "n width"] | None = None,
        *,
        vocab_size: int,
    ):
        total, self.width = int(lengths.sum()), tokens.shape[1]
        if total >= _MOST:
            raise ValueError(f"corpus must have fewer than 2**31 tokens, got {total:,}")
        inside = np.arange(self.width) < lengths[:, None]
        narrow = np.uint16 if vocab_size <= _OF_16_BITS else np.int32
        self.tokens = jnp.asarray(tokens[inside].astype(narrow))
        self.learned = None if learned is None else jnp.asarray(learned[inside])
        self.starts = jnp.asarray(np.cumsum(lengths) - lengths, jnp.int32)
        self.lengths = jnp.asarray(lengths, jnp.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, index: Int[Array, " m"] | None = None) -> AnyDocuments:
        """Some of the documents, by their places, or all of them, as rows of tokens."""
        starts, lengths = (x if index is None else x[index] for x in (self.starts, self.lengths))
        time = jnp.arange(self.width)
        inside = time < lengths[:, None]
        places = jnp.minimum(starts[:, None] + time, len(self.tokens) - 1)
        tokens = jnp.where(inside, self.tokens[places].astype(jnp.int32), 0)
        learned = None if self.learned is None else self.learned[places] & inside
        return documents_of(tokens, lengths, learned)


def counted(documents: AnyDocuments) -> Bool[Array, "n time"]:
    """Which tokens are in the loss."""
    within = jnp.arange(documents.tokens.shape[1]) < documents.lengths[:, None]
    return within if documents.learned is None else within & documents.learned


def n_counted(documents: AnyDocuments) -> Float[Array, ""]:
    """How many tokens are in the loss."""
    counts = documents.lengths if documents.learned is None else counted(documents)
    return jnp.sum(counts, dtype=jnp.float32)
