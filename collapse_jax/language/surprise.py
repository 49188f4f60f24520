"""How surprised models are: by texts with a name, and by texts that others have made."""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from collapse_jax.language.corpora.documents import AnyDocuments, Ragged
from collapse_jax.language.corpora.encoding import encode_documents
from collapse_jax.language.corpora.text import AbstractText
from collapse_jax.language.model.decoder import Params
from collapse_jax.language.model.loss import evaluate
from collapse_jax.language.reading import Reading, read_rows
from collapse_jax.language.tokenizers.base import AbstractTokenizer
from collapse_jax.tasks.base import Variable


class Named(dict[str, AbstractText]):
    """Corpora by name, which nobody changes.

    Raises:
        ValueError: for a name that is no word (`TypeError` for what are no corpora of texts).
    """

    def __init__(self, corpora: Mapping[str, AbstractText] | None):
        if corpora is not None and not isinstance(corpora, Mapping):
            raise TypeError(f"named must be a mapping from names to texts, got {corpora!r}")
        super().__init__(corpora or {})
        for name, corpus in self.items():
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
                raise ValueError(f"named must have words as names, got {name!r}")
            if not isinstance(corpus, AbstractText):
                raise TypeError(f"named must be texts, such as corpus.Text(path), got {corpus!r}")

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(tuple(self.items()))

    @property
    def variables(self) -> dict[str, Variable]:
        """The metrics of these texts."""
        return {
            f"perplexity_{name}": Variable(f"perplexity of the texts {name}", "1") for name in self
        }

    def rows(
        self, tokenizer: AbstractTokenizer | None, context: int, how: Reading
    ) -> dict[str, Ragged]:
        """All of their documents, by the name of the metric; long ones in several parts.

        Chats are read as those of the task, where it reads chats: by its template, whole ones, and
        perhaps their responses alone count.

        Raises:
            ValueError: where there is no tokenizer.
        """
        if tokenizer is None:
            if self:
                raise ValueError("tokenizer must be given where texts are named")
            return {}
        return {
            f"perplexity_{name}": _read_as(corpus, tokenizer, context, how)
            for name, corpus in self.items()
        }


def _read_as(
    corpus: AbstractText, tokenizer: AbstractTokenizer, context: int, how: Reading
) -> Ragged:
    if not (how.places and corpus.is_chat):
        return read(corpus.train + corpus.test, tokenizer, context)
    rows = read_rows((), corpus.train_chats + corpus.test_chats, tokenizer, context, how)
    return Ragged(*rows[:3], vocab_size=tokenizer.vocab_size)


def read(texts: Sequence[str], tokenizer: AbstractTokenizer, context: int) -> Ragged:
    """Texts as rows of tokens, long ones in several parts."""
    found = encode_documents(texts, tokenizer, context, longer="split")
    return Ragged(found.tokens, found.lengths, vocab_size=tokenizer.vocab_size)


@functools.partial(jax.jit, static_argnums=0, static_argnames="bos_id")
def perplexity(
    graphdef: Any, params: Params, documents: AnyDocuments, *, bos_id: int
) -> Float[Array, ""]:
    """The exponential of the mean cross-entropy per token, the end of each document included.

    Args:
        graphdef: a `Decoder`, split.
        params: a `Decoder`, split.
        documents: rows of tokens.
        bos_id: the token in front of a document.
    """
    return jnp.exp(evaluate(graphdef, params, documents, bos_id=bos_id))
