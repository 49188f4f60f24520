"""Gaussian mixtures against scikit-learn's EM, and against what theory knows of their loops."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import mixture
from sklearn.exceptions import ConvergenceWarning
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.tasks.parts import mixtures, toys
from collapse_jax.tasks.parts.mixtures import Mixture

thorough = pytest.mark.thorough
THREE = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
WEIGHTS = np.array([0.5, 0.3, 0.2])


def run(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options)


def well_apart(n, **options):
    return cj.GaussianMixture(
        means=THREE, weights=WEIGHTS, noise=1.0, n_samples=n, n_test=50, **options
    )


def overlapping(n=300):
    rng = np.random.default_rng(0)
    centers = np.array([[0.0, 0.0], [2.0, 1.0], [-1.0, 2.0]])
    return centers[rng.integers(3, size=n)] + rng.standard_normal((n, 2)) * [1.0, 0.6], centers


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_steps_are_those_of_scikit_learn(covariance):
    x, centers = overlapping()
    shapes = {"full": np.tile(np.eye(2), (3, 1, 1)), "diag": np.ones((3, 2)), "spherical": [1] * 3}
    theirs = mixture.GaussianMixture(
        3,
        covariance_type=covariance,
        tol=0.0,
        max_iter=15,
        reg_covar=1e-3,
        weights_init=[1 / 3] * 3,
        means_init=centers,
        precisions_init=np.array(shapes[covariance]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(x)
    roots = np.tile(np.eye(2), (3, 1, 1)) if covariance == "full" else np.ones((3, 2))
    start = Mixture(jnp.full(3, 1 / 3), jnp.float32(centers), jnp.float32(roots))
    # Rows of no weight, wherever they are, change nothing; whole weights are rows several times.
    rows = np.vstack([x[:200], x[200:250], np.full((7, 2), 50.0), x[250:]])
    weight = np.r_[np.ones(250), np.zeros(7), np.ones(50)]
    found = mixtures.improved(
        jnp.float32(rows), jnp.float32(weight), start, covariance, 1e-3, 15, -1.0
    )
    np.testing.assert_allclose(found.weights, theirs.weights_, atol=2e-4)
    np.testing.assert_allclose(found.means, theirs.means_, atol=1e-3)
    roots = np.asarray(found.roots)
    covariances = roots @ roots.transpose(0, 2, 1) if covariance == "full" else roots**2
    expected = theirs.covariances_
    expected = np.tile(expected[:, None], (1, 2)) if covariance == "spherical" else expected
    np.testing.assert_allclose(covariances, expected, atol=2e-3)
    np.testing.assert_allclose(
        np.mean(mixtures.log_density(found, jnp.float32(x))), theirs.score(x), atol=1e-4
    )


def test_weights_are_repeated_rows():
    x, centers = overlapping(60)
    times = np.arange(60) % 3
    start = Mixture(jnp.full(3, 1 / 3), jnp.float32(centers), jnp.ones((3, 2)))
    parts = [(x, times), (np.repeat(x, times, axis=0), np.ones(times.sum()))]
    first, second = (
        mixtures.improved(jnp.float32(rows), jnp.float32(weight), start, "diag", 1e-3, 9, -1.0)
        for rows, weight in parts
    )
    np.testing.assert_allclose(first.means, second.means, atol=1e-4)
    np.testing.assert_allclose(first.weights, second.weights, atol=1e-5)


def test_seeds_are_rows_far_apart():
    rng = np.random.default_rng(1)
    x = np.repeat(toys.MODES["grid"], 8, axis=0) + 0.05 * rng.standard_normal((200, 2))
    x[:8] = 1e4  # of no weight
    weight = jnp.float32(np.arange(200) >= 8)
    seeded = jax.jit(lambda key, x, weight: mixtures.seeded(key, x, weight, 24, "diag", 1e-4))
    found = 0
    for seed in range(20):
        start = seeded(jax.random.key(seed), jnp.float32(x), weight)
        gaps = np.linalg.norm(start.means[:, None] - toys.MODES["grid"], axis=2)
        assert np.all(gaps.min(axis=1) < 1.5)
        np.testing.assert_allclose(start.weights.sum(), 1.0, rtol=1e-5)
        found += len(set(gaps.argmin(axis=1)))
    assert found / 20 > 23.5


def test_samples_have_the_moments_of_the_mixture():
    roots = jnp.array([[[1.0, 0.0], [0.5, 2.0]], [[0.3, 0.0], [0.0, 0.1]]])
    model = Mixture(jnp.array([0.3, 0.7]), jnp.array([[1.0, 2.0], [-3.0, 0.5]]), roots)
    x = np.asarray(mixtures.sample(model, jax.random.key(0), 100_000), np.float64)
    mean = 0.3 * np.array([1.0, 2.0]) + 0.7 * np.array([-3.0, 0.5])
    assert_mean(x, mean)
    assert_mean(np.sum((x - mean) ** 2, axis=1), float(mixtures.variance(model)))
    tilted = x[x[:, 0] > -1.0] - [1.0, 2.0]
    assert_mean(tilted[:, 0] * tilted[:, 1], 0.5, rounding=0.05)


@pytest.mark.parametrize("covariance", ["full", pytest.param("spherical", marks=thorough)])
def test_the_spread_is_that_of_a_gaussian(covariance):
    task = cj.GaussianMixture("ring", 3, 30, noise=0.5, covariance=covariance, n_test=20)
    for workflow in (cj.Replace(), cj.Workflow(cj.Real(every=True, n=10))):
        known = cj.theory.expected(workflow, task, 4)
        assert known.variance_ratio.kind == "exact"
        assert "modes" not in known
        ds = run(workflow, task, 4, 2000, metrics=["variance_ratio"])
        assert_mean(ds.variance_ratio.values, known.variance_ratio.values, rounding=1e-4)


@pytest.mark.parametrize("warm", [pytest.param(False, marks=thorough), True])
def test_modes_far_apart_drift_like_outcomes(warm):
    task, workflow = well_apart(20), cj.Workflow(fit=cj.Fit(warm_start=warm))
    known = cj.theory.expected(workflow, task, 10)
    assert known.modes[-1] < 2.6
    ds = run(workflow, task, 10, 1500, metrics=["modes", "squared_error"])
    assert_mean(ds.squared_error.values, known.squared_error.values, rounding=1e-3)
    assert_mean(ds.modes.values, known.modes.values, rounding=1e-3)


def test_a_component_without_rows_stays_dead():
    x, _ = overlapping(40)
    weights = jnp.array([0.5, 0.5, 0.0])
    means = jnp.array([[0.0, 0.0], [2.0, 1.0], [1.0, 1.0]])
    found = mixtures.improved(
        jnp.float32(x),
        jnp.ones(40),
        Mixture(weights, means, jnp.ones((3, 2))),
        "diag",
        1e-3,
        9,
        -1.0,
    )
    assert found.weights[2] == 0.0
    assert found.means[2].tolist() == [1.0, 1.0]
    assert np.isfinite(mixtures.log_density(found, jnp.float32(x))).all()


@pytest.mark.thorough
@pytest.mark.parametrize("warm", [False, True])
def test_long_runs_stay_finite(warm):
    workflow = cj.Workflow(fit=cj.Fit(warm_start=warm))
    ds = run(workflow, cj.GaussianMixture("ring", n_samples=12, n_test=20, max_steps=20), 40, 20)
    assert np.isfinite(ds.to_array()).all()
    assert ds.modes[:, -1].mean() < 3.0
    assert not ds.to_array().isnull().any()


def test_data_of_ones_own():
    x, _ = overlapping(400)
    x = x * [100.0, 1e-3] + [5e4, 0.0]
    task = cj.GaussianMixture(data=x, n_components=1)
    ds = run(cj.Replace(), task, 1, 2)
    train, test = np.split(x[np.random.default_rng(0).permutation(400)], [100])[::-1]
    theirs = mixture.GaussianMixture(1, reg_covar=0.0).fit(train)
    np.testing.assert_allclose(ds.nll[:, 0], -theirs.score(test), atol=1e-4)
    np.testing.assert_allclose(ds.variance_ratio[:, 0], 1.0, rtol=1e-4)
    assert set(ds) == {"n_train", "real_fraction", "nll", "variance_ratio", "modes"}
    known = cj.theory.expected(cj.Replace(), task, 3)
    assert known.variance_ratio.kind == "exact"


def test_data_sets_of_modes():
    modes, key = toys.modes_of("grid"), jax.random.key(0)
    rows = toys.draw(modes, key, 50, 0.01, toys.draw_centers(modes, key))
    nearest = np.linalg.norm(rows[:, None] - toys.MODES["grid"], axis=2)
    assert nearest.min(axis=1).max() < 0.06
    assert np.bincount(nearest.argmin(axis=1)).tolist() == [2] * 25
    assert len(np.unique(np.round(np.linalg.norm(toys.MODES["ring"], axis=1), 9))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 7}, "n_samples must be between 8 and .*, got 7"),
        ({"n_components": 0}, "n_components must be between 1 and .*, got 0"),
        ({"noise": 0.0}, "noise must be a finite positive number, got 0"),
        ({"reg_covar": 0.0}, "reg_covar must be a finite positive number, got 0"),
        ({"max_steps": 0}, "max_steps must be between 1"),
        ({"means": [1.0, 2.0]}, "means must have 2 dimensions"),
        ({"means": THREE, "weights": [1.0]}, r"weights must have shape \(3,\), got shape \(1,\)"),
        ({"means": THREE, "weights": [0.5, 0.4, 0.2]}, "weights must be positive and sum to 1"),
        ({"data": THREE}, "n_components must be given together with data"),
        ({"data": np.ones((9, 2)), "n_components": 2}, "must vary in every column; column 0"),
        (
            {"data": THREE[[0, 1, 2] * 3] + np.arange(18).reshape(9, 2), "n_components": 8},
            "n_components must not exceed the 6 training rows of data, got 8",
        ),
        ({"data": np.eye(9), "n_components": 2, "means": THREE}, "means and weights cannot be"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        cj.GaussianMixture(**arguments)


@pytest.mark.parametrize(
    ("loop", "message"),
    [
        (cj.Workflow(cj.Real(n=2)), "this GaussianMixture 3 rows or more, got 2 in generation 1"),
        (cj.Workflow(synthetic=cj.Synthetic(n=[9, 2, 9])), "or more, got 2 in generation 3"),
        (cj.Workflow(cj.Real(keep=None), fit=cj.Fit(n=2)), "or more, got 2 in generation 1"),
    ],
)
def test_loops_with_fewer_rows_than_components_are_refused(loop, message):
    task = cj.GaussianMixture(means=THREE, n_samples=30)
    with pytest.raises(ValueError, match=message):
        cj.simulate(loop, task, 3, 2, progress=False)
