"""What lies beside the weights of a checkpoint: its tokenizer, and how it is to be sampled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collapse_jax.language.tokenizers.base import AbstractTokenizer
from collapse_jax.language.tokenizers.files import FileTokenizer
from collapse_jax.language.tokenizers.special import read_optional
from collapse_jax.language.tokenizers.writing import written_by

_TOKENIZER, _GENERATION = "tokenizer.json", "generation_config.json"
_SPECIAL = _CONFIG, _MAP = "tokenizer_config.json", "special_tokens_map.json"
_OF_TOKENIZER = (
    _TOKENIZER,
    *_SPECIAL,
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
)
COMPANIONS = (*_OF_TOKENIZER, _GENERATION)
"""The files that belong to a checkpoint; those of an earlier one are removed with its weights."""


def companions_of(tokenizer: AbstractTokenizer | None, source: Path | None) -> dict[str, bytes]:
    """The files to write beside weights, by name, from which the same tokenizer is read again.

    Args:
        tokenizer: the one in use. Default that of the source, as it is.
        source: the folder of the checkpoint from which the weights came, if any.
    """
    found = {} if source is None else _read(source, (_GENERATION,))
    if tokenizer is None:
        return found | ({} if source is None else _read(source, _OF_TOKENIZER))
    found |= _of_tokenizer(tokenizer)
    if _GENERATION in found:
        settings = json.loads(found[_GENERATION])
        found[_GENERATION] = _json(settings | special_ids(tokenizer, settings))
    return found


def special_ids(tokenizer: AbstractTokenizer, config: Mapping[str, Any]) -> dict[str, Any]:
    """The ids of BOS and EOS; several of a configuration, where they include the tokenizer's."""
    ids: dict[str, Any] = {}
    for name, own in (("bos_token_id", tokenizer.bos_id), ("eos_token_id", tokenizer.eos_id)):
        several = config.get(name)
        ids[name] = several if isinstance(several, list) and own in several else own
    return ids


def _of_tokenizer(tokenizer: AbstractTokenizer) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if isinstance(tokenizer, FileTokenizer):
        path = tokenizer.path
        alone = path.is_file() and path.name != _TOKENIZER  # others beside it need not be its own
        found = _read(tokenizer.folder, _SPECIAL if alone else _OF_TOKENIZER)
        config = read_optional(tokenizer.folder / _CONFIG) or config
    if _TOKENIZER not in found:
        found[_TOKENIZER] = written_by(tokenizer).encode()
    ends = _ends(tokenizer, found[_TOKENIZER])
    named = json.loads(found.get(_MAP, b"{}"))
    for kept in (config, named) if named else (config,):
        for name, token in ends.items():
            if _content(kept.get(name)) != token:
                kept[name] = token
    found[_CONFIG] = _json(config)
    if named:
        found[_MAP] = _json(named)
    return found


def _ends(tokenizer: AbstractTokenizer, written: bytes) -> dict[str, str]:
    """BOS and EOS as a tokenizer.json writes them."""
    from tokenizers import Tokenizer

    read = Tokenizer.from_str(written.decode())
    ids = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id}
    return {name: token for name, i in ids.items() if (token := read.id_to_token(i)) is not None}


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _read(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Before anything is written: the files may be written to where they are."""
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
