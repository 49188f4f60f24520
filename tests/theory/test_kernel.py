"""Moments of kernel density estimates."""

import numpy as np
import pytest

from collapse_jax.theory import gaussian, kernel


def simulate(rng, replicates, n, n_generations, bandwidth, accumulates):
    """Mean error and model variance, each `[replicate, generation]`; the truth is not Gaussian."""
    pool = rng.exponential(size=(replicates, n)) - 1
    mean_error, covariance = [], []
    for _ in range(n_generations):
        mean_error.append(pool.mean(axis=1) ** 2)
        covariance.append(pool.var(axis=1) + bandwidth**2)
        picked = rng.integers(pool.shape[1], size=(replicates, n))
        noise = bandwidth * rng.standard_normal((replicates, n))
        new = np.take_along_axis(pool, picked, axis=1) + noise
        pool = np.concatenate([pool, new], axis=1) if accumulates else new
    return np.stack(mean_error, 1), np.stack(covariance, 1)


@pytest.mark.parametrize("accumulates", [False, True])
def test_replace_and_accumulate_agree_with_simulation(rng, brute_force, accumulates):
    # 2 cases x 10 generations x 2 statistics = 40 comparisons
    mean_error, covariance = simulate(rng, 20_000, 6, 10, 0.4, accumulates)
    moments = kernel.accumulate_moments if accumulates else kernel.replace_moments
    exact = moments(6, 10, bandwidth=0.4)
    brute_force.check_means(mean_error, exact.mean_error)
    brute_force.check_means(covariance, exact.covariance)


def test_subsample_agrees_with_simulation(rng, brute_force):
    # 10 generations x 2 statistics = 20 comparisons
    chain = brute_force.subsample(rng, 20_000, 6, 10, bandwidth=0.4)
    exact = kernel.accumulate_subsample_moments(6, 10, bandwidth=0.4)
    brute_force.check_means(chain.mean_error, exact.mean_error)
    brute_force.check_means(chain.covariance, exact.covariance)


@pytest.mark.parametrize("bandwidth", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("n", [1, 2, 25])
def test_conservation_with_kernel_noise(n, bandwidth):
    t = np.arange(1, 31)
    harmonic = np.cumsum(1 / t) - 1
    for moments, noise in [
        (kernel.replace_moments, t - 1),
        (kernel.accumulate_moments, harmonic),
        (kernel.accumulate_subsample_moments, harmonic),
    ]:
        result = moments(n, 30, bandwidth=bandwidth)
        total = result.covariance + result.mean_error
        np.testing.assert_allclose(total, 1 + bandwidth**2 * (1 + noise), rtol=1e-12)


def test_without_kernel_it_is_the_bootstrap():
    for name in ("replace_moments", "accumulate_moments", "accumulate_subsample_moments"):
        result = getattr(kernel, name)(7, 20, bandwidth=0.0)
        plain = getattr(gaussian, name)(7, 20)
        np.testing.assert_allclose([result.mean_error, result.covariance], plain, rtol=1e-12)


def test_replace_saturates_while_its_mean_walks():
    result = kernel.replace_moments(10, 2000, bandwidth=0.5)
    assert result.covariance[-1] == pytest.approx(10 * 0.25)
    assert np.diff(result.mean_error)[-1] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel.replace_moments(0, 3, bandwidth=1), "n_samples must be 1 or more"),
        (lambda: kernel.accumulate_moments(3, 0, bandwidth=1), "n_generations must be 1 or more"),
        (
            lambda: kernel.accumulate_subsample_moments(3, 3, bandwidth=-1),
            "bandwidth .* got -1",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bandwidths_scaled_by_the_spread_agree_with_simulation(rng, brute_force):
    # 6 generations x 2 statistics = 12 comparisons
    n, factor = 6, 0.4
    rows = rng.exponential(size=(100_000, n)) - 1
    mean_error, covariance = [], []
    for _ in range(6):
        bandwidth = factor * rows.std(axis=1, ddof=1, keepdims=True)
        mean_error.append(rows.mean(axis=1) ** 2)
        covariance.append(rows.var(axis=1) + bandwidth[:, 0] ** 2)
        picked = np.take_along_axis(rows, rng.integers(n, size=rows.shape), axis=1)
        rows = picked + bandwidth * rng.standard_normal(rows.shape)
    exact = kernel.spread_moments(n, 6, factor=factor)
    brute_force.check_means(np.stack(mean_error, 1), exact.mean_error)
    brute_force.check_means(np.stack(covariance, 1), exact.covariance)
