"""Categorical chains: closed forms and bounds against the exact chain and against simulation."""

import numpy as np
import pytest
from scipy.stats import binom

from collapse_jax.theory import categorical, gaussian, mixing, wright_fisher

TRUTH = np.array([0.5, 0.3, 0.15, 0.05])


def collisions(frequencies):
    return np.sum(frequencies**2, axis=-1)


@pytest.mark.parametrize("workflow", ["replace", "accumulate", "accumulate_subsample"])
@pytest.mark.parametrize("population", [None, 20])
def test_collision_agrees_with_simulation(rng, brute_force, workflow, population):
    # 6 cases x 8 generations = 48 comparisons
    n, replicates, samples = 7, 20_000, []
    if population is None:
        pool = rng.multinomial(n, TRUTH, size=replicates)
    else:
        counts = np.round(TRUTH * population).astype(int)
        pool = rng.multivariate_hypergeometric(counts, n, size=replicates)
    for _ in range(8):
        chosen = pool
        if workflow == "accumulate_subsample":
            chosen = hypergeometric_rows(rng, pool, n)
        model = chosen / chosen.sum(axis=1, keepdims=True)
        samples.append(collisions(model))
        new = rng.multinomial(n, model)
        pool = new if workflow == "replace" else pool + new
    moments = getattr(gaussian, f"{workflow}_moments")(n, 8)
    if population is not None:
        moments = gaussian.from_finite_population(moments, population)
    exact = categorical.collision(TRUTH, moments.covariance)
    brute_force.check_means(np.stack(samples, axis=1), exact)


def hypergeometric_rows(rng, pool, n):
    """Draws n of each row's counts without replacement, one outcome after the other."""
    left, chosen = np.full(len(pool), n), np.zeros_like(pool)
    for i in range(pool.shape[1]):
        others = pool[:, i + 1 :].sum(axis=1)
        chosen[:, i] = rng.hypergeometric(pool[:, i], others, left)
        left = left - chosen[:, i]
    return chosen


@pytest.mark.parametrize("population", [None, 20])
def test_exact_chain_agrees_with_simulation(rng, brute_force, population):
    # 2 cases x 12 generations x 4 statistics = 96 comparisons
    n, replicates = 8, 20_000
    if population is None:
        counts = rng.multinomial(n, TRUTH, size=replicates)
    else:
        urn = np.round(TRUTH * population).astype(int)
        counts = rng.multivariate_hypergeometric(urn, n, size=replicates)
    samples = {"extinct": [], "entropy": [], "fixed": [], "collision": []}
    for _ in range(12):
        p = counts / n
        samples["extinct"].append(np.sum(counts == 0, axis=1))
        samples["fixed"].append(np.any(counts == n, axis=1))
        samples["entropy"].append(-np.sum(p * np.log(np.where(p > 0, p, 1)), axis=1))
        samples["collision"].append(collisions(p))
        counts = rng.multinomial(n, p)
    spectrum = wright_fisher.count_spectrum(TRUTH, n, 12, population=population)
    exact = {
        "extinct": spectrum[:, 0],
        "entropy": wright_fisher.entropy(spectrum),
        "fixed": spectrum[:, -1],
        "collision": spectrum @ np.linspace(0, 1, n + 1) ** 2,
    }
    for name, values in samples.items():
        brute_force.check_means(np.stack(values, axis=1).astype(float), exact[name])


@pytest.mark.parametrize("n", [1, 2, 9, 60])
def test_exact_chain_keeps_its_invariants(n):
    spectrum = wright_fisher.count_spectrum(TRUTH, n, 25)
    frequencies = np.linspace(0, 1, n + 1)
    np.testing.assert_allclose(spectrum.sum(axis=1), 4)
    np.testing.assert_allclose(spectrum @ frequencies, 1)
    factors = gaussian.replace_moments(n, 25).covariance
    collision = categorical.collision(TRUTH, factors)
    np.testing.assert_allclose(spectrum @ frequencies**2, collision)


def test_exact_chain_handles_many_outcomes_in_blocks():
    probabilities = np.arange(1.0, 50_001)
    probabilities /= probabilities.sum()
    spectrum = wright_fisher.count_spectrum(probabilities, 60, 1)
    assert spectrum.sum() == pytest.approx(50_000)
    assert spectrum[0, 0] == pytest.approx(wright_fisher.n_unseen(probabilities, 60))


def test_data_set_without_replacement():
    whole = wright_fisher.count_spectrum(TRUTH, 20, 1, population=20)
    np.testing.assert_allclose(np.flatnonzero(whole[0] > 1e-12), [1, 3, 6, 10])
    exact = wright_fisher.count_spectrum(TRUTH, 7, 1, population=20)[0, 0]
    assert wright_fisher.n_unseen(TRUTH, 7, population=20) == pytest.approx(exact)
    # single-precision frequencies of a large data set are recognised
    single = np.array([1 / 3, 2 / 3], dtype=np.float32)
    assert wright_fisher.n_unseen(single, 5, population=3_000_000) == pytest.approx(
        (1 / 3) ** 5 + (2 / 3) ** 5, rel=1e-4
    )


@pytest.mark.parametrize(("n_r", "n_s"), [(1, 1), (5, 5), (3, 40), (40, 3)])
def test_partially_synthetic_closed_form_is_the_mixing_recursion(n_r, n_s):
    closed = categorical.partially_synthetic_collision(TRUTH, n_r, n_s, 30)
    factors = mixing.mixed_moments(n_r, n_s, 30).covariance
    np.testing.assert_allclose(closed, categorical.collision(TRUTH, factors), rtol=1e-12)
    start = TRUTH @ TRUTH
    limit = start + (1 - start) * (n_r + 3 * n_s) / (n_r**2 + 2 * n_r * n_s + n_s)
    factor = mixing.mixed_limit(n_r, n_s)[1]
    assert categorical.collision(TRUTH, factor) == pytest.approx(limit)
    # a point mass stays one: this fails with the sign printed in the paper
    certain = categorical.partially_synthetic_collision([1.0, 0.0], n_r, n_s, 5)
    np.testing.assert_allclose(certain, 1)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 80])
@pytest.mark.parametrize("probabilities", [TRUTH, np.full(30, 1 / 30), [0.5, 0.5], [1.0]])
def test_bounds_hold_for_the_exact_chain(n, probabilities):
    fixed = wright_fisher.count_spectrum(probabilities, n, 200)[:, -1]
    lower, upper = categorical.fixation_bounds(probabilities, n, 200)
    assert np.all(lower <= fixed + 1e-12)
    assert np.all(fixed <= upper + 1e-12)
    time = wright_fisher.mean_collapse_time(probabilities, n)
    low, high = categorical.collapse_time_bounds(probabilities, n)
    assert low - 1e-9 <= time <= high + 1e-9
    start = float(np.square(probabilities).sum())
    t = np.arange(1, 201)
    assert np.all(lower >= 1 - n * (1 - start) * (1 - 1 / n) ** t - 1e-12)  # Seddik et al.
    assert high <= 1 + (1 - start) * n * (n - 1) + 1e-9 or n <= 3


def test_two_outcomes_make_the_bounds_tight():
    # with n = 2 every model that is not fixed is (1/2, 1/2)
    fixed = wright_fisher.count_spectrum([0.4, 0.6], 2, 10)[:, -1]
    for bound in categorical.fixation_bounds([0.4, 0.6], 2, 10):
        np.testing.assert_allclose(bound, fixed)


def test_mean_collapse_time_is_the_sum_of_the_tail():
    spectrum = wright_fisher.count_spectrum(TRUTH, 10, 1000)
    expected = 1 + np.sum(1 - spectrum[:, -1])
    assert wright_fisher.mean_collapse_time(TRUTH, 10) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("probabilities", "n", "simulated", "error"),
    [(np.full(10, 0.1), 50, 93.4, 1.0), (TRUTH, 200, 310.5, 3.8)],
)
def test_collapse_time_against_quoted_simulations(probabilities, n, simulated, error):
    exact = wright_fisher.mean_collapse_time(probabilities, n)
    assert abs(exact - simulated) < 4 * error
    assert categorical.collapse_time(probabilities, n) == pytest.approx(exact, rel=0.03)


def test_collapse_time_limits():
    uniform = categorical.collapse_time(np.full(10**5, 1e-5), 100)
    assert uniform == pytest.approx(200, rel=1e-4)
    assert categorical.collapse_time([1.0, 0.0], 10) == 0
    ratios = [
        wright_fisher.mean_collapse_time(TRUTH, n) / categorical.collapse_time(TRUTH, n)
        for n in (10, 100, 800)
    ]
    np.testing.assert_allclose(ratios[-1], 1, atol=0.005)
    assert np.all(np.diff(np.abs(np.subtract(ratios, 1))) < 0)


def test_branching_survival(rng, brute_force):
    counts, alive = rng.poisson(4.0, size=50_000), []
    for _ in range(20):  # 20 comparisons
        alive.append(counts > 0)
        counts = rng.poisson(counts)
    exact = 1 - np.exp(-4 * wright_fisher.branching_survival(20))
    brute_force.check_means(np.stack(alive, axis=1).astype(float), exact)
    long = wright_fisher.branching_survival(100_000) * np.arange(1, 100_001)
    assert long[-1] == pytest.approx(2, abs=1e-3)
    assert np.all((long >= 1) & (long <= 3))


@pytest.mark.parametrize("n", [10, 100, 400])
@pytest.mark.parametrize("probability", [0.0, 0.0003, 0.004, 0.05, 0.5, 1.0])
def test_survival_bounds_hold_for_the_exact_chain(n, probability):
    counts = np.arange(n + 1)
    law = binom.pmf(counts, n, probability)
    transition = binom.pmf(counts, n, counts[:, None] / n)
    alive = np.empty(60)
    for t in range(60):
        alive[t] = 1 - law[0]
        law = law @ transition
    lower, upper = wright_fisher.survival_bounds(probability, n, 60)
    assert np.all(lower <= alive + 1e-12)
    assert np.all(alive <= upper + 1e-12)
    assert lower[0] == pytest.approx(alive[0])


def test_extinct_outcomes_are_bounded_and_sharp_when_rare():
    probabilities = np.full(300, 1 / 300)
    exact = wright_fisher.count_spectrum(probabilities, 300, 30)[:, 0]
    bound = wright_fisher.n_extinct(probabilities, 300, 30)
    assert np.all(bound >= exact - 1e-9)
    assert bound[0] == pytest.approx(exact[0])
    np.testing.assert_allclose(bound, exact, rtol=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: categorical.collision([0.5, 0.6], 1), "sum 1.1"),
        (lambda: categorical.collision([1.5, -0.5], 1), "minimum -0.5"),
        (lambda: categorical.collision([[1.0]], 1), r"shape \(1, 1\)"),
        (lambda: categorical.fixation_bounds(TRUTH, 0, 3), "n_samples must be 1 or more"),
        (
            lambda: categorical.partially_synthetic_collision(TRUTH, 0, 1, 3),
            "n_real must be 1",
        ),
        (lambda: wright_fisher.survival_bounds(1.2, 5, 3), "probability must .* got 1.2"),
        (
            lambda: wright_fisher.n_unseen(TRUTH, 7, population=6),
            "population must be 7 or more, got 6",
        ),
        (lambda: wright_fisher.n_unseen(TRUTH, 7, population=9), "frequencies among population=9"),
        (lambda: wright_fisher.count_spectrum(TRUTH, 7, 0), "n_generations must be 1 or more"),
        (lambda: wright_fisher.count_spectrum(TRUTH, 7, 1, population=9), "population=9"),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
