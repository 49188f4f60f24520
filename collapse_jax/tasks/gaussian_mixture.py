"""Mixtures of normal distributions, fitted by EM to their own samples."""

from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import Number, Table
from collapse_jax.tasks.base import AbstractTask, Data, Variable
from collapse_jax.tasks.parts import mixtures, seen, toys
from collapse_jax.tasks.parts.mixtures import Mixture
from collapse_jax.tasks.parts.tables import sample_size, split, standards
from collapse_jax.views import AbstractView, Masses, Points

_FORMS = ("full", "diag", "spherical")
_LOST = 0.5  # rows; modes of less are lost
_VARIABLES = {
    "nll": Variable("negative log-density of held-out real data under the model", "nat"),
    "variance_ratio": Variable("variance of the model relative to the truth", "1"),
    "modes": Variable("modes that are left", "modes"),
    "squared_error": Variable("squared error of the weights of modes", "1"),
}


class Fitted(NamedTuple):
    """A fitted mixture, and how many rows it was fitted to."""

    mixture: Mixture
    size: Float[Array, ""]


class GaussianMixture(AbstractTask):
    """A mixture of normal distributions, fitted by expectation and maximisation (EM).

    A fit starts from rows far apart (greedy k-means++), with `Fit(warm_start=True)` from the model
    before, and makes steps until the mean log-density of a row gains less than `tolerance`, at most
    `max_steps`. In each step `reg_covar` is added to all variances, which is their floor. There is
    no floor for weights: a component without rows has the weight 0, stays where it was, and a warm
    start does not bring it back.

    - `modes`: modes of the truth that the model still has, with half a row of weight at least. A
        mode has the weight of all components whose means are nearer to it than to the others. With
        `data`, whose modes nobody knows, the components that have half a row.
    - `squared_error`: that of the weights of modes; not with `data`.
    - `variance_ratio`: trace of the model's covariance over that of the truth, or of the training
        rows.

    Args:
        dataset: the truth: `"ring"`, 8 modes on a circle of radius 2; `"grid"`, 5 x 5 modes at
            distances of 2. All have the same weight. Without meaning where `means` are given.
        n_components: components of the models. Default the modes of the truth; it must be given
            with `data`.
        n_samples: rows per generation. Default 1000, with `data` all training rows.
        noise: standard deviation of the modes of the truth.
        means: means of other modes `[modes, dim]`.
        weights: their weights `[modes]`. Default all the same.
        covariance: form of the fitted covariances.
        max_steps: steps of EM at most.
        tolerance: gain of a step at which a fit ends.
        reg_covar: floor of the fitted variances, in squared units of the data; with `data` relative
            to the variance of each column.
        n_test: size of the held-out real test set (with `data` its test rows).
        data: rows of real data `[rows, dim]`. Columns are standardised first. Generation 1 draws
            `n_samples` of the training rows without replacement.
        test_fraction: share of the rows of `data` that is kept for tests.
        split_seed: seed of the split of `data` into training and test rows.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        arXiv 2305.17493 and arXiv 2412.17646 (mixtures in loops); the modes are those with which
        generators are compared (arXiv 2307.01850 has the grid).

    Example:
        >>> import collapse_jax as cj
        >>> cj.GaussianMixture("grid", n_samples=500).n_components
        25
    """

    n_samples: int
    noise: Any
    means: Any
    weights: Any
    tolerance: Any
    reg_covar: Any
    train: Array | None
    test: Array | None
    log_volume: np.ndarray
    """Logarithm of the product of the columns' standard deviations. `[1]`"""
    dim: int = eqx.field(static=True)
    dataset: str = eqx.field(static=True)
    n_components: int = eqx.field(static=True)
    covariance: Any = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    n_test: int = eqx.field(static=True)
    test_fraction: float = eqx.field(static=True)
    split_seed: int = eqx.field(static=True)

    takes_start: ClassVar[bool] = True

    @property
    def variables(self) -> dict[str, Variable]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The metrics, of which `squared_error` needs known modes."""
        known = self.train is None
        return {name: v for name, v in _VARIABLES.items() if known or name != "squared_error"}

    def __init__(
        self,
        dataset: Literal["ring", "grid"] = "ring",
        n_components: int | None = None,
        n_samples: int | Array | None = None,
        *,
        noise: Number = 0.05,
        means: Any = None,
        weights: Any = None,
        covariance: Literal["full", "diag", "spherical"] = "full",
        max_steps: int = 100,
        tolerance: Number = 1e-3,
        reg_covar: Number = 1e-6,
        n_test: int = 500,
        data: Table = None,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.dataset = checks.one_of("dataset", dataset, toys.MODES)
        self.covariance = checks.one_of("covariance", covariance, _FORMS)
        self.max_steps = checks.whole_number("max_steps", max_steps)
        self.tolerance = checks.positive_number("tolerance", tolerance, zero_allowed=True)
        self.noise = checks.positive_number("noise", noise)
        self.reg_covar = checks.positive_number("reg_covar", reg_covar)
        self.test_fraction, self.split_seed = test_fraction, split_seed
        self.train = self.test = self.means = self.weights = None
        self.log_volume = np.zeros(1)
        if data is None:
            self._set_truth(means, weights)
            self.n_components = checks.whole_number(
                "n_components", len(self.modes) if n_components is None else n_components
            )
            n_samples = 1000 if n_samples is None else n_samples
            self.n_samples = checks.whole_number("n_samples", n_samples, self.n_components)
            self.n_test = checks.whole_number("n_test", n_test)
            return
        if means is not None or weights is not None:
            raise ValueError("means and weights cannot be given together with data")
        if n_components is None:
            raise ValueError("n_components must be given together with data")
        rows = checks.finite_array("data", data, ndim=2)
        train, test = split(rows, test_fraction, split_seed)
        center, deviation = standards(train)
        self.dim, self.n_test = rows.shape[1], len(test)
        self.n_components = checks.whole_number("n_components", n_components)
        if self.n_components > len(train):
            raise ValueError(
                f"n_components must not exceed the {len(train)} training rows of data, got "
                f"{n_components}"
            )
        self.n_samples = sample_size(n_samples, len(train), self.n_components)
        self.log_volume = np.array([np.sum(np.log(deviation))])
        self.train, self.test = (
            jnp.asarray((part - center) / deviation, jnp.float32) for part in (train, test)
        )

    def _set_truth(self, means: Any, weights: Any) -> None:
        if means is not None:
            self.means = checks.finite_array("means", means, ndim=2)
        self.dim = self.modes.shape[1]
        if weights is None:
            return
        self.weights = checks.finite_array("weights", weights, ndim=1)
        if self.weights.shape != (len(self.modes),):
            raise ValueError(
                f"weights must have shape ({len(self.modes)},), got shape {self.weights.shape}"
            )
        if np.any(self.weights <= 0.0) or abs(self.weights.sum() - 1.0) > 1e-6:
            raise ValueError(
                f"weights must be positive and sum to 1, got a least one of "
                f"{self.weights.min():g} and a sum of {self.weights.sum():.9g}"
            )

    @property
    def modes(self) -> Any:
        """Means of the modes of the truth `[modes, dim]`."""
        return toys.MODES[self.dataset] if self.means is None else self.means

    @property
    def probabilities(self) -> Any:
        """Weights of the modes of the truth `[modes]`."""
        k = len(self.modes)
        return np.full(k, 1.0 / k) if self.weights is None else self.weights

    @property
    def population(self) -> int | None:
        """Number of real training rows where the task has data of its own, else None."""
        return None if self.train is None else len(self.train)

    @property
    def fewest_rows(self) -> int:
        return self.n_components

    @property
    def scratch_bytes(self) -> int:
        if checks.is_traced(self.n_samples):
            return 2**16
        return 4 * self.n_samples * self.n_components * (self.dim + 2)

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> Float[Array, "m d"]:
        """The held-out real rows."""
        return self._draw(key, self.n_test) if self.test is None else self.test

    @property
    def _truth(self) -> Mixture:
        modes = jnp.asarray(self.modes, jnp.float32)
        deviations = jnp.full(modes.shape, 1.0) * jnp.asarray(self.noise, jnp.float32)
        return Mixture(jnp.asarray(self.probabilities, jnp.float32), modes, deviations)

    def _draw(self, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        return mixtures.sample(self._truth, key, n)

    def real(
        self, world: Any, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> Float[Array, "n d"]:
        return self._draw(key, n) if self.train is None else self.train[index]

    def sample(
        self, world: Any, model: Fitted, key: Key[Array, ""], n: int, *, temperature: Any
    ) -> Float[Array, "n d"]:
        return mixtures.sample(model.mixture, key, n)

    def fit(self, world: Any, data: Data) -> Fitted:
        x, weight, key = data.rows, data.weight, data.key
        floor = jnp.asarray(self.reg_covar, jnp.float32)
        size = jnp.sum(weight)

        def fresh() -> Fitted:
            parts = (x, weight, self.n_components, self.covariance, floor)
            return Fitted(mixtures.seeded(key, *parts), size)  # pyright: ignore[reportArgumentType]

        start = data.start(fresh).mixture
        rules = (self.covariance, floor, self.max_steps, jnp.asarray(self.tolerance, jnp.float32))
        return Fitted(mixtures.improved(x, weight, start, *rules), size)

    def seen(
        self, world: Float[Array, "m d"], model: Fitted, rows: Float[Array, "n d"]
    ) -> dict[str, AbstractView]:
        mixture, real = model.mixture, seen.real_rows(self, world)
        if self.dim == 1:
            return seen.seen_as(rows, real)
        centers = mixture.means[:, :2]
        found = Points(rows[:, :2], real[:, :2], centers=centers, weights=mixture.weights)
        if self.train is not None:
            return {"rows": found}
        truth = jnp.asarray(self.probabilities, jnp.float32)
        return {"rows": found, "modes": Masses(self._masses(mixture), truth, title="mode")}

    def _masses(self, mixture: Mixture) -> Float[Array, " modes"]:
        """Weights of the modes of the truth."""
        modes = jnp.asarray(self.modes, jnp.float32)
        gaps = jnp.sum((mixture.means[:, None] - modes) ** 2, axis=2)
        return jnp.zeros(len(modes)).at[jnp.argmin(gaps, axis=1)].add(mixture.weights)

    def measure(self, world: Float[Array, "m d"], model: Fitted) -> dict[str, Float[Array, ""]]:
        mixture = model.mixture
        nll = jnp.asarray(self.log_volume[0], jnp.float32) - jnp.mean(
            mixtures.log_density(mixture, world)
        )
        if self.train is not None:
            whole, found, masses = float(self.dim), {}, mixture.weights
        else:
            whole, masses = mixtures.variance(self._truth), self._masses(mixture)
            error = jnp.sum((masses - jnp.asarray(self.probabilities, jnp.float32)) ** 2)
            found = {"squared_error": error}
        return found | {
            "nll": nll,
            "variance_ratio": mixtures.variance(mixture) / whole,
            "modes": jnp.sum(masses * model.size > _LOST, dtype=jnp.float32),
        }
