"""What each generation is trained on. Adding a workflow is one class; see CONTRIBUTING.md."""

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Key

from collapse_jax.loop import pool as pools
from collapse_jax.loop.pool import Pool
from collapse_jax.tasks.base import AbstractTask, Model, Training, World


class AbstractWorkflow(eqx.Module):
    """How data are kept from generation to generation, and which of them are trained on.

    A generation is `training = select(pool)`, a fit, and `pool = retain(pool, model)`; the
    functions of `collapse_jax.loop.pool` are the parts of which both are made.
    """

    looks_at_rows: ClassVar[bool]
    """Whether single rows are picked from the pool, which must then keep all rows."""

    @abstractmethod
    def capacity(self, n_generations: int) -> int:
        """For how many batches the pool needs room, that of the last model included."""

    @abstractmethod
    def select(self, task: AbstractTask, world: World, pool: Pool, key: Key[Array, ""]) -> Training:
        """The training set of this generation."""

    @abstractmethod
    def retain(
        self, task: AbstractTask, world: World, pool: Pool, model: Model, key: Key[Array, ""]
    ) -> Pool:
        """The pool after the model has generated its data."""


class Replace(AbstractWorkflow):
    """Each generation is trained on the newest synthetic data alone.

    Generation 1 is fitted to `n_samples` real rows, generation `t` to `n_samples` rows that model
    `t - 1` generated. Variances shrink by about `1/n_samples` a generation: models collapse.

    Source:
        Kazdan, Schaeffer et al., arXiv 2410.16713, section 2.
    """

    looks_at_rows: ClassVar[bool] = False

    def capacity(self, n_generations: int) -> int:
        return 1

    def select(self, task: AbstractTask, world: World, pool: Pool, key: Key[Array, ""]) -> Training:
        return pools.everything(task, world, pool)

    def retain(
        self, task: AbstractTask, world: World, pool: Pool, model: Model, key: Key[Array, ""]
    ) -> Pool:
        return pools.replace(task, world, pool, model, key)


class Accumulate(AbstractWorkflow):
    """Each generation is trained on all real and synthetic data so far.

    Generation `t` is fitted to `t * n_samples` rows, of which `n_samples` are real. The error stays
    below pi^2/6 times that of generation 1, asymptotically.

    Source:
        arXiv 2410.16713, section 2; Gerstgrasser et al., arXiv 2404.01413.
    """

    looks_at_rows: ClassVar[bool] = False

    def capacity(self, n_generations: int) -> int:
        return n_generations + 1  # the real batch, and one of each model

    def select(self, task: AbstractTask, world: World, pool: Pool, key: Key[Array, ""]) -> Training:
        return pools.everything(task, world, pool)

    def retain(
        self, task: AbstractTask, world: World, pool: Pool, model: Model, key: Key[Array, ""]
    ) -> Pool:
        return pools.extend(task, world, pool, model, key)


class AccumulateSubsample(AbstractWorkflow):
    """Data accumulate, but each generation is trained on `n_samples` random rows of them.

    A fresh uniform subset without replacement each generation, so the cost of a fit stays constant.
    The error rises slowly to a plateau, pi^2/2 - 2 = 2.93 times that of generation 1
    asymptotically.

    Source:
        arXiv 2410.16713, section 3.
    """

    looks_at_rows: ClassVar[bool] = True

    def capacity(self, n_generations: int) -> int:
        return n_generations + 1  # the real batch, and one of each model

    def select(self, task: AbstractTask, world: World, pool: Pool, key: Key[Array, ""]) -> Training:
        return pools.subset(task, world, pool, key, task.n_samples)

    def retain(
        self, task: AbstractTask, world: World, pool: Pool, model: Model, key: Key[Array, ""]
    ) -> Pool:
        return pools.extend(task, world, pool, model, key)
