"""Faults of the system: each call that touches a folder fails once, or is where a run is killed.

Calls are counted by Python's own audit events, and where it has none, by functions in the place of
those that do the work. What libraries in other languages do inside is not seen.
"""

import builtins
import contextlib
import errno
import hashlib
import io
import os
import shutil
import sys
import threading
from pathlib import Path

SHORT = -1
"""Not an error: the system takes half of what is to be written, as it may."""
CODES = {
    "open": (errno.EACCES, errno.EIO, errno.ENOSPC, errno.EMFILE),
    "os.mkdir": (errno.EACCES, errno.EIO, errno.ENOSPC),
    "os.rename": (errno.EACCES, errno.EIO, errno.ENOSPC),
    "os.remove": (errno.EACCES, errno.EIO),
    "os.rmdir": (errno.EACCES, errno.EIO),
    "os.chmod": (errno.EACCES, errno.EIO),
    "os.listdir": (errno.EACCES, errno.EIO),
    "os.scandir": (errno.EACCES, errno.EIO),
    "os.truncate": (errno.EIO, errno.ENOSPC),
    "fcntl.flock": (errno.EIO, errno.ENOLCK),
    "fsync": (errno.EIO, errno.ENOSPC),
    "read": (errno.EIO, errno.ESTALE),
    "write": (errno.EIO, errno.ENOSPC, SHORT),
}
"""How each call may fail."""
_active = None


class Faults:
    """While it is active, counts the calls that touch a folder.

    Args:
        folder: the folder.
        place: the number of the call that fails, if any.
        code: how it fails, a number of `errno` or `SHORT`.
        kills: a folder which receives a copy of the folder as it is before each call, and in the
            middle of what is written: what a process leaves that is killed there.
    """

    def __init__(self, folder, place=None, code=None, kills=None):
        self.folder, self.place, self.code, self.kills = str(folder), place, code, kills
        self.calls = []
        self._lock, self._copies, self._within = threading.RLock(), {}, False

    def __enter__(self):
        global _active
        _listen()
        self._real = {name: getattr(os, name) for name in ("fsync", "write", "pread")}
        self._open = builtins.open
        builtins.open = io.open = self._opened
        for name in self._real:
            setattr(os, name, getattr(self, f"_{name}"))
        _active = self
        return self

    def __exit__(self, *_):
        global _active
        _active = None
        builtins.open = io.open = self._open
        for name, function in self._real.items():
            setattr(os, name, function)

    def reach(self, call, path):
        """Count a call, let it fail or keep what is there; says whether it is to be short."""
        if self._within or not self._inside(path):
            return False
        with self._lock:
            number = len(self.calls)
            self.calls.append((call, os.path.relpath(str(path), self.folder)))
            if self.kills is not None:
                self._copy()
        if number == self.place and self.code in CODES[call]:
            if self.code == SHORT:
                return True
            raise OSError(self.code, os.strerror(self.code), str(path))
        return False

    def _inside(self, path):
        if isinstance(path, int):
            with contextlib.suppress(OSError):
                path = os.readlink(f"/proc/self/fd/{path}")
        with contextlib.suppress(TypeError):
            path = os.path.abspath(os.fsdecode(path))
            return path == self.folder or path.startswith(f"{self.folder}/")
        return False

    def _copy(self):
        self._within = True
        try:
            kept = contents(self.folder)
            if kept not in self._copies:
                self._copies[kept] = path = Path(self.kills) / f"{len(self._copies)}"
                shutil.copytree(self.folder, path) if os.path.exists(self.folder) else path.mkdir()
        finally:
            self._within = False

    def write(self, path, data, really):
        """Write, perhaps only half."""
        if self.reach("write", path):
            return really(data[: len(data) // 2])
        if self.kills is None or not self._inside(path):
            return really(data)
        written = really(data[: len(data) // 2])
        with self._lock:
            self._copy()
        return written + really(data[written:])

    def _fsync(self, handle):
        self.reach("fsync", handle)
        self._real["fsync"](handle)

    def _write(self, handle, data):
        return self.write(handle, data, lambda part: self._real["write"](handle, part))

    def _pread(self, handle, *rest):
        self.reach("read", handle)
        return self._real["pread"](handle, *rest)

    def _opened(
        self,
        file,
        mode="r",
        buffering=-1,
        encoding=None,
        errors=None,
        newline=None,
        closefd=True,
        opener=None,
    ):
        if isinstance(file, int) or not self._inside(file):
            return self._open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        kind = io.BufferedReader if mode.startswith("r") else io.BufferedWriter
        buffer = (io.BufferedRandom if "+" in mode else kind)(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)


class _Raw(io.FileIO):
    """A file whose reads and writes are counted."""

    def write(self, data):
        return _active.write(self.name, data, super().write) if _active else super().write(data)

    def readinto(self, buffer):
        _reach("read", self.name)
        return super().readinto(buffer)

    def readall(self):
        _reach("read", self.name)
        return super().readall()


def contents(folder):
    """A fingerprint of all files in a folder."""
    found = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        found.update(f"{path.relative_to(folder)}{path.is_file()}".encode())
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()


def _reach(call, path):
    if _active is not None:
        _active.reach(call, path)


def _listen(state=[]):  # noqa: B006  once in a process: such hooks stay
    if not state:
        state.append(sys.addaudithook(_hear))


def _hear(event, arguments):
    if _active is not None and event in CODES:
        _reach(event, arguments[0])
