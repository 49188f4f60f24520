"""What is known of the metrics of curated, edited and extrapolated loops, per task and plan."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from collapse_jax.theory import plans, regression
from collapse_jax.theory._checks import FloatArray, Number, Numbers, check_probabilities
from collapse_jax.theory.curation import selection
from collapse_jax.theory.curation.editing import edit_ratio, extrapolated_covariance
from collapse_jax.theory.predictions import Prediction, Predictions

_LARGE_SAMPLE = 10  # asymptotic results are given for n >= 10 d
_MOST_ROWS = 500  # of an exact chain
_SOURCE = "arXiv 2407.09499; derivation in collapse_jax.theory.curation.selection"


def predict_acceptance(plan: Any) -> Predictions:
    """Share of rows that curations with the best of k candidates take, for every task.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.

    Example:
        >>> from collapse_jax.loop.workflow import Synthetic, Workflow
        >>> predict_acceptance(Workflow(synthetic=Synthetic(curation="nearest:0.5")).plan(3, 10))
        {}
    """
    from collapse_jax.loop.curation.operators import BestOf  # here, so that formulas need no JAX

    counts = [part.k for part in plan.curation if type(part) is BestOf]
    if not counts or len(counts) < len(plan.curation):
        return {}
    rate = np.full(plan.n_generations, 1 / math.prod(counts), np.float64)
    return {"acceptance_rate": Prediction(rate, "exact", "definition")}


def predict_curated(plan: Any, *, probabilities: Numbers, rewards: Numbers, k: int) -> Predictions:
    """Metrics of categorical models whose rows are the best of k candidates of the newest one.

    With two outcomes under Replace they are exact; otherwise those of very many rows.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.
        probabilities: `[outcome]`, the truth.
        rewards: `[outcome]`, or `[generation, outcome]` where they drift.
        k: number of candidates.

    Returns:
        Predictions `[generation]` of what is known.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> known = predict_curated(Workflow().plan(3, 50), probabilities=[0.5, 0.5],
        ...     rewards=[0.0, 1.0], k=2)
        >>> print(known["mean_reward"].values.round(3), known["mean_reward"].kind)
        [0.613 0.718 0.806] exact
    """
    p = check_probabilities(probabilities)
    r = selection.rewards_in_time(rewards, p, plan.n_generations)
    if plans.is_tempered(plan) or not plan.source.of_one_model or not plan.source.plain:
        return {}
    if getattr(plan, "skill", None) is not None:
        return {}
    values = {
        "collision": lambda q: float(q @ q),
        "squared_error": lambda q: float((q - p) @ (q - p)),
        "entropy": _entropy,
    }

    def reward(t: int, q: FloatArray) -> float:
        return float(selection.best_of(q, r[t], k) @ r[t])

    if _entropy(p) > 0:
        values["entropy_ratio"] = lambda q: _entropy(q) / _entropy(p)
    sizes = plans.newest_sizes(plan)
    if len(p) == 2 and sizes is not None and np.all(sizes == sizes[0]) and sizes[0] <= _MOST_ROWS:
        values["n_extinct"] = lambda q: float(np.sum((q == 0) & (p > 0)))
        law = selection.best_of_two_outcomes(p, r, k, int(sizes[0]), plan.n_generations)

        def mean(of: np.ndarray, value: Callable[[FloatArray], float]) -> FloatArray:
            return selection.mean_over(of, lambda x: value(np.array([1 - x, x])))

        means = {name: mean(law, value) for name, value in values.items()}
        rewarded = [mean(law[t : t + 1], partial(reward, t))[0] for t in range(len(law))]
        kind = "exact"
    else:
        laws = _laws(plan, p, r, k)
        means = {name: np.array([value(q) for q in laws]) for name, value in values.items()}
        rewarded = [reward(t, q) for t, q in enumerate(laws)]
        kind = "asymptotic"
    means["mean_reward"] = np.array(rewarded)
    return {name: Prediction(value, kind, _SOURCE) for name, value in means.items()}


def predict_edited(plan: Any, *, dim: int, noise: Number) -> Predictions:
    """Test error of a regression on labels that are edited in each generation, for many rows.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.
        dim: dimension d.
        noise: variance of the label noise.

    Returns:
        A prediction `[generation]` of "test_error", if it is known.

    Example:
        >>> from collapse_jax.loop.workflow import Edit, Synthetic, Workflow
        >>> plan = Workflow(synthetic=Synthetic(of=Edit(0.5))).plan(3, 101)
        >>> print(predict_edited(plan, dim=9, noise=1.0)["test_error"].values)
        [0.0989011  0.17307692 0.24725275]
    """
    sizes, share = plans.newest_sizes(plan), np.asarray(plan.source_numbers["share"], np.float64)
    varies = bool(np.any(share[:-1] != share[0]))
    if sizes is None or plans.is_tempered(plan) or sizes[0] < max(_LARGE_SAMPLE * dim, dim + 2):
        return {}
    if plan.source.mask == "fixed" and varies:
        return {}
    ratio = edit_ratio(share if varies else float(share[0]), plan.n_generations, plan.source.mask)
    error = regression.noise_error(int(sizes[0]), dim, noise) * ratio
    source = "after arXiv 2412.14689; derivation in collapse_jax.theory.curation.editing"
    return {"test_error": Prediction(error, "asymptotic", source)}


def predict_extrapolated(plan: Any, *, estimator: str) -> Predictions:
    """Covariance of Gaussian models whose rows come from beyond them, under Replace.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.
        estimator: "mle"; nothing is known of others.

    Returns:
        A prediction `[generation]` of "trace_ratio", if it is known.

    Example:
        >>> from collapse_jax.loop.workflow import Extrapolated, Synthetic, Workflow
        >>> plan = Workflow(synthetic=Synthetic(of=Extrapolated(0.0))).plan(4, 10)
        >>> print(predict_extrapolated(plan, estimator="mle")["trace_ratio"].values)
        [0.9   0.81  0.81  0.729]
    """
    sizes = plans.newest_sizes(plan)
    if sizes is None or estimator != "mle":
        return {}
    trace = extrapolated_covariance(
        sizes,
        np.asarray(plan.source_numbers["weight"], np.float64),
        plan.n_generations,
        temperature=plans.temperature_of(plan),
    )
    source = "after arXiv 2510.03597; derivation in collapse_jax.theory.curation.editing"
    return {"trace_ratio": Prediction(trace, "asymptotic", source)}


def _laws(plan: Any, p: FloatArray, r: FloatArray, k: int) -> list[FloatArray]:
    """Models of very many rows: what is kept, with its weights."""
    weights = np.asarray(plan.row_weights, np.float64)
    batches: list[FloatArray] = []
    laws = []
    for t in range(plan.n_generations):
        kept = int(plan.synthetic_batches[t])
        total = weights[t, 0] * plan.real_size[t] * p
        for age in range(1, kept + 1):
            total = total + weights[t, 1] * plan.synthetic_rows[t - age] * batches[t - age]
        laws.append(total / total.sum())
        batches.append(selection.best_of(laws[-1], r[t], k))
    return laws


def _entropy(q: FloatArray) -> float:
    return float(-np.sum(q[q > 0] * np.log(q[q > 0])))
