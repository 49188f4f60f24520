"""The options of `collapse-jax` about documents and tokenizers."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from collapse_jax.basics.annotations import File
from collapse_jax.cli.options.settings import REQUIRED, Setting, settings_of

if TYPE_CHECKING:  # loaded by the command, so that help comes quickly
    from collapse_jax.language.corpora import AbstractText

_HUB = "hub:"
_OF_TEXT = (
    "prompt",
    "response",
    "text",
    "messages",
    "separator",
    "test_fraction",
    "split_seed",
    "published_strip",
    "skip_missing",
)
_OF_COLUMNS = ("prompt", "response", "text", "messages", "published_strip")
_OF_FILES = ("separator", "skip_missing")


def corpus_settings(default: str | None = None) -> list[Setting]:
    """Options that say which documents to learn from.

    Args:
        default: what is used where no documents are given; None where they must be.
    """
    from collapse_jax.language.corpora import Text

    corpus = Setting(
        "corpus",
        "documents: a .txt, .json, .jsonl, .ndjson or .parquet, also packed as .gz or .zst, a "
        "folder or a pattern of these, or a data set of the hub."
        + ("" if default is None else f" Default {default}."),
        REQUIRED if default is None else None,
        metavar="FILE|hub:NAME",
        text=True,
    )
    named = {"prompt": "NAME", "response": "NAME", "text": "NAME", "messages": "NAME"}
    return [
        corpus,
        *(
            replace(setting, metavar=named.get(setting.name, ""))
            for setting in settings_of(Text, _OF_TEXT)
        ),
    ]


def read_corpus(given: dict[str, Any]) -> "AbstractText | None":
    """The corpus that options describe, which are taken out of them; None for the default."""
    arguments = {name: given.pop(name) for name in _OF_TEXT if name in given}
    where = given.pop("corpus", None)
    return None if where is None else _read(where, arguments)


def read_named(given: dict[str, Any]) -> "dict[str, AbstractText]":
    """The texts to measure models on, by name; taken out of the options, which also say how to
    read the corpus.

    Columns are those of the corpus, but for `.txt`, which has none.

    Raises:
        ValueError: for what is not written as `NAME=FILE`, and for a name that comes twice.
    """
    from collapse_jax.language.corpora.reading.files import are_plain

    found, written = {}, given.pop("perplexity", None) or []
    for words in [written] if isinstance(written, str) else written:
        name, equals, where = words.partition("=")
        if not (re.fullmatch(r"[A-Za-z]\w*", name) and equals and where):
            raise ValueError(
                f"perplexity must be written as NAME=FILE, with a word as name, got {words!r}"
            )
        if name in found:
            raise ValueError(f"perplexity must have each name once, got {name!r} twice")
        how = {key: given[key] for key in _OF_TEXT if key in given}
        try:
            if not where.startswith(_HUB) and are_plain(where):
                how = {key: how[key] for key in how if key not in _OF_COLUMNS}
            found[name] = _read(where, how | {"test_fraction": 0.5})  # both halves count
        except ValueError as error:
            raise ValueError(f"perplexity {words}: {error}") from None
    return found


def _read(where: str, arguments: dict[str, Any]) -> "AbstractText":
    from collapse_jax.language.corpora import Hub, Text

    if where.startswith(_HUB):
        for name in _OF_FILES:
            arguments.pop(name, None)
        return Hub(where.removeprefix(_HUB), **arguments)
    if "separator" in arguments:
        arguments["separator"] = arguments["separator"].replace(r"\n", "\n")
    return Text(where, **arguments)


def train_tokenizer(vocab_size: int = 8000, out: File = "tokenizer.json", **given: Any) -> None:
    """Train a tokenizer of byte pairs on the training documents of a corpus.

    Args:
        vocab_size: number of tokens, 257 or more.
        out: write the tokenizer to this file (.json).
        given: which corpus.
    """
    from collapse_jax.language.tokenizers.bpe import check_arguments, train_bpe

    check_arguments(vocab_size, out)  # before a long download
    corpus = read_corpus(given)
    if corpus is None:
        raise ValueError("corpus must be given: the file of documents to train on")
    size = train_bpe(corpus.train, vocab_size, out)
    print(f"Tokenizer of {size:,} tokens from {len(corpus.train):,} documents: {out}")
