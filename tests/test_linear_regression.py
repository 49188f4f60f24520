"""Linear regression against exact theory, NumPy's least squares and a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from statistics_helpers import assert_mean, assert_same_law

import collapse_jax as cj
from benchmarks import reference
from collapse_jax import theory
from collapse_jax.loop.form import form_of
from collapse_jax.loop.generation import make_world

WORKFLOWS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "accumulate-subsample": cj.AccumulateSubsample(),
}


def errors(workflow, task, generations, seeds, **options):
    ds = cj.simulate(workflow, task, generations, seeds, progress=False, **options)
    return ds.test_error.values


@pytest.mark.parametrize(
    ("workflow", "design", "dim", "n"),
    [
        ("replace", "fixed", 3, 20),
        ("accumulate", "fixed", 12, 5),
        ("replace", "fresh", 12, 5),
        ("accumulate", "fresh", 3, 20),
        ("accumulate", "fresh", 12, 5),
    ],
)
def test_agrees_with_theory(workflow, design, dim, n):
    task = cj.LinearRegression(dim=dim, n_samples=n, noise=0.5, design=design)
    values = errors(WORKFLOWS[workflow], task, 8, 20_000)
    expected = theory.expected(WORKFLOWS[workflow], task, 8).test_error
    assert expected.attrs["kind"] == "exact"
    assert_mean(values, expected.values, rounding=1e-3)


def test_a_single_coefficient():
    task = cj.LinearRegression(dim=1, n_samples=30, n_test=50)
    values = errors(cj.Replace(), task, 5, 20_000)
    assert_mean(values, theory.regression.replace_error(30, 1, 5), rounding=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("workflow", "dim", "n"),
    [(name, 4, 12) for name in WORKFLOWS] + [("accumulate-subsample", 10, 4)],
)
def test_agrees_in_law_with_a_plain_numpy_loop(workflow, dim, n):
    generations = 5
    twin = np.array(
        [
            reference.linear_regression(workflow, dim, n, 1.0, generations, seed)["test_error"]
            for seed in range(400)
        ]
    )
    ours = errors(WORKFLOWS[workflow], cj.LinearRegression(dim=dim, n_samples=n), generations, 3000)
    for t in (0, 2, 4):
        assert_same_law(ours[:, t], twin[:, t], comparisons=3)


@pytest.mark.thorough
@pytest.mark.parametrize(("workflow", "design"), [("replace", "fresh"), ("accumulate", "fixed")])
def test_rows_and_statistics_agree_in_law(workflow, design):
    task = cj.LinearRegression(dim=3, n_samples=10, design=design)
    by_statistic = errors(WORKFLOWS[workflow], task, 5, 3000)
    by_rows = errors(WORKFLOWS[workflow], task, 5, range(10_000, 13_000), storage="rows")
    for t in (0, 2, 4):
        assert_same_law(by_statistic[:, t], by_rows[:, t], comparisons=3)


@pytest.mark.parametrize(("dim", "n"), [(4, 30), (9, 4)])
def test_a_design_spreads_noise_as_the_pseudo_inverse_does(dim, n):
    task = cj.LinearRegression(dim=dim, n_samples=n)
    key = jax.random.key(0, impl="threefry2x32")
    workflow = cj.AccumulateSubsample()
    world = make_world(task, form_of(workflow, task, workflow.plan(2, n)), key)
    x = np.asarray(world.x, np.float64)
    inverse = np.linalg.pinv(x)
    spread, basis = np.asarray(world.design.spread), np.asarray(world.design.basis)
    np.testing.assert_allclose(spread @ spread.T, inverse @ inverse.T, atol=1e-4)
    np.testing.assert_allclose(basis @ basis.T, inverse @ x, atol=1e-4)


@pytest.mark.thorough
def test_accumulate_subsample_approaches_its_asymptotic_ratio():
    """n = 400, d = 4 is 1 % from the limit; c_t of theory times the first generation's error."""
    task = cj.LinearRegression(dim=4, n_samples=400)
    values = errors(cj.AccumulateSubsample(), task, 10, 3000)
    expected = theory.expected(cj.AccumulateSubsample(), task, 10).test_error
    assert expected.attrs["kind"] == "asymptotic"
    assert_mean(values, expected.values, rounding=0.02)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3)) * [1.0, 5.0, 0.2]
    return x, x @ [1.0, -2.0, 3.0] + 50.0 + rng.standard_normal(200)


def test_data_are_fitted_as_numpy_does(table):
    x, y = table
    task = cj.LinearRegression(data=table)
    assert (task.dim, task.n_samples, task.n_test) == (4, 150, 50)
    order = np.random.default_rng(0).permutation(200)
    design = np.column_stack([x, np.ones(200)])
    train, test = order[50:], order[:50]
    solution = np.linalg.lstsq(design[train], y[train])[0]
    error = np.mean((design[test] @ solution - y[test]) ** 2)
    for workflow in (cj.Replace(), cj.AccumulateSubsample()):
        np.testing.assert_allclose(errors(workflow, task, 1, 2)[:, 0], error, rtol=1e-3)
    residual = y[train] - design[train] @ solution
    assert task.noise == pytest.approx(residual @ residual / (150 - 4), rel=1e-6)


@pytest.mark.thorough
def test_replace_drifts_away_from_data_and_accumulate_does_not(table):
    task = cj.LinearRegression(data=table, n_samples=40)
    final = {name: errors(w, task, 30, 200)[:, -1].mean() for name, w in WORKFLOWS.items()}
    assert final["replace"] > 1.5 * final["accumulate-subsample"]
    assert final["accumulate-subsample"] > 1.02 * final["accumulate"]


def test_without_intercept_the_columns_are_as_given(table):
    task = cj.LinearRegression(data=table, fit_intercept=False)
    assert task.dim == 3


def test_noise_is_not_compiled_in():
    chain = jax.jit(
        jax.vmap(
            lambda noise: cj.rollout(
                cj.Replace(), cj.LinearRegression(dim=2, noise=noise), 3, jax.random.key(0)
            )["test_error"]
        )
    )
    ratio = chain(jnp.array([1.0, 4.0]))
    np.testing.assert_allclose(ratio[1], 4.0 * ratio[0], rtol=1e-5)
