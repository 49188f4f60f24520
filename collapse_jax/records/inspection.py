"""What a folder of a run holds, whether all of it is whole, and its repair."""

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from collapse_jax.basics import sums
from collapse_jax.basics.fingerprints import digest
from collapse_jax.records import store
from collapse_jax.records.folder import CONFIG, batches_in, read_config, run_of, states_of, usable
from collapse_jax.records.lock import Lock

_PARTS = ".part-", ".orbax-checkpoint-tmp"  # of files and folders that were not finished


@dataclass(frozen=True)
class KeptState:
    """A state that a folder holds."""

    path: Path
    kind: str
    """`"chains"` between two generations, `"training"` or `"documents"` within one."""
    seeds: tuple[int, ...] = ()
    generation: int = 0
    written_by: str = ""
    """The versions of the libraries that wrote it."""
    problem: str | None = None
    """What is wrong with it, None where it is whole."""


@dataclass(frozen=True)
class FolderContents:
    """What a folder of a run holds; see `inspect_folder`."""

    folder: Path
    config: dict[str, Any]
    """The configuration of its run; empty where it cannot be read."""
    in_use_by: str | None
    """The process that runs in it now."""
    states: tuple[KeptState, ...]
    problems: tuple[str, ...]
    """All that is wrong, each with its path. Empty where every byte is as it was written."""
    repaired: tuple[str, ...] = ()
    """What was done about them."""

    @property
    def seeds(self) -> dict[int, int]:
        """The last whole generation of each seed."""
        reached: dict[int, int] = {}
        for state in self.states:
            if state.kind == "chains" and state.problem is None:
                for seed in state.seeds:
                    reached[seed] = max(reached.get(seed, 0), state.generation)
        return dict(sorted(reached.items()))


def inspect_folder(folder: str | Path, *, repair: bool = False) -> FolderContents:
    """Say what the `checkpoint` folder of a run holds, and check every file of it.

    Args:
        folder: the folder.
        repair: set aside what is damaged, and remove what was never finished, so that the next run
            goes on from the last whole states without a word. Chains stay what they are.

    Returns:
        what is there, after the repair.

    Raises:
        ValueError: for a folder that is none of a run, and to repair one that is in use.
        OSError: where it cannot be read.

    Example:
        >>> import collapse_jax as cj, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ds = cj.simulate(cj.Replace(), cj.Categorical(3, 9), 5, 2, checkpoint=folder)
        ...     found = cj.inspect_folder(folder)
        >>> found.seeds, found.problems
        ({0: 5, 1: 5}, ())
    """
    folder = Path(folder).absolute()
    if not (folder / CONFIG).exists() and not (folder.is_dir() and states_of(folder)):
        raise ValueError(f"folder must be that of a run, and {folder} has no {CONFIG}")
    lock = Lock(folder)
    if not repair:
        return _contents(folder, lock.owner())
    with usable(folder):
        lock.take()
        try:
            done = _without_damaged(folder / CONFIG)
            done += [_mended(state) for state in _states(folder) if state.problem is not None]
            done += [_removed(path) for path in _unfinished(folder)]
            found = _contents(folder, None)
        finally:
            lock.release()
    return FolderContents(**{**vars(found), "repaired": tuple(done)})


def _contents(folder: Path, owner: str | None) -> FolderContents:
    config, problems = {}, []
    try:
        config = read_config(folder / CONFIG)
    except ValueError as error:
        problems.append(str(error))
    except FileNotFoundError:
        problems.append(
            f"{folder / CONFIG}: it is missing; the call that made the run makes it again, unless "
            "it has schedules that are lists, or several models"
        )
    states = _states(folder)
    if config:
        run = run_of(config)
        states = _seen(lambda state: _of_run(state, run), states)
    problems += [f"{state.path}: {state.problem}" for state in states if state.problem is not None]
    if owner is None:  # what is not finished may be written now
        problems += [f"{path}: it was never finished" for path in _unfinished(folder)]
    return FolderContents(folder, config, owner, tuple(states), tuple(problems))


def _states(folder: Path) -> list[KeptState]:
    return [*_seen(_chains, states_of(folder)), *_seen(_within, _midway(folder))]


def _seen(look: Callable[[Any], KeptState], each: Sequence[Any]) -> list[KeptState]:
    """What is there when it is looked at: a run in the folder removes old states meanwhile."""
    found = []
    for one in each:
        with contextlib.suppress(FileNotFoundError):
            found.append(look(one))
    return found


def _chains(path: Path) -> KeptState:
    try:
        about = store.checked(path)
    except store.DAMAGE as error:
        return KeptState(path, "chains", generation=int(path.stem), problem=str(error))
    by, seeds = about.get("by", ""), tuple(about["seeds"])
    return KeptState(path, "chains", seeds, about["generation"], by)


def _of_run(state: KeptState, run: str) -> KeptState:
    """The state, whose problem it is too if it is of another run."""
    if state.kind != "chains" or state.problem is not None:
        return state
    said = store.said_by(state.path)["run"]
    problem = None if said == run else f"its run is {said} and not {run}"
    return KeptState(**{**vars(state), "problem": problem})


def _midway(folder: Path) -> list[Path]:
    """States within generations."""
    batches = sorted(batches_in(folder, "midway-"))
    kinds = [kind for batch in batches for kind in batch.iterdir() if kind.is_dir()]
    paths = [path for kind in kinds for path in kind.iterdir()]
    return [path for path in paths if not _is_part(path)]


def _within(path: Path) -> KeptState:
    kind, generation = path.parent.name, path.name.partition("-")[0]
    number = int(generation) if generation.isdigit() else 0
    try:
        about = sums.sealed(path)
        sums.check_seal(path, about)
        if about["kind"] != kind or about["state"] != path.name:
            raise ValueError(f"it is of {about['kind']}, {about['state']}")
        if path.parent.parent.name != f"midway-{digest(np.asarray(about['seeds'], np.uint32))}":
            raise ValueError(f"it is of the seeds {about['seeds']}")
    except (KeyError, TypeError, ValueError) as error:
        return KeptState(path, kind, generation=number, problem=str(error))
    return KeptState(path, kind, tuple(about["seeds"]), number)


def _unfinished(folder: Path) -> list[Path]:
    """What processes left that were killed while they wrote."""
    inner = batches_in(folder, "chains-", "midway-")
    inner += [path for batch in inner for path in batch.iterdir() if path.is_dir()]
    return sorted(path for place in (folder, *inner) for path in place.iterdir() if _is_part(path))


def _is_part(path: Path) -> bool:
    return any(part in path.name for part in _PARTS)


def _without_damaged(config: Path) -> list[str]:
    """Set a damaged configuration aside, which the next run makes again."""
    try:
        read_config(config)
    except FileNotFoundError:
        return []
    except ValueError:
        return [_set_aside(config)]
    return []


def _set_aside(path: Path) -> str:
    aside = path.with_name(f"damaged-{path.name}")
    path.replace(aside)
    return f"{path} is {aside.name} now"


def _mended(state: KeptState) -> str:
    if state.kind != "chains":  # the generation is made again
        return _removed(state.path)
    return _set_aside(state.path)


def _removed(path: Path) -> str:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    return f"{path} was removed"
