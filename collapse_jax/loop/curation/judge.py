"""What rows are judged by: as the user knows them, by their labels, by the real rows."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from collapse_jax.loop.curation.candidates import ROUNDS
from collapse_jax.numerics.kernels import squared_distances
from collapse_jax.tasks.base import AbstractTask, Rows, World

_BLOCK = 64  # real rows at a time, whose distances to all candidates are in memory


class Judge(NamedTuple):
    """The view that an operator has of rows."""

    task: AbstractTask
    world: World
    place: Callable[[Rows], Rows]
    """Rows in the coordinates of the chain, in those of the task."""
    real: Callable[[], tuple[Rows, Bool[Array, " m"] | None]]
    """The first real batch, in the coordinates of the task, and which rows of it count."""
    generation: Int[Array, ""] | int
    """That of the model whose rows these are."""
    on_host: bool = False
    """Whether rows are drawn and judged in Python, and not within a compiled program."""
    most: int = ROUNDS
    """How many rows are looked at for each that is accepted, before that is given up."""
    prompt: Callable[[Rows], Int[np.ndarray, " n"]] | None = None
    """The number of the prompt that each row continues, where rows continue some."""

    def of(self, function: Callable[..., Any], rows: Rows) -> Float[Array, " n"]:
        """A function of each row, as the user knows it; of a row and its label where it has one."""
        if drifts(function):
            function = partial(function, generation=self.generation)
        found = self.task.each(function, self.world, self.place(rows))
        return jnp.asarray(found, jnp.float32)

    def right(self, rows: Rows) -> Bool[Array, " n"]:
        """Whether the label of each row is the right one."""
        return self.task.is_right(self.world, self.place(rows))

    def distance(self, rows: Rows) -> Float[Array, " n"]:
        """Euclidean distance of each row, as the user knows it, to the nearest real one."""
        real, valid = self.real()
        known, new = self._flat(real), self._flat(self.place(rows))
        valid = jnp.ones(len(known), bool) if valid is None else valid
        more = -len(known) % _BLOCK
        known = jnp.pad(known, ((0, more), (0, 0))).reshape(-1, _BLOCK, known.shape[1])
        valid = jnp.pad(valid, (0, more)).reshape(-1, _BLOCK)

        def nearer(least, block):
            rows, valid = block
            squared = jnp.where(valid, squared_distances(new, rows), jnp.inf)
            return jnp.minimum(least, jnp.min(squared, axis=1)), None

        start = jnp.full(len(new), jnp.inf, jnp.float32)
        return jnp.sqrt(lax.scan(nearer, start, (known, valid))[0])

    def _flat(self, rows: Rows) -> Float[Array, "n d"]:
        leaves = jax.tree.leaves(self.task.shown(self.world, rows))
        parts = [jnp.asarray(x, jnp.float32).reshape(len(x), -1) for x in leaves]
        return jnp.concatenate(parts, axis=1)


def drifts(function: Callable[..., Any]) -> bool:
    """Whether a function of a row is told of the generation too.

    It is where it has an argument `generation`, by keyword only and without a default.

    Example:
        >>> drifts(lambda row, *, generation: generation * row), drifts(lambda row: row)
        (True, False)
    """
    found = of_generation(function)
    return found is not None and found.kind is found.KEYWORD_ONLY and found.default is found.empty


def of_generation(function: Callable[..., Any]) -> inspect.Parameter | None:
    """The argument `generation` of a function, where it has one."""
    try:
        return inspect.signature(function).parameters.get("generation")
    except (TypeError, ValueError):  # of a function without a signature, such as some of C
        return None
