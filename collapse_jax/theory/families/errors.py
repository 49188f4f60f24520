"""Errors of the mean of an exponential family, and what follows from them, for any loop."""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import scipy

from collapse_jax.theory import plans, recursion
from collapse_jax.theory._checks import FloatArray, Number, check_choice, check_number
from collapse_jax.theory.families.survival import binomial_extinction, extinction
from collapse_jax.theory.predictions import Prediction, Predictions

Kind = Literal["poisson", "gamma", "binomial", "negative_binomial"]

_FEW = 10  # rows of the poorest fit, below which large-sample values are left out
_SMALL_ERROR = 0.05  # and the squared error above which they are, relative to the mean
_LEAST_SHAPE = 2  # of a sum, below which the integral over gamma variables is not accurate
_WORK = 2e9  # multiplications that an exact chain may cost

_SOURCE = "Morris, Ann. Stat. 10:65 (variance functions); collapse_jax.theory.families"
_RATIO = "risk ratio of collapse_jax.theory.recursion (after arXiv 2410.22812) times exact fit"
_SURVIVAL = "arXiv 2412.17646; collapse_jax.theory.families"


class Curve(NamedTuple):
    """The variance of a row as a function of its mean, `linear * mean + quadratic * mean**2`."""

    linear: float
    quadratic: float

    def at(self, mean: float) -> float:
        """The variance of rows of this mean."""
        return self.linear * mean + self.quadratic * mean**2


class _Means(recursion._Recursion):
    """Moments of models that are means only, and have the variance that belongs to these."""

    def __init__(self, streams: recursion.Streams, level: float, quadratic: float) -> None:
        super().__init__(streams, exact=True, unbiased=False)
        self.level, self.quadratic = level, quadratic

    def fit(self, t: int) -> float:
        sample = super().fit(t)
        spread = self.level + self.quadratic * float(self.gram.values[self.truth, self.truth])
        self.spreads[-1] = spread
        self.spread_sum += spread - sample
        return spread


def curve_of(kind: Kind, copies: Number = 1) -> Curve:
    """The variance function of a family.

    Args:
        kind: "poisson", "gamma", "binomial" or "negative_binomial".
        copies: shape or size; 1 for exponential, Bernoulli and geometric rows.

    Raises:
        ValueError: for an unknown family, or a shape or size that is not positive.

    Source:
        Morris, Ann. Stat. 10:65, 1982.

    Example:
        >>> curve_of("binomial", 4).at(1.0)
        0.75
    """
    check_choice("kind", kind, get_args(Kind))
    inverse = 1.0 / check_number("copies", copies, strict=True)
    linear = 0.0 if kind == "gamma" else 1.0
    return Curve(linear, {"poisson": 0.0, "binomial": -inverse}.get(kind, inverse))


def mean_error(
    streams: recursion.Streams, curve: Curve, mean: Number, variance: Number | None = None
) -> FloatArray:
    """E (mu_t - mu_0)^2, exactly, for any sizes.

    Args:
        streams: the loop. With `drawn`, all rows must weigh the same.
        curve: the variance function.
        mean: true mean.
        variance: that of the truth's rows, if it is a data set; by default that of the family.

    Returns:
        `[generation]`.

    Source:
        Derived: the recursion of `recursion.exact_moments`, with models whose variance is
        V(mu_0) + c (mu_t - mu_0)^2 on average.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> streams = plans.streams_of(Workflow().plan(3, n_samples=10))
        >>> print(mean_error(streams, curve_of("gamma"), 1.0).round(6))
        [0.1   0.21  0.331]
    """
    unit = curve.at(float(mean)) if variance is None else float(variance)
    level = curve.at(float(mean)) / unit
    return unit * _Means(streams, level, curve.quadratic).run().mean_error


def predict_family(
    plan: Any,
    *,
    kind: Kind,
    mean: Number,
    copies: Number = 1,
    entropy: Number | None = None,
    variance: Number | None = None,
    population: int | None = None,
) -> Predictions:
    """Metrics of exponential families.

    The squared error is exact unless random subsets of rows have weights. Under Replace, extinction
    is exact (for bounded rows if sizes are constant), as are likelihood and logarithm of the mean
    of gamma families; where real rows stay and all rows are used, extinct is what real rows were.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.
        kind: "poisson", "gamma", "binomial" or "negative_binomial".
        mean: true mean.
        copies: shape or size; 1 for exponential, Bernoulli and geometric rows.
        entropy: of a row of the truth, without which likelihoods are left out.
        variance: that of the training rows, if the truth is a data set.
        population: their number.

    Returns:
        Predictions `[generation]` of what is known.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> plan = Workflow().plan(2, n_samples=10)
        >>> for name, known in predict_family(plan, kind="gamma", mean=2.0, entropy=1.7).items():
        ...     print(name, known.values.round(4), known.kind)
        squared_error [0.4  0.84] exact
        extinct [0. 0.] exact
        log_mean_ratio [-0.0508 -0.1017] exact
        nll [1.7603 1.8329] exact
    """
    mu, curve = float(mean), curve_of(kind, copies)
    known = _error(plan, curve, mu, variance, population)
    dead = _extinct(plan, kind, mu, float(copies), population)
    if dead is not None:
        known["extinct"] = Prediction(dead, "exact", _SURVIVAL)
    if population is not None:
        return known
    sizes = plans.replaced_sizes(plan)
    if kind == "gamma" and sizes is not None:
        shapes = np.asarray(sizes) * float(copies)
        log = np.cumsum(scipy.special.digamma(shapes) - np.log(shapes))
        known["log_mean_ratio"] = Prediction(log, "exact", _SOURCE)
        if entropy is not None and np.all(shapes > 1):
            inverse = np.expm1(np.cumsum(-np.log1p(-1 / shapes)))  # of E mu_0 / mu_t
            nll = float(entropy) + float(copies) * (inverse + log)
            known["nll"] = Prediction(nll, "exact", _SOURCE)
    elif entropy is not None:
        known |= _near_truth(plan, kind, mu, float(copies), float(entropy))
    return known


def _error(
    plan: Any, curve: Curve, mean: float, variance: Number | None, population: int | None
) -> Predictions:
    streams = plans.streams_of(plan, population)
    if variance == 0:
        return {}
    if streams.drawn is None or plan.real_weight is None:
        error = mean_error(streams, curve, mean, variance)
        return {"squared_error": Prediction(error, "exact", _SOURCE)}
    error = curve.at(mean) * recursion.noise_variance(streams)
    if population is not None or plans.fewest_rows(plan) < _FEW:
        return {}
    if np.max(error) > _SMALL_ERROR * mean**2:
        return {}
    return {"squared_error": Prediction(error, "asymptotic", _RATIO)}


def _extinct(
    plan: Any, kind: Kind, mean: float, copies: float, population: int | None
) -> FloatArray | None:
    """Probability of extinction, None where it is not known."""
    length = plan.n_generations
    if kind == "gamma":
        return np.zeros(length)
    seen, sizes = plans.support_sizes(plan), plans.replaced_sizes(plan)
    if seen is not None and population is None:
        return _unseen(kind, mean, copies, np.asarray(seen, np.float64))
    if sizes is None:
        return None
    n = np.asarray(sizes)
    if kind == "binomial":
        trials = n[0] * copies + 1.0
        if np.any(n != n[0]) or trials**2 * length > _WORK:
            return None
        if population is not None and (copies != 1 or n[0] > population):
            return None
        return binomial_extinction(mean, int(copies), int(n[0]), length, population)
    whole = population is not None and int(plan.real_rows[0]) == int(n[0]) == population
    if population is not None and not whole:
        return None
    dispersion = np.inf if kind == "poisson" else copies
    if np.min(n) * dispersion < _LEAST_SHAPE:
        return None
    return extinction(mean, n, dispersion=dispersion, all_rows=whole)


def _unseen(kind: Kind, mean: float, copies: float, n: FloatArray) -> FloatArray:
    """Probability that so many independent rows are all at the same end of their range."""
    if kind == "poisson":
        return np.exp(-n * mean)
    if kind == "binomial":
        share = mean / copies
        return share ** (n * copies) + (1 - share) ** (n * copies)
    return np.exp(-n * copies * np.log1p(mean / copies))


def _near_truth(plan: Any, kind: Kind, mean: float, copies: float, entropy: float) -> Predictions:
    """The large-sample value of the likelihood, which counts no chain that is extinct."""
    streams = plans.streams_of(plan)
    if plans.fewest_rows(plan) < _FEW:
        return {}
    error = recursion.noise_variance(streams)
    nearest = min(mean, copies - mean) if kind == "binomial" else mean
    if np.max(error) * curve_of(kind, copies).at(mean) > _SMALL_ERROR * nearest**2:
        return {}
    return {"nll": Prediction(entropy + error / 2, "asymptotic", _RATIO)}
