"""Curation on the host: rows that are chosen by rules in Python, such as those of texts."""

import math
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from collapse_jax.loop.batches import first_real
from collapse_jax.loop.curation.candidates import Candidates
from collapse_jax.loop.curation.choosing import taken
from collapse_jax.loop.curation.detector import Detector
from collapse_jax.loop.curation.judge import Judge
from collapse_jax.loop.curation.operators import AbstractOperator
from collapse_jax.loop.form import Columns
from collapse_jax.loop.generation import make_world
from collapse_jax.numerics.keys import Role, chain_key, stream
from collapse_jax.run import programs
from collapse_jax.run.compiled import Chains
from collapse_jax.run.monitor import Monitor, TooFewRows
from collapse_jax.tasks.base import Acceptance, Model, Rows

SURELY = 40
"""Times the draws per accepted row: with none among them, exp(-40) that it is chance."""
_NOBODY = Monitor()


def choose(
    chains: Chains,
    acceptance: Acceptance,
    model: Model,
    now: Columns,
    n: int,
    monitor: Monitor = _NOBODY,
    gone: np.ndarray | None = None,
) -> tuple[Rows, dict[str, np.ndarray]]:
    """The rows that a curation takes, of those that are acceptable.

    Operators are those of the compiled program, with a way to draw candidates that leaves it.
    Candidates of a chain are its acceptable rows, in the order in which they are drawn. Chains that
    are `gone` get empty rows.

    Returns:
        the rows `[seed, n, ...]`, on the host, and by their names the share that was taken of those
        drawn, and the mean of what they were judged by, `[seed]`.

    Raises:
        TooFewRows: where next to no rows are acceptable, or the curation takes next to none.
    """
    source = _Candidates(chains, acceptance, model, now, n, monitor)
    seeds = chains.seeds.tolist()
    there = np.ones(len(seeds), bool) if gone is None else ~gone
    cache = {}
    for chain in np.flatnonzero(there).tolist():
        if seeds[chain] not in cache:  # the last one may stand more than once
            cache[seeds[chain]] = _chosen(source, chain, seeds[chain], n)
    rows = jax.tree.map(lambda x: np.zeros((n, *x.shape[2:]), x.dtype), source.shapes)
    empty = rows, (np.nan, np.nan)
    found = [cache.get(seed, empty) for seed in seeds]
    rows = jax.tree.map(lambda *parts: np.stack(parts), *(rows for rows, _ in found))
    judged = np.array([values for _, values in found], np.float32)
    return rows, {"acceptance_rate": judged[:, 0], "mean_reward": judged[:, 1]}


def _chosen(source: "_Candidates", chain: int, seed: int, n: int) -> tuple[Rows, tuple[Any, ...]]:
    """The rows of one chain, the share of those drawn that they are, and their mean reward."""
    chains, now, task = source.chains, source.now, source.chains.task
    key = chain_key(jnp.uint32(seed))
    world = make_world(task, chains.form, key)
    asked = source.order is not None
    judge = Judge(
        *(task, world, _rows_of, partial(first_real, task, chains.form, world, key, now)),
        generation=int(now.generation),
        on_host=True,
        most=source.acceptance.most,
        prompt=(lambda asked: asked.prompt) if asked else None,
    )
    operators = operators_of(chains, now)
    own = stream(key, now.generation, Role.SOURCE)
    made, values = taken(operators, partial(source.draw, chain), judge, own, n)
    if not bool(made.full):
        names = ", ".join(type(operator).__name__ for operator in operators)
        most, t = source.acceptance.most, int(now.generation)
        raise TooFewRows(
            f"synthetic.curation must take one in {most} of the {source.acceptance.noun} that are "
            f"acceptable, or more, and {names} took fewer of those that the model of seed {seed} "
            f"made in generation {t}; a rule that takes more, or a higher max_attempts, may help"
        )
    values = np.asarray(values, np.float64)
    finite = bool(made.finite) and bool(np.all(np.isfinite(values)))
    rows = jax.tree.map(np.asarray, _rows_of(made.rows))
    return rows, (n / max(float(made.taken), 1.0), values.mean() if finite else np.nan)


def operators_of(chains: Chains, now: Columns) -> list[AbstractOperator]:
    """The operators of the curation, with the numbers of a generation."""
    pairs = zip(chains.form.curation, now.curation, strict=True)
    return [operator.having(jax.tree.map(float, numbers)) for operator, numbers in pairs]


class _Asked(NamedTuple):
    """Candidates, and the number of the prompt that each of them continues."""

    rows: Rows
    prompt: Int[np.ndarray, " n"]


def _rows_of(candidates: Any) -> Rows:
    return candidates.rows if isinstance(candidates, _Asked) else candidates


class _Order(NamedTuple):
    """Which prompt each draw continues: as many in a row the same as are compared.

    First those of the rows that detectors are trained on, then those that are chosen from, and at
    last one for each prompt in turn, as some will not be acceptable.
    """

    planned: Int[np.ndarray, " draws"]
    """The prompts of the first draws."""
    once: int
    """How many prompts come in turn."""

    @classmethod
    def of(cls, stretches: "list[_Stretch]", n_prompts: int) -> "_Order":
        """Stretches of draws, each of which begins with the first prompt."""
        planned = [np.repeat(np.arange(s.groups) % n_prompts, s.together) for s in stretches]
        return cls(np.concatenate(planned, dtype=np.int32), min(stretches[-1].groups, n_prompts))

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        later = draws - len(self.planned)
        return np.where(later < 0, self.planned[np.minimum(later, -1)], later % self.once)


class _Stretch(NamedTuple):
    """Candidates in a row that are for the same purpose."""

    groups: int
    """How many groups of candidates there are to be."""
    together: int
    """Candidates of a group."""


def _stretches(operators: list[AbstractOperator], n: int) -> list[_Stretch]:
    """Candidates as they are needed: `n` rows for each detector, and `n` rows that are taken."""

    def candidates_of(before: list[AbstractOperator]) -> _Stretch:
        together = math.prod(operator.together for operator in before)
        many = int(np.ceil(n * np.prod([operator.multiple for operator in before])))
        return _Stretch(-(-many // together), together)

    detectors = [
        candidates_of(operators[:i])
        for i, operator in enumerate(operators)
        for function in operator.functions.values()
        if isinstance(function, Detector)
    ]
    return [*detectors, candidates_of(operators)]


class _Progress(NamedTuple):
    """How far the sampling of candidates is, on the host."""

    rows: Rows
    """`[seed, candidate, ...]`"""
    places: np.ndarray
    """How many rows had been drawn for each, itself included. `[seed, candidate]`"""
    accepted: np.ndarray
    """Candidates so far. `[seed]`"""
    drawn: np.ndarray
    """Rows drawn so far. `[seed]`"""


class _Candidates:
    """The acceptable rows of all chains, drawn as far as one of them needs."""

    def __init__(
        self,
        chains: Chains,
        acceptance: Acceptance,
        model: Model,
        now: Columns,
        n: int,
        monitor: Monitor,
    ):
        self.chains, self.acceptance, self.model, self.now = chains, acceptance, model, now
        self.monitor, self.used = monitor, np.zeros(len(chains.seeds), np.int64)
        stretches = _stretches(operators_of(chains, now), n)
        self.kept = sum(groups * together for groups, together in stretches)  # saved on the way
        self.order = None
        if acceptance.n_prompts is not None and stretches[-1].together > 1:
            self.order = _Order.of(stretches, acceptance.n_prompts)
        self.shapes = shapes = eqx.filter_eval_shape(self._sampled, 0)
        width = len(chains.seeds)

        def empty() -> _Progress:
            return _Progress(
                jax.tree.map(lambda x: np.zeros((width, self.kept, *x.shape[2:]), x.dtype), shapes),
                *(np.zeros((width, self.kept), np.int64), *np.zeros((2, width), np.int64)),
            )

        saved = monitor.restore("documents", chains.seeds, int(now.generation), empty)
        self.part, self.state = (0, empty()) if saved is None else saved
        self.state = jax.tree.map(np.array, self.state)

    def draw(self, chain: int, key: Key[Array, ""], n: int) -> Candidates:
        """The next candidates of a chain; their order is all that is random of them."""
        first = self.used[chain]
        while self.state.accepted[chain] < first + n:
            check_enough(
                *(self.chains, self.acceptance, self.state, chain),
                n=int(first) + n,
                t=int(self.now.generation),
            )
            self._add_part()
        self.used[chain] = first + n
        rows = jax.tree.map(lambda x: x[chain, first : first + n], self.state.rows)
        places = self.state.places[chain]
        taken = places[first + n - 1] - (places[first - 1] if first else 0) if n else 0
        if self.order is not None:
            rows = _Asked(rows, self.order(places[first : first + n] - 1))
        return Candidates.of_model(rows)._replace(taken=jnp.float32(taken))

    def _sampled(self, part: int) -> Rows:
        now = self.now._replace(curation=())
        return programs.sample_part(self.chains, self.model, part, now, self.order)

    def _add_part(self) -> None:
        """Draw some rows in each chain, and add those that are acceptable."""
        there = min(self.state.accepted.min(), self.kept)
        self.monitor.report(
            f"generation {int(self.now.generation)}: {there} of {self.kept} {self.acceptance.noun} "
            "to choose from, or of some more"
        )
        drawn = jax.tree.map(np.asarray, self._sampled(self.part))
        parts = [
            self.acceptance.accept(jax.tree.map(lambda x, chain=chain: x[chain], drawn))
            for chain in range(len(self.chains.seeds))
        ]
        batch = jax.tree.leaves(drawn)[0].shape[1]
        most = int(max(self.state.accepted[i] + len(p) for i, (_, p) in enumerate(parts)))
        self.state = jax.tree.map(lambda x: _widened(x, most), self.state)
        for chain, (rows, places) in enumerate(parts):
            first = self.state.accepted[chain]
            where = slice(first, first + len(places))

            def put(buffer, x, chain=chain, where=where):
                buffer[chain, where] = x

            jax.tree.map(put, self.state.rows, rows)
            self.state.places[chain, where] = self.state.drawn[chain] + places + 1
            self.state.accepted[chain] += len(places)
            self.state.drawn[chain] += batch
        self.part += 1
        if self.state.places.shape[1] == self.kept:
            t = int(self.now.generation)
            self.monitor.between_steps("documents", self.chains.seeds, t, self.part, self.state)


def _widened(buffer: np.ndarray, most: int) -> np.ndarray:
    """The buffer of candidates, with room for so many; what is no buffer stays as it is."""
    if buffer.ndim == 1 or buffer.shape[1] >= most:
        return buffer
    more = max(most, 2 * buffer.shape[1]) - buffer.shape[1]
    return np.pad(buffer, ((0, 0), (0, more), *[(0, 0)] * (buffer.ndim - 2)))


def check_enough(
    chains: Chains, acceptance: Acceptance, found: Any, chain: int, *, n: int, t: int
) -> None:
    """Check that it is no hopeless matter to wait for `n` acceptable rows of a chain.

    Raises:
        TooFewRows: if it is.
    """
    enough = acceptance.most * n
    if not found.accepted[chain]:  # where one of `most` is acceptable, some of so many surely are
        enough = min(enough, SURELY * acceptance.most)
    if found.accepted[chain] < n and found.drawn[chain] >= enough:
        raise TooFewRows(
            f"n_samples: {n} acceptable {acceptance.noun} are needed, and in generation {t} the "
            f"model of seed {chains.seeds[chain]} made {found.accepted[chain]} in "
            f"{found.drawn[chain]} draws. {acceptance.advice}"
        )
