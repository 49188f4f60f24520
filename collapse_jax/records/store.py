"""Chains on disk: how far a run has come, in a form that is checked when it is read back."""

import contextlib
import json
import threading
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from collapse_jax.basics import files, sums
from collapse_jax.basics.fingerprints import digest
from collapse_jax.machines import hosts
from collapse_jax.records.folder import (
    FORMAT,
    SUFFIX,
    check,
    claim,
    run_of,
    states_in,
    states_of,
    usable,
)
from collapse_jax.records.lock import Lock
from collapse_jax.records.saving import Saving, reading, versions

_METRIC, _POOL = "metric.", "pool."  # what the names of arrays begin with
_KEPT = 2  # states per batch of chains
DAMAGE = (SafetensorError, ValueError, KeyError, TypeError)
"""All that a damaged file may raise."""


class Reached(NamedTuple):
    """Chains that have come to the same generation, and all that is needed to go on from there."""

    seeds: np.ndarray
    """Seeds of the chains. `[chain]`"""
    done: int
    """The last generation that is done."""
    metrics: dict[str, np.ndarray]
    """The metrics so far, each `[chain, done]`."""
    pool: list[list[np.ndarray]]
    """Leaves of the pools, each `[chain, ...]` or, where all chains share it, without axes.

    In pieces along the chains; what is read from a folder is in one, `compacted`."""

    def of(self, chosen: np.ndarray) -> "Reached":
        """Some of the chains, by their index or a mask."""
        return Reached(
            self.seeds[chosen],
            self.done,
            {name: values[chosen] for name, values in self.metrics.items()},
            [[piece[chosen] if piece.ndim else piece for piece in leaf] for leaf in self.pool],
        )


class Checkpoint:
    """A folder that holds the chains of one run, whatever the batches in which they ran.

    Each batch of chains has a folder in it, named after its seeds, with its last two states. A
    state is one file, which is there only when it is whole, and carries a fingerprint of its
    arrays. What is damaged all the same is set aside with a warning when it is read, and the state
    before it is used. A fault of the system while reading is an error, and nothing is set aside.

    Files are written by a thread, so that chains go on meanwhile; leaving the context waits for it.

    Processes write only batches of their own, whatever the others do; libraries that save one
    array of all processes together cannot, since here no two need to be at the same generation.

    Args:
        folder: where the chains are kept; made where it is missing.
        config: the run's configuration. All of it must agree with that of the folder, except for
            `n_generations`.
        seconds: how often to save; see `Saving`.
        wait: how many seconds to wait for another run that is in the folder.
        stopped: set when waiting is to end, as by Ctrl-C.
        shared: whether others that share the run may be in the folder at the same time.

    Raises:
        ValueError: for a folder that holds another run or other files, or cannot be used.
    """

    def __init__(
        self,
        folder: str | Path,
        config: dict[str, Any],
        seconds: float = 60.0,
        wait: float = 0.0,
        stopped: threading.Event | None = None,
        shared: bool = False,
    ):
        self.folder = Path(folder).absolute()
        self._saving = Saving(self.folder, seconds)
        self._config = {"format": FORMAT, **json.loads(json.dumps(config, default=str))}
        self._run = run_of(self._config)
        check(self.folder, self._config, _runs_in)
        self.survey()
        self._lock, self._wait_for = Lock(self.folder, shared=shared), (wait, stopped)
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[None] | None = None

    def __enter__(self) -> "Checkpoint":
        try:
            hosts.first_does(self._take)  # for all processes of the run
            self.survey()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _take(self) -> None:
        """Lock the folder, and only then make it that of this run."""
        with usable(self.folder):
            self._lock.take(*self._wait_for)
        claim(self.folder, self._config, _runs_in)

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._lock.release()

    def survey(self) -> None:
        """Look at what the folder holds."""
        self._states = _survey(self.folder)

    def refresh(self) -> None:
        """Look at it again, when what was saved is whole."""
        self._wait()
        self.survey()

    def contents(self) -> list[str]:
        """Names of the states that the folder held when it was looked at."""
        return sorted(str(state.path.relative_to(self.folder)) for state in self._states)

    def due(self) -> bool:
        """Whether it is time to save again."""
        return self._saving.due() and (self._written is None or self._written.done())

    def save(self, reached: Reached) -> None:
        """Begin to save chains as they are now, when what was saved before is whole.

        Raises:
            OSError: when the save before has failed, for instance on a full disk; for the last one
                leaving the context does.
        """
        self._wait()
        self._written = self._writer.submit(self._write, reached)

    def _wait(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def _write(self, reached: Reached) -> None:
        """Write a state; what was saved before stays until this is whole."""
        with self._saving.of(f"of generation {reached.done}"):
            arrays = {
                **{f"{_METRIC}{name}": values for name, values in reached.metrics.items()},
                **{
                    f"{_POOL}{index:04}.{place:04}": piece
                    for index, leaf in enumerate(reached.pool)
                    for place, piece in enumerate(files.compacted(leaf))
                },
            }
            about = _about(self._run, reached.done, reached.seeds)
            about |= {"sums": _fingerprints(arrays), "by": versions()}
            path = self.folder / f"chains-{digest(reached.seeds)}" / f"{reached.done}{SUFFIX}"
            path.parent.mkdir(exist_ok=True)
            for part in path.parent.glob(".part-*"):  # of a process that was killed
                part.unlink()
            metadata = {"about": sums.signed(about)}
            files.write_atomically(
                path, lambda name: files.write_safetensors(name, arrays, metadata)
            )
            for old in states_in(path.parent)[:-_KEPT]:
                old.unlink()

    def restore(self, seeds: np.ndarray, n_generations: int) -> Iterator[Reached]:
        """Yield what the folder held of these chains when it was looked at, each at most once.

        Chains that have come to `n_generations` or beyond are yielded without their pools.
        """
        missing = seeds
        for state in sorted(self._states, key=lambda state: -state.step):
            if not np.isin(missing, state.seeds).any():
                continue
            try:
                with reading(state.path):
                    reached = _read(state, self._run, with_pool=state.step < n_generations)
            except DAMAGE as error:
                _set_aside(state.path, error)
                continue
            yield reached.of(np.isin(reached.seeds, missing))
            missing = missing[~np.isin(missing, reached.seeds)]


class _State(NamedTuple):
    """A file of chains at one generation, without its arrays."""

    path: Path
    step: int
    seeds: np.ndarray
    about: dict[str, Any]


def _about(run: str, step: int, seeds: np.ndarray) -> dict[str, Any]:
    """What a state is of. What is read back must say the same of itself as its place does."""
    return {"run": run, "generation": step, "seeds": seeds.tolist()}


def _survey(folder: Path) -> list[_State]:
    """All states in the folder, apart from their arrays."""
    states = []
    with usable(folder):
        paths = states_of(folder)
    for path in paths:
        try:
            said = said_by(path)
            seeds = np.asarray(said["seeds"], np.uint32)
        except FileNotFoundError:  # a run that has the folder now has removed it
            continue
        except DAMAGE as error:
            _set_aside(path, error)
        else:
            states.append(_State(path, int(path.stem), seeds, said))
    return states


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A state's arrays by name. The library calls all that it may not open missing."""
    with open(path, "rb"), safe_open(path, framework="np") as file:
        yield file


def said_by(path: Path) -> dict[str, Any]:
    """What a state says of itself, without its arrays.

    Raises:
        OSError: where the system does not let it be read.
        Exception: one of `DAMAGE`, where it is damaged, or in the place of another.
    """
    with reading(path), _opened(path) as file:
        said = sums.unsigned(file.metadata()["about"])
    if path.parent.name != f"chains-{digest(np.asarray(said['seeds'], np.uint32))}":
        raise ValueError(f"it is of the seeds {said['seeds']}")
    return said


def checked(path: Path) -> dict[str, Any]:
    """The same of a state all of whose bytes are those that were written."""
    said = said_by(path)
    state = _State(path, int(path.stem), np.asarray(said["seeds"], np.uint32), said)
    with reading(path):
        _read(state, said["run"], with_pool=True)
    return said


def _runs_in(folder: Path) -> set[str]:
    """The runs that the states of a folder are of, as far as they can say."""
    runs = set()
    for path in states_of(folder):
        with contextlib.suppress(*DAMAGE, FileNotFoundError):  # who has the lock may remove it
            runs.add(said_by(path)["run"])
    return runs


def _read(state: _State, run: str, with_pool: bool) -> Reached:
    for name, value in _about(run, state.step, state.seeds).items():
        if state.about[name] != value:
            raise ValueError(f"its {name} is {state.about[name]} and not {value}")
    with _opened(state.path) as file:
        arrays = {
            name: file.get_tensor(name)
            for name in sorted(file.keys())
            if with_pool or not name.startswith(_POOL)
        }
    for kind, found in _fingerprints(arrays).items():
        if found != state.about["sums"][kind] and (with_pool or kind != _POOL):
            raise ValueError(f"the check sum of its {kind.rstrip('.')}s differs")
    metrics = {
        name.removeprefix(_METRIC): array
        for name, array in arrays.items()
        if name.startswith(_METRIC)
    }
    leaves: dict[str, list[np.ndarray]] = {}
    for name, array in arrays.items():
        if name.startswith(_POOL):
            leaves.setdefault(name.rpartition(".")[0], []).append(array)
    return Reached(state.seeds, state.step, metrics, [_joined(leaf) for leaf in leaves.values()])


def _joined(pieces: list[np.ndarray]) -> list[np.ndarray]:
    return pieces if len(pieces) == 1 else [np.concatenate(pieces)]


def _fingerprints(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    """A check sum of the metrics and one of the pool."""
    found_of = {}
    for kind in (_METRIC, _POOL):
        found = 0
        for name in sorted(name for name in arrays if name.startswith(kind)):
            array = np.ascontiguousarray(arrays[name])
            found = zlib.crc32(f"{name}{array.dtype}{array.shape}".encode(), found)
            found = zlib.crc32(array.reshape(-1).view(np.uint8).data, found)
        found_of[kind] = found
    return found_of


def _set_aside(path: Path, error: Exception) -> None:
    """Keep a damaged file under another name; several processes may try."""
    warnings.warn(
        f"checkpoint {path} is damaged, and the state before it is used: {error}", stacklevel=2
    )
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"damaged-{path.name}"))
