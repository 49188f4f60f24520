"""What attends long work: a progress bar, states on disk, and reasons to stop."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collapse_jax.machines import hosts
from collapse_jax.records.midway import Kind, Midway


class GivenUp(RuntimeError):
    """A run that cannot go on with these settings."""


class Diverged(GivenUp):
    """Training has made numbers that are not finite."""


class TooFewRows(GivenUp):
    """A model generates next to no rows that are acceptable."""


@dataclass(frozen=True)
class Monitor:
    """What attends long work within a generation."""

    report: Callable[[str], None] = lambda _: None
    """Receives a line of text at each step on the way."""
    midway: Midway | None = None
    """Keeps states within a generation."""
    interrupted: threading.Event | None = None
    """Set when the run is to be stopped as soon as its state is saved."""

    def restore(
        self, kind: Kind, seeds: np.ndarray, t: int, like: Callable[[], Any]
    ) -> tuple[int, Any] | None:
        """What was saved within this generation of these chains, if anything, and at which step."""
        return None if self.midway is None else self.midway.restore(kind, seeds, t, like())

    def between_steps(self, kind: Kind, seeds: np.ndarray, t: int, step: int, state: Any) -> None:
        """Save where it is time to.

        Raises:
            KeyboardInterrupt: where the run is to be stopped.
        """
        if self.midway is None:
            return
        stop = hosts.first_says(self.interrupted is not None and self.interrupted.is_set())
        if self.midway.due() or stop:
            self.midway.save(kind, seeds, t, step, state)
        if stop:
            raise KeyboardInterrupt
