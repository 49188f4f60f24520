"""Documents as arrays: what corpora draw, models are trained on, and sampling returns."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


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


def counted(documents: AnyDocuments) -> Bool[Array, "n time"]:
    """Which tokens are in the loss."""
    within = jnp.arange(documents.tokens.shape[1]) < documents.lengths[:, None]
    return within if documents.learned is None else within & documents.learned


def n_counted(documents: AnyDocuments) -> Float[Array, ""]:
    """How many tokens are in the loss."""
    counts = documents.lengths if documents.learned is None else counted(documents)
    return jnp.sum(counts, dtype=jnp.float32)
