"""The front door: datasets for tasks and workflows of the package and for those of a user."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from collapse_jax import tasks
from collapse_jax.loop.workflow import Fit, Real, Synthetic, Workflow
from collapse_jax.theory import Expected, Prediction, expected, gaussian

REPLACE = Workflow()
ACCUMULATE = Workflow(Real(keep=None), Synthetic(keep=None))
WORKFLOWS = {
    "replace": REPLACE,
    "accumulate": ACCUMULATE,
    "subsample": Workflow(Real(keep=None), Synthetic(keep=None), Fit(n="batch")),
    "window": Workflow(Real(keep=2), Synthetic(keep=3, n=50)),
    "fresh": Workflow(Real(every=True), fit=Fit(real_weight=0.6)),
}
SIZES = {"n_train", "real_fraction"}


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=list(WORKFLOWS))
@pytest.mark.parametrize(
    "task",
    [
        tasks.Gaussian(dim=2, n_samples=30, covariance=[1.0, 2.0]),
        tasks.Gaussian(dim=1, n_samples=30, estimator="unbiased"),
        tasks.LinearRegression(dim=3, n_samples=40, noise=0.5),
        tasks.Categorical(n_samples=20, probabilities=[0.5, 0.25, 0.25]),
        tasks.ExponentialFamily("gamma", n_samples=20, shape=2.0),
        tasks.KernelDensity(n_samples=20),
    ],
    ids=["gaussian", "unbiased", "regression", "categorical", "gamma", "kernel"],
)
def test_dataset(workflow, task):
    ds = expected(workflow, task, 6)
    assert dict(ds.sizes) == {"generation": 6}
    np.testing.assert_array_equal(ds.generation, np.arange(1, 7))
    assert set(ds) >= SIZES
    assert set(ds) <= SIZES | set(task.variables)
    if isinstance(task, tasks.KernelDensity):
        assert set(ds) == SIZES
    else:
        assert set(ds) > SIZES
    for variable in ds.values():
        assert variable.dtype == np.float64
        assert variable.dims == ("generation",)
        assert not np.any(np.isnan(variable))
        assert set(variable.attrs) == {"kind", "source", "long_name", "units"}
        assert variable.attrs["kind"] in ("exact", "asymptotic", "bound")
        assert all(variable.attrs.values())


def test_values_are_those_of_the_formulas():
    ds = expected(ACCUMULATE, tasks.Gaussian(dim=2, n_samples=10, covariance=3.0), 5)
    moments = gaussian.accumulate_moments(10, 5)
    np.testing.assert_allclose(ds.trace_ratio, moments.covariance)
    np.testing.assert_allclose(ds.squared_error_mean, 6 * moments.mean_error)


def test_data_sets_as_truth(rng):
    rows = rng.normal(size=(40, 2))
    task = tasks.Gaussian(data=rows, n_samples=10)
    ds = expected(REPLACE, task, 3)
    assert set(ds) == SIZES | {"squared_error_mean", "trace_ratio"}
    labels = rows.sum(axis=1) + rng.normal(size=40)
    task = tasks.LinearRegression(data=(rows, labels), n_samples=10)
    assert set(expected(REPLACE, task, 3)) == SIZES
    task = tasks.Categorical(data=["a", "b", "a", "c"])
    ds = expected(REPLACE, task, 3)
    assert ds.collision[0] == pytest.approx(0.375)


@dataclass
class Coin:
    """A user's task."""

    n_samples: int
    bias: float


class BentCoin(Coin):
    """A subclass, served by the theory of its base."""


def test_a_users_task_can_bring_its_theory():
    own = Expected()
    assert set(own(REPLACE, Coin(5, 0.3), 2)) == SIZES

    @own.register(Coin)
    def coin_theory(task, workflow, n_generations):
        if workflow != REPLACE:
            return {}
        return {"heads": Prediction(np.full(n_generations, task.bias), "exact", "martingale")}

    ds = own(REPLACE, BentCoin(5, 0.3), 2)
    assert set(ds) == SIZES | {"heads"}
    assert ds.heads.attrs["long_name"] == "heads"
    assert set(own(ACCUMULATE, Coin(5, 0.3), 2)) == SIZES
    assert set(expected(REPLACE, Coin(5, 0.3), 2)) == SIZES  # instances are separate


def test_a_registered_theory_goes_before_the_built_in_one():
    own = Expected()
    own.register(tasks.Categorical)(lambda task, workflow, n_generations: {})
    assert set(own(REPLACE, tasks.Categorical(n_samples=5), 2)) == SIZES


def test_the_unknown_gives_an_empty_dataset():
    for workflow, task in [(object(), tasks.Gaussian()), (REPLACE, object())]:
        ds = expected(workflow, task, 4)
        assert len(ds) == 0
        assert dict(ds.sizes) == {"generation": 4}


def test_rejects():
    with pytest.raises(ValueError, match="n_generations must be 1 or more, got 0"):
        expected(REPLACE, tasks.Gaussian(), 0)


def test_formulas_load_without_jax():
    program = """
import sys, types, pathlib
sys.modules["jax"] = None
package = types.ModuleType("collapse_jax")
package.__path__ = [sys.argv[1]]
sys.modules["collapse_jax"] = package
import collapse_jax.theory
print(collapse_jax.theory.gaussian.replace_moments(10, 1).covariance)
"""
    import collapse_jax.theory

    folder = str(next(iter(collapse_jax.__path__)))
    done = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0.9]"
