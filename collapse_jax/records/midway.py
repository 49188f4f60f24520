"""States within a generation on disk, for generations that take hours."""

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from collapse_jax.basics.fingerprints import digest
from collapse_jax.machines import hosts
from collapse_jax.records.saving import Saving

if TYPE_CHECKING:  # slow to import
    from orbax.checkpoint import CheckpointManager

Kind = Literal["training", "documents"]

_STEPS = 2**32  # more than a generation has


class Midway:
    """A folder of states within a generation, kept by orbax: the last one of each kind.

    Arrays that are split over devices, of one process or of several, are written by those who hold
    the parts, and can be read back onto other devices. All processes make the same calls.

    Args:
        folder: where the states are kept; that of the run's `Checkpoint`.
        seconds: how often to save; see `Saving`.
    """

    def __init__(self, folder: str | Path, seconds: float):
        self.folder = Path(folder).absolute()
        self._saving = Saving(self.folder, seconds)
        self._managers: dict[Path, CheckpointManager] = {}

    def due(self) -> bool:
        """Whether it is time to save again; the same in all processes."""
        return hosts.first_says(self._saving.due())

    def save(self, kind: Kind, seeds: np.ndarray, generation: int, step: int, tree: Any) -> None:
        """Save a state of chains, in place of the last one of its kind.

        Raises:
            OSError: when that fails, for instance on a full disk.
        """
        from orbax.checkpoint import args

        with self._saving.of(f"within generation {generation}", ValueError, RuntimeError):
            manager = self._manager(self._folder_of(seeds) / kind)
            manager.save(generation * _STEPS + step, args=args.StandardSave(_numbered(tree)))  # pyright: ignore
            manager.wait_until_finished()

    def restore(
        self, kind: Kind, seeds: np.ndarray, generation: int, like: Any
    ) -> tuple[int, Any] | None:
        """The last state of a kind and its step, None unless it is of this generation and whole.

        Args:
            kind: which state.
            seeds: those of its chains.
            generation: the one that it must be of.
            like: a pytree of `jax.ShapeDtypeStruct` with the shardings that arrays are to have, or
                of arrays of the host.
        """
        from orbax.checkpoint import args

        folder = self._folder_of(seeds) / kind
        if not folder.is_dir():
            return None
        manager = self._manager(folder)
        last = manager.latest_step()
        if last is None or last // _STEPS != generation:
            return None
        try:
            found = manager.restore(last, args=args.StandardRestore(_numbered(like)))  # pyright: ignore
        except Exception as error:  # damage shows in many ways
            warnings.warn(f"checkpoint {folder} is damaged, and not used: {error}", stacklevel=2)
            return None
        leaves = [found[name] for name in sorted(found)]
        return last % _STEPS, jax.tree.unflatten(jax.tree.structure(like), leaves)

    def clear(self) -> None:
        """Remove all states, where a run is at its end."""
        while self._managers:
            self._managers.popitem()[1].close()
        if hosts.is_first():
            for folder in self.folder.glob("midway-*"):
                shutil.rmtree(folder, ignore_errors=True)

    def _folder_of(self, seeds: np.ndarray) -> Path:
        return self.folder / f"midway-{digest(seeds)}"

    def _manager(self, folder: Path) -> "CheckpointManager":
        import orbax.checkpoint as ocp

        if folder not in self._managers:
            options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
            self._managers[folder] = ocp.CheckpointManager(folder, options=options)
        return self._managers[folder]


def _numbered(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree: names of its own need not be fit for files."""
    return {f"{index:05}": leaf for index, leaf in enumerate(jax.tree.leaves(tree))}
