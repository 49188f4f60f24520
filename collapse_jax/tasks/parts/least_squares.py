"""What regressions by least squares keep of a chain, and of a data set."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float

from collapse_jax.tasks.parts.designs import Design


class RegressionWorld(NamedTuple):
    """The truth, the test set and, where all generations share one, the design; or else None."""

    weights: Any
    """True coefficients `[d]`; None where they are not known."""
    test_factor: Any
    """Lower factor of the second moments of the test rows `[d, d]`; None with the user's data."""
    design: Design | None
    """The shared design; None where each generation has its own."""
    x: Any
    """All rows that are known: of the shared design, or the user's `[rows, d]`; else None."""
    order: Any
    """Which of them the shared design is `[n_samples]`."""


class LeastSquares(NamedTuple):
    """The least-squares fit of a data set and how much it weighs when sets are merged."""

    weight: Float[Array, ""] | Float[Array, "d d"]
    """With one shared design the number of copies of it, otherwise X'X."""
    coefficients: Float[Array, " d"]
    """Least-squares solution, of minimum norm where it is not unique."""
