"""One batch of either stream, as rows or as a statistic, whichever models its rows come from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, Key

from collapse_jax.loop.form import Columns, Form, Stream
from collapse_jax.loop.workflow import Mixed, Past
from collapse_jax.numerics import draws
from collapse_jax.numerics.keys import Role, stream
from collapse_jax.numerics.subsets import permuted
from collapse_jax.tasks.base import AbstractTask, Model, Rows, Statistic, World
from collapse_jax.tasks.sufficient import lawful


class Batch(NamedTuple):
    """Rows that came at the same time."""

    rows: Rows | None
    """`[width, ...]`, of which the first `size` count; None where they are drawn as a statistic."""
    statistic: Statistic | None
    """None where nobody needs it."""


def real_batch(
    task: AbstractTask, form: Form, world: World, key: Key[Array, ""], now: Columns
) -> Batch:
    """The real batch that is new in this generation."""
    own = stream(key, now.generation - 1, Role.REAL)
    if not form.real.by_rows:
        return Batch(None, lawful(task).real_statistic(world, own, now.real_rows))

    def rows(n: int) -> Rows:
        index = None
        if task.population is not None:
            order = stream(key, 0, Role.REAL)
            index = _from_population(order, task.population, now, n, once=not form.real.every)
        return task.real(world, own, n, size=_size(form.real, now.real_rows), index=index)

    return _with_statistic(task, form, world, rows, form.real, now.real_rows)


def first_rows(task: AbstractTask, key: Key[Array, ""], n: int) -> Int[Array, " n"] | None:
    """Which of the user's rows come first; None where there are none."""
    if task.population is None:
        return None
    return permuted(stream(key, 0, Role.REAL), task.population, jnp.arange(n))


def _from_population(
    order: Key[Array, ""], population: int, now: Columns, n: int, once: bool
) -> Int[Array, " n"]:
    """Which of the user's rows a batch has: in random order, shuffled anew when used up."""
    if once:
        return permuted(order, population, jnp.arange(n))
    place = now.start + jnp.arange(n)

    def of_epoch(epoch: Int[Array, ""], places: Int[Array, " n"]) -> Int[Array, " n"]:
        shuffled = jax.random.fold_in(order, epoch)
        data = jnp.where(epoch == 0, jax.random.key_data(order), jax.random.key_data(shuffled))
        return permuted(
            jax.random.wrap_key_data(data, impl=jax.random.key_impl(order)), population, places
        )

    inside = jnp.minimum(place, population - 1)
    beyond = jnp.clip(place - population, 0, population - 1)
    return jnp.where(
        place < population, of_epoch(now.epoch, inside), of_epoch(now.epoch + 1, beyond)
    )


def synthetic_batch(
    task: AbstractTask,
    form: Form,
    world: World,
    model: Model,
    history: Any,
    key: Key[Array, ""],
    now: Columns,
) -> Batch:
    """What the model of this generation, or its predecessors too, generate."""
    temperature = now.temperature if form.tempered else None
    own = stream(key, now.generation, Role.SAMPLE)

    def generated(model: Model, key: Key[Array, ""], n: int) -> Rows:
        return task.sample(world, model, key, n, temperature=temperature)

    def law(model: Model, key: Key[Array, ""], n: Any) -> Statistic:
        return lawful(task).sample_statistic(world, model, key, n, temperature=temperature)

    choice = stream(key, now.generation, Role.SOURCE)
    if isinstance(form.source, Past):
        sources = _Past(task, form, world, model, history, own, choice, now)
        rows, statistic = sources.rows(generated), sources.statistic(law)
    elif isinstance(form.source, Mixed):
        sources = _Mixed(task, form, world, model, own, choice, now)
        rows, statistic = sources.rows(generated), sources.statistic(law)
    else:
        rows = lambda n: generated(model, own, n)  # noqa: E731
        statistic = lambda: law(model, own, now.synthetic_rows)  # noqa: E731
    if not form.synthetic.by_rows:
        return Batch(None, statistic())
    return _with_statistic(task, form, world, rows, form.synthetic, now.synthetic_rows)


class _Mixed(NamedTuple):
    """Rows of the truth with a given probability, else of the newest model."""

    task: AbstractTask
    form: Form
    world: World
    model: Model
    own: Key[Array, ""]
    choice: Key[Array, ""]
    now: Columns

    def rows(self, generated: Callable[..., Rows]) -> Callable[[int], Rows]:
        def make(n: int) -> Rows:
            truth = jax.random.uniform(self.choice, (n,)) < self.now.truth_share
            real = _truth_rows(self.task, self.world, jax.random.fold_in(self.own, 0), n)
            return _choose(truth, real, generated(self.model, self.own, n))

        return make

    def statistic(self, law: Callable[..., Statistic]) -> Callable[[], Statistic]:
        def make() -> Statistic:
            n = jnp.asarray(self.now.synthetic_rows, jnp.float32)
            n_real = jax.random.binomial(self.choice, n, self.now.truth_share)
            real = lawful(self.task).real_statistic(
                self.world, jax.random.fold_in(self.own, 0), n_real
            )
            synthetic = law(self.model, self.own, n - n_real)
            return self.task.merge(self.world, (real, synthetic), None)

        return make


class _Past(NamedTuple):
    """Rows of models of the past; source s is the s-th newest, and the oldest may be the truth."""

    task: AbstractTask
    form: Form
    world: World
    model: Model
    history: Any
    own: Key[Array, ""]
    choice: Key[Array, ""]
    now: Columns

    @property
    def _count(self) -> Int[Array, ""]:
        last = self.form.source.last  # pyright: ignore
        sources = self.now.generation + 1
        return sources if last is None else jnp.minimum(sources, last)

    def _from(self, s: Int[Array, ""], truth: Callable, model: Callable) -> Any:
        """What source `s` gives: `truth(key)` or `model(model, key)`."""
        g = self.now.generation - s
        key = jax.random.fold_in(self.own, g)
        kept = jax.tree.map(lambda x: x[(g - 1) % self.form.history], self.history)
        return lax.cond(g == 0, lambda: truth(key), lambda: model(kept, key))

    def rows(self, generated: Callable[..., Rows]) -> Callable[[int], Rows]:
        def make(n: int) -> Rows:
            source = self._source_of(jnp.arange(n))

            def add(s, rows):
                new = self._from(
                    s,
                    lambda key: _truth_rows(self.task, self.world, key, n),
                    lambda model, key: generated(model, key, n),
                )
                return _choose(source == s, new, rows)

            empty = jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype),
                jax.eval_shape(lambda: generated(self.model, self.own, n)),
            )
            return lax.fori_loop(0, self._count, add, empty)

        return make

    def _source_of(self, row: Int[Array, " n"]) -> Int[Array, " n"]:
        """Which source each row of the batch comes from."""
        if not self.form.source.equally:  # pyright: ignore
            bits = jax.random.bits(self.choice, (row.shape[0], 2))
            return draws.to_integers(bits.T, self._count)
        each, more = self._shares
        edge = more * (each + 1)  # the newest sources give the rows that are left over
        late = more + (row - edge) // jnp.maximum(each, 1)
        return jnp.where(row < edge, row // (each + 1), late)

    @property
    def _shares(self) -> tuple[Int[Array, ""], Int[Array, ""]]:
        n = self.now.synthetic_rows
        each = n // self._count
        return each, n - each * self._count

    def statistic(self, law: Callable[..., Statistic]) -> Callable[[], Statistic]:
        def of_source(s: Any, left: Array) -> tuple[Statistic, Array]:
            if self.form.source.equally:  # pyright: ignore
                each, more = self._shares
                n = (each + (s < more)).astype(jnp.float32)
            else:
                share = 1.0 / (self._count - s).astype(jnp.float32)
                drawn = jax.random.binomial(jax.random.fold_in(self.choice, s), left, share)
                n = jnp.where(share < 1.0, drawn, left)
            new = self._from(
                s,
                lambda key: lawful(self.task).real_statistic(self.world, key, n),
                lambda model, key: law(model, key, n),
            )
            return new, left - n

        def make() -> Statistic:
            def add(s, state):
                total, left = state
                new, left = of_source(s, left)
                return self.task.merge(self.world, (total, new), None), left

            n = jnp.asarray(self.now.synthetic_rows, jnp.float32)
            return lax.fori_loop(1, self._count, add, of_source(jnp.asarray(0), n))[0]

        return make


def _truth_rows(task: AbstractTask, world: World, key: Key[Array, ""], n: int) -> Rows:
    """Independent rows of the truth: of the user's data with replacement."""
    index = None
    if task.population is not None:
        bits = jax.random.bits(jax.random.fold_in(key, 1), (n, 2))
        index = draws.to_integers(bits.T, task.population)
    return task.real(world, key, n, size=None, index=index)


def _choose(which: Bool[Array, " n"], yes: Rows, no: Rows) -> Rows:
    """Rows of one set where `which`, else of the other."""
    return jax.tree.map(
        lambda a, b: jnp.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b), yes, no
    )


def _size(stream: Stream, n: Int[Array, ""]) -> Int[Array, ""] | None:
    """How many rows count; None for all, as a static number."""
    return None if stream.sizes is None else n


def _with_statistic(
    task: AbstractTask,
    form: Form,
    world: World,
    make: Callable[[int], Rows],
    stream: Stream,
    n: Int[Array, ""],
) -> Batch:
    """Rows, in the size that this generation's batch needs, and their statistic."""
    rows = _in_size(make, stream, n)
    statistic = None
    if form.statistic:
        statistic = task.summarise(world, rows, _valid(stream, n), size=n)
    return Batch(rows if form.rows else None, statistic)


def _in_size(make: Callable[[int], Rows], stream: Stream, n: Int[Array, ""]) -> Rows:
    """Rows of one of the sizes of the stream, filled up to its width."""
    if stream.sizes is None:
        return make(stream.width)
    width = max(stream.width, stream.sizes[-1])

    def branch(size: int) -> Callable[[], Rows]:
        def made() -> Rows:
            return jax.tree.map(
                lambda x: jnp.pad(x, ((0, width - size), *[(0, 0)] * (x.ndim - 1)))[: stream.width],
                make(size),
            )

        return made

    place = jnp.searchsorted(jnp.asarray(stream.sizes), n)
    return lax.switch(place, [branch(size) for size in stream.sizes])


def _valid(stream: Stream, n: Int[Array, ""]) -> Bool[Array, " width"] | None:
    return None if stream.sizes is None else jnp.arange(stream.width) < n
