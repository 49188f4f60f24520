"""Maximum likelihood for a multivariate normal distribution."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.basics import checks, fingerprints
from collapse_jax.basics.annotations import Numbers, Table
from collapse_jax.basics.deferred import Deferred
from collapse_jax.numerics import draws, linalg, threefry
from collapse_jax.tasks.base import Data, Laws, Size, Variable
from collapse_jax.tasks.parts.axes import Axes, axes_of, whiten
from collapse_jax.tasks.parts.normal import (
    AffineCoordinates,
    Moments,
    Normal,
    SummedMoments,
    checked_mean,
    moments_of,
    standard_moments,
)
from collapse_jax.tasks.parts.tables import sample_size, split
from collapse_jax.tasks.sufficient import AbstractSufficient

NLL = Variable("negative log-likelihood of real data under the model", "nat")
_ROWS = 2**31  # what sets the keys of rows apart from those of their moments
_Z_TAIL, _Z_RANGE = 1.959964, 2.575829  # 5 % and 1 % of a standard normal are beyond


class Gaussian(AbstractSufficient):
    """A multivariate normal distribution fitted by its mean and covariance.

    The chain runs in coordinates in which the truth is standard normal, which changes nothing in
    law because both estimators are affine equivariant. Mean and scatter of `n_samples` draws are
    themselves drawn, by Bartlett's decomposition, so that under Replace and Accumulate a generation
    costs O(dim^3) whatever `n_samples` is, and models are products of random triangular matrices.

    Tails and range are those along the truth's principal axes, one at a time and on average:
    `tail_coverage` is the share of the outer 5 % that lies in the model's central 99 % (0.8 for the
    true model), and `hallucinated` the model's mass beyond the truth's central 99 % (0.01).

    Args:
        dim: dimension, at least 1 (taken from `data` where given).
        n_samples: rows per generation, at least 2; below `dim + 1` covariances are singular, and
            stay so exactly. Default 100, with `data` all training rows.
        mean: true mean, a number or `[dim]`.
        covariance: true covariance: a positive number, `[dim]` positive variances, or a symmetric
            positive semi-definite `[dim, dim]`.
        estimator: `"mle"` divides the scatter by n, `"unbiased"` by n - 1.
        data: rows of real data `[rows, dim]` instead of the true distribution. Generation 1 draws
            `n_samples` of its training rows without replacement; the truth is the training rows'
            mean and (biased) covariance, and `nll` is measured on the test rows.
        test_fraction: share of the rows of `data` that is kept for tests.
        split_seed: seed of the split of `data` into training and test rows.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        arXiv 2410.16713, section 2.1; theory in `collapse_jax.theory.gaussian`.

    Example:
        >>> import collapse_jax as cj
        >>> cj.Gaussian(dim=3, n_samples=50, covariance=[1.0, 2.0, 3.0]).dim
        3
    """

    n_samples: int
    mean: Any
    covariance: Any
    axes: Axes
    data_digest: Any
    train: Array | None
    test_rows: Array | None
    test: Normal | None
    dim: int = eqx.field(static=True)
    estimator: str = eqx.field(static=True)
    test_fraction: float = eqx.field(static=True)
    split_seed: int = eqx.field(static=True)

    extrapolates: ClassVar[bool] = True
    error: ClassVar[str | None] = "squared_error_mean"

    variables: ClassVar[dict[str, Variable]] = {
        "squared_error_mean": Variable("squared error of the mean", "data units^2"),
        "trace_ratio": Variable("trace of the covariance relative to the truth", "1"),
        "log_det_ratio": Variable("log-determinant of the covariance minus the truth's", "nat"),
        "wasserstein2": Variable("squared 2-Wasserstein distance to the truth", "data units^2"),
        "nll": NLL,
        "tail_coverage": Variable("share of the real tails that the model covers", "1"),
        "hallucinated": Variable("share of generated data outside the real data's range", "1"),
    }

    def __init__(
        self,
        dim: int | None = None,
        n_samples: int | Array | None = None,
        *,
        mean: Numbers = 0.0,
        covariance: Numbers = 1.0,
        estimator: Literal["mle", "unbiased"] = "mle",
        data: Table = None,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.estimator = checks.one_of("estimator", estimator, ("mle", "unbiased"))
        self.test_fraction, self.split_seed = test_fraction, split_seed
        if data is None:
            dim = 1 if dim is None else dim
            self.dim = checks.whole_number("dim", dim, maximum=linalg.MOST)
            self.n_samples = checks.whole_number(
                "n_samples", 100 if n_samples is None else n_samples, minimum=2
            )
            self.mean = checked_mean(mean, self.dim)
            self.covariance, self.axes = axes_of(covariance, self.dim)
            self.data_digest = self.train = self.test_rows = self.test = None
        else:
            given = ((mean, 0.0), (covariance, 1.0))
            if not all(isinstance(value, float) and value == usual for value, usual in given):
                raise ValueError("mean and covariance cannot be given together with data")
            self._set_data(data, dim, n_samples)

    def _set_data(self, rows: Any, dim: int | None, n_samples: Any) -> None:
        rows = checks.finite_array("data", rows, ndim=2)
        self.dim = rows.shape[1]
        if dim is not None and dim != self.dim:
            raise ValueError(f"dim must be the {self.dim} columns of data, got {dim}")
        train, test = split(rows, self.test_fraction, self.split_seed)
        self.data_digest = fingerprints.digest_array(rows)
        self.n_samples = sample_size(n_samples, len(train), minimum=2)
        self.mean, self.covariance, self.axes, *parts, self.test = whiten(train, test)
        self.train, self.test_rows = (jnp.asarray(part, jnp.float32) for part in parts)

    @property
    def units(self) -> dict[str, float]:
        """Lengths are multiples of a power of two on the device."""
        return dict.fromkeys(("squared_error_mean", "wasserstein2"), self.axes.unit**2)

    @property
    def row_unit(self) -> float:
        return self.axes.unit

    @property
    def population(self) -> int | None:
        return None if self.train is None else len(self.train)

    @property
    def keeps_rows(self) -> bool:
        return False

    @property
    def scratch_bytes(self) -> int:
        return 4 * self.dim**2

    def laws(self, plan: Any) -> Laws:
        # The truth's share of a mixture is drawn from the user's rows, where there are any.
        return Laws(real=self.train is None, synthetic=self.train is None or plan.from_one_model)

    def additive(self, grows: bool) -> bool:
        return True

    def summable(self, plan: Any) -> bool:
        # With four times as many random rows as columns a covariance is well conditioned.
        return self.train is None and bool(np.all(plan.effective_size >= 4 * self.dim))

    def summand(self, statistic: Moments) -> SummedMoments:
        return SummedMoments.of(statistic)

    @property
    def coordinates(self) -> AffineCoordinates:
        return AffineCoordinates(self.dim)

    def real_statistic(self, world: Any, key: Key[Array, ""], n: Size) -> Moments:
        return standard_moments(key, n, self.dim)

    def sample_statistic(
        self,
        world: Any,
        model: Normal,
        key: Key[Array, ""],
        n: Size,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Moments:
        n, standard = standard_moments(key, n, self.dim)
        return Moments(n, model.widened(temperature).transform(standard))

    def extend_statistic(
        self,
        world: Any,
        statistic: Moments,
        model: Normal,
        key: Key[Array, ""],
        n: Size,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Moments:
        # In coordinates in which the model is standard normal, the moments kept so far are 0 and a
        # multiple of I. Their sum with the new ones has condition number O(1) whatever the model,
        # so a Cholesky factor of it is accurate, and singular directions stay exactly singular.
        n, fresh = standard_moments(key, n, self.dim)
        if temperature is not None:
            fresh = fresh.scaled(jnp.sqrt(temperature))
        total = statistic.n + n
        kept = statistic.n / total
        own = (statistic.n - 1.0) / statistic.n if self.estimator == "unbiased" else 1.0
        covariance = (
            kept * own * jnp.eye(self.dim)
            + (1.0 - kept) * (fresh.factor @ fresh.factor.T)
            + kept * (1.0 - kept) * jnp.outer(fresh.mean, fresh.mean)
        )
        joint = Normal.from_factor((1.0 - kept) * fresh.mean, linalg.cholesky(covariance))
        return Moments(total, model.transform(joint))

    def merge(
        self,
        world: Any,
        parts: tuple[Moments | SummedMoments, Moments | SummedMoments],
        scales: Float[Array, "2"] | None,
    ) -> Moments | SummedMoments:
        first, second = parts
        if isinstance(first, SummedMoments) and isinstance(second, SummedMoments):
            return first.merged(second, scales)
        sizes = (first.n, second.n)
        if scales is not None:
            sizes = (first.n * scales[0], second.n * scales[1])
        total = sizes[0] + sizes[1]
        weight = sizes[1] / jnp.where(total > 0.0, total, 1.0)
        gap = second.normal.mean - first.normal.mean
        stacked = jnp.concatenate(
            [
                jnp.sqrt(1.0 - weight) * first.normal.factor.T,
                jnp.sqrt(weight) * second.normal.factor.T,
                jnp.sqrt(weight * (1.0 - weight)) * gap[None, :],
            ]
        )
        mean = (1.0 - weight) * first.normal.mean + weight * second.normal.mean
        # Means are rounded, and so is the gap between them.
        lengths = jnp.abs(first.normal.mean) + jnp.abs(second.normal.mean)
        reference = jnp.sqrt(weight * (1.0 - weight)) * lengths
        factor = linalg.qr_lower(stacked, reference=reference)
        return Moments(total, Normal.from_factor(mean, factor))

    def real(
        self, world: Any, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> Float[Array, "n d"]:
        if self.train is not None:
            return self.train[index]
        # With the very moments that would be drawn where no rows are, so that loops with and
        # without rows start from the same model.
        n_valid = n if size is None else size
        raw = draws.normal(threefry.fold_in(key, _ROWS), (self.dim, n)).T
        return standard_moments(key, n_valid, self.dim).normal.rows_like(raw, n_valid)

    def sample(
        self,
        world: Any,
        model: Normal,
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Float[Array, "n d"]:
        # Drawn with the long axis last, which is what the compiler vectorises.
        standard = draws.normal(key, (self.dim, n))
        return model.mean + jnp.einsum("kn,dk->nd", standard, model.widened(temperature).factor)

    def shown(self, world: Any, rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return jnp.asarray(self.mean, jnp.float32) + self.axes.unit * self.spaced(rows)

    def log_density(
        self, world: Any, model: Normal, rows: Float[Array, "n d"]
    ) -> Float[Array, " n"]:
        return model.log_density(rows)

    def extrapolate(
        self, world: Any, model: Normal, before: Normal, weight: Float[Array, ""]
    ) -> Normal:
        return before.extrapolated(model, weight)

    def point(self, world: Any, model: Normal) -> Float[Array, " d"]:
        return self.axes.spread(model.mean)

    def held_out(self, world: Any, key: Key[Array, ""]) -> Float[Array, "n d"]:
        return super().held_out(world, key) if self.test_rows is None else self.test_rows

    def spaced(self, rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return self.axes.turn(self.axes.spread(rows.T)).T

    def summarise(
        self, world: Any, rows: Float[Array, "n d"], valid: Bool[Array, " n"] | None, *, size: Size
    ) -> Moments:
        # The user's rows may be near to singular in any part of them, which a product would hide.
        return moments_of(rows, valid, linalg.gram_lower if self.train is None else linalg.qr_lower)

    def fit(self, world: Any, data: Data) -> Normal:
        normal = data.statistic.normal
        if self.estimator == "mle":
            return normal
        n = jnp.maximum(data.size, 1.0 + 1e-6)  # one row has no spread, whatever it is divided by
        return normal._replace(log_diag=normal.log_diag + 0.5 * jnp.log(n / (n - 1.0)))

    def measure(self, world: Any, model: Normal) -> Mapping[str, Float[Array, ""]]:
        squared_error = jnp.sum(self.axes.spread(model.mean) ** 2)
        spread = jnp.sum(self.axes.spread(model.factor) ** 2)
        return Deferred(
            {
                "squared_error_mean": squared_error,
                "trace_ratio": spread / self.axes.trace(self.dim),
                "log_det_ratio": 2.0 * jnp.sum(model.log_diag),
            },
            wasserstein2=lambda: squared_error + self.axes.bures(model),
            nll=lambda: self._nll(model),
            tail_coverage=lambda: model.reach_beyond(_Z_TAIL, _Z_RANGE) / 0.05,
            hallucinated=lambda: model.beyond(_Z_RANGE),
        )

    def _nll(self, model: Normal) -> Float[Array, ""]:
        """Expected negative log-density of the truth, or of the test rows, under the model."""
        test = Normal(jnp.zeros(self.dim), jnp.eye(self.dim), jnp.zeros(self.dim))
        test = test if self.test is None else self.test
        columns = jnp.column_stack([test.factor, test.mean - model.mean])
        solved = linalg.triangular_inverse(model.lower) @ columns
        quadratic = jnp.sum(jnp.exp(-2.0 * model.log_diag) * jnp.sum(solved**2, axis=1))
        nll = 0.5 * (self.dim * jnp.log(2.0 * jnp.pi) + quadratic) + jnp.sum(model.log_diag)
        return jnp.where(jnp.any(jnp.isneginf(model.log_diag)), jnp.inf, nll + self.axes.log_volume)
