"""The user's own documents, from files."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from collapse_jax.basics.progress import lines
from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.chat import (
    Chat,
    Message,
    format_chat,
    format_messages,
    is_chat,
    split_chat,
)
from collapse_jax.language.corpora.reading import files, records
from collapse_jax.language.corpora.reading.messages import read_messages
from collapse_jax.language.tokenizers.base import ByteTokenizer
from collapse_jax.tasks.parts import tables


class AbstractText(AbstractCorpus):
    """Documents that people wrote, split once and for all into training and test documents.

    - `train`, `test`: the documents, in random order.
    - `train_chats`, `test_chats`: the same as messages, where they are chats; else empty.
    - `skipped`: number of records without text, which are left out.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    train_chats: tuple[Chat, ...]
    test_chats: tuple[Chat, ...]
    skipped: int

    def __init__(
        self,
        prompt: str | None,
        response: str | None,
        text: str | None,
        messages: str | None,
        test_fraction: float,
        split_seed: int,
        published_strip: bool,
    ):
        if (prompt is None) != (response is None):
            missing = "prompt" if prompt is None else "response"
            raise ValueError(f"prompt and response must be given together, got no {missing}")
        columns = {"prompt": prompt, "text": text, "messages": messages}
        given = [name for name, column in columns.items() if column is not None]
        if len(given) > 1:
            raise ValueError(
                f"{given[1]} cannot be given together with {given[0]}, got {columns[given[1]]!r}"
            )
        if published_strip and prompt is None:
            raise ValueError("published_strip must be False where there are no prompts")
        self.prompt, self.response, self.text, self.messages = prompt, response, text, messages
        self.test_fraction, self.split_seed = test_fraction, split_seed
        self.published_strip = published_strip

    @property
    def is_chat(self) -> bool:
        return self.prompt is not None or self.messages is not None

    @cached_property
    def tokenizer(self) -> ByteTokenizer:
        """Bytes, which every text has."""
        return ByteTokenizer()

    @cached_property
    def fingerprint(self) -> str:
        """A short name of the documents, by which a dataset remembers what it came from."""
        sha = hashlib.sha256()
        for document in (*self.train, "", *self.test):
            sha.update(f"{len(document)}:{document}".encode())
        return sha.hexdigest()[:16]

    def accepts(self, document: str) -> bool:
        """Whether a generated document may become training data.

        A chat must start as real ones do, with `user: ` or another role, and contain `assistant: `,
        but no more often than a real one has responses.
        """
        return not self.is_chat or is_chat(document, *self._form)

    @cached_property
    def _form(self) -> tuple[int, tuple[str, ...]]:
        """The most responses of a chat, and how chats start."""
        chats = self.train_chats + self.test_chats
        most = max(sum(role == "assistant" for role, _ in chat) for chat in chats)
        return most, tuple(sorted({f"{chat[0].role}: " for chat in chats}))

    def reformat(self, document: str) -> str:
        """What an accepted document is as training data of the next generation.

        One of a prompt and a response is taken apart and put together again; it stays what it is if
        it has the line break before `assistant: `, and unless `published_strip` spoils its prompt.
        """
        if self.prompt is None:
            return document
        return format_chat(*split_chat(document, self.published_strip))

    @property
    def _columns(self) -> list[str]:
        """The columns that are read."""
        if self.prompt is not None and self.response is not None:
            return [self.prompt, self.response]
        if self.messages is not None:
            return [self.messages]
        return ["text" if self.text is None else self.text]

    def _documents(self, rows: Iterable[tuple[str, list[Any]]], source: object) -> list[Any]:
        """Texts, or chats, of records; and how many records had none, in `skipped`."""
        documents, n_rows, say = [], 0, lines("corpus")
        for place, values in rows:
            n_rows += 1
            say(f"{n_rows:,} records of {source} are read")
            if (document := self._document(values, place)) is not None:
                documents.append(document)
        self.skipped = n_rows - len(documents)
        if not documents:
            raise ValueError(
                f"corpus must have a document, and none of the {n_rows} records of {source} "
                "has text"
            )
        return documents

    def _document(self, values: list[Any], place: str) -> str | Chat | None:
        """The text, or the chat, of a record; None where it has none."""
        if self.messages is not None:
            chat = read_messages(values[0], place)
            for message in chat or ():
                _check_characters(message.content, place)
            return chat
        for name, value in zip(self._columns, values, strict=True):
            if not (value is None or isinstance(value, str)):
                raise ValueError(
                    f"column {name!r} of the corpus must hold text, got {value!r} in {place}"
                )
            _check_characters(value, place)
        if not all(value and value.strip() for value in values):
            return None
        if self.is_chat:
            return Message("user", values[0]), Message("assistant", values[1])
        return values[0]

    def _split(self, documents: list[Any]) -> None:
        order = np.arange(len(documents))
        halves = tables.split(order, self.test_fraction, self.split_seed, name="corpus")
        self._keep(*([documents[i] for i in half] for half in (halves.train, halves.test)))

    def _keep(self, train: list[Any], test: list[Any]) -> None:
        self.train_chats = self.test_chats = ()
        if self.is_chat:
            self.train_chats, self.test_chats = tuple(train), tuple(test)
            train, test = ([format_messages(chat) for chat in half] for half in (train, test))
        self.train, self.test = tuple(train), tuple(test)


def _check_characters(value: str | None, place: str) -> None:
    """Check that a text can be written: JSON may hold halves of characters."""
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"texts of the corpus must be of whole characters, and {place} has the half of one, "
            f"U+{ord(error.object[error.start]):04X}"
        ) from None


class Text(AbstractText):
    r"""Documents from files.

    A `.txt` file is cut at a separator, and white space around documents is removed. In `.jsonl`
    and `.ndjson` (a JSON object a line), `.json` (the same, or one array of objects) and `.parquet`
    a record is a document: taken from a column; made of two, in the published format
    `user: {prompt}`, a new line, and `assistant: {response}`; or of a list of messages, in the same
    manner. All but `.parquet` may be packed, as `.gz` or, with the extra `[text]`, as `.zst`.
    Records without text are left out and counted.

    Args:
        path: the file, in UTF-8; a folder, of which all such files are read; or a pattern such as
            `"part-*.jsonl.gz"`.
        prompt: columns of prompts and of responses. Default none.
        response: columns of prompts and of responses. Default none.
        text: the column of documents, where there are no prompts. Default `"text"`.
        messages: the column of chats, each a list of messages with `role` and `content`. They are
            read as far as their last response. Default none.
        separator: what is between the documents of a `.txt` file. Default a new line: each line is
            a document. Use `"\n\n"` for paragraphs, `"<|endoftext|>"` for TinyStories.
        test_fraction: share of the documents that is kept for tests. Default 0.1.
        split_seed: seed of the split into training and test documents. Default 0.
        published_strip: repeat a fault of the published code, which cuts prompts of generated
            documents by `lstrip("user: ")`. Default False.
        skip_missing: leave out, and count, records of JSON that lack a column. Default they are
            refused.

    Raises:
        ValueError: for a file that is unreadable, of unknown suffix, not in UTF-8 or not JSON, for
            missing columns, for values that are not text, and for fewer than four documents.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "haiku.txt"
        ...     length = path.write_text("one\ntwo\n\nthree\nfour\nfive\n")
        ...     corpus = Text(path, test_fraction=0.4)
        >>> corpus.train, corpus.test
        (('four', 'one', 'two'), ('three', 'five'))
    """

    def __init__(
        self,
        path: str | Path,
        *,
        prompt: str | None = None,
        response: str | None = None,
        text: str | None = None,
        messages: str | None = None,
        separator: str = "\n",
        test_fraction: float = 0.1,
        split_seed: int = 0,
        published_strip: bool = False,
        skip_missing: bool = False,
    ):
        columns = (prompt, response, text, messages)
        super().__init__(*columns, test_fraction, split_seed, published_strip)
        self.skip_missing = bool(skip_missing)
        # The whole path, so that the run can be made again from another folder.
        self.path, self.separator = str(Path(path).expanduser().absolute()), separator
        if not separator:
            raise ValueError("separator must not be empty")
        path = Path(path).expanduser()
        rows = itertools.chain.from_iterable(map(self._rows, files.find(path)))
        self._split(self._documents(rows, path))

    def _rows(self, path: Path) -> Iterator[tuple[str, list[Any]]]:
        """Where each record of a file is, and its values."""
        kind = files.check_kind(path)
        if kind == ".txt":
            if self.is_chat or self.text is not None:
                raise ValueError(
                    f"columns of the corpus must not be given for .txt, got {self._columns[0]!r}"
                )
            pieces = files.read_text(path).split(self.separator)
            rows = ((f"piece {i}", [piece.strip()]) for i, piece in enumerate(pieces))
        elif kind == ".parquet":
            rows = records.read_parquet(path, self._columns)
        else:
            rows = records.read_json(path, self._columns, skip_missing=self.skip_missing)
        return ((f"{place} of {path}", values) for place, values in rows)
