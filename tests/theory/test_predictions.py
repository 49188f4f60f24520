"""What is known per task and workflow, in plain numbers."""

import numpy as np
import pytest
from compositions import Twin
from statistics_helpers import assert_mean

from collapse_jax.loop.workflow import Fit, Mixed, Past, Real, Synthetic, Workflow
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
    for loop, kind in zip(PRESETS, ["exact", "exact", "asymptotic"], strict=True):
        known = predict_regression(loop.plan(3, 60), dim=4, noise=0.5)
        assert kinds(known) == {"test_error": kind}
        assert known["test_error"].values[0] == pytest.approx(0.5 * 4 / (60 - 4 - 1))


@pytest.mark.parametrize("design", ["fixed", "fresh"])
def test_regression_leaves_out_infinite_cases(design):
    for loop in PRESETS:
        for n in (9, 10, 11):
            assert predict_regression(loop.plan(3, n), dim=10, design=design) == {}
    assert predict_regression(SUBSAMPLE.plan(3, 4), dim=10) == {}
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


# Other loops


def test_replace_with_schedules_against_simulation(rng):
    sizes, heat = [14, 11, 17, 12], [0.6, 1.5, 0.9, 1.0]
    loop = Workflow(Real(n=14), Synthetic(n=[11, 17, 12, 1], temperature=heat))
    for estimator in ("mle", "unbiased"):
        known = predict_gaussian(loop.plan(4, 14), dim=1, estimator=estimator)
        assert set(kinds(known).values()) == {"exact"}
        errors, variances = Twin(rng, loop, estimator, n=14).run(4)
        assert_mean(errors, known["squared_error_mean"].values)
        assert_mean(np.log(variances), known["log_det_ratio"].values)
        assert_mean(errors + (np.sqrt(variances) - 1) ** 2, known["wasserstein2"].values)
        nll = 0.5 * (np.log(2 * np.pi * variances) + (1 + errors) / variances)
        assert_mean(nll, known["nll"].values)
    np.testing.assert_array_equal(loop.plan(4, 14).n_train, sizes)


def test_some_rows_of_a_new_batch_are_a_smaller_batch():
    some = Workflow(Real(n=50), Synthetic(n=80), Fit(n=20)).plan(4, 20)
    for name, known in predict_gaussian(REPLACE.plan(4, 20), dim=1).items():
        found = predict_gaussian(some, dim=1)[name]
        assert found.kind == known.kind == "exact"
        np.testing.assert_allclose(found.values, known.values, rtol=1e-10)


@pytest.mark.parametrize(
    ("loop", "kind"),
    [
        (Workflow(Real(keep=3), Synthetic(keep=3)), "exact"),
        (Workflow(Real(every=True), fit=Fit(real_weight=0.6)), "exact"),
        (Workflow(synthetic=Synthetic(of=Past())), "exact"),
        (Workflow(Real(every=True), Synthetic(of=Mixed(0.2)), Fit(n="batch")), "exact"),
        (Workflow(Real(every=True), fit=Fit(n="batch", real_weight=0.6)), "asymptotic"),
    ],
)
def test_kinds_of_other_loops(loop, kind):
    plan = loop.plan(4, 200)
    known = kinds(predict_gaussian(plan, dim=1))
    assert known == dict.fromkeys(MOMENTS, kind) | dict.fromkeys(
        ("log_det_ratio", "wasserstein2", "nll"), "asymptotic"
    )
    known = kinds(predict_categorical(plan, probabilities=[0.4, 0.6]))
    assert known == {"collision": kind, "squared_error": kind}
    simple = loop.fit.n is None and loop.synthetic.of == Workflow().synthetic.of
    known = kinds(predict_regression(plan, dim=2))
    assert known == {"test_error": "exact" if simple else "asymptotic"}


@pytest.mark.parametrize(
    "loop",
    [
        Workflow(Real(keep=3), Synthetic(keep=3)),
        Workflow(synthetic=Synthetic(of=Past())),
        Workflow(Real(keep=2), Synthetic(of=Mixed(0.4)), Fit(n=80, with_replacement=True)),
        Workflow(Real(every=True), fit=Fit(n=120, real_weight=0.6)),
    ],
    ids=["window", "past", "bootstrap", "weighted subset"],
)
def test_asymptotics_of_other_loops_against_simulation(rng, loop):
    # The statistical error plus a relative error of 10/n; the spread's own noise is taken off.
    n, chains, length = 100, 4000, 4
    known = predict_gaussian(loop.plan(length, n), dim=1)
    errors, variances = Twin(rng, loop, n=n, chains=chains).run(length)
    free = variances - known["trace_ratio"].values
    floor = 0.5 * (np.log(2 * np.pi) + 1)
    nll = 0.5 * (np.log(2 * np.pi * variances) + (1 + errors) / variances)
    for name, samples, level in [
        ("log_det_ratio", np.log(variances) - free, 0.0),
        ("wasserstein2", errors + (np.sqrt(variances) - 1) ** 2, 0.0),
        ("nll", nll - floor, floor),
    ]:
        assert known[name].kind == "asymptotic"
        assert_mean(samples, known[name].values - level, rounding=10 / n)


def test_what_nothing_is_known_of():
    hot = Workflow(synthetic=Synthetic(temperature=1.2), fit=Fit(n="batch"))
    assert predict_categorical(hot.plan(3, 50), probabilities=[0.5, 0.5]) == {}
    weighted = Workflow(Real(every=True), Synthetic(temperature=0.9), Fit(n=50, real_weight=0.5))
    assert predict_gaussian(weighted.plan(3, 50), dim=1) == {}
    window = Workflow(Real(keep=2), Synthetic(keep=2))
    assert set(predict_gaussian(window.plan(500, 20), dim=1)) == MOMENTS  # errors become large
    assert predict_regression(Workflow(fit=Fit(n=4)).plan(3, 20), dim=10) == {}


def test_weighted_subsets_against_simulation(rng):
    n = 200
    loop = Workflow(Real(keep=None), Synthetic(keep=2, n=300), Fit(n="batch", real_weight=0.4))
    known = predict_gaussian(loop.plan(4, n), dim=1)
    errors, variances = Twin(rng, loop, n=n, chains=4000).run(4)
    assert_mean(errors, known["squared_error_mean"].values, rounding=6 / n)
    assert_mean(variances, known["trace_ratio"].values, rounding=6 / n)


@pytest.mark.parametrize(
    "loop",
    [
        Workflow(Real(every=True, n=24), Synthetic(n=36, temperature=0.5)),
        Workflow(Real(keep=None), Synthetic(keep=2), Fit(real_weight=0.3)),
        Workflow(Real(every=True, keep=2), Synthetic(n=[12, 24, 12, 12], keep=None)),
    ],
    ids=["fresh", "weight", "growing"],
)
@pytest.mark.parametrize("dim", [3, 20])
def test_a_fixed_design_against_simulation(rng, loop, dim):
    n, noise, chains, length = 12, 0.4, 2000, 4
    plan = loop.plan(length, n)
    known = predict_regression(plan, dim=dim, noise=noise)["test_error"]
    assert known.kind == "exact"
    truth = rng.standard_normal((chains, dim, 1))
    design = rng.standard_normal((chains, n, dim))

    def batch(coefficients, rows, heat):
        x = np.tile(design, (1, rows // n, 1))
        y = x @ coefficients
        return x, y + np.sqrt(heat * noise) * rng.standard_normal(y.shape)

    real, synthetic, errors = [], [], []
    for t in range(length):
        if plan.real_rows[t]:
            real.append(batch(truth, plan.real_rows[t], 1.0))
        kept = [
            (x, y, weight)
            for stream, count, weight in zip(
                (real, synthetic),
                (plan.real_batches[t], plan.synthetic_batches[t]),
                plan.row_weights[t],
                strict=True,
            )
            for x, y in stream[len(stream) - count :]
        ]
        x = np.concatenate([np.sqrt(weight) * x for x, _, weight in kept], axis=1)
        y = np.concatenate([np.sqrt(weight) * y for _, y, weight in kept], axis=1)
        fitted = np.linalg.pinv(x) @ y
        errors.append(np.sum((fitted - truth) ** 2, axis=(1, 2)))
        heat = 1.0 if plan.temperature is None else plan.temperature[t]
        synthetic.append(batch(fitted, plan.synthetic_rows[t], heat))
    assert_mean(np.stack(errors, 1), known.values)


def test_extinct_outcomes_where_real_rows_stay(rng):
    p, chains = np.array([0.5, 0.3, 0.15, 0.05]), 20_000
    loop = Workflow(Real(n=3, every=True, keep=None), Synthetic(n=4))
    known = predict_categorical(loop.plan(4, 3), probabilities=p)["n_extinct"]
    assert known.kind == "exact"
    real = pool = np.empty((chains, 0), int)
    extinct = []
    for t in range(4):
        real = np.concatenate([real, rng.choice(4, (chains, 3), p=p)], axis=1)
        made = (
            pool[:, :0]
            if not t
            else np.take_along_axis(pool, rng.integers(pool.shape[1], size=(chains, 4)), axis=1)
        )
        pool = np.concatenate([real, made], axis=1)
        extinct.append(4 - sum(np.any(pool == k, axis=1) for k in range(4)))
    assert_mean(np.stack(extinct, 1), known.values)
    dealt = predict_categorical(
        Workflow(Real(n=30, keep=None)).plan(2, 20), probabilities=p, population=20
    )
    np.testing.assert_allclose(dealt["n_extinct"].values, 0, atol=1e-12)
    unseen = predict_categorical(Workflow(Real(n=30)).plan(2, 20), probabilities=p, population=20)
    assert set(unseen) == {"collision", "squared_error"}


def test_fresh_designs_with_schedules():
    plan = Workflow(Real(n=20), Synthetic(n=[30, 40], temperature=0.5)).plan(2, 20)
    known = predict_regression(plan, dim=3, design="fresh")["test_error"]
    np.testing.assert_allclose(known.values, np.cumsum([3 / 16, 0.5 * 3 / 26]))
    plan = Workflow(Real(keep=2), Synthetic(keep=2)).plan(4, 100)
    assert predict_regression(plan, dim=3, design="fresh")["test_error"].kind == "asymptotic"
