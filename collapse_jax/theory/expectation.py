"""The front door of the theory: what a simulation should show on average."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import numpy as np
import xarray as xr

from collapse_jax.theory._checks import check_count
from collapse_jax.theory.curation.foresight import (
    predict_acceptance,
    predict_curated,
    predict_edited,
    predict_extrapolated,
)
from collapse_jax.theory.ecosystems import predict_ecosystem
from collapse_jax.theory.families import (
    predict_family,
    predict_logistic,
    predict_mixture,
    predict_ngrams,
)
from collapse_jax.theory.plans import is_plain, plan_of
from collapse_jax.theory.predictions import (
    Prediction,
    Predictions,
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
    "acceptance_rate": ("share of the rows generated that curation takes", "1"),
    "distance_between": ("squared distance from the mean of the other models", ""),
    "mean_reward": ("mean reward or score of the rows taken", "1"),
}


class Expected:
    """Predicted mean of each metric over chains: `expected(workflow, task, n_generations)`.

    There is one instance, `collapse_jax.theory.expected`. It reads the workflow's plan, so that a
    loop that nobody has run yet is predicted as well, and answers for any task with what is known,
    possibly nothing. Teach it a new task by a decorated function:

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
        self._registry: dict[tuple[type, bool], Theory] = {}

    def __call__(
        self, workflow: Any, task: Any, n_generations: int, include: Any | None = None
    ) -> xr.Dataset:
        """Predicts the metrics of generations 1..T.

        Args:
            workflow: a workflow, or any object with its method `plan(n_generations, n_samples)`
                (nothing is known of others); or an `Ecosystem`.
            task: a task of the package or of a registered class.
            n_generations: number of generations T.
            include: as for `simulate`, where it is the same for all seeds: truth values
                `[generation, batch]`, or a function of both.

        Returns:
            A dataset with the dimension "generation", for an ecosystem also "model", and one
            variable per known metric, named as in the results of `simulate`. Attributes of a
            variable: `kind` ("exact"; "asymptotic": right for large samples; "bound"), `source`,
            `long_name`, `units`.

        Raises:
            ValueError: if `n_generations` is below 1, a schedule of the workflow too short, or a
                mask none for all seeds.
        """
        check_count("n_generations", n_generations)
        if include is not None:
            return _dataset(_masked(workflow, task, n_generations, include), task, n_generations)
        if hasattr(workflow, "mixing"):
            return _dataset(predict_ecosystem(workflow, task, n_generations), task, n_generations)
        predictions: Predictions = {}
        n_samples, plan = getattr(task, "n_samples", None), None
        if n_samples is not None:
            plan = plan_of(workflow, n_generations, int(n_samples))
            predictions |= {} if plan is None else predict_sizes(plan)
        curated = plan is not None and not is_plain(plan)
        if curated:
            predictions |= predict_acceptance(plan)
        seen = getattr(plan, "skill", None) is not None  # of which nothing is known
        if not seen and (theory := self._theory_of(type(task), curated)) is not None:
            predictions |= theory(task, workflow, n_generations)
        return _dataset(predictions, task, n_generations)

    def register(
        self, task_class: type, *, curated: bool = False
    ) -> Callable[[_TheoryT], _TheoryT]:
        """Decorator that makes a function the theory of a class of tasks and its subclasses.

        Args:
            task_class: the class.
            curated: whether it is asked about loops whose rows are chosen or edited, or come from
                extrapolated models; otherwise about all others.

        Returns:
            A decorator for functions `(task, workflow, n_generations)` that return a mapping from
            metric names to `Prediction`s. `workflow.plan(n_generations, task.n_samples)` says
            which rows each generation sees.
        """

        def decorate(theory: _TheoryT) -> _TheoryT:
            self._registry[task_class, curated] = theory
            return theory

        return decorate

    def _theory_of(self, task_class: type, curated: bool) -> Theory | None:
        table = {**_built_in(), **self._registry}
        bases = ((base, curated) for base in task_class.__mro__)
        return next((table[base] for base in bases if base in table), None)


expected = Expected()


def _masked(workflow: Any, task: Any, n_generations: int, include: Any) -> Predictions:
    from collapse_jax.loop.inclusion.masks import read_mask  # here, as it loads JAX
    from collapse_jax.theory.inclusion import predict_masked

    if hasattr(workflow, "mixing"):
        raise ValueError("include must be None with an Ecosystem, whose models share batches")
    if not callable(include) and np.ndim(include) != 2:
        raise ValueError(
            "include must be [generation, batch] for the theory, which knows what is the same for "
            f"all seeds, got {np.ndim(include)} dimensions"
        )
    mask = read_mask(include, n_generations, np.zeros(1, np.uint32))
    return predict_masked(workflow, task, n_generations, mask.values[0])


def gaussian_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `Gaussian` tasks; see `predictions.predict_gaussian`."""
    plan = plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None:
        return {}
    return predict_gaussian(
        plan,
        dim=int(task.dim),
        covariance=np.asarray(task.covariance),
        estimator=task.estimator,
        population=task.population,
    )


def regression_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `LinearRegression` tasks; see `predictions.predict_regression`."""
    plan = plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None or task.population is not None:
        return {}
    return predict_regression(plan, dim=int(task.dim), noise=float(task.noise), design=task.design)


def categorical_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `Categorical` tasks; see `predictions.predict_categorical`."""
    plan = plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None:
        return {}
    return predict_categorical(
        plan, probabilities=np.asarray(task.probabilities), population=task.population
    )


def ngram_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `NGram` tasks; see `families.predict_ngrams`."""
    plan = plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None or task.smooths:
        return {}
    truth = np.asarray(task.truth, np.float64).ravel()
    return predict_ngrams(
        plan,
        probabilities=truth / truth.sum(),
        order=task.order,
        length=task.length,
        population=task.population,
    )


def family_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `ExponentialFamily` tasks; see `families.predict_family`."""
    plan = plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None:
        return {}
    return predict_family(
        plan,
        kind=task.kind,
        mean=float(task.true_mean),
        copies=float(task.copies),
        entropy=float(task.entropy),
        variance=task.data_variance,
        population=task.population,
    )


def logistic_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `LogisticRegression` tasks; see `families.predict_logistic`."""
    plan = plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None or task.population is not None or float(task.penalty) > 0.0:
        return {}
    mean = np.broadcast_to(np.asarray(task.class_mean, np.float64), (task.dim,))
    return predict_logistic(plan, dim=int(task.dim), distance=float(np.sqrt(np.sum(mean**2))))


def mixture_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `GaussianMixture` tasks; see `families.predict_mixture`."""
    plan = plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None:
        return {}
    known = task.population is None
    return predict_mixture(
        plan,
        n_components=int(task.n_components),
        modes=np.asarray(task.modes) if known else None,
        probabilities=task.probabilities if known else 1.0,
        noise=float(task.noise),
        population=task.population,
    )


def selection_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `Categorical` tasks whose rows are the best of some; see `theory.curation`."""
    from collapse_jax.loop.curation.operators import BestOf

    plan = plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None or task.population is not None or [*map(type, plan.curation)] != [BestOf]:
        return {}
    import jax

    from collapse_jax.loop.curation.detector import Detector
    from collapse_jax.loop.curation.judge import drifts

    best = plan.curation[0]
    if isinstance(best.reward, Detector):
        return {}
    outcomes = np.arange(task.n_outcomes, dtype=np.int32)
    if drifts(best.reward):

        def of(t: Any) -> Any:
            return jax.vmap(functools.partial(best.reward, generation=t))(outcomes)

        rewards = jax.vmap(of)(np.arange(1, plan.n_generations + 1, dtype=np.int32))
    else:
        rewards = jax.vmap(best.reward)(outcomes)
    return predict_curated(
        plan,
        probabilities=np.asarray(task.probabilities),
        rewards=np.asarray(rewards, np.float64),
        k=best.k,
    )


def editing_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `LinearRegression` tasks whose labels are edited; see `theory.curation`."""
    plan = plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None or task.population is not None or plan.curation or not plan.source.edits:
        return {}
    return predict_edited(plan, dim=int(task.dim), noise=float(task.noise))


def extrapolation_theory(task: Any, workflow: Any, n_generations: int) -> Predictions:
    """Theory of `Gaussian` tasks beyond the newest model; see `theory.curation`."""
    plan = plan_of(workflow, n_generations, int(task.n_samples))
    if plan is None or task.population is not None or plan.curation or plan.source.edits:
        return {}
    return predict_extrapolated(plan, estimator=task.estimator)


@functools.cache
def _built_in() -> dict[tuple[type, bool], Theory]:
    from collapse_jax import tasks  # here, so that the formulas load without JAX

    return {
        (tasks.Gaussian, False): gaussian_theory,
        (tasks.LinearRegression, False): regression_theory,
        (tasks.Categorical, False): categorical_theory,
        (tasks.NGram, False): ngram_theory,
        (tasks.ExponentialFamily, False): family_theory,
        (tasks.LogisticRegression, False): logistic_theory,
        (tasks.GaussianMixture, False): mixture_theory,
        (tasks.Categorical, True): selection_theory,
        (tasks.LinearRegression, True): editing_theory,
        (tasks.Gaussian, True): extrapolation_theory,
    }


def _dataset(predictions: Predictions, task: Any, n_generations: int) -> xr.Dataset:
    presentation = _PRESENTATION | dict(getattr(task, "variables", {}))
    variables = {}
    for name, (values, kind, source) in predictions.items():
        long_name, units = presentation.get(name, (name.replace("_", " "), ""))
        attributes = {"long_name": long_name, "units": units, "kind": kind, "source": source}
        array = np.asarray(values, dtype=np.float64)
        variables[name] = (("model", "generation")[-array.ndim :], array, attributes)
    generation = ("generation", np.arange(1, n_generations + 1), {"long_name": "generation"})
    found = xr.Dataset(variables, coords={"generation": generation})
    return (
        found.assign_coords(model=np.arange(found.sizes["model"]))
        if "model" in found.dims
        else found
    )
