"""One batch of either stream, as rows or as a statistic, whichever models its rows come from."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from collapse_jax.basics.returned import checked_rows
from collapse_jax.loop.curation.candidates import Candidates
from collapse_jax.loop.curation.choosing import taken
from collapse_jax.loop.curation.judge import Judge
from collapse_jax.loop.form import Columns, Form, Stream
from collapse_jax.loop.makers import Maker, chosen_rows
from collapse_jax.loop.sources import Edit
from collapse_jax.numerics.keys import Role, either, stream
from collapse_jax.numerics.subsets import permuted
from collapse_jax.numerics.threefry import fold_in
from collapse_jax.numerics.tokens import TokenEdit
from collapse_jax.tasks.base import AbstractTask, Model, Rows, Statistic, World
from collapse_jax.tasks.contract import EditsTokens
from collapse_jax.tasks.sufficient import lawful

Metrics = dict[str, Float[Array, ""]]

_CHOICE = 2**32 - 1  # what sets the keys of sources apart from those of their rows


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
    if not form.real.by_rows:
        own = stream(key, now.generation - 1, Role.REAL)
        return Batch(None, lawful(task).real_statistic(world, own, now.real_rows))
    rows = _real_rows(task, form, world, key, now)
    return _summarised(task, form, world, rows, form.real, now.real_rows)


def _real_rows(
    task: AbstractTask, form: Form, world: World, key: Key[Array, ""], now: Columns
) -> Rows:
    own = stream(key, now.generation - 1, Role.REAL)

    def rows(n: int) -> tuple[Rows, None]:
        index = None
        if task.population is not None:
            order = stream(key, 0, Role.REAL)
            index = _from_population(order, task.population, now, n, once=not form.real.every)
        rows = task.real(world, own, n, size=_size(form.real, now.real_rows), index=index)
        return checked_rows(task, "real", rows, n), None

    return _in_size(rows, form.real, now.real_rows)[0]


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
        shuffled = either(epoch == 0, order, fold_in(order, epoch))
        return permuted(shuffled, population, places)

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
    pool: Any,
    key: Key[Array, ""],
    now: Columns,
) -> tuple[Batch, Metrics]:
    """What the model of this generation, or its predecessors too, generate, and how it was chosen.

    Args:
        task: what is learned.
        form: the loop.
        world: what is fixed for the chain.
        model: the newest model, in the coordinates of the pool.
        pool: what is kept.
        key: the key of the chain.
        now: the numbers of this generation.
    """
    maker = Maker(task, form, world, model, pool.history, key, now)
    if form.curation:
        return _curated(maker, pool, key)
    if form.source.edits:
        rows = _edited(maker, pool.before)
        return _summarised(task, form, world, rows, form.synthetic, now.synthetic_rows), {}
    own, choice = maker.keys
    if not form.synthetic.by_rows:
        return Batch(None, maker.statistic(own, choice)), {}
    rows, _ = _in_size(lambda n: (maker.rows(own, choice, n), None), form.synthetic, maker.n)
    return _summarised(task, form, world, rows, form.synthetic, now.synthetic_rows), {}


def _edited(maker: Maker, before: Rows) -> Rows:
    """The batch before, in which some rows have new labels, or some tokens are new."""
    own, choice = maker.keys
    source, numbers = cast(Edit, maker.form.source), maker.now.source
    if source.mask == "fixed":
        choice = stream(maker.key, 0, Role.SOURCE)
    parts = maker.world, maker.newest, before
    if isinstance(maker.task, EditsTokens):
        how = TokenEdit(**numbers, top_k=source.top_k)
        return maker.task.edit(*parts, (own, choice), how)
    n = len(jax.tree.leaves(before)[0])
    new = maker.task.relabel(*parts, own, temperature=maker.temperature)
    return chosen_rows(jax.random.uniform(choice, (n,)) < numbers["share"], new, before)


def _curated(maker: Maker, pool: Any, key: Key[Array, ""]) -> tuple[Batch, Metrics]:
    """A batch of candidates that are chosen, how many it took, and what they were judged by."""
    task, form, world, now = maker.task, maker.form, maker.world, maker.now
    own, _ = maker.keys
    place, real = lambda rows: rows, partial(first_real, task, form, world, key, now)
    if form.moving:
        place = partial(task.coordinates.place, pool.frame)  # pyright: ignore
    judge = Judge(task, world, place, real, now.generation)

    def draw(key: Key[Array, ""], n: int) -> Candidates:
        return Candidates.of_model(maker.rows(key, fold_in(key, _CHOICE), n))

    operators = [
        operator.having(numbers)
        for operator, numbers in zip(form.curation, now.curation, strict=True)
    ]

    def make(n: int) -> tuple[Rows, Any]:
        made, values = taken(operators, draw, judge, own, n)
        counted = jnp.arange(n) < maker.n
        mean = jnp.sum(jnp.where(counted, values, 0.0)) / jnp.sum(counted, dtype=jnp.float32)
        rate = jnp.where(made.full, n / jnp.maximum(made.taken, 1.0), 0.0)
        return made.rows, (rate, jnp.where(made.finite, mean, jnp.nan))

    rows, (rate, mean) = _in_size(make, form.synthetic, maker.n)
    batch = _summarised(task, form, world, rows, form.synthetic, maker.n)
    return batch, {"acceptance_rate": rate, "mean_reward": mean}


def first_real(
    task: AbstractTask, form: Form, world: World, key: Key[Array, ""], now: Columns
) -> tuple[Rows, Bool[Array, " width"] | None]:
    """The rows of the real batch of generation 1, drawn again, and which of them count."""
    zero = jnp.zeros((), jnp.int32)
    first = now._replace(
        generation=jnp.ones((), jnp.int32), real_rows=now.first_real, epoch=zero, start=zero
    )
    return _real_rows(task, form, world, key, first), _valid(form.real, now.first_real)


def _size(stream: Stream, n: Int[Array, ""]) -> Int[Array, ""] | None:
    """How many rows count; None for all, as a static number."""
    return None if stream.sizes is None else n


def _summarised(
    task: AbstractTask, form: Form, world: World, rows: Rows, stream: Stream, n: Int[Array, ""]
) -> Batch:
    """Rows and their statistic, as far as anybody needs them."""
    statistic = None
    if form.statistic:
        statistic = task.summarise(world, rows, _valid(stream, n), size=n)
    return Batch(rows if form.rows or form.source.edits else None, statistic)


def _in_size(
    make: Callable[[int], tuple[Rows, Any]], stream: Stream, n: Int[Array, ""]
) -> tuple[Rows, Any]:
    """Rows of one of the sizes of the stream, filled up to its width, and what comes with them."""
    if stream.sizes is None:
        return make(stream.width)
    width = max(stream.width, stream.sizes[-1])

    def branch(size: int) -> Callable[[], tuple[Rows, Any]]:
        def made() -> tuple[Rows, Any]:
            rows, more = make(size)
            return jax.tree.map(
                lambda x: jnp.pad(x, ((0, width - size), *[(0, 0)] * (x.ndim - 1)))[: stream.width],
                rows,
            ), more

        return made

    place = jnp.searchsorted(jnp.asarray(stream.sizes), n)
    return lax.switch(place, [branch(size) for size in stream.sizes])


def rows_that_count(stream: Stream, n: Int[Array, ""], rows: Rows) -> Bool[Array, " width"] | None:
    """Which rows of a batch count; None for all, as where they were made in just their number."""
    return None if len(jax.tree.leaves(rows)[0]) < stream.width else _valid(stream, n)


def _valid(stream: Stream, n: Int[Array, ""]) -> Bool[Array, " width"] | None:
    return None if stream.sizes is None else jnp.arange(stream.width) < n
