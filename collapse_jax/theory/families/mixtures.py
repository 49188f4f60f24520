"""Mixtures fitted by EM, as far as they are known: their spread, and weights of modes far apart."""

from typing import Any

import scipy

from collapse_jax.theory import plans
from collapse_jax.theory._checks import FloatArray, Number, Numbers
from collapse_jax.theory.predictions import (
    Prediction,
    Predictions,
    predict_categorical,
    predict_gaussian,
)

_APART = 8.0  # least distance of modes, in standard deviations
_DRIFT = "modes far apart are outcomes; collapse_jax.theory.predictions.predict_categorical"
_SPREAD = "EM keeps the first two moments of its rows; collapse_jax.theory.recursion"


def predict_mixture(
    plan: Any,
    *,
    n_components: int,
    modes: FloatArray | None = None,
    probabilities: Numbers = 1.0,
    noise: Number = 1.0,
    population: int | None = None,
) -> Predictions:
    """Metrics of mixtures.

    Each step of EM makes mean and trace of the covariance those of the rows, up to the floor of the
    variances, so that `variance_ratio` is that of a Gaussian. Weights of modes far apart drift like
    the frequencies of a categorical model, where each mode has found a component.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.
        n_components: components of the models.
        modes: means of the modes of the truth `[modes, dim]`; None where they are not known.
        probabilities: their weights `[modes]`.
        noise: their standard deviation.
        population: rows of the data set that real rows are dealt from, if the truth is a data set.

    Returns:
        Predictions `[generation]` of what is known.

    Example:
        >>> import numpy as np
        >>> from collapse_jax.loop.workflow import Workflow
        >>> plan, modes = Workflow().plan(2, n_samples=10), np.array([[0.0], [9.0]])
        >>> known = predict_mixture(plan, n_components=2, modes=modes, probabilities=[0.5, 0.5])
        >>> for name, curve in known.items():
        ...     print(name, curve.values.round(3), curve.kind)
        variance_ratio [0.9  0.81] exact
        squared_error [0.05  0.095] asymptotic
        modes [1.998 1.972] asymptotic
    """
    spread = predict_gaussian(plan, dim=1, population=population).get("trace_ratio")
    known = {} if spread is None else {"variance_ratio": spread._replace(source=_SPREAD)}
    far = modes is not None and (
        len(modes) < 2 or scipy.spatial.distance.pdist(modes).min() >= _APART * float(noise)
    )
    if modes is None or not far or n_components != len(modes) or plans.is_tempered(plan):
        return known
    drift = predict_categorical(plan, probabilities=probabilities)
    if "squared_error" in drift:
        error = drift["squared_error"].values
        known["squared_error"] = Prediction(error, "asymptotic", _DRIFT)
    if "n_extinct" in drift and drift["n_extinct"].kind == "exact":
        left = len(modes) - drift["n_extinct"].values
        known["modes"] = Prediction(left, "asymptotic", _DRIFT)
    return known
