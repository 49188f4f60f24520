"""The user's own documents, from files and from the hub of Hugging Face."""

import hashlib
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from collapse_jax.language.corpora import records
from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.chat import format_chat, split_chat
from collapse_jax.language.tokenizers.base import ByteTokenizer
from collapse_jax.tasks.parts import tables


class AbstractText(AbstractCorpus):
    """Documents that people wrote, split once and for all into training and test documents.

    - `train`, `test`: the documents, in random order.
    - `skipped`: number of records without text, which are left out.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    skipped: int

    def __init__(
        self,
        prompt: str | None,
        response: str | None,
        text: str | None,
        test_fraction: float,
        split_seed: int,
        published_strip: bool,
    ):
        if (prompt is None) != (response is None):
            missing = "prompt" if prompt is None else "response"
            raise ValueError(f"prompt and response must be given together, got no {missing}")
        if prompt is not None and text is not None:
            raise ValueError(f"text cannot be given together with prompt, got {text!r}")
        if published_strip and prompt is None:
            raise ValueError("published_strip must be False where there are no prompts")
        self.prompt, self.response, self.text = prompt, response, text
        self.test_fraction, self.split_seed = test_fraction, split_seed
        self.published_strip = published_strip

    @property
    def is_chat(self) -> bool:
        return self.prompt is not None

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

    def reformat(self, document: str) -> str:
        """What an accepted document is as training data of the next generation.

        In a chat it is taken apart and put together again; it stays what it is if it has the line
        break before `assistant: `, and unless `published_strip` spoils its prompt.
        """
        if not self.is_chat:
            return document
        return format_chat(*split_chat(document, self.published_strip))

    @property
    def _columns(self) -> list[str]:
        """The columns that are read."""
        if self.prompt is not None and self.response is not None:
            return [self.prompt, self.response]
        return ["text" if self.text is None else self.text]

    def _documents(self, rows: Iterable[tuple[str, list[Any]]], source: object) -> list[str]:
        """Documents of records, and how many had none, in `skipped`."""
        documents, n_rows = [], 0
        for place, values in rows:
            n_rows += 1
            for name, value in zip(self._columns, values, strict=True):
                if not (value is None or isinstance(value, str)):
                    raise ValueError(
                        f"column {name!r} of the corpus must hold text, got {value!r} in {place} "
                        f"of {source}"
                    )
                _check_characters(value, f"{place} of {source}")
            if all(value and value.strip() for value in values):
                documents.append(format_chat(*values) if self.is_chat else values[0])
        self.skipped = n_rows - len(documents)
        if not documents:
            raise ValueError(
                f"corpus must have a document, and none of the {n_rows} records of {source} "
                "has text"
            )
        return documents

    def _split(self, documents: list[str]) -> None:
        rows = np.array(documents, dtype=object)
        halves = tables.split(rows, self.test_fraction, self.split_seed)
        self.train, self.test = tuple(halves.train), tuple(halves.test)


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
    r"""Documents from a file.

    A `.txt` file is cut at a separator, and white space around documents is removed. In `.jsonl`,
    `.jsonl.gz` (one JSON object per line) and `.parquet` a record is a document, taken from a
    column or made of two, in the published format `user: {prompt}`, a new line, and
    `assistant: {response}`. Records without text are left out and counted.

    Args:
        path: the file, in UTF-8.
        prompt: columns of prompts and of responses. Default none.
        response: columns of prompts and of responses. Default none.
        text: the column of documents, where there are no prompts. Default `"text"`.
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
        separator: str = "\n",
        test_fraction: float = 0.1,
        split_seed: int = 0,
        published_strip: bool = False,
        skip_missing: bool = False,
    ):
        super().__init__(prompt, response, text, test_fraction, split_seed, published_strip)
        self.skip_missing = bool(skip_missing)
        # The whole path, so that the run can be made again from another folder.
        self.path, self.separator = str(Path(path).expanduser().absolute()), separator
        path = Path(path).expanduser()
        kind = records.check_suffix(path)
        if not separator:
            raise ValueError("separator must not be empty")
        if kind == ".txt":
            if self.is_chat or text is not None:
                raise ValueError(
                    f"columns of the corpus must not be given for .txt, got {self._columns[0]!r}"
                )
            pieces = records.read_text(path).split(separator)
            rows = ((f"piece {i}", [piece.strip()]) for i, piece in enumerate(pieces))
        elif kind == ".parquet":
            rows = records.read_parquet(path, self._columns)
        else:
            rows = records.read_lines(path, self._columns, skip_missing=self.skip_missing)
        self._split(self._documents(rows, path))


class Hub(AbstractText):
    """Documents from a data set of the hub of Hugging Face. Needs the extra `[hub]`.

    Args:
        name: name of the data set, `owner/name`.
        subset: which of the data set's configurations. Default its own default.
        split: which documents, in the notation of the library `datasets`: `"train"`,
            `"train[:10000]"`. Default `"train"`.
        test_split: the data set's own documents for tests, such as `"validation"`. Default None:
            they are taken from `split`.
        revision: which version of the data set: a branch, a tag or a commit.
        prompt: as for `Text`.
        response: as for `Text`.
        text: as for `Text`.
        test_fraction: as for `Text`.
        split_seed: as for `Text`.
        published_strip: as for `Text`.

    Raises:
        ValueError: for a malformed name, without the extra, where the hub cannot be reached or has
            no such data set, and for what `Text` refuses.
    """

    def __init__(
        self,
        name: str,
        *,
        subset: str | None = None,
        split: str = "train",
        test_split: str | None = None,
        revision: str | None = None,
        prompt: str | None = None,
        response: str | None = None,
        text: str | None = None,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        published_strip: bool = False,
    ):
        super().__init__(prompt, response, text, test_fraction, split_seed, published_strip)
        if not re.fullmatch(r"([\w.-]+/)?[\w.-]+", name, re.ASCII):
            raise ValueError(
                f"name must be that of a data set on the hub, as 'owner/name', got {name!r}; "
                "a file is read by Text(path)"
            )
        self.name, self.subset, self.revision = name, subset, revision
        self.split, self.test_split = split, test_split
        documents = self._load(split)
        if test_split is None:
            self._split(documents)
        else:
            self.train, skipped = tuple(documents), self.skipped
            self.test = tuple(self._load(test_split))
            self.skipped += skipped

    def _load(self, split: str) -> list[str]:
        try:
            import datasets  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ValueError(
                "a corpus from the hub needs the extra [hub]: pip install 'collapse_jax[hub]'"
            ) from None
        try:
            table: Any = datasets.load_dataset(
                self.name, self.subset, split=split, revision=self.revision
            )
        except Exception as error:  # the library raises what its many libraries raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"name must be a data set that can be loaded; {self.name} cannot be, perhaps for "
                f"want of a network: {reason}. A file is read by Text(path)"
            ) from None
        for column in self._columns:
            records.check_column(column, table.column_names, self.name)
        rows = zip(*(table[column] for column in self._columns), strict=True)
        places = ((f"row {i}", list(row)) for i, row in enumerate(rows))
        return self._documents(places, f"{self.name}, {split}")
