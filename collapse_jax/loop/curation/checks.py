"""Checks of a curation: before a run on real rows, and after each chunk of it on its metrics."""

import math
import numbers
from functools import partial
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from collapse_jax.basics.checks import is_traced
from collapse_jax.loop.curation.candidates import ROUNDS
from collapse_jax.loop.curation.detector import Detector
from collapse_jax.loop.curation.judge import drifts, of_generation
from collapse_jax.loop.curation.operators import AbstractOperator
from collapse_jax.machines.programs import traceable

if TYPE_CHECKING:
    from collapse_jax.tasks.base import AbstractTask

_TRIED = 64  # real rows on which functions are tried


def bytes_of_candidates(
    curation: tuple[AbstractOperator, ...], task: "AbstractTask", width: int
) -> int:
    """About how many bytes the candidates for a batch of so many rows take at a time."""
    if not curation:
        return 0
    rows = eqx.filter_eval_shape(_some_rows, task, jax.random.key(0, impl="threefry2x32"), 1)
    each = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(rows))
    many = math.prod(getattr(operator, "k", 2) for operator in curation)
    return width * many * each


def check_curation(
    curation: tuple[AbstractOperator, ...], task: "AbstractTask", n_generations: int
) -> None:
    """Check that a task has what a curation needs, and what its functions say of real rows.

    Functions that drift are asked for the first generation and for the last.

    Raises:
        ValueError: if labels are needed and there are none, or distances of rows that are no
            points, or a function returns anything but one finite number for a row.
    """
    name = type(task).__name__
    for operator in curation:
        kind = type(operator).__name__
        if operator.needs_labels and not task.has_labels:
            raise ValueError(
                f"synthetic.curation must have no {kind}(...) with a {name}, whose rows have no "
                f"labels that are right or wrong, got {operator!r}"
            )
        looks = operator.functions or operator.needs_distances
        if looks and not task.shows_rows:
            raise ValueError(
                f"synthetic.curation must have no {kind}(...) with a {name} that has data of its "
                f"own, whose rows are not known in the user's units, got {operator!r}"
            )
    if any(is_traced(leaf) for leaf in jax.tree.leaves(task)):
        return
    with jax.ensure_compile_time_eval():
        _check_rows(curation, task, n_generations)


def _check_rows(
    curation: tuple[AbstractOperator, ...], task: "AbstractTask", n_generations: int
) -> None:
    name, shown = type(task).__name__, _real_rows(task)
    for operator in curation:
        kind = type(operator).__name__
        if operator.needs_distances and not _are_points(shown):
            raise ValueError(
                f"synthetic.curation must have no {kind}(...) with a {name}, whose rows are no "
                f"points, got {operator!r}"
            )
        for field, function in operator.functions.items():
            if isinstance(function, Detector):
                _check_features(task, f"{kind}.{field}", function, shown)
                continue
            _check_in_time(task, f"{kind}.{field}", function, shown, n_generations)


def _check_features(task: "AbstractTask", name: str, detector: Detector, shown: Any) -> None:
    """Check that features of rows are finite numbers, equally many of each."""
    is_text = task.acceptance is not None
    if detector.features is None and (is_text or not _are_points(shown)):
        raise ValueError(
            f"{name} must be a Detector with features=, a function of a row, with a "
            f"{type(task).__name__}, whose rows are no points, got {detector!r}"
        )
    rows = shown if type(shown) is tuple else (shown,)
    try:
        made = jax.vmap(detector)(*rows) if not is_text else _of_texts(task, detector, rows)
        values = np.asarray(made, np.float64)
    except Exception as error:
        raise ValueError(
            f"{name}.features must return equally many numbers for each row, and fails: {error}"
        ) from error
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if len(bad := np.flatnonzero(~finite)):
        raise ValueError(
            f"{name}.features must be finite, got {values[bad[0]].tolist()} for real row {bad[0]}"
        )


def _of_texts(task: "AbstractTask", detector: Detector, rows: Any) -> Any:
    return task.each(detector, (), *rows)


def _check_in_time(
    task: "AbstractTask", name: str, function: Any, shown: Any, n_generations: int
) -> None:
    if not drifts(function):
        _check_not_told(name, function)
        return _check_function(task, name, function, shown)
    if task.acceptance is None:
        _check_traceable(name, function, shown)
    for t in (1, n_generations):
        at = f"{name} of generation {t}"
        _check_function(task, at, partial(function, generation=t), shown)


def _check_not_told(name: str, function: Any) -> None:
    """Check that nobody waits for a generation that is never told."""
    if isinstance(function, partial):  # has been told it once and for all
        return
    found = of_generation(function)
    if found is not None and found.kind is found.KEYWORD_ONLY:
        raise ValueError(
            f"{name} must have an argument generation without a default, to be told of it, got "
            f"generation={found.default!r}"
        )


def _check_traceable(name: str, function: Any, shown: Any) -> None:
    rows = shown if type(shown) is tuple else (shown,)
    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)
    generation = jax.ShapeDtypeStruct((), jnp.int32)
    try:
        jax.eval_shape(lambda t, *row: function(*row, generation=t), generation, *first)
    except Exception as error:
        raise ValueError(
            f"{name} must be a JAX function of one row and its generation, and fails: {error}"
        ) from error


def _real_rows(task: "AbstractTask") -> Any:
    """Some real rows as the user knows them."""
    n = _TRIED if task.population is None else min(_TRIED, task.population)
    return _some_rows(traceable(task), jax.random.key(0, impl="threefry2x32"), n)


@eqx.filter_jit
def _some_rows(task: "AbstractTask", key: Key[Array, ""], n: int) -> Any:
    known = task.population is not None
    world = task.world(key, rows=True, index=jnp.arange(task.n_samples) if known else None)
    index = jnp.arange(n) if known else None
    return task.shown(world, task.real(world, key, n, size=None, index=index))


def _are_points(shown: Any) -> bool:
    return all(jnp.issubdtype(x.dtype, jnp.floating) for x in jax.tree.leaves(shown))


def _check_function(task: "AbstractTask", name: str, function: Any, shown: Any) -> None:
    if task.acceptance is not None:
        return _check_on_texts(task, name, function, shown)
    rows = shown if type(shown) is tuple else (shown,)
    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)
    try:
        made = jax.eval_shape(function, *first)
    except Exception as error:
        shapes = ", ".join(str(x.shape) for x in jax.tree.leaves(first))
        raise ValueError(
            f"{name} must be a JAX function of one row, here of shape {shapes}, and fails: {error}"
        ) from error
    leaves = jax.tree.leaves(made)
    if len(leaves) != 1 or leaves[0].shape != () or leaves[0].dtype.kind not in "fiub":
        found = ", ".join(f"{x.dtype}{list(x.shape)}" for x in leaves) or "nothing"
        raise ValueError(f"{name} must return one real number for a row, got {found}")
    values = np.asarray(jax.vmap(function)(*rows), np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        row = ", ".join(str(np.asarray(x)[bad[0]].tolist()) for x in jax.tree.leaves(rows))
        raise ValueError(f"{name} must be finite, got {values[bad[0]]} for the row {row}")


def _check_on_texts(task: "AbstractTask", name: str, function: Any, rows: Any) -> None:
    """Check a function in Python of what the task shows of a row."""

    def checked(shown: Any) -> Any:
        try:
            value = function(shown)
        except Exception as error:
            raise ValueError(f"{name} must be a function of a text, and fails: {error}") from error
        known = isinstance(value, numbers.Real | np.bool_)
        if not known or not math.isfinite(float(value)):
            raise ValueError(
                f"{name} must return a finite number, or True or False, for a text, got {value!r} "
                f"for {str(shown)[:80]!r}"
            )
        return value

    task.each(checked, (), rows)


def check_choices(
    metrics: dict[str, np.ndarray], seeds: np.ndarray, done: int, curation: Any
) -> None:
    """Check what a curation has done in some generations.

    Chains whose training has gone wrong, which have no rate, are left out.

    Args:
        metrics: `[chain, generation]`, of which the last is generation `done`.
        seeds: those of the chains.
        done: how many generations there have been.
        curation: the operators, for the message.

    Raises:
        ValueError: if a batch could not be filled, or a reward was not finite.
    """
    rate, reward = metrics["acceptance_rate"], metrics["mean_reward"]
    names = ", ".join(type(operator).__name__ for operator in curation)

    def where(bad: np.ndarray) -> str:
        generation = int(np.argmax(np.any(bad, axis=0)))
        chain = int(np.argmax(bad[:, generation]))
        number = done - rate.shape[1] + generation + 1
        return f"model {number} of the chain of seed {int(seeds[chain])}"

    if np.any(bad := ~np.isfinite(reward) & ~np.isnan(rate)):
        raise ValueError(
            f"synthetic.curation must judge all rows by finite numbers, and {names} found others "
            f"among the rows of {where(bad)}"
        )
    if np.any(bad := rate <= 0.0):
        raise ValueError(
            f"synthetic.curation must accept one row in {ROUNDS} or more, and {names} accepted "
            f"fewer of {where(bad)}"
        )
