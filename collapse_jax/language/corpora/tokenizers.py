"""Tokenizers: words of a fixed list, bytes, or what a `tokenizer.json` says."""

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from collapse_jax.basics import checks

# Where neither arguments nor tokenizer_config.json name them: in the order in which they are tried.
_BOS = ("<bos>", "<s>", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>")
_EOS = ("<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>")


class AbstractTokenizer(ABC):
    """Turns text into token ids and back. Neither way adds or expects BOS and EOS.

    No text becomes the ids of these two, whatever it says.
    """

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of ids, special tokens included: all ids are below it."""

    @property
    @abstractmethod
    def eos_id(self) -> int:
        """The token that ends a document."""

    @property
    @abstractmethod
    def bos_id(self) -> int:
        """The token in front of a document; it may be that which ends one."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of a text."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts."""
        return [self.encode(text) for text in texts]


@dataclasses.dataclass(frozen=True)
class WordTokenizer(AbstractTokenizer):
    r"""One id per word. Words are separated by spaces; a line's end is a word of its own.

    Args:
        words: all words, by id; the first is the end of a document.

    Example:
        >>> tokenizer = WordTokenizer(("<eos>", "\n", "hello", "you"))
        >>> tokenizer.encode("hello\nyou")
        [2, 1, 3]
        >>> tokenizer.decode([3, 2])
        'you hello'
    """

    words: tuple[str, ...]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words) if i != self.eos_id}

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    @property
    def eos_id(self) -> int:
        return 0

    @property
    def bos_id(self) -> int:
        return 0

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises `ValueError` for a word that is not in the list."""
        words = [word for word in text.replace("\n", " \n ").split(" ") if word]
        for word in words:
            if word not in self._ids:
                checks.one_of("words of the text", word, self._ids)
        return [self._ids[word] for word in words]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self.words[i] for i in ids).replace(" \n", "\n").replace("\n ", "\n")


@dataclasses.dataclass(frozen=True)
class ByteTokenizer(AbstractTokenizer):
    """One id per byte of UTF-8, and one more for the end of a document.

    Example:
        >>> ByteTokenizer().encode("né")
        [110, 195, 169]
        >>> ByteTokenizer().decode([110, 195, 169])
        'né'
    """

    @property
    def vocab_size(self) -> int:
        return 257

    @property
    def eos_id(self) -> int:
        return 256

    @property
    def bos_id(self) -> int:
        return 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD, the end of a document nothing."""
        return bytes(i for i in ids if i != self.eos_id).decode(errors="replace")


class FileTokenizer(AbstractTokenizer):
    """The tokenizer of a `tokenizer.json`, as Hugging Face's library `tokenizers` reads it.

    Args:
        path: the file, or the folder of a checkpoint that holds it.
        bos: the special tokens around a document. Default those of `tokenizer_config.json`
            in the same folder, else the first of the usual names that the vocabulary has.
        eos: see `bos`.

    Raises:
        ValueError: for a file that cannot be read, and for special tokens that are not in the
            vocabulary or cannot be found.
    """

    def __init__(self, path: str | Path, *, bos: str | None = None, eos: str | None = None):
        from tokenizers import Tokenizer

        path = Path(path)
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.is_file():
            raise ValueError(f"tokenizer must be a readable file, and there is no file {path}")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more specific
            raise ValueError(
                f"tokenizer must be a tokenizer.json; {path} is not: {str(error).splitlines()[0]}"
            ) from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # "</s>" in a text is text, not its end
        self.path = path
        named = _special_tokens(path.with_name("tokenizer_config.json"))
        self._eos = self._find("eos", eos or named["eos_token"], _EOS)
        self._bos = self._find("bos", bos or named["bos_token"], (*_BOS, *_EOS))

    def _find(self, name: str, token: str | None, usual: Sequence[str]) -> int:
        candidates = usual if token is None else (token,)
        for candidate in candidates:
            if (found := self._tokenizer.token_to_id(candidate)) is not None:
                return found
        special = [token.content for token in self._tokenizer.get_added_tokens_decoder().values()]
        raise ValueError(
            f"{name} must be a token of {self.path}, which has none of "
            f"{', '.join(map(repr, candidates))}; its special tokens are {special[:20]}"
        )

    @property
    def vocab_size(self) -> int:
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    @property
    def eos_id(self) -> int:
        return self._eos

    @property
    def bos_id(self) -> int:
        return self._bos

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)


def _special_tokens(path: Path) -> dict[str, str | None]:
    """The special tokens that a tokenizer_config.json names, where there is one."""
    config: dict[str, Any] = {}
    if path.is_file():
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} must be JSON in UTF-8: {error}") from None
    tokens = {}
    for name in ("bos_token", "eos_token"):
        token = config.get(name)
        tokens[name] = token.get("content") if isinstance(token, dict) else token
    return tokens


def check_vocabulary(tokenizer: AbstractTokenizer, embedding_size: int) -> None:
    """Check that a model has an embedding for each token.

    Raises:
        ValueError: where it has not.
    """
    if tokenizer.vocab_size > embedding_size:
        raise ValueError(
            f"tokenizer must have at most the {embedding_size:,} tokens of the model's embedding, "
            f"got a vocabulary of {tokenizer.vocab_size:,}"
        )
