"""A loop in numbers: what happens in each generation, worked out on the host before it runs.

Everything else reads the plan: the compiled program its columns, the dataset its sizes, the theory
its weights, the figures its batches.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from collapse_jax.basics import checks
from collapse_jax.loop.schedules import SHARE, values_of
from collapse_jax.loop.sources import Source
from collapse_jax.tasks.contract import Variable

if TYPE_CHECKING:
    from collapse_jax.loop.curation.operators import AbstractOperator
    from collapse_jax.loop.workflow import Workflow

Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

MOST_ROWS = 2**40  # of one batch


SIZES: dict[str, Variable] = {
    "n_train": Variable("size of the training set", "rows"),
    "real_fraction": Variable("share of the training set that is real", "1"),
}
"""The variables that the workflow, not the task, determines."""

CURATION: dict[str, Variable] = {
    "acceptance_rate": Variable("share of the rows generated that curation takes", "1"),
    "mean_reward": Variable("mean reward or score of the rows taken", "1"),
}
"""Those that a workflow with a curation has in addition."""


@dataclass(frozen=True)
class Plan:
    """What happens in generations t = 1..T; entry t - 1 of each column is generation t's.

    Columns of whole numbers are 64 bit wide, since a long run sees more than 2**31 rows. Where a
    weight, temperature or share is traced, its column is an array of JAX.
    """

    n_generations: int
    n_samples: int
    real_rows: Counts
    """Rows of the real batch that is new in generation t; 0 where there is none. `[generation]`"""
    synthetic_rows: Counts
    """Rows that model t generates, which are new in generation t + 1. `[generation]`"""
    real_batches: Counts
    """Real batches that are kept in generation t. `[generation]`"""
    synthetic_batches: Counts
    """Generated batches that are kept in generation t. `[generation]`"""
    real_size: Counts
    """Rows of the real batches kept. `[generation]`"""
    synthetic_size: Counts
    """Rows of the generated batches kept. `[generation]`"""
    fit_rows: Counts | None
    """Rows drawn for the fit; None where all rows are used. `[generation]`"""
    with_replacement: bool
    warm_start: bool
    real_weight: Any
    """Weight of all real rows together; None where all rows weigh the same. `[generation]`"""
    skill: Any
    """Chance that a generated row that is drawn is known for one, of numbers from 0 to 1; None
    where nobody looks. `[generation]`"""
    temperature: Any
    """`[generation]`; None where it is 1 in all generations."""
    source: Source
    """Which models the rows come from."""
    source_numbers: dict[str, Any]
    """The numbers of the source. `[generation]`"""
    curation: "tuple[AbstractOperator, ...]"
    """What a batch is chosen by; empty where all rows are taken."""
    curation_numbers: tuple[dict[str, Any], ...]
    """The numbers of each of these. `[generation]`"""

    @property
    def size(self) -> Counts:
        """Rows that are kept in generation t. `[generation]`"""
        return self.real_size + self.synthetic_size

    @property
    def n_train(self) -> Counts:
        """Rows that generation t is fitted to. `[generation]`"""
        return self.size if self.fit_rows is None else self.fit_rows

    @property
    def real_fraction(self) -> Numbers:
        """Share of real rows among these, on average where they are drawn. `[generation]`"""
        return self.real_size / self.size

    @property
    def truth_share(self) -> Any:
        """Share of rows that come from the truth, of `Mixed`; else None. `[generation]`"""
        return self.source_numbers.get("truth_share")

    @property
    def from_one_model(self) -> bool:
        """Whether all rows of a batch are independent rows of one model."""
        return self.source.of_one_model and not self.curation

    @property
    def by_rows(self) -> bool:
        """Whether batches have no law of their own, so that they are made row by row."""
        return bool(self.curation) or self.source.edits

    @property
    def row_weights(self) -> Any:
        """Weight of a real row and of a generated row, the sum over all rows being 1.

        Where there are rows of one kind only, as in generation 1, they have all of it; the weight
        of the other kind does not matter then. `[generation, 2]`
        """
        equal = 1.0 / np.stack([self.size, self.size], axis=1)
        if self.real_weight is None:
            return equal
        both = ((self.real_size > 0) & (self.synthetic_size > 0))[:, None]
        real = self.real_weight / np.maximum(self.real_size, 1)
        synthetic = (1.0 - self.real_weight) / np.maximum(self.synthetic_size, 1)
        if isinstance(self.real_weight, np.ndarray):
            weights = np.stack([real, synthetic], axis=1)
            return np.where(both, weights, equal)
        import jax.numpy as jnp

        return jnp.where(both, jnp.stack([real, synthetic], axis=1), equal)

    @property
    def effective_size(self) -> Any:
        """One over the sum of the squared weights of the rows kept (Kish). `[generation]`

        The number of rows where all weigh the same.
        """
        if self.real_weight is None:
            return self.size.astype(np.float64)
        weights = self.row_weights**2
        return 1.0 / (weights[:, 0] * self.real_size + weights[:, 1] * self.synthetic_size)


def make_plan(workflow: "Workflow", n_generations: int, n_samples: int) -> Plan:
    """The plan of a workflow; see `Workflow.plan`."""
    real, synthetic, fit = workflow.real, workflow.synthetic, workflow.fit
    checks.whole_number("n_generations", n_generations)
    t = np.arange(1, n_generations + 1)
    real_rows = _sizes("real.n", real.n, n_generations, n_samples)
    if not real.every:
        real_rows[1:] = 0
    synthetic_rows = _sizes("synthetic.n", synthetic.n, n_generations, n_samples)
    real_batches = np.minimum(t, _limit(real.keep)) if real.every else t <= _limit(real.keep)
    synthetic_batches = np.minimum(t - 1, _limit(synthetic.keep))
    real_size = _window(real_rows, real.keep)
    synthetic_size = _window(np.concatenate([[0], synthetic_rows[:-1]]), synthetic.keep)
    return Plan(
        n_generations=n_generations,
        n_samples=n_samples,
        real_rows=real_rows,
        synthetic_rows=synthetic_rows,
        real_batches=np.asarray(real_batches, np.int64),
        synthetic_batches=synthetic_batches,
        real_size=real_size,
        synthetic_size=synthetic_size,
        fit_rows=_fit_rows(fit, n_generations, n_samples, real_size + synthetic_size),
        with_replacement=fit.with_replacement,
        warm_start=fit.warm_start,
        real_weight=_between("fit.real_weight", fit.real_weight, n_generations),
        skill=_skill(fit.skill, n_generations, real_size),
        temperature=_temperature(synthetic.temperature, n_generations),
        source=synthetic.of,
        source_numbers=synthetic.of.values("synthetic.of", n_generations),
        curation=synthetic.curation,
        curation_numbers=tuple(
            operator.values(f"synthetic.curation[{i}]", n_generations)
            for i, operator in enumerate(synthetic.curation)
        ),
    )


def _limit(keep: int | None) -> int:
    return 2**62 if keep is None else keep


def _window(rows: Counts, keep: int | None) -> Counts:
    """Sums of the last `keep` entries."""
    total = np.concatenate([[0], np.cumsum(rows)])
    first = np.maximum(np.arange(1, len(rows) + 1) - _limit(keep), 0)
    return total[1:] - total[first]


def _sizes(name: str, schedule: Any, n_generations: int, n_samples: int) -> Counts:
    if schedule is None:
        return np.full(n_generations, n_samples, np.int64)
    return _whole(name, values_of(name, schedule, n_generations))


def _whole(name: str, values: Any) -> Counts:
    if not isinstance(values, np.ndarray):
        raise TypeError(f"{name} must be known numbers of rows, got a traced value")
    wrong = np.flatnonzero((values < 1) | (values != np.round(values)) | (values > MOST_ROWS))
    if len(wrong):
        raise ValueError(
            f"{name} must be a whole number of rows between 1 and {MOST_ROWS}, got "
            f"{values[wrong[0]]:g} in generation {wrong[0] + 1}"
        )
    return values.astype(np.int64)


def _fit_rows(fit: Any, n_generations: int, n_samples: int, size: Counts) -> Counts | None:
    if fit.n is None:
        return None
    wanted = _sizes("fit.n", None if fit.n == "batch" else fit.n, n_generations, n_samples)
    if fit.with_replacement:
        return wanted
    if np.all(wanted > size) and not (fit.n == "batch"):
        raise ValueError(
            f"fit.n must not be more rows than there ever are, {size.max()} in {n_generations} "
            f"generations, got {wanted.min()}"
        )
    return np.minimum(wanted, size)


def _between(name: str, schedule: Any, n_generations: int) -> Any:
    """The values of a schedule whose values are from 0 to 1; None for None."""
    if schedule is None:
        return None
    return SHARE.check(name, values_of(name, schedule, n_generations))


def _skill(schedule: Any, n_generations: int, real_size: Counts) -> Any:
    """As `_between`, of a detector that must leave rows to draw."""
    values = _between("fit.skill", schedule, n_generations)
    if isinstance(values, np.ndarray) and np.any(none := (values == 1.0) & (real_size == 0)):
        raise ValueError(
            "fit.skill must be below 1 where no real row is kept, got 1 in generation "
            f"{np.argmax(none) + 1}"
        )
    return values


def _temperature(schedule: Any, n_generations: int) -> Any:
    values = values_of("synthetic.temperature", schedule, n_generations)
    if not isinstance(values, np.ndarray):
        return values
    if np.any(values <= 0.0):
        raise ValueError(f"synthetic.temperature must be positive, got {values.min():g}")
    return None if np.all(values == 1.0) else values


def host_sizes(plan: Plan) -> dict[str, np.ndarray]:
    """The sizes that the plan alone decides, exactly; each `[generation]`.

    The share of real rows is a random number where rows are drawn.
    """
    sizes: dict[str, np.ndarray] = {"n_train": plan.n_train}
    if plan.fit_rows is None:
        sizes["real_fraction"] = plan.real_fraction
    return sizes
