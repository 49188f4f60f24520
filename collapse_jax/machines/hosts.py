"""Several processes, on one machine or on many: each runs its share of the seeds."""

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax._src.xla_bridge import backends_are_initialized  # which has no public name
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from collapse_jax.basics import checks

Said = TypeVar("Said", bool, int)
Found = TypeVar("Found")

_PATIENCE = 30 * 24 * 3600  # seconds
_SILENCE = 60  # seconds without a word from a process, after which it is taken for dead
_MEETINGS = itertools.count()  # all processes make the same calls, and so count alike


def connect(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Make this process one of several that run `simulate` together.

    Every process calls this before its first JAX computation, and then makes the same call of
    `simulate`, which returns the same dataset in all of them.

    All three arguments may be left out where JAX finds them in the environment: under Slurm, Open
    MPI and on Cloud TPUs.

    Args:
        coordinator: address and port of process 0, for instance `"10.0.0.1:1234"`.
        num_processes: how many processes there are.
        process_id: which of them this is, from 0.

    Raises:
        ValueError: when only some are given, or JAX finds nothing.
    """
    given = {
        "coordinator": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(
            f"{missing[0]} must be given together with the others of {', '.join(given)}"
        )
    if not missing:
        checks.whole_number("num_processes", num_processes)
        checks.whole_number("process_id", process_id, minimum=0, maximum=(num_processes or 1) - 1)
    try:
        jax.distributed.initialize(
            *(coordinator, num_processes, process_id),
            heartbeat_timeout_seconds=_SILENCE,
            shutdown_timeout_seconds=_SILENCE,
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"coordinator must be reachable or found by JAX: {error}") from None


_FORKED = threading.Event()


def _note_fork() -> None:
    if backends_are_initialized():
        _FORKED.set()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def check_not_forked() -> None:
    """Refuse to run in a process that was forked when JAX had started, where it waits for ever.

    Raises:
        RuntimeError: says how processes are to be started.
    """
    if _FORKED.is_set():
        raise RuntimeError(
            "this process was forked from one in which JAX had started, whose threads it lacks, so "
            "that it would wait for ever; start processes by "
            'multiprocessing.get_context("spawn")'
        )


def is_first() -> bool:
    """Whether this process is the one that writes files and talks to people."""
    return jax.process_index() == 0


def share(seeds: np.ndarray) -> np.ndarray:
    """The seeds that are this process's to run."""
    return np.array_split(seeds, jax.process_count())[jax.process_index()]


def agree(call: dict[str, Any]) -> None:
    """Wait for all processes, and check that they run the same.

    Raises:
        ValueError: where they do not.
    """
    text = json.dumps(call, default=str, sort_keys=True)
    mine = np.array([[int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)]], np.uint32)
    if len(np.unique(gather(mine, jax.process_count()))) > 1:
        raise ValueError("all processes must make the same call, and their arguments differ")


def wait_for_all() -> None:
    """Wait until all processes have come here, however long that takes.

    JAX's collectives give up within a minute, and one share of the seeds may take hours longer.

    Raises:
        OSError: where one of them has died. JAX then ends all others within `_SILENCE` seconds.
    """
    if jax.process_count() == 1:
        return
    from orbax.checkpoint import multihost

    name = f"collapse_jax {next(_MEETINGS)}"
    everyone = set(range(jax.process_count()))
    try:
        multihost.sync_global_processes(name, timeout=_PATIENCE, processes=everyone)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise OSError(
            "another process of the run has ended; what was saved is whole, and the same call goes "
            f"on from there, also in another number of processes: {reason}"
        ) from None


def first_says(value: Said) -> Said:
    """What process 0 decides, in all processes: for what depends on clocks and on signals."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return type(value)(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def first_does(action: Callable[[], Found]) -> Found | None:
    """Let process 0 do something that may fail, and wait for it.

    Returns:
        what it returns there; None in the others.

    Raises:
        OSError: in the others, where it fails; process 0 raises what the action does.
    """
    found, failed = None, None
    if is_first():
        try:
            found = action()
        except Exception as error:
            failed = error
    wait_for_all()  # which has more patience
    done = first_says(failed is None)
    if failed is not None:
        raise failed
    if not done:
        raise OSError("process 0 has failed, and says why")
    return found


def are_shared(tree: Any) -> bool:
    """Whether other processes hold parts of the arrays of a pytree."""
    arrays = (leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array))
    return not all(a.is_fully_addressable or a.is_fully_replicated for a in arrays)


def on_host(array: Any) -> np.ndarray:
    """An array, of which other processes may hold a part. All of them must ask for it."""
    if not are_shared(array):
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def pieces_on_host(array: jax.Array) -> list[np.ndarray]:
    """An array in pieces along its first axis, as the devices hold them. CPUs need no copy for it.

    While such a piece is held, JAX does not reuse its memory, even where the array is donated.
    """
    if are_shared(array) or array.ndim == 0:
        return [on_host(array)]
    pieces = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    if any(piece.shape[1:] != array.shape[1:] for piece in pieces.values()):
        return [on_host(array)]
    return [np.asarray(pieces[start]) for start in sorted(pieces)]


def gather(values: np.ndarray, n_rows: int) -> np.ndarray:
    """Rows of all processes, in the order in which `share` split them; the same everywhere.

    Args:
        values: this process's rows. `[rows, ...]`
        n_rows: number of rows of all processes together.
    """
    n = jax.process_count()
    if n == 1:
        return values
    wait_for_all()
    sizes = [len(part) for part in np.array_split(np.empty(n_rows), n)]
    block = np.zeros((1, max(sizes), *values.shape[1:]), values.dtype)
    block[0, : len(values)] = values
    firsts = {device.process_index: device for device in reversed(jax.devices())}
    mesh = Mesh(np.array([firsts[process] for process in range(n)]), ("process",))
    split, whole = (NamedSharding(mesh, PartitionSpec(axis)) for axis in ("process", None))
    blocks = jax.make_array_from_process_local_data(split, block, (n, *block.shape[1:]))
    gathered = np.asarray(jax.jit(lambda x: x, out_shardings=whole)(blocks).addressable_data(0))
    return np.concatenate([rows[:size] for rows, size in zip(gathered, sizes, strict=True)])
