"""The statistic of the newest K batches, without ever taking anything out of a sum.

What is subtracted leaves rounding errors of the size of what was there, which would be all that is
left of a collapsing chain. A queue of two stacks needs sums alone: batches lie in a ring, and
whenever it is full, each makes way for the sum of itself and all that follow. The newest K batches
are then the sum of what came since and of one such entry: three sums per generation, whatever K is.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from collapse_jax.basics.entries import entry, with_entries

Merge = Callable[[Any, Any], Any]


class Window(NamedTuple):
    """Statistics of the newest batches of one stream."""

    total: Any
    """Statistic of all batches that are kept."""
    newest: Any
    """Statistic of the batches since the ring was last full; None where there is no ring."""
    ring: Any
    """`[slot, ...]`; None where the newest batch alone is kept, or all are."""


def start(statistic: Any, keep: int | None, slots: int, empty: bool) -> Window:
    """A window that holds one batch, or none.

    Args:
        statistic: that of a batch, whose form all have.
        keep: how many batches are kept, None for all.
        slots: for how many there needs to be room.
        empty: whether the window is to hold nothing yet; the values of the statistic do not matter.
    """
    if keep is None or keep == 1:
        return Window(statistic, None, None)
    ring = jax.tree.map(lambda x: jnp.zeros((slots, *x.shape), x.dtype), statistic)
    if not empty:
        ring = put(ring, statistic, 0)
    return Window(statistic, statistic, ring)


def insert(
    window: Window, statistic: Any, number: Int[Array, ""], keep: int | None, merge: Merge
) -> Window:
    """The window after a further batch.

    Args:
        window: the window before.
        statistic: that of the batch.
        number: how many batches there were before it, in the whole run.
        keep: how many batches are kept, None for all.
        merge: the statistic of two disjoint sets.
    """
    if keep == 1:
        return Window(statistic, None, None)
    if keep is None:
        total = lax.cond(number == 0, lambda: statistic, lambda: merge(window.total, statistic))
        return Window(total, None, None)
    place = number % keep
    ring = _sums_to_the_end(window.ring, merge, (place == 0) & (number > 0))
    # Before the ring is read, for else the whole of it is copied.
    ring = put(ring, statistic, place)
    newest = lax.cond(place == 0, lambda: statistic, lambda: merge(window.newest, statistic))
    # Behind this place are sums of older batches, unless none are left or there never were any.
    older = (place < keep - 1) & (number >= keep)
    slots = jax.tree.leaves(ring)[0].shape[0]
    rest = jax.tree.map(lambda x: entry(x, jnp.minimum(place + 1, slots - 1)), ring)
    total = lax.cond(older, lambda: merge(rest, newest), lambda: newest)
    return Window(total, newest, ring)


def move(window: Window, moved: Callable[[Any], Any], when: Any) -> Window:
    """The window in other coordinates, by a function that moves one statistic."""
    total, newest = window.total, window.newest
    total = lax.cond(when, lambda: moved(total), lambda: total)
    if newest is not None:
        newest = lax.cond(when, lambda: moved(newest), lambda: newest)
    ring = None if window.ring is None else move_each(window.ring, moved, when)
    return Window(total, newest, ring)


def move_each(slots: Any, moved: Callable[[Any], Any], when: Any) -> Any:
    """Each slot in other coordinates. A branch would copy them all, also where nothing moves."""
    n = jax.tree.leaves(slots)[0].shape[0]

    def body(i: Any, slots: Any) -> Any:
        return put(slots, moved(jax.tree.map(lambda x: entry(x, i), slots)), i)

    return lax.fori_loop(0, jnp.where(when, n, 0), body, slots)


def _sums_to_the_end(ring: Any, merge: Merge, when: Any) -> Any:
    """Each entry with all that follow it. A branch would copy the ring in every generation."""
    slots = jax.tree.leaves(ring)[0].shape[0]

    def body(i, ring):
        place = slots - 2 - i
        own, rest = (jax.tree.map(partial(entry, i=k), ring) for k in (place, place + 1))
        return put(ring, merge(own, rest), place)

    return lax.fori_loop(0, jnp.where(when, slots - 1, 0), body, ring)


def ring(statistic: Any, slots: int) -> Any:
    """Statistics of batches, each by itself, with this one in the first slot. `[slot, ...]`"""
    empty = jax.tree.map(lambda x: jnp.zeros((slots, *x.shape), x.dtype), statistic)
    return put(empty, statistic, 0)


def put(ring: Any, statistic: Any, place: Any) -> Any:
    """The same with another statistic in one of the slots."""
    return with_entries(ring, statistic, place)
