"""Tokenizers as the text of a `tokenizer.json`, which transformers can read."""

from typing import Any

from collapse_jax.language.tokenizers.base import AbstractTokenizer, ByteTokenizer, WordTokenizer
from collapse_jax.language.tokenizers.bpe import END_OF_TEXT
from collapse_jax.language.tokenizers.files import FileTokenizer


def written_by(tokenizer: AbstractTokenizer) -> str:
    """What a `tokenizer.json` holds that makes the same ids of a text.

    Raises:
        ValueError: for a tokenizer of the user's own.
    """
    if isinstance(tokenizer, FileTokenizer):
        return tokenizer.written
    if isinstance(tokenizer, ByteTokenizer):
        return _bytes().to_str(pretty=True)
    if isinstance(tokenizer, WordTokenizer):
        return _words(tokenizer).to_str(pretty=True)
    raise ValueError(
        f"tokenizer must be one of words, of bytes or from a file to be written, got {tokenizer!r}"
    )


def _bytes() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    level: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    shown = _shown_bytes()
    tokenizer = Tokenizer(models.BPE({character: i for i, character in enumerate(shown)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = level, decoders.ByteLevel()  # type: ignore
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True)])
    return tokenizer


def _shown_bytes() -> list[str]:
    """The character that stands for each byte in a byte-level tokenizer."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in plain else next(others)) for byte in range(0x100)]


def _words(tokenizer: WordTokenizer) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    first = tokenizer.words[0]
    ids = {word: i for i, word in enumerate(tokenizer.words)}
    made = Tokenizer(models.WordLevel(ids, unk_token=first))
    made.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Split(Regex(" +"), "removed"),
        ]
    )
    # Words with a space between them, and none around the end of a line.
    ends = [decoders.Replace(" \n", "\n"), decoders.Replace("\n ", "\n")]
    made.decoder = decoders.Sequence(  # type: ignore
        [decoders.WordPiece(prefix="\0", cleanup=False), decoders.Fuse(), *ends]
    )
    made.add_special_tokens([AddedToken(first, special=True)])
    return made
