"""The second-moment oracle against chains that draw every row, and against its special cases."""

import numpy as np
import pytest

from collapse_jax.theory import gaussian, kernel, mixing, moments, risk

TIGHT = {"rtol": 0, "atol": 1e-12}


def random_weights(rng, n_generations, n_batches):
    """Weights with a random pattern of zeros, and random sources, that respect time."""
    sources = np.concatenate([[0], rng.integers(0, n_generations, n_batches - 1)])
    weights = rng.exponential(size=(n_generations, n_batches)) * (
        rng.random((n_generations, n_batches)) < 0.7
    )
    weights[:, 0] += 0.1
    weights[sources[None, :] >= np.arange(1, n_generations + 1)[:, None]] = 0
    return weights / weights.sum(axis=1, keepdims=True), sources


@pytest.mark.parametrize("case", range(6))
def test_oracle_agrees_with_simulation_for_random_weights(rng, brute_force, case):
    # 6 cases x 5 generations x 2 statistics = 60 comparisons
    for _ in range(case):
        rng = rng.spawn(1)[0]
    options = {
        "unbiased": case % 2 == 1,
        "scale": [1.0, 0.7, 1.2][case % 3],
        "kernel": 0.3 * (case >= 3),
    }
    weights, sources = random_weights(rng, 5, 7)
    sizes = rng.integers(2, 7, 7)
    exact = moments.second_moments(
        weights,
        sizes,
        sources,
        sampling_scale=options["scale"],
        estimator="unbiased" if options["unbiased"] else "mle",
        kernel_variance=options["kernel"],
    )
    chain = brute_force.weighted(rng, 20_000, weights, sizes, sources, **options)
    brute_force.check_means(chain.mean_error, exact.mean_error)
    brute_force.check_means(chain.covariance, exact.covariance)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_lost_in_spread_is_gained_in_error(seed):
    rng = np.random.default_rng(seed)
    weights, sources = random_weights(rng, 12, 15)
    result = moments.second_moments(weights, rng.integers(1, 9, 15), sources)
    np.testing.assert_allclose(result.mean_error + result.covariance, 1, **TIGHT)


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
@pytest.mark.parametrize("sizes", [3, 50, [4, 2, 9, 5, 30, 2, 7]])
def test_closed_forms_are_special_cases(estimator, sizes):
    for closed, weights in [
        (gaussian.replace_moments, moments.replace_weights(7)),
        (gaussian.accumulate_moments, moments.accumulate_weights(7, sizes)),
    ]:
        oracle = moments.second_moments(weights, sizes, estimator=estimator)
        np.testing.assert_allclose(closed(sizes, 7, estimator), oracle, **TIGHT)


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
@pytest.mark.parametrize("scale", [1.0, 0.8])
@pytest.mark.parametrize("real", ["fixed", "fresh"])
def test_mixing_recursion_is_a_special_case(real, scale, estimator):
    n_r, n_s, n_generations = 4, 7, 9
    shares = np.array([n_r, n_s]) / (n_r + n_s)
    # batches: real ones first (one, or one per generation), then one per model
    n_fresh = n_generations if real == "fresh" else 1
    weights = np.zeros((n_generations, n_fresh + n_generations - 1))
    weights[0, 0] = 1
    for t in range(1, n_generations):
        weights[t, t if real == "fresh" else 0] = shares[0]
        weights[t, n_fresh + t - 1] = shares[1]
    oracle = moments.second_moments(
        weights,
        [n_r] * n_fresh + [n_s] * (n_generations - 1),
        [0] * n_fresh + list(range(1, n_generations)),
        sampling_scale=scale,
        estimator=estimator,
    )
    closed = mixing.mixed_moments(
        n_r, n_s, n_generations, real=real, sampling_scale=scale, estimator=estimator
    )
    np.testing.assert_allclose(closed, oracle, **TIGHT)


def test_kernel_recursions_are_special_cases():
    for closed, weights in [
        (kernel.replace_moments, moments.replace_weights(20)),
        (kernel.accumulate_moments, moments.accumulate_weights(20)),
    ]:
        oracle = moments.second_moments(weights, 6, kernel_variance=0.16)
        result = closed(6, 20, bandwidth=0.4)
        np.testing.assert_allclose([result.mean_error, result.covariance], oracle, **TIGHT)


def test_windows_lie_between_replace_and_accumulate():
    np.testing.assert_array_equal(moments.window_weights(5, 1), np.eye(5))
    np.testing.assert_array_equal(moments.window_weights(5, 9), moments.accumulate_weights(5))
    factors = [
        moments.second_moments(moments.window_weights(30, k), 10).covariance[-1]
        for k in (1, 2, 5, 30)
    ]
    assert np.all(np.diff(factors) > 0)


def test_risk_ratio_is_the_large_sample_limit_of_the_oracle():
    weights, sources = random_weights(np.random.default_rng(3), 8, 11)
    sizes = np.random.default_rng(4).integers(1, 5, 11)
    n = 10_000_000
    exact = n * moments.second_moments(weights, sizes * n, sources).mean_error
    np.testing.assert_allclose(moments.risk_ratio(weights, sizes, sources), exact, rtol=1e-5)


def test_risk_ratios_of_the_named_workflows():
    replace = moments.risk_ratio(moments.replace_weights(9))
    accumulate = moments.risk_ratio(moments.accumulate_weights(9))
    np.testing.assert_allclose(replace, risk.replace_risk_ratio(9), **TIGHT)
    np.testing.assert_allclose(accumulate, risk.accumulate_risk_ratio(9), **TIGHT)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1.0], 2), {}, r"weights must be .* shape \(1,\)"),
        (([[0.5, 0.4]], 2, [0, 0]), {}, "every row must sum to 1"),
        (([[1.5, -0.5]], 2, [0, 0]), {}, "must be >= 0"),
        (([[0.5, 0.5]], 2), {}, "must be 0 unless the source"),
        (([[1.0]], 2.5), {}, "sizes must hold integers of 1 or more, got 2.5"),
        (([[1.0]], [1, 2]), {}, r"sizes must have shape .* got \(2,\)"),
        (([[1.0]], 2, [0.0]), {}, "must be 1 integers"),
        (([[1.0]], 2, [-1]), {}, "0 for real rows"),
        (([[1.0]], 1), {"estimator": "unbiased"}, "two rows or more"),
        (([[1.0]], 2), {"sampling_scale": -1}, "sampling_scale must be a finite number .* got -1"),
        (([[1.0]], 2), {"kernel_variance": np.nan}, "kernel_variance .* got nan"),
    ],
)
def test_oracle_rejects(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        moments.second_moments(*arguments, **options)


def test_other_functions_reject():
    with pytest.raises(ValueError, match="n_generations must be 1 or more, got 0"):
        moments.replace_weights(0)
    with pytest.raises(ValueError, match="window must be 1 or more"):
        moments.window_weights(3, 0)
    with pytest.raises(TypeError, match="window"):
        moments.window_weights(3, 1.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises((ValueError, TypeError), match="estimator"):  # TypeError: run-time checks
        moments.second_moments([[1.0]], 2, estimator="map")  # pyright: ignore
    with pytest.raises(ValueError, match=r"sizes must be positive.* got 0"):
        moments.risk_ratio([[1.0]], 0)
