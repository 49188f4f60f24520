"""The law of the best of k candidates against enumeration, and what follows from it."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from collapse_jax.theory import curation

P = np.array([0.5, 0.2, 0.0, 0.3])
R = np.array([0.3, -1.0, 5.0, 1.2])


def enumerated(p, r, k):
    """Over all sequences of k candidates."""
    taken = np.zeros(len(p))
    for outcomes in itertools.product(range(len(p)), repeat=k):
        weights = np.exp(r[list(outcomes)])
        np.add.at(taken, list(outcomes), np.prod(p[list(outcomes)]) * weights / weights.sum())
    return taken


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_the_integral_is_the_sum_over_all_candidates(k):
    np.testing.assert_allclose(curation.best_of(P, R, k), enumerated(P, R, k), atol=1e-13)


@pytest.mark.parametrize("spread", [1e-3, 30.0, 600.0])
def test_the_integral_holds_for_all_ranges_of_rewards(spread):
    rewards = spread * np.array([0.0, 0.5, 1.0])
    law = curation.best_of([0.2, 0.3, 0.5], rewards, 3)
    np.testing.assert_allclose(law, enumerated(np.array([0.2, 0.3, 0.5]), rewards, 3), atol=1e-12)


def test_many_candidates_are_the_limit():
    limit = curation.best_of(P, R, np.inf)
    np.testing.assert_allclose(limit, P * np.exp(R) / (P @ np.exp(R)))
    gaps = [np.abs(curation.best_of(P, R, k) - limit).max() for k in (100, 1000, 10_000)]
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.1)
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("k", [1, 2, 4, 50])
def test_rewards_rise_as_proved(k):
    rng = np.random.default_rng(k)
    for _ in range(20):
        p, r = rng.dirichlet(np.ones(5)), rng.normal(size=5)
        assert curation.best_of(p, r, k) @ np.exp(r) >= curation.reward_bound(p, r, k) - 1e-12


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_the_fixed_point_is_where_the_recursion_goes(share):
    path = curation.selected(P, R, np.inf, 400, share=share)
    np.testing.assert_allclose(path[-1], curation.fixed_point(P, R, share), atol=1e-9)


def test_the_table_of_the_critical_accuracy():
    """Labels of two normal classes whose means are 1.5 deviations from the middle."""
    assert curation.critical_accuracy(0.6, 0.3) == pytest.approx(1 / 3)
    assert curation.critical_accuracy(1.0, 1.0) == 0.5
    right = norm.cdf(1.5)
    for accuracy, limit in {0.2: 1 - right, 0.3: 1 - right, 0.37: right, 0.5: right}.items():
        assert curation.limit_accuracy(accuracy, 0.6, 0.3, 1.5) == pytest.approx(limit)
    assert curation.label_accuracy(1 / 3, 0.6, 0.3) == pytest.approx(0.5)


def test_a_verifier_contracts():
    kappa = 1 - 2 * norm.pdf(1) / (2 * norm.cdf(1) - 1)  # variance of what is within 1 deviation
    draws = np.random.default_rng(0).normal(size=400_000)
    assert np.var(draws[np.abs(draws) < 1]) == pytest.approx(kappa, rel=0.01)
    errors = curation.verified(0.01, 1.0, 100, start=4.0)
    assert errors[0] == pytest.approx(4.01)
    assert errors[-1] == pytest.approx(kappa * 0.01 / (1 - kappa**2))


def edited(x, shares, fixed, runs, rng):
    """The loop itself, row by row."""
    n = len(x)
    pinv, errors = np.linalg.pinv(x), np.zeros((runs, len(shares)))
    for run in range(runs):
        y, uniform = rng.normal(size=n), fixed
        for t, share in enumerate(shares):
            w = pinv @ y
            errors[run, t] = w @ w
            uniform = rng.uniform(size=n) if fixed is None else fixed
            y = np.where(uniform < share, x @ w + rng.normal(size=n), y)
    return errors


@pytest.mark.parametrize("mask", ["independent", "fixed"])
def test_edited_labels(mask):
    rng = np.random.default_rng(5)
    x, shares = rng.normal(size=(12, 2)), np.array([0.5, 0.2, 0.8, 0.5])
    fixed = np.random.default_rng(3).uniform(size=12) if mask == "fixed" else None
    errors = edited(x, shares, fixed, 4000, rng)
    expected = curation.edit_error(x, shares, 4, mask, seed=3)
    assert np.all(np.abs(errors.mean(0) - expected) < 5 * errors.std(0) / np.sqrt(4000))


def test_bad_arguments():
    for call in (
        lambda: curation.best_of(P, R[:2], 2),
        lambda: curation.best_of(P, R, 0),
        lambda: curation.fixed_point(P, R, 1.5),
        lambda: curation.best_of_two_outcomes(P, R, 2, 5, 3),
        lambda: curation.label_accuracy(1.0, 0.0, 0.3),
        lambda: curation.critical_accuracy(0.0, 0.0),
        lambda: curation.verified(0.1, 0.0, 3),
        lambda: curation.edit_ratio([0.1, 0.2], 2, "fixed"),
        lambda: curation.unbiased_weight(10, 1.0),
    ):
        with pytest.raises(ValueError, match="must"):
            call()
