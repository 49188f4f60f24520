"""Which files hold a corpus, and what is in them: folders, patterns, packed files."""

import glob
import gzip
from pathlib import Path

from collapse_jax.basics import checks
from collapse_jax.basics.files import check_regular

_PACKED = ("", ".gz", ".zst")
SUFFIXES = (
    *(f"{kind}{packed}" for kind in (".txt", ".json", ".jsonl", ".ndjson") for packed in _PACKED),
    ".parquet",
)
"""The files that can be read."""


def find(path: Path) -> list[Path]:
    """The files of a corpus: one, those of a folder and of its folders, or those of a pattern.

    Files and folders whose names begin with a dot are passed over, and so are, in a folder, files
    of other kinds.

    Args:
        path: a file, a folder, or a pattern with `*`, `?` or `[...]`; `**` are any folders.

    Raises:
        ValueError: where there is none, and for a pipe or a device.
    """
    if path.is_dir():
        inside = (p for p in path.rglob("*") if suffix(p) in SUFFIXES)
        found = [p for p in inside if not _hidden(p.relative_to(path))]
        where = f"in the folder {path}"
    elif glob.has_magic(str(path)) and not path.exists():
        found = [Path(p) for p in glob.glob(str(path), recursive=True)]
        where = f"of the pattern {path}"
    else:
        check_regular("corpus", path)
        return [path]
    found = sorted(p for p in found if p.is_file())
    if not found:
        raise ValueError(
            f"corpus must be a readable file, and there is none {where}; files end in "
            f"{', '.join(SUFFIXES)}"
        )
    return found


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def suffix(path: Path) -> str:
    """The end of a file's name by which its kind is known, in small letters."""
    packed = path.suffix.lower() in _PACKED[1:]
    return "".join(path.suffixes[-2:] if packed else [path.suffix]).lower()


def check_kind(path: Path) -> str:
    """The kind of a file, packed or not. Raises `ValueError` for one that cannot be read."""
    found = checks.one_of("the suffix of the corpus", suffix(path), SUFFIXES)
    return found.removesuffix(".gz").removesuffix(".zst")


def are_plain(path: str) -> bool:
    """Whether all files of a corpus are texts without columns.

    Raises:
        ValueError: where there is none, and for one that cannot be read.
    """
    return all(check_kind(found) == ".txt" for found in find(Path(path).expanduser()))


def read_text(path: Path) -> str:
    """A file of text, unpacked where its name ends in `.gz` or `.zst`, with Unix line ends.

    Raises:
        ValueError: for an unreadable file, and for what is not UTF-8, with the number of the line.
    """
    unpack = {".gz": gzip.decompress, ".zst": _zstandard}.get(path.suffix.lower(), bytes)
    try:
        content = unpack(path.read_bytes())
    except (OSError, EOFError, ValueError) as error:
        raise unreadable(path, error) from None
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {number} of {path} must be UTF-8, and has the byte "
            f"0x{content[error.start]:02x} ({error.reason})"
        ) from None
    return text.replace("\r\n", "\n")


def _zstandard(content: bytes) -> bytes:
    """What was packed, perhaps in several frames. Raises `ValueError` where it cannot be read."""
    try:
        import zstandard  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            "files that end in .zst need the extra [text]: pip install 'collapse_jax[text]'"
        ) from None
    parts: list[bytes] = []
    try:
        while content:
            unpacker = zstandard.ZstdDecompressor().decompressobj()
            parts.append(unpacker.decompress(content))
            if not unpacker.eof:
                raise ValueError("it ends within a frame")
            content = unpacker.unused_data
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    return b"".join(parts)


def unreadable(path: Path, error: Exception) -> ValueError:
    """What to raise for a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return ValueError(f"corpus must be a readable file, and there is no file {path}")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(f"corpus must be a readable file; {path} is not: {reason}")
