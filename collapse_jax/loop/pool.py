"""The data kept from generation to generation, and what of them a generation is fitted to."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, Key

from collapse_jax.basics.entries import with_entries
from collapse_jax.basics.returned import check_alike
from collapse_jax.loop import windows
from collapse_jax.loop.batches import Batch, real_batch
from collapse_jax.loop.form import Columns, Form
from collapse_jax.loop.inclusion.drawing import draw_rows
from collapse_jax.tasks.base import AbstractTask, Data, Model, Rows, Statistic, World
from collapse_jax.tasks.places import Places
from collapse_jax.tasks.sufficient import lawful


class Pool(NamedTuple):
    """Batches of data that are kept."""

    statistic: Any
    """Statistic of everything kept; a pair of windows, real and generated, where these are kept
    apart; of each batch, `[slot, ...]`, where some may be masked; None where it is worked out from
    the rows."""
    rows: Rows | None
    """`[slot, row, ...]`, slots of the real stream first; None where no rows are kept."""
    history: Any
    """Models that rows may still come from, `[model, ...]`; None where there are none."""
    frame: Any
    """What the task's coordinates keep of the model in which all this is; None for the truth."""
    before: Any
    """The rows of the newest batch, where it is edited; else None."""


def begin(task: AbstractTask, form: Form, world: World, key: Key[Array, ""], now: Columns) -> Pool:
    """A pool that holds the real data of generation 1."""
    batch = _real_batch(task, form, world, key, now)
    statistic = batch.statistic if form.statistic else None
    if statistic is not None and form.masked:
        statistic = windows.ring(statistic, form.slots)
    elif statistic is not None and form.storage == "apart":
        statistic = (
            windows.start(statistic, form.real.keep, form.real.slots, empty=False),
            windows.start(statistic, form.synthetic.keep, form.synthetic.slots, empty=True),
        )
    rows = None
    if form.rows:
        shape = (form.slots, form.width)
        rows = jax.tree.map(lambda b: jnp.zeros((*shape, *b.shape[1:]), b.dtype), batch.rows)
        rows = _put(rows, batch.rows, jnp.zeros((), jnp.int32))
    coordinates = task.coordinates if form.moving else None
    frame = None if coordinates is None else coordinates.frame(coordinates.start())
    return Pool(statistic, rows, None, frame, batch.rows if form.source.edits else None)


def with_history(pool: Pool, model: Any, form: Form) -> Pool:
    """The pool with room for models like this one."""
    empty = jax.tree.map(lambda x: jnp.zeros((form.history, *x.shape), x.dtype), model)
    return pool._replace(history=empty)


def add_real(
    task: AbstractTask, form: Form, world: World, pool: Pool, key: Key[Array, ""], now: Columns
) -> Pool:
    """The pool after the real batch of this generation has come, where there is one."""
    if not form.real.every:
        return pool

    def added() -> Pool:
        batch = _real_batch(task, form, world, key, now)
        number = now.generation - 1
        statistic = pool.statistic
        if statistic is not None and form.masked:
            statistic = windows.put(statistic, batch.statistic, number % form.real.slots)
        elif statistic is not None:
            merge = _merging(task, world)
            real = windows.insert(statistic[0], batch.statistic, number, form.real.keep, merge)
            statistic = (real, statistic[1])
        rows = pool.rows
        if rows is not None:
            rows = _put(rows, batch.rows, number % form.real.slots)
        return pool._replace(statistic=statistic, rows=rows)

    return lax.cond(now.generation > 1, added, lambda: pool)


def _real_batch(
    task: AbstractTask, form: Form, world: World, key: Key[Array, ""], now: Columns
) -> Batch:
    batch = real_batch(task, form, world, key, now)
    return batch._replace(statistic=lawful(task).summand(batch.statistic)) if form.summed else batch


def move(
    task: AbstractTask, form: Form, pool: Pool, model: Model, inner: Model, now: Columns
) -> tuple[Pool, Model]:
    """The pool in coordinates of the newest model, from time to time, and this model in them.

    Args:
        task: what is learned.
        form: the loop.
        pool: the pool after the fit.
        model: the newest model.
        inner: the same in the coordinates of the pool.
        now: the numbers of this generation.
    """
    coordinates = task.coordinates
    if not form.moving or coordinates is None:
        return pool, inner
    # Fits to many rows change slowly, those to few at once.
    when = now.generation % (form.synthetic.slots * (4 if form.summed else 1)) == 0
    change = lax.cond(
        when,
        lambda: coordinates.change(inner),
        lambda: jax.tree.map(jnp.zeros_like, jax.eval_shape(coordinates.change, inner)),
    )
    moved = partial(coordinates.move, change)
    statistic, rows = pool.statistic, pool.rows  # of one batch only, the next takes their place
    if statistic is not None and form.storage != "latest":
        statistic = tuple(windows.move(window, moved, when) for window in statistic)
    if rows is not None and form.storage != "latest":
        rows = windows.move_each(rows, moved, when)
    frame, inner = lax.cond(
        when,
        lambda: (coordinates.frame(model), coordinates.start()),
        lambda: (pool.frame, inner),
    )
    return pool._replace(statistic=statistic, rows=rows, frame=frame), inner


def add_synthetic(
    task: AbstractTask, form: Form, world: World, pool: Pool, batch: Batch, now: Columns
) -> Pool:
    """The pool after the batch that is generated at the end of this generation."""
    number = now.generation - 1
    statistic, rows = pool.statistic, pool.rows
    if statistic is not None and form.storage == "latest":
        statistic = batch.statistic
    elif statistic is not None and form.storage == "total":
        statistic = task.merge(world, (statistic, batch.statistic), None)
    elif statistic is not None and form.masked:
        slot = form.real.slots + number % form.synthetic.slots
        statistic = windows.put(statistic, batch.statistic, slot)
    elif statistic is not None:
        merge = _merging(task, world)
        new = lawful(task).summand(batch.statistic) if form.summed else batch.statistic
        synthetic = windows.insert(statistic[1], new, number, form.synthetic.keep, merge)
        statistic = (statistic[0], synthetic)
    if rows is not None:
        check_alike(task, rows, batch.rows)
        slot = 0 if form.storage == "latest" else form.real.slots + number % form.synthetic.slots
        rows = _put(rows, batch.rows, slot)
    before = batch.rows if form.source.edits else None
    return pool._replace(statistic=statistic, rows=rows, before=before)


def remember(pool: Pool, model: Model, form: Form, now: Columns) -> Pool:
    """The pool with this generation's model among those that rows may come from."""
    if not form.history:
        return pool
    history = windows.put(pool.history, model, (now.generation - 1) % form.history)
    return pool._replace(history=history)


def latest(pool: Pool, now: Columns) -> Model | None:
    """The model of the generation before; any in the first generation, None before it."""
    if pool.history is None:
        return None
    return jax.tree.map(lambda x: x[(now.generation - 2) % len(x)], pool.history)


def select(
    task: AbstractTask, form: Form, world: World, pool: Pool, key: Key[Array, ""], now: Columns
) -> tuple[Data, Int[Array, ""]]:
    """What this generation is fitted to, and how many of its rows are real."""
    places = places_of(form, now)
    if form.drawn:
        return draw_rows(task, form, world, flatten(pool.rows), places, key, now)
    if form.masked or not form.statistic:
        statistic = _statistic_of_batches(task, form, world, pool, places, now)
    elif form.storage == "apart":
        real, synthetic = (window.total for window in pool.statistic)
        statistic = _together(task, form, world, real, synthetic, now)
    else:
        statistic = pool.statistic
    return Data(flatten(pool.rows), places, statistic, now.effective_size), now.real_size


def places_of(form: Form, now: Columns) -> Places:
    """Where the rows are that are kept in this generation."""
    zero = jnp.zeros((), jnp.int32)
    if form.storage == "latest":
        return Places.first(now.real_size + now.synthetic_size)
    real_born = now.generation if form.real.every else 1
    in_order = form.storage == "total" and not form.sizes_vary
    return Places(
        now.real_batches,
        now.synthetic_batches,
        (real_born - now.real_batches) % form.real.slots if form.real.every else zero,
        (now.generation - 1 - now.synthetic_batches) % form.synthetic.slots,
        now.real_size,
        now.synthetic_size,
        _real_weight(form, now),
        now.slot_sizes,
        form.real.slots,
        form.synthetic.slots,
        form.width,
        in_order,
        form.phases,
    )


def _real_weight(form: Form, now: Columns) -> Any:
    """Weight of all real rows together, which is 1 in generation 1."""
    if not form.weighted:
        return None
    return jnp.where(now.synthetic_size == 0, 1.0, now.real_weight)


def _together(
    task: AbstractTask,
    form: Form,
    world: World,
    real: Statistic,
    synthetic: Statistic,
    now: Columns,
) -> Statistic:
    """Statistic of both streams, with their weights; one without rows plays no part."""
    scales = jnp.stack([now.real_scale, now.synthetic_scale]) if form.weighted else None

    def merged() -> Statistic:
        return task.merge(world, (real, synthetic), scales)

    def alone(part: Statistic) -> Statistic:
        return jax.tree.map(lambda x, y: x.astype(y.dtype), part, jax.eval_shape(merged))

    return lax.cond(
        (now.real_size > 0) & (now.synthetic_size > 0),
        merged,
        lambda: lax.cond(now.real_size == 0, lambda: alone(synthetic), lambda: alone(real)),
    )


def _statistic_of_batches(
    task: AbstractTask, form: Form, world: World, pool: Pool, places: Places, now: Columns
) -> Statistic:
    """Statistic of all rows that are kept, batch by batch."""
    width = form.width

    def of_batch(i: Any) -> Statistic:
        slot = places.slot(jnp.asarray(i))
        if form.statistic:
            return jax.tree.map(lambda x: x[slot], pool.statistic)
        rows = jax.tree.map(lambda b: b[slot], pool.rows)
        valid = None if now.slot_sizes is None else jnp.arange(width) < now.slot_sizes[slot]
        return task.summarise(world, rows, valid, size=now.effective_size)

    merge = _merging(task, world)

    def add(i: Any, total: Statistic) -> Statistic:
        return merge(total, of_batch(i))

    def stream(first: Any, last: Any) -> Statistic:
        if not form.masked:
            return lax.fori_loop(first + 1, last, add, of_batch(first))
        return _of_included(first, last, of_batch, merge, lambda i: now.slot_sizes[places.slot(i)])

    n_real, n = now.real_batches, now.real_batches + now.synthetic_batches
    if form.storage == "latest":
        return of_batch(0)
    if not form.weighted:
        return stream(0, n)
    return _together(task, form, world, stream(0, n_real), stream(n_real, n), now)


def _of_included(
    first: Any, last: Any, of_batch: Callable[[Any], Statistic], merge: windows.Merge, size: Any
) -> Statistic:
    """The statistic of batches `first` to `last`, that one left out, as far as they have rows."""

    def add(i: Any, state: tuple[Statistic, Any]) -> tuple[Statistic, Any]:
        total, begun = state
        new, counts = of_batch(i), size(i) > 0
        both = merge(total, new)
        total = jax.tree.map(
            lambda t, n, b: jnp.where(counts, jnp.where(begun, b.astype(t.dtype), n), t),
            *(total, new, both),
        )
        return total, begun | counts

    first = jnp.asarray(first, jnp.int32)
    return lax.fori_loop(first + 1, last, add, (of_batch(first), size(first) > 0))[0]


def _merging(task: AbstractTask, world: World) -> Callable[[Statistic, Statistic], Statistic]:
    return lambda first, second: task.merge(world, (first, second), None)


def _put(rows: Rows, batch: Rows, slot: Any) -> Rows:
    """Rows with a batch, perhaps narrower than a slot, in one of their slots."""

    def widened(buffer: Array, b: Array) -> Array:
        return jnp.pad(b, [(0, buffer.shape[1] - len(b)), *[(0, 0)] * (b.ndim - 1)])

    return with_entries(rows, jax.tree.map(widened, rows, batch), slot)


def flatten(rows: Rows | None) -> Rows | None:
    """Slots `[slot, row, ...]` laid end to end, `[slot * row, ...]`."""
    return jax.tree.map(lambda b: b.reshape(-1, *b.shape[2:]), rows)
