"""What the plan of a loop says to the theory: its streams, and whether it is a known loop.

A plan is what `workflow.plan(n_generations, n_samples)` returns. Loops are recognised by their
numbers, not by their names: a window of one batch is Replace, whoever asks for it.
"""

from typing import Any

import numpy as np

from collapse_jax.theory._checks import FloatArray
from collapse_jax.theory.recursion import Counts, Streams


def plan_of(workflow: Any, n_generations: int, n_samples: int) -> Any:
    """The plan of a workflow, or None for an object that has none.

    Args:
        workflow: anything.
        n_generations: number of generations T.
        n_samples: the task's `n_samples`.

    Example:
        >>> print(plan_of("a loop of your own", 3, n_samples=10))
        None
    """
    plan = getattr(workflow, "plan", None)
    return plan(n_generations, n_samples) if callable(plan) else None


def streams_of(plan: Any, population: int | None = None) -> Streams:
    """The streams of a plan.

    Args:
        plan: of T generations.
        population: rows of the data set that real rows are dealt from, if there is one.

    Raises:
        ValueError: for a plan whose rows are not taken as they come; see `is_plain`.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> streams_of(Workflow().plan(3, n_samples=10)).real_rows.tolist()
        [10, 0, 0]
    """
    if not is_plain(plan):
        raise ValueError(
            "plan must be one of rows that are taken as they come, got "
            f"{_made_by(plan)}; theory.curation knows some others"
        )
    last, equally = _source(plan.source)
    everything = plan.fit_rows is None or (
        not plan.with_replacement and np.array_equal(plan.fit_rows, plan.size)
    )
    share = plan.truth_share
    return Streams(
        real_rows=plan.real_rows,
        synthetic_rows=plan.synthetic_rows,
        real_kept=plan.real_batches,
        synthetic_kept=plan.synthetic_batches,
        row_weights=_weights(plan),
        drawn=None if everything else plan.fit_rows,
        with_replacement=plan.with_replacement,
        temperature=temperature_of(plan),
        last=last,
        equally=equally,
        truth_share=0.0 if share is None else np.asarray(share, np.float64),
        population=population,
    )


def _made_by(plan: Any) -> str:
    """What makes rows others than those of a model as they come."""
    return repr(plan.curation or plan.source) if plan.skill is None else f"fit.skill={plan.skill}"


def temperature_of(plan: Any) -> FloatArray:
    """The temperature with which model t is sampled, `[generation]`.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> print(temperature_of(Workflow().plan(3, n_samples=10)))
        [1. 1. 1.]
    """
    given = 1.0 if plan.temperature is None else np.asarray(plan.temperature, np.float64)
    return np.broadcast_to(given, (plan.n_generations,)).astype(np.float64)


def is_tempered(plan: Any) -> bool:
    """Whether any model that matters is sampled at another temperature than 1.

    Example:
        >>> from collapse_jax.loop.workflow import Synthetic, Workflow
        >>> is_tempered(Workflow(synthetic=Synthetic(temperature=[1, 1, 0.5])).plan(3, 10))
        False
    """
    return bool(np.any(temperature_of(plan)[:-1] != 1.0))


def is_plain(plan: Any) -> bool:
    """Whether each generated row is a row of a model or of the truth, taken as it comes.

    It is not where rows are chosen or edited, drawn by a detector, or come from a model that was
    extrapolated: then nothing in this package holds but `curation`.

    Example:
        >>> from collapse_jax.loop.workflow import Synthetic, Workflow
        >>> is_plain(Workflow(synthetic=Synthetic(curation="nearest:0.5")).plan(3, 10))
        False
    """
    source, skill = getattr(plan, "source", None), getattr(plan, "skill", None)
    plain = bool(getattr(source, "plain", True)) and skill is None
    return plain and not getattr(plan, "curation", ())


def is_latest(plan: Any) -> bool:
    """Whether all generated rows come from the newest model.

    Example:
        >>> from collapse_jax.loop.workflow import Past, Synthetic, Workflow
        >>> is_latest(Workflow(synthetic=Synthetic(of=Past(last=1))).plan(3, 10))
        True
    """
    share = plan.truth_share
    newest = is_plain(plan) and _source(plan.source)[0] == 1
    return newest and (share is None or not np.any(np.asarray(share)[:-1]))


def is_equal(plan: Any) -> bool:
    """Whether all rows that are kept weigh the same.

    Example:
        >>> from collapse_jax.loop.workflow import Fit, Real, Workflow
        >>> is_equal(Workflow(Real(keep=None), fit=Fit(real_weight=0.5)).plan(3, 10))
        True
    """
    weights = _weights(plan)
    both = (plan.real_size > 0) & (plan.synthetic_size > 0)
    return bool(np.allclose(weights[both, 0], weights[both, 1], rtol=1e-12, atol=0))


def fewest_rows(plan: Any) -> float:
    """Rows of the poorest fit, or their equivalent where weights are unequal.

    Example:
        >>> from collapse_jax.loop.presets import AccumulateSubsample
        >>> from collapse_jax.loop.workflow import Fit, Real, Workflow
        >>> plan = Workflow(Real(every=True), fit=Fit(real_weight=0.1)).plan(3, n_samples=10)
        >>> fewest_rows(plan), fewest_rows(AccumulateSubsample().plan(99, n_samples=100))
        (10.0, 100.0)
    """
    squares = _weights(plan) ** 2
    equivalent = squares[:, 0] * plan.real_size + squares[:, 1] * plan.synthetic_size
    # Without the last digits, which would make 100 rows less than ten times 10.
    return round(float(np.min(np.minimum(1.0, plan.n_train / plan.size) / equivalent)), 9)


def replaced_sizes(plan: Any) -> Counts | None:
    """Rows of each fit if the loop is Replace (each generation sees the model before it only).

    Drawing some of a new batch without replacement, never to come back to the others, is as good as
    a smaller batch.

    Args:
        plan: of T generations.

    Returns:
        `[generation]`, or None for another loop.

    Example:
        >>> from collapse_jax.loop.workflow import Synthetic, Workflow
        >>> print(replaced_sizes(Workflow(synthetic=Synthetic(n=[20, 30])).plan(2, 10)))
        [10 20]
    """
    return newest_sizes(plan) if is_latest(plan) else None


def newest_sizes(plan: Any) -> Counts | None:
    """Rows of each fit if each generation sees the newest batch only, wherever that comes from.

    Args:
        plan: of T generations.

    Returns:
        `[generation]`, or None for another loop.

    Example:
        >>> from collapse_jax.loop.workflow import Real, Workflow
        >>> print(newest_sizes(Workflow(Real(keep=None)).plan(2, 10)))
        None
    """
    drawn_again = plan.fit_rows is not None and plan.with_replacement
    one_batch = plan.real_size[0] and not np.any(plan.real_size[1:])
    newest = np.all(plan.synthetic_batches[1:] == 1)
    return plan.n_train if one_batch and newest and not drawn_again else None


def accumulated_size(plan: Any) -> int | None:
    """Rows per batch if the loop is Accumulate with batches of one size and equal weights.

    Args:
        plan: of T generations.

    Example:
        >>> from collapse_jax.loop.workflow import Real, Synthetic, Workflow
        >>> accumulated_size(Workflow(Real(keep=None), Synthetic(keep=None)).plan(3, 10))
        10
    """
    n = int(plan.real_rows[0])
    multiples = n * np.arange(1, plan.n_generations + 1)
    all_rows = np.array_equal(plan.n_train, multiples) and np.all(plan.real_size == n)
    constant = np.all(plan.synthetic_rows[:-1] == n) and not plan.with_replacement
    return n if all_rows and constant and is_latest(plan) and is_equal(plan) else None


def support_sizes(plan: Any) -> Counts | None:
    """Number of real rows whose outcomes are just those that generation t has, if there is one.

    So it is where real rows stay for ever and none of the rows is left out: what they lack can only
    come with new real rows.

    Args:
        plan: of T generations.

    Returns:
        `[generation]`, or None for another loop.

    Example:
        >>> from collapse_jax.loop.workflow import Real, Workflow
        >>> print(support_sizes(Workflow(Real(keep=None, every=True)).plan(3, 10)))
        [10 20 30]
    """
    all_real = np.cumsum(plan.real_rows)
    whole = plan.fit_rows is None or (
        not plan.with_replacement and np.array_equal(plan.fit_rows, plan.size)
    )
    kept = np.array_equal(plan.real_size, all_real)
    seen = np.all(_weights(plan)[:, 0] > 0)
    return all_real if whole and kept and seen and is_latest(plan) else None


def _weights(plan: Any) -> FloatArray:
    """Weights of real and of generated rows; where there are none of one, the others have all."""
    weights = np.asarray(plan.row_weights, np.float64)
    total = weights[:, 0] * plan.real_size + weights[:, 1] * plan.synthetic_size
    return weights / total[:, None]


def _source(source: Any) -> tuple[int | None, bool]:
    """How many models there are to choose from, and whether they give equal numbers of rows."""
    equally = getattr(source, "equally", None)
    return (1, False) if equally is None else (source.last, equally)
