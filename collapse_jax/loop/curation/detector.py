"""A score that is trained in each generation: how real a row looks beside those of a model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from collapse_jax.basics import checks
from collapse_jax.loop.curation.candidates import Draw
from collapse_jax.loop.curation.judge import Judge
from collapse_jax.loop.schedules import Numbered
from collapse_jax.numerics.softmax import best_weights


@dataclass(frozen=True)
class Detector(Numbered):
    """Tells real rows from generated ones, and is trained anew in each generation.

    Stands in the place of the function of an operator: `BestOf(Detector(), 4)`,
    `Filter(Detector(), 0.5)`, `Threshold(Detector(), 0.0)`. The score of a row is its log-odds of
    being real by a logistic regression on the chain's first real rows and as many candidates as a
    batch has, both weighing the same. It is an estimate of the logarithm of the ratio of their
    densities: `BestOf` of many candidates gives real rows back, as far as the features say, and of
    rows like the real ones it takes any.

    Args:
        features: a JAX function of one row (and its label) that returns a vector; of language
            models a Python function of a text. None for the numbers of a row and their squares.
        penalty: what half the square of a weight costs, of features that are scaled to a variance
            of 1, beside the sum of the losses of all rows (scikit-learn's `1 / C`).

    Raises:
        ValueError: if `penalty` is not a positive number.

    Example:
        >>> import collapse_jax as cj
        >>> made = cj.Synthetic(temperature=0.5, curation=cj.BestOf(cj.Detector(), 8))
        >>> loop, task = cj.Workflow(synthetic=made), cj.Gaussian(1, 500)
        >>> ds = cj.simulate(loop, task, 2, 20, progress=False)
        >>> bool(ds.trace_ratio.mean("seed")[1] > 0.7)  # 0.5 without
        True
    """

    features: Callable[..., Any] | None = None
    penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.features is not None and not callable(self.features):
            raise TypeError(f"Detector.features must be a function, got {self.features!r}")
        checks.positive_number("Detector.penalty", self.penalty)

    def __call__(self, *row: Any) -> Any:
        """The features of a row, as the user knows it, before they are scaled."""
        if self.features is not None:
            return self.features(*row)
        return jnp.concatenate([jnp.ravel(x).astype(jnp.float32) for x in jax.tree.leaves(row)])

    def trained(self, draw: Draw, judge: Judge, key: Key[Array, ""], n: int) -> "Trained":
        """The detector of a generation.

        Args:
            draw: makes candidates.
            judge: what is known of rows.
            key: the key of the candidates that it is trained on.
            n: how many of these there are.
        """
        (real, valid), new = judge.real(), judge.place(draw(key, n).rows)
        parts = [jnp.asarray(judge.task.each(self, judge.world, rows)) for rows in (real, new)]
        x = jnp.concatenate([part.astype(jnp.float32).reshape(len(part), -1) for part in parts])
        m = len(x) - n
        is_real = jnp.ones(m) if valid is None else jnp.float32(valid)
        n_real = jnp.sum(is_real)
        share = (n_real + n) / 2.0
        counts = jnp.zeros((2, m + n)).at[1, :m].set(is_real / n_real * share)
        counts = counts.at[0, m:].set(share / n)
        weight = jnp.sum(counts, axis=0)[:, None] / (2.0 * share)
        x = jnp.where(weight > 0.0, x, 0.0)  # features of no row may be anything
        mean = jnp.sum(weight * x, axis=0)
        scale = jnp.sqrt(jnp.sum(weight * (x - mean) ** 2, axis=0))
        scale = jnp.where(scale > 0.0, scale, 1.0)
        score = Trained(self, mean, scale, jnp.zeros(0))
        scaled = jnp.concatenate([jnp.ones((m + n, 1)), score.scaled(x)], axis=1)
        ridge = jnp.full(scaled.shape[1], self.penalty).at[0].set(0.0)
        start = jnp.zeros((1, scaled.shape[1]))
        weights = best_weights(scaled, counts, ridge, start).weights[0]
        found = score._replace(weights=weights)
        return found.of_numpy() if judge.on_host else found


class Trained(NamedTuple):
    """A detector with the weights of a generation, a function of a row."""

    detector: Detector
    mean: Float[Array, " f"]
    scale: Float[Array, " f"]
    weights: Float[Array, " g"]
    """The first is that of 1."""

    def of_numpy(self) -> "Trained":
        """The same for rows in Python, one after the other."""
        return self._replace(
            mean=np.asarray(self.mean),
            scale=np.asarray(self.scale),
            weights=np.asarray(self.weights),
        )

    def scaled(self, x: Any) -> Any:
        """Features as weights are for them. `[..., g - 1]`"""
        x = (x - self.mean) / self.scale
        if self.detector.features is not None:
            return x
        return jnp.concatenate([x, x**2], axis=-1)  # of rows that are no texts

    def __call__(self, *row: Any) -> Any:
        """Log-odds of a row that it is real."""
        found = self.detector(*row)
        numpy = isinstance(self.weights, np.ndarray)
        x = np.asarray(found, np.float32) if numpy else jnp.asarray(found, jnp.float32)
        return self.scaled(x.reshape(-1)) @ self.weights[1:] + self.weights[0]
