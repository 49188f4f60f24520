"""Which of the documents that a model generates may become training data, on the host."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int

from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.documents import AnyDocuments
from collapse_jax.language.corpora.encoding import cut, decode_documents, encode_documents
from collapse_jax.language.reading import Reading
from collapse_jax.language.tokenizers.base import AbstractTokenizer

Accepted = tuple[AnyDocuments, Int[np.ndarray, " accepted"]]
"""Documents as they are to be learned, and their places among those drawn."""
_Some = tuple[AnyDocuments, Int[np.ndarray, " some"]]


def accepted(
    drawn: AnyDocuments,
    corpus: AbstractCorpus | None,
    tokenizer: AbstractTokenizer,
    context: int,
    how: Reading,
) -> Accepted:
    """Those that have ended, and where the corpus is a chat, have its form.

    Of what goes on from plain text all.
    """
    tokens, lengths = np.asarray(drawn.tokens), np.asarray(drawn.lengths)
    finished = tokens[np.arange(len(lengths)), lengths - 1] == tokenizer.eos_id
    if how.generate_from in ("halves", "blocks"):
        finished[:] = True
    found = _finished_ones(drawn, finished)
    if corpus is not None and corpus.is_chat and how.template is None:
        found = _chats(found, corpus, tokenizer, context)
    return found if how.learn_from == "ids" else _read_again(found, tokenizer, context, how)


def _finished_ones(drawn: AnyDocuments, finished: Bool[np.ndarray, " n"]) -> Accepted:
    places = np.flatnonzero(finished)
    return jax.tree.map(lambda x: np.asarray(x)[places], drawn), places


def _chats(
    found: _Some, corpus: AbstractCorpus, tokenizer: AbstractTokenizer, context: int
) -> Accepted:
    """Those that have the form of a chat, written as the corpus writes them."""
    rows, places = found
    texts = decode_documents(rows.tokens, rows.lengths, tokenizer)  # pyright: ignore
    kept = [i for i, text in enumerate(texts) if corpus.accepts(text)]
    for i in kept:
        if (text := corpus.reformat(texts[i])) != texts[i]:
            # No longer than before, so that it fits.
            again = encode_documents([text], tokenizer, context)
            rows.tokens[i], rows.lengths[i] = again.tokens[0], again.lengths[0]
    return jax.tree.map(lambda x: x[kept], rows), places[kept]


def _read_again(found: _Some, tokenizer: AbstractTokenizer, context: int, how: Reading) -> Accepted:
    """The texts of documents as tokens, as if they had been read from a file.

    Of those that do not fit becomes what becomes of real ones.
    """
    rows, places = found
    special = {} if how.template is None else {"special": True}
    tokens, lengths = np.asarray(rows.tokens), np.asarray(rows.lengths)
    texts = decode_documents(tokens, lengths, tokenizer, **special)
    parts: list[tuple[int, np.ndarray, np.ndarray]] = []
    for i, located in enumerate(tokenizer.locate_all(texts, **special)):
        before = tokens[i, : lengths[i]]
        ids, learned = np.array(located.ids, np.int32), np.ones(len(located.ids), bool)
        if rows.learned is not None:
            wanted = _characters(before, np.asarray(rows.learned[i]), tokenizer, special)
            learned = _overlaps(wanted, located.places)
        if before[-1] == tokenizer.eos_id:
            ids, learned = np.append(ids, before[-1]), np.append(learned, True)
        pieces = zip(cut(ids, context, how.longer), cut(learned, context, how.longer), strict=True)
        parts += [(i, *piece) for piece in pieces if piece[1].any()]
    again = np.zeros((len(parts), tokens.shape[1]), np.int32)
    wanted = np.zeros(again.shape, bool)
    for row, (_, ids, learned) in enumerate(parts):
        again[row, : len(ids)], wanted[row, : len(ids)] = ids, learned
    sizes = np.array([len(ids) for _, ids, _ in parts], np.int32)
    written: Any = rows._replace(tokens=again, lengths=sizes)
    if rows.learned is not None:
        written = written._replace(learned=wanted)
    return written, places[[i for i, _, _ in parts]]


def _characters(
    ids: Int[np.ndarray, " time"],
    learned: Bool[np.ndarray, " time"],
    tokenizer: AbstractTokenizer,
    special: dict[str, bool],
) -> Bool[np.ndarray, " characters"]:
    """Which characters of a text the tokens that are learned have written."""
    edges = [0, *np.flatnonzero(np.diff(learned[: len(ids)])) + 1, len(ids)]
    ends = [len(tokenizer.decode(ids[:edge].tolist(), **special)) for edge in edges]
    found = np.zeros(ends[-1], bool)
    for edge, first, last in zip(edges, ends, ends[1:], strict=False):
        found[first:last] = learned[edge]
    return found


def _overlaps(
    wanted: Bool[np.ndarray, " characters"], places: list[tuple[int, int]]
) -> Bool[np.ndarray, " time"]:
    """Which tokens stand for any of the characters."""
    upto = np.append(0, np.cumsum(wanted))
    first, last = np.minimum(np.array(places, np.int64).reshape(-1, 2).T, len(wanted))
    return upto[last] > upto[first]
