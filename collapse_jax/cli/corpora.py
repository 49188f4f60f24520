"""The options of `collapse-jax` about documents and tokenizers."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:  # loaded by the command, so that help comes quickly
    from collapse_jax.language.corpora import AbstractText

_HUB = "hub:"
_Column = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(optional)")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Which documents to learn from."""

    corpus: Annotated[str, arg(metavar="FILE|hub:NAME")]
    """Documents: .txt, .jsonl, .jsonl.gz or .parquet, or a data set of the hub."""
    prompt: _Column = None
    """Column of prompts, to make documents of prompts and responses."""
    response: _Column = None
    """Column of responses."""
    text: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: text)")] = None
    """Column of documents, where there are no prompts."""
    separator: Annotated[str, arg(metavar="TEXT")] = r"\n"
    r"""What is between the documents of a .txt file; \n stands for a new line."""
    test_fraction: Annotated[float, arg(metavar="FLOAT")] = 0.1
    """Share of the documents that is kept for tests."""
    split_seed: Annotated[int, arg(metavar="INT")] = 0
    """Seed of the split into training and test documents."""

    def read(self) -> "AbstractText":
        """The corpus that the options describe."""
        from collapse_jax.language.corpora import Hub, Text

        columns = {"prompt": self.prompt, "response": self.response, "text": self.text}
        split = {"test_fraction": self.test_fraction, "split_seed": self.split_seed}
        if self.corpus.startswith(_HUB):
            return Hub(self.corpus.removeprefix(_HUB), **columns, **split)
        separator = self.separator.replace(r"\n", "\n")
        return Text(self.corpus, separator=separator, **columns, **split)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainTokenizer(CorpusOptions):
    """Train a tokenizer of byte pairs on the training documents of a corpus."""

    action: Positional[Literal["train"]]
    """What to do."""
    vocab_size: Annotated[int, arg(metavar="INT")] = 8000
    """Number of tokens, 257 or more."""
    out: Annotated[str, arg(metavar="FILE")] = "tokenizer.json"
    """Write the tokenizer to this file (.json)."""
