"""Checks of what methods that a user wrote return, made while they are traced."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def checked_rows(task: Any, method: str, rows: Any, n: int) -> Any:
    """The rows, if there are as many as were asked for.

    Args:
        task: whose method made them.
        method: its name.
        rows: an array, or any pytree of arrays. `[n, ...]`
        n: how many there should be.

    Raises:
        ValueError: if there are others.

    Example:
        >>> checked_rows(None, "real", np.zeros((2, 3)), 2).shape
        (2, 3)
    """
    leaves = jax.tree.leaves(rows)
    if not leaves or any(np.shape(leaf)[:1] != (n,) for leaf in leaves):
        raise ValueError(
            f"{method} of a {type(task).__name__} must return the n = {n} rows that it is asked "
            f"for, got {_shown(rows, 0)}"
        )
    return rows


def check_alike(task: Any, kept: Any, rows: Any) -> None:
    """Check that generated rows are of the kind of the real ones.

    Args:
        task: what made both.
        kept: places for such as `real` returned. `[slot, row, ...]`
        rows: what `sample` returned. `[row, ...]`

    Raises:
        ValueError: if they are of another shape, type or structure.

    Example:
        >>> check_alike(None, np.zeros((4, 2, 3)), np.zeros((2, 3)))
    """
    if _kinds(kept, 2) != _kinds(rows, 1):
        raise ValueError(
            f"sample of a {type(task).__name__} must return rows like those of real, "
            f"{_shown(kept, 2)}, got {_shown(rows, 1)}"
        )


def checked_numbers(
    task: Any, found: Mapping[str, Any], names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Those metrics of a chain that are asked for, as far as they are there, if each is a number.

    Args:
        task: whose metrics they are.
        found: what one of its methods returned.
        names: what is asked for; default all.

    Raises:
        ValueError: if one is an array.

    Example:
        >>> checked_numbers(None, {"loss": 0.5, "spread": 1.0}, ["loss", "size"])
        {'loss': 0.5}
    """
    asked = {name: found[name] for name in found if names is None or name in names}
    for name, value in asked.items():
        if np.shape(value):
            raise ValueError(
                f"metrics of a {type(task).__name__} must be numbers, and {name!r} has the "
                f"shape {list(np.shape(value))}"
            )
    return asked


def asked_for(task: Any, found: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those metrics that are asked for, if they are there.

    Args:
        task: whose metrics they are.
        found: what its methods returned.
        names: what is asked for.

    Raises:
        ValueError: if one is missing.

    Example:
        >>> asked_for(None, {"loss": 0.5, "spread": 1.0}, ["loss"])
        {'loss': 0.5}
    """
    for name in names:
        if name not in found:
            raise ValueError(
                f"measure of a {type(task).__name__}, or what else returns metrics, must return "
                f"each of its variables, and {name!r} is missing"
            )
    return {name: found[name] for name in names}


def _kinds(rows: Any, skipped: int) -> Any:
    leaves, structure = jax.tree.flatten(rows)
    return structure, [(np.shape(x)[skipped:], jnp.result_type(x)) for x in leaves]


def _shown(rows: Any, skipped: int) -> str:
    """Types and shapes of rows for people, with `n` in place of leading dimensions."""

    def of_leaf(leaf: Any) -> str:
        lengths = ["n"] * bool(skipped) + [str(s) for s in np.shape(leaf)[skipped:]]
        return f"{jnp.result_type(leaf)}[{', '.join(lengths)}]"

    return str(jax.tree.map(of_leaf, rows)).replace("'", "")
