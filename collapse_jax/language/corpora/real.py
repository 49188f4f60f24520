"""The real documents of a language model: drawn from a grammar, or encoded once and for all."""

from typing import NamedTuple

import jax.numpy as jnp

from collapse_jax.basics import checks
from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.corpora.encoding import encode_documents
from collapse_jax.language.corpora.grammar import Grammar
from collapse_jax.language.corpora.surveys import Survey, check_accepted, check_dropped, survey
from collapse_jax.language.corpora.text import AbstractText
from collapse_jax.language.tokenizers.base import AbstractTokenizer

_DEFAULT_SAMPLES, _DEFAULT_TEST = 1024, 512
_RESERVE = 8  # times n_samples: documents of a grammar that are written out for other tokenizers


class RealDocuments(NamedTuple):
    """Sizes, and the documents where they are not drawn afresh in each chain."""

    n_samples: int
    n_test: int
    train: Documents | None
    test: Documents | None
    survey: Survey | None
    """What became of documents that are not drawn."""


def is_drawn(corpus: AbstractCorpus | None, tokenizer: AbstractTokenizer | None) -> bool:
    """Whether documents are drawn on the device: those of a grammar, in its own words."""
    return isinstance(corpus, Grammar) and tokenizer == corpus.tokenizer


def real_documents(
    corpus: AbstractCorpus | None,
    tokenizer: AbstractTokenizer | None,
    context: int,
    n_samples: int | None,
    n_test: int | None,
    *,
    longer: str = "drop",
    most_dropped: float = 1.0,
) -> RealDocuments:
    """The real documents as token ids.

    A grammar that is read by another tokenizer than its own is written out first: eight times as
    many documents as a generation has.

    Raises:
        ValueError: where fewer documents fit into the context than are asked for, where too many
            would be dropped, and where most would not be accepted if a model made them.
    """
    for name, size in (("n_samples", n_samples), ("n_test", n_test)):
        if size is not None:
            checks.whole_number(name, size)
    if isinstance(corpus, AbstractText) and tokenizer is not None:
        train_texts, test_texts = corpus.train, corpus.test
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
            return RealDocuments(n_samples, n_test, None, None, None)
        train_texts = corpus.sample(_RESERVE * n_samples, seed=0)
        test_texts = corpus.sample(n_test, seed=1)
    train = encode_documents(train_texts, tokenizer, context, longer=longer)
    test = encode_documents(test_texts, tokenizer, context, longer=longer)
    skipped = corpus.skipped if isinstance(corpus, AbstractText) else 0
    found = survey(train_texts, test_texts, skipped, train.longer + test.longer)
    if longer == "drop":
        check_dropped(found, most_dropped, context)
    check_accepted(train, corpus, tokenizer)
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
                "were dropped)"
            )
    return RealDocuments(
        n_samples,
        n_test,
        Documents(jnp.asarray(train.tokens), jnp.asarray(train.lengths)),
        Documents(jnp.asarray(test.tokens[:n_test]), jnp.asarray(test.lengths[:n_test])),
        found,
    )
