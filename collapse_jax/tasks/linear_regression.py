"""Least squares on labels that the previous least-squares fit made."""

from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.numerics import draws, linalg
from collapse_jax.numerics.subsets import subset
from collapse_jax.tasks.base import AbstractTask, Training, Variable
from collapse_jax.tasks.tables import sample_size, split


class Design(NamedTuple):
    """A design matrix X, by what least squares needs of it."""

    gram: Float[Array, "d d"]
    """X'X."""
    basis: Float[Array, "d d"]
    """Orthonormal basis of the row space; columns beyond the rank are zero."""
    spread: Float[Array, "d d"]
    """`S` with `S S' = (X'X)^+`, so that `S z` has the law of `X^+ eps` for unit noise."""


class RegressionWorld(NamedTuple):
    """The truth, the test set and, where all generations share one, the design; or else None."""

    weights: Any
    """True coefficients `[d]`; None where they are not known."""
    test_factor: Any
    """Lower factor of the second moments of the test rows `[d, d]`; None with the user's data."""
    design: Design | None
    """The shared design; None where each generation has its own."""
    x: Any
    """Rows of the design `[n, d]`, where single rows will be asked for or are the user's."""
    y: Any
    """The user's labels of these rows `[n]`."""


class LeastSquares(NamedTuple):
    """The least-squares fit of a data set and how much it weighs when sets are merged."""

    weight: Float[Array, ""] | Float[Array, "d d"]
    """With one shared design the number of copies of it, otherwise X'X."""
    coefficients: Float[Array, " d"]
    """Least-squares solution, of minimum norm where it is not unique."""


class FixedRows(NamedTuple):
    """Rows of a shared design, by their number, with their labels."""

    index: Int[Array, " n"]
    y: Float[Array, " n"]


class FreshRows(NamedTuple):
    """Rows of a design drawn anew in each generation, with their labels."""

    x: Float[Array, "n d"]
    y: Float[Array, " n"]


class LinearRegression(AbstractTask):
    """Ordinary least squares, of minimum norm where there are fewer rows than coefficients.

    Truth: `y = x'w + eps` with `w ~ N(0, I)`, `x ~ N(0, I)`, `eps ~ N(0, noise)`. Each model labels
    the design matrix with its predictions plus fresh noise of the same variance. Under Replace and
    Accumulate only coefficients are drawn, `X^+ eps` from its own law, and no row exists.

    Args:
        dim: number of coefficients (taken from `data` where given). Default 10.
        n_samples: rows per generation. Default 100, with `data` all training rows.
        noise: variance of the label noise. Default 1, with `data` the residual variance of least
            squares on the training rows.
        design: `"fixed"` uses the same design matrix in every generation, as the paper does;
            `"fresh"` draws a new one each time.
        n_test: number of noiseless test rows, drawn once per chain.
        data: `(X, y)` with `X` `[rows, columns]` and `y` `[rows]`. Generation 1 fits real labels of
            `n_samples` training rows drawn without replacement; later generations relabel these
            rows. `test_error` is the mean squared error on the test rows and their real labels,
            which includes their own noise.
        fit_intercept: with `data`, add a column of ones.
        test_fraction: how `data` is split.
        split_seed: how `data` is split.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        arXiv 2410.16713, section 2.3; Gerstgrasser et al., arXiv 2404.01413.

    Example:
        >>> import collapse_jax as cj
        >>> cj.LinearRegression(dim=3, n_samples=50, noise=0.1).design
        'fixed'
    """

    n_samples: int
    noise: Any
    train_x: Any
    train_y: Any
    test_x: Any
    test_y: Any
    dim: int = eqx.field(static=True)
    design: str = eqx.field(static=True)
    n_test: int = eqx.field(static=True)
    fit_intercept: bool = eqx.field(static=True)
    test_fraction: float = eqx.field(static=True)
    split_seed: int = eqx.field(static=True)

    variables: ClassVar[dict[str, Variable]] = {
        "test_error": Variable("mean squared error on test rows", "label units^2"),
    }

    def __init__(
        self,
        dim: int | None = None,
        n_samples: int | Array | None = None,
        *,
        noise: Any = None,
        design: Literal["fixed", "fresh"] = "fixed",
        n_test: int = 1000,
        data: Any = None,
        fit_intercept: bool = True,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.design = checks.one_of("design", design, ("fixed", "fresh"))
        self.test_fraction, self.split_seed = test_fraction, split_seed
        self.fit_intercept = bool(fit_intercept)
        self.noise = 1.0 if noise is None else checks.positive_number("noise", noise)
        if data is None:
            self.dim = checks.whole_number("dim", 10 if dim is None else dim)
            self.n_samples = checks.whole_number(
                "n_samples", 100 if n_samples is None else n_samples
            )
            self.n_test = checks.whole_number("n_test", n_test)
            self.train_x = self.train_y = self.test_x = self.test_y = None
            return
        if design != "fixed":
            raise ValueError(f"design must be 'fixed' together with data, got {design!r}")
        x, y = _checked_pair(data)
        if self.fit_intercept:
            x = np.column_stack([x, np.ones(len(x))])
        self.dim = x.shape[1]
        if dim is not None and dim != self.dim:
            raise ValueError(f"dim must be the {self.dim} columns of the design, got {dim}")
        train, test = split(np.column_stack([x, y]), test_fraction, split_seed)
        self.n_samples = sample_size(n_samples, len(train))
        self.n_test = len(test)
        if noise is None:
            solution = np.linalg.lstsq(train[:, :-1], train[:, -1])[0]
            residual = train[:, -1] - train[:, :-1] @ solution
            self.noise = float(residual @ residual / max(len(train) - self.dim, 1))
            if not self.noise > 0.0:
                raise ValueError("noise must be given: least squares fits the data exactly")
        self.train_x, self.train_y = _float32(train[:, :-1]), _float32(train[:, -1])
        self.test_x, self.test_y = _float32(test[:, :-1]), _float32(test[:, -1])

    @property
    def population(self) -> int | None:
        """Number of real training rows where the task has data of its own, else None."""
        return None if self.train_x is None else len(self.train_x)

    @property
    def keeps_rows(self) -> bool:
        return False

    @property
    def dynamic_size(self) -> bool:
        return self.train_x is None

    @property
    def scratch_bytes(self) -> int:
        return 4 * self.dim**2

    def additive(self, grows: bool) -> bool:
        return True

    def world(self, key: Key[Array, ""], rows: bool) -> RegressionWorld:
        design_key, test_key, weights_key = (jax.random.fold_in(key, i) for i in range(3))
        if self.train_x is not None:
            index = subset(design_key, len(self.train_x), self.n_samples)
            x, y = self.train_x[index], self.train_y[index]
            return RegressionWorld(None, None, _design(linalg.qr_lower(x)), x, y)
        weights = draws.normal(weights_key, (self.dim,))
        test_factor = _wishart_factor(test_key, self.n_test, self.dim) / jnp.sqrt(self.n_test)
        design, x = None, None
        if self.design == "fixed" and rows:
            x = draws.normal(design_key, (self.n_samples, self.dim))
            design = _design(linalg.qr_lower(x))
        elif self.design == "fixed":
            design = _design(_wishart_factor(design_key, self.n_samples, self.dim))
        return RegressionWorld(weights, test_factor, design, x, None)

    def real_statistic(self, world: RegressionWorld, key: Key[Array, ""]) -> LeastSquares:
        if world.y is not None:
            fit = self.summarise(world, self.real_rows(world, key), jnp.asarray(self.n_samples))
            return LeastSquares(jnp.ones(()), fit.coefficients)
        return self.sample_statistic(world, world.weights, key)

    def sample_statistic(
        self, world: RegressionWorld, model: Float[Array, " d"], key: Key[Array, ""]
    ) -> LeastSquares:
        design = world.design
        if design is None:
            factor = _wishart_factor(jax.random.fold_in(key, 1), self.n_samples, self.dim)
            design = _design(factor)
        noise = jnp.sqrt(self.noise) * draws.normal(key, (self.dim,))
        coefficients = design.basis @ (design.basis.T @ model) + design.spread @ noise
        weight = design.gram if world.design is None else jnp.ones(())
        return LeastSquares(weight, coefficients)

    def extend_statistic(
        self,
        world: RegressionWorld,
        statistic: LeastSquares,
        model: Float[Array, " d"],
        key: Key[Array, ""],
    ) -> LeastSquares:
        return self.merge(world, statistic, self.sample_statistic(world, model, key))

    def merge(
        self, world: RegressionWorld, first: LeastSquares, second: LeastSquares
    ) -> LeastSquares:
        weight = first.weight + second.weight
        gap = second.coefficients - first.coefficients
        step = (
            second.weight / weight * gap
            if weight.ndim == 0
            else linalg.minimum_norm_solver(weight)(second.weight @ gap)
        )
        return LeastSquares(weight, first.coefficients + step)

    def real_rows(self, world: RegressionWorld, key: Key[Array, ""]) -> FixedRows | FreshRows:
        if world.y is not None:
            return FixedRows(jnp.arange(self.n_samples), world.y)
        return self.sample_rows(world, world.weights, key)

    def sample_rows(
        self, world: RegressionWorld, model: Float[Array, " d"], key: Key[Array, ""]
    ) -> FixedRows | FreshRows:
        noise = jnp.sqrt(self.noise) * draws.normal(key, (self.n_samples,))
        if world.x is not None:
            return FixedRows(jnp.arange(self.n_samples), world.x @ model + noise)
        x = draws.normal(jax.random.fold_in(key, 1), (self.n_samples, self.dim))
        return FreshRows(x, x @ model + noise)

    def summarise(
        self, world: RegressionWorld, rows: FixedRows | FreshRows, n_train: Int[Array, ""]
    ) -> LeastSquares:
        x = world.x[rows.index] if isinstance(rows, FixedRows) else rows.x
        gram = x.T @ x
        solve = linalg.minimum_norm_solver(gram)
        coefficients = solve(x.T @ rows.y)
        # One step of refinement; residuals of rows are more accurate than the normal equations'.
        coefficients = coefficients + solve(x.T @ (rows.y - x @ coefficients))
        return LeastSquares(gram, coefficients)

    def fit(self, world: RegressionWorld, training: Training) -> Float[Array, " d"]:
        return training.statistic.coefficients

    def measure(
        self, world: RegressionWorld, model: Float[Array, " d"]
    ) -> dict[str, Float[Array, ""]]:
        if self.test_x is not None:
            return {"test_error": jnp.mean((self.test_x @ model - self.test_y) ** 2)}
        return {"test_error": jnp.sum((world.test_factor.T @ (model - world.weights)) ** 2)}


def _wishart_factor(key: Key[Array, ""], n: Any, dim: int) -> Float[Array, "d d"]:
    """Lower factor of X'X for a design X of `n` standard normal rows."""
    log_diag, below, _ = draws.bartlett(key, jnp.asarray(n, jnp.float32), dim)
    return below + jnp.diag(jnp.exp(log_diag))


def _design(factor: Float[Array, "d d"]) -> Design:
    """What least squares needs of a design with `X'X = factor factor'`."""
    inverse = linalg.triangular_inverse(linalg.qr_lower(factor))
    basis = factor @ inverse.T
    return Design(factor @ factor.T, basis, basis @ inverse)


def _checked_pair(data: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise TypeError("data must be a pair (X, y) of an array [rows, columns] and one [rows]")
    x = checks.finite_array("data[0]", data[0], ndim=2)
    y = checks.finite_array("data[1]", data[1], ndim=1)
    if len(x) != len(y):
        raise ValueError(f"data must have as many labels as rows, got {len(x)} and {len(y)}")
    return x, y


def _float32(array: np.ndarray) -> Float[Array, "..."]:
    return jnp.asarray(array, jnp.float32)
