"""Files that are either whole or not there."""

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from collapse_jax.basics import checks

_CHOSEN = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EEXIST", "EINVAL", "EISDIR", "ELOOP", "ENAMETOOLONG"),
        *("ENOENT", "ENOTDIR", "ENOTEMPTY", "ENXIO", "EPERM", "EROFS"),
    )
)
"""Errors that another path would not have: those that come of what the user named."""


def refused(text: str, error: OSError) -> OSError | ValueError:
    """The error to raise where the system refuses a call: a wrong path, or a fault of the system.

    Args:
        text: what must hold of the path.
        error: what the system says. A full disk, a broken device or a server that is away is no
            fault of the path, and is reported as what it is.

    Example:
        >>> import errno
        >>> refused("out must be writable", PermissionError(errno.EACCES, "Permission denied"))
        ValueError('out must be writable: [Errno 13] Permission denied')
        >>> refused("out must be writable", OSError(errno.ENOSPC, "No space left on device"))
        OSError(28, 'No space left on device')
    """
    return ValueError(f"{text}: {error}") if error.errno in _CHOSEN else error


@contextlib.contextmanager
def readable(name: str, path: str | Path) -> Iterator[None]:
    """Refuse a file where another library cannot read it, each of which says so in its own way.

    Args:
        name: name of the argument, for the error message.
        path: the file.

    Raises:
        ValueError: for whatever is raised within, and for a pipe or a device.
    """
    check_regular(name, path)
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{name} must be a readable file, and there is no file {path}") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno and error.errno not in _CHOSEN:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{name} must be a readable file; {path} is not: {reason}") from None


def check_regular(name: str, path: str | Path) -> None:
    """Check that what is to be read ends: that it is no pipe and no device, if it is there.

    Raises:
        ValueError: if it is one.
    """
    found = Path(path)
    if found.exists() and not found.is_file() and not found.is_dir():
        raise ValueError(
            f"{name} must be a file, and {path} is a pipe or a device; write what comes of it to a "
            "file"
        )


def make_folder(name: str, path: str | Path) -> Path:
    """The folder, which is made if need be.

    Args:
        name: name of the argument, for the error message.
        path: where it is.

    Raises:
        ValueError: where there is a file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{name} must be a folder, and {path} is a file")
    path.mkdir(parents=True, exist_ok=True)
    return path


def check_writable(name: str, path: str | Path, suffixes: Sequence[str]) -> Path:
    """The path, if a file can be written there; nothing is left behind.

    Args:
        name: name of the argument, for the error message.
        path: where the file will be.
        suffixes: the allowed ends of its name.

    Raises:
        ValueError: for another suffix, for a folder that is missing or cannot be written to, and
            for a path that is itself a folder.
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
        raise refused(f"{name} must be writable, and {path} is not", error) from None
    os.close(handle)
    os.unlink(temporary)
    return path


_KINDS = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}
"""What safetensors calls the types of JAX's arrays."""
_PART = 2**24  # bytes between two times that a file is forced to the disk


def write_safetensors(
    path: str, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]
) -> None:
    """Write what `safetensors.numpy.save_file` does, in memory that is used again and again.

    A file that is written at once fills the memory of the operating system's cache first, and
    virtual machines are slow to hand out fresh pages: this is five times as fast there.

    Args:
        path: where the file will be.
        arrays: arrays by name.
        metadata: texts by name.

    Example:
        >>> import numpy as np, tempfile
        >>> from safetensors.numpy import load_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_safetensors(f"{folder}/a.safetensors", {"x": np.arange(3.0)}, {"by": "me"})
        ...     load_file(f"{folder}/a.safetensors")["x"].tolist()
        [0.0, 1.0, 2.0]
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    contents, end = [], 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        kind = _KINDS[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, end]}
        contents.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        written = 0
        for content in contents:
            for place in range(0, len(content), _PART):
                written += file.write(content[place : place + _PART])
                if written >= _PART:
                    _flush(file)
                    written = 0


def compacted(pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Whole numbers in as few bits as they need, without the zeros at the ends of all rows.

    Who reads them fills up with zeros what they are read into.

    Args:
        pieces: of one array, along the first axis, which stays as it is.

    Example:
        >>> import numpy as np
        >>> compacted([np.array([[300, 0, 0]]), np.array([[0, 1, 0]])])
        [array([[300,   0]], dtype=uint16), array([[0, 1]], dtype=uint16)]
    """
    pieces = list(pieces)
    if not pieces or pieces[0].dtype.kind not in "iub" or pieces[0].ndim < 2:
        return pieces
    axes = tuple(range(pieces[0].ndim - 1))
    used = np.flatnonzero(np.any([piece.any(axis=axes) for piece in pieces], axis=0))
    pieces = [piece[..., : used[-1] + 1 if len(used) else 0] for piece in pieces]
    if pieces[0].dtype.kind == "b" or min(piece.min(initial=0) for piece in pieces) < 0:
        return pieces
    fewest = np.min_scalar_type(max(int(piece.max(initial=0)) for piece in pieces))
    return [piece.astype(fewest) for piece in pieces]


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_atomically(path: str | Path, write: Callable[[str], object]) -> None:
    """Write a file under a temporary name in the same folder, then put it in its place.

    Whatever happens in between, `path` holds the old file, or none, or the whole new one.

    Args:
        path: where the file will be.
        write: a function that writes the file to the path it is given, which has the same suffix.

    Example:
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
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the fault before says more
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Let names in a folder outlive a loss of power, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
