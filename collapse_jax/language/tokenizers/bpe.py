"""Training of a tokenizer."""

from collections.abc import Iterable
from pathlib import Path

from collapse_jax.basics import checks, files

END_OF_TEXT = "<|endoftext|>"
"""The only special token of a trained tokenizer, around documents on both sides."""

_SMALLEST = 257  # all bytes, so that every text can be written, and END_OF_TEXT


def train_bpe(documents: Iterable[str], vocab_size: int, path: str | Path) -> int:
    """Train byte-pair encoding on documents, and write it as a `tokenizer.json`.

    It works on bytes, as that of GPT-2: every text can be written and comes back unchanged.

    Args:
        documents: texts to count pairs in.
        vocab_size: number of tokens, 257 or more.
        path: where to write the file, which ends in `.json`.

    Returns:
        the number of tokens, which is less than asked for where the documents have too
        few pairs that occur twice.

    Raises:
        ValueError: for a size that is too small and for a path that cannot be written (`TypeError`
            for another type).
    """
    path = check_arguments(vocab_size, path)
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # type: ignore
    tokenizer.train_from_iterator(documents, trainer)
    files.write_atomically(path, tokenizer.save)
    return tokenizer.get_vocab_size()


def check_arguments(vocab_size: int, path: str | Path) -> Path:
    """The path, if `train_bpe` accepts it and the size. Raises what it raises."""
    checks.whole_number("vocab_size", vocab_size, minimum=_SMALLEST)
    return files.check_writable("out", path, (".json",))
