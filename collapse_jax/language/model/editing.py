"""Documents some of whose tokens a decoder draws anew."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Key

from collapse_jax.language.corpora.documents import AnyDocuments, Masked
from collapse_jax.language.model.decoder import Decoder, Params
from collapse_jax.numerics.threefry import words
from collapse_jax.numerics.tokens import TokenEdit, redrawn

_ENTRIES = 2**24  # most scores in memory: 64 MiB


def edit_documents(
    graphdef: Any,
    params: Params,
    documents: AnyDocuments,
    keys: tuple[Key[Array, ""], Key[Array, ""]],
    how: TokenEdit,
    *,
    bos_id: int,
    eos_id: int,
    possible: Any = None,
) -> AnyDocuments:
    """The documents with some tokens drawn anew, each from its law after the old ones. Pure.

    Documents stay as long as they are: an EOS is not drawn anew, and none is drawn. Nor is what is
    not learned, such as prompts.

    Args:
        graphdef: a `Decoder`, split.
        params: a `Decoder`, split.
        documents: rows of tokens.
        keys: those of the new tokens and of the choice which are new.
        how: which tokens are drawn anew, and from which law.
        bos_id: the token in front of a document.
        eos_id: the token at its end.
        possible: which entries of the vocabulary are tokens; others are never drawn. Default all.

    Source:
        Zhu et al., arXiv 2412.14689.
    """
    model: Decoder = nnx.merge(graphdef, params)
    n, time = documents.tokens.shape
    vocab = model.architecture.vocab_size
    width = max(1, min(n, _ENTRIES // (time * vocab)))
    inside = jnp.arange(time) < documents.lengths[:, None]
    tokens = jnp.where(inside, documents.tokens, eos_id)
    drawn = jnp.moveaxis(words(keys[0], (2, n, time)), 0, 1)
    chance = jax.random.uniform(keys[1], (n, time))
    allowed = jnp.arange(vocab) != eos_id
    allowed = allowed if possible is None else allowed & possible

    kept = tokens == eos_id
    if isinstance(documents, Masked):
        kept = kept | ~documents.learned

    def edited(rows: tuple[Array, Array, Array, Array]) -> Array:
        old, drawn, chance, kept = rows
        inputs = jnp.pad(old[:, :-1], [(0, 0), (1, 0)], constant_values=bos_id)
        scores = model.logits(model.hidden(inputs))
        scores = scores if possible is None else jnp.where(possible, scores, -jnp.inf)
        flat = scores.reshape(-1, vocab), old.reshape(-1), chance.reshape(-1)
        words = jnp.moveaxis(drawn, 1, 0).reshape(2, -1)
        new = redrawn(*flat, words, how, allowed).reshape(old.shape)
        return jnp.where(kept, old, new)

    def parts(x: Array) -> Array:
        x = jnp.pad(x, [(0, -n % width)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(-1, width, *x.shape[1:])

    new = lax.map(edited, jax.tree.map(parts, (tokens, drawn, chance, kept)))
    new = new.reshape(-1, time)[:n]
    return documents._replace(tokens=jnp.where(inside, new, documents.tokens))
