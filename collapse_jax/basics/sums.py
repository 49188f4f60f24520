"""Check sums of what is written, so that every byte that is read back is the one that was written.

They are for damage, not for malice: cryptographic ones would take most of the time of saving.
"""

import json
import os
import zlib
from pathlib import Path
from typing import Any

from collapse_jax.basics.files import write_atomically

_SUM, _SEAL = "sum", "seal.json"
_PART = 2**24  # bytes read at a time


def signed(entries: dict[str, Any]) -> str:
    """Entries as JSON, with a check sum of them among them.

    Example:
        >>> unsigned(signed({"seeds": [1, 2]}))
        {'seeds': [1, 2]}
    """
    return json.dumps({**entries, _SUM: _sum_of(entries)}, indent=1)


def unsigned(text: str) -> dict[str, Any]:
    """The entries of a text that `signed` made.

    Raises:
        ValueError: if they are not those that were signed.
    """
    try:
        entries = json.loads(text)
        said = entries.pop(_SUM)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise ValueError("it is no JSON with a check sum") from None
    if said != _sum_of(entries):
        raise ValueError("its check sum differs")
    return entries


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Write down, in a folder that is whole, the size and the check sum of each of its files.

    Args:
        folder: the folder.
        about: what it holds, which is written down as well.
    """
    text = signed({"about": about, "files": _files(folder)})
    write_atomically(folder / _SEAL, lambda name: Path(name).write_text(text))


def check_seal(folder: Path, about: dict[str, Any]) -> None:
    """Check that a folder holds, byte for byte, what was sealed, and that it is about the same.

    Raises:
        ValueError: if it does not; names the file.
        OSError: if a file cannot be read.
    """
    seal = _read_seal(folder)
    if seal["about"] != about:
        raise ValueError(f"{folder / _SEAL} is of {seal['about']} and not of {about}")
    found = _files(folder)
    for name in sorted({*found, *seal["files"]}):
        if found.get(name) != seal["files"].get(name):
            reason = "is missing" if name not in found else "is not what was written"
            raise ValueError(f"{folder / name} {reason}")


def sealed(folder: Path) -> dict[str, Any]:
    """What a folder that was sealed says that it holds. Raises as `check_seal` does."""
    return _read_seal(folder)["about"]


def _read_seal(folder: Path) -> dict[str, Any]:
    path = folder / _SEAL
    if not path.exists():
        raise ValueError(f"{path} is missing, without which it is not whole")
    try:
        return unsigned(path.read_text(errors="replace"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def sum_of_file(path: Path) -> str:
    """The size and the check sum of a file, as a word.

    Raises:
        OSError: if it cannot be read.
    """
    size, found = _file(path)
    return f"{size}-{found:08x}"


def _sum_of(entries: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(entries, sort_keys=True).encode())


def _files(folder: Path) -> dict[str, list[int]]:
    """Size and check sum of all files of a folder but its seal."""
    walked = os.walk(folder, onerror=_raise)  # `Path.rglob` leaves out what it may not list
    paths = (Path(place, name) for place, _, names in walked for name in names if name != _SEAL)
    return {str(path.relative_to(folder)): _file(path) for path in sorted(paths)}


def _raise(error: OSError) -> None:
    raise error


def _file(path: Path) -> list[int]:
    size = found = 0
    with open(path, "rb") as file:
        while part := file.read(_PART):
            size, found = size + len(part), zlib.crc32(part, found)
    return [size, found]
