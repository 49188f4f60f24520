"""Chains on disk: how far a run has come, in a form that is checked when it is read back."""

import contextlib
import json
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from collapse_jax.basics import files
from collapse_jax.basics.fingerprints import digest
from collapse_jax.records.saving import Saving

_CONFIG = "config.json"
_SUFFIX = ".safetensors"
_METRIC, _POOL = "metric.", "pool."  # what the names of arrays begin with
_KEPT = 2  # states per batch of chains
_MOST_SHOWN = 80  # characters of a value in an error
_DAMAGE = (SafetensorError, ValueError, KeyError, TypeError, OSError)  # all that reading may raise


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

    In pieces along the chains; what is read from a folder is in one."""

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
    before it is used.

    Files are written by a thread, so that chains go on meanwhile; leaving the context waits for it.

    Processes write only batches of their own, whatever the others do; libraries that save one
    array of all processes together cannot, since here no two need to be at the same generation.

    Args:
        folder: where the chains are kept; made where it is missing.
        config: the run's configuration. All of it must agree with that of the folder, except for
            `n_generations`.
        seconds: how often to save; see `Saving`.

    Raises:
        ValueError: for a folder that holds another run or other files, or cannot be used.
    """

    def __init__(self, folder: str | Path, config: dict[str, Any], seconds: float = 60.0):
        self.folder = Path(folder).absolute()
        self._saving = Saving(self.folder, seconds)
        _claim(self.folder, json.loads(json.dumps(config, default=str)))
        self.survey()
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[None] | None = None

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()

    def survey(self) -> None:
        """Look at what the folder holds."""
        self._states = _survey(self.folder)

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
                    for place, piece in enumerate(leaf)
                },
            }
            about = {"seeds": reached.seeds.tolist(), **_fingerprints(reached.seeds, arrays)}
            path = self.folder / f"chains-{digest(reached.seeds)}" / f"{reached.done}{_SUFFIX}"
            path.parent.mkdir(exist_ok=True)
            for part in path.parent.glob(".part-*"):  # of a process that was killed
                part.unlink()
            metadata = {"about": json.dumps(about)}
            files.write_atomically(
                path, lambda name: files.write_safetensors(name, arrays, metadata)
            )
            for old in _states_in(path.parent)[:-_KEPT]:
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
                reached = _read(state, with_pool=state.step < n_generations)
            except _DAMAGE as error:
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


def _claim(folder: Path, config: dict[str, Any]) -> None:
    """Make the folder that of this configuration, or check that it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _CONFIG
        if path.exists():
            kept = json.loads(path.read_text())
            if _compare(folder, kept, config):
                _write_config(path, {**config, "n_generations": kept["n_generations"]})
        elif any(not name.name.startswith(".") for name in folder.iterdir()):
            raise ValueError(f"checkpoint must be a folder of its own, and {folder} is not empty")
        else:
            _write_config(path, config)
    except json.JSONDecodeError as error:
        raise ValueError(f"checkpoint has a damaged {path}: {error}") from None
    except OSError as error:
        raise ValueError(
            f"checkpoint must be a folder to write to, not {folder}: {error}"
        ) from None


def _write_config(path: Path, config: dict[str, Any]) -> None:
    text = json.dumps(config, indent=1)
    files.write_atomically(path, lambda name: Path(name).write_text(text))


def _compare(folder: Path, kept: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether the folder's chains go on by other numbers than it knew so far.

    Raises:
        ValueError: if they are of another run.
    """
    old, new = _flat(kept), _flat(config)
    names = [name for name in dict.fromkeys((*old, *new)) if name != "n_generations"]
    differing = [n for n in names if n not in old or n not in new or old[n] != new[n]]
    reached = max((state.step for state in _survey(folder)), default=0) if differing else 0
    wrong = [n for n in differing if not _goes_on(n, old.get(n), new.get(n), reached)]
    if wrong:
        shown = [f"{n} is {_shown(old, n)} there and {_shown(new, n)} here" for n in wrong]
        raise ValueError(
            f"checkpoint must be of this run, and {folder} is of another: {'; '.join(shown)}"
        )
    return bool(differing) and all(len(new[n]) >= reached for n in differing)


def _goes_on(name: str, old: Any, new: Any, reached: int) -> bool:
    """Whether a schedule, given as a list, has been the same in all generations so far.

    A list of one number, again and again, is drawn in another way than one of several.
    """
    schedules = isinstance(old, list) and isinstance(new, list) and name.startswith("workflow.")
    if not schedules or name.endswith((".first_values", ".mixing", ".truth_share")):
        return False
    common = min(reached, len(new))
    return old[:common] == new[:common] and (len(set(old)) == 1) == (len(set(new)) == 1)


def _shown(flat: dict[str, Any], name: str) -> str:
    text = repr(flat[name]) if name in flat else "not given"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dictionary with names such as `task.n_samples`."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _survey(folder: Path) -> list[_State]:
    """All states in the folder, apart from their arrays."""
    states = []
    for path in (path for chains in folder.glob("chains-*") for path in _states_in(chains)):
        try:
            with safe_open(path, framework="np") as file:
                about = json.loads(file.metadata()["about"])
            seeds = np.asarray(about["seeds"], np.uint32)
        except _DAMAGE as error:
            _set_aside(path, error)
        else:
            states.append(_State(path, int(path.stem), seeds, about))
    return states


def _states_in(chains: Path) -> list[Path]:
    """The states of one batch of chains, the last one last."""
    paths = (path for path in chains.glob(f"*{_SUFFIX}") if path.stem.isdigit())
    return sorted(paths, key=lambda path: int(path.stem))


def _read(state: _State, with_pool: bool) -> Reached:
    with safe_open(state.path, framework="np") as file:
        arrays = {
            name: file.get_tensor(name)
            for name in sorted(file.keys())
            if with_pool or not name.startswith(_POOL)
        }
    for kind, fingerprint in _fingerprints(state.seeds, arrays).items():
        if fingerprint != state.about[kind] and (with_pool or kind != _POOL):
            raise ValueError(f"the fingerprint of its {kind} differs")
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


def _fingerprints(seeds: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, int]:
    """A check sum of the metrics and one of the pool, with the seeds in both.

    They are for damage, not for malice: a cryptographic one would take most of the time of saving.
    """
    sums = {}
    for kind in (_METRIC, _POOL):
        found = zlib.crc32(seeds.tobytes())
        for name in sorted(name for name in arrays if name.startswith(kind)):
            array = np.ascontiguousarray(arrays[name])
            found = zlib.crc32(f"{name}{array.dtype}{array.shape}".encode(), found)
            found = zlib.crc32(array.reshape(-1).view(np.uint8).data, found)
        sums[kind] = found
    return sums


def _set_aside(path: Path, error: Exception) -> None:
    """Keep a damaged file under another name; several processes may try."""
    warnings.warn(
        f"checkpoint {path} is damaged, and the state before it is used: {error}", stacklevel=2
    )
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"damaged-{path.name}"))
