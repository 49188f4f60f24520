"""The categorical task against exact theory, against labels, and against a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from statistics_helpers import assert_mean, assert_same_law

import collapse_jax as cj
from benchmarks import reference
from collapse_jax import theory

WORKFLOWS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "accumulate-subsample": cj.AccumulateSubsample(),
}
P = [0.5, 0.3, 0.15, 0.05]


def run(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options)


@pytest.mark.parametrize("n", [12, 1000], ids=["labels", "counts"])
@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_agrees_with_theory(workflow, n):
    """With 1000 samples of 4 outcomes counts are drawn instead of labels."""
    task = cj.Categorical(probabilities=P, n_samples=n)
    assert task.laws(cj.Replace().plan(2, n)).synthetic == (n == 1000)
    ds = run(WORKFLOWS[workflow], task, 10, 10_000)
    expected = theory.expected(WORKFLOWS[workflow], task, 10)
    assert "collision" in expected
    for name, curve in expected.items():
        if curve.attrs["kind"] == "exact":
            # Counts of events too rare to have been seen have no standard error.
            seen = curve.values * ds.sizes["seed"] > 100
            if not seen.any():
                continue
            assert_mean(ds[name].values[:, seen], curve.values[seen], rounding=1e-5)


def test_metrics_agree_with_scipy():
    ds = run(cj.Replace(), cj.Categorical(data=list("aabbbc") * 4, n_samples=24), 1, 1)
    p = np.array([2, 3, 1]) / 6
    np.testing.assert_allclose(ds.entropy, stats.entropy(p), rtol=1e-6)
    np.testing.assert_allclose(ds.collision, np.sum(p**2), rtol=1e-6)
    np.testing.assert_allclose(ds.entropy_ratio, 1.0, rtol=1e-6)
    assert int(ds.n_extinct.item()) == 0


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_agrees_in_law_with_a_plain_numpy_loop(workflow):
    k, n, generations = 6, 9, 5
    twin = np.array(
        [
            reference.categorical(workflow, k, n, generations, seed)["collision"]
            for seed in range(2000)
        ]
    )
    ours = run(WORKFLOWS[workflow], cj.Categorical(k, n), generations, 5000).collision.values
    for t in (0, 2, 4):  # collisions are whole multiples of 1/n^2 (or 1/(tn)^2)
        scale = (n * (t + 1)) ** 2 if workflow == "accumulate" else n**2
        assert_same_law(np.round(ours[:, t] * scale), np.round(twin[:, t] * scale), comparisons=3)


@pytest.mark.thorough
@pytest.mark.parametrize("workflow", ["replace", "accumulate"])
def test_labels_and_counts_agree_in_law(workflow):
    task = cj.Categorical(probabilities=P, n_samples=300)
    by_counts = run(WORKFLOWS[workflow], task, 5, 3000).entropy.values
    by_labels = run(
        WORKFLOWS[workflow], task, 5, range(9000, 12_000), storage="rows"
    ).entropy.values
    for t in (0, 4):
        assert_same_law(by_counts[:, t], by_labels[:, t], comparisons=2)


def test_outcomes_fixate_with_their_probabilities_after_the_predicted_time():
    task = cj.Categorical(probabilities=P, n_samples=10)
    ds = run(cj.Replace(), task, 300, 4000)
    times = cj.collapse_time(ds)
    assert times.dims == ("seed",)
    assert float(times.isnull().mean()) < 1e-3
    exact = theory.wright_fisher.mean_collapse_time(np.array(P), 10)
    low, high = theory.categorical.collapse_time_bounds(np.array(P), 10)
    assert low <= exact <= high
    assert_mean(times.values[~np.isnan(times.values)], exact)


def test_a_collapsed_chain_goes_on():
    ds = run(cj.Replace(), cj.Categorical(3, 2), 60, 50)
    assert np.all(ds.entropy.values[:, -1] == 0.0)
    assert np.all(ds.n_extinct.values[:, -1] == 2)
    assert not ds.to_array().isnull().any()


def test_collapse_time_is_missing_where_a_chain_has_not_collapsed():
    ds = run(cj.Accumulate(), cj.Categorical(3, 50), 10, 5)
    assert np.all(np.isnan(cj.collapse_time(ds)))


@pytest.mark.thorough
@pytest.mark.parametrize(("k", "n"), [(100_000, 10), (20_000, 100_000)])
def test_the_largest_sizes_of_the_paper(k, n):
    ds = run(cj.Replace(), cj.Categorical(k, n), 3, 2)
    expected = theory.expected(cj.Replace(), cj.Categorical(k, n), 3)
    np.testing.assert_allclose(ds.collision.mean("seed"), expected.collision, rtol=0.3)


def test_data_labels_of_any_type():
    for labels in (["x", "y", "x", "z"] * 5, np.array([3, 1, 3, 7] * 5), np.array([True, False])):
        task = cj.Categorical(data=labels)
        assert task.population == len(labels)
        assert task.n_outcomes == len(np.unique(labels))


@pytest.mark.thorough
def test_data_follow_the_theory_of_a_finite_population():
    task = cj.Categorical(data=list("aaaabbbcccdd") * 3, n_samples=12)
    for workflow in (cj.Replace(), cj.AccumulateSubsample()):
        ds = run(workflow, task, 6, 4000)
        expected = theory.expected(workflow, task, 6).collision
        assert expected.attrs["kind"] == "exact"
        assert_mean(ds.collision.values, expected.values, rounding=1e-5)


@pytest.mark.parametrize("workflow", ["replace", "accumulate"])
def test_tail_coverage_is_the_mass_of_rare_outcomes_seen(workflow):
    """Exact in generation 1, and for ever under Accumulate, which forgets no outcome."""
    ds = run(WORKFLOWS[workflow], cj.Categorical(probabilities=P, n_samples=8), 3, 10_000)
    rare = np.array(P[2:])
    seen = np.sum(rare * (1 - (1 - rare) ** 8)) / rare.sum()
    assert_mean(ds.tail_coverage.values[:, 0], seen, rounding=1e-6)
    if workflow == "accumulate":
        assert np.all(ds.tail_coverage == ds.tail_coverage[:, 0])
    assert np.all(ds.hallucinated == 0.0)


def test_impossible_outcomes_have_no_tail():
    ds = run(cj.Replace(), cj.Categorical(probabilities=[0.0, 0.0, 0.4, 0.6], n_samples=50), 1, 9)
    assert np.all(ds.tail_coverage == 1.0)


def test_temperatures_are_powers_of_probabilities():
    n, p = 100_000, np.array([0.5, 0.3, 0.2, 0.0])
    task = cj.Categorical(probabilities=p, n_samples=n)
    counts, heat = jnp.array([50, 30, 20, 0]), jnp.float32(0.5)
    labels = task.sample(None, counts, jax.random.key(0), n, temperature=heat)
    expected = n * p**2 / np.sum(p**2)
    found = np.bincount(labels, minlength=4)
    assert found[3] == 0
    assert stats.chisquare(found[:3], expected[:3]).pvalue > 1e-4
    total = task.sample_statistic(None, counts, jax.random.key(1), n, temperature=heat)
    assert stats.chisquare(total[:3], expected[:3]).pvalue > 1e-4
