"""The operators of a curation, each of which makes batches of batches; write your own as one more.

An operator is handed a way to draw candidates, which may be curated themselves, and returns as many
rows as are wanted. What it needs for that is its own affair, so that operators compose.
"""

import copy
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from collapse_jax.basics import checks
from collapse_jax.loop.curation.candidates import (
    Candidates,
    Draw,
    best_of_many,
    first_accepted,
    in_groups,
)
from collapse_jax.loop.curation.detector import Detector
from collapse_jax.loop.curation.judge import Judge
from collapse_jax.loop.schedules import SHARE, Numbered, Range, Schedule
from collapse_jax.tasks.base import Rows

_SOME = Range(0.0, 1.0, open=True)


class AbstractOperator(Numbered, ABC):
    """What is taken of generated rows: a frozen dataclass with two methods.

    Fields that `numbers` names are schedules, whose values do not recompile; those annotated as
    `Callable` are functions of a row, or of a row and its label, and are saved by their import
    path.
    """

    needs_labels: ClassVar[bool] = False
    """Whether rows must have labels that are right or wrong."""
    needs_distances: ClassVar[bool] = False
    """Whether rows must be points."""

    @property
    def multiple(self) -> float:
        """About how many candidates a row takes in one generation, as far as that is known."""
        return 1.0

    @property
    def together(self) -> int:
        """How many candidates, all of which answer one prompt, are compared with each other."""
        return 1

    def __post_init__(self) -> None:
        self.check_numbers(type(self).__name__)
        for name, function in self.functions.items():
            if not (callable(function) or isinstance(function, Detector)):
                raise TypeError(
                    f"{type(self).__name__}.{name} must be a function of a row, got {function!r}"
                )
            try:
                hash(function)
            except TypeError:
                raise TypeError(
                    f"{type(self).__name__}.{name} must be hashable, as functions are, got "
                    f"{function!r}"
                ) from None

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """The fields that are functions of a row, or detectors."""
        return {name: getattr(self, name) for name in function_fields(type(self))}

    def trained(self, draw: Draw, judge: Judge, key: Key[Array, ""], n: int) -> Any:
        """The operator of a generation, whose detectors are trained on candidates for it."""
        made = copy.copy(self)
        for i, (name, function) in enumerate(self.functions.items()):
            if isinstance(function, Detector):
                score = function.trained(draw, judge, jax.random.fold_in(key, i), n)
                object.__setattr__(made, name, score)
        return made

    @abstractmethod
    def curate(self, draw: Draw, judge: Judge, key: Key[Array, ""], n: int) -> Candidates:
        """`n` rows, in random order.

        Args:
            draw: makes candidates.
            judge: what is known of rows.
            key: the key of the draws. Those of the operator and those of its candidates must be
                different, for instance `jax.random.fold_in(key, i)`.
            n: how many rows are wanted.
        """

    @abstractmethod
    def value(self, judge: Judge, rows: Rows) -> Float[Array, " n"]:
        """What each row is judged by; `mean_reward` is the mean of it."""


def function_fields(cls: type[AbstractOperator]) -> list[str]:
    """The fields of an operator that are functions of a row."""
    annotations = typing.get_type_hints(cls)
    return [
        field.name
        for field in fields(cls)  # pyright: ignore
        if typing.get_origin(annotations[field.name]) is Callable
    ]


@dataclass(frozen=True)
class BestOf(AbstractOperator):
    """Of each `k` candidates one, with a probability proportional to the exponential of its reward.

    Where language models answer prompts, the `k` candidates are answers to the same one.

    Args:
        reward: a JAX function of one row, as the user knows it, that returns a number; of a row and
            its label where rows have labels. Of language models a Python function of a text. One
            with an argument `*, generation` drifts: it is told which model made the row. A
            `Detector` is trained in each generation.
        k: number of candidates, at least 1.

    Raises:
        ValueError: if `k` is below 1.

    Source:
        Ferbach et al., arXiv 2407.09499; `collapse_jax.theory.curation.best_of`.

    Example:
        >>> import collapse_jax as cj
        >>> loop = cj.Workflow(synthetic=cj.Synthetic(curation=cj.BestOf(lambda x: 1.0 * x, 4)))
        >>> ds = cj.simulate(loop, cj.Categorical(3, 50), 5, seeds=9, progress=False)
        >>> print(ds.acceptance_rate.values.max(), bool((ds.mean_reward > 1).all()))
        0.25 True
    """

    reward: Callable[..., Any]
    k: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole_number("BestOf.k", self.k)

    @property
    def multiple(self) -> float:
        return float(self.k)

    @property
    def together(self) -> int:
        return self.k

    def curate(self, draw: Draw, judge: Judge, key: Key[Array, ""], n: int) -> Candidates:
        made = in_groups(draw, judge.prompt, jax.random.fold_in(key, 0), n, self.k, judge.most)
        if judge.on_host and not bool(made.full):
            return made
        rewards = self.value(judge, made.rows)
        finite = made.finite & jnp.all(jnp.isfinite(rewards))
        rewards = rewards.reshape(n, self.k)
        weights = jnp.exp(rewards - jnp.max(rewards, axis=1, keepdims=True))
        upto = jnp.cumsum(weights, axis=1)
        dart = jax.random.uniform(jax.random.fold_in(key, 1), (n, 1)) * upto[:, -1:]
        chosen = jnp.minimum(jnp.sum(upto <= dart, axis=1, dtype=jnp.int32), self.k - 1)
        index = self.k * jnp.arange(n) + chosen
        rows = jax.tree.map(lambda x: x[index], made.rows)
        return made._replace(rows=rows, finite=finite)

    def value(self, judge: Judge, rows: Rows) -> Float[Array, " n"]:
        return judge.of(self.reward, rows)


@dataclass(frozen=True)
class Filter(AbstractOperator):
    """The share of candidates with the highest scores: the best n of `n / keep`.

    Candidates are compared whichever prompts they answer: some may be answered more often.

    Args:
        score: a function as for `BestOf`.
        keep: the share that is taken, above 0 and at most 1; a schedule.

    Raises:
        ValueError: if `keep` is outside these limits.
    """

    score: Callable[..., Any]
    keep: Schedule
    numbers: ClassVar = {"keep": _SOME}

    @property
    def multiple(self) -> float:
        return 1.0 / float(self.keep)  # pyright: ignore

    def curate(self, draw: Draw, judge: Judge, key: Key[Array, ""], n: int) -> Candidates:
        score = partial(self.value, judge)
        return best_of_many(draw, score, _f32(self.keep), key, n, on_host=judge.on_host)

    def value(self, judge: Judge, rows: Rows) -> Float[Array, " n"]:
        return judge.of(self.score, rows)


@dataclass(frozen=True)
class Threshold(AbstractOperator):
    """Candidates whose score is not below a bound, for instance near to what a verifier predicts.

    Args:
        score: a function as for `BestOf`; `lambda x, y: -abs(y - x @ w)` is the distance of labels
            from the predictions of a verifier with coefficients `w`.
        least: the lowest score that is taken; a schedule.

    Raises:
        ValueError: if `least` is not finite.

    Source:
        Yi et al., arXiv 2510.16657; `collapse_jax.theory.curation.verified`.
    """

    score: Callable[..., Any]
    least: Schedule
    numbers: ClassVar = {"least": Range()}

    def curate(self, draw: Draw, judge: Judge, key: Key[Array, ""], n: int) -> Candidates:
        def accept(key, rows):
            scores = self.value(judge, rows)
            return scores >= _f32(self.least), jnp.all(jnp.isfinite(scores))

        return first_accepted(draw, accept, key, n, judge.most, on_host=judge.on_host)

    def value(self, judge: Judge, rows: Rows) -> Float[Array, " n"]:
        return judge.of(self.score, rows)


@dataclass(frozen=True)
class Accept(AbstractOperator):
    """Candidates for which a rule says True; `mean_reward` is 1.

    Args:
        rule: a function as for `BestOf` that returns True or False.

    Example:
        >>> import collapse_jax as cj
        >>> loop = cj.Workflow(synthetic=cj.Synthetic(curation=cj.Accept(lambda x: x > 0)))
        >>> ds = cj.simulate(loop, cj.Categorical(4, 50), 2, seeds=9, progress=False)
        >>> bool((ds.n_extinct[:, 1] >= 1).all())
        True
    """

    rule: Callable[..., Any]

    def curate(self, draw: Draw, judge: Judge, key: Key[Array, ""], n: int) -> Candidates:
        def accept(key, rows):
            said = self.value(judge, rows)
            return said > 0.5, jnp.all((said == 0.0) | (said == 1.0))

        return first_accepted(draw, accept, key, n, judge.most, on_host=judge.on_host)

    def value(self, judge: Judge, rows: Rows) -> Float[Array, " n"]:
        return judge.of(self.rule, rows)


@dataclass(frozen=True)
class Nearest(AbstractOperator):
    """The share of candidates that are nearest to the chain's first real rows.

    Distances are Euclidean, of rows as the user knows them, with their labels where they have any.
    `mean_reward` is the mean distance, with a minus.

    Args:
        keep: the share that is taken, above 0 and at most 1; a schedule.

    Raises:
        ValueError: if `keep` is outside these limits.

    Source:
        arXiv 2311.00931.
    """

    keep: Schedule
    numbers: ClassVar = {"keep": _SOME}
    needs_distances: ClassVar[bool] = True

    def curate(self, draw: Draw, judge: Judge, key: Key[Array, ""], n: int) -> Candidates:
        score = partial(self.value, judge)
        return best_of_many(draw, score, _f32(self.keep), key, n, on_host=judge.on_host)

    def value(self, judge: Judge, rows: Rows) -> Float[Array, " n"]:
        return -judge.distance(rows)


@dataclass(frozen=True)
class Verify(AbstractOperator):
    """A verifier that sees right labels and wrong ones with different eyes.

    A row whose label is right is accepted with one probability, another one with another.
    `mean_reward` is the share of right labels.

    Args:
        right: the probability for a right label, from 0 to 1; a schedule.
        wrong: that for a wrong label; a schedule.

    Raises:
        ValueError: if one is outside these limits.

    Source:
        Feng et al., arXiv 2406.07515; `collapse_jax.theory.curation.label_accuracy`.
    """

    right: Schedule
    wrong: Schedule
    numbers: ClassVar = {"right": SHARE, "wrong": SHARE}
    needs_labels: ClassVar[bool] = True

    def curate(self, draw: Draw, judge: Judge, key: Key[Array, ""], n: int) -> Candidates:
        def accept(key, rows):
            chance = jnp.where(judge.right(rows), _f32(self.right), _f32(self.wrong))
            return jax.random.uniform(key, (n,)) < chance, jnp.asarray(True)

        return first_accepted(draw, accept, key, n, judge.most, on_host=judge.on_host)

    def value(self, judge: Judge, rows: Rows) -> Float[Array, " n"]:
        return jnp.asarray(judge.right(rows), jnp.float32)


def _f32(number: Any) -> Float[Array, ""]:
    return jnp.asarray(number, jnp.float32)
