"""One run at a time in a folder."""

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
        self._path, self._file = folder / ".lock", None

    def take(self) -> None:
        """Take it.

        Raises:
            ValueError: where another run has it; says which.
        """
        import fcntl

        file = open(self._path, "a+")  # noqa: SIM115 (it is held open)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read(1000)
            file.close()
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise ValueError(
                    f"checkpoint must be in use by one run at a time, and {self._path.parent} is "
                    f"in use by {_named(owner)}"
                ) from None
            if error.errno not in _NONE:
                raise
            warnings.warn(f"{self._path.parent} cannot be locked: {error}", stacklevel=2)
            return
        file.truncate(0)
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now}))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Let others have it; its file stays, so that all of them lock the same one."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _named(owner: str) -> str:
    try:
        said = json.loads(owner)
        return f"process {said['pid']} on {said['host']} since {said['since']}"
    except (KeyError, TypeError, ValueError):
        return "another process"
