"""The engine for tasks whose generations are long: a compiled program per stage, not per chain.

It offers what `engine` offers, `start` and `advance`. In between a language model is trained and
sampled a part at a time, so that progress shows, and documents are accepted on the host, where the
rule may be any function of their text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from collapse_jax import engine
from collapse_jax.engine import POOL_AXES, SPLIT, WHOLE, Chains, split
from collapse_jax.language.decoder import Params
from collapse_jax.language.documents import Documents
from collapse_jax.language.sampling import sample
from collapse_jax.language.training import STATE_AXES, TrainState, start_training, train_steps
from collapse_jax.pool import Pool
from collapse_jax.random import Role, chain_key, stream
from collapse_jax.rollout import make_world
from collapse_jax.tasks.base import Training
from collapse_jax.tasks.language_model import LanguageModel

_STEPS = 32  # training steps between two reports

Report = Callable[[str], None]


class TooFewDocuments(RuntimeError):
    """A model generates next to no documents that are acceptable."""


def _silent(_: str) -> None:
    pass


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


class _Stage(NamedTuple):
    """A pure function of one chain, `chain(task_and_more, key, used, *kept)`, and how it is mapped.

    What is `used` is not needed afterwards: its memory is reused. Axes are 0 or None, as in `vmap`.
    """

    chain: Callable[..., Any]
    used_axes: Any
    kept_axes: tuple[Any, ...]
    out_axes: Any


@eqx.filter_jit(donate="all-except-first")
def _run(context: tuple[_Stage, Chains, tuple[Any, ...]], used: Any) -> Any:
    """Run a stage in all chains, those of each device side by side."""
    stage, chains, kept = context

    def share(chains, seeds, used, *kept):
        def chain(seed, used, *kept):
            return stage.chain(chains, chain_key(seed), used, *kept)

        axes = (0, stage.used_axes, *stage.kept_axes)
        return jax.vmap(chain, in_axes=axes, out_axes=stage.out_axes)(seeds, used, *kept)

    specs = map(_specs, (stage.used_axes, *stage.kept_axes))
    arguments = tuple(zip((used, *kept), specs, strict=True))
    return split(share, chains, arguments, _specs(stage.out_axes))


def _specs(axes: Any) -> Any:
    return jax.tree.map(lambda a: WHOLE if a is None else SPLIT, axes, is_leaf=lambda a: a is None)


def _select(chains, key, _, pool, t):
    world = make_world(chains.task, chains.form, key)
    return chains.workflow.select(chains.task, world, pool, stream(key, t, Role.SELECT))


def _fresh_start(chains, key, _, t):
    params = chains.task.initialise(stream(key, t, Role.INITIALISE))
    return start_training(chains.task.optimizer, params)


def _start_from(chains, key, _, params):
    return start_training(chains.task.optimizer, params)


def _fit(chains, key, state, documents, n_train, t, steps):
    task = chains.task
    key = stream(key, t, Role.FIT)
    bos_id = task.tokenizer.bos_id
    return train_steps(
        task.graphdef, task.optimizer, state, documents, n_train, key, steps, bos_id=bos_id
    )


def _measure(chains, key, _, params):
    return chains.task.measure(make_world(chains.task, chains.form, key), params)


def _sample(chains, key, _, params, t, part):
    task, tokenizer = chains.task, chains.task.tokenizer
    if task.dtype != task.param_dtype:  # once, not at each token
        params = jax.tree.map(lambda p: p.astype(task.dtype), params)
    return sample(
        task.graphdef,
        params,
        jax.random.fold_in(stream(key, t, Role.SAMPLE), part),
        min(task.sample_batch, task.n_samples),
        task.context,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        settings=task.sampling,
    )


def _measure_documents(chains, key, _, documents):
    return chains.task.measure_documents(documents)


def _retain(chains, key, pool, documents, t):
    world = make_world(chains.task, chains.form, key)
    key = stream(key, t, Role.SAMPLE)
    return chains.workflow.retain(chains.task, world, pool, documents, key)


_TRAINING: Any = Training(statistic=0, rows=0, n_train=None, n_real=0)  # pyright: ignore
SELECT = _Stage(_select, None, (POOL_AXES, None), _TRAINING)
FRESH_START = _Stage(_fresh_start, None, (None,), STATE_AXES)
START_FROM_BASE = _Stage(_start_from, None, (None,), STATE_AXES)
START_FROM_PREVIOUS = _Stage(_start_from, None, (0,), STATE_AXES)
FIT = _Stage(_fit, STATE_AXES, (0, None, None, None), STATE_AXES)
MEASURE = _Stage(_measure, None, (0,), 0)
SAMPLE = _Stage(_sample, None, (0, None, None), 0)
MEASURE_DOCUMENTS = _Stage(_measure_documents, None, (0,), 0)
RETAIN = _Stage(_retain, POOL_AXES, (0, None), POOL_AXES)


@dataclass(frozen=True)
class StagedEngine:
    """Runs chains as `engine` does, and tells of it."""

    report: Report = _silent
    """Receives a line of text at each step on the way."""
    observe: Callable[[Generation], None] | None = None
    """Receives what each generation has made."""

    def start(self, chains: Chains) -> Progress:
        """All chains before generation 1."""
        first = _start_state(chains, 1).params if _starts_from_previous(chains) else None
        return Progress(engine.start(chains), first)

    def advance(
        self, chains: Chains, pool: Progress, first: int, steps: int
    ) -> tuple[Progress, dict[str, np.ndarray]]:
        """Run generations `first`, `first + 1`, ... (`steps` of them).

        **Returns:** the chains after them, and the metrics `[seed, steps]`. What was handed in is
        used up.

        Raises `TooFewDocuments` where a model generates next to no acceptable documents.
        """
        columns: list[dict[str, Any]] = []
        for t in range(first, first + steps):
            pool, measured = self._generation(chains, pool, t)
            columns.append({name: np.asarray(measured[name], np.float32) for name in chains.names})
        return pool, {name: np.stack([c[name] for c in columns], 1) for name in chains.names}

    def _generation(
        self, chains: Chains, progress: Progress, t: int
    ) -> tuple[Progress, dict[str, Any]]:
        """Select, fit, measure, generate, retain."""
        task = _task(chains)
        training = select(chains, progress.pool, t)
        state = fit(chains, training, t, progress.params, self.report)
        measured = {
            "n_train": np.full(len(chains.seeds), training.n_train),
            "real_fraction": np.asarray(training.n_real) / int(training.n_train),
            "train_loss": state.loss,
            **measure(chains, state.params),
        }
        documents, rate = generate(chains, state.params, t, task.n_samples, self.report)
        measured |= {"acceptance_rate": rate}
        measured |= _run((MEASURE_DOCUMENTS, chains, (documents,)), None)
        if self.observe is not None:
            self.observe(Generation(t, chains.seeds, state.params, documents))
        pool = _run((RETAIN, chains, (documents, jnp.asarray(t, jnp.int32))), progress.pool)
        engine.check_capacity(chains, pool, t)
        return Progress(pool, state.params if _starts_from_previous(chains) else None), measured


def _task(chains: Chains) -> LanguageModel:
    if not isinstance(chains.task, LanguageModel):
        raise TypeError(f"task must be a LanguageModel, got a {type(chains.task).__name__}")
    return chains.task


def _starts_from_previous(chains: Chains) -> bool:
    return _task(chains).start == "previous"


def select(chains: Chains, pool: Pool, t: int) -> Training:
    """The training sets of a generation, `[seed, ...]`."""
    return _run((SELECT, chains, (pool, jnp.asarray(t, jnp.int32))), None)


def measure(chains: Chains, params: Params) -> dict[str, jax.Array]:
    """The metrics of models, `[seed]` by name."""
    return _run((MEASURE, chains, (params,)), None)


def fit(
    chains: Chains,
    training: Training,
    t: int,
    previous: Params | None = None,
    report: Report = _silent,
) -> TrainState:
    """Train models to the end, and say how far they are.

    They start from the models before, where these are given; else from the checkpoint or afresh.
    """
    state = _start_state(chains, t, previous)
    now, steps = (jnp.asarray(i, jnp.int32) for i in (t, _STEPS))
    n_train = jnp.asarray(training.n_train, jnp.int32)
    total = _task(chains).optimizer.n_steps(int(n_train))
    for done in range(0, total, _STEPS):
        report(f"generation {t}: step {done} of {total}")
        state = _run((FIT, chains, (training.rows, n_train, now, steps)), state)
    return state


def _start_state(chains: Chains, t: int, previous: Params | None = None) -> TrainState:
    task = _task(chains)
    if previous is not None:
        return _run((START_FROM_PREVIOUS, chains, (previous,)), None)
    if task.mode == "finetune" and task.base is not None:
        return _run((START_FROM_BASE, chains, (task.base.params,)), None)
    return _run((FRESH_START, chains, (jnp.asarray(t, jnp.int32),)), None)


def generate(
    chains: Chains, params: Params, t: int, n: int, report: Report = _silent
) -> tuple[Documents, np.ndarray]:
    """Sample until every chain has `n` acceptable documents.

    A chain takes its first acceptable ones, in the order in which they are drawn, so that it does
    not matter how long others need.

    **Returns:** the documents `[seed, n, ...]`, and the share that was accepted of those
    drawn, `[seed]`.

    Raises `TooFewDocuments` after `max_attempts` times as many draws as are needed.
    """
    task = _task(chains)
    now = jnp.asarray(t, jnp.int32)
    tokens = np.zeros((len(chains.seeds), n, task.context), np.int32)
    lengths = np.zeros((len(chains.seeds), n), np.int32)
    accepted, drawn = (np.zeros(len(chains.seeds), np.int64) for _ in range(2))
    part = 0
    while accepted.min() < n:
        report(f"generation {t}: {accepted.min()} of {n} documents")
        found, finished = _run((SAMPLE, chains, (params, now, jnp.asarray(part, jnp.int32))), None)
        found, finished = jax.tree.map(np.asarray, (found, finished))
        for chain in np.flatnonzero(accepted < n):
            rows = Documents(found.tokens[chain], found.lengths[chain])
            rows, places = task.acceptable(rows, finished[chain])
            missing = n - accepted[chain]
            enough = len(places) >= missing
            drawn[chain] += places[missing - 1] + 1 if enough else len(finished[chain])
            count = min(missing, len(places))
            into = slice(accepted[chain], accepted[chain] + count)
            tokens[chain, into] = rows.tokens[:count]
            lengths[chain, into] = rows.lengths[:count]
            accepted[chain] += count
        worst = accepted.argmin()
        if accepted[worst] < n and drawn[worst] >= task.max_attempts * n:
            raise TooFewDocuments(
                f"n_samples: {n} acceptable documents are needed, and in generation {t} the model "
                f"of seed {chains.seeds[worst]} made {accepted[worst]} in {drawn[worst]} draws. "
                f"A document must end within context={task.context} tokens, and have the form of "
                "the corpus; train for longer, or raise max_attempts"
            )
        part += 1
    return Documents(jnp.asarray(tokens), jnp.asarray(lengths)), accepted / drawn
