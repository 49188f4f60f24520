"""States within a generation on disk, for generations that take hours."""

import contextlib
import shutil
import warnings
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from collapse_jax.basics import sums
from collapse_jax.basics.fingerprints import digest
from collapse_jax.machines import hosts
from collapse_jax.records.saving import Saving, reading

Kind = Literal["training", "documents"]


class Midway:
    """A folder of states within a generation, written by orbax: the last one of each kind.

    Arrays that are split over devices, of one process or of several, are written by those who hold
    the parts, and can be read back onto other devices. All processes make the same calls.

    A state is whole when it is sealed: the check sums of all its files are written down last, and
    none is restored before all of them agree. The state before it stays until then.

    Args:
        folder: where the states are kept; that of the run's `Checkpoint`.
        seconds: how often to save; see `Saving`.
        shared: whether others that share the run have states there too.
    """

    def __init__(self, folder: str | Path, seconds: float, shared: bool = False):
        self.folder = Path(folder).absolute()
        self._saving = Saving(self.folder, seconds)
        self._shared, self._had = shared, set[Path]()

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
            path = self._folder_of(kind, seeds) / f"{generation}-{step}"
            _orbax().save(path, args=args.StandardSave(_numbered(tree)), force=True)  # pyright: ignore
            if hosts.is_first():
                sums.seal(path, _about(kind, seeds, path.name))
                for other in path.parent.iterdir():
                    if other != path:
                        shutil.rmtree(other)
            hosts.wait_for_all()

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

        Raises:
            OSError: where the system does not let it be read; nothing is lost then.
        """
        from orbax.checkpoint import args

        found = hosts.first_does(lambda: self._whole(kind, seeds, generation))
        step = hosts.first_says(-1 if found is None else found)
        if step < 0:
            return None
        path = self._folder_of(kind, seeds) / f"{generation}-{step}"
        try:
            with reading(path):
                found = _orbax().restore(path, args=args.StandardRestore(_numbered(like)))  # pyright: ignore
        except Exception as error:  # damage shows in many ways
            if isinstance(error, OSError) and error.errno:
                raise
            _not_used(path, error)
            return None
        leaves = [found[name] for name in sorted(found)]
        return step, jax.tree.unflatten(jax.tree.structure(like), leaves)

    def clear(self) -> None:
        """Remove all states, where a run is at its end; of one that is shared the own ones."""
        if hosts.is_first():
            for folder in self._had if self._shared else self.folder.glob("midway-*"):
                shutil.rmtree(folder, ignore_errors=True)

    def _whole(self, kind: Kind, seeds: np.ndarray, generation: int) -> int:
        """The last step in a generation of which there is a whole state, -1 where there is none."""
        for step, path in states_within(self._folder_of(kind, seeds), generation):
            try:
                with reading(path):
                    sums.check_seal(path, _about(kind, seeds, path.name))
            except ValueError as error:
                _not_used(path, error)
            else:
                return step
        return -1

    def _folder_of(self, kind: Kind, seeds: np.ndarray) -> Path:
        folder = self.folder / f"midway-{digest(seeds)}"
        self._had.add(folder)
        return folder / kind


def states_within(folder: Path, generation: int) -> list[tuple[int, Path]]:
    """Steps and folders of the states of one generation, the last one first."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            of, _, step = path.name.partition("-")
            if of == str(generation) and step.isdigit():
                found.append((int(step), path))
    return sorted(found, reverse=True)


def _about(kind: Kind, seeds: np.ndarray, name: str) -> dict[str, Any]:
    return {"kind": kind, "seeds": seeds.tolist(), "state": name}


def _not_used(path: Path, error: Exception) -> None:
    warnings.warn(f"checkpoint {path} is damaged, and not used: {error}", stacklevel=3)


def _orbax() -> Any:
    import orbax.checkpoint as ocp  # slow to import

    return ocp.Checkpointer(ocp.StandardCheckpointHandler())


def _numbered(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree: names of its own need not be fit for files."""
    leaves = jax.tree.leaves(tree)
    return {f"{i:05}": np.asarray(x) if np.isscalar(x) else x for i, x in enumerate(leaves)}
