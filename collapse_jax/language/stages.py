"""The engine for tasks whose generations are long: a compiled program per stage, not per chain.

It offers what `engine` offers, `start` and `advance`. In between a language model is trained and
sampled a part at a time, so that progress shows and states can be saved, and documents are accepted
on the host, where the rule may be any function of their text.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from collapse_jax.language import programs
from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.model.decoder import Params
from collapse_jax.language.model.training import STATE_AXES, TrainState
from collapse_jax.language.task import LanguageModel
from collapse_jax.loop.form import Columns
from collapse_jax.loop.pool import Pool
from collapse_jax.machines import hosts
from collapse_jax.records.midway import Kind, Midway
from collapse_jax.run import compiled
from collapse_jax.run.compiled import Chains

_STEPS = 32  # training steps between two reports


class TooFewDocuments(RuntimeError):
    """A model generates next to no documents that are acceptable."""


@dataclass(frozen=True)
class Attendance:
    """What attends long work: a progress bar, states on disk, and the wish to stop."""

    report: Callable[[str], None] = lambda _: None
    """Receives a line of text at each step on the way."""
    midway: Midway | None = None
    """Keeps states within a generation."""
    interrupted: threading.Event | None = None
    """Set when the run is to be stopped as soon as its state is saved."""

    def restore(self, kind: Kind, chains: Chains, t: int, like: Any) -> Any | None:
        """What was saved within this generation of these chains, if anything."""
        if self.midway is None:
            return None
        return self.midway.restore(kind, chains.seeds, t, like)

    def between_steps(self, kind: Kind, chains: Chains, t: int, step: int, state: Any) -> None:
        """Save where it is time to. Raises `KeyboardInterrupt` where the run is to be stopped."""
        if self.midway is None:
            return
        stop = hosts.first_says(self.interrupted is not None and self.interrupted.is_set())
        if self.midway.due() or stop:
            self.midway.save(kind, chains.seeds, t, step, state)
        if stop:
            raise KeyboardInterrupt


class Progress(NamedTuple):
    """Chains between two generations."""

    pool: Pool
    params: Params | None
    """The last models, where the next ones start from them. `[seed, ...]`"""


class Generation(NamedTuple):
    """What one generation of some chains has made, as `observe` of `simulate` receives it."""

    generation: int
    seeds: np.ndarray
    params: Params
    """Parameters of the models. `[seed, ...]`"""
    documents: Documents
    """What they generated, accepted ones only. `[seed, n_samples, ...]`"""


@dataclass(frozen=True)
class StagedEngine:
    """Runs chains as `engine` does, and tells of it."""

    attendance: Attendance = Attendance()
    observe: Callable[[Generation], None] | None = None
    """Receives what each generation has made."""

    def start(self, chains: Chains) -> Progress:
        """All chains before generation 1."""
        with programs.devices_of(chains):
            first = start_state(chains, 1).params if _starts_from_previous(chains) else None
            return Progress(programs.everywhere(compiled.start(chains), chains.mesh), first)

    def advance(
        self, chains: Chains, pool: Progress, first: int, steps: int
    ) -> tuple[Progress, dict[str, np.ndarray]]:
        """Run generations `first`, `first + 1`, ... (`steps` of them).

        Returns:
            the chains after them, and the metrics `[seed, steps]`. What was handed in is
            used up.

        Raises:
            TooFewDocuments: where a model generates next to no acceptable documents.
        """
        columns: list[dict[str, Any]] = []
        for t in range(first, first + steps):
            with programs.devices_of(chains):
                pool, measured = self._generation(chains, pool, t)
            columns.append({name: np.asarray(measured[name], np.float32) for name in chains.names})
        return pool, {name: np.stack([c[name] for c in columns], 1) for name in chains.names}

    def _generation(
        self, chains: Chains, progress: Progress, t: int
    ) -> tuple[Progress, dict[str, Any]]:
        """Select, fit, measure, generate, retain."""
        now = numbers(chains, t)
        pool = progress.pool
        if chains.form.real.every:
            pool = programs.run(programs.ARRIVE, chains, (now,), pool)
        training = select(chains, pool, t)
        n_train = int(now.drawn)
        state = fit(chains, training.rows, n_train, t, progress.params, self.attendance)
        measured = {
            "real_fraction": np.asarray(training.n_real) / n_train,
            "train_loss": state.loss,
            **measure(chains, state.params),
        }
        n = int(now.synthetic_rows)
        made, rate = generate(chains, state.params, t, n, self.attendance)
        measured |= {"acceptance_rate": rate}
        documents = programs.everywhere(jax.tree.map(jnp.asarray, made), chains.mesh)
        measured |= programs.run(programs.MEASURE_DOCUMENTS, chains, (documents,))
        if self.observe is not None:
            self.observe(Generation(t, chains.seeds, state.params, documents))
        pool = programs.run(programs.RETAIN, chains, (documents, now), pool)
        return Progress(pool, state.params if _starts_from_previous(chains) else None), measured


def _task(chains: Chains) -> LanguageModel:
    if not isinstance(chains.task, LanguageModel):
        raise TypeError(f"task must be a LanguageModel, got a {type(chains.task).__name__}")
    return chains.task


def _starts_from_previous(chains: Chains) -> bool:
    return _task(chains).start == "previous"


def numbers(chains: Chains, t: int) -> Columns:
    """The numbers of a generation."""
    return chains.of(t)


def select(chains: Chains, pool: Pool, t: int) -> programs.Selected:
    """The training sets of a generation, `[seed, ...]`."""
    return programs.run(programs.SELECT, chains, (pool, numbers(chains, t)))


def measure(chains: Chains, params: Params) -> dict[str, jax.Array]:
    """The metrics of models, `[seed]` by name."""
    return programs.run(programs.MEASURE, chains, (params,))


def fit(
    chains: Chains,
    rows: Documents,
    n_train: int,
    t: int,
    previous: Params | None = None,
    attendance: Attendance = Attendance(),
) -> TrainState:
    """Train models to the end, and say how far they are.

    They start from the models before, where these are given; else from the checkpoint or afresh.
    """
    state = None
    if attendance.midway is not None:
        like = eqx.filter_eval_shape(start_state, chains, t, previous)
        placed = programs.shardings(like, STATE_AXES, chains)
        like = jax.tree.map(
            lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), like, placed
        )
        state = attendance.restore("training", chains, t, like)
    state = start_state(chains, t, previous) if state is None else state
    total, done = _task(chains).optimizer.n_steps(n_train), int(state.step)
    while done < total:
        attendance.report(f"generation {t}: step {done} of {total}")
        kept = (rows, np.int32(n_train), np.int32(t), np.int32(_STEPS))
        state = programs.run(programs.FIT, chains, kept, state)
        done = min(done + _STEPS, total)
        attendance.between_steps("training", chains, t, done, state)
    return state


def start_state(chains: Chains, t: int, previous: Params | None = None) -> TrainState:
    """Models before their first step, `[seed, ...]`."""
    task = _task(chains)
    if previous is not None:
        return programs.run(programs.START_FROM_PREVIOUS, chains, (previous,))
    if task.mode == "finetune" and task.base is not None:
        base = programs.everywhere(task.base.params, chains.mesh)
        return programs.run(programs.START_FROM_BASE, chains, (base,))
    return programs.run(programs.FRESH_START, chains, (np.int32(t),))


class _Found(NamedTuple):
    """How far the sampling of a generation is, on the host."""

    tokens: np.ndarray
    lengths: np.ndarray
    accepted: np.ndarray
    """Documents so far. `[seed]`"""
    drawn: np.ndarray
    """How many were drawn for these. `[seed]`"""
    parts: np.ndarray
    """Batches drawn, a number."""


def generate(
    chains: Chains, params: Params, t: int, n: int, attendance: Attendance = Attendance()
) -> tuple[Documents, np.ndarray]:
    """Sample until every chain has `n` acceptable documents.

    A chain takes its first acceptable ones, in the order in which they are drawn, so that it does
    not matter how long others need.

    Returns:
        the documents `[seed, n, ...]`, on the host, and the share that was accepted of
        those drawn, `[seed]`.

    Raises:
        TooFewDocuments: after `max_attempts` times as many draws as are needed.
    """
    n_chains = len(chains.seeds)
    found = _Found(
        np.zeros((n_chains, n, _task(chains).context), np.int32),
        np.zeros((n_chains, n), np.int32),
        np.zeros(n_chains, np.int64),
        np.zeros(n_chains, np.int64),
        np.zeros((), np.int32),
    )
    saved = attendance.restore("documents", chains, t, found)
    found = found if saved is None else _Found(*map(np.array, saved))
    while found.accepted.min() < n:
        attendance.report(f"generation {t}: {found.accepted.min()} of {n} documents")
        made = programs.run(programs.SAMPLE, chains, (params, np.int32(t), found.parts))
        found.parts[...] += 1
        _accept(chains, found, *jax.tree.map(np.asarray, made), t=t)
        attendance.between_steps("documents", chains, t, int(found.parts), found)
    documents = Documents(found.tokens, found.lengths)  # pyright: ignore  # of the host
    return documents, found.accepted / found.drawn


def _accept(
    chains: Chains, found: _Found, drawn: Documents, finished: np.ndarray, *, t: int
) -> None:
    """Add to what was found the acceptable documents of a batch, as far as they are needed."""
    task, n = _task(chains), found.tokens.shape[1]
    for chain in np.flatnonzero(found.accepted < n):
        rows = Documents(drawn.tokens[chain], drawn.lengths[chain])
        rows, places = task.acceptable(rows, finished[chain])
        first, missing = found.accepted[chain], n - found.accepted[chain]
        enough = len(places) >= missing
        found.drawn[chain] += places[missing - 1] + 1 if enough else len(finished[chain])
        count = min(missing, len(places))
        found.tokens[chain, first : first + count] = rows.tokens[:count]
        found.lengths[chain, first : first + count] = rows.lengths[:count]
        found.accepted[chain] += count
    worst = found.accepted.argmin()
    if found.accepted[worst] < n and found.drawn[worst] >= task.max_attempts * n:
        raise TooFewDocuments(
            f"n_samples: {n} acceptable documents are needed, and in generation {t} the model of "
            f"seed {chains.seeds[worst]} made {found.accepted[worst]} in {found.drawn[worst]} "
            f"draws. A document must end within context={task.context} tokens, and have the form "
            "of the corpus; train for longer, or raise max_attempts"
        )
