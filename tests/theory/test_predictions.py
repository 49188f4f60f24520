"""What is known per task and workflow, in plain numbers."""

import numpy as np
import pytest

from collapse_jax.loop.workflow import Fit, Real, Synthetic, Workflow
from collapse_jax.theory import gaussian, wishart
from collapse_jax.theory.predictions import (
    predict_categorical,
    predict_gaussian,
    predict_regression,
    predict_sizes,
)

REPLACE = Workflow()
ACCUMULATE = Workflow(Real(keep=None), Synthetic(keep=None))
SUBSAMPLE = Workflow(Real(keep=None), Synthetic(keep=None), Fit(n="batch"))
PRESETS = [REPLACE, ACCUMULATE, SUBSAMPLE]
NAMES = ["replace", "accumulate", "subsample"]
MOMENTS = {"squared_error_mean", "trace_ratio"}


def kinds(predictions):
    return {name: prediction.kind for name, prediction in predictions.items()}


def test_sizes():
    replace, accumulate, subsample = (predict_sizes(r.plan(3, 10)) for r in PRESETS)
    np.testing.assert_array_equal(replace["n_train"].values, [10, 10, 10])
    np.testing.assert_array_equal(replace["real_fraction"].values, [1, 0, 0])
    np.testing.assert_array_equal(accumulate["n_train"].values, [10, 20, 30])
    np.testing.assert_array_equal(subsample["n_train"].values, [10, 10, 10])
    for growing in (accumulate, subsample):
        np.testing.assert_allclose(growing["real_fraction"].values, [1, 1 / 2, 1 / 3])
    assert set(kinds(replace).values()) == {"exact"}


@pytest.mark.parametrize("loop", PRESETS, ids=NAMES)
@pytest.mark.parametrize(
    ("covariance", "trace", "determinant"),
    [(2.0, 4.0, 4.0), ([1.0, 3.0], 4.0, 3.0), ([[2.0, 1.0], [1.0, 2.0]], 4.0, 3.0)],
)
def test_gaussian_uses_the_true_covariance(loop, covariance, trace, determinant):
    standard = predict_gaussian(loop.plan(4, 30), dim=2)
    known = predict_gaussian(loop.plan(4, 30), dim=2, covariance=covariance)
    error = standard["squared_error_mean"].values / 2 * trace
    np.testing.assert_allclose(known["squared_error_mean"].values, error)
    for name in ("trace_ratio", "log_det_ratio"):
        np.testing.assert_allclose(known[name].values, standard[name].values)
    if np.ndim(covariance) == 0:
        line, scaled = (
            predict_gaussian(loop.plan(4, 30), dim=1, covariance=c)["wasserstein2"].values
            for c in (1.0, covariance)
        )
        np.testing.assert_allclose(scaled, line * covariance)
    shift = known["nll"].values - standard["nll"].values
    np.testing.assert_allclose(shift, 0.5 * np.log(determinant))


def test_gaussian_kinds():
    for loop, kind in zip(PRESETS, ["exact", "asymptotic", "asymptotic"], strict=True):
        known = predict_gaussian(loop.plan(3, 30), dim=1, estimator="unbiased")
        assert kinds(known) == dict.fromkeys(MOMENTS, "exact") | {
            "log_det_ratio": kind,
            "wasserstein2": kind,
            "nll": kind,
        }
        assert "wasserstein2" not in predict_gaussian(loop.plan(3, 30), dim=2)


@pytest.mark.parametrize("loop", PRESETS, ids=NAMES)
def test_gaussian_leaves_out_what_is_unknown(loop):
    assert set(predict_gaussian(loop.plan(3, 30), dim=1, population=50)) == MOMENTS
    replace = loop is REPLACE
    few = set(predict_gaussian(loop.plan(3, 7), dim=5))
    assert few == (MOMENTS | {"log_det_ratio"} if replace else MOMENTS)
    singular = predict_gaussian(loop.plan(3, 5), dim=5)
    assert set(singular) == MOMENTS | {"log_det_ratio"}
    assert np.all(singular["log_det_ratio"].values == -np.inf)
    assert kinds(singular)["log_det_ratio"] == "exact"
    one = predict_gaussian(loop.plan(3, 1), dim=1)
    assert set(one) == MOMENTS | {"log_det_ratio"}
    assert predict_gaussian(loop.plan(3, 1), dim=1, estimator="unbiased") == {}


@pytest.mark.parametrize("loop", PRESETS, ids=NAMES)
@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
def test_gaussian_starts_from_the_exact_first_generation(loop, estimator):
    known = predict_gaussian(loop.plan(5, 40), dim=1, estimator=estimator)
    first = {name: prediction.values[0] for name, prediction in known.items()}
    assert first["log_det_ratio"] == pytest.approx(wishart.log_det_mean(40, 1, 1, estimator)[0])
    assert first["nll"] == pytest.approx(wishart.nll(40, 1, 1, estimator)[0])
    assert first["wasserstein2"] == pytest.approx(wishart.wasserstein2(40, 1, estimator)[0])


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
@pytest.mark.parametrize("loop", [ACCUMULATE, SUBSAMPLE])
def test_gaussian_asymptotics_against_simulation(rng, loop, estimator):
    # The statistical error plus a relative error of 5 d/n; 4 cases x 4 generations x 2 = 32. The
    # trace, whose mean is exact, is taken off the log-determinant, or noise would hide everything.
    n, dim, replicates = 100, 2, 4000
    pool = rng.standard_normal((replicates, n, dim))
    log_det, trace, nll = [], [], []
    for t in range(1, 5):
        rows = pool
        if loop is SUBSAMPLE:
            chosen = np.argpartition(rng.random((replicates, t * n)), n - 1, axis=1)[:, :n]
            rows = np.take_along_axis(pool, chosen[..., None], axis=1)
        mean = rows.mean(axis=1)
        centred = rows - mean[:, None]
        scatter = np.swapaxes(centred, 1, 2) @ centred
        covariance = scatter / (rows.shape[1] - (estimator == "unbiased"))
        inverse = np.linalg.inv(covariance)
        log_det.append(np.linalg.slogdet(covariance)[1])
        trace.append(np.trace(covariance, axis1=1, axis2=2))
        form = np.trace(inverse, axis1=1, axis2=2)
        form += np.einsum("ri,rij,rj->r", mean, inverse, mean)
        nll.append(0.5 * (log_det[-1] + form - dim))  # above that of the truth
        noise = rng.standard_normal((replicates, n, dim))
        new = mean[:, None] + noise @ np.swapaxes(np.linalg.cholesky(covariance), 1, 2)
        pool = np.concatenate([pool, new], axis=1)
    known = predict_gaussian(loop.plan(4, n), dim=dim, estimator=estimator)
    floor = dim / 2 * (np.log(2 * np.pi) + 1)
    free = np.stack(trace, axis=1) - dim * known["trace_ratio"].values
    for samples, expected in [
        (np.stack(log_det, axis=1) - free, known["log_det_ratio"].values),
        (np.stack(nll, axis=1), known["nll"].values - floor),
    ]:
        error = 4.5 * samples.std(axis=0) / np.sqrt(replicates)
        gap = np.abs(samples.mean(axis=0) - expected)
        assert np.all(gap < error + 5 * dim / n * np.abs(expected))


def test_wasserstein_asymptotics_against_simulation(rng, brute_force):
    n, replicates = 60, 10_000
    chain = brute_force.subsample(rng, replicates, n, 4)
    samples = chain.mean_error + (np.sqrt(chain.covariance) - 1) ** 2
    known = predict_gaussian(SUBSAMPLE.plan(4, n), dim=1)
    expected = known["wasserstein2"].values
    error = 4.5 * samples.std(axis=0) / np.sqrt(replicates)
    assert np.all(np.abs(samples.mean(axis=0) - expected) < error + 5 / n * expected)


def test_regression():
    options = {"n_samples": 60, "dim": 4, "noise": 0.5}
    for loop, kind in zip(PRESETS, ["exact", "exact", "asymptotic"], strict=True):
        known = predict_regression(loop, 3, **options)
        assert kinds(known) == {"test_error": kind}
        assert known["test_error"].values[0] == pytest.approx(0.5 * 4 / (60 - 4 - 1))


@pytest.mark.parametrize("design", ["fixed", "fresh"])
def test_regression_leaves_out_infinite_cases(design):
    for loop in PRESETS:
        for n in (9, 10, 11):
            options = {"n_samples": n, "dim": 10, "design": design}
            assert predict_regression(loop, 3, **options) == {}
    subsample = SUBSAMPLE
    assert predict_regression(subsample.plan(3, 4), dim=10) == {}
    few = predict_regression(ACCUMULATE.plan(3, 5), dim=10, design=design)
    assert bool(few) == (design == "fixed")  # 2 n = d


def test_categorical():
    truth = np.array([0.6, 0.3, 0.1])
    names = {}
    for loop in PRESETS:
        known = predict_categorical(loop.plan(4, 20), probabilities=truth)
        names[loop] = kinds(known)
        assert known["collision"].values[0] == pytest.approx(0.46 + 0.54 / 20)
        if "n_extinct" in known:
            first = known["n_extinct"].values[0]
            assert first == pytest.approx(np.sum((1 - truth) ** 20))
    exact = {"collision": "exact", "squared_error": "exact"}
    drift = ("collision", "squared_error", "n_extinct", "entropy", "entropy_ratio")
    assert names[REPLACE] == dict.fromkeys(drift, "exact")
    assert names[ACCUMULATE] == {**exact, "n_extinct": "exact"}
    assert names[SUBSAMPLE] == exact


def test_categorical_falls_back_on_a_bound_for_long_chains_of_many_samples():
    uniform = np.full(100, 0.01)
    known = predict_categorical(REPLACE.plan(3, 10**6), probabilities=uniform)
    exact = {"collision": "exact", "squared_error": "exact"}
    assert kinds(known) == {**exact, "n_extinct": "bound"}


def test_categorical_edge_cases():
    certain = predict_categorical(REPLACE.plan(2, 1), probabilities=[1.0])
    np.testing.assert_array_equal(certain["collision"].values, [1, 1])
    assert "entropy_ratio" not in certain
    single = predict_categorical(ACCUMULATE.plan(2, 1), probabilities=[1.0], population=1)
    np.testing.assert_array_equal(single["n_extinct"].values, [0, 0])


def test_data_set_as_truth():
    truth = np.array([0.5, 0.25, 0.25])
    known = predict_categorical(REPLACE.plan(2, 8), probabilities=truth, population=8)
    assert known["collision"].values[0] == pytest.approx(truth @ truth)
    assert known["n_extinct"].values[0] == pytest.approx(0, abs=1e-12)
    assert known["entropy_ratio"].values[0] == pytest.approx(1)
    known = predict_gaussian(REPLACE.plan(2, 8), dim=3, population=8)
    factor = gaussian.replace_moments(8, 1).covariance[0]
    np.testing.assert_allclose(known["trace_ratio"].values, [1, factor])
