"""Chains whose training has gone wrong, while others of their run go on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from collapse_jax.basics import files, sums
from collapse_jax.records.midway import Midway

_FILE = ".lost.json"


@dataclass
class Lost:
    """In which generation the training of some seeds went wrong, also after an interruption."""

    generations: dict[int, int] = field(default_factory=dict)
    """By seed."""

    def at(self, seeds: np.ndarray, t: int) -> np.ndarray:
        """Which of the chains are lost in a generation. `[seed]`"""
        return np.array([self.generations.get(int(seed), t + 1) <= t for seed in seeds])

    def note(self, seeds: Sequence[int], t: int, midway: Midway | None) -> None:
        """Keep some seeds, also in the folder of the run if it has one."""
        self.generations.update(dict.fromkeys(seeds, t))
        if midway is None:
            return
        text = sums.signed({"lost": {str(seed): t for seed, t in self.generations.items()}})
        path = midway.folder / _FILE
        files.write_atomically(path, lambda name: Path(name).write_text(text))

    def read(self, midway: Midway | None) -> None:
        """Those that the folder of a run knows.

        Raises:
            ValueError: where what is written there is damaged.
        """
        if midway is None or not (path := midway.folder / _FILE).exists():
            return
        try:
            known = sums.unsigned(path.read_text(encoding="utf-8"))["lost"]
        except (KeyError, json.JSONDecodeError, ValueError) as error:
            raise ValueError(f"checkpoint has a damaged {path}: {error}") from None
        self.generations.update({int(seed): int(t) for seed, t in known.items()})
