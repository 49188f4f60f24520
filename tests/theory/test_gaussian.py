"""Closed-form moments of the three workflows."""

import numpy as np
import pytest
from scipy.special import gammaln

from collapse_jax.theory import gaussian, risk

# E Sigma_t / Sigma_0 at t = 1, 2, 5, 10, 100 and in the limit, from an independent computation
# (the Monte-Carlo checked table in the project's theory notes); NaN where the table has no entry.
X = np.nan
TABLE = {
    "replace": {
        10: [0.9, 0.81, 0.59049, 0.34868, 2.656e-5, 0],
        32: [0.96875, 0.93848, 0.85322, 0.72798, 0.0418, 0],
        100: [0.99, 0.9801, 0.95099, 0.90438, 0.36603, 0],
        316: [0.99684, 0.99368, 0.98428, 0.9688, 0.72836, 0],
        1000: [0.999, 0.998, 0.99501, 0.99004, 0.90479, 0],
    },
    "accumulate": {
        10: [0.9, 0.8775, 0.85888, 0.8515, 0.84428, 0.843436],
        32: [0.96875, 0.96118, 0.95478, 0.95221, 0.94968, 0.949383],
        100: [0.99, 0.98753, 0.98542, 0.98457, 0.98373, 0.983632],
        316: [0.99684, 0.99605, 0.99537, 0.9951, 0.99483, 0.994803],
        1000: [0.999, 0.99875, 0.99854, 0.99845, 0.99837, 0.998356],
    },
    "accumulate_subsample": {
        10: [0.9, 0.831316, X, 0.759780, 0.741128, 0.738991],
        32: [0.96875, 0.945925, X, 0.919706, 0.912451, 0.911609],
        100: [0.99, 0.982563, X, 0.973765, 0.971286, 0.970997],
        316: [0.996835, 0.994468, X, 0.991642, 0.990841, 0.990747],
        1000: [0.999, 0.998251, X, 0.997353, 0.997098, 0.997069],
    },
}
LIMITS = {
    "replace": lambda n: 0.0,
    "accumulate": gaussian.accumulate_limit,
    "accumulate_subsample": gaussian.accumulate_subsample_limit,
}


@pytest.mark.parametrize("name", TABLE)
def test_reference_table(name):
    moments = getattr(gaussian, f"{name}_moments")
    for n, row in TABLE[name].items():
        factors = moments(n, 100).covariance[[0, 1, 4, 9, 99]]
        for value, digits in zip([*factors, LIMITS[name](n)], row, strict=True):
            if not np.isnan(digits):
                assert value == pytest.approx(digits, abs=5.1e-6 if digits > 1e-3 else 1e-8)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000])
@pytest.mark.parametrize("with_replacement", [False, True])
def test_conservation_under_subsampling(n, with_replacement):
    result = gaussian.accumulate_subsample_moments(n, 50, with_replacement=with_replacement)
    np.testing.assert_allclose(result.mean_error + result.covariance, 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 10, 500])
def test_subsample_factors_equal_products_of_gamma_functions(n):
    t = np.arange(1, 60)
    root = np.sqrt(12 * n - 3)
    above, below = (2 * n - 1 + root) / (2 * n), (2 * n - 1 - root) / (2 * n)
    pool = (1 - 1 / n) * np.exp(
        gammaln(t) + gammaln(t + above) + gammaln(t + below) + gammaln(1 - 1 / n)
        - gammaln(1 + above) - gammaln(1 + below) - gammaln(t - 1 / n) - 2 * gammaln(t + 1)
    )  # fmt: skip
    expected = pool * t * (n - 1) / (t * n - 1)
    factors = gaussian.accumulate_subsample_moments(n, 59).covariance
    np.testing.assert_allclose(factors, expected, rtol=1e-10)


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
@pytest.mark.parametrize("with_replacement", [False, True])
def test_subsample_agrees_with_simulation(rng, brute_force, estimator, with_replacement):
    # 4 cases x 2 sizes x 12 generations x 2 statistics = 192 comparisons
    for n in (3, 8):
        chain = brute_force.subsample(
            rng,
            20_000,
            n,
            12,
            unbiased=estimator == "unbiased",
            with_replacement=with_replacement,
        )
        exact = gaussian.accumulate_subsample_moments(
            n, 12, estimator, with_replacement=with_replacement
        )
        brute_force.check_means(chain.mean_error, exact.mean_error)
        brute_force.check_means(chain.covariance, exact.covariance)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_limits_are_those_of_the_sequences(n):
    # the remaining factor is 1 - O(1/T)
    horizon = 100_000
    accumulate = gaussian.accumulate_moments(n, horizon).covariance[-1]
    assert gaussian.accumulate_limit(n) == pytest.approx(accumulate, abs=2 / horizon)
    for with_replacement in (False, True):
        last = gaussian.accumulate_subsample_moments(
            n, horizon, with_replacement=with_replacement
        ).covariance[-1]
        limit = gaussian.accumulate_subsample_limit(n, with_replacement=with_replacement)
        assert limit == pytest.approx(last, abs=4 / horizon)
    if n > 1:
        unbiased = gaussian.accumulate_moments(n, horizon, "unbiased").covariance[-1]
        limit = gaussian.accumulate_limit(n, "unbiased")
        assert limit == pytest.approx(unbiased, abs=2 / horizon)


@pytest.mark.parametrize("with_replacement", [False, True])
def test_unbiased_subsampling_grows_like_a_power(with_replacement):
    n = 4
    result = gaussian.accumulate_subsample_moments(
        n, 40_000, "unbiased", with_replacement=with_replacement
    )
    slope = np.log(result.covariance[-1] / result.covariance[19_999]) / np.log(2)
    assert slope == pytest.approx(1 / n, abs=1e-4)
    assert gaussian.accumulate_subsample_limit(n, "unbiased") == np.inf


def test_unbiased_closed_forms():
    n, t = 6, np.arange(1, 21)
    k = np.arange(2, 21)
    factors = np.concatenate([[1], np.cumprod(1 - 1 / (k * (n * k - 1)))])
    result = gaussian.accumulate_moments(n, 20, "unbiased")
    np.testing.assert_allclose(result.covariance, factors, rtol=1e-12)
    steps = np.concatenate([[1 / n], factors[:-1] / (n * k**2)])
    np.testing.assert_allclose(result.mean_error, np.cumsum(steps), rtol=1e-12)
    replace = gaussian.replace_moments(n, 20, "unbiased")
    np.testing.assert_allclose(replace.covariance, 1)
    np.testing.assert_allclose(replace.mean_error, t / n, rtol=1e-12)


def test_schedules_of_sizes():
    sizes = np.array([5, 8, 20, 40])
    np.testing.assert_allclose(
        gaussian.replace_moments(sizes, 4).covariance, np.cumprod(1 - 1 / sizes), rtol=1e-12
    )
    total = np.cumsum(sizes)
    np.testing.assert_allclose(
        gaussian.accumulate_moments(sizes, 4).covariance,
        np.cumprod(1 - sizes / total**2),
        rtol=1e-12,
    )


def test_large_samples_give_the_risk_ratios():
    n = 10**8
    for moments, ratio in [
        (gaussian.replace_moments, risk.replace_risk_ratio),
        (gaussian.accumulate_moments, risk.accumulate_risk_ratio),
        (gaussian.accumulate_subsample_moments, risk.accumulate_subsample_risk_ratio),
    ]:
        for estimator in ("mle", "unbiased"):
            np.testing.assert_allclose(
                n * moments(n, 30, estimator).mean_error, ratio(30), rtol=1e-5
            )
    bootstrap = gaussian.accumulate_subsample_moments(n, 30, with_replacement=True)
    np.testing.assert_allclose(
        n * bootstrap.mean_error,
        risk.accumulate_subsample_risk_ratio(30, with_replacement=True),
        rtol=1e-5,
    )


def test_risk_ratios_have_their_limits():
    assert risk.accumulate_risk_ratio(10**6)[-1] == pytest.approx(risk.ACCUMULATE_LIMIT, abs=2e-6)
    without = risk.accumulate_subsample_risk_ratio(10**6)[-1]
    assert without == pytest.approx(risk.ACCUMULATE_SUBSAMPLE_LIMIT, abs=4e-6)
    bootstrap = risk.accumulate_subsample_risk_ratio(10**6, with_replacement=True)[-1]
    assert bootstrap == pytest.approx(risk.ACCUMULATE_BOOTSTRAP_LIMIT, abs=4e-6)


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
@pytest.mark.parametrize("accumulates", [False, True])
def test_data_set_as_truth(rng, brute_force, estimator, accumulates):
    # generation 1 is 5 of 9 rows without replacement; 4 cases x 5 generations x 2 = 40 comparisons
    rows, n, replicates = rng.exponential(size=9), 5, 20_000
    truth_mean, truth_variance = rows.mean(), rows.var()
    pool = rng.permuted(np.tile(rows, (replicates, 1)), axis=1)[:, :n]
    mean_error, covariance = [], []
    for _ in range(5):
        mean, variance = pool.mean(1), pool.var(1, ddof=int(estimator == "unbiased"))
        mean_error.append((mean - truth_mean) ** 2 / truth_variance)
        covariance.append(variance / truth_variance)
        noise = rng.standard_normal((replicates, n))
        new = mean[:, None] + np.sqrt(variance)[:, None] * noise
        pool = np.concatenate([pool, new], 1) if accumulates else new
    moments = gaussian.accumulate_moments if accumulates else gaussian.replace_moments
    exact = gaussian.from_finite_population(moments(n, 5, estimator), population=9)
    brute_force.check_means(np.stack(mean_error, 1), exact.mean_error)
    brute_force.check_means(np.stack(covariance, 1), exact.covariance)


def test_whole_data_set_as_truth_is_reproduced_by_generation_1():
    for moments in (gaussian.accumulate_moments, gaussian.accumulate_subsample_moments):
        result = gaussian.from_finite_population(moments(7, 3), population=7)
        assert result.mean_error[0] == pytest.approx(0, abs=1e-15)
        assert result.covariance[0] == pytest.approx(1, abs=1e-15)
        np.testing.assert_allclose(result.mean_error + result.covariance, 1, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gaussian.replace_moments(0, 3),
            "n_samples .* of 1 or more, got 0",
        ),
        (
            lambda: gaussian.replace_moments(1, 3, "unbiased"),
            "n_samples .* of 2 or more, got 1",
        ),
        (lambda: gaussian.replace_moments([3, 4], 3), r"n_samples must have shape .* got \(2,\)"),
        (lambda: gaussian.accumulate_moments(3, 0), "n_generations must be 1 or more, got 0"),
        (lambda: gaussian.accumulate_limit(1, "unbiased"), "n_samples must be 2 or more, got 1"),
        (lambda: gaussian.accumulate_subsample_limit(0), "n_samples .* got 0"),
        (
            lambda: gaussian.from_finite_population(gaussian.replace_moments(1, 1), 1),
            "population must be 2 or more, got 1",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rejects_wrong_types():
    # both errors: with types checked at run time it is a TypeError
    with pytest.raises((ValueError, TypeError), match="estimator"):
        gaussian.accumulate_moments(3, 2, "map")  # pyright: ignore
    with pytest.raises(TypeError, match="n_samples"):
        gaussian.accumulate_subsample_moments(2.5, 3)  # pyright: ignore
