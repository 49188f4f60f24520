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
_active: list["Faults"] = []
"""What counts, if anything."""


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
        self.folder, self.place, self.code = str(folder), place, code
        self.kills = None if kills is None else Path(kills)
        self.calls = []
        self._lock, self._copies, self._within = threading.RLock(), {}, False

    def __enter__(self):
        _listen()
        self._real = {name: getattr(os, name) for name in ("fsync", "write", "pread")}
        self._open = builtins.open
        builtins.open = io.open = self._opened
        for name in self._real:
            setattr(os, name, getattr(self, f"_{name}"))
        _active.append(self)
        return self

    def __exit__(self, *_):
        _active.remove(self)
        builtins.open = io.open = self._open
        for name, function in self._real.items():
            setattr(os, name, function)

    def reach(self, call, place):
        """Count a call, let it fail or keep what is there; says whether it is to be short."""
        path = self._inside(place)
        if path is None or self._within:
            return False
        with self._lock:
            number = len(self.calls)
            self.calls.append((call, os.path.relpath(path, self.folder)))
            if self.kills is not None:
                self._copy()
        if number == self.place and self.code is not None and self.code in CODES[call]:
            if self.code == SHORT:
                return True
            raise OSError(self.code, os.strerror(self.code), path)
        return False

    def _inside(self, place):
        """The path of what is called for, a path itself or an open file, if it is in the folder."""
        path = place
        with contextlib.suppress(OSError, TypeError):
            if isinstance(place, int):
                path = os.readlink(f"/proc/self/fd/{place}")
            path = os.path.abspath(os.fsdecode(path))
            if path == self.folder or path.startswith(f"{self.folder}/"):
                return path
        return None

    def _copy(self):
        self._within = True
        try:
            kept = contents(self.folder)
            if self.kills is not None and kept not in self._copies:
                self._copies[kept] = path = self.kills / f"{len(self._copies)}"
                path.mkdir(parents=True)
                with contextlib.suppress(
                    shutil.Error, FileNotFoundError
                ):  # of what has gone meanwhile
                    shutil.copytree(self.folder, path, dirs_exist_ok=True)
        finally:
            self._within = False

    def write(self, path, data, really):
        """Write, perhaps only half."""
        if self.reach("write", path):
            return really(data[: len(data) // 2])
        if self.kills is None or self._inside(path) is None:
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
        if isinstance(file, int) or self._inside(file) is None:
            return self._open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        kind = io.BufferedReader if mode.startswith("r") else io.BufferedWriter
        buffer = (io.BufferedRandom if "+" in mode else kind)(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)


class _Raw(io.FileIO):
    """A file whose reads and writes are counted."""

    def write(self, data):
        really = super().write
        return _active[0].write(self.name, data, really) if _active else really(data)

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
        with contextlib.suppress(OSError):  # a folder, or gone meanwhile
            found.update(path.read_bytes())
    return found.hexdigest()


def _reach(call, path):
    if _active:
        _active[0].reach(call, path)


def _listen(state=[]):  # noqa: B006  once in a process: such hooks stay
    if not state:
        state.append(sys.addaudithook(_hear))


def _hear(event, arguments):
    if _active and event in CODES:
        _reach(event, arguments[0])
