"""Chains on disk: how far a run has come, in a form that is checked when it is read back."""

import contextlib
import json
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from collapse_jax import files
from collapse_jax.data import digest

_CONFIG = "config.json"
_SHARE = 0.05  # most of the time that saving may take


class Reached(NamedTuple):
    """Chains that have come to the same generation, and all that is needed to go on from there."""

    seeds: np.ndarray
    """Seeds of the chains. `[chain]`"""
    done: int
    """The last generation that is done."""
    metrics: dict[str, np.ndarray]
    """The metrics so far, each `[chain, done]`."""
    pool: list[np.ndarray]
    """Leaves of the pools, each `[chain, ...]` or, where all chains share it, without axes."""

    def of(self, chosen: np.ndarray) -> "Reached":
        """Some of the chains, by their index or a mask."""
        return Reached(
            self.seeds[chosen],
            self.done,
            {name: values[chosen] for name, values in self.metrics.items()},
            [leaf[chosen] if leaf.ndim else leaf for leaf in self.pool],
        )


class Checkpoint:
    """A folder that holds the chains of one run, whatever the batches in which they ran.

    Each batch of chains has a folder in it, named after its seeds, of which orbax keeps the last
    two states. A state carries a fingerprint of its arrays, so that damage is found when it is
    read: it is set aside with a warning, and the state before it is used.

    **Arguments:**

    - `folder`: where the chains are kept; made where it is missing.
    - `config`: the run's configuration. All of it must agree with that of the folder, except for
        `n_generations`.
    - `seconds`: how often to save. Saving never takes more than about 5 % of the time: where it
        takes long, it is done less often.

    Raises `ValueError` for a folder that holds another run or other files, or cannot be used.
    """

    def __init__(self, folder: str | Path, config: dict[str, Any], seconds: float = 60.0):
        self.folder = Path(folder).absolute()
        self._seconds = seconds
        self._due = time.monotonic() + seconds
        _claim(self.folder, json.loads(json.dumps(config, default=str)))
        self._states = _survey(self.folder)

    def due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() >= self._due

    def save(self, reached: Reached) -> None:
        """Save chains as they are now; what was saved before stays until this is whole.

        Raises `OSError` when that fails, for instance on a full disk.
        """
        import orbax.checkpoint as ocp

        started = time.monotonic()
        about = {
            "seeds": reached.seeds.tolist(),
            "values": digest(reached.seeds, *_sorted(reached.metrics)),
            "pool": digest(reached.seeds, *reached.pool),
        }
        names = (f"{index:04}" for index in range(len(reached.pool)))
        items = {
            "about": ocp.args.JsonSave(about),
            "values": ocp.args.StandardSave(reached.metrics),
            "pool": ocp.args.StandardSave(dict(zip(names, reached.pool, strict=False))),
        }
        path = self.folder / f"chains-{digest(reached.seeds)}"
        try:
            path.mkdir(exist_ok=True)
            with _manager(path, cleanup_tmp_directories=True) as manager:
                manager.save(reached.done, args=ocp.args.Composite(**items), force=True)
        except Exception as error:  # orbax and what is below it raise all kinds
            raise OSError(
                f"checkpoint of generation {reached.done} could not be saved in {self.folder}; "
                "what was saved before is whole, and the same call goes on from there: "
                f"{_reason(error)}"
            ) from error
        took = time.monotonic() - started
        self._due = time.monotonic() + max(self._seconds, took / _SHARE)

    def restore(self, seeds: np.ndarray, n_generations: int) -> Iterator[Reached]:
        """Yield what the folder held of these chains when it was opened, each at most once.

        Chains that have come to `n_generations` or beyond are yielded without their pools.
        """
        missing = seeds
        for state in sorted(self._states, key=lambda state: -state.step):
            if not np.isin(missing, state.seeds).any():
                continue
            try:
                reached = _read(state, with_pool=state.step < n_generations)
            except MemoryError:
                raise
            except Exception as error:  # as above
                _set_aside(state.path, state.step, error)
                continue
            yield reached.of(np.isin(reached.seeds, missing))
            missing = missing[~np.isin(missing, reached.seeds)]


class _State(NamedTuple):
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
            _compare(folder, json.loads(path.read_text()), config)
        elif any(not name.name.startswith(".") for name in folder.iterdir()):
            raise ValueError(f"checkpoint must be a folder of its own, and {folder} is not empty")
        else:
            text = json.dumps(config, indent=1)
            files.write_atomically(path, lambda name: Path(name).write_text(text))
    except json.JSONDecodeError as error:
        raise ValueError(f"checkpoint has a damaged {path}: {error}") from None
    except OSError as error:
        raise ValueError(
            f"checkpoint must be a folder to write to, not {folder}: {error}"
        ) from None


def _compare(folder: Path, kept: dict[str, Any], config: dict[str, Any]) -> None:
    old, new = _flat(kept), _flat(config)
    differing = [
        f"{name} is {old.get(name)!r} there and {new.get(name)!r} here"
        for name in dict.fromkeys((*old, *new))
        if name != "n_generations" and old.get(name) != new.get(name)
    ]
    if differing:
        raise ValueError(
            f"checkpoint must be of this run, and {folder} is of another: {'; '.join(differing)}"
        )


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dictionary with names such as `task.n_samples`."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _survey(folder: Path) -> list[_State]:
    """All states in the folder, apart from their arrays."""
    states = []
    for path in sorted(folder.glob("chains-*")):
        with _manager(path) as manager:
            for step in manager.all_steps():
                try:
                    about = manager.restore(step, args=_only("about"))["about"]
                    seeds = np.asarray(about["seeds"], np.uint32)
                    states.append(_State(path, step, seeds, about))
                except Exception as error:  # as above
                    _set_aside(path, step, error)
    return states


def _only(*items: str) -> Any:
    import orbax.checkpoint as ocp

    kinds = {"about": ocp.args.JsonRestore}
    return ocp.args.Composite(**{i: kinds.get(i, ocp.args.StandardRestore)() for i in items})


def _read(state: _State, with_pool: bool) -> Reached:
    with _manager(state.path) as manager:
        items = ("values", "pool") if with_pool else ("values",)
        found = manager.restore(state.step, args=_only(*items))
    for item, tree in found.items():
        if digest(state.seeds, *_sorted(tree)) != state.about[item]:
            raise ValueError(f"the fingerprint of its {item} differs")
    metrics = {name: np.asarray(array) for name, array in found["values"].items()}
    return Reached(state.seeds, state.step, metrics, _sorted(found["pool"]) if with_pool else [])


def _set_aside(path: Path, step: int, error: Exception) -> None:
    warnings.warn(
        f"checkpoint {path / str(step)} is damaged, and the state before it is used: "
        f"{_reason(error)}",
        stacklevel=2,
    )
    aside = path / f"damaged-{step}"
    shutil.rmtree(aside, ignore_errors=True)
    (path / str(step)).replace(aside)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


@contextlib.contextmanager
def _manager(path: Path, cleanup_tmp_directories: bool = False) -> Iterator[Any]:
    """Orbax's view of the states of one batch."""
    import orbax.checkpoint as ocp

    # What is saved are NumPy arrays of this process alone: no other one takes part.
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process{here}"
    )
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2,
        create=False,  # orbax would where processes act alone
        enable_async_checkpointing=False,
        multiprocessing_options=alone,
        cleanup_tmp_directories=cleanup_tmp_directories,
    )
    manager = ocp.CheckpointManager(path, options=options)
    try:
        yield manager
    finally:
        manager.close()


def _sorted(tree: dict[str, Any]) -> list[np.ndarray]:
    return [np.asarray(tree[name]) for name in sorted(tree)]
