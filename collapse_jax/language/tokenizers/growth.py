"""How much longer a tokenizer can make a text, before it is given one."""

import base64
import math
import re
from collections.abc import Mapping
from typing import Any

_MOST = 2000.0
"""Times a text's length: published tokenizers stay below that, most of them below twenty."""
_LISTS = "normalizers", "pretokenizers", "decoders", "processors"
_WAYS = (("normalizer", "pre_tokenizer", "model", "post_processor"), ("decoder",))
"""What a text passes through, and what ids do."""
_KNOWN: dict[str, dict[str, int]] = {
    "normalizer": {
        **{"BertNormalizer": 6, "ByteLevel": 4, "Lowercase": 2, "Nmt": 1, "Strip": 1},
        **{"NFC": 3, "NFD": 4, "NFKC": 18, "NFKD": 18, "StripAccents": 1, "Sequence": 1},
    },
    "pre_tokenizer": {
        **{"BertPreTokenizer": 1, "ByteLevel": 5, "CharDelimiterSplit": 1, "Digits": 1},
        **{"FixedLength": 1, "Metaspace": 2, "Punctuation": 1, "Sequence": 1, "Split": 1},
        **{"UnicodeScripts": 1, "Whitespace": 1, "WhitespaceSplit": 1},
    },
    "model": {"BPE": 1, "Unigram": 1, "WordLevel": 1, "WordPiece": 1},
    "post_processor": {"BertProcessing": 1, "ByteLevel": 1, "RobertaProcessing": 1, "Sequence": 1},
    "decoder": {
        **{"BPEDecoder": 3, "ByteFallback": 1, "ByteLevel": 1, "CTC": 3, "Fuse": 1},
        **{"Metaspace": 1, "Sequence": 1, "Strip": 1, "WordPiece": 2},
    },
}
"""The most that parts without texts of their own multiply lengths by, in characters or tokens."""
_AFFIXES = "continuing_subword_prefix", "end_of_word_suffix"
_ONE_AT_LEAST = re.compile(r"(\\[sSdDwW]|\[[^\]\[]+\]|[^\\\[\](){}*+?|^$.])(\+|\{[1-9]\d*,?\d*\})?")
"""Expressions that certainly find no empty text."""


def check_growth(saved: Mapping[str, Any]) -> None:
    """Refuse a tokenizer that may blow texts up: the library would take all memory.

    Args:
        saved: what its file says.

    Raises:
        ValueError: names the part, and how much longer texts may become; or a part of which that
            is not known.
    """
    for way in _WAYS:
        times = {name: _growth(name, saved.get(name)) for name in way}
        if math.prod(times.values()) > _MOST:
            worst = max(times, key=times.__getitem__)
            raise ValueError(
                f"its {worst} makes texts up to {times[worst]:.3g} times as long, all together up "
                f"to {math.prod(times.values()):.3g} times, and at most {_MOST:g} times are allowed"
            )


def _growth(name: str, part: Any) -> float:
    """The most that a part multiplies lengths by."""
    if not isinstance(part, Mapping):
        return 1.0
    kind = part.get("type")
    if kind is None and name == "model":  # which older files leave out
        kind = "BPE" if "merges" in part else "Unigram" if "unk_id" in part else "WordPiece"
    times = 1.0
    for inner in (part.get(key) for key in _LISTS):
        for one in inner if isinstance(inner, list) else ():
            times = min(times * _growth(name, one), 1e100)
    known = _KNOWN[name].get(str(kind))
    if name == "model" and known is not None:
        affixes = sum(_length(part.get(key)) for key in _AFFIXES)
        return float(affixes + (4 if part.get("byte_fallback") else known))
    if known is not None:
        return times * known
    if kind == "Replace" and name in ("normalizer", "decoder"):
        return _of_replacement(part.get("pattern"), _length(part.get("content")))
    if kind == "Prepend" and name == "normalizer":
        return 1.0 + _length(part.get("prepend"))
    if kind == "Precompiled" and name == "normalizer":
        return _of_map(part.get("precompiled_charsmap"))
    if kind == "TemplateProcessing" and name == "post_processor":
        pieces = part.get("single")
        often = sum("Sequence" in p for p in pieces) if isinstance(pieces, list) else 0
        return float(max(often, 1))
    raise ValueError(
        f"its {name} has a part {str(kind)[:40]!r}, of which is not known how much longer it makes "
        "texts"
    )


def _length(text: Any) -> int:
    return len(text) if isinstance(text, str) else 0


def _of_replacement(pattern: Any, added: int) -> float:
    pattern = pattern if isinstance(pattern, Mapping) else {}
    plain, expression = pattern.get("String"), pattern.get("Regex")
    if isinstance(plain, str) and plain:
        return max(1.0, added / len(plain))
    if isinstance(expression, str) and _ONE_AT_LEAST.fullmatch(expression):
        return max(1.0, float(added))
    return 1.0 + 2.0 * added  # it may find nothing at all, before and after each


def _of_map(packed: Any) -> float:
    """Of a table of characters and what stands for them: the longest of these."""
    table = base64.b64decode(packed) if isinstance(packed, str) else b""
    if not table:
        return 1.0
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    return float(max(1, *(len(t.decode(errors="replace")) for t in texts.split(b"\0"))))
