"""The front door of the theory: what a simulation should show on average."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import numpy as np
import xarray as xr

from collapse_jax.theory._checks import check_count
from collapse_jax.theory.predictions import (
    Prediction,
    Predictions,
    Regime,
    predict_categorical,
    predict_gaussian,
    predict_regression,
    predict_sizes,
)

Theory: TypeAlias = Callable[[Any, Any, int], Mapping[str, Prediction]]
_TheoryT = TypeVar("_TheoryT", bound=Theory)

_PRESENTATION = {
    "n_train": ("size of the training set", "1"),
    "real_fraction": ("share of real data in the training set", "1"),
}


class Expected:
    """Predicted mean of each metric over chains: `expected(workflow, task, n_generations)`.

    There is one instance, `collapse_jax.theory.expected`. It answers for any task and workflow with
    what is known, possibly nothing. Teach it a new task by a decorated function:

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> class Coin(SimpleNamespace): pass
        >>> expected = Expected()
        >>> @expected.register(Coin)
        ... def coin_theory(task, workflow, n_generations):
        ...     values = np.full(n_generations, task.bias)
        ...     return {"heads": Prediction(values, "exact", "a martingale")}
        >>> print(expected(None, Coin(bias=0.3), 2).heads.values)
        [0.3 0.3]
    """

    def __init__(self) -> None:
        self._registry: dict[type, Theory] = {}

    def __call__(self, workflow: Any, task: Any, n_generations: int) -> xr.Dataset:
        """Predicts the metrics of generations 1..T.

        Args:
            workflow: a workflow of the package (others give no sizes).
            task: a task of the package or of a registered class.
            n_generations: number of generations T.

        Returns:
            A dataset with the dimension "generation" and one variable per known metric, named as in
            the results of `simulate`. Attributes of a variable: `kind` ("exact"; "asymptotic":
            right for large samples; "bound"), `source`, `long_name`, `units`.

        Raises:
            ValueError: if `n_generations` is below 1.
        """
        check_count("n_generations", n_generations)
        predictions: Predictions = {}
        regime, n_samples = regime_of(workflow), getattr(task, "n_samples", None)
        if regime is not None and n_samples is not None:
            predictions |= predict_sizes(regime, n_generations, n_samples=int(n_samples))
        theory = self._theory_of(type(task))
        if theory is not None:
            predictions |= theory(task, workflow, n_generations)
        return _dataset(predictions, task, n_generations)

    def register(self, task_class: type) -> Callable[[_TheoryT], _TheoryT]:
        """Decorator that makes a function the theory of a class of tasks and its subclasses.

        Args:
            task_class: the class.

        Returns:
            A decorator for functions `(task, workflow, n_generations)` that return a mapping from
            metric names to `Prediction`s. `regime_of(workflow)` tells which workflow it is.
        """

        def decorate(theory: _TheoryT) -> _TheoryT:
            self._registry[task_class] = theory
            return theory

        return decorate

    def _theory_of(self, task_class: type) -> Theory | None:
        table = {**_built_in(), **self._registry}
        return next((table[base] for base in task_class.__mro__ if base in table), None)


expected = Expected()


def regime_of(workflow: Any) -> Regime | None:
    """Which of the workflows with a closed theory this is; None for any other.

    Example:
        >>> print(regime_of("a workflow of your own"))
        None
    """
    from collapse_jax.loop.presets import name_of  # here, so that the formulas load without JAX
    from collapse_jax.loop.workflow import Workflow

    name = name_of(workflow) if isinstance(workflow, Workflow) else None
    return {
        "Replace": Regime.REPLACE,
        "Accumulate": Regime.ACCUMULATE,
        "AccumulateSubsample": Regime.ACCUMULATE_SUBSAMPLE,
    }.get(name or "")


def gaussian_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `Gaussian` tasks; see `predictions.predict_gaussian`."""
    regime = regime_of(workflow)
    if regime is None:
        return {}
    return predict_gaussian(
        regime,
        n_generations,
        n_samples=int(task.n_samples),
        dim=int(task.dim),
        covariance=np.asarray(task.covariance),
        estimator=task.estimator,
        population=task.population,
    )


def regression_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `LinearRegression` tasks; see `predictions.predict_regression`."""
    regime = regime_of(workflow)
    if regime is None or task.population is not None:
        return {}
    return predict_regression(
        regime,
        n_generations,
        n_samples=int(task.n_samples),
        dim=int(task.dim),
        noise=float(task.noise),
        design=task.design,
    )


def categorical_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `Categorical` tasks; see `predictions.predict_categorical`."""
    regime = regime_of(workflow)
    if regime is None:
        return {}
    return predict_categorical(
        regime,
        n_generations,
        n_samples=int(task.n_samples),
        probabilities=np.asarray(task.probabilities),
        population=task.population,
    )


@functools.cache
def _built_in() -> dict[type, Theory]:
    from collapse_jax import tasks  # here, so that the formulas load without JAX

    return {
        tasks.Gaussian: gaussian_theory,
        tasks.LinearRegression: regression_theory,
        tasks.Categorical: categorical_theory,
    }


def _dataset(predictions: Predictions, task: Any, n_generations: int) -> xr.Dataset:
    presentation = _PRESENTATION | dict(getattr(task, "variables", {}))
    variables = {}
    for name, (values, kind, source) in predictions.items():
        long_name, units = presentation.get(name, (name.replace("_", " "), ""))
        attributes = {"long_name": long_name, "units": units, "kind": kind, "source": source}
        variables[name] = ("generation", np.asarray(values, dtype=np.float64), attributes)
    generation = ("generation", np.arange(1, n_generations + 1), {"long_name": "generation"})
    return xr.Dataset(variables, coords={"generation": generation})
