"""When to save, and what to say where that or reading fails: the same for all kinds of states."""

import contextlib
import functools
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

_SHARE = 0.04  # most of the time that saving may take


class Saving:
    """Saves that take a small share of the time, however long each takes.

    Args:
        folder: where to.
        seconds: how often. What takes long is saved less often, so that about 4 % of the time are
            not exceeded.
    """

    def __init__(self, folder: Path, seconds: float):
        self._folder, self._seconds = folder, seconds
        self._due = time.monotonic() + seconds

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() >= self._due

    @contextlib.contextmanager
    def of(self, what: str, *failures: type[Exception]) -> Iterator[None]:
        """Save inside. Raises `OSError` for it and the further failures, with what to do then."""
        started = time.monotonic()
        try:
            yield
        except (OSError, *failures) as error:
            raise OSError(
                f"checkpoint {what} could not be saved in {self._folder}; what was saved before is "
                f"whole, and the same call goes on from there: {error}"
            ) from error
        took = time.monotonic() - started
        self._due = time.monotonic() + max(self._seconds, took / _SHARE)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Read a state inside, whatever library does; a fault of the system is no damage of the state.

    Raises:
        OSError: where the system does not let it be read.
    """
    try:
        yield
    except Exception as error:
        fault: BaseException | None = error
        while fault is not None and not (isinstance(fault, OSError) and fault.errno):
            fault = fault.__cause__ or fault.__context__
        if fault is None or isinstance(fault, FileNotFoundError):
            raise
        raise OSError(
            fault.errno,
            f"checkpoint {path} could not be read, and nothing is lost; the same call goes on "
            f"when it can be: {fault.strerror or fault}",
        ) from error


@functools.cache
def versions() -> str:
    """What writes states, for people who read of them later."""
    return ", ".join(f"{name} {version(name)}" for name in ("collapse_jax", "jax", "jaxlib"))
