"""Delimited text as data frames: read by pandas, after checks that it has one meaning only."""

import csv
import gzip
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from collapse_jax.basics import files

if TYPE_CHECKING:  # loaded when a table is read, so that importing the package stays quick
    import pandas as pd

STANDARD_INPUT = "-"
SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
"""What separates fields, by the suffix of the file's name."""
_RIVALS = ",;\t|"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_LOOKED_AT = 20  # lines that are searched for another separator


class Record(NamedTuple):
    """The fields of a line, or of several where a quoted field goes on."""

    line: int
    fields: list[str]


class Dialect(NamedTuple):
    """What delimited text looks like."""

    sep: str | None = None
    """Between fields, a blank for any white space; None for the usual one, with a check."""
    decimal: str = "."
    encoding: str = "utf-8"
    header: bool | None = None
    """Whether the first line has the names of the columns; None for yes, with a check."""
    na_values: tuple[str, ...] = ()
    """What stands for a missing value, beside what pandas knows."""
    thousands: str | None = None
    """Between groups of three digits."""


def read(
    path: str | Path, dialect: Dialect, usual: str, *, as_text: bool = False
) -> tuple["pd.DataFrame", list[int]]:
    """The table of a text file, and the line of each of its rows.

    In a table of one column a blank line between others is a missing value.

    Args:
        path: the file, unpacked where its name ends in .gz; `-` for the standard input.
        dialect: what the text looks like.
        usual: what separates fields where the dialect does not say.
        as_text: whether cells are taken as they are written, so that 7 and 007 differ.

    Raises:
        ValueError: for an unreadable file and another encoding; where lines differ in their number
            of fields; and where another separator, or a first line of data, is as likely.
    """
    import pandas as pd

    sep = usual if dialect.sep is None else dialect.sep.replace("\\t", "\t")
    if len(sep) != 1 or sep == dialect.decimal:
        raise ValueError(
            f"sep must be one character, other than decimal, got {sep!r} and {dialect.decimal!r}"
        )
    if dialect.decimal not in (".", ","):
        raise ValueError(f"decimal must be '.' or ',', got {dialect.decimal!r}")
    _check_thousands(dialect)
    text = _text(path, dialect.encoding)
    if dialect.sep is None:
        _check_separator(text, path, sep)
    if sep == " ":
        text = "\n".join(" ".join(line.split()) for line in text.splitlines())
    lines = _checked_lines(_records(text, sep, path), dialect, path)
    if len(next(_records(text, sep, path)).fields) == 1:
        text = _with_quotes(_records(text, sep, path))
    with files.readable("data", path):
        table: Any = pd.read_csv(
            io.StringIO(text),
            sep=sep,
            decimal=dialect.decimal,
            header=None if dialect.header is False else 0,
            index_col=False,
            na_values=list(dialect.na_values),
            dtype=str if as_text else None,
            skipinitialspace=True,
            low_memory=False,
        )
    if as_text:
        table = table.apply(lambda column: column.str.strip())
    return table, lines if dialect.header is False else lines[1:]


def _check_thousands(dialect: Dialect) -> None:
    mark = dialect.thousands
    if mark is not None and (len(mark) != 1 or mark.isalnum() or mark in (dialect.decimal, *"+-")):
        raise ValueError(
            "thousands must be one character that is no letter, digit or sign, other than decimal, "
            f"got {mark!r} and {dialect.decimal!r}"
        )


def _text(path: str | Path, encoding: str) -> str:
    with files.readable("data", path):
        if str(path) == STANDARD_INPUT:
            content = sys.stdin.buffer.read()
        else:
            content = Path(path).read_bytes()
            content = gzip.decompress(content) if str(path).lower().endswith(".gz") else content
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise ValueError(f"encoding must be one that Python knows, got {encoding!r}") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"encoding must be that of the file: line {line} of {path} is not {encoding}; others "
            "are latin-1 and utf-16"
        ) from None


def _records(text: str, sep: str, path: str | Path) -> Iterator[Record]:
    """The records that are not blank, and in one column blank ones between them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sep, skipinitialspace=True)
    start, width, blank = 1, 0, []
    with files.readable("data", path):
        for fields in reader:
            record, start = Record(start, fields or [""]), reader.line_num + 1
            if not fields or (width != 1 and fields == [""]):
                blank.append(record)
                continue
            if width == 1:
                yield from blank
            width, blank = width or len(fields), []
            yield record


def _with_quotes(records: Iterator[Record]) -> str:
    """One column as text in which an empty cell is no empty line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(record.fields for record in records)
    return text.getvalue()


def _check_separator(text: str, path: str | Path, sep: str) -> None:
    """Refuse text of which each line has another separator, and equally often."""
    lines = [line for line in text[:100_000].splitlines() if line.strip()][:_LOOKED_AT]
    for rival in _RIVALS.replace(sep, ""):
        counts = {line.count(rival) for line in lines}
        if len(counts) == 1 and counts != {0}:
            raise ValueError(
                f"sep must be given where it may be {sep!r} or {rival!r}: each line of {path} has "
                f"{counts.pop()} {rival!r}, and line 1 has {lines[0].count(sep)} {sep!r}"
            )
    words = [line.split() for line in lines]
    if len(lines) > 1 and not any(sep in line for line in lines) and len(words[1]) > 1:
        numbers = [word for word in words[1] if _NUMBER.fullmatch(word)]
        if len(numbers) > 1:
            raise ValueError(
                f"sep must be given: {path} has no {sep!r}, and line 2 is {lines[1]!r}; ' ' stands "
                "for any white space"
            )


def _checked_lines(records: Iterator[Record], dialect: Dialect, path: str | Path) -> list[int]:
    """The line of each record; lines of several lengths and an unclear first one are refused."""
    first = next(records, None)
    if first is None:
        raise ValueError(f"data must be a readable file; {path} is not: it is empty")
    if dialect.header is None:
        for field in first.fields:
            if _NUMBER.fullmatch(field.strip().replace(dialect.decimal, ".")):
                raise ValueError(_unclear(first, field, path))
    if dialect.header is not False:
        for field in filter(None, first.fields):
            if first.fields.count(field) > 1:
                raise ValueError(
                    f"names of columns must be distinct; line {first.line} of {path} has {field!r} "
                    "more than once"
                )
    lines = [first.line]
    for record in records:
        _check_width(first, record, path)
        if dialect.header is None:
            _check_header(first, record, path)
        lines.append(record.line)
    return lines


def _check_header(first: Record, record: Record, path: str | Path) -> None:
    """Refuse a name that is found again below."""
    for field, again in zip(first.fields, record.fields, strict=True):
        if field and field == again:
            raise ValueError(f"{_unclear(first, field, path)}, as line {record.line} has")


def _check_width(first: Record, record: Record, path: str | Path) -> None:
    expected, found = len(first.fields), len(record.fields)
    if found == expected:
        return
    fields = f"the first {record.fields[0]!r} and the last {record.fields[-1]!r}"
    hint = ""
    if found == expected + 1:
        hint = "; row names need a name in the header, and a separator at the end of lines must go"
    raise ValueError(
        f"data must have as many fields in each line as in line {first.line}, {expected}; line "
        f"{record.line} of {path} has {found}, {fields}{hint}"
    )


def _unclear(first: Record, field: str, path: str | Path) -> str:
    return (
        "header must be given, true (--header) or false (--no-header), where the first line may be "
        f"names or data: line {first.line} of {path} has {field!r}"
    )
