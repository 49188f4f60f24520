"""Chains whose training has gone wrong, while others of their run go on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from collapse_jax.basics import files, sums
from collapse_jax.machines import hosts
from collapse_jax.run.monitor import Diverged

_MOST_TOLD = 4  # seeds in an error


@dataclass
class Lost:
    """In which generation the training of some seeds went wrong, also after an interruption."""

    folder: Path | None = None
    """That of the run, if it has one. Each seed has a file there, since processes may share it."""
    generations: dict[int, int] = field(default_factory=dict)
    """By seed."""

    def at(self, seeds: np.ndarray, t: int) -> np.ndarray:
        """Which of the chains are lost in a generation. `[seed]`"""
        return np.array([self.generations.get(int(seed), t + 1) <= t for seed in seeds], bool)

    def note(self, seeds: Sequence[int], t: int) -> None:
        """Keep some seeds, also in the folder."""
        self.generations.update(dict.fromkeys(seeds, t))
        if self.folder is None:
            return
        for seed in seeds:
            text, path = sums.signed({"seed": seed, "lost": t}), self.folder / f".lost-{seed}.json"
            files.write_atomically(path, lambda name, text=text: Path(name).write_text(text))

    def read(self) -> None:
        """Those that the folder knows.

        Raises:
            ValueError: where what is written there is damaged.
            OSError: where it cannot be read.
        """
        for path in () if self.folder is None else self.folder.iterdir():  # `glob` hides failures
            if not path.match(".lost-*.json"):
                continue
            try:
                known = sums.unsigned(path.read_text(encoding="utf-8"))
                self.generations[int(known["seed"])] = int(known["lost"])
            except (KeyError, json.JSONDecodeError, ValueError) as error:
                raise ValueError(f"checkpoint has a damaged {path}: {error}") from None

    def check(self, own: np.ndarray, n_seeds: int, t: int, together: bool) -> None:
        """Check that the training of some seed of the run, in whichever process, has stayed finite.

        Args:
            own: seeds of the chains that this process runs.
            n_seeds: those of the run.
            t: the last generation.
            together: whether all processes run all chains.

        Raises:
            Diverged: where that of none has.
        """
        self.read()
        gone = self.at(own, t)
        if not np.all(gone if together else hosts.gather(gone, n_seeds)):
            return
        known = [f"{seed} in generation {self.generations[seed]}" for seed in own.tolist()]
        more = ", ..." if len(known) > _MOST_TOLD else ""
        raise Diverged(
            f"training must stay finite, and that of no seed of this run did: it went wrong for "
            f"seed {', '.join(known[:_MOST_TOLD])}{more}; a lower learning rate, a longer warm-up "
            "or a clip may help"
        )
