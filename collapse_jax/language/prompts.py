"""Beginnings of real documents, from which models go on."""

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Int, Key

from collapse_jax.language.corpora.documents import AnyDocuments, Ragged
from collapse_jax.language.reading import Reading
from collapse_jax.numerics.subsets import permuted

_ORDER = 2**32 - 1  # what sets the key of the order apart from those of draws


class Prompts(eqx.Module):
    """How many tokens at the beginning of each real document are its prompt."""

    lengths: Int[Array, " n"]
    shortest: int = eqx.field(static=True)
    longest: int = eqx.field(static=True)
    known: frozenset[bytes] = eqx.field(static=True)
    """The ids of each, where generated documents begin with them and are read again."""

    def __init__(self, lengths: Int[Array, " n"], documents: Ragged | None, how: Reading):
        self.lengths = lengths
        counts = np.asarray(lengths)
        self.shortest, self.longest = int(counts.min()), max(1, int(counts.max()))
        self.known = frozenset()
        begins = how.learn_from == "text" and how.generate_from != "blocks"
        if documents is not None and begins:
            ids, starts = np.asarray(documents.tokens, np.int32), np.asarray(documents.starts)
            pairs = zip(starts.tolist(), counts.tolist(), strict=True)
            self.known = frozenset(ids[start : start + n].tobytes() for start, n in pairs)

    def of(self, documents: Ragged, index: Int[Array, " m"] | None) -> AnyDocuments:
        """The prompts of some of the documents."""
        rows = documents.rows(index)
        lengths = self.lengths if index is None else self.lengths[index]
        prompts = rows._replace(tokens=rows.tokens[:, : self.longest], lengths=lengths)
        if rows.learned is None:
            return prompts
        return prompts._replace(learned=rows.learned[:, : self.longest])

    def beginnings(
        self, tokens: Int[np.ndarray, "m time"], lengths: Int[np.ndarray, " m"]
    ) -> Int[np.ndarray, " m"]:
        """How many tokens of each document are a real prompt: the longest that it begins with."""
        sizes = sorted({len(prompt) for prompt in self.known}, reverse=True)
        rows = [row[:n].tobytes() for row, n in zip(tokens.astype(np.int32), lengths, strict=True)]
        found = (next((k for k in sizes if row[:k] in self.known), 0) for row in rows)
        return np.array([size // 4 for size in found], np.int32)


def in_turn(prompts: AnyDocuments, key: Key[Array, ""], places: Int[Array, " n"]) -> AnyDocuments:
    """The prompts at some places in an order that the key decides.

    After the last one comes the first again.
    """
    total = len(prompts.lengths)
    chosen = permuted(jax.random.fold_in(key, _ORDER), total, places % total)
    return jax.tree.map(lambda x: x[chosen], prompts)


def check_room(generate_from: str, context: int, most: int) -> None:
    """Check that a model can read what it is to go on from, and write what follows.

    Raises:
        ValueError: if it cannot.
    """
    if generate_from == "blocks" and 2 * context > most:
        raise ValueError(
            f"context must be at most {most // 2}, half of the model's, where models go on from "
            f"whole blocks, got {context}"
        )
