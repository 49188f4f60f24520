"""Determinants, spreads and likelihoods under Replace, against chains that draw every row."""

import numpy as np
import pytest

from collapse_jax.theory import wishart


def simulate(rng, replicates, n, dim, n_generations, unbiased, root):
    """Chains whose truth has the covariance `root @ root.T`, row by row, all statistics."""
    names = ("log_det", "ratio", "nll", "deviation", "wasserstein2")
    out = {name: [] for name in names}
    truth = root @ root.T
    rows = rng.standard_normal((replicates, n, dim)) @ root.T
    for _ in range(n_generations):
        mean = rows.mean(axis=1)
        centred = rows - mean[:, None]
        covariance = np.swapaxes(centred, 1, 2) @ centred / (n - 1 if unbiased else n)
        log_det = np.linalg.slogdet(covariance)[1]
        inverse = np.linalg.inv(covariance)
        quadratic = np.einsum("rij,ji->r", inverse, truth)
        quadratic += np.einsum("ri,rij,rj->r", mean, inverse, mean)
        out["log_det"].append(log_det - np.linalg.slogdet(truth)[1])
        out["ratio"].append(np.linalg.det(covariance) / np.linalg.det(truth))
        out["nll"].append(0.5 * (dim * np.log(2 * np.pi) + log_det + quadratic))
        deviation = np.sqrt(covariance[:, 0, 0] / truth[0, 0])
        out["deviation"].append(deviation)
        out["wasserstein2"].append(mean[:, 0] ** 2 / truth[0, 0] + (deviation - 1) ** 2)
        noise = rng.standard_normal((replicates, n, dim))
        rows = mean[:, None] + noise @ np.swapaxes(np.linalg.cholesky(covariance), 1, 2)
    return {name: np.stack(values, axis=1) for name, values in out.items()}


@pytest.mark.parametrize("estimator", ["mle", "unbiased"])
@pytest.mark.parametrize(("n", "dim"), [(20, 1), (18, 3)])
def test_agrees_with_simulation(rng, brute_force, n, dim, estimator):
    # 4 cases x 3 generations x up to 6 statistics = 66 comparisons; few generations, as the means
    # of determinants and likelihoods are carried by rare chains later
    root = np.tril(rng.normal(size=(dim, dim))) + 2 * np.eye(dim)
    log_det_truth = np.linalg.slogdet(root @ root.T)[1]
    chain = simulate(rng, 20_000, n, dim, 3, estimator == "unbiased", root)
    log_det = wishart.log_det_mean(n, dim, 3, estimator)
    brute_force.check_means(chain["log_det"], log_det)
    squares = (chain["log_det"] - log_det) ** 2
    brute_force.check_means(squares, wishart.log_det_variance(n, dim, 3))
    brute_force.check_means(chain["ratio"], wishart.determinant_mean(n, dim, 3, estimator))
    nll = wishart.nll(n, dim, 3, estimator, log_det_truth=log_det_truth)
    brute_force.check_means(chain["nll"], nll)
    if dim == 1:
        deviation = wishart.variance_power_mean(n, 0.5, 3, estimator)
        brute_force.check_means(chain["deviation"], deviation)
        brute_force.check_means(chain["wasserstein2"], wishart.wasserstein2(n, 3, estimator))


def test_quoted_likelihoods():
    # Monte-Carlo values 1.4842, 1.5699, 1.9924 and 4.8104 of an independent simulation
    values = wishart.nll(20, 1, 12)[[0, 1, 4, 11]]
    np.testing.assert_allclose(values, [1.4842, 1.5701, 1.9927, 4.8100], atol=5.1e-5)


def test_powers_of_the_variance():
    n, t = 9, np.arange(1, 6)
    for estimator, mean in [("mle", (1 - 1 / n) ** t), ("unbiased", np.ones(5))]:
        np.testing.assert_allclose(wishart.variance_power_mean(n, 1, 5, estimator), mean)
    np.testing.assert_allclose(wishart.variance_power_mean(n, 2, 5), (1 - 1 / n**2) ** t)
    unbiased = wishart.variance_power_mean(n, 2, 5, "unbiased")
    np.testing.assert_allclose(unbiased, ((n + 1) / (n - 1)) ** t)
    np.testing.assert_allclose(wishart.variance_power_mean(n, -1, 5), (n / (n - 3)) ** t)
    np.testing.assert_allclose(wishart.determinant_mean(n, 1, 5), (1 - 1 / n) ** t)
    # derivative at power 0 is the mean logarithm
    slope = (wishart.variance_power_mean(n, 1e-6, 5) - 1) / 1e-6
    np.testing.assert_allclose(slope, wishart.log_det_mean(n, 1, 5), rtol=1e-5)


def test_large_samples():
    n = 10**6
    np.testing.assert_allclose(n * wishart.wasserstein2(n, 5), 1.5 * np.arange(1, 6), rtol=1e-4)
    excess = wishart.nll(n, 3, 5) - 1.5 * (np.log(2 * np.pi) + 1)
    parameters = 3 + 6
    np.testing.assert_allclose(n * excess, parameters / 2 * np.arange(1, 6), rtol=1e-3)


def test_singular_and_infinite_cases():
    np.testing.assert_array_equal(wishart.log_det_mean(3, 3, 2), [-np.inf, -np.inf])
    np.testing.assert_array_equal(wishart.log_det_mean(1, 1, 1), [-np.inf])
    np.testing.assert_array_equal(wishart.determinant_mean(3, 4, 2), [0, 0])
    np.testing.assert_array_equal(wishart.nll(5, 3, 2), [np.inf, np.inf])
    assert np.all(np.isfinite(wishart.nll(6, 3, 2)))
    assert wishart.nll(4, 1, 10_000)[-1] == np.inf  # overflow, not NaN and no warning


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wishart.log_det_variance(3, 3, 2), "n_samples must be greater than dim=3, got 3"),
        (lambda: wishart.log_det_mean(3, 0, 2), "dim must be 1 or more, got 0"),
        (lambda: wishart.log_det_mean(1, 1, 2, "unbiased"), "integers of 2 or more, got 1"),
        (lambda: wishart.variance_power_mean(4, -1.5, 2), r"power must .* \(-1.5, inf\), got -1.5"),
        (lambda: wishart.variance_power_mean(1, 1, 2), "n_samples must hold integers of 2 or more"),
        (lambda: wishart.nll(10, 2, 0), "n_generations must be 1 or more"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
