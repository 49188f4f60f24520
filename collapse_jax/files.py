"""Files that are either whole or not there."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from collapse_jax import checks


def check_writable(name: str, path: str | Path, suffixes: Sequence[str]) -> Path:
    """The path, if a file can be written there; nothing is left behind.

    **Arguments:**

    - `name`: name of the argument, for the error message.
    - `path`: where the file will be.
    - `suffixes`: the allowed ends of its name.

    Raises `ValueError` for another suffix, for a folder that is missing or cannot be written to,
    and for a path that is itself a folder.
    """
    path = Path(path)
    checks.one_of(f"the suffix of {name}", path.suffix.lower(), suffixes)
    if path.is_dir():
        raise ValueError(f"{name} must be a file, and {path} is a folder")
    if not path.parent.is_dir():
        raise ValueError(f"{name} must be in a folder that exists, and {path.parent} is none")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ValueError(f"{name} must be writable, and {path} is not: {error.strerror}") from None
    os.close(handle)
    os.unlink(temporary)
    return path


def write_atomically(path: str | Path, write: Callable[[str], object]) -> None:
    """Write a file under a temporary name in the same folder, then put it in its place.

    Whatever happens in between, `path` holds the old file, or none, or the whole new one.

    **Arguments:**

    - `path`: where the file will be.
    - `write`: a function that writes the file to the path it is given, which has the same suffix.

    !!! example

        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "a.txt"
        ...     write_atomically(path, lambda name: pathlib.Path(name).write_text("whole"))
        ...     path.read_text()
        'whole'
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.suffix)
    os.close(handle)
    try:
        write(temporary)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # temporary files are the owner's alone
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
            if hasattr(os, "posix_fadvise"):
                # Not read again soon. The next file then gets the same memory, and not fresh pages,
                # which virtual machines are slow to hand out: five times as fast there.
                os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
