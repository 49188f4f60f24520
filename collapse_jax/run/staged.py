"""The runner for long generations: a program per stage, and Python in between.

It offers what `compiled` offers, `start` and `advance`, and gives the same chains. A model is
trained, and sampled, a part at a time, so that progress shows and states can be saved, models and
rows can be looked at, and rows are accepted on the host, where the rule may be any function.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from collapse_jax.basics.returned import asked_for
from collapse_jax.loop.form import Columns
from collapse_jax.loop.pool import Pool
from collapse_jax.machines import hosts
from collapse_jax.run import compiled, programs
from collapse_jax.run.compiled import Chains
from collapse_jax.run.monitor import Diverged, Monitor
from collapse_jax.run.on_host.curated import check_enough, choose
from collapse_jax.run.on_host.lost import Lost
from collapse_jax.tasks.base import Acceptance, Data, Model, Rows, State, Steps
from collapse_jax.tasks.contract import MeasuresTexts

_STEPS = 32  # training steps between two reports
_NOBODY = Monitor()


class Generation(NamedTuple):
    """What one generation of some chains has made, as `observe` of `simulate` receives it."""

    generation: int
    seeds: np.ndarray
    """Seeds of the chains; the last one may stand more than once. `[seed]`"""
    model: Model
    """The models. `[seed, ...]`"""
    rows: Rows | None
    """What they generated, as later generations see it; None where no rows are drawn.
    `[seed, row, ...]`"""
    chains: Chains | None = None
    """What they are chains of: the task, as programs have it, and how its data are kept."""
    lost: np.ndarray | None = None
    """Whose training is no longer finite, so that model and rows mean nothing. `[seed]`"""

    @property
    def left(self) -> np.ndarray:
        """Places of the chains that are not lost."""
        places = np.arange(len(self.seeds))
        return places if self.lost is None else places[~self.lost]

    @property
    def params(self) -> Model:
        """The models, by the name that those of language models have."""
        return self.model

    @property
    def documents(self) -> Rows | None:
        """The rows, by the name that those of language models have."""
        return self.rows


@dataclass(frozen=True)
class StagedEngine:
    """Runs chains as `compiled` does, and tells of it."""

    monitor: Monitor = _NOBODY
    observe: Callable[[Generation], None] | None = None
    """Receives what each generation has made."""
    lost: Lost = field(default_factory=Lost)
    """Seeds whose training has gone wrong."""

    def start(self, chains: Chains, spare: Any = None) -> Pool:
        """All chains before generation 1."""
        with programs.devices_of(chains):
            return programs.everywhere(compiled.start(chains), chains.mesh)

    def left_over(self, chains: Chains, pool: Pool) -> Any:
        """Nothing: models take more memory than the rows that are kept."""
        return None

    def advance(
        self, chains: Chains, pool: Pool, first: int, steps: int
    ) -> tuple[Pool, dict[str, np.ndarray]]:
        """Run generations `first`, `first + 1`, ... (`steps` of them).

        Returns:
            the chains after them, and the metrics `[seed, steps]`, which are NaN from where the
            training of a chain is no longer finite. What was handed in is used up.

        Raises:
            TooFewRows: where a model generates next to no acceptable rows.
        """
        self.lost.read()
        columns: list[dict[str, Any]] = []
        for t in range(first, first + steps):
            with programs.devices_of(chains):
                pool, found = self._generation(chains, pool, t)
            measured = asked_for(chains.task, found, chains.names)
            gone = self.lost.at(chains.seeds, t)
            columns.append(
                {
                    name: np.where(gone, np.float32(np.nan), np.asarray(value, np.float32))
                    for name, value in measured.items()
                }
            )
        return pool, {name: np.stack([c[name] for c in columns], 1) for name in chains.names}

    def _generation(self, chains: Chains, pool: Pool, t: int) -> tuple[Pool, dict[str, Any]]:
        """Receive, start, learn, finish, generate, retain."""
        whole = chains.of(t)
        now = whole if chains.task.acceptance is None else whole._replace(curation=())
        n = int(now.synthetic_rows)
        pool, data, n_real = programs.run(programs.RECEIVE, chains, (now,), pool)
        state = fit(chains, data, pool, now, self.monitor, self.lost)
        gone = self.lost.at(chains.seeds, t)
        pool, model, found = programs.run(programs.FINISH, chains, (state, now), pool)
        found |= {"real_fraction": np.asarray(n_real) / max(int(now.drawn), 1)}
        if chains.task.acceptance is None or chains.form.source.edits:
            kept = (model, data, now)
            pool, made, rows = programs.run(programs.GENERATE, chains, kept, pool)
            rows = jax.tree.map(lambda x: x[:, :n], rows)
            found |= {"acceptance_rate": np.ones(len(chains.seeds))}  # nothing is left out
        else:
            make = choose if chains.form.curation else generate
            acceptance = chains.task.acceptance
            rows, judged = make(chains, acceptance, model, whole, n, self.monitor, gone)
            found |= judged
            rows = programs.everywhere(jax.tree.map(jnp.asarray, rows), chains.mesh)
            pool, made = programs.run(programs.RETAIN, chains, (rows, now), pool)
        found |= _of_texts(chains, rows, gone)
        if self.observe is not None:
            self.observe(Generation(t, chains.seeds, model, rows, chains, gone))
        return pool, found | made


def _of_texts(chains: Chains, rows: Rows, gone: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of texts that are computed on the host, where any are asked for."""
    task = chains.task
    if rows is None or not isinstance(task, MeasuresTexts):
        return {}
    if gone.all():  # no metric of any of them is known
        return dict.fromkeys(chains.names, np.full(len(gone), np.nan))
    each = [
        task.measure_texts(jax.tree.map(lambda x, chain=chain: x[chain], rows), chains.names)
        for chain in np.flatnonzero(~gone)
    ]
    measured = {name: np.full(len(gone), np.nan) for name in each[0]}
    for name, values in measured.items():
        values[~gone] = [found[name] for found in each]
    return measured


def fit(
    chains: Chains,
    data: Data,
    pool: Pool,
    now: Columns,
    monitor: Monitor = _NOBODY,
    lost: Lost | None = None,
) -> State:
    """Train models to the end, and say how far they are.

    Args:
        chains: the chains.
        data: what they are trained on. `[seed, ...]`
        pool: where models may be found that a fit starts from. `[seed, ...]`
        now: the numbers of the generation.
        monitor: what attends.
        lost: where seeds are noted whose training goes wrong, while others go on, of this batch or
            of the next. Default none may.
    """
    t, n_train = int(now.generation), int(now.drawn)
    nobody = lost is not None and bool(lost.at(chains.seeds, t).all())
    total = 0 if nobody else int(chains.task.n_steps(n_train))
    begin = (pool, data, now)

    def like() -> Any:
        made = eqx.filter_eval_shape(programs.run, programs.START, chains, begin)
        placed = programs.shardings(made, chains)
        return jax.tree.map(
            lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), made, placed
        )

    saved = monitor.restore("training", chains.seeds, t, like) if total else None
    done, state = saved or (0, programs.run(programs.START, chains, begin))
    while done < total:
        monitor.report(f"generation {t}: step {done} of {total}")
        last = min(done + _STEPS, total)
        steps = Steps(np.int32(done), np.int32(last), np.int32(n_train))  # pyright: ignore
        state = programs.run(programs.LEARN, chains, (data, steps, now), state)
        _check_finite(chains, state, t, done, last, lost)
        done = last
        monitor.between_steps("training", chains.seeds, t, done, state)
    return state


def _check_finite(
    chains: Chains,
    state: State,
    t: int,
    first: int,
    last: int,
    lost: Lost | None = None,
) -> None:
    """Stop where training has gone wrong, or, where it may be noted, let it be known."""
    finite = chains.task.stays_finite(state)
    if finite is None:
        return
    before = np.zeros(len(chains.seeds), bool) if lost is None else lost.at(chains.seeds, t)
    finite = hosts.on_host(finite)
    seeds = sorted({int(seed) for seed in chains.seeds[~finite & ~before]})
    if not seeds:
        return
    text = (
        f"training must stay finite, and in generation {t} that of seed "
        f"{', '.join(map(str, seeds))} did not, between steps {first + 1} and {last}; a lower "
        "learning rate, a longer warm-up or a clip may help"
    )
    if lost is None:
        others = len(set(chains.seeds[finite].tolist()))
        can = f". The other {others} of these seeds did, and can be run without it"
        raise Diverged(text + (can if others else ""))
    lost.note(seeds, t)
    warnings.warn(f"{text}. Its metrics are NaN from here on; other seeds go on", stacklevel=2)


class _Found(NamedTuple):
    """How far the sampling of a generation is, on the host."""

    rows: Rows
    """`[seed, row, ...]`"""
    accepted: np.ndarray
    """Rows so far. `[seed]`"""
    drawn: np.ndarray
    """How many were drawn for these. `[seed]`"""


def generate(
    chains: Chains,
    acceptance: Acceptance,
    model: Model,
    now: Columns,
    n: int,
    monitor: Monitor = _NOBODY,
    gone: np.ndarray | None = None,
) -> tuple[Rows, dict[str, np.ndarray]]:
    """Sample until every chain has `n` acceptable rows.

    A chain takes its first acceptable ones, in the order in which they are drawn, so that it does
    not matter how long others need. Those that are `gone` get empty rows.

    Returns:
        the rows `[seed, n, ...]`, on the host, and by its name the share that was accepted of
        those drawn, `[seed]`.

    Raises:
        TooFewRows: after `acceptance.most` times as many draws as are needed, or sooner, where none
            is acceptable of so many that it is hopeless.
    """
    t, n_chains = int(now.generation), len(chains.seeds)

    def draw(part: int) -> Rows:
        return programs.sample_part(chains, model, part, now)

    shapes = eqx.filter_eval_shape(draw, 0)
    found = _Found(
        jax.tree.map(lambda x: np.zeros((n_chains, n, *x.shape[2:]), x.dtype), shapes),
        np.zeros(n_chains, np.int64),
        np.zeros(n_chains, np.int64),
    )
    saved = monitor.restore("documents", chains.seeds, t, lambda: found)
    part, found = (0, found) if saved is None else (saved[0], jax.tree.map(np.array, saved[1]))
    if gone is not None:
        found.accepted[gone] = found.drawn[gone] = n
    while found.accepted.min() < n:
        monitor.report(f"generation {t}: {found.accepted.min()} of {n} {acceptance.noun}")
        _accept(chains, acceptance, found, jax.tree.map(np.asarray, draw(part)), n=n, t=t)
        part += 1
        monitor.between_steps("documents", chains.seeds, t, part, found)
    return found.rows, {"acceptance_rate": found.accepted / found.drawn}


def _accept(
    chains: Chains, acceptance: Acceptance, found: _Found, drawn: Rows, *, n: int, t: int
) -> None:
    """Add to what was found the acceptable rows of a batch, as far as they are needed."""
    for chain in np.flatnonzero(found.accepted < n):
        own = jax.tree.map(lambda x, chain=chain: x[chain], drawn)
        rows, places = acceptance.accept(own)
        first, missing = found.accepted[chain], n - found.accepted[chain]
        enough = len(places) >= missing
        found.drawn[chain] += places[missing - 1] + 1 if enough else len(jax.tree.leaves(own)[0])
        count = min(missing, len(places))

        def put(buffer, x, chain=chain, place=slice(first, first + count), count=count):
            buffer[chain, place] = x[:count]

        jax.tree.map(put, found.rows, rows)
        found.accepted[chain] += count
    check_enough(chains, acceptance, found, int(found.accepted.argmin()), n=n, t=t)
