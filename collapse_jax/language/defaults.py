"""What a language model takes where its user says nothing."""

from typing import Any

from collapse_jax.basics import checks
from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.real import is_drawn
from collapse_jax.language.corpora.tokenizers import AbstractTokenizer, FileTokenizer
from collapse_jax.language.model.architecture import Architecture, preset
from collapse_jax.language.model.sampling import Sampling
from collapse_jax.language.model.training import Optimizer
from collapse_jax.language.weights import huggingface


def check_parts(tokenizer: Any, optimizer: Any, sampling: Any) -> None:
    """Check that what is given is of its kind.

    Raises:
        TypeError: if it is not.
    """
    for name, value, kind in (
        ("tokenizer", tokenizer, AbstractTokenizer),
        ("optimizer", optimizer, Optimizer),
        ("sampling", sampling, Sampling),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} must be an {kind.__name__}, got {value!r}")


def find_tokenizer(
    tokenizer: AbstractTokenizer | None, corpus: AbstractCorpus | None, checkpoint: str | None
) -> AbstractTokenizer | None:
    """The given tokenizer, the checkpoint's or the corpus's."""
    if tokenizer is None and checkpoint is not None and corpus is not None:
        folder = huggingface.find(checkpoint)
        if (folder / "tokenizer.json").exists():
            return FileTokenizer(folder)
    if tokenizer is None and corpus is not None:
        return corpus.tokenizer
    return tokenizer


def find_context(
    context: int | None, corpus: AbstractCorpus | None, tokenizer: AbstractTokenizer | None
) -> int:
    """The most tokens of a document: what is given, what a grammar needs, or 512."""
    if context is not None:
        return checks.whole_number("context", context)
    return corpus.max_length if is_drawn(corpus, tokenizer) else 512  # pyright: ignore


def find_architecture(
    model: str | Architecture | None,
    checkpoint: str | None,
    tokenizer: AbstractTokenizer | None,
    context: int,
) -> Architecture:
    """The shape of the model: the checkpoint's, the given one or a preset.

    Raises:
        ValueError: if there is none, or more than one.
    """
    if checkpoint is not None:
        if model is not None:
            raise ValueError(f"model must not be given with a checkpoint, got {model!r}")
        return huggingface.load_architecture(checkpoint)
    if isinstance(model, Architecture):
        return model
    if tokenizer is None:
        raise ValueError("tokenizer must be given where the corpus has none")
    found = preset(model or "tiny", vocab_size=tokenizer.vocab_size)
    if model is None and context > found.context:
        found = preset("tiny", vocab_size=found.vocab_size, context=context)
    return found
