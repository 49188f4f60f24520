"""Which of the documents that a model generates may become training data, on the host."""

import itertools
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.documents import AnyDocuments
from collapse_jax.language.corpora.encoding import cut, decode_documents, encode_documents
from collapse_jax.language.prompts import Prompts
from collapse_jax.language.reading import Reading
from collapse_jax.language.tokenizers.base import AbstractTokenizer
from collapse_jax.language.tokenizers.files import FileTokenizer

Accepted = tuple[AnyDocuments, Int[np.ndarray, " accepted"]]
"""Documents as they are to be learned, and their places among those drawn."""
_Some = tuple[AnyDocuments, Int[np.ndarray, " some"]]


def accepted(
    drawn: AnyDocuments,
    corpus: AbstractCorpus | None,
    tokenizer: AbstractTokenizer,
    context: int,
    how: Reading,
    prompts: Prompts | None = None,
) -> Accepted:
    """Those that have ended, and where the corpus is a chat, have its form.

    Of what goes on from plain text all. Real prompts at their beginnings stay what they are.
    """
    tokens, lengths = np.asarray(drawn.tokens), np.asarray(drawn.lengths)
    finished = tokens[np.arange(len(lengths)), lengths - 1] == tokenizer.eos_id
    if how.generate_from in ("halves", "blocks"):
        finished[:] = True
    found = _finished_ones(drawn, finished)
    if corpus is not None and corpus.is_chat and how.template is None:
        found = _chats(found, corpus, tokenizer, context)
    if how.learn_from == "ids":
        return found
    return _read_again(found, tokenizer, context, how, prompts)


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


def _read_again(
    found: _Some,
    tokenizer: AbstractTokenizer,
    context: int,
    how: Reading,
    prompts: Prompts | None,
) -> Accepted:
    """What a model wrote as the tokens of its text, as if it had been read from a file.

    Real prompts and special tokens keep their ids. What then does not fit is dropped, or has its
    beginning kept.
    """
    rows, places = found
    tokens, lengths = np.asarray(rows.tokens), np.asarray(rows.lengths)
    first = np.zeros_like(lengths) if prompts is None else prompts.beginnings(tokens, lengths)
    made = np.zeros((len(tokens), tokens.shape[1]), np.int32)
    sizes = np.zeros(len(tokens), np.int32)
    writer = _Writer(tokenizer, how.template is not None)
    for row, length in enumerate(lengths.tolist()):
        ids = tokens[row, :length].tolist()
        end = ids[-1:] if ids[-1:] == [tokenizer.eos_id] else []
        ids = writer.again(ids[: length - len(end)], int(first[row])) + end
        if parts := cut(np.array(ids, np.int32), context, how.longer):
            sizes[row] = len(parts[0])
            made[row, : sizes[row]] = parts[0]
    written: Any = rows._replace(tokens=made, lengths=sizes)
    if rows.learned is not None:  # all that is behind the prompt
        time = np.arange(tokens.shape[1])
        behind = time >= first[:, None]
        learned = (behind | np.asarray(rows.learned)) & (time < sizes[:, None])
        written = written._replace(learned=learned)
    kept = np.flatnonzero(sizes)
    return jax.tree.map(lambda x: x[kept], written), places[kept]


class _Writer(NamedTuple):
    """Makes the ids of texts of the ids that a model wrote."""

    tokenizer: AbstractTokenizer
    marked: bool
    """Whether special tokens are part of documents; else they are no text, and are left out."""

    @property
    def special(self) -> frozenset[int]:
        """The ids that stay what they are."""
        if self.marked and isinstance(self.tokenizer, FileTokenizer):
            return self.tokenizer.special_ids
        return frozenset()

    def again(self, ids: list[int], first: int) -> list[int]:
        """A document, what comes first of it as it is."""
        special, made = self.special, ids[:first]
        own = [i for i, token in enumerate(made) if token in special]
        lead, begin = ([made[own[-1]]], own[-1] + 1) if own else (self._front, 0)
        for is_special, run in itertools.groupby(ids[first:], special.__contains__):
            some = list(run)
            if not is_special:
                made += self._run(lead, made[begin:], some)
                continue
            made += some
            lead, begin = some[-1:], len(made)
        return made

    @property
    def _front(self) -> list[int]:
        return [self.tokenizer.bos_id] if self.marked else []

    def _run(self, lead: list[int], before: list[int], run: list[int]) -> list[int]:
        """The text of a run behind a special token, if any, and other ids.

        Read together with these, if that leaves them what they are, or else alone; where neither
        gives the same text the run stays what it is.
        """
        everything = [*lead, *before]
        whole, text = self._decode([*everything, *run]), self._decode(everything)
        made = self._behind(before, run)
        if made is not None and self._decode([*everything, *made]) == whole:
            return made
        made = self._behind(everything, run, special=bool(lead))
        if made is not None and self.special.isdisjoint(made):
            return made
        if whole.startswith(text):
            made = self.tokenizer.encode(whole[len(text) :])
            if self._decode([*everything, *made]) == whole:
                return made
        return run

    def _behind(self, before: list[int], run: list[int], special: bool = False) -> list[int] | None:
        """What a run is where it is read behind others; None where they become others."""
        text = self._decode([*before, *run])
        if special and isinstance(self.tokenizer, FileTokenizer):
            ids = self.tokenizer.locate_all([text], special=True)[0].ids
        else:
            ids = self.tokenizer.encode(text)
        return ids[len(before) :] if ids[: len(before)] == before else None

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, **({"special": True} if self.marked else {}))
