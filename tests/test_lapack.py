"""Chains on several CPU devices never call LAPACK, which hangs there."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax import tasks, trained
from collapse_jax.loop.form import columns_of, form_of
from collapse_jax.run.needs import calls_lapack

POINTS = np.random.default_rng(0).normal(size=(40, 3))
LABELS = np.arange(40) % 3
TASKS = [
    cj.Gaussian(dim=12, n_samples=20),
    cj.Gaussian(data=POINTS),
    cj.KernelDensity("blobs", n_samples=10, n_test=20),
    cj.LinearRegression(dim=12, n_samples=20),
    cj.LinearRegression(data=(POINTS, LABELS)),
    cj.Categorical(5, 10),
    cj.NGram(2, 5, 10, length=4),
    cj.ExponentialFamily("gamma", shape=2.0, n_samples=10),
    cj.LogisticRegression(dim=2, n_samples=10),
    cj.LogisticRegression(data=(POINTS, LABELS)),
    cj.GaussianMixture("ring", 2, 10, n_test=10),
    cj.Flow("moons", 8, layers=2, knots=3, steps=2, width=4, depth=1, n_test=10),
    cj.Diffusion("ring", 8, sampling_steps=3, steps=2, width=4, depth=1, n_test=10),
    cj.Autoencoder("grid", 8, steps=2, width=4, depth=1, n_test=10),
    cj.Tabular({"a": POINTS[:, 0], "b": LABELS.astype(str)}, steps=2, width=4, depth=1),
    cj.GroupClassifier(data=(POINTS, LABELS, LABELS % 2), steps=2),
]


class Whitened(cj.AbstractTask):
    """A task of one's own that factorises a matrix."""

    n_samples: int = 200
    dim: int = 64
    variables = {"trace": cj.Variable("trace", "1")}  # noqa: RUF012

    def real(self, world, key, n, **_):
        return jnp.ones((n, self.dim)) * jnp.arange(n)[:, None]

    def sample(self, world, model, key, n, **_):
        return self.real(world, key, n) @ model

    def fit(self, world, data):
        values, vectors = jnp.linalg.eigh(data.rows.T @ data.rows / len(data.rows))
        return vectors * jnp.minimum(values, 1.0)

    def measure(self, world, model):
        return {"trace": jnp.trace(model)}


def found(task, metrics=(), features=None, workflow=None):
    workflow = workflow or cj.Replace()
    plan = workflow.plan(2, task.n_samples)
    form = form_of(workflow, task, plan)
    first = columns_of(plan, form, task.population).of(1)
    return calls_lapack(task, form, metrics or tuple(task.variables), first, features)


def test_the_list_is_whole():
    concrete = {n for n in tasks.__all__ if n[0] != "A" and hasattr(getattr(tasks, n), "measure")}
    kinds = concrete | {cls.__name__ for cls in trained.TRAINED}
    assert kinds == {type(task).__name__ for task in TASKS}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_no_task_calls_it(task):
    assert not found(task)


def test_code_of_users_is_looked_through():
    assert found(Whitened())
    plain = cj.Gaussian(dim=3, n_samples=10)
    assert not found(plain, ("frechet",))
    assert found(plain, ("frechet",), features=lambda row: jnp.linalg.inv(jnp.outer(row, row))[0])
    reward = cj.BestOf(lambda row: jnp.linalg.slogdet(jnp.outer(row, row))[0], 2)
    assert found(plain, workflow=cj.Workflow(synthetic=cj.Synthetic(curation=reward)))


PROGRAM = """
import warnings
import collapse_jax as cj
cj.use_all_cores(2)
from test_lapack import Whitened
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    ds = cj.simulate(cj.Replace(), Whitened(), 5, seeds=16, progress=False)
print([str(w.message) for w in said if "on one of 2 CPU devices" in str(w.message)])
"""


@pytest.mark.thorough
def test_a_task_of_ones_own_does_not_hang(request):
    """Without the way out it does, in the first generations."""
    folder = request.path.parent
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "jax.numpy.linalg" in done.stdout
