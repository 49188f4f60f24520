"""Documents as fixed-length rows of token ids, and back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from collapse_jax.basics import checks
from collapse_jax.basics.progress import lines
from collapse_jax.language.tokenizers.base import AbstractTokenizer

LONGER = ("drop", "truncate", "split")
"""What may become of a document that is longer than the context."""
_AT_ONCE = 1000  # documents encoded together: the library's own records of them are large


class Encoded(NamedTuple):
    """Documents as rows of ids, each of which ends with EOS.

    What lies beyond a row's length is zeros, which stand for nothing: only `lengths` says where a
    document ends.
    """

    tokens: Int[np.ndarray, "n context"]
    lengths: Int[np.ndarray, " n"]  # EOS included
    longer: int  # documents that do not fit into the context


def encode_documents(
    documents: Sequence[str],
    tokenizer: AbstractTokenizer,
    context: int,
    n_documents: int | None = None,
    longer: str = "drop",
) -> Encoded:
    """Documents as rows of token ids, each with EOS at its end.

    Of what does not fit, parts make rows without EOS, as long as the context.

    Args:
        documents: the texts.
        tokenizer: what makes ids of them.
        context: tokens per row; a document needs one of them for its EOS.
        n_documents: keep the first so many that fit. Default all.
        longer: what becomes of a document that does not fit: `"drop"` leaves it out,
            `"truncate"` keeps its beginning, `"split"` all its parts, of which the last has EOS.

    Raises:
        ValueError: where no document fits, or fewer than asked for, and says how many were dropped.

    Example:
        >>> from collapse_jax.language.tokenizers.base import ByteTokenizer
        >>> encode_documents(["no", "not this"], ByteTokenizer(), context=4)
        Encoded(tokens=array([[110, 111, 256,   0]], dtype=int32), lengths=array([3], dtype=int32), longer=1)
    """  # noqa: E501
    context = checks.whole_number("context", context)
    if n_documents is not None:
        n_documents = checks.whole_number("n_documents", n_documents)
    checks.one_of("longer", longer, LONGER)
    kept: list[np.ndarray] = []
    n_longer = 0
    say = lines("tokens")
    for first in range(0, len(documents), _AT_ONCE):
        say(f"{first:,} of {len(documents):,} documents are encoded")
        for ids in tokenizer.encode_all(documents[first : first + _AT_ONCE]):
            row = np.array([*ids, tokenizer.eos_id], np.int32)
            n_longer += len(row) > context
            kept += cut(row, context, longer)
    if len(kept) < (n_documents or 1):
        wanted = "1 or more documents" if n_documents is None else f"{n_documents:,} documents"
        raise ValueError(
            f"corpus must have {wanted} that fit into the context of {context:,} tokens, "
            f"got {len(kept):,} ({n_longer:,} of {len(documents):,} are longer and were dropped); "
            "longer='truncate' or longer='split' keeps them"
        )
    kept = kept[:n_documents]
    tokens = np.zeros((len(kept), context), np.int32)
    for row, ids in zip(tokens, kept, strict=True):
        row[: len(ids)] = ids
    return Encoded(tokens, np.array([len(ids) for ids in kept], np.int32), n_longer)


def cut(row: np.ndarray, context: int, longer: str) -> list[np.ndarray]:
    """A row, where it fits into the context, or else what becomes of it.

    Example:
        >>> cut(np.arange(3), 2, "split")
        [array([0, 1]), array([2])]
    """
    parts = [row[i : i + context] for i in range(0, len(row), context)]
    if len(parts) == 1 or longer == "split":
        return parts
    return parts[:1] if longer == "truncate" else []


def decode_documents(
    tokens: Int[np.ndarray, "n context"],
    lengths: Int[np.ndarray, " n"],
    tokenizer: AbstractTokenizer,
    **how: Any,
) -> list[str]:
    """The texts of rows of token ids, with or without EOS at the end.

    Args:
        tokens: rows of ids.
        lengths: number of ids of each row, EOS included where there is one.
        tokenizer: what made the ids.
        how: what else its `decode` is to know.
    """
    texts = []
    for row, length in zip(tokens, lengths, strict=True):
        ids = row[:length].tolist()
        ids = ids[:-1] if ids[-1:] == [tokenizer.eos_id] else ids
        texts.append(tokenizer.decode(ids, **how))
    return texts
