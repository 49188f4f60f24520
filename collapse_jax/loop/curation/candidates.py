"""Rows to choose from, and two ways to choose: the best of many, and one by one.

Both are loops of a compiled program, or on the host loops in Python: then making candidates, and
judging them, may leave the program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from collapse_jax.numerics.subsets import largest
from collapse_jax.tasks.base import Rows

ROUNDS = 1000
"""How many times as many rows as are wanted are looked at, at the most."""
_AGAIN = 2**32 - 5  # what sets keys of further draws apart from those of the first one
_SURELY = 40  # times these for one row: if one in so many is accepted, exp(-40) that it takes more


class Candidates(NamedTuple):
    """Rows, and what it took to have them."""

    rows: Rows
    """`[n, ...]`"""
    taken: Float[Array, ""]
    """How many rows the model has generated for them."""
    finite: Bool[Array, ""]
    """Whether all that these were judged by are finite numbers."""
    full: Bool[Array, ""]
    """Whether there were enough that were accepted; else rows are of no use."""

    @classmethod
    def of_model(cls, rows: Rows) -> "Candidates":
        """Rows as a model generates them."""
        n = len(jax.tree.leaves(rows)[0])
        return cls(rows, jnp.asarray(n, jnp.float32), jnp.asarray(True), jnp.asarray(True))


Draw: TypeAlias = Callable[[Key[Array, ""], int], Candidates]
"""Makes that many rows, each time others, which are in random order."""


def best_of_many(
    draw: Draw,
    score: Callable[[Rows], Float[Array, " n"]],
    keep: Float[Array, ""],
    key: Key[Array, ""],
    n: int,
    *,
    on_host: bool = False,
) -> Candidates:
    """The `n` rows of `n / keep` that have the highest scores, in the order in which they came.

    Args:
        draw: makes candidates, `n` at a time, so that their number is no shape.
        score: of each of some rows.
        keep: which share of the candidates is taken, from above 0 to 1.
        key: the key of the draws.
        n: how many rows are wanted.
        on_host: whether this is a loop in Python.
    """
    if on_host:
        many = n - round(n * (1.0 - 1.0 / float(keep)))
        made = draw(jax.random.fold_in(key, 0), many)
        scores = np.asarray(score(made.rows), np.float32)
        best = np.sort(np.argsort(-scores, kind="stable")[:n])
        rows = jax.tree.map(lambda x: x[best], made.rows)
        return made._replace(rows=rows, finite=made.finite & bool(np.all(np.isfinite(scores))))
    times = jnp.ceil(1.0 / keep).astype(jnp.int32)
    left = jnp.round(n * (1.0 / keep - (times - 1).astype(jnp.float32)))  # in the last draw

    def add(i: Any, state: tuple[Candidates, Array]) -> tuple[Candidates, Array]:
        best, scores = state
        made = draw(jax.random.fold_in(key, i), n)
        new = score(made.rows)
        counted = (i < times - 1) | (jnp.arange(n, dtype=jnp.float32) < left)
        both = jnp.concatenate([scores, jnp.where(counted, new, -jnp.inf)])
        index = lax.cond(i == 0, lambda: jnp.arange(n, 2 * n), lambda: largest(both, n))
        rows = jax.tree.map(lambda a, b: jnp.concatenate([a, b])[index], best.rows, made.rows)
        share = jnp.sum(counted, dtype=jnp.float32) / n
        finite = best.finite & made.finite & jnp.all(jnp.isfinite(new))
        taken = best.taken + made.taken * share
        return Candidates(rows, taken, finite, best.full & made.full), both[index]

    start = (_nothing(draw, key, n), jnp.full(n, -jnp.inf, jnp.float32))
    return lax.fori_loop(0, times, add, start)[0]


def first_accepted(
    draw: Draw,
    accept: Callable[[Key[Array, ""], Rows], tuple[Bool[Array, " n"], Bool[Array, ""]]],
    key: Key[Array, ""],
    n: int,
    most: int = ROUNDS,
    *,
    on_host: bool = False,
) -> Candidates:
    """The first `n` rows that are accepted; not full where too few are.

    Args:
        draw: makes candidates, `n` at a time.
        accept: whether each of some rows is accepted, and whether what this rests on is finite.
        key: the key of the draws.
        n: how many rows are wanted.
        most: how many rows are looked at for each of them, before that is given up.
        on_host: whether this is a loop in Python.
    """
    if on_host:
        return _in_python(draw, accept, key, n, most)

    def goes_on(state: tuple[Array, Array, Candidates]) -> Array:
        i, there, found = state
        return (i < most) & (there < n) & found.full

    def add(state: tuple[Array, Array, Candidates]) -> tuple[Array, Array, Candidates]:
        i, there, found = state
        own = jax.random.fold_in(key, i)
        made = draw(jax.random.fold_in(own, 0), n)
        accepted, finite = accept(jax.random.fold_in(own, 1), made.rows)
        after = there + jnp.cumsum(accepted, dtype=jnp.int32)
        place = jnp.where(accepted, after - 1, n)
        rows = jax.tree.map(
            lambda buffer, x: buffer.at[place].set(x, mode="drop"), found.rows, made.rows
        )
        looked_at = jnp.sum(after - accepted.astype(jnp.int32) < n, dtype=jnp.float32)
        taken = found.taken + made.taken * looked_at / n
        found = Candidates(rows, taken, found.finite & made.finite & finite, found.full & made.full)
        return i + 1, after[-1], found

    zero = jnp.zeros((), jnp.int32)
    _, there, found = lax.while_loop(goes_on, add, (zero, zero, _nothing(draw, key, n)))
    return found._replace(full=found.full & (there >= n))


def in_groups(
    draw: Draw,
    prompt: Callable[[Rows], Int[np.ndarray, " m"]] | None,
    key: Key[Array, ""],
    n: int,
    k: int,
    most: int = ROUNDS,
) -> Candidates:
    """`n` groups of `k` rows each, one after the other; not full where there are too few.

    Where rows continue prompts, those of a group continue the same one. Groups come in the order in
    which they are complete, so that a prompt is there as often as its rows are.

    Args:
        draw: makes candidates.
        prompt: the number of the prompt that each row continues. None where they continue none.
        key: the key of the draws.
        n: how many groups are wanted.
        k: rows of a group.
        most: how many rows are looked at for each that is wanted, before that is given up.
    """
    made = draw(key, n * k)
    if prompt is None:
        return made
    parts, counts, taken, finite = [made.rows], [n * k], [float(made.taken)], bool(made.finite)
    own = jax.random.fold_in(key, _AGAIN)
    while made.full:
        prompts = np.concatenate([prompt(rows) for rows in parts])
        groups = _groups(prompts, k)[:n]
        if len(groups) == n:
            chosen = groups.ravel()
            rows = jax.tree.map(lambda *x, at=chosen: np.concatenate(x)[at], *parts)
            unused = (len(prompts) - 1 - groups[-1, -1]) / counts[-1] if n else 0.0
            total = sum(taken) - unused * taken[-1]
            return Candidates(rows, jnp.float32(total), jnp.asarray(finite), jnp.asarray(True))
        if len(prompts) >= most * n * k:
            break
        more = 2 ** (max(n - len(groups), n // 8, 1) - 1).bit_length()
        made = draw(jax.random.fold_in(own, len(parts)), more)
        parts, counts = [*parts, made.rows], [*counts, more]
        taken, finite = [*taken, float(made.taken)], finite and bool(made.finite)
    return made._replace(full=jnp.asarray(False))


def _groups(prompts: Int[np.ndarray, " m"], k: int) -> Int[np.ndarray, "groups k"]:
    """The places of each `k` rows of one prompt, in the order in which the last of them comes."""
    order = np.argsort(prompts, kind="stable")
    ordered = prompts[order]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)  # among those of its prompt
    last = np.flatnonzero(place % k == k - 1)
    groups = order[last[:, None] + np.arange(1 - k, 1)]
    return groups[np.argsort(groups[:, -1])]


def _in_python(
    draw: Draw, accept: Callable[..., Any], key: Key[Array, ""], n: int, most: int
) -> Candidates:
    """The same as a loop in Python, which draws little more than is missing.

    Numbers of rows are on a coarse scale, as each is compiled for.
    """
    parts: list[Rows] = []
    there, looked_at, taken, finite, i = 0, 0, 0.0, True, 0
    while there < n:
        own = jax.random.fold_in(key, i)
        made = draw(jax.random.fold_in(own, 0), min(n, 2 ** (n - there - 1).bit_length()))
        accepted, known = accept(jax.random.fold_in(own, 1), made.rows)
        places = np.flatnonzero(np.asarray(accepted))[: n - there]
        parts.append(jax.tree.map(lambda x, places=places: np.asarray(x)[places], made.rows))
        there, finite, i = there + len(places), finite and bool(made.finite & known), i + 1
        share = 1.0 if there < n else (places[-1] + 1) / len(accepted)
        looked_at, taken = looked_at + len(accepted), taken + float(made.taken) * share
        enough = most * n if there else min(most * n, _SURELY * most)
        if not made.full or (there < n and looked_at >= enough):
            return made._replace(full=jnp.asarray(False))
    rows = jax.tree.map(lambda *parts: np.concatenate(parts), *parts)
    return Candidates(rows, jnp.float32(taken), jnp.asarray(finite), jnp.asarray(True))


def _nothing(draw: Draw, key: Key[Array, ""], n: int) -> Candidates:
    """Room for rows of this kind, before there are any."""
    shape = jax.eval_shape(lambda: draw(key, n).rows)
    rows = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape)
    return Candidates(rows, jnp.zeros(()), jnp.asarray(True), jnp.asarray(True))
