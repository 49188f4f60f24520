"""What tokenizers have in common, and two that need no file: words of a fixed list, and bytes."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from collapse_jax.basics import checks


class Located(NamedTuple):
    """Ids, and the places in the text that they stand for."""

    ids: list[int]
    places: list[tuple[int, int]]
    """First character, and the one after the last."""


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

    def possible(self, n_scores: int) -> Bool[np.ndarray, " vocab"] | None:
        """Which of a model's scores are of tokens; None where all are.

        Models often have more, so that their number is a round one.

        Args:
            n_scores: how many scores a model makes, at least the vocabulary's size.
        """
        if n_scores == self.vocab_size:
            return None
        return np.arange(n_scores) < self.vocab_size

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts."""
        return [self.encode(text) for text in texts]

    def locate(self, text: str) -> Located:
        """The ids of a text, and which part of it each stands for.

        Here by reading them again, one more each time.
        """
        ids = self.encode(text)
        ends = [len(self.decode(ids[: i + 1])) for i in range(len(ids))]
        return Located(ids, list(zip([0, *ends], ends, strict=False)))

    def locate_all(self, texts: Sequence[str]) -> list[Located]:
        """The same of many texts."""
        return [self.locate(text) for text in texts]


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

    def locate(self, text: str) -> Located:
        places = [(i, i + 1) for i, character in enumerate(text) for _ in character.encode()]
        return Located(self.encode(text), places)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD, the end of a document nothing."""
        return bytes(i for i in ids if i != self.eos_id).decode(errors="replace")


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
