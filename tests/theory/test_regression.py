"""Linear regression against chains that draw designs, noise and labels."""

import numpy as np
import pytest

from collapse_jax.theory import regression, risk


def simulate(rng, replicates, n, dim, n_generations, noise, design, accumulates):
    """Squared errors of minimum-norm least squares, `[replicate, generation]`."""
    truth = rng.standard_normal((replicates, dim, 1))
    weights, xs, ys, errors = truth, [], [], []
    fixed = rng.standard_normal((replicates, n, dim))
    for _ in range(n_generations):
        x = fixed if design == "fixed" else rng.standard_normal((replicates, n, dim))
        y = x @ weights + np.sqrt(noise) * rng.standard_normal((replicates, n, 1))
        xs, ys = ([*xs, x], [*ys, y]) if accumulates else ([x], [y])
        weights = np.linalg.pinv(np.concatenate(xs, 1)) @ np.concatenate(ys, 1)
        errors.append(np.sum((weights - truth) ** 2, axis=(1, 2)))
    return np.stack(errors, axis=1)


@pytest.mark.parametrize("design", ["fixed", "fresh"])
@pytest.mark.parametrize("accumulates", [False, True])
@pytest.mark.parametrize(("n", "dim"), [(12, 3), (3, 10), (2, 12)])
def test_agrees_with_simulation(rng, brute_force, n, dim, accumulates, design):
    # 12 cases x 4 generations = 48 comparisons; n = 3, d = 10 passes through n t = 9 = d - 1
    errors = simulate(rng, 4000, n, dim, 4, 0.5, design, accumulates)
    function = regression.accumulate_error if accumulates else regression.replace_error
    exact = function(n, dim, 4, noise=0.5, design=design)
    finite = np.isfinite(exact)
    assert np.all(finite) or (accumulates and design == "fresh" and n == 3)
    brute_force.check_means(errors[:, finite], exact[finite])


def test_accumulating_fresh_designs_may_pass_interpolation_unharmed(rng, brute_force):
    # n t = 8, 16, 24 around d = 20: under- and overdetermined fits, both finite (and far enough
    # from d for a finite variance); 3 comparisons
    exact = regression.accumulate_error(8, 20, 3, noise=0.2, design="fresh")
    errors = simulate(rng, 2000, 8, 20, 3, 0.2, "fresh", True)
    assert np.all(np.isfinite(exact))
    brute_force.check_means(errors, exact)


def test_closed_forms():
    t = np.arange(1, 31)
    base = 2.0 * 7 / (20 - 7 - 1)
    for design in ("fixed", "fresh"):
        replace = regression.replace_error(20, 7, 30, noise=2.0, design=design)
        np.testing.assert_allclose(replace, base * t)
    accumulate = regression.accumulate_error(20, 7, 30, noise=2.0)
    np.testing.assert_allclose(accumulate, base * np.cumsum(1 / t**2))
    fresh = regression.accumulate_error(20, 7, 30, noise=2.0, design="fresh")
    np.testing.assert_allclose(fresh, np.cumsum(2.0 * 7 / (t * (20 * t - 8))))
    subsample = regression.accumulate_subsample_error(20, 7, 30, noise=2.0)
    np.testing.assert_allclose(subsample, base * risk.accumulate_subsample_risk_ratio(30))


def test_limits():
    # fresh designs with n < d forget the truth, and their noise settles
    error = regression.replace_error(10, 20, 500, noise=3.0, design="fresh", signal=2.0)[-1]
    assert error == pytest.approx(2.0 * 20 + regression.noise_error(10, 20, 3.0) / (1 - 10 / 20))
    # many rows: the fresh design is no better than the fixed one
    many = [regression.accumulate_error(10**6, 5, 20, design=d) for d in ("fixed", "fresh")]
    np.testing.assert_allclose(*many, rtol=1e-4)


def test_subsample_is_the_large_sample_value(rng):
    # the theory is asymptotic: allow the statistical error plus a relative error of 4 d/n
    n, dim, replicates = 120, 2, 800
    x = rng.standard_normal((replicates, n, dim))
    weights = np.zeros((replicates, dim, 1))
    pool_y, errors = np.zeros((replicates, 0)), []
    for t in range(1, 6):
        y = (x @ weights)[..., 0] + rng.standard_normal((replicates, n))
        pool_y = np.concatenate([pool_y, y], axis=1)
        chosen = np.argpartition(rng.random((replicates, t * n)), n - 1, axis=1)[:, :n]
        rows = np.take_along_axis(x, chosen[..., None] % n, axis=1)
        labels = np.take_along_axis(pool_y, chosen, axis=1)[..., None]
        weights = np.linalg.pinv(rows) @ labels
        errors.append(np.sum(weights**2, axis=(1, 2)))
    errors = np.stack(errors, axis=1)
    expected = regression.accumulate_subsample_error(n, dim, 5)
    slack = 4.5 * errors.std(axis=0) / np.sqrt(replicates) + 4 * dim / n * expected
    assert np.all(np.abs(errors.mean(axis=0) - expected) < slack)


def test_infinite_cases():
    for n in (4, 5, 6):
        assert np.all(np.isinf(regression.replace_error(n, 5, 2)))
        assert np.all(np.isinf(regression.accumulate_error(n, 5, 2)))
    passing = regression.accumulate_error(2, 5, 5, design="fresh")
    np.testing.assert_array_equal(np.isinf(passing), [False, True, True, True, True])
    assert regression.replace_error(5, 5, 3, noise=0.0)[-1] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regression.replace_error(0, 5, 2), "n_samples must be 1 or more, got 0"),
        (lambda: regression.replace_error(9, 5, 2, noise=-1), "noise must .* got -1"),
        (lambda: regression.replace_error(9, 5, 2, signal=-1), "signal must .* got -1"),
        (lambda: regression.accumulate_error(9, 5, 0), "n_generations must be 1 or more"),
        (
            lambda: regression.accumulate_subsample_error(6, 5, 2),
            "n_samples .* 7 or more, got 6",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rejects_unknown_options():
    with pytest.raises((ValueError, TypeError), match="design"):  # TypeError: run-time checks
        regression.accumulate_error(9, 5, 2, design="new")  # pyright: ignore
