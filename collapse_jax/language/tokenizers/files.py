"""Tokenizers from the files of a checkpoint."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from collapse_jax.language.tokenizers.base import AbstractTokenizer, Located
from collapse_jax.language.tokenizers.growth import check_growth
from collapse_jax.language.tokenizers.special import find_special, read_optional

_WHOLE, _VOCABULARY, _MERGES = "tokenizer.json", "vocab.json", "merges.txt"
_LARGEST = 2**28
_BYTE_PAIRS = (None, "GPT2Tokenizer", "GPT2TokenizerFast")
_OTHERS = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "tekken.json",
    _VOCABULARY,
)


class FileTokenizer(AbstractTokenizer):
    """The tokenizer of a `tokenizer.json`, as Hugging Face's library `tokenizers` reads it.

    The older `vocab.json` and `merges.txt` of GPT-2 serve as well, in a folder.

    Args:
        path: the file, or the folder of a checkpoint that holds it.
        bos: the special tokens around a document. Default those that the other files of the
            folder name, as transformers reads them (`tokenizer_config.json`,
            `special_tokens_map.json`, then the ids in `generation_config.json` and `config.json`),
            else the first of the usual names that the vocabulary has.
        eos: see `bos`.

    Raises:
        ValueError: for files that cannot be read or are of another kind, and for special tokens
            that are not in the vocabulary or cannot be found.
    """

    def __init__(self, path: str | Path, *, bos: str | None = None, eos: str | None = None):
        path = Path(path).expanduser().absolute()
        self.path, self.bos, self.eos = path, bos, eos
        folder = self.folder = path if path.is_dir() else path.parent
        file = path / _WHOLE if path.is_dir() else path
        converted = path.is_dir() and not file.is_file() and has_tokenizer(path)
        self._tokenizer = _byte_pairs(folder) if converted else _read(file)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # "</s>" in a text is text, not its end
        self._eos = self._find("eos", folder, eos)
        self._bos = self._find("bos", folder, bos)

    def _find(self, name: str, folder: Path, given: str | None) -> int:
        id_of = self._tokenizer.token_to_id
        found, tried = find_special(name, folder, given, id_of, self.vocab_size)
        if found is not None:
            return found
        special = [token.content for token in self._tokenizer.get_added_tokens_decoder().values()]
        raise ValueError(
            f"{name} must be a token of {self.path}, which has none of "
            f"{', '.join(map(repr, tried))}; its special tokens are {special[:20]}"
        )

    @cached_property
    def vocab_size(self) -> int:
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    @property
    def eos_id(self) -> int:
        return self._eos

    @property
    def bos_id(self) -> int:
        return self._bos

    @cached_property
    def fingerprint(self) -> str:
        """A short name of all that it does, by which a dataset remembers it."""
        written = f"{self._tokenizer.to_str()}{self._bos} {self._eos}"
        return hashlib.sha256(written.encode()).hexdigest()[:16]

    @property
    def written(self) -> str:
        """What a `tokenizer.json` holds of it."""
        return self._tokenizer.to_str(pretty=True)

    @property
    def tokens(self) -> tuple[str | None, ...]:
        """All tokens by id; None for ids that have none."""
        by_id = {i: token for token, i in self._tokenizer.get_vocab().items()}
        return tuple(map(by_id.get, range(self.vocab_size)))

    def possible(self, n_scores: int) -> Bool[np.ndarray, " vocab"] | None:
        known = np.zeros(n_scores, bool)
        known[list(self._tokenizer.get_vocab().values())] = True
        return None if known.all() else known

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def locate(self, text: str) -> Located:
        return self.locate_all([text])[0]

    def locate_all(self, texts: Sequence[str], *, special: bool = False) -> list[Located]:
        """The ids of texts, and which part of its text each stands for.

        Args:
            texts: what to read.
            special: whether special tokens in them are read as such.
        """
        self._tokenizer.encode_special_tokens = not special
        try:
            found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        finally:
            self._tokenizer.encode_special_tokens = True
        return [Located(encoding.ids, encoding.offsets) for encoding in found]

    @property
    def special(self) -> tuple[str, ...]:
        """The special tokens."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        return tuple(token.content for token in added if token.special)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Their ids."""
        added = self._tokenizer.get_added_tokens_decoder().items()
        return frozenset(i for i, token in added if token.special)

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of ids, without special tokens unless these are asked for."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=not special)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has the files of a tokenizer, of a kind that can be read or not."""
    return any((folder / name).is_file() for name in (_WHOLE, *_OTHERS))


def _read(file: Path) -> Any:
    from tokenizers import Tokenizer

    if not file.is_file():
        raise ValueError(f"tokenizer must be a readable file, and there is no file {file}")
    try:
        if (size := file.stat().st_size) > _LARGEST:
            raise ValueError(f"it has {size:,} bytes, and at most {_LARGEST:,} are allowed")
        check_growth(json.loads(file.read_text(encoding="utf-8")))
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_padding()  # first, as the file says how long it would be
        tokenizer.no_truncation()
        tokenizer.encode("a", add_special_tokens=False)
        return tokenizer
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises nothing more specific, and this in a panic
        raise ValueError(
            f"tokenizer must be a tokenizer.json; {file} is not: "
            f"{(str(error).splitlines() or [''])[0]}"
        ) from None


def _byte_pairs(folder: Path) -> Any:
    """GPT-2's tokenizer from its own two files.

    Raises:
        ValueError: for the files of another tokenizer.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    config = read_optional(folder / "tokenizer_config.json")
    files = [folder / name for name in (_VOCABULARY, _MERGES)]
    kind = config.get("tokenizer_class")
    if not all(file.is_file() for file in files) or kind not in _BYTE_PAIRS:
        found = ", ".join(name for name in (*_OTHERS, _MERGES) if (folder / name).is_file())
        raise ValueError(
            f"tokenizer must be a tokenizer.json, or the vocab.json and merges.txt of GPT-2; "
            f"{folder} has {found}" + (f" of a {kind}" if kind else "") + ". Load it by "
            "AutoTokenizer of transformers and save it there again, which writes a tokenizer.json"
        )
    try:
        tokenizer = Tokenizer(models.BPE.from_file(*map(str, files)))
    except Exception as error:
        raise ValueError(
            f"tokenizer must be readable; the files of {folder} are not: {error}"
        ) from None
    spaced = bool(config.get("add_prefix_space", False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)  # type: ignore
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore
    known = tokenizer.get_vocab()
    added = read_optional(folder / "added_tokens.json")
    named = {**config, **read_optional(folder / "special_tokens_map.json")}
    tokens = [named.get(f"{name}_token") for name in ("bos", "eos", "unk", "pad")]
    contents = [token.get("content") if isinstance(token, dict) else token for token in tokens]
    contents += ["<|endoftext|>", *sorted(added, key=lambda token: added[token])]
    special = [c for c in dict.fromkeys(contents) if c and (c in known or c in added)]
    tokenizer.add_special_tokens([AddedToken(c, special=True, normalized=False) for c in special])
    if wrong := [c for c, number in added.items() if tokenizer.token_to_id(c) != number]:
        raise ValueError(
            f"ids of added_tokens.json must go on where vocab.json ends, and those of "
            f"{', '.join(wrong[:4])} in {folder} do not"
        )
    return tokenizer
