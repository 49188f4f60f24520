"""Least squares on labels that the previous least-squares fit made."""

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.basics import checks, fingerprints
from collapse_jax.basics.annotations import Number, Pair
from collapse_jax.numerics import draws, linalg, threefry
from collapse_jax.numerics.minimum_norm import minimum_norm_solver
from collapse_jax.tasks.base import Data, Laws, Size, Variable
from collapse_jax.tasks.parts.designs import (
    FreshRows,
    KnownRows,
    checked_pair,
    design_of,
    deviation_of,
    label_unit,
    lower_of,
    rows_of,
    whiten,
    wishart_factor,
)
from collapse_jax.tasks.parts.least_squares import LeastSquares, RegressionWorld
from collapse_jax.tasks.parts.seen import lines
from collapse_jax.tasks.parts.tables import sample_size, split
from collapse_jax.tasks.sufficient import AbstractSufficient
from collapse_jax.views import AbstractView


class LinearRegression(AbstractSufficient):
    """Ordinary least squares, of minimum norm where there are fewer rows than coefficients.

    Truth: `y = x'w + eps` with `w ~ N(0, I)`, `x ~ N(0, I)`, `eps ~ N(0, noise)`. Each model labels
    the design matrix with its predictions plus fresh noise of the same variance. Under Replace and
    Accumulate only coefficients are drawn, `X^+ eps` from its own law, and no row exists.

    Args:
        dim: number of coefficients (taken from `data` where given). Default 10.
        n_samples: rows per generation. Default 100, with `data` all training rows.
        noise: variance of the label noise, without `data` at least 1e-9. Default 1, with `data` the
            residual variance of least squares on the training rows.
        design: `"fixed"` uses the same design matrix in every generation, as the paper does;
            `"fresh"` draws a new one each time.
        n_test: number of noiseless test rows, drawn once per chain.
        data: `(X, y)` with `X` `[rows, columns]` and `y` `[rows]`. Generation 1 fits real labels of
            `n_samples` training rows drawn without replacement; later ones relabel these rows.
            Columns and labels are standardised first, and least norm is meant in independent
            coordinates of these (of nearly linear labels, relative to the fit to all training
            rows). `test_error` is the mean squared error on the test rows and their real labels,
            which includes their own noise.
        fit_intercept: with `data`, add a column of ones.
        test_fraction: share of the rows of `data` kept for tests.
        split_seed: seed of the split of `data` into training and test rows.

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
    deviation: Any
    label_unit: Any
    data_digest: Any
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

    extrapolates: ClassVar[bool] = True
    error: ClassVar[str | None] = "test_error"

    variables: ClassVar[dict[str, Variable]] = {
        "test_error": Variable("mean squared error on test rows", "label units^2"),
    }

    def __init__(
        self,
        dim: int | None = None,
        n_samples: int | Array | None = None,
        *,
        noise: Number = None,
        design: Literal["fixed", "fresh"] = "fixed",
        n_test: int = 1000,
        data: Pair = None,
        fit_intercept: bool = True,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.design = checks.one_of("design", design, ("fixed", "fresh"))
        self.test_fraction, self.split_seed = test_fraction, split_seed
        self.fit_intercept = bool(fit_intercept)
        self.noise = 1.0 if noise is None else checks.positive_number("noise", noise)
        if data is None:
            n_samples = 100 if n_samples is None else n_samples
            self.dim = checks.whole_number("dim", 10 if dim is None else dim, maximum=linalg.MOST)
            self.n_samples = checks.whole_number("n_samples", n_samples)
            self.n_test = checks.whole_number("n_test", n_test)
            self.data_digest = self.train_x = self.train_y = self.test_x = self.test_y = None
            self.label_unit = label_unit(self.noise)
            self.deviation = deviation_of(self.noise) / self.label_unit
            return
        if design != "fixed":
            raise ValueError(f"design must be 'fixed' together with data, got {design!r}")
        x, y = checked_pair(data)
        self.dim = x.shape[1] + self.fit_intercept
        if dim is not None and dim != self.dim:
            raise ValueError(f"dim must be the {self.dim} columns of the design, got {dim}")
        parts = split(np.column_stack([x, y]), test_fraction, split_seed)
        self.data_digest = fingerprints.digest_array(*parts)
        self.n_samples = sample_size(n_samples, len(parts.train))
        self.n_test = len(parts.test)
        train, test = ((part[:, :-1], part[:, -1]) for part in parts)
        white = whiten(train, test, self.fit_intercept, self.n_samples)
        if noise is None:
            if white.residual is None:
                raise ValueError("noise must be given: least squares fits the data exactly")
            self.noise = white.residual
        self.label_unit, self.deviation = white.unit, deviation_of(self.noise) / white.unit
        self.train_x, self.train_y = jnp.float32(white.train_x), jnp.float32(white.train_y)
        self.test_x, self.test_y = jnp.float32(white.test_x), jnp.float32(white.test_y)

    @property
    def rank(self) -> int:
        """How many coefficients there are; fewer than columns where these are dependent."""
        return self.dim if self.train_x is None else self.train_x.shape[1]

    @property
    def units(self) -> dict[str, float]:
        return {"test_error": self.label_unit**2}

    @property
    def population(self) -> int | None:
        return None if self.train_x is None else len(self.train_x)

    @property
    def keeps_rows(self) -> bool:
        return False

    @property
    def scratch_bytes(self) -> int:
        return 4 * self.dim**2

    def laws(self, plan: Any) -> Laws:
        # A part of a shared design is no multiple of it, and has another law.
        sizes = np.concatenate([plan.real_rows[plan.real_rows > 0], plan.synthetic_rows])
        whole = np.all(sizes % plan.n_samples == 0) and plan.from_one_model
        law = self.design == "fresh" or bool(whole)
        return Laws(real=law and self.train_x is None, synthetic=law)

    def additive(self, grows: bool) -> bool:
        return True

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> RegressionWorld:
        design_key, test_key, weights_key = (threefry.fold_in(key, i) for i in range(3))
        if self.train_x is not None:
            design = design_of(lower_of(self.train_x[index]))
            return RegressionWorld(None, None, design, self.train_x, index)
        weights = draws.normal(weights_key, (self.dim,))
        weights = weights / jnp.asarray(self.label_unit, jnp.float32)
        test_factor = wishart_factor(test_key, self.n_test, self.dim) / jnp.sqrt(self.n_test)
        design, x, order = None, None, None
        if self.design == "fixed":
            factor = wishart_factor(design_key, self.n_samples, self.dim)
            design = design_of(factor)
            if rows:
                x, order = rows_of(factor, design_key, self.n_samples), jnp.arange(self.n_samples)
        return RegressionWorld(weights, test_factor, design, x, order)

    def real_statistic(self, world: RegressionWorld, key: Key[Array, ""], n: Size) -> LeastSquares:
        return self.sample_statistic(world, world.weights, key, n, temperature=None)

    def sample_statistic(
        self,
        world: RegressionWorld,
        model: Float[Array, " d"],
        key: Key[Array, ""],
        n: Size,
        *,
        temperature: Float[Array, ""] | None,
    ) -> LeastSquares:
        design, copies = world.design, jnp.asarray(n, jnp.float32) / self.n_samples
        if design is None:
            factor = wishart_factor(threefry.fold_in(key, 1), n, self.dim)
            design, copies = design_of(factor), jnp.ones(())
        noise = self._deviation(temperature) * draws.normal(key, (self.rank,)) / jnp.sqrt(copies)
        coefficients = design.basis @ (design.basis.T @ model) + design.spread @ noise
        weight = copies if self.design == "fixed" and self.train_x is None else design.gram * copies
        return LeastSquares(weight, coefficients)

    def _deviation(self, temperature: Float[Array, ""] | None) -> Float[Array, ""]:
        """Standard deviation of the labels' noise, in units of the device."""
        deviation = jnp.asarray(self.deviation, jnp.float32)
        return deviation if temperature is None else deviation * jnp.sqrt(temperature)

    def merge(
        self,
        world: RegressionWorld,
        parts: tuple[LeastSquares, LeastSquares],
        scales: Float[Array, "2"] | None,
    ) -> LeastSquares:
        first, second = parts
        weights = [first.weight, second.weight]
        if scales is not None:
            weights = [scales[0] * weights[0], scales[1] * weights[1]]
        weight = weights[0] + weights[1]
        gap = second.coefficients - first.coefficients
        if weight.ndim == 0:
            step = weights[1] / jnp.where(weight == 0.0, 1.0, weight) * gap
        else:
            step = minimum_norm_solver(weight)(weights[1] @ gap)
        return LeastSquares(weight, first.coefficients + step)

    def real(
        self, world: RegressionWorld, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> KnownRows | FreshRows:
        if self.train_x is not None:
            return KnownRows(index, self.train_y[index])
        rows = n if size is None else size
        if world.x is not None:
            index = jnp.resize(world.order, (n,))
            x = jnp.where((jnp.arange(n) < rows)[:, None], world.x[index], 0.0)
            factor = lower_of(x)
        else:
            index, design_key = None, threefry.fold_in(key, 1)
            factor = wishart_factor(design_key, rows, self.dim)
            x = rows_of(factor, design_key, n, size)
        # What the fit sees of the noise is what would be drawn where no rows are.
        basis = x @ design_of(factor).spread
        seen = draws.normal(key, (self.dim,))
        noise = draws.normal(threefry.fold_in(key, 2), (n,))
        noise = noise + basis @ (seen - basis.T @ noise)
        y = x @ world.weights + self._deviation(None) * noise
        return FreshRows(x, y) if index is None else KnownRows(index, y)

    def sample(
        self,
        world: RegressionWorld,
        model: Float[Array, " d"],
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> KnownRows | FreshRows:
        noise = self._deviation(temperature) * draws.normal(key, (n,))
        if world.x is not None:
            index = jnp.resize(world.order, (n,))  # again and again the same rows, in order
            return KnownRows(index, world.x[index] @ model + noise)
        x = draws.normal(threefry.fold_in(key, 1), (n, self.dim))
        return FreshRows(x, x @ model + noise)

    @property
    def shows_rows(self) -> bool:
        return self.train_x is None

    def shown(self, world: RegressionWorld, rows: KnownRows | FreshRows) -> tuple[Array, Array]:
        return world.x[rows.index] if isinstance(rows, KnownRows) else rows.x, rows.y

    def seen(self, world: RegressionWorld, model: Any, rows: Any) -> dict[str, AbstractView]:
        if self.test_x is not None:
            return lines(*(self.label_unit * jnp.stack([self.test_y, self.test_x @ model])))
        x, y = self.shown(world, rows)
        if self.dim > 1:
            return lines(x @ world.weights, x @ model)
        return lines(x[:, 0], y, ("covariate", "label"), model[0], world.weights[0])

    def relabel(
        self,
        world: RegressionWorld,
        model: Float[Array, " d"],
        rows: KnownRows | FreshRows,
        key: Key[Array, ""],
        *,
        temperature: Float[Array, ""] | None,
    ) -> KnownRows | FreshRows:
        x, _ = self.shown(world, rows)
        noise = self._deviation(temperature) * draws.normal(key, (len(x),))
        return rows._replace(y=x @ model + noise)

    def point(self, world: RegressionWorld, model: Float[Array, " d"]) -> Float[Array, " k"]:
        unit = np.float32(self.n_test) ** -0.5
        return world.test_factor.T @ model if self.test_x is None else self.test_x @ model * unit

    def summarise(
        self,
        world: RegressionWorld,
        rows: KnownRows | FreshRows,
        valid: Bool[Array, " n"] | None,
        *,
        size: Size,
    ) -> LeastSquares:
        x, y = self.shown(world, rows)
        if valid is not None:
            x, y = jnp.where(valid[:, None], x, 0.0), jnp.where(valid, y, 0.0)
        if self.train_x is None and len(x) >= 4 * self.dim:  # well conditioned
            solve = minimum_norm_solver(gram := x.T @ x)
        else:  # by the same factor, and so of the same rank, as the shared design
            gram, _, spread = design_of(lower_of(x))
            solve = lambda b: spread @ (spread.T @ b)  # noqa: E731
        coefficients = solve(x.T @ y)
        # One step of refinement; residuals of rows are more accurate than the normal equations'.
        return LeastSquares(gram, coefficients + solve(x.T @ (y - x @ coefficients)))

    def fit(self, world: RegressionWorld, data: Data) -> Float[Array, " d"]:
        return data.statistic.coefficients

    def measure(
        self, world: RegressionWorld, model: Float[Array, " d"]
    ) -> dict[str, Float[Array, ""]]:
        if self.test_x is not None:
            return {"test_error": jnp.mean((self.test_x @ model - self.test_y) ** 2)}
        return {"test_error": jnp.sum((world.test_factor.T @ (model - world.weights)) ** 2)}
