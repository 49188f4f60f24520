"""Fits that are functions of sums over rows, in double precision and on the host.

From such sums a part can be taken out again. What is left is then what sums over the other rows
are, up to the rounding of what was there.
"""

from collections.abc import Callable
from functools import singledispatch
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from collapse_jax.tasks.base import AbstractTask, Model, Rows, World
from collapse_jax.tasks.categorical import Categorical
from collapse_jax.tasks.exponential_family import ExponentialFamily
from collapse_jax.tasks.gaussian import Gaussian
from collapse_jax.tasks.linear_regression import LinearRegression
from collapse_jax.tasks.parts.normal import Normal

Numbers: TypeAlias = npt.NDArray[np.float64]

_RANK = 1e-12  # of the largest eigenvalue of a sum; those below are rounding


class Additive(NamedTuple):
    """How the models of one chain follow from sums over its rows."""

    total: Callable[[Numbers], tuple[Any, ...]]
    """The sums, of rows with these weights. `[place]`"""
    solve: Callable[[tuple[Any, ...], float], tuple[Numbers, ...]]
    """The parameters that belong to sums, over so many rows."""
    model: Callable[[tuple[Numbers, ...]], Model]
    """The model that has these parameters, for the device."""


@singledispatch
def sums_of(task: AbstractTask, world: World, rows: Rows, times: Numbers) -> Additive:
    """How models of a task follow from sums; another task's is registered.

    Args:
        task: what is learned.
        world: what is fixed for the chain.
        rows: the rows. `[place, ...]`
        times: how often each is one of those that a model was fitted to. `[place]`

    Raises:
        TypeError: for tasks of which no such sums are known.
    """
    raise TypeError(
        "task must be a Gaussian, Categorical, LinearRegression or ExponentialFamily, which are "
        "fitted by sums over rows, or a LogisticRegression, which has a posterior, got a "
        f"{type(task).__name__}"
    )


@sums_of.register
def _gaussian(task: Gaussian, world: World, rows: Any, times: Numbers) -> Additive:
    x = np.asarray(rows, np.float64)
    center = times @ x / times.sum()  # about which squares are small
    x = x - center
    spread = times @ x**2 / times.sum()

    def total(weights: Numbers) -> tuple[Any, ...]:
        return weights.sum(), weights @ x, (x * weights[:, None]).T @ x

    def solve(sums: tuple[Any, ...], size: float) -> tuple[Numbers, ...]:
        n, first, second = sums
        mean = first / n
        covariance = second / n - np.outer(mean, mean)
        if task.estimator == "unbiased":
            size = max(size, 1.0 + 1e-6)
            covariance *= size / (size - 1.0)
        return mean + center, covariance

    def model(parameters: tuple[Numbers, ...]) -> Normal:
        mean, covariance = parameters
        factor = _cholesky(covariance, _RANK * spread)
        return Normal.from_factor(jnp.float32(mean), jnp.float32(factor))

    return Additive(total, solve, model)


@sums_of.register
def _categorical(task: Categorical, world: World, rows: Any, times: Numbers) -> Additive:
    labels = np.asarray(rows)

    def total(weights: Numbers) -> tuple[Any, ...]:
        return (np.bincount(labels, weights, task.n_outcomes),)

    def solve(sums: tuple[Any, ...], size: float) -> tuple[Numbers, ...]:
        return (sums[0] / sums[0].sum(),)

    return Additive(total, solve, lambda parameters: jnp.float32(parameters[0]))


@sums_of.register
def _regression(task: LinearRegression, world: World, rows: Any, times: Numbers) -> Additive:
    x, y = (np.asarray(part, np.float64) for part in task.shown(world, rows))

    def total(weights: Numbers) -> tuple[Any, ...]:
        weighted = (x * weights[:, None]).T
        return weighted @ x, weighted @ y

    def solve(sums: tuple[Any, ...], size: float) -> tuple[Numbers, ...]:
        gram, moment = sums
        return (np.linalg.pinv(gram, rcond=_RANK, hermitian=True) @ moment,)

    return Additive(total, solve, lambda parameters: jnp.float32(parameters[0]))


@sums_of.register
def _family(task: ExponentialFamily, world: World, rows: Any, times: Numbers) -> Additive:
    values, truth = np.asarray(rows, np.float64), float(task.true_mean)
    if task.kind == "gamma":  # whose rows are logarithms
        values = truth * np.exp(values)

    def total(weights: Numbers) -> tuple[Any, ...]:
        return weights.sum(), weights @ values

    def solve(sums: tuple[Any, ...], size: float) -> tuple[Numbers, ...]:
        return (np.atleast_1d(sums[1] / sums[0]),)

    def model(parameters: tuple[Numbers, ...]) -> Any:
        mean, largest = parameters[0][0], float(task.copies)
        ratios = [mean / truth]
        if task.kind == "binomial":
            ratios.append((largest - mean) / (largest - truth))
        with np.errstate(divide="ignore"):  # a mean at the end of its range
            return jnp.float32(np.log(ratios))

    return Additive(total, solve, model)


def _cholesky(covariance: Numbers, least: Numbers) -> Numbers:
    """A lower factor, with columns of zeros where no more than rounding, `least`, is left."""
    left, factor = covariance.copy(), np.zeros_like(covariance)
    for j in range(len(left)):
        if left[j, j] > least[j]:
            factor[j:, j] = left[j:, j] / np.sqrt(left[j, j])
            left -= np.outer(factor[:, j], factor[:, j])
    return factor
