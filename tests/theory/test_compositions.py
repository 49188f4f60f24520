"""Moments of compositions, hand-picked and random, against chains in which every row is drawn."""

import numpy as np
import pytest
from compositions import HAND_PICKED, N, T, Twin, random_workflow
from statistics_helpers import assert_mean

from collapse_jax.loop.workflow import Fit, Mixed, Past, Real, Synthetic, Workflow
from collapse_jax.theory import gaussian, mixing, moments, plans, recursion, risk

TIGHT = {"rtol": 1e-12, "atol": 1e-13}


def exact(workflow, estimator="mle", population=None, n=N, n_generations=T):
    streams = plans.streams_of(workflow.plan(n_generations, n), population)
    return recursion.exact_moments(streams, estimator)


def check(rng, workflow, estimator="mle", data=None):
    population = None if data is None else len(data)
    known = exact(workflow, estimator, population)
    errors, variances = Twin(rng, workflow, estimator, data).run(T)
    assert_mean(errors, known.mean_error, rounding=1e-9)
    assert_mean(variances, known.covariance, rounding=1e-9)
    tempered = plans.is_tempered(workflow.plan(T, N))
    if estimator == "mle" and not tempered:  # what is lost in spread is gained in error
        np.testing.assert_allclose(known.mean_error + known.covariance, 1, **TIGHT)


def some_data(rng, rows):
    values = rng.exponential(size=rows)
    return (values - values.mean()) / values.std()


@pytest.mark.parametrize("name", HAND_PICKED)
def test_hand_picked(rng, name):
    check(rng, HAND_PICKED[name])


@pytest.mark.parametrize("case", range(24))
def test_random(case):
    rng = np.random.default_rng([1, case])
    workflow = random_workflow(rng, T)
    estimator = ("mle", "unbiased")[case % 2]
    check(rng, workflow, estimator)


@pytest.mark.parametrize(
    "name",
    [
        "window",
        "bootstrap",
        "fixed real rows, weight",
        "fresh real rows that stay a while",
        "last three equally",
        "mixed",
    ],
)
def test_unbiased(rng, name):
    check(rng, HAND_PICKED[name], "unbiased")


@pytest.mark.parametrize("rows", [3, 5, 9])
@pytest.mark.parametrize(
    "name",
    [
        "subsample",
        "fresh real rows",
        "fresh real rows, weight",
        "fresh real rows that stay a while",
        "fresh real rows, bootstrap",
        "growing batches",
        "past, kept",
        "mixed, subset",
    ],
)
def test_finite_populations(rng, name, rows):
    check(rng, HAND_PICKED[name], data=some_data(rng, rows))


@pytest.mark.parametrize("case", range(8))
def test_random_with_a_finite_population(case):
    rng = np.random.default_rng([2, case])
    workflow = random_workflow(rng, T)
    check(rng, workflow, data=some_data(rng, int(rng.integers(2, 12))))


# Closed forms, and the families of loops of the literature


LONG = 400


def noise(workflow, n, n_generations=LONG):
    """The large-sample variance in units of 1/n, which a constant spread would have."""
    return recursion.noise_variance(plans.streams_of(workflow.plan(n_generations, n)))


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
def test_closed_forms_are_special_cases(estimator):
    for name, closed in [
        ("replace", gaussian.replace_moments),
        ("accumulate", gaussian.accumulate_moments),
        ("subsample", gaussian.accumulate_subsample_moments),
    ]:
        found = exact(HAND_PICKED[name], estimator, n=7, n_generations=40)
        np.testing.assert_allclose(found, closed(7, 40, estimator), rtol=1e-12)
    for real, stream in [("fresh", Real(n=6, every=True)), ("fixed", Real(n=6, keep=None))]:
        loop = Workflow(stream, Synthetic(n=9, temperature=0.8))
        closed = mixing.mixed_moments(6, 9, 40, real=real, sampling_scale=0.8, estimator=estimator)
        np.testing.assert_allclose(exact(loop, estimator, n_generations=40), closed, rtol=1e-12)
    schedule, heat = [5, 3, 8, 4, 6], [0.8, 1.1, 0.9, 1.3, 1.0]
    loop = Workflow(Real(n=5), Synthetic(n=[*schedule[1:], 1], temperature=heat))
    closed = gaussian.replace_moments(schedule, 5, estimator, temperature=heat)
    np.testing.assert_allclose(exact(loop, estimator), closed, rtol=1e-12)


def test_a_collapsing_spread_keeps_its_digits():
    found = exact(Workflow(), n=4, n_generations=3000).covariance
    np.testing.assert_allclose(found[:2000], 0.75 ** np.arange(1, 2001), rtol=1e-9)
    window = exact(Workflow(Real(keep=2), Synthetic(keep=2)), n=4, n_generations=2000).covariance
    ratio = window[1001:1900] / window[1000:1899]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
def test_weights_of_a_window_agree_with_the_oracle_for_any_weights(estimator):
    weights, sizes = moments.window_weights(30, 3, 5), 5
    loop = Workflow(Real(keep=3), Synthetic(keep=3))
    oracle = moments.second_moments(weights, sizes, estimator=estimator)
    found = exact(loop, estimator, n=5, n_generations=30)
    np.testing.assert_allclose(found, oracle, rtol=1e-10)
    np.testing.assert_allclose(5 * noise(loop, 5, 30), moments.risk_ratio(weights), rtol=1e-10)


@pytest.mark.parametrize("population", [10, 12, 25])
@pytest.mark.parametrize("name", ["replace", "accumulate", "subsample"])
def test_one_batch_of_a_finite_population(name, population):
    free = exact(HAND_PICKED[name], n=10, n_generations=20)
    closed = gaussian.from_finite_population(free, population)
    found = exact(HAND_PICKED[name], population=population, n=10, n_generations=20)
    np.testing.assert_allclose(found, closed, **TIGHT)


def test_all_rows_of_a_finite_population_are_the_truth():
    loop = Workflow(Real(n=35, keep=None), Synthetic(keep=None))
    found = exact(loop, population=7, n_generations=1)
    np.testing.assert_allclose(found, [[0], [1]], atol=1e-14)
    certain = exact(loop, population=1, n_generations=4)
    np.testing.assert_allclose(certain.mean_error[0], 0, atol=1e-14)


def test_random_past_models_are_as_good_as_accumulating():
    past = exact(Workflow(synthetic=Synthetic(of=Past())), n_generations=60)
    accumulate = exact(HAND_PICKED["accumulate"], n_generations=60)
    np.testing.assert_allclose(past, accumulate, rtol=1e-12)


def test_risk_ratios_of_the_presets():
    n = 8
    for name, ratio in [
        ("replace", risk.replace_risk_ratio(50)),
        ("accumulate", risk.accumulate_risk_ratio(50)),
        ("subsample", risk.accumulate_subsample_risk_ratio(50)),
        ("bootstrap", risk.accumulate_subsample_risk_ratio(50, with_replacement=True)),
    ]:
        np.testing.assert_allclose(n * noise(HAND_PICKED[name], n, 50), ratio, rtol=1e-12)


# At other temperatures the spread does not stay that of the truth, as the ratio takes it to.
UNTEMPERED = [n for n, loop in HAND_PICKED.items() if not plans.is_tempered(loop.plan(T, N))]


@pytest.mark.parametrize("name", UNTEMPERED)
def test_the_risk_ratio_is_the_limit_of_the_exact_moments(name):
    loop = HAND_PICKED[name]
    big = 10**6
    plan = loop.plan(T, N)
    streams = plans.streams_of(plan)
    large = streams._replace(
        real_rows=streams.real_rows * big,
        synthetic_rows=streams.synthetic_rows * big,
        row_weights=streams.row_weights / big,
        drawn=None if streams.drawn is None else streams.drawn * big,
    )
    limit = big * recursion.exact_moments(large).mean_error
    np.testing.assert_allclose(big * recursion.noise_variance(large), limit, rtol=1e-4)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_constant_share_of_fresh_real_rows_has_a_plateau(share):
    n = 1000
    real = round(share * n)
    loop = Workflow(Real(n=[n] + [real] * (LONG - 1), every=True), Synthetic(n=n - real))
    variance = noise(loop, n)
    assert variance[-1] == pytest.approx(1 / (n * share * (2 - share)), rel=1e-9)
    v = 1 / n
    for value in variance[1:]:
        v = (1 - share) ** 2 * v + 1 / n
        assert value == pytest.approx(v, rel=1e-9)


@pytest.mark.parametrize("c", [0.5, 1, 2])
def test_a_vanishing_share_of_fresh_real_rows_slows_collapse_down(c):
    n, length = 10**6, 2000
    loop = Workflow(
        Real(n=lambda t: n if t == 1 else max(1, round(min(c / t, 0.999) * n)), every=True),
        Synthetic(n=lambda t: n - max(1, round(min(c / (t + 1), 0.999) * n))),
    )
    variance = noise(loop, n, length)
    assert n * variance[-1] == pytest.approx(length / (1 + 2 * c), rel=0.01)


@pytest.mark.parametrize(("share", "slope"), [(0.1, -0.10), (0.25, -0.25), (0.75, -0.50)])
def test_fresh_real_rows_that_stay(share, slope):
    m, length = 1000, 4000
    real = round(share * m)
    loop = Workflow(
        Real(n=lambda t: m if t == 1 else real, every=True, keep=None),
        Synthetic(n=m - real, keep=None),
    )
    variance = noise(loop, m, length)
    v, expected = 1 / m, [1 / m]
    for t in range(1, 50):
        v = (1 - share / (t + 1)) ** 2 * v + 1 / (m * (t + 1) ** 2)
        expected.append(v)
    np.testing.assert_allclose(variance[:50], expected, rtol=1e-10)
    t = np.arange(1, length + 1)
    late = slice(length // 20, None)
    fitted = np.polyfit(np.log(t[late]), 0.5 * np.log(variance[late]), 1)[0]
    assert fitted == pytest.approx(slope, abs=0.03)


def test_the_risk_first_rises_then_falls_with_the_amount_of_synthetic_data():
    n, times = 1000, 6
    ratios = np.array([0.1, 0.5, 0.9, 1.0, 1.1, 2.0, 5.0, 20.0])
    excess = np.array(
        [
            n * noise(Workflow(Real(keep=None), Synthetic(n=round(r * n))), n, times) - 1
            for r in ratios
        ]
    )
    t = np.arange(1, times + 1)
    forget = (ratios[:, None] / (1 + ratios[:, None])) ** (2 * (t - 1))
    closed = (ratios / (1 + 2 * ratios))[:, None] * (1 - forget)
    np.testing.assert_allclose(excess, closed, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(excess[:, 1], ratios / (1 + ratios) ** 2, rtol=1e-9)
    assert ratios[np.argmax(excess[:, 1])] == 1.0
    assert excess[-1, -1] < excess[:, -1].max()


def test_the_golden_ratio():
    n = 1000
    weights = np.arange(0.55, 0.70, 0.002)
    last = [
        n * noise(Workflow(Real(every=True), fit=Fit(real_weight=float(w))), n, 20)[-1]
        for w in weights
    ]
    golden = (np.sqrt(5) - 1) / 2
    assert weights[np.argmin(last)] == pytest.approx(golden, abs=0.002)
    assert min(last) == pytest.approx(golden, rel=1e-5)
    assert last[0] == pytest.approx(n * mixing.weighted_limit(0.55, n, n), rel=1e-9)


@pytest.mark.parametrize("gamma", [0.25, 1.0, 4.0])
def test_correction_divides_the_rate_by_one_plus_gamma(gamma):
    # The influence of generation 1's error decays by this factor per generation, squared
    n = 1000
    loop = Workflow(synthetic=Synthetic(of=Mixed(gamma / (1 + gamma))))
    large, small = (noise(Workflow(Real(n=first), loop.synthetic), n, 6) for first in (n, n // 2))
    rate = np.sqrt((small - large)[1:] / (small - large)[:-1])
    np.testing.assert_allclose(rate, 1 / (1 + gamma), rtol=1e-9)
