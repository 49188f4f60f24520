"""What is known about each metric, per task and plan, in plain numbers.

This is the layer below `expected`: it knows tasks by their parameters and loops by their plans, not
by their classes. Each function returns a dictionary from metric names to predictions, and leaves
out what is unknown. Moments are exact unless the rows of random subsets are weighted; these, and
metrics that are not moments, are asymptotic, unless the plan is one with a law of its own.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from collapse_jax.theory import (
    categorical,
    gaussian,
    plans,
    recursion,
    regression,
    wishart,
    wright_fisher,
)
from collapse_jax.theory._checks import Estimator, FloatArray, Number, Numbers, check_probabilities
from collapse_jax.theory.moments import SecondMoments

_LARGE_SAMPLE = 10  # asymptotic results are given for n >= 10 d
_SMALL_ERROR = 0.3  # and where the errors of a model are this small, relative to its spread
_WORK = 2e9  # multiplications that an exact categorical result may cost (about a second)
_TABLE = 2e7


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
Known: TypeAlias = tuple[SecondMoments, Literal["exact", "asymptotic"]]

_PAPER = "arXiv 2410.16713 sec. 2; derivation in collapse_jax.theory."
_RECURSION = "collapse_jax.theory.recursion"
_REGRESSION = "arXiv 2404.01413; derivation in collapse_jax.theory.regression"
_RATIO = "risk ratio of collapse_jax.theory.recursion (after arXiv 2410.22812) times exact fit"


def predict_sizes(plan: Any) -> Predictions:
    """Size of the training set and its share of real rows (for every task).

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.

    Returns:
        "n_train" and "real_fraction", `[generation]`.

    Example:
        >>> from collapse_jax.loop.workflow import Real, Synthetic, Workflow
        >>> plan = Workflow(Real(keep=None), Synthetic(keep=None)).plan(3, n_samples=10)
        >>> print(predict_sizes(plan)["n_train"].values)
        [10. 20. 30.]
    """
    rows = np.asarray(plan.n_train, np.float64)
    share = Prediction(plan.real_fraction, "exact", "definition")
    return {"n_train": Prediction(rows, "exact", "definition"), "real_fraction": share}


def predict_gaussian(
    plan: Any,
    *,
    dim: int,
    covariance: Numbers = 1.0,
    estimator: Estimator = "mle",
    population: int | None = None,
) -> Predictions:
    """Metrics of Gaussian models.

    Determinants, likelihoods (if finite, n > d + 2) and, for d = 1, Wasserstein distances are exact
    under Replace with any sizes and temperatures; for other loops at temperature 1 their
    large-sample value is given while n >= 10 d and errors are small. With a data set as truth only
    the first two moments are known.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.
        dim: dimension d.
        covariance: true covariance: a number, `[dim]` variances or `[dim, dim]`.
        estimator: "mle" or "unbiased".
        population: rows of the data set that real rows are dealt from, if the truth is a data set.

    Returns:
        Predictions `[generation]` of what is known.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> plan = Workflow().plan(2, n_samples=10)
        >>> for name, known in predict_gaussian(plan, dim=1).items():
        ...     print(name, known.values.round(4), known.kind)
        squared_error_mean [0.1  0.19] exact
        trace_ratio [0.9  0.81] exact
        log_det_ratio [-0.2206 -0.4411] exact
        wasserstein2 [0.1545 0.2971] exact
        nll [1.5944 1.8922] exact
    """
    trace, log_det_truth = _spectrum(covariance, dim)
    found = _moments(plan, dim, estimator, population)
    if found is None:
        return {}
    moments, kind = found
    known = {
        "squared_error_mean": Prediction(trace * moments.mean_error, kind, _RECURSION),
        "trace_ratio": Prediction(moments.covariance, kind, _RECURSION),
    }
    if population is not None:
        return known
    sizes = plans.replaced_sizes(plan)
    if sizes is not None:
        known |= _replaced(sizes, dim, estimator, plans.temperature_of(plan))
    else:
        known |= _near_truth(plan, dim, estimator, moments)
    if "wasserstein2" in known:
        distance = known["wasserstein2"]
        known["wasserstein2"] = distance._replace(values=trace * distance.values)
    if "nll" in known:
        nll = known.pop("nll")
        if np.isfinite(log_det_truth):
            known["nll"] = nll._replace(values=nll.values + log_det_truth / 2)
    return known


def predict_regression(
    plan: Any, *, dim: int, noise: Number = 1.0, design: regression.Design = "fixed"
) -> Predictions:
    """Test error of linear regression with isotropic rows and w* ~ N(0, I).

    Exact with a fixed design if rows come from the newest model, batches repeat the design a whole
    number of times and no rows are left out; with fresh designs under Replace and Accumulate.
    Otherwise the large-sample value, for n >= 10 d. Left out where the mean is infinite.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.
        dim: dimension d.
        noise: variance of the label noise.
        design: "fixed" (the same rows in each generation) or "fresh".

    Returns:
        A prediction `[generation]` of "test_error", if it is known.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> plan = Workflow().plan(2, n_samples=12)
        >>> print(predict_regression(plan, dim=1)["test_error"].values)
        [0.1 0.2]
    """
    error = _fixed_error(plan, dim, noise) if design == "fixed" else _fresh_error(plan, dim, noise)
    if error is not None:
        if not np.all(np.isfinite(error)):
            return {}
        return {"test_error": Prediction(error, "exact", _REGRESSION)}
    first = int(plan.n_train[0])
    if plans.fewest_rows(plan) < max(_LARGE_SAMPLE * dim, dim + 2):
        return {}
    ratio = first * recursion.noise_variance(plans.streams_of(plan))
    error = regression.noise_error(first, dim, noise) * ratio
    return {"test_error": Prediction(error, "asymptotic", _RATIO)}


def predict_categorical(
    plan: Any, *, probabilities: Numbers, population: int | None = None
) -> Predictions:
    """Metrics of categorical models at temperature 1.

    Under Replace with a constant size, extinct outcomes and entropy are exact where the exact chain
    is cheap, n <= 1400 for 1000 generations; beyond, a bound on the former, sharp for rare
    outcomes. Where real rows stay and all rows are used, these are just what real rows missed.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.
        probabilities: `[outcome]`, the truth.
        population: rows of the data set that real rows are dealt from, if the truth is a data set.

    Returns:
        Predictions `[generation]` of what is known.

    Example:
        >>> from collapse_jax.loop.workflow import Real, Synthetic, Workflow
        >>> plan = Workflow(Real(keep=None), Synthetic(keep=None)).plan(2, n_samples=2)
        >>> known = predict_categorical(plan, probabilities=[0.5, 0.5])
        >>> print(known["collision"].values, known["n_extinct"].values)
        [0.75    0.78125] [0.5 0.5]
    """
    p = check_probabilities(probabilities)
    found = None if plans.is_tempered(plan) else _moments(plan, 1, "mle", population)
    if found is None:
        return {}
    moments, kind = found
    collision = categorical.collision(p, moments.covariance)
    source = "arXiv 2404.05090; derivation in " + _RECURSION
    known = {
        "collision": Prediction(collision, kind, source),
        # All loops are fair on average, so the error is what the collision has gained.
        "squared_error": Prediction(collision - np.sum(p**2), kind, source),
    }
    seen, replaced = plans.support_sizes(plan), plans.replaced_sizes(plan)
    if seen is not None:
        dealt = seen if population is None else np.minimum(seen, population)
        sizes, index = np.unique(dealt, return_inverse=True)
        lost = [wright_fisher.n_unseen(p, int(n), population=population) for n in sizes]
        origin = "collapse_jax.theory.wright_fisher"
        known["n_extinct"] = Prediction(np.array(lost)[index], "exact", origin)
    elif replaced is not None and np.all(replaced == replaced[0]):
        known |= _drift(p, int(replaced[0]), len(replaced), population)
    return known


def _moments(plan: Any, dim: int, estimator: Estimator, population: int | None) -> Known | None:
    """Moments of models that are the mean and covariance of their rows, where they are known."""
    streams = plans.streams_of(plan, population)
    if estimator == "unbiased" and plans.fewest_rows(plan) < 1 + 1e-9:
        return None
    if streams.drawn is None or plan.real_weight is None:
        return recursion.exact_moments(streams, estimator), "exact"
    few = plans.fewest_rows(plan) < _LARGE_SAMPLE * dim
    if few or estimator == "unbiased" or population is not None or plans.is_tempered(plan):
        return None
    error = recursion.noise_variance(streams)
    if dim * np.max(error) > _SMALL_ERROR:
        return None
    return SecondMoments(error, 1 - error), "asymptotic"  # their sum is 1 in every loop


def _replaced(
    sizes: Numbers, dim: int, estimator: Estimator, temperature: FloatArray
) -> Predictions:
    """What is exact under Replace, in units of the truth."""
    n, d = np.asarray(sizes), dim
    log_det = wishart.log_det_mean(n, d, len(n), estimator, temperature=temperature)
    source = _PAPER + "wishart"
    known = {"log_det_ratio": Prediction(log_det, "exact", source)}
    if d == 1 and np.all(n >= 2):
        distance = wishart.wasserstein2(n, len(n), estimator, temperature=temperature)
        known["wasserstein2"] = Prediction(distance, "exact", source)
    if np.all(n > d + 2):
        nll = wishart.nll(n, d, len(n), estimator, temperature=temperature)
        known["nll"] = Prediction(nll, "exact", source)
    return known


def _near_truth(plan: Any, dim: int, estimator: Estimator, moments: SecondMoments) -> Predictions:
    """The large-sample value of the same metrics for any loop at temperature 1."""
    n, d = int(plan.n_train[0]), dim
    if plan.real_rows[0] <= d and not plan.real_rows[1:].any() and plans.is_latest(plan):
        values = np.full(plan.n_generations, -np.inf)
        return {
            "log_det_ratio": Prediction(
                values, "exact", "n <= d: rows stay in the span of the real ones"
            )
        }
    if plans.fewest_rows(plan) < _LARGE_SAMPLE * d or plans.is_tempered(plan):
        return {}
    error = recursion.noise_variance(plans.streams_of(plan))
    if d * np.max(error) > _SMALL_ERROR:
        return {}
    ratio, level = n * error, d * np.log(moments.covariance)
    first = d * np.log(gaussian.replace_moments(n, 1, estimator).covariance)
    log_det = level + (wishart.log_det_mean(n, d, 1, estimator) - first) * ratio
    known = {"log_det_ratio": Prediction(log_det, "asymptotic", _RATIO)}
    if d == 1:
        distance = wishart.wasserstein2(n, 1, estimator) * ratio
        known["wasserstein2"] = Prediction(distance, "asymptotic", _RATIO)
    floor = 0.5 * d * (np.log(2 * np.pi) + 1)  # of a perfect model
    nll = floor + (wishart.nll(n, d, 1, estimator) - floor) * ratio
    return known | {"nll": Prediction(nll, "asymptotic", _RATIO)}


def _fixed_error(plan: Any, dim: int, noise: Number) -> FloatArray | None:
    """Exact test error with a fixed design, None where it is not known."""
    streams, n = plans.streams_of(plan), plan.n_samples
    repeated = not np.any(streams.real_rows % n) and not np.any(streams.synthetic_rows[:-1] % n)
    if streams.drawn is not None or not (repeated and plans.is_latest(plan)):
        return None
    lost = max(dim - n, 0)  # directions that no generation sees; w* has variance 1 in each
    return lost + regression.noise_error(n, dim, noise) * n * recursion.noise_variance(streams)


def _fresh_error(plan: Any, dim: int, noise: Number) -> FloatArray | None:
    """Exact test error with fresh designs, None where it is not known."""
    length, options = plan.n_generations, {"noise": noise, "design": "fresh"}
    sizes, n = plans.replaced_sizes(plan), plans.accumulated_size(plan)
    if sizes is not None and np.all(sizes >= dim + 2):
        steps = [regression.noise_error(int(size), dim, noise) for size in sizes]
        return np.cumsum(np.concatenate([[1.0], plans.temperature_of(plan)[:-1]]) * steps)
    if plans.is_tempered(plan):
        return None
    if sizes is not None and np.all(sizes == sizes[0]):
        return regression.replace_error(int(sizes[0]), dim, length, **options)
    return None if n is None else regression.accumulate_error(n, dim, length, **options)


def _drift(p: FloatArray, n: int, length: int, population: int | None) -> Predictions:
    """Extinct outcomes and entropy of a categorical model under Replace."""
    work, origin = (n + 1.0) ** 2 * length, "collapse_jax.theory.wright_fisher"
    if work > _WORK or len(np.unique(p)) * (n + 1.0) > _TABLE:
        values = wright_fisher.n_extinct(p, n, length)
        return {"n_extinct": Prediction(values, "bound", f"arXiv 2412.17646; {origin}")}
    if population is not None and n > population:
        return {}
    spectrum = wright_fisher.count_spectrum(p, n, length, population=population)
    entropy = wright_fisher.entropy(spectrum)
    known = {
        "n_extinct": Prediction(spectrum[:, 0], "exact", origin),
        "entropy": Prediction(entropy, "exact", origin),
    }
    truth = float(-np.sum(p[p > 0] * np.log(p[p > 0])))
    if truth > 0:
        known["entropy_ratio"] = Prediction(entropy / truth, "exact", origin)
    return known


def _spectrum(covariance: Numbers, dim: int) -> tuple[float, float]:
    """Trace and log-determinant of a covariance given as a number, variances or a matrix."""
    array = np.asarray(covariance, dtype=np.float64)
    matrix = array if array.ndim == 2 else np.diag(np.broadcast_to(array, (dim,)))
    return float(np.trace(matrix)), float(np.linalg.slogdet(matrix)[1])
