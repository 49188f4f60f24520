"""Kernel densities and toy data sets against scikit-learn, and chains against a plain loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import gammaln, logsumexp
from sklearn import datasets as sk
from sklearn.neighbors import KernelDensity as SklearnKernelDensity
from statistics_helpers import assert_mean, assert_same_law

import collapse_jax as cj
from benchmarks import reference
from collapse_jax.loop import pool as pools
from collapse_jax.loop.batches import first_rows
from collapse_jax.loop.form import columns_of, form_of
from collapse_jax.loop.generation import make_world, step
from collapse_jax.numerics.kernels import _exp2, log_kernel_sums
from collapse_jax.run.compiled import traceable
from collapse_jax.tasks import Data
from collapse_jax.tasks.parts import toys
from collapse_jax.tasks.parts.tables import split
from collapse_jax.tasks.places import Places

KEY = jax.random.key(0)
WORKFLOWS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "accumulate-subsample": cj.AccumulateSubsample(),
}


def test_power_of_two():
    x = -np.concatenate([np.linspace(0, 130, 100_001), [1e6, np.inf]]).astype(np.float32)
    exact = np.maximum(2.0 ** x.astype(np.float64), 2.0**-126)
    np.testing.assert_allclose(jax.jit(_exp2)(jnp.asarray(x)), exact, rtol=3e-7)


def fitted(task, world, rows):
    """The model of a training set that is these rows."""
    n = len(rows)
    statistic = task.summarise(world, rows, None, size=n)
    data = Data(rows, Places.first(jnp.asarray(n)), statistic, jnp.asarray(float(n)))
    return task.fit(world, data)


@pytest.mark.parametrize("kernel", ["gaussian", "tophat"])
@pytest.mark.parametrize("bandwidth", [0.01, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_nll_agrees_with_sklearn(kernel, bandwidth, dim):
    rng = np.random.default_rng(dim)
    # In float32 from the start, so that both sides see the same rows.
    rows, test = (rng.standard_normal((m, dim)) for m in (60, 40))
    rows, test = rows.astype(np.float32), test.astype(np.float32)
    estimator = SklearnKernelDensity(kernel=kernel, bandwidth=bandwidth).fit(rows)
    with np.errstate(divide="ignore"):
        exact = -estimator.score_samples(test).mean()
    task = cj.KernelDensity(bandwidth=bandwidth, kernel=kernel, data=np.tile(rows, (2, 1)))
    world = task.world(jax.random.key(0), rows=True, index=None)
    unit = np.float32(np.exp(-task.log_unit[0]))  # a power of two: the task's coordinates
    world = world._replace(test=jnp.asarray(unit * test), spacing=jnp.ones(len(test)))

    @jax.jit
    def nll(rows):
        return task.measure(world, fitted(task, world, rows))["nll"]

    np.testing.assert_allclose(nll(jnp.asarray(unit * rows)), exact, rtol=3e-6, atol=1e-5)


@pytest.mark.parametrize("rule", ["scott", "silverman"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_bandwidth_rules_are_those_of_sklearn(rule, dim):
    rows = np.random.default_rng(0).standard_normal((37, dim))
    expected = SklearnKernelDensity(bandwidth=rule).fit(rows).bandwidth_
    task = cj.KernelDensity(data=np.tile(rows, (2, 1)), bandwidth=rule)
    found = task.smoothing.of(jnp.asarray(37), dim) * np.exp(task.log_unit[0])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def sklearn_draw(name, n, noise, seed, centers=None):
    if name == "blobs":
        return sk.make_blobs(n, centers=centers, random_state=seed)[0]
    if name == "swiss_roll":
        return sk.make_swiss_roll(n, noise=noise, random_state=seed)[0]
    maker = {"circles": sk.make_circles, "moons": sk.make_moons}[name]
    return maker(n, noise=noise, random_state=seed)[0]


@pytest.mark.parametrize("name", ["blobs", "circles", "moons", "swiss_roll"])
@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_data_sets_have_sklearn_distributions(name, noise):
    """Along random directions and in distance from the origin, where shapes differ most."""
    n = 4000
    centers = np.array([[-4.0, 3.0], [5.0, 5.0], [0.0, -6.0]])
    modes = toys.modes_of(name)
    own = jnp.asarray(centers, jnp.float32) if name == "blobs" else toys.draw_centers(modes, KEY)
    ours = np.asarray(toys.draw(modes, jax.random.key(1), n, noise, own))
    theirs = sklearn_draw(name, n, noise, 2, centers)
    assert ours.shape == theirs.shape
    rng = np.random.default_rng(0)
    for _ in range(6):
        direction = rng.standard_normal(ours.shape[1])
        assert_same_law(ours @ direction, theirs @ direction, comparisons=7)
    assert_same_law(np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1), comparisons=7)


@pytest.mark.parametrize("name", ["circles", "moons"])
@pytest.mark.parametrize("n", [1, 2, 7, 10])
def test_noiseless_curves_are_sklearn_points(name, n):
    modes = toys.modes_of(name)
    ours = np.asarray(toys.draw(modes, KEY, n, 0.0, toys.draw_centers(modes, KEY)))
    theirs = sklearn_draw(name, n, None, 0)
    ours, theirs = (x[np.lexsort(np.round(x, 4).T)] for x in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 10, 11])
def test_blobs_have_equal_sizes(n):
    centers = jnp.array([[-1e4, 0.0], [0.0, 0.0], [1e4, 0.0]])
    points = np.asarray(toys.draw(toys.modes_of("blobs"), KEY, n, 0.0, centers))
    sizes = np.bincount(np.round(points[:, 0] / 1e4).astype(int) + 1, minlength=3)
    labels = sk.make_blobs(n, random_state=0)[1]
    assert sorted(sizes) == sorted(np.bincount(labels, minlength=3))


def chains(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options).nll.values


@pytest.mark.thorough
@pytest.mark.parametrize("workflow", list(WORKFLOWS))
def test_agrees_in_law_with_a_plain_sklearn_loop(workflow):
    generations, n = 5, 12
    twin = np.array(
        [
            reference.kernel_density(workflow, "moons", 0.2, n, generations, seed, n_test=40)["nll"]
            for seed in range(250)
        ]
    )
    task = cj.KernelDensity("moons", n_samples=n, bandwidth=0.2, n_test=40)
    ours = chains(WORKFLOWS[workflow], task, generations, 3000)
    for t in (0, 2, 4):
        assert_same_law(ours[:, t], twin[:, t], comparisons=3)


@pytest.mark.parametrize(
    ("workflow", "kernel"), [("replace", "gaussian"), ("accumulate", "tophat")]
)
def test_rows_give_the_same_chain_as_running_sums(workflow, kernel):
    """Not only in law: both ways draw the same rows, and differ by rounding alone."""
    task = cj.KernelDensity("circles", n_samples=20, bandwidth=0.5, kernel=kernel, n_test=30)
    by_sums = chains(WORKFLOWS[workflow], task, 8, 20)
    by_rows = chains(WORKFLOWS[workflow], task, 8, 20, storage="rows")
    np.testing.assert_allclose(by_sums, by_rows, rtol=1e-4)


COMPOSITIONS = [
    cj.Workflow(cj.Real(every=True, keep=2), cj.Synthetic(keep=3)),
    cj.Workflow(cj.Real(every=True), fit=cj.Fit(real_weight=0.3)),
    cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=[8, 5, 9, 4, 7, 6], keep=2)),
]


@pytest.mark.parametrize("workflow", COMPOSITIONS, ids=["windows", "weights", "sizes"])
def test_sums_of_windows_are_those_of_their_rows(workflow):
    """Both draw the same rows; one adds up sums of kernels, the other starts from the rows."""
    task = cj.KernelDensity("moons", n_samples=6, bandwidth=0.5, n_test=15)
    by_sums = chains(workflow, task, 6, 8)
    by_rows = chains(workflow, task, 6, 8, storage="rows")
    np.testing.assert_allclose(by_sums, by_rows, rtol=1e-4)


@pytest.mark.parametrize("rule", ["scott", "silverman"])
def test_rules_shrink_the_bandwidth_as_data_accumulate(rule):
    """Under Accumulate a rule re-weighs all old rows: the last fit against scikit-learn's."""
    task = cj.KernelDensity("moons", n_samples=15, bandwidth=rule, n_test=25)
    generations, key = 6, jax.random.key(5, impl="threefry2x32")
    plan = cj.Accumulate().plan(generations, 15)
    form = form_of(cj.Accumulate(), task, plan)
    assert form.rows
    assert not form.statistic
    world = make_world(task, form, key)
    columns = columns_of(plan, form, None)
    numbers = [columns.of(t) for t in range(1, generations + 1)]
    pool = pools.begin(task, form, world, key, numbers[0])
    one = jax.jit(lambda pool, now: step(task, form, world, pool, key, now, ("nll",)))
    for t, now in enumerate(numbers, 1):
        rows = np.asarray(pools.flatten(pool.rows))[: t * 15]
        pool, metrics = one(pool, now)
        estimator = SklearnKernelDensity(bandwidth=rule).fit(rows)
        exact = -estimator.score_samples(np.asarray(world.test)).mean()
        np.testing.assert_allclose(metrics["nll"], exact, rtol=1e-4)


class MomentsOfRows(cj.KernelDensity):
    """Measures moments of the pool in place of likelihoods, to compare them with theory."""

    def measure(self, world, model):
        n = model.places.total
        valid = (jnp.arange(len(model.rows)) < n)[:, None]
        mean = jnp.sum(valid * model.rows, axis=0) / n
        variance = jnp.sum(valid * (model.rows - mean) ** 2, axis=0) / n
        unit = jnp.exp(2.0 * self.log_unit[0])  # back from the task's coordinates
        return {"nll": unit * jnp.sum(variance), "mean": unit * jnp.sum(mean**2)}


@pytest.mark.thorough
@pytest.mark.parametrize("workflow", list(WORKFLOWS))
def test_moments_of_kernel_densities_follow_theory(workflow):
    n, bandwidth, generations = 10, 0.5, 20
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40_000, 1))
    task = MomentsOfRows(data=rows, n_samples=n, bandwidth=bandwidth, test_fraction=0.001)
    variance = chains(WORKFLOWS[workflow], task, generations, 6000)
    exact = {
        "replace": cj.theory.kernel.replace_moments,
        "accumulate": cj.theory.kernel.accumulate_moments,
        "accumulate-subsample": cj.theory.kernel.accumulate_subsample_moments,
    }[workflow]
    moments = exact(n, generations, bandwidth=bandwidth)
    # The training rows are a large sample of N(0, 1), not the law itself.
    assert_mean(variance, np.asarray(moments.covariance) - bandwidth**2, rounding=0.02)


def test_published_blobs_have_unrelated_centres():
    options = {"n_samples": 30, "n_test": 60, "bandwidth": 1.0}
    shared = chains(cj.Replace(), cj.KernelDensity("blobs", **options), 1, 200)
    task = cj.KernelDensity("blobs", shared_centers=False, **options)
    independent = chains(cj.Replace(), task, 1, 200)
    assert np.median(shared) < 6.0
    assert np.median(independent) > 10.0


def test_tophat_reports_infinite_likelihood_honestly():
    nll = chains(
        cj.Replace(), cj.KernelDensity(n_samples=10, kernel="tophat", bandwidth=1e-3), 3, 5
    )
    assert np.all(np.isposinf(nll))


def test_distant_rows_do_not_underflow():
    """400 bandwidths away from every row exp(-80000) is zero, and its logarithm is not."""
    rows, test = jnp.zeros((5, 1)), jnp.full((1, 1), 4.0)
    log_sum = log_kernel_sums(test, rows, jnp.float32(0.01), "gaussian")
    np.testing.assert_allclose(log_sum, np.log(5.0) - 80_000.0, rtol=1e-6)


def test_real_rows_are_drawn_from_the_training_split_without_replacement():
    rows = np.arange(80.0)[:, None]
    task = cj.KernelDensity(data=rows, n_samples=30)
    world = task.world(jax.random.key(0), rows=True, index=None)
    index = first_rows(task, jax.random.key(1), 30)
    drawn = np.asarray(task.real(world, jax.random.key(1), 30, size=None, index=index))[:, 0]
    assert len(set(drawn)) == 30
    assert not set(drawn) & set(np.asarray(world.test)[:, 0])
    assert task.n_test == 20


def test_support_metrics_agree_with_a_kd_tree():
    """Tails, modes and strange rows of one model, against SciPy's neighbours and densities."""
    task = cj.KernelDensity("moons", n_samples=20, bandwidth=0.3, n_test=41)
    keys = jax.random.split(jax.random.key(0), 2)
    world = task.world(keys[0], rows=True, index=None)
    rows = task.real(world, keys[1], 20, size=None, index=None)
    model = fitted(task, world, rows)
    found = {name: float(value) for name, value in task.measure(world, model).items()}
    test, probes = np.asarray(world.test), np.asarray(task._generate(model, world.probe_key, 64))

    spacing = cKDTree(test).query(test, k=2)[0][:, 1]
    radius, sparse = np.quantile(spacing, [0.99, 0.95])
    tail = test[spacing >= sparse]
    density = SklearnKernelDensity(bandwidth=0.3).fit(np.asarray(rows)).score_samples(tail)
    covered = np.exp(density) * np.pi * radius**2 * len(test) >= 0.1
    assert found["tail_coverage"] == pytest.approx(covered.mean())
    modes = [cKDTree(part).query(probes)[0] for part in (test[:20], test[20:])]
    near, far = np.sort(modes, axis=0)
    assert found["hallucinated"] == pytest.approx(np.mean(near > radius))
    assert found["entangled"] == pytest.approx(np.mean(far < 2 * near))
    assert 0 < found["entangled"] < 1
    assert 0 < found["hallucinated"] < 1
    ratio = probes.var(0, ddof=1).sum() / test.var(0, ddof=1).sum()
    assert found["variance_ratio"] == pytest.approx(ratio, rel=1e-5)


def test_variance_follows_its_recursion():
    """Under Replace E v' = (1 - 1/n) v + d h^2, in units of the fixed test rows' variance."""
    data = np.random.default_rng(0).normal(size=(60, 2))
    task = cj.KernelDensity(data=data, n_samples=10, bandwidth=0.5)
    options = {"metrics": ["variance_ratio"], "progress": False}
    ratio = cj.simulate(cj.Replace(), task, 5, 3000, **options).variance_ratio.values
    added = 2 * 0.5**2 / np.var(np.asarray(task.test), axis=0, ddof=1).sum()
    assert_mean(ratio[:, 1:] - 0.9 * ratio[:, :-1], added, rounding=1e-5)


def test_one_mode_or_unknown_ones_cannot_be_entangled():
    assert "entangled" in cj.KernelDensity("circles").variables
    assert "entangled" not in cj.KernelDensity("swiss_roll").variables
    assert "entangled" not in cj.KernelDensity(data=np.eye(9)).variables


@eqx.filter_jit
def measured(task, key):
    """Metrics of the fit to all training rows, and what the model generates."""
    world = task.world(key, rows=True, index=None)
    model = fitted(task, world, task.train)
    return task.measure(world, model), task._generate(model, world.probe_key, 64)


def exact_metrics(train, test, bandwidth, probes):
    """In float64, by SciPy's neighbours."""
    n, dim = train.shape

    def log_density(at):
        squared = cdist(at / bandwidth, train / bandwidth, "sqeuclidean")
        log_sum = logsumexp(-0.5 * squared, axis=1)
        return log_sum - np.log(n) - dim * (0.5 * np.log(2 * np.pi) + np.log(bandwidth))

    places = np.unique(test, axis=0)  # no two of which differ by rounding only
    apart = cKDTree(places).query(places, k=2)[0][:, 1].round(5)
    spacing = apart[cKDTree(places).query(test)[1]]
    radius, sparse = np.quantile(spacing, [0.99, 0.95])
    ball = dim / 2 * np.log(np.pi) - gammaln(dim / 2 + 1) + dim * np.log(radius)
    tail = test[spacing >= sparse * (1 - 1e-9)]
    return {
        "nll": -log_density(test).mean(),
        "variance_ratio": probes.var(0, ddof=1).sum() / test.var(0, ddof=1).sum(),
        "tail_coverage": np.mean(log_density(tail) + ball + np.log(len(test)) >= np.log(0.1)),
        "hallucinated": np.mean(cKDTree(test).query(probes)[0] > radius),
    }


NORMAL = np.random.default_rng(0).standard_normal((200, 2))
WHOLE = np.random.default_rng(0).poisson(3.0, (200, 2)).astype(float)


@pytest.mark.parametrize("rows", [NORMAL, WHOLE], ids=["normal", "whole"])
@pytest.mark.parametrize("shift", [0.0, 1e9])
@pytest.mark.parametrize("scale", [1e-200, 1e-25, 1e-12, 1e-6, 1.0, 1e6, 1e17, 2e30, 1e290])
def test_metrics_have_no_units(rows, scale, shift):
    data = (rows + shift) * scale
    made = traceable(cj.KernelDensity(data=data, bandwidth=0.3 * scale))
    found, probes = measured(made, jax.random.key(0))
    # SciPy in units of its own, since its squares of 1e-200 are 0; shifted rows are rounded.
    train, test = (part - data.mean(axis=0) / scale for part in split(data / scale, 0.25, 0))
    exponent = round(float(made.log_unit[0]) / np.log(2.0))
    own = np.ldexp(np.asarray(probes, np.float64), exponent) / scale
    exact = exact_metrics(train, test, 0.3, own)
    assert found.pop("nll") == pytest.approx(exact.pop("nll") + 2 * np.log(scale), rel=3e-6)
    for name, value in exact.items():
        assert found[name] == pytest.approx(value, rel=2e-6), name


GNP = np.array(  # of the table "longley"
    [
        *(234289, 259426, 258054, 284599, 328975, 346999, 365385, 363112),
        *(397469, 419180, 442769, 444546, 482704, 502601, 518173, 554894),
    ],
    float,
)[:, None]


@pytest.mark.parametrize(
    ("rows", "bandwidth"), [(NORMAL[:, :1], 1e-6), (GNP, 0.1), (NORMAL, 1e-9), (GNP, 1e-8)]
)
def test_tiny_bandwidths_are_numbers(rows, bandwidth):
    found = chains(cj.Replace(), cj.KernelDensity(data=rows, bandwidth=bandwidth), 3, 4)
    train, test = split(rows, 0.25, 0)
    nearest = cKDTree(train).query(test)[0] / bandwidth
    np.testing.assert_allclose(found[:, 0], 0.5 * np.mean(nearest**2), rtol=1e-4)
    assert np.all(np.isfinite(found))


@pytest.mark.parametrize("bandwidth", [1.0, "scott*spread", "0.1*spread"])
def test_ties_are_neither_lost_nor_made_up(bandwidth):
    rng = np.random.default_rng(0)
    tables = {
        "ages": np.round(40.0 + 10.0 * rng.standard_normal((400, 1))),
        "cylinders": np.repeat([4.0, 6.0, 8.0], [11, 7, 14])[:, None],
        "counts": rng.poisson(2.0, (300, 1)).astype(float),
    }
    for name, rows in tables.items():
        task = cj.KernelDensity(data=rows, bandwidth=bandwidth)
        metrics = ["hallucinated", "tail_coverage"]
        ds = cj.simulate(cj.Replace(), task, 1, 20, metrics=metrics, progress=False)
        assert float(ds.hallucinated.mean()) < 0.05, name
        assert float(ds.tail_coverage.mean()) > 0.95, name


@pytest.mark.parametrize("dataset", list(toys.DIMENSIONS))
def test_two_test_rows_are_enough_for_all_metrics(dataset):
    task = cj.KernelDensity(dataset, n_samples=5, n_test=2)
    ds = cj.simulate(cj.Replace(), task, 2, 5, metrics=list(task.variables), progress=False)
    assert all(bool(np.all(np.isfinite(ds[name]))) for name in ds)


def drawn_chain(rng, data, n, bandwidth, source, generations):
    """Mean negative log-densities of one chain in which every row is drawn, by NumPy."""
    train, test = split(data, 0.25, 0)
    rows = train[rng.permutation(len(train))[:n]]
    models, found = [train], []
    for _ in range(generations):
        models.append(rows)
        gaps = (test - rows.T) / bandwidth
        log_density = logsumexp(-0.5 * gaps**2, axis=1) - np.log(n * bandwidth * np.sqrt(2 * np.pi))
        found.append(-log_density.mean())
        if isinstance(source, cj.Past):
            recent = models if source.last is None else models[-source.last :]
            first = len(models) - len(recent)
            chosen = first + rng.integers(len(recent), size=n)
        else:
            chosen = np.where(rng.random(n) < source.truth_share, 0, len(models) - 1)
        picked = [models[m][rng.integers(len(models[m])), 0] for m in chosen]
        noise = bandwidth * rng.standard_normal(n)
        rows = (picked + np.where(chosen == 0, 0.0, noise))[:, None]
    return found


@pytest.mark.parametrize("source", [cj.Past(), cj.Past(last=2), cj.Mixed(0.3)])
def test_rows_of_the_past_and_of_the_truth_are_those_of_a_plain_loop(source):
    data, n, generations = NORMAL[:40, :1], 5, 4
    rng = np.random.default_rng(0)
    twin = [drawn_chain(rng, data, n, 0.5, source, generations) for _ in range(4000)]
    task = cj.KernelDensity(data=data, n_samples=n, bandwidth=0.5)
    ours = chains(cj.Workflow(synthetic=cj.Synthetic(of=source)), task, generations, 4000)
    assert_mean(ours - np.array(twin), 0.0)  # independent chains, so that pairs do as well


def test_temperatures_are_refused():
    workflow = cj.Workflow(synthetic=cj.Synthetic(temperature=0.5))
    with pytest.raises(ValueError, match=r"temperature"):
        chains(workflow, cj.KernelDensity(n_samples=5), 2, 1)
