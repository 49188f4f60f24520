"""Files of documents: plain text, JSON lines and Parquet, as records with named columns."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from collapse_jax.basics import checks

SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".parquet")
"""The files that can be read."""


def suffix(path: Path) -> str:
    """The end of a file's name by which its kind is known, in small letters."""
    return "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else [path.suffix]).lower()


def read_lines(
    path: Path, columns: list[str], *, skip_missing: bool = False
) -> Iterator[tuple[str, list[Any]]]:
    """Where each record of a `.jsonl` or `.jsonl.gz` file is, and its values of some columns.

    Args:
        path: the file.
        columns: names of the values.
        skip_missing: whether a column that a record lacks is None, unless all records lack it.

    Raises:
        ValueError: with the number of the line, for what is not UTF-8, not a JSON object, or lacks
            a column.
    """
    seen: set[str] = set()
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except RecursionError:
            raise ValueError(f"line {number} of {path} must be JSON that is less nested") from None
        except ValueError as error:  # the library's own advice on long numbers is for programmers
            reason = str(error).partition(";")[0]
            raise ValueError(f"line {number} of {path} must be JSON: {reason}") from None
        if not isinstance(record, dict):
            raise ValueError(f"line {number} of {path} must be a JSON object, got {line[:60]!r}")
        seen.update(record)
        for name in columns:
            if not skip_missing:
                check_column(name, record, f"line {number} of {path}")
        yield f"line {number}", [record.get(name) for name in columns]
    for name in columns if skip_missing else ():
        check_column(name, seen, path)


def read_parquet(path: Path, columns: list[str]) -> Iterator[tuple[str, list[Any]]]:
    """Where each record of a `.parquet` file is, and its values of some columns.

    Raises:
        ValueError: for an unreadable file and for a missing column.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            present = file.schema_arrow.names
            for name in columns:
                check_column(name, present, path)
            values = file.read(columns).to_pydict()
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, error) from None
    for number, row in enumerate(zip(*(values[name] for name in columns), strict=True)):
        yield f"row {number}", list(row)


def read_text(path: Path) -> str:
    """A file of text, unpacked where its name ends in `.gz`, with Unix line ends.

    Raises:
        ValueError: for an unreadable file, and for what is not UTF-8, with the number of the line.
    """
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(path, error) from None
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


def check_column(name: str, present: Iterable[str], place: object) -> None:
    """Check that a column is there. Raises `ValueError` with those that are."""
    present = list(present)
    if name not in present:
        raise ValueError(
            f"columns of the corpus must be among those of {place}, "
            f"{', '.join(map(repr, present))}, got {name!r}"
        )


def _unreadable(path: Path, error: Exception) -> ValueError:
    if isinstance(error, FileNotFoundError):
        return ValueError(f"corpus must be a readable file, and there is no file {path}")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ValueError(f"corpus must be a readable file; {path} is not: {reason}")


def check_suffix(path: Path) -> str:
    """The kind of a file. Raises `ValueError` for one that cannot be read."""
    return checks.one_of("the suffix of the corpus", suffix(path), SUFFIXES)
