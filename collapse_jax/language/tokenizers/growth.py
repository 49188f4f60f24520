"""How much longer a tokenizer can make a text, before it is given one."""

from collections.abc import Mapping
from typing import Any

_MOST = 1000.0
"""Times a text's length: those of published tokenizers stay below ten."""
_PARTS = "normalizers", "decoders", "pretokenizers"


def check_growth(saved: Mapping[str, Any]) -> None:
    """Refuse a tokenizer whose replacements blow texts up: the library would take all memory.

    Args:
        saved: what its file says.

    Raises:
        ValueError: names the part, and how much longer texts may become.
    """
    for name in ("normalizer", "pre_tokenizer", "decoder"):
        times = _growth(saved.get(name))
        if times > _MOST:
            raise ValueError(
                f"its {name} makes texts up to {times:.3g} times as long, and at most {_MOST:g} "
                "times are allowed"
            )


def _growth(part: Any) -> float:
    """The most that a part multiplies lengths by."""
    if not isinstance(part, Mapping):
        return 1.0
    times = 1.0
    for name in _PARTS:
        inner = part.get(name)
        for one in inner if isinstance(inner, list) else ():
            times = min(times * _growth(one), 1e300)
    if part.get("type") == "Replace":
        pattern, content = part.get("pattern"), part.get("content")
        plain = pattern.get("String") if isinstance(pattern, Mapping) else None
        added = len(content) if isinstance(content, str) else 0
        if isinstance(plain, str) and plain:
            return times * max(1.0, added / len(plain))
        return times * (1.0 + added)  # an expression may find nothing at all, between any two
    return times
