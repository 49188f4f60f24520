"""Operators of a curation, each against a plain twin that sees the same candidates."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rewards import VALUES, value
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.loop.curation.candidates import ROUNDS, Candidates
from collapse_jax.loop.curation.judge import Judge
from collapse_jax.numerics.subsets import largest
from collapse_jax.theory import curation as theory

P = np.array([0.4, 0.3, 0.2, 0.1])
TASK = cj.Categorical(probabilities=P, n_samples=10)
JUDGE = Judge(TASK, None, lambda rows: rows, lambda: (jnp.arange(4), None), 1)
N = 7


def draw(key, n):
    return Candidates.of_model(jax.random.choice(key, 4, (n,), p=jnp.asarray(P, jnp.float32)))


@pytest.mark.parametrize("n", [1, 6, 11])
def test_the_largest_values_are_found(n):
    rng = np.random.default_rng(n)
    values = np.concatenate([rng.normal(size=(50, 11)), rng.integers(-2, 2, (50, 11))])
    values[60:] *= np.where(rng.uniform(size=(40, 11)) < 0.3, 1e30, 1.0)
    values[80:, :4] = -np.inf
    values[:9, 2] = -0.0
    found = jax.vmap(lambda x: largest(x, n))(jnp.float32(values))
    order = np.argsort(-np.float32(values), axis=1, kind="stable")
    np.testing.assert_array_equal(found, np.sort(order[:, :n], axis=1))


def curate(operators, key, n=N):
    source = draw
    for operator in operators:
        source = partial(operator.curate, source, JUDGE)
    return source(key, n)


def keys(n=40):
    return jax.random.split(jax.random.key(3), n)


def fold(key, i):
    return jax.random.fold_in(key, i)


def best_share(keep, key, n, source):
    """The best n of n / keep candidates, in the order in which they came."""
    total = round(n / keep)
    rows = np.concatenate([source(fold(key, i), n) for i in range(-(-total // n))])[:total]
    chosen = np.sort(np.argsort(-np.asarray(VALUES)[rows], kind="stable")[:n])
    return rows[chosen], total


def plain(key, n):
    return np.asarray(draw(key, n).rows)


@pytest.mark.parametrize("keep", [1.0, 0.5, 0.3, 0.04])
def test_a_filter_takes_the_best_of_its_candidates(keep):
    made = jax.jit(jax.vmap(lambda key: curate([cj.Filter(value, keep)], key)))(keys())
    for i, key in enumerate(keys()):
        rows, total = best_share(keep, key, N, plain)
        np.testing.assert_array_equal(made.rows[i], rows)
        assert made.taken[i] == pytest.approx(total, rel=1e-5)
    assert np.all(made.full & made.finite)


def accepted(least, key, n, source):
    """Candidates one by one, until there are enough."""
    rows, seen = [], 0
    for i in range(ROUNDS):
        for row in source(fold(fold(key, i), 0), n):
            seen += 1
            rows += [row] if VALUES[row] >= least else []
            if len(rows) == n:
                return np.array(rows), seen
    raise AssertionError


def test_a_threshold_takes_the_first_that_are_good_enough():
    made = jax.jit(jax.vmap(lambda key: curate([cj.Threshold(value, 1.0)], key)))(keys())
    for i, key in enumerate(keys()):
        rows, seen = accepted(1.0, key, N, plain)
        np.testing.assert_array_equal(made.rows[i], rows)
        assert made.taken[i] == pytest.approx(seen, rel=1e-5)
    assert len(set(made.taken.tolist())) > 5  # chains need not take the same number


def test_operators_compose_in_their_order():
    operators = [cj.Threshold(value, 0.0), cj.Filter(value, 0.4)]
    made = jax.jit(jax.vmap(lambda key: curate(operators, key)))(keys(10))
    other = jax.jit(jax.vmap(lambda key: curate(operators[::-1], key)))(keys(10))
    for i, key in enumerate(keys(10)):
        verified = best_share(0.4, key, N, lambda key, n: accepted(0.0, key, n, plain)[0])
        np.testing.assert_array_equal(made.rows[i], verified[0])
        filtered = accepted(0.0, key, N, lambda key, n: best_share(0.4, key, n, plain)[0])
        np.testing.assert_array_equal(other.rows[i], filtered[0])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_best_of_k_has_the_law_of_the_integral(k):
    n = 20_000
    made = jax.jit(lambda key: curate([cj.BestOf(value, k)], key, n))(jax.random.key(1))
    assert made.taken == n * k
    taken = np.eye(4)[np.asarray(made.rows)]
    assert_mean(taken, theory.best_of(P, np.asarray(VALUES), k))


def test_best_of_two_at_a_time_is_not_best_of_four():
    n = 20_000
    twice = [cj.BestOf(value, 2), cj.BestOf(value, 2)]
    made = jax.jit(lambda key: curate(twice, key, n))(jax.random.key(1))
    law = theory.best_of(theory.best_of(P, np.asarray(VALUES), 2), np.asarray(VALUES), 2)
    assert made.taken == 4 * n
    assert_mean(np.eye(4)[np.asarray(made.rows)], law)


def test_what_is_never_good_enough_is_given_up():
    made = jax.jit(lambda key: curate([cj.Threshold(value, 9.0)], key))(jax.random.key(1))
    assert not made.full
    assert made.taken == pytest.approx(ROUNDS * N, rel=1e-4)


@pytest.mark.parametrize("size", [5, 64, 100])
def test_the_nearest_rows_are_found(size):
    rng = np.random.default_rng(0)
    real, new = rng.normal(size=(size, 3)), rng.normal(size=(30, 3))
    valid = np.arange(size) < size - 2
    judge = Judge(
        cj.KernelDensity(),
        None,
        lambda rows: rows,
        lambda: (jnp.float32(real), jnp.array(valid)),
        1,
    )
    distance = np.linalg.norm(new[:, None] - real[valid], axis=2).min(axis=1)
    np.testing.assert_allclose(judge.distance(jnp.float32(new)), distance, rtol=1e-5)


COVARIANCE = np.array([[4.0, 1.5, 0.0], [1.5, 2.0, -0.5], [0.0, -0.5, 1.0]])


@pytest.mark.parametrize("covariance", [2.0, [1.0, 4.0, 9.0], COVARIANCE, 1e40 * COVARIANCE])
def test_rows_of_a_gaussian_are_shown_in_units_of_the_user(covariance):
    full = np.diag(np.broadcast_to(covariance, 3)) if np.ndim(covariance) < 2 else covariance
    scale = np.sqrt(np.max(full))
    task = cj.Gaussian(3, mean=[1.0, 2.0, 3.0], covariance=covariance)
    shown = np.asarray(task.shown(None, jnp.concatenate([jnp.zeros((1, 3)), jnp.eye(3)])))
    if scale > 1e19:  # squares are no numbers, the rows are
        shown = shown.astype(np.float64)
    factor = (shown[1:] - shown[0]) / scale
    np.testing.assert_allclose(factor.T @ factor, full / scale**2, atol=1e-5)
    np.testing.assert_allclose(shown[0], [1.0, 2.0, 3.0], rtol=1e-6)


def test_rows_of_data_are_shown_as_they_were_given():
    rows = np.random.default_rng(2).normal(size=(40, 2)) @ [[3.0, 1.0], [0.0, 0.2]] + [5.0, -2.0]
    task = cj.Gaussian(data=rows)
    shown = np.asarray(task.shown(None, task.train))
    near = np.abs(shown[:, None] - rows).max(axis=2).min(axis=1)
    assert len(shown) == 30
    assert near.max() < 1e-5


def test_rows_of_a_gamma_law_are_shown_as_they_are():
    task = cj.ExponentialFamily("exponential", mean=3.0)
    np.testing.assert_allclose(task.shown(None, jnp.log(jnp.array([0.5, 2.0]))), [1.5, 6.0], 1e-6)
