"""What is known of the metrics of models that are fitted to some of the batches that are kept."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from collapse_jax.theory import categorical, plans, regression
from collapse_jax.theory._checks import FloatArray
from collapse_jax.theory.moments import risk_ratio, second_moments
from collapse_jax.theory.predictions import Prediction, Predictions

_SOURCE = "collapse_jax.theory.moments, with the weights of collapse_jax.theory.inclusion"
_RATIO = "risk ratio of collapse_jax.theory.moments (after arXiv 2410.22812) times exact fit"
_LARGE_SAMPLE = 10  # asymptotic results are given for n >= 10 d


class MaskedStreams(NamedTuple):
    """Batches as `moments.second_moments` knows them, real ones first."""

    weights: FloatArray
    """That of each batch in each fit. `[generation, batch]`"""
    sizes: npt.NDArray[np.int64]
    """`[batch]`"""
    sources: npt.NDArray[np.int64]
    """The generation whose model made it, 0 for real ones. `[batch]`"""


def masked_streams(plan: Any, include: npt.NDArray[np.bool_]) -> MaskedStreams:
    """The weights of all batches, where those that are masked have none.

    Args:
        plan: of T generations, of rows of the newest model, all of which are used.
        include: `[generation, batch]`, T or more of both; batch 0 is what is real, batch b what
            model b made.

    Raises:
        ValueError: where a fit would have nothing.

    Example:
        >>> from collapse_jax.loop.workflow import Real, Synthetic, Workflow
        >>> plan = Workflow(Real(keep=None), Synthetic(keep=None)).plan(3, n_samples=10)
        >>> print(masked_streams(plan, np.tri(3, dtype=bool)).weights.round(2))
        [[1.   0.   0.  ]
         [0.5  0.5  0.  ]
         [0.33 0.33 0.33]]
        >>> print(masked_streams(plan, np.eye(3, dtype=bool)).weights)
        [[1. 0. 0.]
         [0. 1. 0.]
         [0. 0. 1.]]
    """
    n = plan.n_generations
    born = np.flatnonzero(plan.real_rows)
    sizes = np.concatenate([plan.real_rows[born], plan.synthetic_rows[: n - 1]])
    sources = np.concatenate([np.zeros(len(born), np.int64), np.arange(1, n)])
    weights = np.zeros((n, len(sizes)))
    for i in range(n):
        count = int(np.sum(born <= i))
        real = np.arange(count - int(plan.real_batches[i]), count) if include[i, 0] else []
        made = np.arange(i - int(plan.synthetic_batches[i]), i)
        made = made[include[i, made + 1]]
        rows = [np.asarray(sizes[batches], np.float64) for batches in (real, made + len(born))]
        total = [float(part.sum()) for part in rows]
        if not sum(total):
            raise ValueError(
                f"include must leave each fit a batch, and generation {i + 1} has none"
            )
        shares = np.asarray(total) / sum(total)
        if plan.real_weight is not None and all(total):
            shares = np.asarray([plan.real_weight[i], 1.0 - plan.real_weight[i]])
        for batches, part, share, size in zip(
            (real, made + len(born)), rows, shares, total, strict=True
        ):
            weights[i, batches] = share * part / max(size, 1.0)
    return MaskedStreams(weights, sizes, sources)


def predict_masked(
    workflow: Any, task: Any, n_generations: int, include: npt.NDArray[np.bool_]
) -> Predictions:
    """Metrics where all models are fitted to all rows of some batches.

    Exact for Gaussians and categorical models, and for regressions with a fixed design where
    batches repeat it; for fresh designs the large-sample value, for n >= 10 d.

    Args:
        workflow: a loop whose rows come from the newest model as they are, at one temperature.
        task: a task of the package, of a truth that is a law.
        n_generations: number of generations T.
        include: as for `masked_streams`.

    Returns:
        Predictions `[generation]` of what is known.

    Raises:
        ValueError: where a fit would have nothing.

    Example:
        >>> import collapse_jax as cj
        >>> known = predict_masked(cj.Accumulate(), cj.Gaussian(1, 10), 2, np.eye(2, dtype=bool))
        >>> print(known["trace_ratio"].values.round(3), known["n_train"].values)
        [0.9  0.81] [10. 10.]
    """
    plan = plans.plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None or plan.fit_rows is not None:
        return {}
    streams = masked_streams(plan, include)
    used = streams.weights > 0
    rows = used @ streams.sizes
    real = used[:, streams.sources == 0] @ streams.sizes[streams.sources == 0]
    known = {
        "n_train": Prediction(rows.astype(np.float64), "exact", "definition"),
        "real_fraction": Prediction(real / rows, "exact", "definition"),
    }
    temperature = plans.temperature_of(plan)[:-1]
    steady = not len(temperature) or bool(np.all(temperature == temperature[0]))
    if not (plans.is_latest(plan) and steady) or task.population is not None:
        return known
    return known | _of_task(task, plan, streams, float([*temperature, 1.0][0]))


def _of_task(task: Any, plan: Any, streams: MaskedStreams, temperature: float) -> Predictions:
    from collapse_jax import tasks  # here, so that the formulas load without JAX

    concentration = streams.weights**2 @ (1.0 / streams.sizes)
    if isinstance(task, tasks.Gaussian):
        if task.estimator == "unbiased" and np.any(concentration > 1 - 1e-9):
            return {}
        options = {"sampling_scale": temperature, "estimator": task.estimator}
        found = second_moments(*streams, **options)
        covariance = np.asarray(task.covariance, np.float64)
        full = covariance.ndim == 2
        trace = np.trace(covariance) if full else np.broadcast_to(covariance, task.dim).sum()
        return {
            "squared_error_mean": Prediction(trace * found.mean_error, "exact", _SOURCE),
            "trace_ratio": Prediction(found.covariance, "exact", _SOURCE),
        }
    if temperature != 1.0:
        return {}
    if isinstance(task, tasks.Categorical):
        p = np.asarray(task.probabilities, np.float64)
        collision = categorical.collision(p, second_moments(*streams).covariance)
        error = collision - float(p @ p)
        return {
            "collision": Prediction(collision, "exact", _SOURCE),
            "squared_error": Prediction(error, "exact", _SOURCE),
        }
    if isinstance(task, tasks.LinearRegression):
        n, d = plan.n_samples, int(task.dim)
        repeated = task.design == "fixed" and not np.any(streams.sizes % n)
        if not repeated and 1.0 / concentration.max() < max(_LARGE_SAMPLE * d, d + 2):
            return {}
        ratio = risk_ratio(streams.weights, streams.sizes / n, streams.sources)
        error = regression.noise_error(n, d, float(task.noise)) * ratio
        if not np.all(np.isfinite(error)):
            return {}
        kind, source = ("exact", _SOURCE) if repeated else ("asymptotic", _RATIO)
        lost = max(d - n, 0) if repeated else 0  # directions that no generation sees
        return {"test_error": Prediction(lost + error, kind, source)}
    return {}
