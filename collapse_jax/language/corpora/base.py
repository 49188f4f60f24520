"""What all corpora have in common."""

from abc import ABC, abstractmethod

from collapse_jax.language.corpora.chat import is_chat
from collapse_jax.language.tokenizers.base import AbstractTokenizer


class AbstractCorpus(ABC):
    """A source of real documents."""

    @property
    @abstractmethod
    def is_chat(self) -> bool:
        """Whether a document is a prompt and a response."""

    @property
    @abstractmethod
    def tokenizer(self) -> AbstractTokenizer:
        """The tokenizer that is used where none is given."""

    def accepts(self, document: str) -> bool:
        """Whether a generated document may become training data.

        In a chat it must start with `user: ` and contain exactly one `assistant: `; elsewhere
        every document may.
        """
        return not self.is_chat or is_chat(document)

    def reformat(self, document: str) -> str:
        """What an accepted document is as training data of the next generation: itself."""
        return document
