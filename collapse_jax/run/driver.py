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

_SECONDS = 0.5  # aim of one chunk's length


@runtime_checkable
class Engine(Protocol):
    """What runs chains: `collapse_jax.run.compiled`, or another with the same two calls.

    A pool is a pytree of arrays `[chain, ...]` and of numbers that all chains share. What a longer
    run would have room for beyond its arrays is zero, so that a pool can be carried over to one.
    """

    def start(self, chains: Any) -> Any: ...

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
    """Set by the first Ctrl-C where there is a checkpoint, so that it can be saved before."""
    together: bool = False
    """Whether all processes run the same chains, and so have to save and to stop together."""
    check: Callable[[dict[str, np.ndarray], np.ndarray, int], None] | None = None
    """Called with the metrics of a chunk, the seeds, and the generations done; raises to stop."""

    def run(self, seeds: np.ndarray) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Run chains; yield seeds and their metrics `[chain, generation]`, in any order.

        Raises:
            KeyboardInterrupt: after Ctrl-C, when the chains have been saved.
        """
        missing, kept = seeds, self.checkpoint or contextlib.nullcontext()
        with _interrupt_deferred(self.interrupted, self.checkpoint is not None), kept:
            if self.checkpoint is not None:
                for reached in self.checkpoint.restore(seeds, self.n_generations):
                    missing = missing[~np.isin(missing, reached.seeds)]
                    for part in np.split(np.arange(len(reached.seeds)), self._cuts(reached.seeds)):
                        yield self._batch(reached.of(part))
            for part in np.split(missing, self._cuts(missing)):
                if len(part):
                    yield self._batch(Reached(part, 0, {}, []))
            if self.interrupted.is_set():
                raise KeyboardInterrupt

    def _cuts(self, seeds: np.ndarray) -> range:
        return range(self.width, len(seeds), self.width)

    def _batch(self, reached: Reached) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Run one batch of chains from where it is through all generations."""
        seeds, done, n = reached.seeds, reached.done, len(reached.seeds)
        self._show_restored(n * min(done, self.n_generations))
        if done >= self.n_generations:
            return seeds, {k: v[:, : self.n_generations] for k, v in reached.metrics.items()}
        chains = self.chains(np.pad(seeds, (0, self.width - n), mode="edge"))
        pool = self.engine.start(chains)
        if done:
            leaves, structure = jax.tree.flatten(pool)
            if [leaf.ndim for leaf in leaves] != [saved[0].ndim for saved in reached.pool]:
                # A longer run may keep its data in another form: the same draws from the start.
                self.bar.update(-n * done)
                return self._batch(Reached(seeds, 0, {}, []))
            pairs = zip(leaves, reached.pool, strict=True)
            pool = jax.tree.unflatten(structure, [_refill(leaf, *saved) for leaf, saved in pairs])
        pieces, steps = [reached.metrics] if done else [], 1

        def state() -> Reached:
            pieces[:] = [_join(pieces)]
            leaves = [hosts.pieces_on_host(leaf) for leaf in jax.tree.leaves(pool)]
            return Reached(seeds, done, pieces[0], [_first(n, leaf) for leaf in leaves])

        while done < self.n_generations:
            steps = min(steps, self.chunk, self.n_generations - done)
            before = time.perf_counter()
            pool, metrics = self.engine.advance(chains, pool, done + 1, steps)
            pieces.append({k: np.asarray(v)[:n, :steps] for k, v in metrics.items()})
            done += steps
            if self.check is not None:
                self.check(pieces[-1], seeds, done)
            self.bar.update(steps * n)
            rate = steps / max(time.perf_counter() - before, 1e-6)
            steps = max(1, int(rate * _SECONDS))
            if self.checkpoint is None:
                continue
            stop = self._agreed(self.interrupted.is_set())
            if stop or done == self.n_generations or self._agreed(self.checkpoint.due()):
                reached = state()
                if hosts.is_first() or not self.together:
                    self.checkpoint.save(reached)
            if stop:
                raise KeyboardInterrupt
        return seeds, _join(pieces)

    def _agreed(self, flag: bool) -> bool:
        return hosts.first_says(flag) if self.together else flag

    def _show_restored(self, generations: int) -> None:
        """Move the progress bar without a claim to have been that fast."""
        if not self.bar.disable:
            self.bar.initial += generations
            self.bar.update(generations)


def _join(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
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
    """Let the first Ctrl-C set the event only; the second one interrupts as usual."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
