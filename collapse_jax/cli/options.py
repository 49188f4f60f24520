"""The options of `collapse-jax simulate`, one class per task, and the tasks that they make."""

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from tyro.conf import arg

from collapse_jax.basics import checks

if TYPE_CHECKING:  # loaded by the command, so that help comes quickly
    from jax.sharding import Mesh

    from collapse_jax.loop.workflow import Workflow
    from collapse_jax.tasks import AbstractTask

_OPTIONAL = "(optional)"
_File = Annotated[str | None, arg(metavar="FILE", help_behavior_hint=_OPTIONAL)]


def _hint(metavar: str, default: str) -> Any:
    """How an option is shown whose default, None or nothing, lets the task decide."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


_Size = Annotated[int | None, _hint("INT", "100; with data, all its training rows")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Which table to learn from."""

    data: _File = None
    """Learn from this table: .csv with a header line, .npy or .parquet."""
    columns: Annotated[tuple[str, ...], _hint("NAME ...", "all numeric ones")] = ()
    """Columns of the table to use; those of .npy are called 0, 1, 2, ..."""

    def read(self, columns: tuple[str, ...] | None = None) -> np.ndarray | None:
        """The table, or None where none is given."""
        from collapse_jax.tasks.tables import read_table

        columns = self.columns if columns is None else columns
        if self.data is None:
            if columns:
                raise ValueError(f"columns can only be chosen together with data, got {columns[0]}")
            return None
        return read_table(self.data, list(columns) or None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetOptions(TableOptions):
    """Which table to learn from, and what of it to predict."""

    target: Annotated[str | None, _hint("NAME", "none; needed with data")] = None
    """The column to predict from the others."""

    def read_pair(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The table without the target, and the target; None where no table is given.

        Columns that equal the target in every row are the target.
        """
        if self.data is not None and self.target is None:
            raise ValueError("target must be given together with data")
        if self.data is None and self.target is not None:
            raise ValueError(f"target can only be chosen together with data, got {self.target}")
        x = self.read()
        if x is None or self.target is None:
            return None
        y = self.read((self.target,))
        y = y[:, 0] if y is not None else np.empty(0)
        others = [column for column in x.T if not _same(column, y)]
        if not others:
            raise ValueError(f"columns must hold another one than the target {self.target!r}")
        return np.column_stack(others), y


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the simulations of all tasks have in common."""

    workflow: Annotated[str, arg(metavar="{replace,accumulate,accumulate-subsample}")]
    """What generations are trained on: the newest data, all data so far, or a sample of these."""
    n_generations: Annotated[int, arg(name="generations", metavar="INT")] = 100
    """Generations per chain; the first is fitted to real data."""
    seeds: Annotated[int, arg(metavar="INT")] = 100
    """Number of independent chains, whose seeds are 0, 1, 2, ..."""
    metrics: Annotated[tuple[str, ...], _hint("NAME ...", "all of the task")] = ()
    """Metrics to compute."""
    out: _File = None
    """Save all chains in this NetCDF file (.nc)."""
    figure: _File = None
    """Save a figure (.png, .pdf or .svg)."""
    checkpoint: Annotated[str | None, arg(metavar="FOLDER", help_behavior_hint=_OPTIONAL)] = None
    """Keep the chains in this folder while they run, and go on from there another time."""
    distributed: bool = False
    """Be one of several processes, as found by JAX (Slurm, Open MPI, Cloud TPU)."""
    coordinator: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint=_OPTIONAL)] = None
    """Be one of several processes, the first of which has this address (host:port)."""
    num_processes: Annotated[int | None, arg(metavar="INT", help_behavior_hint=_OPTIONAL)] = None
    """With a coordinator: how many processes there are."""
    process_id: Annotated[int | None, arg(metavar="INT", help_behavior_hint=_OPTIONAL)] = None
    """With a coordinator: which of them this is, from 0."""

    @abstractmethod
    def make_task(self) -> "AbstractTask":
        """The task that the options describe."""

    def make_mesh(self) -> "Mesh | None":
        """The devices over which a model is split, if it is."""
        return None

    def make_observer(self, task: "AbstractTask") -> Callable[[Any], None] | None:
        """What `simulate` tells of each generation, if anything."""
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions(Options, TableOptions):
    """Options of tasks that can learn from a table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitOptions(DataOptions):
    """Options of tasks that keep rows of a table for tests."""

    test_fraction: Annotated[float, arg(metavar="FLOAT")] = 0.25
    """Share of the table's rows that is kept for tests."""
    split_seed: Annotated[int, arg(metavar="INT")] = 0
    """Seed of the split into training and test rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianOptions(SplitOptions):
    """Fit a multivariate normal distribution by its mean and covariance."""

    dim: Annotated[int | None, _hint("INT", "1; with data, its columns")] = None
    """Dimension."""
    n_samples: _Size = None
    """Rows per generation."""
    mean: Annotated[tuple[float, ...], _hint("FLOAT ...", "0")] = ()
    """True mean: one number, or one per dimension."""
    covariance: Annotated[tuple[float, ...], _hint("FLOAT ...", "1")] = ()
    """True variances: one number, or one per dimension."""
    estimator: Annotated[str, arg(metavar="{mle,unbiased}")] = "mle"
    """Whether covariances are divided by n (mle) or by n - 1 (unbiased)."""

    def make_task(self) -> "AbstractTask":
        from collapse_jax.tasks import Gaussian

        truth = {
            name: numbers[0] if len(numbers) == 1 else list(numbers)
            for name, numbers in (("mean", self.mean), ("covariance", self.covariance))
            if numbers
        }
        return Gaussian(
            self.dim,
            self.n_samples,
            estimator=self.estimator,  # type: ignore[arg-type]  # checked by the task
            data=self.read(),
            test_fraction=self.test_fraction,
            split_seed=self.split_seed,
            **truth,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelDensityOptions(SplitOptions):
    """Estimate a density by kernels; each generation samples from the last estimate."""

    dataset: Annotated[str, arg(metavar="{blobs,circles,moons,swiss_roll}")] = "moons"
    """Data set, as scikit-learn draws it."""
    n_samples: _Size = None
    """Rows per generation."""
    bandwidth: Annotated[str, arg(metavar="FLOAT|{scott,silverman}")] = "0.1"
    """Width of the kernel, or the rule that sets it."""
    kernel: Annotated[str, arg(metavar="{gaussian,tophat}")] = "gaussian"
    """Shape of the kernel."""
    n_test: Annotated[int, arg(metavar="INT")] = 500
    """Held-out real rows."""
    noise: Annotated[float, arg(metavar="FLOAT")] = 0.05
    """Standard deviation of the data set's noise (blobs have their own)."""
    shared_centers: bool = True
    """Give training and test blobs the same centres (the published code does not)."""

    def make_task(self) -> "AbstractTask":
        from collapse_jax.tasks import KernelDensity

        return KernelDensity(
            self.dataset,
            self.n_samples,
            bandwidth=_number_or_name(self.bandwidth),
            kernel=self.kernel,  # type: ignore[arg-type]  # checked by the task
            n_test=self.n_test,
            noise=self.noise,
            shared_centers=self.shared_centers,
            data=self.read(),
            test_fraction=self.test_fraction,
            split_seed=self.split_seed,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearRegressionOptions(SplitOptions, TargetOptions):
    """Fit least squares; each generation labels the rows with its predictions plus noise."""

    dim: Annotated[int | None, _hint("INT", "10; with data, its columns")] = None
    """Number of coefficients."""
    n_samples: _Size = None
    """Rows per generation."""
    noise: Annotated[float | None, _hint("FLOAT", "1; with data, that of residuals")] = None
    """Variance of the label noise."""
    design: Annotated[str, arg(metavar="{fixed,fresh}")] = "fixed"
    """Whether all generations have the same rows, or fresh ones."""
    n_test: Annotated[int, arg(metavar="INT")] = 1000
    """Noiseless test rows."""
    fit_intercept: bool = True
    """With data: add a constant column."""

    def make_task(self) -> "AbstractTask":
        from collapse_jax.tasks import LinearRegression

        return LinearRegression(
            self.dim,
            self.n_samples,
            noise=self.noise,
            design=self.design,  # type: ignore[arg-type]  # checked by the task
            n_test=self.n_test,
            data=self.read_pair(),
            fit_intercept=self.fit_intercept,
            test_fraction=self.test_fraction,
            split_seed=self.split_seed,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CategoricalOptions(DataOptions):
    """Estimate the frequencies of outcomes."""

    n_outcomes: Annotated[int | None, _hint("INT", "10; with data, its labels")] = None
    """Number of outcomes."""
    n_samples: Annotated[int | None, _hint("INT", "100; with data, all its rows")] = None
    """Draws per generation."""
    probabilities: Annotated[tuple[float, ...], _hint("FLOAT ...", "all equal")] = ()
    """True probabilities, which sum to 1."""

    def make_task(self) -> "AbstractTask":
        from collapse_jax.tasks import Categorical

        table = self.read()
        if table is not None and table.shape[1] != 1:
            raise ValueError(f"columns must name the one column of labels, of {table.shape[1]}")
        return Categorical(
            self.n_outcomes,
            self.n_samples,
            probabilities=list(self.probabilities) or None,
            data=table,
        )


WORKFLOWS = {
    "replace": "Replace",
    "accumulate": "Accumulate",
    "accumulate-subsample": "AccumulateSubsample",
}
"""The workflows by their name on the command line."""


def make_workflow(name: str) -> "Workflow":
    """The workflow of this name on the command line."""
    from collapse_jax.loop import presets

    return getattr(presets, WORKFLOWS[checks.one_of("workflow", name, WORKFLOWS)])()


def _number_or_name(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    numeric = first.dtype.kind in "iuf" and second.dtype.kind in "iuf"
    return np.array_equal(first, second, equal_nan=numeric)
