"""What is known about each metric, per task and workflow, in plain numbers.

This is the layer below `expected`: it knows the tasks by their parameters, not by their classes.
Each function returns a dictionary from metric names to predictions, and leaves out what is unknown.
"""

import enum
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from collapse_jax.theory import (
    categorical,
    gaussian,
    regression,
    risk,
    survival,
    wishart,
    wright_fisher,
)
from collapse_jax.theory._checks import (
    Estimator,
    FloatArray,
    Number,
    Numbers,
    check_probabilities,
    generations,
)
from collapse_jax.theory.moments import SecondMoments

_LARGE_SAMPLE = 10  # asymptotic results are given for n >= 10 d
_WORK = 2e9  # multiplications that an exact categorical result may cost (about a second)
_TABLE = 2e7


class Regime(enum.Enum):
    """The workflows with a closed theory."""

    REPLACE = "Replace"
    ACCUMULATE = "Accumulate"
    ACCUMULATE_SUBSAMPLE = "Accumulate-Subsample"


class Prediction(NamedTuple):
    """The predicted mean of a metric over chains.

    Attributes:
        values: `[generation]`.
        kind: "exact"; "asymptotic" (right for large samples); or "bound".
        source: paper and section, or the module that derives it.
    """

    values: FloatArray
    kind: Literal["exact", "asymptotic", "bound"]
    source: str


Predictions: TypeAlias = dict[str, Prediction]

_PAPER = "arXiv 2410.16713 sec. 2; derivation in collapse_jax.theory."
_RATIO = "risk ratio of collapse_jax.theory.risk (after arXiv 2410.22812) times exact generation 1"
_MOMENTS: dict[Regime, Callable[[int, int, Estimator], SecondMoments]] = {
    Regime.REPLACE: gaussian.replace_moments,
    Regime.ACCUMULATE: gaussian.accumulate_moments,
    Regime.ACCUMULATE_SUBSAMPLE: gaussian.accumulate_subsample_moments,
}
_RISK: dict[Regime, Callable[[int], FloatArray]] = {
    Regime.REPLACE: risk.replace_risk_ratio,
    Regime.ACCUMULATE: risk.accumulate_risk_ratio,
    Regime.ACCUMULATE_SUBSAMPLE: risk.accumulate_subsample_risk_ratio,
}


def predict_sizes(regime: Regime, n_generations: int, *, n_samples: int) -> Predictions:
    """Size of the training set and its share of real rows (for every task).

    Example:
        >>> print(predict_sizes(Regime.ACCUMULATE, 3, n_samples=10)["n_train"].values)
        [10. 20. 30.]
    """
    t = generations(n_generations)
    grows = regime is Regime.ACCUMULATE
    fraction = (t == 1).astype(np.float64) if regime is Regime.REPLACE else 1 / t
    return {
        "n_train": Prediction(n_samples * (t if grows else np.ones_like(t)), "exact", "definition"),
        "real_fraction": Prediction(fraction, "exact", "definition"),
    }


def predict_gaussian(
    regime: Regime,
    n_generations: int,
    *,
    n_samples: int,
    dim: int,
    covariance: Numbers = 1.0,
    estimator: Estimator = "mle",
    population: int | None = None,
) -> Predictions:
    """Metrics of Gaussian models.

    Determinants, likelihoods and (in one dimension) Wasserstein distances are exact under Replace;
    for the other workflows their large-sample value is given where n >= 10 d. The likelihood is
    left out for n <= d + 2, where its mean is infinite. With a data set as truth only the first two
    moments are known.

    Args:
        regime: the workflow.
        n_generations: number of generations T.
        n_samples: rows n per generation.
        dim: dimension d.
        covariance: true covariance: a number, `[dim]` variances or `[dim, dim]`.
        estimator: "mle" or "unbiased".
        population: rows of the data set from which generation 1 is drawn without replacement, if
            the truth is a data set.

    Example:
        >>> for name, known in predict_gaussian(Regime.REPLACE, 2, n_samples=10, dim=1).items():
        ...     print(name, known.values.round(4), known.kind)
        squared_error_mean [0.1  0.19] exact
        trace_ratio [0.9  0.81] exact
        log_det_ratio [-0.2206 -0.4411] exact
        wasserstein2 [0.1545 0.2971] exact
        nll [1.5944 1.8922] exact
    """
    n, d = n_samples, dim
    if estimator == "unbiased" and n < 2:
        return {}
    trace, log_det_truth = _spectrum(covariance, d)
    moments = _MOMENTS[regime](n, n_generations, estimator)
    if population is not None:
        moments = gaussian.from_finite_population(moments, population)
    source = _PAPER + "gaussian"
    known: Predictions = {
        "squared_error_mean": Prediction(trace * moments.mean_error, "exact", source),
        "trace_ratio": Prediction(moments.covariance, "exact", source),
    }
    if population is not None:
        return known
    if n <= d:  # synthetic rows never leave the span of the real ones
        values = np.full(n_generations, -np.inf)
        known["log_det_ratio"] = Prediction(values, "exact", "n <= d: every fit is singular")
    exact = regime is Regime.REPLACE
    if n < (2 if exact else _LARGE_SAMPLE * d):
        return known
    fits = n_generations if exact else 1
    log_det = wishart.log_det_mean(n, d, fits, estimator)
    distance = wishart.wasserstein2(n, fits, estimator)
    nll = wishart.nll(n, d, fits, estimator)
    if not exact:
        ratio = _RISK[regime](n_generations)
        level = d * np.log(moments.covariance)
        log_det = level + (log_det - level[0]) * ratio
        distance = distance * ratio
        floor = 0.5 * (d * np.log(2 * np.pi) + d)  # of a perfect model, but for the truth's spread
        nll = floor + (nll - floor) * ratio
    kind = "exact" if exact else "asymptotic"
    source = _PAPER + "wishart" if exact else _RATIO
    if n > d:
        known["log_det_ratio"] = Prediction(log_det, kind, source)
    if d == 1:
        known["wasserstein2"] = Prediction(trace * distance, kind, source)
    if n > d + 2 and np.isfinite(log_det_truth):
        known["nll"] = Prediction(nll + log_det_truth / 2, kind, source)
    return known


def predict_regression(
    regime: Regime,
    n_generations: int,
    *,
    n_samples: int,
    dim: int,
    noise: Number = 1.0,
    design: regression.Design = "fixed",
) -> Predictions:
    """Test error of linear regression with isotropic rows and w* ~ N(0, I).

    Left out where its mean is infinite: |n - d| <= 1 in Replace and with fixed designs, |t n - d|
    <= 1 for any t <= T in Accumulate with fresh ones. Under Accumulate-Subsample given for
    n >= 10 d (and n >= d + 2) only, as its large-sample value.

    Args:
        regime: the workflow.
        n_generations: number of generations T.
        n_samples: rows n per generation.
        dim: dimension d.
        noise: variance of the label noise.
        design: "fixed" (the same rows in each generation) or "fresh".

    Example:
        >>> print(predict_regression(Regime.REPLACE, 2, n_samples=12, dim=1)["test_error"].values)
        [0.1 0.2]
    """
    if regime is Regime.ACCUMULATE_SUBSAMPLE:
        if n_samples < max(_LARGE_SAMPLE * dim, dim + 2):
            return {}
        error = regression.accumulate_subsample_error(n_samples, dim, n_generations, noise=noise)
        return {"test_error": Prediction(error, "asymptotic", _RATIO)}
    replace = regime is Regime.REPLACE
    function = regression.replace_error if replace else regression.accumulate_error
    error = function(n_samples, dim, n_generations, noise=noise, design=design)
    if not np.all(np.isfinite(error)):
        return {}
    source = "arXiv 2404.01413; derivation in collapse_jax.theory.regression"
    return {"test_error": Prediction(error, "exact", source)}


def predict_categorical(
    regime: Regime,
    n_generations: int,
    *,
    n_samples: int,
    probabilities: Numbers,
    population: int | None = None,
) -> Predictions:
    """Metrics of categorical models.

    Under Replace the number of extinct outcomes and the entropy are exact where the exact chain is
    cheap enough, n <= 1400 for 1000 generations; beyond, a bound on the former that is sharp for
    rare outcomes. Under Accumulate the former is exact: what generation 1 missed.

    Args:
        regime: the workflow.
        n_generations: number of generations T.
        n_samples: draws n per generation.
        probabilities: `[outcome]`, the truth.
        population: rows of the data set from which generation 1 is drawn without replacement, if
            the truth is a data set.

    Example:
        >>> half = [0.5, 0.5]
        >>> known = predict_categorical(Regime.ACCUMULATE, 2, n_samples=2, probabilities=half)
        >>> print(known["collision"].values, known["n_extinct"].values)
        [0.75    0.78125] [0.5 0.5]
    """
    p = check_probabilities(probabilities)
    moments = _MOMENTS[regime](n_samples, n_generations, "mle")
    if population is not None and population > 1:
        moments = gaussian.from_finite_population(moments, population)
    collision = categorical.collision(p, moments.covariance)
    source = "arXiv 2404.05090; derivation in collapse_jax.theory."
    known = {
        "collision": Prediction(collision, "exact", source + "categorical"),
        # All workflows are fair on average, so the error is what the collision has gained.
        "squared_error": Prediction(collision - np.sum(p**2), "exact", source + "categorical"),
    }
    if regime is Regime.ACCUMULATE:
        lost = survival.n_unseen(p, n_samples, population=population)
        values = np.full(n_generations, lost)
        known["n_extinct"] = Prediction(values, "exact", "collapse_jax.theory.survival")
    elif regime is Regime.REPLACE:
        work = (n_samples + 1.0) ** 2 * n_generations
        if work <= _WORK and len(np.unique(p)) * (n_samples + 1.0) <= _TABLE:
            spectrum = wright_fisher.count_spectrum(
                p, n_samples, n_generations, population=population
            )
            origin = source + "wright_fisher"
            entropy = wright_fisher.entropy(spectrum)
            known["n_extinct"] = Prediction(spectrum[:, 0], "exact", origin)
            known["entropy"] = Prediction(entropy, "exact", origin)
            truth = float(-np.sum(p[p > 0] * np.log(p[p > 0])))
            if truth > 0:
                known["entropy_ratio"] = Prediction(entropy / truth, "exact", origin)
        else:
            values = survival.n_extinct(p, n_samples, n_generations)
            origin = "arXiv 2412.17646; upper bound of collapse_jax.theory.survival"
            known["n_extinct"] = Prediction(values, "bound", origin)
    return known


def _spectrum(covariance: Numbers, dim: int) -> tuple[float, float]:
    """Trace and log-determinant of a covariance given as a number, variances or a matrix."""
    array = np.asarray(covariance, dtype=np.float64)
    if array.ndim == 2:
        return float(np.trace(array)), float(np.linalg.slogdet(array)[1])
    variances = np.broadcast_to(array, (dim,))
    with np.errstate(divide="ignore"):
        return float(variances.sum()), float(np.sum(np.log(variances)))
