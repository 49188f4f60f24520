"""Documents as fixed-length rows of token ids, and back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from collapse_jax.basics import checks
from collapse_jax.language.tokenizers.base import AbstractTokenizer

_AT_ONCE = 1000  # documents encoded together: the library's own records of them are large


class Encoded(NamedTuple):
    """Documents as rows of ids, each of which ends with EOS.

    What lies beyond a row's length is zeros, which stand for nothing: only `lengths` says where a
    document ends.
    """

    tokens: Int[np.ndarray, "n context"]
    lengths: Int[np.ndarray, " n"]  # EOS included
    dropped: int  # documents that are longer than the context


def encode_documents(
    documents: Sequence[str],
    tokenizer: AbstractTokenizer,
    context: int,
    n_documents: int | None = None,
) -> Encoded:
    """Documents as rows of token ids. What does not fit is dropped, not cut.

    Args:
        documents: the texts.
        tokenizer: what makes ids of them.
        context: tokens per row; a document needs one of them for its EOS.
        n_documents: keep the first so many that fit. Default all.

    Raises:
        ValueError: where no document fits, or fewer than asked for, and says how many were dropped.

    Example:
        >>> from collapse_jax.language.tokenizers.base import ByteTokenizer
        >>> encode_documents(["no", "not this"], ByteTokenizer(), context=4)
        Encoded(tokens=array([[110, 111, 256,   0]], dtype=int32), lengths=array([3], dtype=int32), dropped=1)
    """  # noqa: E501
    context = checks.whole_number("context", context)
    if n_documents is not None:
        n_documents = checks.whole_number("n_documents", n_documents)
    kept: list[np.ndarray] = []
    for first in range(0, len(documents), _AT_ONCE):
        for ids in tokenizer.encode_all(documents[first : first + _AT_ONCE]):
            if len(ids) < context:
                kept.append(np.array([*ids, tokenizer.eos_id], np.int32))
    dropped = len(documents) - len(kept)
    if len(kept) < (n_documents or 1):
        wanted = "1 or more documents" if n_documents is None else f"{n_documents:,} documents"
        raise ValueError(
            f"corpus must have {wanted} that fit into the context of {context:,} tokens, "
            f"got {len(kept):,} ({dropped:,} of {len(documents):,} are longer and were dropped)"
        )
    kept = kept[:n_documents]
    tokens = np.zeros((len(kept), context), np.int32)
    for row, ids in zip(tokens, kept, strict=True):
        row[: len(ids)] = ids
    return Encoded(tokens, np.array([len(ids) for ids in kept], np.int32), dropped)


def decode_documents(
    tokens: Int[np.ndarray, "n context"],
    lengths: Int[np.ndarray, " n"],
    tokenizer: AbstractTokenizer,
) -> list[str]:
    """The texts of rows of token ids, with or without EOS at the end.

    Args:
        tokens: rows of ids.
        lengths: number of ids of each row, EOS included where there is one.
        tokenizer: what made the ids.
    """
    texts = []
    for row, length in zip(tokens, lengths, strict=True):
        ids = row[:length].tolist()
        texts.append(tokenizer.decode(ids[:-1] if ids[-1:] == [tokenizer.eos_id] else ids))
    return texts
