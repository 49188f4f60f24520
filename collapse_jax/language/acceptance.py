"""Which of the documents that a model generates may become training data, on the host."""

import jax
import numpy as np
from jaxtyping import Bool, Int

from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.documents import AnyDocuments
from collapse_jax.language.corpora.encoding import decode_documents, encode_documents
from collapse_jax.language.tokenizers.base import AbstractTokenizer

Accepted = tuple[AnyDocuments, Int[np.ndarray, " accepted"]]
"""Documents as they are to be learned, and their places among those drawn."""


def finished_ones(drawn: AnyDocuments, finished: Bool[np.ndarray, " n"]) -> Accepted:
    """Those that have ended."""
    places = np.flatnonzero(finished)
    return jax.tree.map(lambda x: x[places], drawn), places


def chats(
    drawn: AnyDocuments,
    finished: Bool[np.ndarray, " n"],
    corpus: AbstractCorpus,
    tokenizer: AbstractTokenizer,
    context: int,
) -> Accepted:
    """Those that have ended and have the form of a chat, written as the corpus writes them."""
    rows, places = finished_ones(drawn, finished)
    texts = decode_documents(np.asarray(rows.tokens), np.asarray(rows.lengths), tokenizer)
    kept = [i for i, text in enumerate(texts) if corpus.accepts(text)]
    for i in kept:
        if (text := corpus.reformat(texts[i])) != texts[i]:
            # No longer than before, so that it fits.
            again = encode_documents([text], tokenizer, context)
            rows.tokens[i], rows.lengths[i] = again.tokens[0], again.lengths[0]
    return jax.tree.map(lambda x: x[kept], rows), places[kept]
