"""How far the rows that a model generates are from real ones, for any task that makes rows."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from collapse_jax.basics.checks import is_traced
from collapse_jax.numerics import distances
from collapse_jax.numerics.keys import Role, stream
from collapse_jax.tasks.base import AbstractTask, Model, Rows, Variable, World

DISTANCES: dict[str, Variable] = {
    "frechet": Variable("squared Frechet distance of generated from real rows", "data units^2"),
    "sliced_wasserstein": Variable(
        "mean squared 2-Wasserstein distance of projections of generated and real rows",
        "data units^2",
    ),
    "energy": Variable("energy distance of generated from real rows", "data units"),
    "mmd": Variable("squared maximum mean discrepancy of generated and real rows", "1"),
    "precision": Variable("share of generated rows that lie where real rows are", "1"),
    "recall": Variable("share of real rows that lie where generated rows are", "1"),
    "coverage": Variable("share of real rows with a generated one nearby", "1"),
}
"""Metrics that every task has whose rows are numbers, computed only where they are named."""

BETWEEN = "distance_between"
"""What says how far each of several models is from the others."""
_POWERS = {"frechet": 2, "sliced_wasserstein": 2, "energy": 1}
"""By which power of the unit of rows they grow."""
_NEIGHBOURS = {"precision": 3, "recall": 3, "coverage": 5}
_SHARES = tuple(_NEIGHBOURS)
_MOST = 1000  # rows that are compared, so that a long table does not cost its square

Features = Callable[[Any], Array]
"""A JAX function of one row to a vector."""


def variables_of(task: AbstractTask) -> dict[str, Variable]:
    """All metrics of a task by name, those included that every task has."""
    if task.acceptance is not None:  # rows are documents
        return task.variables
    return {**DISTANCES, **task.variables}


def distances_among(task: AbstractTask, names: Sequence[str]) -> list[str]:
    """Which of these metrics are distances that the task does not measure itself."""
    return [name for name in names if name in DISTANCES and name not in task.variables]


def between_of(task: AbstractTask) -> dict[str, Variable]:
    """The distance between several models of a task, where they are points."""
    if task.error not in task.variables:  # also in a subclass of the user's
        return {}
    units = task.variables[task.error].units
    return {BETWEEN: Variable("squared distance from the mean of the other models", units)}


def units_of(task: AbstractTask, features: Features | None) -> dict[str, float]:
    """Factors from the units of the device to the user's; features are in their own."""
    unit = task.row_unit if features is None else 1.0
    between = {BETWEEN: task.units.get(task.error, 1.0)} if task.error is not None else {}
    return {**{name: unit**power for name, power in _POWERS.items()}, **between, **task.units}


def single_units(task: AbstractTask, names: Sequence[str], features: Any) -> dict[str, Any]:
    """Factors to the user's units, where all is float32.

    Raises:
        ValueError: if float32 cannot hold one.
    """
    known = units_of(task, features)
    units = {name: known.get(name, 1.0) for name in names}
    limits = np.finfo(np.float32)
    for name, unit in units.items():
        if not is_traced(unit) and not float(limits.tiny) <= unit <= float(limits.max):
            raise ValueError(
                f"metrics must be such that float32 holds them, and the unit of {name} is "
                f"{unit:.3g}; leave it out, or use simulate, which returns it in float64"
            )
    return units


def in_user_units(
    task: AbstractTask, features: Features | None, values: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Metrics in float64 where they have other units on the device."""
    units = {name: f for name, f in units_of(task, features).items() if name in values and f != 1.0}
    return values | {name: values[name].astype(np.float64) * f for name, f in units.items()}


def compare(
    task: AbstractTask,
    world: World,
    model: Model,
    key: Key[Array, ""],
    generation: Any,
    names: Sequence[str],
    features: Features | None,
) -> dict[str, Float[Array, ""]]:
    """Distances between rows of a model, at temperature 1, and real rows that no fit sees.

    Real rows and directions are the same in all generations of a chain.

    Args:
        task: what is learned.
        world: what is fixed for the chain.
        model: the model.
        key: the key of the chain.
        generation: that of the model.
        names: which distances; others are left out.
        features: what to compare of each row; None for the row itself.

    Returns:
        distances by name, in multiples of `task.row_unit`. Where a row is not finite, shares are 0
        and all else is infinite.

    Raises:
        ValueError: for rows that are not numbers, and without real rows to compare with.
    """
    wanted = distances_among(task, names)
    if not wanted:
        return {}
    real = real_vectors(task, world, key, features)
    own = stream(key, generation, Role.MEASURE)
    generated = task.sample(world, model, own, len(real), temperature=None)
    generated = _vectors(task, world, generated, features)
    alive = jnp.all(jnp.isfinite(generated))
    generated = jnp.where(alive, generated, 0.0)
    directions = jax.random.fold_in(stream(key, 0, Role.MEASURE), 1)
    functions = {name: getattr(distances, name) for name in wanted}
    if "sliced_wasserstein" in functions:
        functions["sliced_wasserstein"] = partial(distances.sliced_wasserstein, key=directions)
    for name in set(functions) & set(_NEIGHBOURS):
        functions[name] = partial(functions[name], neighbours=_NEIGHBOURS[name])
    return {
        name: jnp.where(alive, function(real, generated), 0.0 if name in _SHARES else jnp.inf)
        for name, function in functions.items()
    }


def real_vectors(
    task: AbstractTask, world: World, key: Key[Array, ""], features: Features | None
) -> Float[Array, "n d"]:
    """The real rows of a chain with which generated ones are compared, or their features."""
    rows = task.held_out(world, jax.random.fold_in(stream(key, 0, Role.MEASURE), 0))
    return _vectors(task, world, jax.tree.map(lambda x: x[:_MOST], rows), features)


def check_features(task: AbstractTask, metrics: Sequence[str] | None, features: Any) -> None:
    """Check that features are a function, and of use.

    Raises:
        TypeError: for what is no function.
        ValueError: where no distance is asked for.
    """
    if features is None:
        return
    if not callable(features):
        raise TypeError(f"features must be a function of a row to a vector, got {features!r}")
    if not distances_among(task, metrics or ()):
        raise ValueError(
            f"features serve distances, and metrics must name one of {', '.join(DISTANCES)}, got "
            f"{metrics}"
        )


def check_number(names: Sequence[str], n: int) -> None:
    """Check that there are real rows enough.

    Raises:
        ValueError: if there are not more than a distance has neighbours.
    """
    for name in names:
        if n <= _NEIGHBOURS.get(name, 1):
            raise ValueError(
                f"metrics: {name} needs more than {_NEIGHBOURS.get(name, 1)} test rows, got {n}"
            )


def _vectors(
    task: AbstractTask, world: World, rows: Rows, features: Features | None
) -> Float[Array, "n d"]:
    """What is compared of each row."""
    if features is not None:
        vectors = jax.vmap(features)(task.shown(world, rows))
        if not _is_numbers(vectors) or vectors.ndim != 2:
            raise ValueError(
                "features must map a row to a vector of floating-point numbers, got "
                f"{_shown(vectors, axis=1)} for a row"
            )
        return vectors.astype(jnp.float32)
    rows = task.spaced(rows)
    leaves = jax.tree.leaves(rows)
    if not all(map(_is_numbers, leaves)):
        raise ValueError(
            f"metrics: {', '.join(DISTANCES)} compare rows of floating-point numbers, and those of "
            f"a {type(task).__name__} are {_shown(rows)}; give features, a function of a row to a "
            "vector"
        )
    n = len(leaves[0])
    return jnp.concatenate([leaf.reshape(n, -1).astype(jnp.float32) for leaf in leaves], axis=1)


def _is_numbers(x: Any) -> bool:
    return isinstance(x, jax.Array) and bool(jnp.issubdtype(x.dtype, jnp.floating))


def _shown(rows: Any, axis: int = 0) -> str:
    leaves = jax.tree.leaves(rows)
    kinds = [f"{x.dtype}{list(x.shape[axis:])}" if hasattr(x, "dtype") else repr(x) for x in leaves]
    return ", ".join(kinds) or "nothing"
