"""Records with named columns: JSON, a record a line or all in one array, and Parquet."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from collapse_jax.language.corpora.reading.files import read_text, unreadable

Rows = Iterator[tuple[str, list[Any]]]
"""Where each record is, and its values of some columns."""
_BLANK = " \t\r\n"


def read_json(path: Path, columns: list[str], *, skip_missing: bool = False) -> Rows:
    """The records of a file of JSON objects, one a line; or, in `.json`, of one array.

    Args:
        path: the file, packed or not.
        columns: names of the values.
        skip_missing: whether a column that a record lacks is None, unless all records lack it.

    Raises:
        ValueError: with the number of the line, for what is not UTF-8, not a JSON object, or lacks
            a column.
    """
    text = read_text(path)
    in_array = ".json" in path.name.lower() and text.lstrip(_BLANK).startswith("[")
    seen: set[str] = set()
    for number, record in _of_array(text, path) if in_array else _of_lines(text, path):
        if not isinstance(record, dict):
            shown = json.dumps(record)[:60]
            raise ValueError(f"line {number} of {path} must be a JSON object, got {shown!r}")
        seen.update(record)
        for name in columns:
            if not skip_missing:
                check_column(name, record, f"line {number} of {path}")
        yield f"line {number}", [record.get(name) for name in columns]
    for name in columns if skip_missing else ():
        check_column(name, seen, path)


def _of_lines(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _parsed(line, 0, path, number)[0]


def _of_array(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    """The elements one by one, so that each has its line, and none is kept longer than needed."""
    place, line, counted = _after_blank(text, 0) + 1, 1, 0
    expected = "]"  # or a first element; later "," or "]"
    while (place := _after_blank(text, place)) < len(text):
        line, counted = line + text.count("\n", counted, place), place
        if text[place] == "]" and expected != "":
            if (rest := _after_blank(text, place + 1)) < len(text):
                line += text.count("\n", counted, rest)
                raise ValueError(f"line {line} of {path} must be JSON: data after the array")
            return
        if expected == ",":
            if text[place] != ",":
                raise ValueError(f"line {line} of {path} must be JSON: expecting ',' or ']'")
            place, expected = place + 1, ""
            continue
        record, place = _parsed(text, place, path, line)
        yield line, record
        expected = ","
    line += text.count("\n", counted)
    raise ValueError(f"line {line} of {path} must be JSON: the array does not end")


def _after_blank(text: str, place: int) -> int:
    while place < len(text) and text[place] in _BLANK:
        place += 1
    return place


def _parsed(text: str, place: int, path: Path, line: int) -> tuple[Any, int]:
    """A value of JSON that begins at a place on this line, and the place after it."""
    try:
        if place == 0:
            return json.loads(text), len(text)
        return json.JSONDecoder().raw_decode(text, place)
    except RecursionError:
        raise ValueError(f"line {line} of {path} must be JSON that is less nested") from None
    except ValueError as error:  # the library's own advice on long numbers is for programmers
        if isinstance(error, json.JSONDecodeError):
            line += text.count("\n", place, error.pos)
        reason = str(error).partition(";")[0]
        raise ValueError(f"line {line} of {path} must be JSON: {reason}") from None


def read_parquet(path: Path, columns: list[str]) -> Rows:
    """The records of a `.parquet` file.

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
        raise unreadable(path, error) from None
    for number, row in enumerate(zip(*(values[name] for name in columns), strict=True)):
        yield f"row {number}", list(row)


def check_column(name: str, present: Iterable[str], place: object) -> None:
    """Check that a column is there. Raises `ValueError` with those that are."""
    present = list(present)
    if name not in present:
        raise ValueError(
            f"columns of the corpus must be among those of {place}, "
            f"{', '.join(map(repr, present))}, got {name!r}"
        )
