"""The Gaussian task against exact theory, against rows, and against a plain NumPy loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from statistics_helpers import assert_mean, assert_same_law

import collapse_jax as cj
from benchmarks import reference
from collapse_jax import theory
from collapse_jax.tasks import Data
from collapse_jax.tasks.parts.normal import Moments, Normal
from collapse_jax.tasks.places import Places

WORKFLOWS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "accumulate-subsample": cj.AccumulateSubsample(),
}


def model_of(mean, covariance):
    factor = np.linalg.cholesky(covariance)
    return Normal.from_factor(jnp.asarray(mean, jnp.float32), jnp.asarray(factor, jnp.float32))


def measure(task, mean, covariance):
    """The metrics of a model given in the task's standard coordinates."""
    return in_user_units(task, model_of(mean, covariance))


def in_user_units(task, model):
    measured = task.measure(None, model)
    return {k: float(v) * task.units.get(k, 1.0) for k, v in measured.items()}


@pytest.mark.parametrize("d", [1, 3, 12])
def test_metrics_agree_with_scipy(d):
    rng = np.random.default_rng(d)
    root = np.tril(rng.standard_normal((d, d))) + 2 * np.eye(d)
    truth = root @ root.T
    task = cj.Gaussian(dim=d, mean=rng.standard_normal(d), covariance=truth)
    mean, rows = rng.standard_normal(d), rng.standard_normal((3 * d, d))
    standard = rows.T @ rows / (3 * d)
    spectrum, axes = np.linalg.eigh(truth)
    factor = axes * np.sqrt(spectrum)
    covariance, shift = factor @ standard @ factor.T, factor @ mean
    got = measure(task, mean, standard)
    overlap = np.trace(sqrtm(sqrtm(truth) @ covariance @ sqrtm(truth)))
    assert got["squared_error_mean"] == pytest.approx(shift @ shift, rel=1e-4)
    assert got["trace_ratio"] == pytest.approx(np.trace(covariance) / np.trace(truth), rel=1e-4)
    assert got["log_det_ratio"] == pytest.approx(
        np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(truth)[1], rel=1e-3, abs=1e-4
    )
    distance = shift @ shift + np.trace(covariance) + np.trace(truth) - 2 * overlap
    assert got["wasserstein2"] == pytest.approx(distance, rel=1e-3)
    # E -log q(x) for x ~ N(0, truth) equals the entropy of the truth plus a divergence.
    law = stats.multivariate_normal(shift, covariance)
    nll = -law.logpdf(np.zeros(d)) + 0.5 * np.trace(np.linalg.solve(covariance, truth))
    assert got["nll"] == pytest.approx(nll, rel=1e-3)


def test_a_traced_covariance_is_that_of_numpy():
    names = ["trace_ratio", "wasserstein2", "nll", "squared_error_mean"]
    for covariance in ([[2.0, 0.5], [0.5, 1.0]], [[1.0, 1.0], [1.0, 1.0]]):

        def chain(c):
            task = cj.Gaussian(dim=2, n_samples=20, covariance=c)
            return cj.rollout(cj.Replace(), task, 2, jax.random.key(1), metrics=names)

        traced = jax.jit(chain)(jnp.array(covariance))
        golden = chain(np.array(covariance))
        # Other axes, the same law: what they share are finite values and singular likelihoods.
        for name in names:
            assert np.array_equal(np.isfinite(traced[name]), np.isfinite(golden[name])), name
            assert not np.isnan(traced[name]).any()
        measured = {k: float(traced[k][0]) for k in names}
        assert 0.0 < measured["wasserstein2"] < 4.0


@pytest.mark.parametrize("size", [1e-4, 1e-3, 0.03, 1.0])
@pytest.mark.parametrize("truth", [1.0, [1.0, 4.0, 9.0, 0.3], [1e-6, 1.0, 100.0, 1e-6]])
def test_wasserstein_distances_near_and_far(truth, size):
    rng = np.random.default_rng(0)
    factor = np.eye(4) + size * np.tril(rng.standard_normal((4, 4)))
    factor[:, 0] *= 0.1 if size == 0.03 else 1.0  # one direction lost, the others near
    factor = factor * np.where(np.diag(factor) < 0, -1.0, 1.0)
    task = cj.Gaussian(dim=4, covariance=truth)
    own = np.diag(np.broadcast_to(np.sqrt(truth), 4))
    # The singular values of float64 leave half its digits, 1e-8 of the trace.
    overlap = np.linalg.svd(own @ own @ factor, compute_uv=False).sum()
    far = np.trace(own**2) + np.sum((own @ factor) ** 2) - 2 * overlap
    left, _, right = np.linalg.svd((own @ factor).T @ own)
    near = np.sum((own - own @ factor @ left @ right) ** 2)
    assert near == pytest.approx(far, rel=1e-6, abs=1e-12 * np.trace(own**2))
    model = Normal.from_factor(jnp.zeros(4), jnp.asarray(factor, jnp.float32))
    assert in_user_units(task, model)["wasserstein2"] == pytest.approx(near, rel=5e-3)


def sqrtm(a):
    values, vectors = np.linalg.eigh((a + a.T) / 2)
    return vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T


def test_transform_composes_affine_maps():
    rng = np.random.default_rng(0)
    a, b = (np.cov(rng.standard_normal((4, 20))) for _ in range(2))
    mean, inner_mean = rng.standard_normal((2, 4))
    outer = model_of(mean, a)
    law = outer.transform(model_of(inner_mean, b))
    factor = np.linalg.cholesky(a)
    np.testing.assert_allclose(law.mean, mean + factor @ inner_mean, atol=1e-5)
    np.testing.assert_allclose(law.factor @ law.factor.T, factor @ b @ factor.T, atol=1e-5)
    np.testing.assert_allclose(np.triu(law.lower, 1), 0.0)
    np.testing.assert_allclose(np.diag(law.lower), 1.0)


@pytest.mark.parametrize(("n", "m", "d"), [(20, 30, 3), (4, 4, 6), (3, 9, 1)])
def test_merged_moments_are_those_of_the_union(n, m, d):
    task = cj.Gaussian(dim=d, n_samples=n)
    rng = np.random.default_rng(1)
    rows = [rng.standard_normal((size, d)) + shift for size, shift in ((n, 0.0), (m, 2.0))]
    parts = [task.summarise(None, jnp.asarray(r, jnp.float32), None, size=len(r)) for r in rows]
    merged = task.merge(None, tuple(parts), None)
    union = np.concatenate(rows)
    factor = np.asarray(merged.normal.factor)
    assert float(merged.n) == n + m
    np.testing.assert_allclose(merged.normal.mean, union.mean(axis=0), atol=1e-5)
    expected = np.cov(union, rowvar=False, bias=True).reshape(d, d)
    np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-4)


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
@pytest.mark.parametrize(("n", "d"), [(12, 3), (4, 6), (5, 1)])
def test_extending_has_the_law_of_sampling_and_merging(n, d, estimator):
    """The accurate shortcut in the model's own coordinates against the definition."""
    task = cj.Gaussian(dim=d, n_samples=n, estimator=estimator)
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((2 * n, d)) @ rng.standard_normal((d, d)) + 1.0
    statistic = task.summarise(None, jnp.asarray(rows, jnp.float32), None, size=2 * n)
    places = Places.first(jnp.asarray(2 * n))
    model = task.fit(None, Data(None, places, statistic, jnp.asarray(2.0 * n)))
    options = {"n": n, "temperature": None}

    def both(key):
        first, second = jax.random.split(key)
        extended = task.extend_statistic(None, statistic, model, first, **options)
        new = task.sample_statistic(None, model, second, **options)
        merged = task.merge(None, (statistic, new), None)
        return [(s.normal.mean, s.normal.factor @ s.normal.factor.T) for s in (extended, merged)]

    extended, merged = jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(n * d), 5000))
    for pair in zip(extended, merged, strict=True):
        ours, twin = (np.asarray(x).reshape(5000, -1) for x in pair)
        for column in range(ours.shape[1]):
            assert_same_law(ours[:, column], twin[:, column], comparisons=2 * ours.shape[1])


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
@pytest.mark.parametrize(
    ("dim", "n", "estimator"), [(1, 10, "mle"), (3, 10, "unbiased"), (4, 3, "mle")]
)
def test_agrees_with_theory(workflow, dim, n, estimator):
    task = cj.Gaussian(dim=dim, n_samples=n, estimator=estimator, covariance=2.0)
    ds = cj.simulate(workflow, task, 12, 20_000, progress=False)
    expected = theory.expected(workflow, task, 12)
    assert {"trace_ratio", "squared_error_mean", "n_train", "real_fraction"} <= set(expected)
    for name, curve in expected.items():
        if curve.attrs["kind"] != "exact" or not np.all(np.isfinite(curve)):
            continue
        # Under Replace the second moments of variances and inverse variances grow exponentially.
        last = 12 if name != "nll" or n > dim + 8 else 1
        values = ds[name].values[:, :last]
        assert_mean(values, curve.values[:last], rounding=1e-4)


def test_conservation_law_for_every_workflow():
    """E Sigma_t + E (mu_t - mu_0)(mu_t - mu_0)' = Sigma_0, at every generation."""
    for workflow in WORKFLOWS.values():
        ds = cj.simulate(
            workflow,
            cj.Gaussian(dim=2, n_samples=8),
            15,
            10_000,
            metrics=("squared_error_mean", "trace_ratio"),
            progress=False,
        )
        assert_mean(ds.trace_ratio.values + ds.squared_error_mean.values / 2.0, 1.0)


@pytest.mark.parametrize(("dim", "n"), [(1, 10), (3, 12), (10, 30)])
def test_log_determinant_under_replace_is_the_exact_random_walk(dim, n):
    ds = cj.simulate(
        cj.Replace(),
        cj.Gaussian(dim=dim, n_samples=n),
        60,
        8000,
        progress=False,
        metrics=("log_det_ratio",),
    )
    values = ds.log_det_ratio.values[:, [0, 9, 59]]
    mean = theory.wishart.log_det_mean(n, dim, 60)[[0, 9, 59]]
    variance = theory.wishart.log_det_variance(n, dim, 60)[[0, 9, 59]]
    assert_mean(values, mean)
    assert_mean((values - mean) ** 2, variance)


@pytest.mark.thorough
@pytest.mark.parametrize("workflow", ["replace", "accumulate", "accumulate-subsample"])
def test_agrees_in_law_with_a_plain_numpy_loop(workflow):
    dim, n, generations, chains = 3, 8, 6, 400
    loop = [reference.gaussian(workflow, dim, n, generations, seed) for seed in range(chains)]
    ds = cj.simulate(
        WORKFLOWS[workflow], cj.Gaussian(dim=dim, n_samples=n), generations, 4000, progress=False
    )
    for name in ("squared_error_mean", "trace_ratio", "log_det_ratio"):
        twin = np.array([chain[name] for chain in loop])
        for t in (0, 2, generations - 1):
            assert_same_law(ds[name].values[:, t], twin[:, t], comparisons=9)


@pytest.mark.thorough
@pytest.mark.parametrize("workflow", [cj.Replace(), cj.Accumulate()], ids=["replace", "accumulate"])
def test_rows_and_statistics_agree_in_law(workflow):
    task = cj.Gaussian(dim=3, n_samples=10)
    by_statistic = cj.simulate(workflow, task, 6, 3000, progress=False)
    by_rows = cj.simulate(workflow, task, 6, range(10_000, 13_000), storage="rows", progress=False)
    for name in task.variables:
        for t in (0, 2, 5):
            assert_same_law(
                by_statistic[name].values[:, t], by_rows[name].values[:, t], comparisons=15
            )


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
def test_fewer_samples_than_dimensions_stay_exactly_singular(workflow):
    ds = cj.simulate(workflow, cj.Gaussian(dim=6, n_samples=4), 30, 50, progress=False)
    assert np.all(np.isneginf(ds.log_det_ratio))
    assert np.all(np.isposinf(ds.nll))
    for name in ("squared_error_mean", "trace_ratio", "wasserstein2"):
        assert np.all(np.isfinite(ds[name]))


def test_a_chain_of_ten_thousand_generations_reports_its_log_determinant():
    """Where variances have long left the range of float32; three directions at different rates."""
    dim, n, generations = 3, 10, 10_000
    ds = cj.simulate(
        cj.Replace(), cj.Gaussian(dim=dim, n_samples=n), generations, 64, progress=False
    )
    assert not ds.to_array().isnull().any()
    final = ds.log_det_ratio.values[:, -1]
    mean = theory.wishart.log_det_mean(n, dim, generations)[-1]
    assert mean < -5000
    assert_mean(final, mean, rounding=1e-5)
    assert np.all(ds.trace_ratio.values[:, -1] == 0.0)


def test_accumulating_near_singular_covariances_keeps_their_determinant():
    """n = d + 1: float64 rows, reduced by NumPy, must agree with the float32 triangular form."""
    dim, n = 8, 9
    task = cj.Gaussian(dim=dim, n_samples=n)
    ds = cj.simulate(cj.Accumulate(), task, 10, 4000, progress=False)
    twin = np.array(
        [reference.gaussian("accumulate", dim, n, 10, seed)["log_det_ratio"] for seed in range(400)]
    )
    for t in (0, 4, 9):
        assert_same_law(ds.log_det_ratio.values[:, t], twin[:, t], comparisons=3)


@pytest.mark.thorough
def test_data_define_the_truth():
    rng = np.random.default_rng(3)
    rows = rng.gamma(2.0, size=(400, 3)) @ rng.standard_normal((3, 3)) + 5.0
    task = cj.Gaussian(data=rows, n_samples=30)
    assert task.dim == 3
    assert task.population == 300
    for workflow in WORKFLOWS.values():
        names = ("trace_ratio", "squared_error_mean")
        ds = cj.simulate(workflow, task, 8, 8000, metrics=names, progress=False)
        expected = theory.expected(workflow, task, 8)
        for name in names:
            assert expected[name].attrs["kind"] == "exact"
            assert_mean(ds[name].values, expected[name].values, rounding=1e-4)


def test_nll_of_data_is_that_of_the_test_rows():
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((200, 2)) @ np.array([[3.0, 0.0], [1.0, 0.1]]) + [100.0, -3.0]
    task = cj.Gaussian(data=rows)  # all training rows: generation 1 is their exact fit
    ds = cj.simulate(cj.Replace(), task, 1, 3, progress=False)
    order = np.random.default_rng(0).permutation(200)
    train, test = rows[order[50:]], rows[order[:50]]
    law = stats.multivariate_normal(train.mean(axis=0), np.cov(train, rowvar=False, bias=True))
    np.testing.assert_allclose(ds.nll.values, -law.logpdf(test).mean(), rtol=1e-4)
    np.testing.assert_allclose(ds.trace_ratio.values, 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    "covariance", [0.3, [1.0, 4.0], [[2.0, 0.5], [0.5, 1.0]], [[1, 1], [1, 1]]]
)
def test_every_form_of_covariance(covariance):
    task = cj.Gaussian(dim=2, n_samples=20, covariance=covariance, mean=[1.0, -1.0])
    ds = cj.simulate(cj.Accumulate(), task, 5, 4000, progress=False)
    expected = theory.expected(cj.Accumulate(), task, 5)
    assert_mean(ds.squared_error_mean.values, expected.squared_error_mean.values, rounding=1e-4)
    assert_mean(ds.trace_ratio.values, expected.trace_ratio.values, rounding=1e-4)


def test_moments_are_a_pytree():
    assert len(jax.tree.leaves(Moments(jnp.ones(()), model_of(np.zeros(2), np.eye(2))))) == 4


def test_tails_and_range_agree_with_scipy():
    """The metrics of single models, against the laws of their coordinates."""
    ds = cj.simulate(cj.Replace(), Reporting(dim=2, n_samples=9), 6, 20, progress=False)
    coordinates = [stats.norm(ds[f"mean_{i}"], ds[f"deviation_{i}"]) for i in range(2)]
    outside = [law.cdf(-2.575829) + law.sf(2.575829) for law in coordinates]
    np.testing.assert_allclose(ds.hallucinated, np.mean(outside, axis=0), atol=2e-6)
    covered = []
    for i in range(2):
        reach = 2.575829 * ds[f"deviation_{i}"]
        low, high = ds[f"mean_{i}"] - reach, ds[f"mean_{i}"] + reach
        truth = stats.norm.cdf
        below = truth(np.minimum(high, -1.959964)) - truth(np.minimum(low, -1.959964))
        above = truth(np.maximum(high, 1.959964)) - truth(np.maximum(low, 1.959964))
        covered.append((below + above) / 0.05)
    np.testing.assert_allclose(ds.tail_coverage, np.mean(covered, axis=0), atol=2e-5)


class Reporting(cj.Gaussian):
    """Also reports its coordinates."""

    variables = cj.Gaussian.variables | {
        name: cj.tasks.Variable(name, "1")
        for name in ("mean_0", "mean_1", "deviation_0", "deviation_1")
    }

    def measure(self, world, model):
        deviation = (model.factor**2).sum(1) ** 0.5
        own = {f"mean_{i}": model.mean[i] for i in range(2)}
        own |= {f"deviation_{i}": deviation[i] for i in range(2)}
        return super().measure(world, model) | own


def test_dead_models_cover_no_tail():
    ds = cj.simulate(cj.Replace(), cj.Gaussian(1, 3), 400, 50, progress=False)
    assert np.all(ds.tail_coverage[:, -1] < 1e-6)
    assert set(np.unique(ds.hallucinated[:, -1])) <= {0.0, 1.0}  # all of it, or nothing


WINDOW = cj.Workflow(cj.Real(keep=3), cj.Synthetic(keep=3))


@pytest.mark.parametrize("n", [5, 20])
def test_rows_follow_models_that_collapse(n):
    """Variances fall by a factor of e^200 and more, in each direction at another rate."""
    task = cj.Gaussian(dim=3, n_samples=n)
    found = cj.simulate(
        cj.Replace(), task, 400, 500, metrics=["log_det_ratio"], storage="rows", progress=False
    ).log_det_ratio.values
    assert_mean(found, theory.wishart.log_det_mean(n, 3, 400), rounding=1e-4)


def test_real_rows_that_have_left_a_window_play_no_part():
    """Neither their moments nor their weight: from then on both loops are the same in law."""
    task, found = cj.Gaussian(dim=2, n_samples=10), []
    for weight, seeds in ((None, range(400)), (0.5, range(400, 800))):
        loop = cj.Workflow(cj.Real(keep=2), cj.Synthetic(keep=2), cj.Fit(real_weight=weight))
        ds = cj.simulate(loop, task, 1000, seeds, metrics=["log_det_ratio"], progress=False)
        found.append(ds.log_det_ratio.values)
    for t in (1, 100, 999):
        assert_same_law(found[0][:, t], found[1][:, t], comparisons=3)


@pytest.mark.parametrize("n", [5, 20])
def test_windows_follow_models_that_collapse(n):
    task = cj.Gaussian(dim=3, n_samples=n)
    law, rows = (
        cj.simulate(
            WINDOW, task, 400, seeds, metrics=["log_det_ratio"], storage=storage, progress=False
        ).log_det_ratio.values
        for storage, seeds in (("auto", range(1000)), ("rows", range(1000, 1500)))
    )
    for t in (4, 99, 399):
        assert_same_law(law[:, t], rows[:, t], comparisons=3)


def test_subsets_of_a_window_span_less_than_it():
    """Fits to 3 of 15 rows have two directions; the rows kept have three."""
    task = cj.Gaussian(dim=3, n_samples=5)
    loop = cj.Workflow(cj.Real(keep=3), cj.Synthetic(keep=3), cj.Fit(n=3))
    found = cj.simulate(loop, task, 20, 500, metrics=["trace_ratio"], progress=False).trace_ratio
    expected = theory.expected(loop, task, 20)["trace_ratio"]
    assert_mean(found.values, expected.values, rounding=1e-4)


@pytest.mark.parametrize("source", [cj.Mixed(1.0), cj.Mixed(0.5)])
def test_rows_of_the_truth_are_the_users(source):
    """Rows of -1 and 1 have a mean square of 1, whichever they are; generated ones have not."""
    rows = np.where(np.arange(80) % 2 == 0, -1.0, 1.0)[:, None]
    task = cj.Gaussian(data=rows, n_samples=20, split_seed=1)
    assert task.mean[0] == 0.0
    loop = cj.Workflow(synthetic=cj.Synthetic(of=source))
    ds = cj.simulate(loop, task, 4, 50, progress=False)
    square = (ds.trace_ratio + ds.squared_error_mean).values
    assert ds.trace_ratio.values[:, -1].std() > 0.0
    of_users = np.isclose(square[:, 1:], 1.0, rtol=1e-4)
    assert np.all(of_users) if source == cj.Mixed(1.0) else not np.any(of_users)
