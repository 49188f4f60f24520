"""Bandwidths scaled by the spread of each training set, against SciPy and scikit-learn."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import gaussian_kde
from sklearn.neighbors import KernelDensity as SklearnKernelDensity
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.loop import pool as pools
from collapse_jax.loop.form import columns_of, form_of
from collapse_jax.loop.generation import make_world, step
from collapse_jax.records.config import describe, rebuild
from collapse_jax.tasks.parts.bandwidths import Spread
from collapse_jax.tasks.parts.tables import split

COLUMN = np.random.default_rng(0).exponential(size=(120, 1))
RULES = [
    ("scott*spread", "scott"),
    ("silverman*spread", "silverman"),
    ("0.5*spread", 0.5),
]


def scipy_nll(rows, test, rule, weights=None):
    return -gaussian_kde(rows[:, 0], rule, weights=weights).logpdf(test[:, 0]).mean()


@pytest.mark.parametrize("scale", [1e-200, 2e30, 1e-25, 1e-6, 1.0])
@pytest.mark.parametrize(("name", "rule"), RULES)
def test_one_column_is_fitted_as_scipy_does(name, rule, scale):
    """SciPy in coordinates of its own, since its squares of 1e-200 are 0."""
    task = cj.KernelDensity(data=(COLUMN + 1e6) * scale, bandwidth=name)
    found = cj.simulate(cj.Replace(), task, 1, 1, progress=False).nll.item()
    expected = scipy_nll(*split(COLUMN, 0.25, 0), rule) + np.log(scale)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-5)


@pytest.mark.parametrize(("name", "rule"), RULES)
def test_round_kernels_are_those_of_sklearn_on_rows_of_unit_spread(name, rule):
    rows = np.random.default_rng(1).standard_normal((90, 3)) * [1.0, 2.0, 0.1]
    train, test = split(rows, 0.25, 0)
    spread = np.sqrt(np.var(train, axis=0, ddof=1).mean())
    exact = SklearnKernelDensity(bandwidth=rule).fit(train / spread).score_samples(test / spread)
    task = cj.KernelDensity(data=rows, bandwidth=name)
    found = cj.simulate(cj.Replace(), task, 1, 1, progress=False).nll.item()
    assert found == pytest.approx(3 * np.log(spread) - exact.mean(), rel=1e-5)


LOOPS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "subsample": cj.AccumulateSubsample(),
    "window": cj.Workflow(cj.Real(every=True, keep=2), cj.Synthetic(keep=3)),
    "sizes": cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=[8, 5, 9, 4, 7], keep=2)),
    "weight": cj.Workflow(cj.Real(every=True), fit=cj.Fit(real_weight=0.3)),
    "weight, kept": cj.Workflow(cj.Real(keep=None), fit=cj.Fit(real_weight=[1, 0.2, 0.7, 0.5, 0])),
    "weight, drawn": cj.Workflow(
        cj.Real(every=True), cj.Synthetic(keep=2), cj.Fit(n=7, real_weight=0.3)
    ),
}


def training_sets(workflow, task, generations):
    """Rows, weights, test rows and negative log-likelihood of each generation of a chain."""
    key = jax.random.key(3, impl="threefry2x32")
    plan = workflow.plan(generations, task.n_samples)
    form = form_of(workflow, task, plan)
    world = make_world(task, form, key)
    columns = columns_of(plan, form, task.population)
    pool = pools.begin(task, form, world, key, columns.of(1))
    unit = np.exp(task.log_unit[0])

    @jax.jit
    def one(pool, now):
        chosen = pools.add_real(task, form, world, pool, key, now)
        choice = cj.numerics.keys.stream(key, now.generation, cj.numerics.keys.Role.SELECT)
        data, _ = pools.select(task, form, world, chosen, choice, now)
        return data, step(task, form, world, pool, key, now, ("nll",))

    for t in range(1, generations + 1):
        data, (pool, metrics) = one(pool, columns.of(t))
        places = data.places
        rows = np.asarray(data.rows)[places.rows(jnp.arange(int(places.total)))]
        weights = np.ones(len(rows))
        if places.real_weight is not None:
            n_real, weight = int(places.real_size), float(places.real_weight)
            weights[:n_real] = weight / max(n_real, 1)
            weights[n_real:] = (1.0 - weight) / max(len(rows) - n_real, 1)
        yield unit * rows, weights, unit * np.asarray(world.test), float(metrics["nll"])


@pytest.mark.parametrize("workflow", LOOPS.values(), ids=list(LOOPS))
@pytest.mark.parametrize(("name", "rule"), RULES[:1])
def test_every_generation_is_fitted_as_scipy_does(workflow, name, rule):
    task = cj.KernelDensity(data=COLUMN, n_samples=10, bandwidth=name)
    for t, (rows, weights, test, nll) in enumerate(training_sets(workflow, task, 5), 1):
        weighs = weights > 0.0  # SciPy has no zeros
        expected = scipy_nll(rows[weighs], test, rule, weights[weighs])
        assert nll == pytest.approx(expected, rel=2e-5), f"generation {t}"


@pytest.mark.thorough
@pytest.mark.parametrize("kernel", ["gaussian", "tophat"])
def test_rows_may_be_more_than_are_evaluated_at_a_time(kernel):
    """Ten batches, of which four are not there yet."""
    options = {"kernel": kernel, "n_test": 20, "n_samples": 7}
    task = cj.KernelDensity("moons", bandwidth="2*spread", **options)
    long = cj.simulate(cj.Accumulate(), task, 10, 2, progress=False)
    short = cj.simulate(cj.Accumulate(), task, 6, 2, progress=False)
    np.testing.assert_allclose(long.nll[:, :6], short.nll, rtol=1e-5)


def test_spreads_merge_like_their_rows():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 5, 3)).astype(np.float32)
    parts = [Spread.of_rows(jnp.asarray(x), None) for x in (first, second)]
    merged = parts[0].merge(parts[1], jnp.array([0.5, 2.0]))
    weights = np.repeat([0.5, 2.0], 5)
    rows = np.concatenate([first, second])
    mean = np.average(rows, axis=0, weights=weights)
    np.testing.assert_allclose(merged.mean, mean, rtol=1e-5)
    variance = np.average((rows - mean) ** 2, axis=0, weights=weights).mean()
    np.testing.assert_allclose(merged.variance, variance, rtol=1e-5)
    nothing = Spread.of_rows(jnp.zeros((5, 3)), jnp.zeros(5, bool))
    for merged in (parts[0].merge(nothing, None), nothing.merge(parts[0], None)):
        np.testing.assert_allclose(merged.variance, parts[0].variance, rtol=1e-6)


def test_variances_follow_theory():
    """Exactly geometric, relative to the training rows: the kernel shrinks with them."""
    n, factor = 10, 0.3
    task = cj.KernelDensity(data=COLUMN, n_samples=n, bandwidth=f"{factor}*spread")
    options = {"metrics": ["variance_ratio"], "progress": False}
    ratio = cj.simulate(cj.Replace(), task, 5, 4000, **options).variance_ratio.values
    train, test = split(COLUMN, 0.25, 0)
    expected = cj.theory.kernel.spread_moments(n, 5, factor=factor).covariance
    truth = train.var(ddof=1) / test.var(ddof=1)
    assert_mean(ratio, expected * truth, rounding=1e-5)


@pytest.mark.thorough
def test_vanished_and_exploded_spreads_are_infinite_and_never_nan():
    counts = np.random.default_rng(0).poisson(0.2, (200, 1)).astype(float)
    for task, generations in [
        (cj.KernelDensity(data=counts, n_samples=3, bandwidth="0.1*spread"), 60),
        (cj.KernelDensity(data=counts, n_samples=20, bandwidth="3*spread"), 120),
        (cj.KernelDensity(n_samples=20, n_test=20, bandwidth="3*spread"), 120),
    ]:
        names = list(task.variables)
        ds = cj.simulate(cj.Replace(), task, generations, 20, metrics=names, progress=False)
        assert not any(bool(np.isnan(ds[name]).any()) for name in names)
        assert bool(np.isposinf(ds.nll.values[:, -1]).any())


@pytest.mark.parametrize("bandwidth", ["scott", "silverman*spread", "0.25*spread", 1e-3])
def test_bandwidths_are_kept_as_they_are_written(bandwidth):
    for data in (None, COLUMN * 1e-5):
        task = cj.KernelDensity(data=data, bandwidth=bandwidth)
        assert task.bandwidth == bandwidth
        assert json.loads(json.dumps(describe(task)))["bandwidth"] == bandwidth
    assert cj.KernelDensity(bandwidth=" 0.25 * spread").bandwidth == "0.25*spread"
    task = cj.KernelDensity(bandwidth=bandwidth)
    assert rebuild(describe(task)).bandwidth == bandwidth


def test_units_are_told_apart():
    first, second = (cj.KernelDensity(data=COLUMN * unit, bandwidth=0.1) for unit in (1.0, 8.0))
    np.testing.assert_array_equal(first.train, second.train)
    assert describe(first) != describe(second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidth": "scot*spread"}, "bandwidth must be one of .*did you mean 'scott\\*spread'"),
        ({"bandwidth": "scott*2"}, "bandwidth must be one of 'scott', .* got 'scott\\*2'"),
        ({"bandwidth": "-1*spread"}, "bandwidth over the spread must be a finite positive number"),
        ({"bandwidth": "nan*spread"}, "bandwidth over the spread must be a finite positive number"),
        ({"bandwidth": "1e20*spread"}, "bandwidth must be between 1e-15 and 1e\\+15 .* 1e\\+20"),
        ({"bandwidth": "scott*spread", "n_samples": 1}, "n_samples must be between 2"),
        ({"bandwidth": 1e-20}, "bandwidth must be between 1e-15 .* got 1e-20"),
        ({"bandwidth": 1e-10, "noise": 1e8}, "bandwidth must be between 1e-15"),
        ({"noise": 1e16}, "noise must be at most 1e\\+15, got 1e\\+16"),
        ({"data": COLUMN * 1e-30}, "bandwidth .* got 0.1, which is 6.34e\\+28 times"),
        ({"data": COLUMN * 1e-30, "bandwidth": "scott"}, "'scott\\*spread' follows the spread"),
        ({"data": np.full((9, 1), 3.0)}, "data must have rows that differ"),
        ({"n_test": 1}, "n_test must be between 2"),
    ],
)
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        cj.KernelDensity(**options)
