"""Which batches of a pool a model owes its quality to: fits to random subsets of them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import xarray as xr
from jaxtyping import Array, Int

from collapse_jax.basics import checks
from collapse_jax.loop.workflow import Workflow
from collapse_jax.machines.flags import usual_flags
from collapse_jax.numerics.keys import Role, chain_key, stream
from collapse_jax.run.arguments import checked_seeds
from collapse_jax.studies.chains import Loop, fit, loop_of, run
from collapse_jax.tasks import AbstractTask

_HELD_OUT = 0.2  # of the subsets
_RESAMPLED = 200
_FOLDS = 5
_STEPS = 100_000  # subsets of one size have columns that sum to a constant


@usual_flags()
def datamodel(
    workflow: Workflow,
    task: AbstractTask,
    n_generations: int,
    seeds: int | Sequence[int] = 20,
    *,
    metric: str,
    n_masks: int = 1000,
    share: float = 0.5,
) -> xr.Dataset:
    """What each batch of the pool of a loop is worth to a model that is fitted to some of them.

    The batches that generation `n_generations` could be fitted to if all stayed, the real one and
    those of all earlier models, are a pool. Models are fitted to random subsets of its batches, all
    in one program, and a sparse linear regression of their metric on what was included gives every
    batch a weight: by how much the metric changes where this batch takes the place of an average
    one. Negative weights lower the metric.

    Args:
        workflow: a loop with one real batch, all of whose batches have the same size.
        task: what is learned, in closed form or by a compiled training.
        n_generations: batches of the pool, 3 or more.
        seeds: as for `simulate`; each has a pool of its own.
        metric: one that the task measures of a model, preferably a loss.
        n_masks: number of subsets, at least four for each batch.
        share: how much of the pool a subset has.

    Returns:
        `weight`, and the limits `low` and `high` of its 95 % interval over subsets, `[seed,
        batch]`, where batch 0 is the real one and batch b was made by model b; `correlation`
        `[seed]` of predicted and measured metrics of a fifth of the subsets, which the regression
        has not seen, NaN where all are the same; and the measured `metric` itself `[seed, mask]`
        beside `included` `[mask, batch]`.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        Ilyas et al., arXiv 2202.00622.

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.Gaussian(dim=1, n_samples=20)
        >>> found = cj.datamodel(
        ...     cj.Accumulate(), task, 6, seeds=4, metric="squared_error_mean", n_masks=100
        ... )
        >>> found.weight.dims, bool(found.correlation.mean() > 0.5)
        (('seed', 'batch'), True)
    """
    loop, taken = _checked(workflow, task, n_generations, metric, n_masks, share)
    chains = checked_seeds(seeds)
    from sklearn.linear_model import LassoCV  # here, as it is slow to import

    regression = LassoCV(cv=_FOLDS, max_iter=_STEPS, random_state=0)
    rng = np.random.default_rng(0)
    subsets = np.stack([rng.permutation(n_generations)[:taken] for _ in range(n_masks)])
    included = np.zeros((n_masks, n_generations), bool)
    np.put_along_axis(included, np.sort(subsets, axis=1), True, axis=1)
    measured = np.asarray(_measured(loop, metric, jnp.asarray(chains), jnp.asarray(subsets)))
    measured = measured.astype(np.float64) * task.units.get(metric, 1.0)
    if not np.all(np.isfinite(measured)):
        raise ValueError(f"metric must be finite for all subsets, and {metric} is not")
    found = [_regressed(included.astype(float), row, regression) for row in measured]
    weight, low, high, correlation = (np.stack(part) for part in zip(*found, strict=True))
    units = {"units": task.variables[metric].units, "long_name": f"change of {metric}"}
    return xr.Dataset(
        {
            "weight": (("seed", "batch"), weight, units),
            "low": (("seed", "batch"), low, units),
            "high": (("seed", "batch"), high, units),
            "correlation": ("seed", correlation),
            metric: (("seed", "mask"), measured, task.variables[metric]._asdict()),
            "included": (("mask", "batch"), included),
        },
        coords={
            "seed": ("seed", chains.astype(np.int64)),
            "batch": ("batch", np.arange(n_generations), {"long_name": "model that made it"}),
        },
    )


def _checked(
    workflow: Workflow,
    task: AbstractTask,
    n_generations: int,
    metric: str,
    n_masks: int,
    share: Any,
) -> tuple[Loop, int]:
    """The loop, and how many batches a subset has."""
    checks.whole_number("n_generations", n_generations, minimum=3)
    loop = loop_of(workflow, task, n_generations)
    checks.one_of("metric", metric, _measures(loop))
    checks.whole_number("n_masks", n_masks, minimum=4 * n_generations)
    if not 0 < checks.positive_number("share", share) < 1:
        raise ValueError(f"share must be above 0 and below 1, got {share}")
    form = loop.form
    if workflow.real.every or form.real.width != form.synthetic.width or form.synthetic.sizes:
        raise ValueError(
            "workflow must have one real batch, and batches all of the same size, for a pool whose "
            "batches can take each other's place"
        )
    loop = loop._replace(form=form._replace(moving=False))  # one pool, one set of coordinates
    return loop, min(max(1, round(share * n_generations)), n_generations - 1)


def _measures(loop: Loop) -> list[str]:
    """The metrics of a model."""

    def of_first(seed: Array) -> Any:
        chain = run(loop, chain_key(seed))
        return loop.task.measure(chain.world, jax.tree.map(lambda x: x[0], chain.models))

    return [*jax.eval_shape(of_first, jax.ShapeDtypeStruct((), jnp.uint32))]


def _measured(loop: Loop, metric: str, seeds: Array, subsets: Int[Array, "mask taken"]) -> Array:
    """The metric of each subset of each pool. `[seed, mask]`"""
    task = loop.task

    @jax.jit
    def of_seed(seed: Array) -> Array:
        key = chain_key(seed)
        chain = run(loop, key)
        pool = jax.tree.map(
            lambda real, made: jnp.stack([real, *made[:-1]]), chain.real, chain.made
        )

        def of_subset(number: Array, chosen: Int[Array, " taken"]) -> Array:
            rows = jax.tree.map(lambda x: x[chosen].reshape(-1, *x.shape[2:]), pool)
            own = jax.random.fold_in(stream(key, 0, Role.FIT), number)
            return task.measure(chain.world, fit(task, chain.world, rows, own))[metric]

        return jax.vmap(of_subset)(jnp.arange(len(subsets)), subsets)

    return jax.lax.map(of_seed, seeds)


def _regressed(
    included: npt.NDArray[np.float64], measured: npt.NDArray[np.float64], regression: Any
) -> tuple[Any, Any, Any, Any]:
    """Weights of one pool, their intervals, and the correlation on subsets that were held out."""
    scale = measured.std()
    if scale == 0:
        nothing = np.zeros(included.shape[1])
        return nothing, nothing, nothing, np.nan
    held_out = int(_HELD_OUT * len(measured))
    x, y = included[held_out:], measured[held_out:] / scale
    regression.fit(x, y)
    predicted = regression.predict(included[:held_out])
    spread = predicted.std()
    correlation = np.corrcoef(predicted, measured[:held_out])[0, 1] if spread > 0 else 0.0
    weight = _centred(regression.coef_) * scale
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, len(y), (_RESAMPLED, len(y)))
    resampled = np.stack([_least_squares(x[rows], y[rows]) for rows in drawn]) * scale
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0) - resampled.mean(axis=0) + weight
    return weight, low, high, np.asarray(correlation)


def _centred(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights about their mean, which subsets of one size leave open."""
    return weights - weights.mean()


def _least_squares(
    included: npt.NDArray[np.float64], measured: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    centred = included - included.mean(axis=0)
    return _centred(np.linalg.lstsq(centred, measured - measured.mean(), rcond=1e-9)[0])
