"""Exponential families against SciPy, against their own rows, and against exact theory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from statistics_helpers import assert_law, assert_mean, assert_same_law

import collapse_jax as cj
from benchmarks import reference
from collapse_jax.numerics import counts
from collapse_jax.theory import families

FAMILIES = {
    "poisson": {"mean": 2.0},
    "exponential": {"mean": 3.0},
    "bernoulli": {"mean": 0.3},
    "geometric": {"mean": 1.5},
    "gamma": {"mean": 2.0, "shape": 0.7},
    "binomial": {"mean": 3.0, "size": 5},
    "negative_binomial": {"mean": 2.0, "size": 2.5},
}
LOOPS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "subsample": cj.AccumulateSubsample(),
    "window": cj.Workflow(cj.Real(keep=2), cj.Synthetic(keep=3)),
    "fixed": cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=6)),
    "fresh": cj.Workflow(cj.Real(every=True), fit=cj.Fit(real_weight=0.6)),
    "past": cj.Workflow(synthetic=cj.Synthetic(of=cj.Past(last=3))),
    "mixed": cj.Workflow(synthetic=cj.Synthetic(of=cj.Mixed(0.4))),
}
DAILY = [("poisson", "replace"), ("bernoulli", "window"), ("gamma", "fresh"), ("geometric", "past")]
EVERY = [(family, loop) for family in FAMILIES for loop in LOOPS if (family, loop) not in DAILY]
every_family = pytest.mark.parametrize("family", FAMILIES)


def make(family, n=12, **changes):
    return cj.ExponentialFamily(family, n_samples=n, **FAMILIES[family] | changes)


def run(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options)


def law_of(family, mean, n):
    """Of the sum of n rows, in SciPy."""
    k = n * (FAMILIES[family].get("shape") or FAMILIES[family].get("size") or 1)
    total = n * mean
    if family == "poisson":
        return stats.poisson(total)
    if family in ("exponential", "gamma"):
        return stats.gamma(k, scale=total / k)
    if family in ("bernoulli", "binomial"):
        return stats.binom(k, total / k)
    return stats.nbinom(k, k / (k + total))


def assert_count(sample, law):
    """Kolmogorov's test between the points of a lattice is too careful, and never wrong."""
    values, seen = np.unique(sample, return_counts=True)
    gap = np.max(np.abs(np.cumsum(seen) / len(sample) - law.cdf(values)))
    assert gap < 2.3 / np.sqrt(len(sample))  # a chance of 5e-5


@pytest.mark.parametrize("mean", [0.02, 3.0, 11.9, 12.1, 300.0, 4000.0, 4200.0])
def test_counts_follow_their_laws(mean):
    m, key = 200_000, jax.random.key(1)
    drawn = counts.poisson(key, jnp.full(m, mean, jnp.float32))
    assert_count(drawn.number, stats.poisson(np.float32(mean)))
    for share in (0.5, 0.2, 0.01):
        n = max(round(mean / share), 1)
        drawn = counts.binomial(key, jnp.full(m, float(n)), jnp.full(m, share, jnp.float32))
        assert_count(drawn.number, stats.binom(n, np.float32(share)))


@pytest.mark.parametrize("shape", [0.05, 0.7, 1.0, 30.0, 4000.0, 4200.0])
def test_gamma_variables_follow_their_law(shape):
    logs = counts.log_gamma(jax.random.key(2), jnp.full(50_000, shape, jnp.float32))
    assert_law(np.exp(np.float64(logs)), stats.gamma(shape, scale=1 / shape).cdf)


def test_gamma_variables_of_all_shapes_together_follow_their_laws():
    """Small and large shapes are ways of their own, which leave those of the others alone."""
    shapes = jnp.array([0.05, 30.0, 4200.0])
    logs = counts.log_gamma(jax.random.key(4), jnp.repeat(shapes, 50_000))
    for shape, part in zip((0.05, 30.0, 4200.0), np.float64(logs).reshape(3, -1), strict=True):
        assert_law(np.exp(part), stats.gamma(shape, scale=1 / shape).cdf)


def test_huge_counts_keep_their_digits():
    rate = jnp.full(50_000, 2.0**40)
    drawn = counts.poisson(jax.random.key(3), rate)
    standard = np.float64(drawn.log_relative(rate)) * 2.0**20
    assert_law(standard, stats.norm.cdf)


@pytest.mark.parametrize("storage", ["auto", "rows"])
@every_family
def test_sums_follow_their_laws(family, storage):
    task = make(family)
    found = run(cj.Replace(), task, 1, 20_000, metrics=["log_mean_ratio"], storage=storage)
    sums = 12 * task.mean * np.exp(np.float64(found.log_mean_ratio.values[:, 0]))
    law = law_of(family, task.mean, 12)
    if family in ("exponential", "gamma"):
        assert_law(sums, law.cdf)
    else:
        np.testing.assert_allclose(sums, np.round(sums), atol=1e-3)
        assert_count(np.round(sums), law)


@every_family
def test_likelihood_is_that_of_scipy(family):
    task = make(family)
    ds = run(cj.Replace(), task, 2, 20)
    means = task.mean * np.exp(np.float64(ds.log_mean_ratio.values[:, 1]))
    for mean, nll in zip(means, ds.nll.values[:, 1], strict=True):
        model, truth = law_of(family, mean, 1), law_of(family, task.mean, 1)
        if family in ("exponential", "gamma"):
            steps = (np.arange(400_000) + 0.5) / 400_000
            expected = -np.mean(model.logpdf(truth.ppf(steps)))
        else:
            k = np.arange(400)
            p = truth.pmf(k)
            expected = -np.sum(p[p > 0] * model.logpmf(k[p > 0]))
        np.testing.assert_allclose(nll, expected, rtol=1e-4)


def check_theory(family, loop):
    task, workflow = make(family), LOOPS[loop]
    ds = run(workflow, task, 5, 10_000)
    known = cj.theory.expected(workflow, task, 5)
    assert known.squared_error.kind == "exact"
    for name, curve in known.items():
        if curve.kind == "exact":
            seen = curve.values * 10_000 > 100 if name == "extinct" else curve.values < np.inf
            if seen.any():
                assert_mean(ds[name].values[:, seen], curve.values[seen], rounding=1e-4)


@pytest.mark.parametrize(("family", "loop"), DAILY)
def test_theory(family, loop):
    check_theory(family, loop)


@pytest.mark.thorough
@pytest.mark.parametrize(("family", "loop"), EVERY)
def test_theory_of_all(family, loop):
    check_theory(family, loop)


@pytest.mark.parametrize("workflow", ["replace", "accumulate"])
@pytest.mark.parametrize("family", reference.FAMILIES)
def test_a_plain_loop_is_what_theory_expects(family, workflow):
    chains = [reference.exponential_family(workflow, family, 6, 4, seed) for seed in range(2000)]
    task = cj.ExponentialFamily(family, 1.0, 6)
    known = cj.theory.expected(LOOPS[workflow], task, 4).squared_error.values
    assert_mean(np.array([chain["squared_error"] for chain in chains]), known)


@pytest.mark.parametrize("family", ["poisson", "geometric", "negative_binomial", "bernoulli"])
def test_extinction(family):
    task = make(family, n=6, mean=0.4)
    ds = run(cj.Replace(), task, 12, 10_000, metrics=["extinct"])
    known = cj.theory.expected(cj.Replace(), task, 12).extinct
    assert known.kind == "exact"
    assert known.values[-1] > 0.3
    assert_mean(ds.extinct.values, known.values, rounding=1e-6)


def test_extinction_agrees_with_the_chain_itself():
    k, n, r = np.arange(1500), 10, 2.5
    p = stats.nbinom.pmf(k, n * r, r / (r + 0.5))
    step = stats.nbinom.pmf(k, n * r, (r / (r + k / n))[1:, None])
    for found in families.extinction(0.5, [n] * 6, dispersion=r):
        assert found == pytest.approx(p[0], abs=1e-7)
        p = np.eye(1, len(k))[0] * p[0] + p[1:] @ step


def test_closed_forms_of_the_error():
    t, n = np.arange(1, 6), 12
    for family, c in [("exponential", 1.0), ("bernoulli", -1.0), ("binomial", -1 / 5)]:
        task = make(family)
        known = cj.theory.expected(cj.Replace(), task, 5).squared_error
        variance = law_of(family, task.mean, 1).var()
        np.testing.assert_allclose(known, variance / c * ((1 + c / n) ** t - 1), rtol=1e-10)
        known = cj.theory.expected(cj.Accumulate(), task, 5).squared_error
        product = np.cumprod(1 + c / (n * t**2)) - 1
        np.testing.assert_allclose(known, variance / c * product, rtol=1e-10)


def test_a_long_run_does_not_underflow():
    task = make("exponential", n=10)
    ds = run(cj.Replace(), task, 3000, 200, metrics=["log_mean_ratio", "nll", "extinct"])
    known = cj.theory.expected(cj.Replace(), task, 3000).log_mean_ratio
    assert known[-1] < -150
    assert np.all(np.isfinite(ds.log_mean_ratio))
    assert_mean(ds.log_mean_ratio.values[:, -1], known.values[-1], rounding=1e-4)
    assert not ds.nll.isnull().any()
    assert np.all(ds.extinct == 0.0)


def test_an_extinct_chain_stays_so():
    ds = run(cj.Replace(), make("bernoulli", n=3), 80, 50)
    assert np.all(ds.extinct[:, -1] == 1.0)
    assert np.all(np.diff(ds.extinct, axis=1) >= 0.0)
    assert np.all(np.isposinf(ds.nll[:, -1]))
    assert not ds.to_array().isnull().any()


@pytest.mark.thorough
@pytest.mark.parametrize("loop", ["replace", "window", "fresh"])
@every_family
def test_rows_and_sums_agree_in_law(family, loop):
    runs = [
        run(LOOPS[loop], make(family), 4, seeds, metrics=["log_mean_ratio"], storage=storage)
        for seeds, storage in ((3000, "auto"), (range(9000, 12_000), "rows"))
    ]
    first, second = (np.round(ds.log_mean_ratio.values[:, -1], 4) for ds in runs)
    assert_same_law(first, second)


@pytest.mark.parametrize("family", ["poisson", "gamma"])
def test_data_of_ones_own(family):
    rows = np.random.default_rng(0).poisson(4.0, size=40) + 1
    task = cj.ExponentialFamily(
        family, n_samples=20, data=rows, shape=FAMILIES[family].get("shape")
    )
    assert task.population == 30
    for workflow in (cj.Replace(), LOOPS["mixed"]):
        ds = run(workflow, task, 4, 10_000)
        known = cj.theory.expected(workflow, task, 4).squared_error
        assert known.kind == "exact"
        assert_mean(ds.squared_error.values, known.values, rounding=1e-4)


def test_data_are_measured_on_test_rows():
    rows = np.arange(40) % 5
    task = cj.ExponentialFamily(data=rows[:, None])
    ds = run(cj.Replace(), task, 1, 1)
    np.testing.assert_allclose(ds.squared_error, 0.0, atol=1e-10)
    order = np.random.default_rng(0).permutation(40)
    expected = -np.mean(stats.poisson(rows[order[10:]].mean()).logpmf(rows[order[:10]]))
    np.testing.assert_allclose(ds.nll.values[0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        ("poisson", {"mean": -1.0}, "mean must be a finite positive number, got -1"),
        ("bernoulli", {"mean": 1.0}, "mean must be .* below 1 for bernoulli, got 1"),
        ("gamma", {}, "shape must be given for gamma"),
        ("binomial", {}, "size must be given for binomial"),
        ("poisson", {"size": 3}, "size cannot be given for poisson, got 3"),
        ("gamma", {"shape": 0.0}, "shape must be a finite positive number"),
        ("poisson", {"n_samples": 0}, "n_samples must be between 1"),
        ("poisson", {"data": [1, -2, 3, 4]}, "data must be whole numbers .*got -2 at row 1"),
        ("geometric", {"data": [1, 2.5, 3, 4]}, "data must be whole numbers .*got 2.5 at row 1"),
        ("bernoulli", {"data": [0, 1, 2, 1]}, "between 0 and 1 for bernoulli, got 2 at row 2"),
        ("exponential", {"data": [1.0, 0.0]}, "data must be positive numbers .*got 0 at row 1"),
        ("poisson", {"data": [[1, 2], [3, 4]]}, "data must have one column, got 2"),
        ("poisson", {"data": [0] * 8}, "data must have training rows of different values"),
        ("poisson", {"data": [1, 2, 3, 4] * 2, "mean": 2.0}, "mean cannot be given together"),
    ],
)
def test_bad_input(family, arguments, message):
    with pytest.raises(ValueError, match=message):
        cj.ExponentialFamily(family, **arguments)


def test_temperature_is_refused():
    workflow = cj.Workflow(synthetic=cj.Synthetic(temperature=0.5))
    with pytest.raises(ValueError, match="temperature"):
        run(workflow, make("poisson"), 2, 2)


@pytest.mark.parametrize("mean", [0.5, 3.0, 5.0, 11.5])
def test_inverted_counts_have_no_wild_tail(mean):
    """The greatest uniform draws, which a sum in float32 may never reach."""
    rate, zero = jnp.full(3, mean), jnp.zeros(3)
    law = counts._Law(rate, rate, zero, zero, zero + jnp.inf, -rate, zero, rate, lambda k: k, ())
    uniform = 1.0 - jnp.array([2.0**-24, 2.0**-23, 1e-3], jnp.float32)
    found = np.asarray(counts._inverted(law, uniform, jnp.ones(3, bool)))
    exact = stats.poisson.ppf(np.asarray(uniform, np.float64), mean)
    assert found[2] == exact[2]
    assert np.all(np.abs(found - exact) <= 3)


@pytest.mark.parametrize("chains", [2, 1024])
@pytest.mark.parametrize(
    "draw",
    [
        lambda key, x: counts.poisson(key, x).number,
        lambda key, x: counts.binomial(key, 10.0 * x, 0.1 + 0.0 * x).number,
        counts.log_gamma,
    ],
)
def test_what_is_no_number_stays_none(draw, chains):
    """It would never be accepted, and all chains would wait for it for ever."""
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), chains)
    given = jnp.full((chains, 2), 50.0).at[1, 0].set(jnp.nan)
    found = np.asarray(jax.vmap(draw)(keys, given))
    assert np.argwhere(np.isnan(found)).tolist() == [[1, 0]]
