"""Real data mixed in again (the recursion itself is checked in test_moments)."""

import numpy as np
import pytest

from collapse_jax.theory import mixing


@pytest.mark.parametrize("real", ["fixed", "fresh"])
@pytest.mark.parametrize("scale", [1.0, 0.6])
@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
def test_limit_is_that_of_the_sequence(real, scale, estimator):
    options = {"real": real, "sampling_scale": scale, "estimator": estimator}
    result = mixing.mixed_moments(3, 8, 400, **options)
    limit = mixing.mixed_limit(3, 8, **options)
    np.testing.assert_allclose([result.mean_error[-1], result.covariance[-1]], limit, rtol=1e-12)


@pytest.mark.parametrize(("n_r", "n_s"), [(5, 5), (5, 20), (1, 3)])
def test_printed_fixed_points(n_r, n_s):
    rho = n_s / (n_r + n_s)
    denominator = 1 - rho**2 * (1 - 1 / n_s)
    fixed = ((1 - rho**2) / n_r + rho**2 / n_s) / denominator
    fresh = ((1 - rho) ** 2 / n_r + rho**2 / n_s) / denominator
    assert mixing.mixed_limit(n_r, n_s) == pytest.approx((fixed, 1 - fixed))
    assert mixing.mixed_limit(n_r, n_s, real="fresh") == pytest.approx((fresh, 1 - fresh))


@pytest.mark.parametrize("ratio", [1, 3, 100])
def test_large_sample_risk(ratio):
    n = 10**7
    fixed, _ = mixing.mixed_limit(n, ratio * n)
    fresh, _ = mixing.mixed_limit(n, ratio * n, real="fresh")
    assert n * fixed == pytest.approx(1 + ratio / (1 + 2 * ratio), rel=1e-4)
    assert n * fresh == pytest.approx((1 + ratio) / (1 + 2 * ratio), rel=1e-4)


def test_golden_ratio(rng, brute_force):
    weight = mixing.optimal_real_weight(40, 40)
    assert weight == pytest.approx((np.sqrt(5) - 1) / 2)
    # an estimate at the optimum, simulated: 1 comparison
    error = np.zeros(200_000)
    for _ in range(40):
        real, synthetic = rng.standard_normal((2, len(error)))
        error = weight * real + (1 - weight) * (error + synthetic)
    brute_force.check_means(error**2, np.array(mixing.weighted_limit(weight, 1, 1)))


@pytest.mark.parametrize(("n_r", "n_s"), [(1, 1), (10, 3), (7, 900), (10**9, 1)])
def test_optimal_weight_is_the_minimum(n_r, n_s):
    weight = mixing.optimal_real_weight(n_r, n_s)
    best = mixing.weighted_limit(weight, n_r, n_s)
    assert best * n_r == pytest.approx(weight)
    for other in (0.98 * weight, min(1.0, 1.02 * weight)):
        assert mixing.weighted_limit(other, n_r, n_s) >= best


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mixing.mixed_moments(0, 1, 2), "n_real must be 1 or more"),
        (
            lambda: mixing.mixed_moments(1, 1, 2, estimator="unbiased"),
            "n_real must be 2",
        ),
        (lambda: mixing.mixed_moments(1, 0, 2), "n_synthetic must be 1 or more"),
        (lambda: mixing.mixed_moments(1, 1, 0), "n_generations must be 1 or more"),
        (
            lambda: mixing.mixed_limit(1, 9, sampling_scale=3),
            "sampling_scale .* converge, got 3",
        ),
        (lambda: mixing.weighted_limit(0, 1, 1), "real_weight must be positive"),
        (lambda: mixing.weighted_limit(1.5, 1, 1), "real_weight must .* got 1.5"),
        (lambda: mixing.optimal_real_weight(1, 0), "n_synthetic must be 1 or more"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rejects_unknown_options():
    with pytest.raises((ValueError, TypeError), match="real"):  # TypeError: run-time checks
        mixing.mixed_moments(1, 1, 2, real="stale")  # pyright: ignore
