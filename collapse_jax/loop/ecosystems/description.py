"""Several models, each of which is fitted to rows of all."""

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from collapse_jax.basics import checks
from collapse_jax.loop.form import Form
from collapse_jax.loop.plan import Plan
from collapse_jax.loop.schedules import SHARE
from collapse_jax.loop.sources import Exchange, Latest
from collapse_jax.loop.workflow import Workflow

_SUM = 1e-6  # how far from 1 a row may be


@dataclass(frozen=True)
class Ecosystem:
    """Several models that go through the same loop, and feed each other.

    Each row of model i's batch comes from a model that is picked at random: with probability
    `mixing[i][j]` it is a row of the newest model j. Every model makes rows of its own for each
    other. All have the same truth, and in generation 1 each is fitted to real rows alone.

    What a model draws depends on its number, not on how many there are, and one model alone is the
    chain of its workflow.

    Args:
        workflow: what each model is fitted to. Its generated rows are those of its mixture.
        mixing: the probabilities Q, `[model, source]`; rows sum to 1.
        truth_share: the probability that a row comes from the truth instead, for each model or for
            all.
        shared_real: whether all models have the same real rows, or each has its own. Where they
            are shared, models that are fitted without chance are the same in generation 1.

    Raises:
        ValueError: if the mixing matrix is not square, has a negative entry or a row that does not
            sum to 1, or if the workflow has a source or a curation of its own.
        TypeError: if an argument is of another type.

    Source:
        Vu, Reeves & Wenger, arXiv 2505.21677; theory in `collapse_jax.theory.ecosystems`.

    Example:
        >>> import collapse_jax as cj
        >>> pair = Ecosystem(cj.Replace(), mixing=[[0.5, 0.5], [0.0, 1.0]])
        >>> ds = cj.simulate(pair, cj.Categorical(3, 20), n_generations=5, seeds=4)
        >>> dict(ds.entropy.sizes)
        {'seed': 4, 'model': 2, 'generation': 5}
    """

    workflow: Workflow
    mixing: Any
    truth_share: Any = 0.0
    shared_real: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.workflow, Workflow):
            raise TypeError(f"workflow must be a Workflow, got {self.workflow!r}")
        synthetic = self.workflow.synthetic
        if not isinstance(synthetic.of, Latest):
            raise ValueError(
                "workflow.synthetic.of must be Latest() in an Ecosystem, whose rows come as "
                f"mixing and truth_share say, got {synthetic.of!r}"
            )
        if synthetic.curation:
            raise ValueError(
                f"workflow.synthetic.curation must be () in an Ecosystem, got {synthetic.curation}"
            )
        if self.workflow.fit.skill is not None:
            raise ValueError(
                f"workflow.fit.skill must be None in an Ecosystem, got {self.workflow.fit.skill!r}"
            )
        if not isinstance(self.shared_real, bool):
            raise TypeError(f"shared_real must be True or False, got {self.shared_real!r}")
        mixing = _checked_mixing(self.mixing)
        object.__setattr__(self, "mixing", mixing)
        object.__setattr__(self, "truth_share", _checked_truth(self.truth_share, len(mixing)))

    @property
    def n_models(self) -> int:
        """How many models there are."""
        return len(self.mixing)

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Where a row comes from: each model, or at last the truth. `[model, source]`"""
        mixing, truth = np.asarray(self.mixing), np.asarray(self.truth_share)[:, None]
        mixing = mixing / mixing.sum(axis=1, keepdims=True)
        return np.concatenate([(1.0 - truth) * mixing, truth], axis=1)

    @property
    def is_alone(self) -> bool:
        """Whether there is one model, and nothing but its own rows."""
        return self.n_models == 1 and not any(self.truth_share)

    def plan(self, n_generations: int, n_samples: int) -> Plan:
        """What happens in each generation of each model, in numbers; see `Workflow.plan`."""
        plan = self.workflow.plan(n_generations, n_samples)
        if self.is_alone:
            return plan
        shares = np.broadcast_to(self.shares, (n_generations, *self.shares.shape))
        source = Exchange(any(self.truth_share))
        return dataclasses.replace(plan, source=source, source_numbers={"shares": shares})


Loop: TypeAlias = Workflow | Ecosystem
"""What one model goes through, or several that feed each other."""


def extended(loop: Loop, form: Form) -> Form:
    """The form of one model's loop as that of all, where there are several."""
    if isinstance(loop, Workflow) or loop.is_alone:
        return form
    return form._replace(models=loop.n_models, shared_real=loop.shared_real)


def _checked_mixing(mixing: Any) -> tuple[tuple[float, ...], ...]:
    """The rows of a square matrix of probabilities, which sum to 1."""
    q = checks.finite_array("mixing", mixing, ndim=2)
    if q.shape[0] != q.shape[1]:
        raise ValueError(f"mixing must have as many columns as rows, one per model, got {q.shape}")
    for row, shares in enumerate(q):
        if np.any(shares < 0.0):
            raise ValueError(
                f"mixing must not be negative, got {shares.min():g} in row {row}, column "
                f"{int(shares.argmin())}"
            )
        if abs(shares.sum() - 1.0) > _SUM:
            raise ValueError(
                f"mixing must have rows that sum to 1, got a sum of {shares.sum():.9g} in row {row}"
            )
    return tuple(map(tuple, q.tolist()))


def _checked_truth(shares: Any, n_models: int) -> tuple[float, ...]:
    values = np.asarray(shares)
    values = checks.finite_array("truth_share", np.atleast_1d(values), ndim=1)
    if len(values) not in (1, n_models):
        raise ValueError(
            f"truth_share must be one number, or one for each of the {n_models} models, got "
            f"{len(values)}"
        )
    wrong = np.flatnonzero((values < SHARE.low) | (values > SHARE.high))
    if len(wrong):
        raise ValueError(
            f"truth_share must be between {SHARE.low:g} and {SHARE.high:g}, got "
            f"{values[wrong[0]]:g} for model {wrong[0]}"
        )
    return tuple(np.broadcast_to(values, (n_models,)).tolist())
