"""One run at a time in a folder."""

import contextlib
import errno
import json
import os
import socket
import threading
import time
import warnings
from pathlib import Path

_NONE = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # where there are no locks
_TAKEN = {errno.EAGAIN, errno.EACCES}
_PAUSE = 0.2  # seconds between two tries


class Lock:
    """A lock of a folder, which says whose it is.

    It is the operating system's, over network file systems as well, and ends with its process,
    however that ends: what a killed one leaves is a file that locks nothing.

    Args:
        folder: the folder.
        name: what the file of the lock is called.
        shared: whether others that share it may have it at the same time.
        locked: what is locked, and by which argument it was given; default the folder.
    """

    def __init__(
        self,
        folder: Path,
        name: str = ".lock",
        shared: bool = False,
        locked: tuple[str, Path] | None = None,
    ):
        self._path, self._shared = folder / name, shared
        self._argument, self._locked = locked or ("checkpoint", folder)
        self._handle: int | None = None

    def take(self, wait: float = 0.0, stopped: threading.Event | None = None) -> None:
        """Take it.

        Args:
            wait: how many seconds to wait for who has it.
            stopped: set when waiting is to end, as by Ctrl-C.

        Raises:
            ValueError: where another run has it; says which.
            KeyboardInterrupt: where waiting was to end.
        """
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        stopped = threading.Event() if stopped is None else stopped
        until = time.monotonic() + max(wait, _PAUSE)  # who only looks has it for a moment
        try:
            while (error := _flock(handle, self._shared)) is not None and error.errno in _TAKEN:
                if time.monotonic() >= until:
                    allowed = "shared by all" if self._shared else "in use by one run at a time"
                    raise ValueError(
                        f"{self._argument} must be {allowed}, and {self._locked} is in use by "
                        f"{_owner(handle)}{', which does not share it' * self._shared}"
                    )
                if stopped.wait(_PAUSE):
                    raise KeyboardInterrupt
            if error is not None and error.errno not in _NONE:
                raise error
        except BaseException:
            os.close(handle)
            raise
        if error is not None:
            os.close(handle)
            warnings.warn(f"{self._locked} cannot be locked: {error}", stacklevel=2)
            return
        self._is_had(handle)

    def claim(self) -> bool:
        """Take it where nobody has it.

        Raises:
            ValueError: where there are no locks.
        """
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        error = _flock(handle, self._shared)
        if error is None:
            self._is_had(handle)
            return True
        os.close(handle)
        if error.errno in _NONE:
            raise ValueError(
                f"share must be on a file system with locks, and {self._locked} has none: "
                f"{error.strerror}"
            )
        if error.errno not in _TAKEN:
            raise error
        return False

    def _is_had(self, handle: int) -> None:
        """Write down by whom."""
        self._handle = handle
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
        with contextlib.suppress(OSError):  # on a full disk it locks without a name
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(owner).encode())

    def owner(self) -> str | None:
        """Whose it is, None where it is free."""
        try:
            handle = os.open(self._path, os.O_RDONLY)  # which may be all that one may do there
        except (FileNotFoundError, PermissionError):
            return None
        try:
            error = _flock(handle)
            return None if error is None or error.errno not in _TAKEN else _owner(handle)
        finally:
            os.close(handle)

    def release(self) -> None:
        """Let others have it; its file stays, so that all of them lock the same one."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def _flock(handle: int, shared: bool = False) -> OSError | None:
    """Lock an open file, or say why not."""
    import fcntl  # which is not everywhere

    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return error
    return None


def _owner(handle: int) -> str:
    with contextlib.suppress(KeyError, OSError, TypeError, ValueError):
        said = json.loads(os.pread(handle, 1000, 0))
        return f"process {said['pid']} on {said['host']} since {said['since']}"
    return "another process"
