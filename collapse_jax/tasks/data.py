"""What a fit is given: the rows and their weights, and the steps to make."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

from collapse_jax.tasks.places import Places

# The parts of a task are pytrees of the task's own making; these names say which is meant.
World = PyTree
"""What is fixed for one chain before generation 1: the truth, the test set, a design matrix."""
Statistic = PyTree
"""What a fit needs to know of a data set; statistics of disjoint data sets can be merged."""
Rows = PyTree
"""A data set itself: arrays whose leading axis counts the rows."""
State = PyTree
"""All that a fit carries from one step to the next."""
Model = PyTree
"""A fitted model."""
Size = Int[Array, ""] | Float[Array, ""] | int
"""A number of rows, which need not be known when the program is compiled."""


class Data(NamedTuple):
    """What one generation is fitted to, as `AbstractTask.fit` receives it."""

    rows: Any
    """The rows, and perhaps others between them; None where no rows are kept."""
    places: Places
    """Which of the rows they are, and how to draw from them by their weight."""
    statistic: Statistic
    """Statistic of all of them, with their weights."""
    size: Float[Array, ""]
    """Their number; where they do not all weigh the same, as many as would do as well."""
    key: Any = None
    """For the random choices of a fit that makes any."""
    initial_key: Any = None
    """For a fresh start."""
    previous: Model | None = None
    """The model of the generation before, where fits start from it; None where they do not."""
    is_first: Any = None
    """Whether there is no generation before."""

    @property
    def weight(self) -> Float[Array, " n"]:
        """Weight of each of the rows, which is 0 for those that do not count; 1 on average."""
        return self.places.weights(len(jax.tree.leaves(self.rows)[0]))

    def in_order(self) -> Rows:
        """The rows, those that count first."""
        if self.places.in_order:
            return self.rows
        order = self.places.rows(jnp.arange(len(jax.tree.leaves(self.rows)[0])))
        return jax.tree.map(lambda x: x[order], self.rows)

    def start(self, fresh: Callable[[], Model]) -> Model:
        """What a fit starts from: the previous model where one is to be used, else a fresh one."""
        if self.previous is None:
            return fresh()
        return lax.cond(self.is_first, fresh, lambda: self.previous)


class Steps(NamedTuple):
    """Some of the steps of a fit; numbers that all chains share."""

    first: Size
    last: Size
    """The one after these."""
    n_train: Size
    """Rows of the training set."""
