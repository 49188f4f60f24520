"""Which loops a task can run."""

from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_jax.loop.curation.checks import check_curation
from collapse_jax.loop.plan import Plan
from collapse_jax.loop.sources import Edit, Extrapolated, Latest
from collapse_jax.tasks.contract import EditsTokens, HasScores

if TYPE_CHECKING:
    from collapse_jax.tasks.base import AbstractTask

_MOST_KEPT = 2**30  # rows, where they are kept one by one


def check_loop(workflow: Any, task: "AbstractTask", plan: Plan) -> None:
    """Check that a task can do what a workflow asks of it.

    Raises:
        ValueError: if it has no temperature, no past models to sample, no parameters to go beyond,
            no steps for phases, no labels to verify, or fewer rows than a fit or, of the user's, a
            batch needs; if functions of a curation return anything but finite numbers.
    """
    name = type(task).__name__
    if plan.temperature is not None and not task.takes_temperature:
        raise ValueError(
            f"synthetic.temperature must be 1 with a {name}, which has no temperature, got "
            f"{workflow.synthetic.temperature!r}"
        )
    if not isinstance(plan.source, Latest | Edit) and task.acceptance is not None:
        raise ValueError(
            f"synthetic.of must be Latest() or Edit(...) with a {name}, got "
            f"{workflow.synthetic.of!r}"
        )
    of_tokens = isinstance(plan.source, Edit) and plan.source.of_tokens
    if of_tokens and not isinstance(task, EditsTokens):
        raise ValueError(
            "synthetic.of must be Edit(...) without threshold, top_k and beta with a "
            f"{name}, whose rows are no texts, got {workflow.synthetic.of!r}"
        )
    of_scores = isinstance(plan.source, Extrapolated) and plan.source.space == "scores"
    if of_scores and not isinstance(task, HasScores):
        raise ValueError(
            f"synthetic.of.space must be 'parameters' with a {name}, whose models have no scores, "
            f"got {workflow.synthetic.of!r}"
        )
    if isinstance(plan.source, Extrapolated) and not (of_scores or task.extrapolates):
        raise ValueError(
            f"synthetic.of must not be Extrapolated(...) with a {name}, whose model is no vector "
            f"of parameters, got {workflow.synthetic.of!r}"
        )
    if plan.source.edits:
        _check_edits(workflow, task, plan)
    if plan.curation:
        check_curation(plan.curation, task, plan.n_generations)
    if plan.warm_start and not task.takes_start:
        raise ValueError(
            f"fit.warm_start must be False with a {name}, whose fit starts from nothing, got True"
        )
    if plan.real_weight is not None and not task.takes_weights:
        raise ValueError(
            f"fit.real_weight must be None with a {name}, whose fit weighs all rows alike, got "
            f"{workflow.fit.real_weight!r}"
        )
    if workflow.fit.phases and not task.takes_phases:
        raise ValueError(
            f"fit.phases must be () with a {name}, whose fit has no phases, got "
            f"{workflow.fit.phases!r}"
        )
    least = int(plan.n_train.argmin())
    if plan.n_train[least] < task.fewest_rows:
        raise ValueError(
            f"real.n, synthetic.n and fit.n must give each fit of this {name} {task.fewest_rows} "
            f"rows or more, got {plan.n_train[least]} in generation {least + 1}"
        )
    if task.population is not None and plan.real_rows.max() > task.population:
        raise ValueError(
            f"real.n must not exceed the {task.population} training rows of data, got "
            f"{plan.real_rows.max()}"
        )


def _check_edits(workflow: Any, task: "AbstractTask", plan: Plan) -> None:
    if task.acceptance is not None and task.acceptance.rewrites:
        raise ValueError(
            f"synthetic.of must not be Edit(...) with a {type(task).__name__} that learns from its "
            f"{task.acceptance.noun} as they are written, got {workflow.synthetic.of!r}"
        )
    if not _is_one_size(plan):
        raise ValueError(
            "synthetic.of can be Edit(...) only where all batches have as many rows as the one "
            f"real batch, got {plan.real_rows[0]} and {plan.synthetic_rows.min()} to "
            f"{plan.synthetic_rows.max()} rows" + (" and real.every" if workflow.real.every else "")
        )


def check_compiled(task: "AbstractTask") -> None:
    """Check that all of a task's generation can be one program.

    Raises:
        ValueError: if its rows are accepted by a rule on the host.
    """
    if task.acceptance is not None:
        raise ValueError(
            f"task must not be a {type(task).__name__} here, whose {task.acceptance.noun} are "
            "accepted by a rule in Python; use simulate, which runs it stage by stage"
        )


def _is_one_size(plan: Plan) -> bool:
    once = not np.any(plan.real_rows[1:])
    return once and bool(np.all(plan.synthetic_rows == plan.real_rows[0]))


def check_rows(slots: int, width: int) -> None:
    """Check that the rows that are kept can be numbered in 32 bits.

    Raises:
        ValueError: if there are 2**30 or more.
    """
    if slots * width >= _MOST_KEPT:
        raise ValueError(
            "n_samples * n_generations must be below 2**30 where rows are kept, got "
            f"{slots * width:,}"
        )
