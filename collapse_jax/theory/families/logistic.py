"""Logistic regression between two normal classes: information, and the large-sample law of fits."""

from typing import Any, NamedTuple

import numpy as np
import scipy

from collapse_jax.theory import plans, recursion
from collapse_jax.theory._checks import Number, check_count
from collapse_jax.theory.predictions import Prediction, Predictions

_FEW = 10  # rows per weight from which large-sample results are given
_SMALL_ERROR = 0.1  # and up to what excess of the likelihood, in nats
_GRID = np.linspace(-12.0, 12.0, 4001)
_RATIO = "risk ratio of collapse_jax.theory.recursion (after arXiv 2410.22812)"


class Information(NamedTuple):
    """Fisher information of a row about the weights, and what the true weights achieve."""

    along: float
    """In the direction of the means."""
    across: float
    """In all other directions."""
    nll: float
    """Entropy of a label, given the row, in nats."""
    accuracy: float


def information(distance: Number) -> Information:
    """Of a row `x ~ N(+-mu, I)` with `|mu|` the distance, whose weights are `2 mu`.

    Args:
        distance: half the distance of the means.

    Example:
        >>> print(information(1e-9).along.__round__(4), information(1.0).accuracy.__round__(4))
        0.25 0.8413
    """
    m = float(distance)
    right = scipy.stats.norm.pdf(_GRID) * (_GRID[1] - _GRID[0])  # of a row of the class at +mu
    place = _GRID + m
    odds = 2.0 * m * place
    variance = 0.25 / np.cosh(np.clip(0.5 * odds, -300.0, 300.0)) ** 2
    along, across = np.sum(right * variance * place**2), np.sum(right * variance)
    nll = np.sum(right * np.logaddexp(0.0, -odds))
    return Information(float(along), float(across), float(nll), float(scipy.stats.norm.cdf(m)))


def predict_logistic(plan: Any, *, dim: int, distance: Number) -> Predictions:
    """Metrics of logistic regressions without a penalty at temperature 1.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.
        dim: number of weights d.
        distance: length of the mean of a class.

    Returns:
        The large-sample values `[generation]`, for n >= 10 d and while errors are small.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> plan = Workflow().plan(2, n_samples=1000)
        >>> print(predict_logistic(plan, dim=1, distance=1.0)["squared_error"].values.round(4))
        [0.015  0.0301]
    """
    d, m = check_count("dim", dim), float(distance)
    if plans.is_tempered(plan) or plans.fewest_rows(plan) < _FEW * d or m == 0.0:
        return {}
    error = recursion.noise_variance(plans.streams_of(plan))
    if 0.5 * d * np.max(error) > _SMALL_ERROR:
        return {}
    known = information(m)
    turned = (d - 1) * error / known.across / (4.0 * m**2)  # squared angle
    values = {
        "squared_error": error / known.along + (d - 1) * error / known.across,
        "nll": known.nll + 0.5 * d * error,
        "accuracy": known.accuracy - 0.5 * m * scipy.stats.norm.pdf(m) * turned,
    }
    return {name: Prediction(value, "asymptotic", _RATIO) for name, value in values.items()}
