"""Maximum likelihood for the mean of an exponential family with one parameter."""

from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import Number, Table
from collapse_jax.numerics.families import Family, Kind, pooled
from collapse_jax.tasks.base import Data, Laws, Size, Variable
from collapse_jax.tasks.parts.family_rows import LARGEST_COUNT, checked_rows, law_of, mean_loss
from collapse_jax.tasks.parts.tables import sample_size, split
from collapse_jax.tasks.sufficient import AbstractSufficient
from collapse_jax.views import AbstractView

FamilyName: TypeAlias = Literal[
    "poisson", "exponential", "bernoulli", "geometric", "gamma", "binomial", "negative_binomial"
]
# What each is a special case of, and the argument that says which.
_KINDS: dict[str, tuple[Kind, str | None]] = {
    "poisson": ("poisson", None),
    "exponential": ("gamma", None),
    "bernoulli": ("binomial", None),
    "geometric": ("negative_binomial", None),
    "gamma": ("gamma", "shape"),
    "binomial": ("binomial", "size"),
    "negative_binomial": ("negative_binomial", "size"),
}


class Sample(NamedTuple):
    """The sufficient statistic of a set of rows."""

    n: Float[Array, ""]
    """Their number, or weight."""
    logs: Float[Array, " k"]
    """Their mean, as `numerics.families` has it; a model is that alone."""


class ExponentialFamily(AbstractSufficient):
    """A one-parameter exponential family fitted by the mean of its rows, which is its best fit.

    The variance of a row is a quadratic function of the mean, so that errors are known exactly at
    any sample size. The sum of a batch is drawn by its own law, at a cost that does not depend on
    `n_samples`. The chain keeps the logarithm of the mean relative to the true one: means that
    shrink for thousands of generations stay finite, and so do errors that are small.

    A chain is extinct once its mean is at the end of its range, from where no sample leads away: 0
    for counts, for `"bernoulli"` and `"binomial"` also the largest value. Where real data have what
    such a model excludes, `nll` is infinite. Models have no temperature: a wider law with the same
    mean is not of the family.

    Args:
        family: of the rows: `"poisson"`, `"exponential"`, `"bernoulli"`, `"geometric"` (counted
            from 0), `"gamma"` of known shape, `"binomial"` or `"negative_binomial"` of known size.
        mean: true mean, inside its range (taken from `data` where given). Default 1, for
            `"bernoulli"` and `"binomial"` half of the largest value.
        n_samples: rows per generation. Default 100, with `data` all training rows.
        shape: shape of `"gamma"`, whose variance is its squared mean over the shape.
        size: largest value of `"binomial"`; for `"negative_binomial"` a positive number r, with the
            variance mean + mean^2 / r.
        data: real rows, a vector or a table of one column: counts, or positive numbers for
            `"exponential"` and `"gamma"`. Generation 1 draws `n_samples` of the training rows
            without replacement; the truth is the training rows, and `nll` is measured on the
            test rows.
        test_fraction: share of the rows of `data` that is kept for tests.
        split_seed: seed of the split of `data` into training and test rows.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        Morris, Ann. Stat. 10:65, 1982 (the families); arXiv 2410.22812 (their loops);
        arXiv 2412.17646 (extinction); theory in `collapse_jax.theory.families`.

    Example:
        >>> import collapse_jax as cj
        >>> cj.ExponentialFamily("gamma", mean=3.0, shape=2.0).mean
        3.0
    """

    n_samples: int
    mean: Any
    shape: Any
    size: Any
    data_mean: Any
    data_variance: Any
    train: Array | None
    test_mean: Any
    test_nll: Any
    family: str = eqx.field(static=True)
    test_fraction: float = eqx.field(static=True)
    split_seed: int = eqx.field(static=True)

    takes_temperature: ClassVar[bool] = False
    extrapolates: ClassVar[bool] = True
    error: ClassVar[str | None] = "squared_error"

    variables: ClassVar[dict[str, Variable]] = {
        "squared_error": Variable("squared error of the mean", "data units^2"),
        "nll": Variable("negative log-likelihood of real data under the model", "nat"),
        "extinct": Variable("whether the mean is at the end of its range", "1"),
        "log_mean_ratio": Variable("logarithm of the mean relative to the truth", "nat"),
    }

    def __init__(
        self,
        family: FamilyName = "poisson",
        mean: Number = None,
        n_samples: int | Array | None = None,
        *,
        shape: Number = None,
        size: Number = None,
        data: Table = None,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.family = checks.one_of("family", family, _KINDS)
        self.shape = self._checked_parameter("shape", shape)
        self.size = self._checked_parameter("size", size)
        self.test_fraction, self.split_seed = test_fraction, split_seed
        if data is None:
            self.mean = self._checked_mean(mean)
            n_samples = 100 if n_samples is None else n_samples
            self.n_samples = checks.whole_number("n_samples", n_samples)
            self.train = self.data_mean = self.data_variance = None
            self.test_mean = self.test_nll = None
        else:
            if mean is not None:
                raise ValueError("mean cannot be given together with data")
            self._set_data(data, n_samples)

    def _checked_parameter(self, name: str, value: Any) -> Any:
        """The shape or size, None where the family has none."""
        if _KINDS[self.family][1] != name:
            if value is not None:
                raise ValueError(f"{name} cannot be given for {self.family}, got {value!r}")
            return None
        if value is None:
            raise ValueError(f"{name} must be given for {self.family}")
        if self.family == "binomial":
            return checks.whole_number(name, value, maximum=LARGEST_COUNT)
        return checks.positive_number(name, value)

    def _checked_mean(self, mean: Any) -> Any:
        if mean is None:
            return 0.5 * self.copies if self.kind == "binomial" else 1.0
        mean = checks.positive_number("mean", mean)
        traced = checks.is_traced(mean) or checks.is_traced(self.copies)
        largest = self.copies if self.kind == "binomial" else 1e9
        if not traced and not 1e-30 <= mean < largest:
            raise ValueError(
                f"mean must be at least 1e-30 and below {largest:g} for {self.family}, got {mean:g}"
            )
        return mean

    def _set_data(self, data: Any, n_samples: Any) -> None:
        self.mean, rows = None, checked_rows(data, self.family, self.kind, self.copies)
        train, test = split(rows, self.test_fraction, self.split_seed)
        self.n_samples = sample_size(n_samples, len(train))
        self.data_mean, self.data_variance = float(train.mean()), float(train.var())
        if self.data_mean <= 0.0 or (self.kind == "binomial" and self.data_mean >= self.copies):
            raise ValueError(
                f"data must have training rows of different values for {self.family}, "
                f"got {train[0]:g} in all of them"
            )
        rows = np.log(train / self.data_mean) if self.kind == "gamma" else train
        self.train = jnp.asarray(rows, jnp.float32)
        known = (self.kind, self.data_mean, self.copies)
        self.test_mean, self.test_nll = float(test.mean()), mean_loss(test, *known)

    @property
    def kind(self) -> Kind:
        """The family of which this one is a special case."""
        return _KINDS[self.family][0]

    @property
    def copies(self) -> Any:
        """Shape or size, 1 where that is no argument."""
        return next((given for given in (self.shape, self.size) if given is not None), 1)

    @property
    def true_mean(self) -> Any:
        """Mean of a row of the truth, or of the training rows."""
        return self.mean if self.data_mean is None else self.data_mean

    @property
    def entropy(self) -> Float[Array, ""]:
        """Entropy of a row of the true model, or of that of the training rows' mean, in nats."""
        return self._truth.entropy()

    @property
    def population(self) -> int | None:
        return None if self.train is None else len(self.train)

    @property
    def units(self) -> dict[str, Any]:
        """Errors are relative to the truth's distance from the end of its range."""
        unit, rest = self.true_mean, self._truth.rest
        if self.kind == "binomial":
            unit = (jnp if checks.is_traced(rest) else np).minimum(unit, rest)
        return {"squared_error": unit**2}

    @property
    def keeps_rows(self) -> bool:
        return False

    @property
    def scratch_bytes(self) -> int:
        return 64

    @property
    def _truth(self) -> Family:
        return Family(self.kind, self.copies, self.true_mean)

    def laws(self, plan: Any) -> Laws:
        # The truth's share of a mixture is drawn from the user's rows, where there are any.
        return Laws(real=self.train is None, synthetic=self.train is None or plan.from_one_model)

    def additive(self, grows: bool) -> bool:
        return True

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> Float[Array, ""]:
        # The true model's `nll`, which no chain need work out again.
        if self.test_nll is None:
            return self.entropy
        return jnp.asarray(self.test_nll, jnp.float32)

    def real_statistic(self, world: Any, key: Key[Array, ""], n: Size) -> Sample:
        return self._sample(key, self._truth.reference, n)

    def sample_statistic(
        self,
        world: Any,
        model: Float[Array, " k"],
        key: Key[Array, ""],
        n: Size,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Sample:
        return self._sample(key, model, n)

    def merge(
        self, world: Any, parts: tuple[Sample, Sample], scales: Float[Array, "2"] | None
    ) -> Sample:
        sizes = jnp.stack([part.n for part in parts])
        if scales is not None:
            sizes = sizes * scales
        total = jnp.sum(sizes)
        weight = jnp.where(total > 0.0, sizes[1] / jnp.where(total > 0.0, total, 1.0), 0.0)
        return Sample(total, pooled(parts[0].logs, parts[1].logs, weight))

    # Rows are counts; those of gamma laws logarithms, relative to the true mean.

    def real(
        self, world: Any, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> Float[Array, " n"]:
        if self.train is not None:
            return self.train[index]
        return self._truth.draw(key, self._truth.reference, jnp.ones(n))[0]

    def sample(
        self,
        world: Any,
        model: Float[Array, " k"],
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Float[Array, " n"]:
        return self._truth.draw(key, model, jnp.ones(n))[0]

    def extrapolate(
        self,
        world: Any,
        model: Float[Array, " k"],
        before: Float[Array, " k"],
        weight: Float[Array, ""],
    ) -> Float[Array, " k"]:
        old, new = jnp.exp(before), jnp.exp(model)
        return jnp.log(jnp.clip(old + weight * (old - new), 0.0, self._truth.ends))

    def point(self, world: Any, model: Float[Array, " k"]) -> Float[Array, "1"]:
        return self._truth.relative_error(model)[None]

    def spaced(self, rows: Float[Array, " n"]) -> Float[Array, " n"]:
        return self.true_mean * jnp.exp(rows) if self.kind == "gamma" else rows

    def seen(self, world: Any, model: Float[Array, " k"], rows: Any) -> dict[str, AbstractView]:
        return {"law": law_of(self.kind, self.true_mean, self.copies, jnp.exp(model[0]))}

    def summarise(
        self, world: Any, rows: Float[Array, " n"], valid: Bool[Array, " n"] | None, *, size: Size
    ) -> Sample:
        valid = jnp.ones(rows.shape, bool) if valid is None else valid
        n = jnp.sum(valid, dtype=jnp.float32)
        return Sample(n, self._truth.summarise(rows, valid))

    def fit(self, world: Any, data: Data) -> Float[Array, " k"]:
        return data.statistic.logs

    def measure(
        self, world: Float[Array, ""], model: Float[Array, " k"]
    ) -> dict[str, Float[Array, ""]]:
        mean = self.true_mean if self.test_mean is None else self.test_mean
        return {
            "squared_error": self._truth.relative_error(model) ** 2,
            "nll": world + self._truth.divergence(model, mean),
            "extinct": jnp.any(jnp.isneginf(model)).astype(jnp.float32),
            "log_mean_ratio": model[0],
        }

    def _sample(self, key: Key[Array, ""], logs: Float[Array, " k"], n: Size) -> Sample:
        n = jnp.asarray(n, jnp.float32)
        return Sample(n, self._truth.draw(key, logs, n[None])[1][:, 0])
