"""Batches of chains, a chunk of generations at a time, with progress and checkpoints."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from tqdm import tqdm

from collapse_jax.machines import hosts
from collapse_jax.records.store import Checkpoint, Reached

Found = Iterator[tuple[np.ndarray, int, dict[str, np.ndarray]]]
"""Seeds, how many generations come before, and metrics `[chain, generation]` from there on."""

SECONDS = 0.5
"""How long a call of the engine is to take."""
_ENDING = signal.SIGINT, signal.SIGTERM  # of terminals, and of schedulers such as Slurm


@runtime_checkable
class Engine(Protocol):
    """What runs chains: `collapse_jax.run.compiled`, or another with the same three calls.

    A pool is a pytree of arrays `[chain, ...]` and of numbers that all chains share. What a longer
    run would have room for beyond its arrays is zero, so that a pool can be carried over to one.
    """

    def start(self, chains: Any, spare: Any = None) -> Any: ...

    def left_over(self, chains: Any, pool: Any) -> Any: ...

    def advance(self, chains: Any, pool: Any, first: int, steps: int) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class Driver:
    """How all batches of a run are run."""

    engine: Engine
    chains: Callable[[np.ndarray], Any]
    """Makes the engine's description of `width` chains of their seeds."""
    n_generations: int
    chunk: int
    """Most generations in one call of the engine."""
    width: int
    """Chains per batch; where there are fewer, the last one is repeated."""
    bar: tqdm
    checkpoint: Checkpoint | None
    interrupted: threading.Event
    """Set by the first Ctrl-C or SIGTERM where there is a checkpoint, which is saved before."""
    together: bool = False
    """Whether all processes run the same chains, and so have to save and to stop together."""
    check: Callable[[dict[str, np.ndarray], np.ndarray, int], None] | None = None
    """Called with the metrics of a chunk, the seeds, and the generations done; raises to stop."""

    begun: int = 0
    """Generations that the bar has been told of before."""

    def run(self, seeds: np.ndarray) -> Found:
        """Run chains; yield seeds and their metrics, in any order.

        Raises:
            KeyboardInterrupt: after Ctrl-C or SIGTERM, when the chains have been saved.
        """
        with self.attended():
            yield from self.run_on(seeds)

    def run_on(self, seeds: np.ndarray, since: int = 0) -> Found:
        """The same, where interrupts and the folder are attended to already.

        Args:
            seeds: those of the chains.
            since: only metrics of later generations are wanted.
        """
        spare = None
        for chains in self.batches(seeds):
            self.forward(chains, self.n_generations, spare)
            spare = self._left_over(chains)
            yield from chains.found(since, self.n_generations)

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """Where chains are run: interrupts wait until they are saved, and saves are whole."""
        kept = self.checkpoint or contextlib.nullcontext()
        with _interrupt_deferred(self.interrupted, self.checkpoint is not None), kept:
            yield
            if self.interrupted.is_set():
                raise KeyboardInterrupt

    def batches(self, seeds: np.ndarray) -> Iterator["Batch"]:
        """Chains in batches, from where the folder has them."""
        missing = seeds
        if self.checkpoint is not None:
            for reached in self.checkpoint.restore(seeds, self.n_generations):
                missing = missing[~np.isin(missing, reached.seeds)]
                for part in np.split(np.arange(len(reached.seeds)), self._cuts(reached.seeds)):
                    yield self._batch(reached.of(part))
        for part in np.split(missing, self._cuts(missing)):
            if len(part):
                yield self._batch(Reached(part, 0, {}, []))

    def _cuts(self, seeds: np.ndarray) -> range:
        return range(self.width, len(seeds), self.width)

    def _batch(self, reached: Reached) -> "Batch":
        pieces = [reached.metrics] if reached.done else []
        batch = Batch(reached.seeds, reached.done, pieces, reached.pool)
        self.show_restored(batch)
        return batch

    def forward(self, batch: "Batch", until: int, spare: Any = None) -> None:
        """Run a batch of chains from where it is, unless it is there, through some generations.

        What is left over of others is used up where this one is started, and else dropped.

        Raises:
            KeyboardInterrupt: after Ctrl-C or SIGTERM, when the chains have been saved.
        """
        if batch.done >= until:
            return
        if batch.chains is None:
            self._start(batch, spare)
        seeds, n, steps = batch.seeds, len(batch.seeds), 1
        while batch.done < until:
            steps = min(steps, self.chunk, until - batch.done)
            before = time.perf_counter()
            batch.pool, metrics = self.engine.advance(
                batch.chains, batch.pool, batch.done + 1, steps
            )
            batch.pieces.append({name: _part(v, n, steps) for name, v in metrics.items()})
            batch.done += steps
            if self.check is not None:
                self.check(batch.pieces[-1], seeds, batch.done)
            self.bar.update(steps * n)
            rate = steps / max(time.perf_counter() - before, 1e-6)
            steps = max(1, int(rate * SECONDS))
            if self.checkpoint is None:
                continue
            stop = self._agreed(self.interrupted.is_set())
            last = batch.done == self.n_generations
            if stop or last or self._agreed(self.checkpoint.due()):
                self.save(batch)
            if stop:
                raise KeyboardInterrupt

    def _left_over(self, batch: "Batch") -> Any:
        """What another batch can use of this one, which is at its end."""
        if batch.chains is None:
            return None
        pool, batch.pool = batch.pool, None
        return self.engine.left_over(batch.chains, pool)

    def _start(self, batch: "Batch", spare: Any) -> None:
        """The engine's description of chains, and their pools as they are."""
        seeds = batch.seeds
        batch.chains = self.chains(np.pad(seeds, (0, self.width - len(seeds)), mode="edge"))
        pool, saved = self.engine.start(batch.chains, spare), batch.pool
        if batch.done:
            leaves, structure = jax.tree.flatten(pool)
            if [leaf.ndim for leaf in leaves] == [pieces[0].ndim for pieces in saved]:
                pairs = zip(leaves, saved, strict=True)
                pool = jax.tree.unflatten(structure, [_refill(leaf, *old) for leaf, old in pairs])
            else:
                # A longer run may keep its data in another form: the same draws from the start.
                self.bar.update(-len(seeds) * batch.done)
                batch.done, batch.pieces = 0, []
        batch.pool = pool

    def save(self, batch: "Batch") -> None:
        """Save chains, where there is a folder for them."""
        if self.checkpoint is None or batch.chains is None:
            return
        batch.pieces[:] = [_join(batch.pieces)]
        leaves = [hosts.pieces_on_host(leaf) for leaf in jax.tree.leaves(batch.pool)]
        pool = [_first(len(batch.seeds), leaf) for leaf in leaves]
        if hosts.is_first() or not self.together:
            self.checkpoint.save(Reached(batch.seeds, batch.done, batch.pieces[0], pool))

    def _agreed(self, flag: bool) -> bool:
        return hosts.first_says(flag) if self.together else flag

    def show_restored(self, batch: "Batch") -> None:
        """Move the progress bar without a claim to have been that fast."""
        generations = max(min(batch.done, self.n_generations) - self.begun, 0)
        if not self.bar.disable:
            self.bar.initial += generations * len(batch.seeds)
            self.bar.update(generations * len(batch.seeds))


@dataclass
class Batch:
    """Chains that run together, and how far they have come."""

    seeds: np.ndarray
    """`[chain]`"""
    done: int
    """The last generation that is done."""
    pieces: list[dict[str, np.ndarray]]
    """Their metrics, in pieces along the generations, each `[chain, generations]`."""
    pool: Any
    """As saved, until they go on."""
    chains: Any = None
    """The engine's description; None until they go on."""

    def found(self, first: int, last: int) -> Found:
        """What is measured in generations `first + 1` to `last`."""
        start = 0
        for piece in self.pieces:
            n = next((values.shape[1] for values in piece.values()), 0)
            inside = slice(max(first - start, 0), max(last - start, 0))
            if inside.start < min(inside.stop, n):
                values = {name: array[:, inside] for name, array in piece.items()}
                yield self.seeds, max(first, start), values
            start += n


def _part(metric: jax.Array | np.ndarray, n: int, steps: int) -> np.ndarray:
    """A copy of `[:n, :steps]`: a view would hold on to all that there is room for."""
    found = np.empty((n, steps, *metric.shape[2:]), metric.dtype)
    row = 0
    for piece in [metric] if isinstance(metric, np.ndarray) else hosts.pieces_on_host(metric):
        found[row : row + len(piece)] = piece[: max(n - row, 0), :steps]
        row += len(piece)
    return found


def _join(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    if len(pieces) == 1:
        return pieces[0]
    return {name: np.concatenate([p[name] for p in pieces], axis=1) for name in pieces[0]}


def _first(n: int, pieces: list[np.ndarray]) -> list[np.ndarray]:
    """The first `n` chains of a leaf that is in pieces."""
    if not pieces[0].ndim:
        return pieces
    starts = np.cumsum([0, *map(len, pieces)])
    kept = [piece[: max(n - start, 0)] for piece, start in zip(pieces, starts, strict=False)]
    return [piece for piece in kept if len(piece)]


def _refill(leaf: jax.Array, saved: np.ndarray) -> jax.Array:
    """A leaf of a new pool with what was saved of it, perhaps from a shorter run."""
    if saved.ndim:
        inside = tuple(slice(min(sizes)) for sizes in zip(leaf.shape, saved.shape, strict=True))
        filled = np.zeros(leaf.shape, leaf.dtype)
        filled[inside] = saved[inside]
        filled[len(saved) :] = filled[len(saved) - 1]  # chains that only fill the batch
        saved = filled
    return jax.device_put(saved, leaf.sharding)


@contextlib.contextmanager
def _interrupt_deferred(interrupted: threading.Event, wanted: bool) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM set the event only; the second one acts as usual."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {number: signal.getsignal(number) for number in _ENDING}

    def note(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        restore()

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    for number in _ENDING:
        signal.signal(number, note)
    try:
        yield
    finally:
        restore()
