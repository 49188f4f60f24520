"""The real documents of a language model: drawn from a grammar, or encoded once and for all."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from collapse_jax.basics import checks
from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.documents import Ragged
from collapse_jax.language.corpora.encoding import Encoded
from collapse_jax.language.corpora.grammar import Grammar
from collapse_jax.language.corpora.surveys import Survey, check_accepted, check_dropped, survey
from collapse_jax.language.corpora.text import AbstractText
from collapse_jax.language.reading import Reading, Rows, chats_of, read_rows
from collapse_jax.language.tokenizers.base import AbstractTokenizer

_DEFAULT_SAMPLES, _DEFAULT_TEST = 1024, 512
_RESERVE = 8  # times n_samples: documents of a grammar that are written out for other tokenizers


class RealDocuments(NamedTuple):
    """Sizes, and the documents where they are not drawn afresh in each chain."""

    n_samples: int
    n_test: int
    train: Ragged | None
    test: Ragged | None
    survey: Survey | None
    """What became of documents that are not drawn."""
    prompts: Int[Array, " n"] | None = None
    """Of how many tokens at its beginning the prompt of each is made, where there are prompts."""


def is_drawn(corpus: AbstractCorpus | None, tokenizer: AbstractTokenizer | None) -> bool:
    """Whether documents are drawn on the device: those of a grammar, in its own words."""
    return isinstance(corpus, Grammar) and tokenizer == corpus.tokenizer


def real_documents(
    corpus: AbstractCorpus | None,
    tokenizer: AbstractTokenizer | None,
    context: int,
    n_samples: int | None,
    n_test: int | None,
    how: Reading,
) -> RealDocuments:
    """The real documents as token ids.

    A grammar that is read by another tokenizer than its own is written out first: eight times as
    many documents as a generation has.

    Raises:
        ValueError: where fewer documents fit into the context than are asked for, where too many
            would be dropped, and where most would not be accepted if a model made them.
    """
    _check_size("n_samples", n_samples)
    _check_size("n_test", n_test)
    if corpus is not None and tokenizer is not None:
        how.check(corpus)
    if isinstance(corpus, AbstractText) and tokenizer is not None:
        train_texts, test_texts = corpus.train, corpus.test
        chats = corpus.train_chats, corpus.test_chats
    else:
        n_samples = _DEFAULT_SAMPLES if n_samples is None else n_samples
        n_test = _DEFAULT_TEST if n_test is None else n_test
        if not isinstance(corpus, Grammar) or tokenizer is None:
            return RealDocuments(n_samples, n_test, None, None, None)
        if is_drawn(corpus, tokenizer):
            if context < corpus.max_length:
                raise ValueError(
                    f"context must be at least the {corpus.max_length} tokens of the grammar's "
                    f"longest document, got {context}"
                )
            if how.generate_from == "bos":
                return RealDocuments(n_samples, n_test, None, None, None)
        train_texts = corpus.sample(_RESERVE * n_samples, seed=0)
        test_texts = corpus.sample(n_test, seed=1)
        chats = [chats_of(texts) if corpus.is_chat else () for texts in (train_texts, test_texts)]
    train = read_rows(train_texts, chats[0], tokenizer, context, how)
    test = read_rows(test_texts, chats[1], tokenizer, context, how)
    skipped = corpus.skipped if isinstance(corpus, AbstractText) else 0
    found = survey(train_texts, test_texts, skipped, train.longer + test.longer)
    found = found._replace(special=train.special + test.special)
    check_dropped(found, how.most_dropped, context, longer=how.longer == "drop")
    if how.template is None:
        check_accepted(Encoded(train.tokens, train.lengths, 0), corpus, tokenizer)
    available = len(train.lengths)
    n_samples = available if n_samples is None else n_samples
    n_test = len(test.lengths) if n_test is None else n_test
    for name, wanted, rows in (
        ("n_samples", n_samples, train),
        ("n_test", n_test, test),
    ):
        if wanted > len(rows.lengths):
            raise ValueError(
                f"{name} must not exceed the {len(rows.lengths):,} documents that fit into the "
                f"context of {context:,} tokens, got {wanted:,} ({rows.longer:,} longer ones "
                f"were dropped, and {rows.special:,} with the text of a special token)"
            )
    return RealDocuments(
        n_samples,
        n_test,
        _ragged(train, available, tokenizer.vocab_size),
        _ragged(test, n_test, tokenizer.vocab_size),
        found,
        None if train.prompts is None else jnp.asarray(train.prompts),
    )


def _check_size(name: str, size: int | None) -> None:
    if size is not None:
        checks.whole_number(name, size)


def _ragged(rows: Rows, n: int, vocab_size: int) -> Ragged:
    """The first so many."""
    learned = None if rows.learned is None else rows.learned[:n]
    return Ragged(rows.tokens[:n], rows.lengths[:n], learned, vocab_size=vocab_size)
