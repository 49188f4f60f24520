"""What is known of the metrics of several models that feed each other."""

from typing import Any

import numpy as np

from collapse_jax.theory import categorical, plans, predictions, regression
from collapse_jax.theory._checks import FloatArray
from collapse_jax.theory.ecosystems.joint import JointMoments, joint_moments
from collapse_jax.theory.families import curve_of
from collapse_jax.theory.predictions import Prediction, Predictions

_SOURCE = "after arXiv 2505.21677; derivation in collapse_jax.theory.ecosystems"
_BETWEEN = "distance_between"


def spectral_radius(ecosystem: Any, n_generations: int, n_samples: int) -> FloatArray:
    """By how much errors of the models are handed on, at most, from generation to generation.

    The spectral radius of Q, times the weight of generated rows. In loops whose weights stay the
    same, errors are bounded where it is below 1; where it is 1 they are handed on for ever, while
    each generation adds to them.

    Args:
        ecosystem: a `collapse_jax.Ecosystem`.
        n_generations: number of generations T.
        n_samples: the task's `n_samples`.

    Returns:
        `[generation]`, 0 in generation 1.

    Source:
        Vu, Reeves & Wenger, arXiv 2505.21677, for linear models.

    Example:
        >>> import collapse_jax as cj
        >>> loop = cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=300))
        >>> print(spectral_radius(cj.Ecosystem(loop, [[0, 1], [1, 0]]), 3, n_samples=100))
        [0.   0.75 0.75]
    """
    shares = np.asarray(ecosystem.shares)[:, :-1]
    radius = float(np.abs(np.linalg.eigvals(shares)).max())
    plan = ecosystem.workflow.plan(n_generations, n_samples)
    weights = np.asarray(plan.row_weights, np.float64)
    return radius * weights[:, 1] * plan.synthetic_size


def predict_ecosystem(ecosystem: Any, task: Any, n_generations: int) -> Predictions:
    """Errors of several models and the distance between them.

    Exact for Gaussians, categorical models and exponential families, as long as all rows are used;
    for regressions the large-sample value, for n >= 10 d.

    Args:
        ecosystem: a `collapse_jax.Ecosystem`.
        task: a task of the package.
        n_generations: number of generations T.

    Returns:
        Predictions `[model, generation]` of what is known.

    Example:
        >>> import collapse_jax as cj
        >>> both = cj.Ecosystem(cj.Replace(), [[0.5, 0.5], [0.5, 0.5]], shared_real=True)
        >>> known = predict_ecosystem(both, cj.Gaussian(2, n_samples=10), 2)
        >>> for name, found in known.items():
        ...     print(name, found.values[0].round(4), found.kind)
        n_train [10. 10.] exact
        real_fraction [1. 0.] exact
        trace_ratio [0.9  0.81] exact
        squared_error_mean [0.2  0.38] exact
        distance_between [0.   0.36] exact
    """
    if getattr(task, "n_samples", None) is None:
        return {}
    plan = ecosystem.workflow.plan(n_generations, int(task.n_samples))
    known = predictions.predict_sizes(plan) | _of_task(ecosystem, task, plan)
    shape = (ecosystem.n_models, n_generations)
    return {
        name: found._replace(values=np.broadcast_to(found.values, shape))
        for name, found in known.items()
    }


def _of_task(ecosystem: Any, task: Any, plan: Any) -> Predictions:
    from collapse_jax import tasks  # here, so that the formulas load without JAX

    population = getattr(task, "population", None)
    streams = plans.streams_of(plan, population)
    real_batches = int(np.count_nonzero(streams.real_rows))
    if streams.drawn is not None or (population is not None and real_batches > 1):
        return {}
    tempered = plans.is_tempered(plan)

    def moments(**options: Any) -> JointMoments:
        shared = ecosystem.shared_real
        return joint_moments(streams, ecosystem.shares, shared_real=shared, **options)

    def errors(name: str, scale: float, found: JointMoments, kind: Any = "exact") -> Predictions:
        known = {name: Prediction(scale * found.mean_error, kind, _SOURCE)}
        if ecosystem.n_models > 1:
            known[_BETWEEN] = Prediction(scale * found.apart, kind, _SOURCE)
        return known

    if isinstance(task, tasks.Gaussian):
        if task.estimator == "unbiased" and plans.fewest_rows(plan) < 1 + 1e-9:
            return {}
        found = moments(estimator=task.estimator)
        known = {"trace_ratio": Prediction(found.covariance, "exact", _SOURCE)}
        return known | errors("squared_error_mean", _trace(task), found)
    if isinstance(task, tasks.Categorical) and not tempered:
        found, p = moments(), np.asarray(task.probabilities, np.float64)
        collision = categorical.collision(p, found.covariance)
        known = {"collision": Prediction(collision, "exact", _SOURCE)}
        return known | errors("squared_error", 1.0 - float(p @ p), found)
    if population is not None:
        return {}
    if isinstance(task, tasks.ExponentialFamily):
        curve = curve_of(task.kind, float(task.copies))
        unit = curve.at(float(task.true_mean))
        return errors("squared_error", unit, moments(curvature=curve.quadratic))
    if isinstance(task, tasks.LinearRegression):
        n, d = int(plan.n_train[0]), int(task.dim)
        if plans.fewest_rows(plan) < max(10 * d, d + 2):
            return {}
        unit = n * regression.noise_error(n, d, float(task.noise))
        return errors("test_error", unit, moments(fixed_noise=True), "asymptotic")
    return {}


def _trace(task: Any) -> float:
    """Trace of the true covariance of a Gaussian."""
    covariance = np.asarray(task.covariance, np.float64)
    if covariance.ndim == 2:
        return float(np.trace(covariance))
    return float(np.sum(np.broadcast_to(covariance, (task.dim,))))
