"""One run at a time in a folder."""

import contextlib
import errno
import json
import os
import socket
import time
import warnings
from pathlib import Path

_NONE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # where there are no locks


class Lock:
    """A lock of a folder, which says whose it is.

    It is the operating system's, over network file systems as well, and ends with its process,
    however that ends: what a killed one leaves is a file that locks nothing.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path):
        self._path = folder / ".lock"
        self._handle: int | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            ValueError: where another run has it; says which.
        """
        import fcntl

        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = ""
            with contextlib.suppress(OSError):
                owner = os.pread(handle, 1000, 0).decode(errors="replace")
            os.close(handle)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise ValueError(
                    f"checkpoint must be in use by one run at a time, and {self._path.parent} is "
                    f"in use by {_named(owner)}"
                ) from None
            if error.errno not in _NONE:
                raise
            warnings.warn(f"{self._path.parent} cannot be locked: {error}", stacklevel=2)
            return
        self._handle = handle
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
        with contextlib.suppress(OSError):  # on a full disk it locks without a name
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(owner).encode())

    def owner(self) -> str | None:
        """Whose it is, None where it is free."""
        import fcntl

        try:
            handle = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                return None
            return _named(os.pread(handle, 1000, 0).decode(errors="replace"))
        finally:
            os.close(handle)
        return None

    def release(self) -> None:
        """Let others have it; its file stays, so that all of them lock the same one."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def _named(owner: str) -> str:
    try:
        said = json.loads(owner)
        return f"process {said['pid']} on {said['host']} since {said['since']}"
    except (KeyError, TypeError, ValueError):
        return "another process"
