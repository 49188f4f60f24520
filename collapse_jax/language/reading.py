"""How real documents are read: as rows of tokens, which parts are learned, and what is a prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from collapse_jax.basics import checks
from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.chat import Chat, Message, split_chat
from collapse_jax.language.corpora.encoding import encode_documents
from collapse_jax.language.corpora.grammar import Grammar
from collapse_jax.language.corpora.text import AbstractText
from collapse_jax.language.tokenizers.base import AbstractTokenizer, Located
from collapse_jax.language.tokenizers.files import FileTokenizer
from collapse_jax.language.tokenizers.templates import Marked, Template, find_template

LOSS_ON = ("all", "responses")
LEARN_FROM = ("ids", "text")
GENERATE_FROM = ("bos", "prompts", "halves", "blocks")


class Reading(NamedTuple):
    """What is made of real documents, apart from tokens."""

    template: Template | None = None
    """What writes chats; None for the published format."""
    loss_on: str = "all"
    generate_from: str = "bos"
    learn_from: str = "ids"
    longer: str = "drop"
    most_dropped: float = 1.0

    @property
    def places(self) -> bool:
        """Whether it matters where in a chat its responses are."""
        return self.generate_from == "prompts" or self.loss_on == "responses"

    def check(self, corpus: AbstractCorpus) -> None:
        """Check that documents can be read in this manner.

        Raises:
            ValueError: if they cannot.
        """
        if self.template is not None and not isinstance(corpus, AbstractText):
            raise ValueError("template must not be given with a grammar, which has its own format")
        if self.loss_on == "responses" and isinstance(corpus, Grammar):
            raise ValueError(
                "loss_on must be 'all' for a grammar, of whose whole documents the law is known"
            )
        if (self.template is not None or self.places) and not corpus.is_chat:
            name = "generate_from='prompts'"
            if self.loss_on == "responses":
                name = "loss_on='responses'"
            raise ValueError(
                f"{name if self.template is None else 'template'} is for chats, and the documents "
                "are none; a corpus of prompt and response, or of messages, has chats"
            )
        if (self.template is not None or self.places) and self.generate_from != "prompts":
            raise ValueError(
                "generate_from must be 'prompts' where a template writes chats, or only responses "
                f"are learned, since nothing is learned of prompts, got {self.generate_from!r}"
            )
        if self.generate_from in ("halves", "blocks") and corpus.is_chat:
            raise ValueError(
                "generate_from must be 'bos' or 'prompts' where documents are chats, got "
                f"{self.generate_from!r}"
            )
        if self.places and self.longer == "split":
            raise ValueError(
                "longer must be 'drop' or 'truncate' where chats have prompts, got 'split'"
            )
        if self.generate_from != "bos" and getattr(corpus, "published_strip", False):
            raise ValueError(
                "published_strip must be False where prompts are real ones, which it would spoil"
            )


def find_reading(
    template: str | Path | None,
    loss_on: str,
    generate_from: str | None,
    learn_from: str,
    tokenizer: AbstractTokenizer | None,
) -> Reading:
    """What these arguments of a language model say; see there."""
    checks.one_of("loss_on", loss_on, LOSS_ON)
    if generate_from is None:
        of_prompts = template is not None or loss_on == "responses"
        generate_from = "prompts" if of_prompts else "bos"
    checks.one_of("generate_from", generate_from, GENERATE_FROM)
    checks.one_of("learn_from", learn_from, LEARN_FROM)
    found = None
    if template is not None:
        if not isinstance(tokenizer, FileTokenizer):
            raise ValueError(
                "template must not be given without a tokenizer from files, whose special tokens "
                "it writes"
            )
        found = find_template(tokenizer.folder, str(template))
    return Reading(found, loss_on, generate_from, learn_from)


def lasting(template: str | Path) -> str:
    """The name of a template by which it is found from every folder."""
    return "own" if template == "own" else str(Path(template).expanduser().absolute())


class Rows(NamedTuple):
    """Real documents as rows of tokens, each with EOS at its end where it fits."""

    tokens: Int[np.ndarray, "n context"]
    lengths: Int[np.ndarray, " n"]
    learned: Bool[np.ndarray, "n context"] | None
    """Which tokens; None for all."""
    prompts: Int[np.ndarray, " n"] | None
    """Of how many tokens at its beginning the prompt of each is made; None where there are none."""
    longer: int
    """Documents that do not fit into the context."""
    special: int = 0
    """Chats that were left out, since they hold the text of a special token."""


def read_rows(
    texts: Sequence[str],
    chats: Sequence[Chat],
    tokenizer: AbstractTokenizer,
    context: int,
    how: Reading,
) -> Rows:
    """Documents as rows of tokens.

    Args:
        texts: the documents.
        chats: the same as messages, where they are chats.
        tokenizer: what makes ids of them.
        context: tokens per row.
        how: what else.

    Raises:
        ValueError: where no document fits.
    """
    if how.places:
        return _of_chats(chats, tokenizer, context, how)
    rows = encode_documents(texts, tokenizer, context, longer=how.longer)
    ends = rows.tokens[np.arange(len(rows.lengths)), rows.lengths - 1] == tokenizer.eos_id
    prompts = {"halves": rows.lengths // 2, "blocks": (rows.lengths - ends).astype(np.int32)}
    return Rows(rows.tokens, rows.lengths, None, prompts.get(how.generate_from), rows.longer)


def chats_of(documents: Sequence[str]) -> tuple[Chat, ...]:
    """Documents in the published format, as messages."""
    pairs = map(split_chat, documents)
    return tuple((Message("user", prompt), Message("assistant", said)) for prompt, said in pairs)


class _Written(NamedTuple):
    ids: Int[np.ndarray, " time"]
    learned: Bool[np.ndarray, " time"]
    prompt: int


def _of_chats(
    chats: Sequence[Chat], tokenizer: AbstractTokenizer, context: int, how: Reading
) -> Rows:
    kept = chats
    if how.template is None:
        marked = [_published(chat) for chat in chats]
        located = tokenizer.locate_all([text for text, _ in marked])
    elif not isinstance(tokenizer, FileTokenizer):
        raise TypeError(f"tokenizer must be one from files with a template, got {tokenizer!r}")
    else:
        special = tokenizer.special
        kept = [c for c in chats if not any(s in m.content for m in c for s in special)]
        marked = how.template.write(kept)
        located = tokenizer.locate_all([text for text, _ in marked], special=True)
    written = [_written(*pair, tokenizer) for pair in zip(located, marked, strict=True)]
    fitting = [w for w in written if len(w.ids) <= context]
    longer = len(written) - len(fitting)
    if how.longer == "truncate":  # where something is left of the response
        fitting = [w for w in written if w.prompt < context]
    if not fitting:
        raise ValueError(
            f"corpus must have a chat that fits into the context of {context:,} tokens, and none "
            f"of {len(chats):,} does ({len(chats) - len(kept):,} hold the text of a special token)"
        )
    tokens = np.zeros((len(fitting), context), np.int32)
    learned = np.zeros(tokens.shape, bool)
    for row, (ids, wanted, _) in enumerate(fitting):
        tokens[row, : len(ids)] = ids[:context]
        learned[row, : len(ids)] = wanted[:context]
    lengths = np.array([min(len(w.ids), context) for w in fitting], np.int32)
    prompts = np.array([w.prompt for w in fitting], np.int32)
    masked = learned if how.loss_on == "responses" else None
    return Rows(tokens, lengths, masked, prompts, longer, len(chats) - len(kept))


def _published(chat: Chat) -> Marked:
    """A chat as `format_messages` writes it, and where its responses are."""
    text, spans = "", []
    for role, content in chat:
        text += f"\n{role}: " if text else f"{role}: "
        if role == "assistant":
            spans.append((len(text), len(text) + len(content)))
        text += content
    return Marked(text, spans)


def _written(located: Located, marked: Marked, tokenizer: AbstractTokenizer) -> _Written:
    """The row of a chat, without BOS in front, up to the first EOS in its last response.

    A token belongs to a response where any character of it does.
    """
    ids = np.array(located.ids, np.int32)
    starts, ends = np.array(located.places, np.int64).reshape(-1, 2).T
    learned = np.zeros(len(ids), bool)
    prompt = 0
    for first, last in marked.spans:
        places = np.flatnonzero((ends > first) & (starts < last))
        if eos := np.flatnonzero(ids[places] == tokenizer.eos_id).tolist():
            places = places[: eos[0] + 1]
        learned[places] = True
        prompt = int(places[0]) if len(places) else len(ids)
    length = int(np.flatnonzero(learned)[-1]) + 1 if learned[prompt:].any() else prompt
    if not (length and ids[length - 1] == tokenizer.eos_id):
        ids = np.append(ids[:length], np.int32(tokenizer.eos_id))
        learned = np.append(learned[:length], True)
        length += 1
    bos = int(len(ids) > 0 and ids[0] == tokenizer.bos_id and prompt > 0)
    return _Written(ids[bos:length], learned[bos:length], prompt - bos)
