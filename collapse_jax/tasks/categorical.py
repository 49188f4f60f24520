"""Empirical frequencies of outcomes: neutral drift, as of genes in a small population."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import Labels, Numbers
from collapse_jax.numerics.draws import bootstrap_labels, categorical_labels, multinomial
from collapse_jax.tasks.base import Data, Laws, Size, Variable
from collapse_jax.tasks.parts.labels import checked_labels
from collapse_jax.tasks.parts.tables import sample_size
from collapse_jax.tasks.sufficient import AbstractSufficient
from collapse_jax.views import AbstractView, Masses

# A binomial draw costs about ten times as much as a label (measured on a CPU), and takes longer to
# compile; far beyond that ratio it is worth both.
_LABELS_PER_BINOMIAL = 50
_MOST_OUTCOMES = 2**24  # whole numbers that float32 holds
_MOST_LABELS = 2**31  # that whole numbers of 32 bits can count


class Categorical(AbstractSufficient):
    """A categorical distribution fitted by the frequencies of its outcomes.

    The statistic of a data set is its counts. With many more samples than outcomes the counts are
    drawn as such, at a cost that does not depend on `n_samples`.

    The tail is the rarer half of the possible outcomes, all of them where they are equally
    probable; `tail_coverage` is the share of its true probability that is left. Outcomes that real
    data never have get no probability, so `hallucinated` is 0. The generation of total collapse is
    that in which `entropy` first is 0: `collapse_jax.collapse_time(ds)`.

    Args:
        n_outcomes: number of equally probable outcomes (taken from `probabilities` or `data` where
            given). Default 10.
        n_samples: draws per generation. Default 100, with `data` all labels.
        probabilities: true probabilities `[n_outcomes]`, summing to 1.
        data: real labels `[rows]`: names or numbers, none of them missing. Generation 1 draws
            `n_samples` of them without replacement; the truth is their frequencies. A run's
            dataset lists the different ones, in their order, in its attribute `outcomes` (JSON).

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        arXiv 2410.16713, section 4; Seddik et al., arXiv 2404.05090.

    Example:
        >>> import collapse_jax as cj
        >>> cj.Categorical(data=["a", "b", "a", "c"]).n_outcomes
        3
    """

    n_samples: int
    probabilities: Any
    labels: Array | None
    outcomes: tuple[str, ...] | None = eqx.field(static=True)
    """Names of the outcomes, in their order, where they are labels of the user's own."""

    extrapolates: ClassVar[bool] = True
    error: ClassVar[str | None] = "squared_error"

    variables: ClassVar[dict[str, Variable]] = {
        "entropy": Variable("entropy of the model", "nat"),
        "entropy_ratio": Variable("entropy of the model relative to the truth", "1"),
        "collision": Variable("probability that two draws agree", "1"),
        "n_extinct": Variable("outcomes of probability zero", "outcomes"),
        "squared_error": Variable("squared error of the probabilities", "1"),
        "tail_coverage": Variable("share of the real tail that the model still generates", "1"),
        "hallucinated": Variable("share of generated data that are never real", "1"),
    }

    def __init__(
        self,
        n_outcomes: int | None = None,
        n_samples: int | Array | None = None,
        *,
        probabilities: Numbers = None,
        data: Labels = None,
    ):
        if data is not None and probabilities is not None:
            raise ValueError("probabilities cannot be given together with data")
        self.labels = self.outcomes = None
        if data is not None:
            names, labels = np.unique(checked_labels("data", data), return_inverse=True)
            self.labels = jnp.asarray(labels, jnp.int32)
            self.outcomes = tuple(map(str, names.tolist()))
            self.probabilities = np.bincount(labels) / len(labels)
            self.n_samples = sample_size(n_samples, len(labels))
            implied = len(names)
        else:
            if probabilities is None:
                k = 10 if n_outcomes is None else n_outcomes
                k = checks.whole_number("n_outcomes", k, 2, maximum=_MOST_OUTCOMES)
                probabilities = np.full(k, 1.0 / k)
            self.probabilities = _checked_probabilities(probabilities)
            self.n_samples = checks.whole_number(
                "n_samples", 100 if n_samples is None else n_samples
            )
            implied = len(self.probabilities)
        if n_outcomes is not None and n_outcomes != implied:
            raise ValueError(f"n_outcomes must be {implied} as the others imply, got {n_outcomes}")

    @property
    def n_outcomes(self) -> int:
        """Number of outcomes."""
        return len(self.probabilities)

    @property
    def population(self) -> int | None:
        """Number of real labels where the task has data of its own, else None."""
        return None if self.labels is None else len(self.labels)

    @property
    def keeps_rows(self) -> bool:
        return False

    @property
    def scratch_bytes(self) -> int:
        return 4 * self.n_outcomes

    def laws(self, plan: Any) -> Laws:
        most = int(max(plan.real_rows.max(), plan.synthetic_rows.max()))
        labels = most < _LABELS_PER_BINOMIAL * self.n_outcomes and plan.size.max() < _MOST_LABELS
        drawn = self.labels is None and not labels
        return Laws(real=drawn, synthetic=drawn)

    def additive(self, grows: bool) -> bool:
        return True

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> None:
        return None  # the truth is the same in every chain

    # Counts are whole numbers where labels are counted. Those that are drawn as such, and weighted
    # ones, are floats.

    def real_statistic(self, world: None, key: Key[Array, ""], n: Size) -> Num[Array, " k"]:
        return multinomial(key, n, jnp.asarray(self.probabilities, jnp.float32))

    def sample_statistic(
        self,
        world: None,
        model: Num[Array, " k"],
        key: Key[Array, ""],
        n: Size,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Num[Array, " k"]:
        return multinomial(key, n, _tempered(model, temperature))

    def merge(
        self,
        world: None,
        parts: tuple[Num[Array, " k"], Num[Array, " k"]],
        scales: Float[Array, "2"] | None,
    ) -> Num[Array, " k"]:
        first, second = parts
        if scales is None:
            return first + second
        return scales[0] * first + scales[1] * second

    def real(
        self, world: None, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> Int[Array, " n"]:
        if self.labels is not None:
            return self.labels[index]
        return categorical_labels(key, n, jnp.asarray(self.probabilities, jnp.float32))

    def sample(
        self,
        world: None,
        model: Num[Array, " k"],
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Int[Array, " n"]:
        if temperature is None and jnp.issubdtype(model.dtype, jnp.integer):
            return bootstrap_labels(key, n, model)
        return categorical_labels(key, n, _tempered(model, temperature))

    def extrapolate(
        self,
        world: None,
        model: Num[Array, " k"],
        before: Num[Array, " k"],
        weight: Float[Array, ""],
    ) -> Float[Array, " k"]:
        old, new = before / jnp.sum(before), model / jnp.sum(model)
        return jnp.maximum(old + weight * (old - new), 0.0)

    def point(self, world: None, model: Num[Array, " k"]) -> Float[Array, " k"]:
        return model / jnp.sum(model)

    def summarise(
        self, world: None, rows: Int[Array, " n"], valid: Bool[Array, " n"] | None, *, size: Size
    ) -> Int[Array, " k"]:
        once = 1 if valid is None else valid.astype(jnp.int32)
        return jnp.zeros(self.n_outcomes, jnp.int32).at[rows].add(once)

    def fit(self, world: None, data: Data) -> Num[Array, " k"]:
        return data.statistic

    def seen(self, world: None, model: Num[Array, " k"], rows: Any) -> dict[str, AbstractView]:
        truth = jnp.asarray(self.probabilities, jnp.float32)
        return {"outcomes": Masses(self.point(world, model), truth, self.outcomes)}

    def measure(self, world: None, model: Num[Array, " k"]) -> dict[str, Float[Array, ""]]:
        p = model / jnp.sum(model)
        truth = jnp.asarray(self.probabilities, jnp.float32)
        entropy, full = _entropy(p), _entropy(truth)
        possible = jnp.where(truth > 0.0, truth, jnp.nan)
        tail = jnp.where(truth <= jnp.nanmedian(possible), truth, 0.0)
        return {
            "entropy": entropy,
            "entropy_ratio": jnp.where(full > 0.0, entropy / jnp.where(full > 0.0, full, 1.0), 1.0),
            "collision": jnp.sum(p * p),
            "n_extinct": jnp.sum((model == 0) & (truth > 0.0)),
            "squared_error": jnp.sum((p - truth) ** 2),
            "tail_coverage": jnp.sum(tail * (model > 0)) / jnp.sum(tail),
            "hallucinated": jnp.sum(jnp.where(truth > 0.0, 0.0, p)),
        }


def _tempered(counts: Num[Array, " k"], temperature: Float[Array, ""] | None) -> Float[Array, " k"]:
    """Probabilities like counts, or like a power of them."""
    p = counts / jnp.sum(counts)
    if temperature is None:
        return p
    log_p = jnp.log(jnp.where(p > 0.0, p, 1.0)) / temperature
    powers = jnp.where(p > 0.0, jnp.exp(log_p - jnp.max(jnp.where(p > 0.0, log_p, -jnp.inf))), 0.0)
    return powers / jnp.sum(powers)


def _entropy(p: Float[Array, " k"]) -> Float[Array, ""]:
    return -jnp.sum(p * jnp.log(jnp.where(p > 0.0, p, 1.0)))


def _checked_probabilities(probabilities: Any) -> Any:
    if checks.is_traced(probabilities):
        return probabilities
    p = checks.finite_array("probabilities", probabilities, ndim=1)
    if len(p) < 2:
        raise ValueError(f"probabilities must have two or more entries, got {len(p)}")
    if np.any(p < 0.0):
        raise ValueError(
            f"probabilities must not be negative, got {p.min():g} at outcome {int(p.argmin())}"
        )
    if abs(p.sum() - 1.0) > 1e-6:
        raise ValueError(f"probabilities must sum to 1, got a sum of {p.sum():.9g}")
    return p / p.sum()
