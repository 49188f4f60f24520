"""Compositions drawn at random: the simulator against exact theory, on three kinds of tasks.

The theory has been held against chains that draw every row in `tests/theory/test_compositions.py`;
here it is the simulator's turn.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compositions import HAND_PICKED, N, T, random_workflow
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.loop.workflow import Latest
from collapse_jax.numerics.keys import chain_key

SEEDS = 4000
CASES, THOROUGH_CASES = range(12), range(12, 150)
METRICS = {
    "Gaussian": ["squared_error_mean", "trace_ratio"],
    "Categorical": ["collision", "squared_error", "n_extinct"],
    "LinearRegression": ["test_error"],
    "ExponentialFamily": ["squared_error"],
}


def random_gaussian(rng):
    dim = int(rng.integers(1, 4))
    n = int(rng.integers(6, 20))
    estimator = ("mle", "unbiased")[rng.integers(2)]
    if rng.random() < 0.3:
        rows = rng.exponential(size=(int(rng.integers(2 * n, 4 * n)), dim))
        task = cj.Gaussian(data=rows, n_samples=n, test_fraction=0.2, estimator=estimator)
    else:
        covariance = rng.uniform(0.5, 2.0, size=dim)
        task = cj.Gaussian(dim=dim, n_samples=n, covariance=covariance, estimator=estimator)
    return task, random_workflow(rng, T, sizes=(3, 15))


def random_categorical(rng):
    n, k = int(rng.integers(4, 20)), int(rng.integers(2, 6))
    if rng.random() < 0.3:
        labels = [f"label {i % k}" for i in range(int(rng.integers(max(n, k), 3 * n + k)))]
        task = cj.Categorical(data=labels, n_samples=n)
    else:
        task = cj.Categorical(probabilities=rng.dirichlet(np.full(k, 2.0)), n_samples=n)
    return task, random_workflow(rng, T, tempered=False, sizes=(2, 20))


FAMILIES = {
    "poisson": {},
    "exponential": {},
    "bernoulli": {"mean": 0.3},
    "geometric": {},
    "gamma": {"shape": 0.6},
    "binomial": {"size": 3},
    "negative_binomial": {"size": 2.5},
}


def random_family(rng):
    family = list(FAMILIES)[rng.integers(len(FAMILIES))]
    n = int(rng.integers(4, 20))
    task = cj.ExponentialFamily(family, n_samples=n, **FAMILIES[family])
    return task, random_workflow(rng, T, tempered=False, sizes=(2, 20))


def random_regression(rng):
    """With whole repetitions of the design and all rows of the newest models, which is exact."""
    dim = int(rng.integers(1, 4))
    n = int(rng.integers(dim + 9, dim + 20))
    task = cj.LinearRegression(dim=dim, n_samples=n, noise=float(rng.uniform(0.2, 2.0)))
    loop = random_workflow(rng, T)

    def whole(size):
        if size is None or rng.random() < 0.5:
            return None
        return [n * int(rng.integers(1, 4)) for _ in range(T)]

    return task, dataclasses.replace(
        loop,
        real=dataclasses.replace(loop.real, n=whole(loop.real.n)),
        synthetic=dataclasses.replace(loop.synthetic, n=whole(loop.synthetic.n), of=Latest()),
        fit=dataclasses.replace(loop.fit, n=None, with_replacement=False),
    )


def simulated(workflow, task, names):
    ds = cj.simulate(workflow, task, T, SEEDS, metrics=names, progress=False)
    return {name: ds[name].values.reshape(SEEDS, T) for name in names}


def rolled_out(workflow, task, names):
    """The same chains by one program, which is compiled in half the time."""
    keys = jax.vmap(chain_key)(jnp.arange(SEEDS, dtype=jnp.uint32))
    chain = lambda key: cj.rollout(workflow, task, T, key, metrics=names)  # noqa: E731
    return {name: np.asarray(x) for name, x in jax.jit(jax.vmap(chain))(keys).items()}


def check(workflow, task, run=simulated):
    """All exact means, and the sizes."""
    names = METRICS[type(task).__name__]
    found = run(workflow, task, names)
    known = cj.theory.expected(workflow, task, T)
    exact = [name for name in names if name in known and known[name].kind == "exact"]
    assert exact, f"nothing is known of {workflow!r} on {task!r}"
    for name in exact:
        # Events too rare to have been seen have no standard error; certain ones have none either.
        curve = known[name].values
        seen = (curve * SEEDS > 100) | (curve == 0) if name == "n_extinct" else curve > -np.inf
        samples = found[name][:, seen]
        assert_mean(samples, curve[seen], rounding=1e-4)
    plan = workflow.plan(T, task.n_samples)
    np.testing.assert_array_equal(known.n_train, plan.n_train)
    np.testing.assert_allclose(known.real_fraction, plan.real_fraction)


def check_case(case, run=simulated):
    rng = np.random.default_rng([3, case])
    draw = (random_gaussian, random_categorical, random_regression)[case % 3]
    task, workflow = draw(rng)
    largest = workflow.plan(T, task.n_samples).real_rows.max()
    if task.population is not None and largest > task.population:
        with pytest.raises(ValueError, match=r"real\.n must not exceed the .* training rows"):
            cj.simulate(workflow, task, T, 2, progress=False)
        return
    check(workflow, task, run)


@pytest.mark.parametrize("case", range(4))
def test_random_compositions_of_families(case):
    task, workflow = random_family(np.random.default_rng([4, case]))
    check(workflow, task)


@pytest.mark.thorough
@pytest.mark.parametrize("case", range(4, 60))
def test_more_random_compositions_of_families(case):
    task, workflow = random_family(np.random.default_rng([4, case]))
    check(workflow, task, rolled_out)


@pytest.mark.parametrize("case", CASES)
def test_random_compositions(case):
    check_case(case)


@pytest.mark.thorough
@pytest.mark.parametrize("case", THOROUGH_CASES)
def test_more_random_compositions(case):
    check_case(case, rolled_out)


def test_weights_when_no_real_row_is_left():
    check(HAND_PICKED["real rows that leave, weight"], cj.Gaussian(dim=1, n_samples=N))


def test_rows_of_past_models_by_their_statistics():
    check(HAND_PICKED["past, tempered"], cj.Gaussian(dim=1, n_samples=N))


@pytest.mark.thorough
@pytest.mark.parametrize("name", HAND_PICKED)
def test_hand_picked_compositions(name):
    check(HAND_PICKED[name], cj.Gaussian(dim=2, n_samples=N))
