"""What a language model takes where its user says nothing."""

from typing import Any

from collapse_jax.basics import checks
from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.grammar import Grammar
from collapse_jax.language.model.architecture import Architecture, preset
from collapse_jax.language.model.lora import LoRA
from collapse_jax.language.model.sampling import Sampling
from collapse_jax.language.model.training import Optimizer
from collapse_jax.language.real import is_drawn
from collapse_jax.language.tokenizers.base import AbstractTokenizer, WordTokenizer
from collapse_jax.language.tokenizers.files import FileTokenizer, has_tokenizer
from collapse_jax.language.weights import adapters, huggingface


def check_parts(tokenizer: Any, optimizer: Any, sampling: Any, lora: Any) -> None:
    """Check that what is given is of its kind.

    Raises:
        TypeError: if it is not.
    """
    for name, value, kind in (
        ("tokenizer", tokenizer, AbstractTokenizer),
        ("optimizer", optimizer, Optimizer),
        ("sampling", sampling, Sampling),
        ("lora", lora, LoRA),
    ):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} must be an {kind.__name__}, got {value!r}")


def find_tokenizer(
    tokenizer: AbstractTokenizer | None, corpus: AbstractCorpus | None, checkpoint: str | None
) -> AbstractTokenizer | None:
    """The given tokenizer, the checkpoint's or the corpus's.

    A grammar is read in its own words where the checkpoint has these words, or no tokenizer.

    Raises:
        ValueError: for a checkpoint without a tokenizer, or with one of an unknown kind, that is to
            learn a text: other ids than those it was trained with would mean nothing to it.
    """
    if tokenizer is not None or corpus is None:
        return tokenizer
    folder = None if checkpoint is None else huggingface.find(checkpoint)
    if folder is not None and not has_tokenizer(folder):
        folder = adapters.base_of(folder)
    if folder is not None and has_tokenizer(folder):
        found, own = FileTokenizer(folder), corpus.tokenizer
        return own if isinstance(own, WordTokenizer) and found.tokens == own.words else found
    if folder is not None and not isinstance(corpus, Grammar):
        raise ValueError(
            f"tokenizer must be given: there is none in {folder}. It must be that with which the "
            "checkpoint was trained; FileTokenizer(path) reads a tokenizer.json, and "
            "ByteTokenizer(), on the command line --tokenizer bytes, makes tokens of bytes"
        )
    return corpus.tokenizer


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
        return huggingface.load_architecture(adapters.base_of(checkpoint))
    if isinstance(model, Architecture):
        return model
    if tokenizer is None:
        raise ValueError("tokenizer must be given where the corpus has none")
    found = preset(model or "tiny", vocab_size=tokenizer.vocab_size)
    if model is None and context > found.context:
        found = preset("tiny", vocab_size=found.vocab_size, context=context)
    return found
