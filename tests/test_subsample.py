"""The subset sampler against the exact uniform law."""

from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from collapse_jax.numerics.subsets import permuted, subset


def many(population, size, n_draws, seed=0):
    keys = jax.random.split(jax.random.key(seed), n_draws)
    draw = jax.jit(jax.vmap(lambda key: subset(key, population, size)))
    return np.asarray(draw(keys))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(0, 100_000), st.integers(0, 2**31))
def test_indices_are_distinct_and_in_range(size, extra, seed):
    indices = np.asarray(
        jax.jit(subset, static_argnums=2)(jax.random.key(seed), size + extra, size)
    )
    assert len(set(indices.tolist())) == size
    assert indices.min() >= 0
    assert indices.max() < size + extra


@pytest.mark.parametrize(
    ("population", "size"), [(2, 1), (3, 2), (4, 2), (6, 3), (8, 4), (9, 3), (12, 2), (30, 2)]
)
def test_every_subset_is_equally_likely(population, size):
    indices = np.sort(many(population, size, 400_000), axis=1)
    code, observed = np.unique(indices @ population ** np.arange(size), return_counts=True)
    assert len(code) == comb(population, size)
    assert stats.chisquare(observed).pvalue > 1e-4


@pytest.mark.parametrize(("population", "size"), [(6, 3), (12, 4), (200, 100)])
def test_every_position_is_uniform(population, size):
    """The order is random too: each place in the subset is a uniform index."""
    indices = many(population, size, 40_000, seed=1)
    for place in (0, size // 2, size - 1):
        observed = np.bincount(indices[:, place], minlength=population)
        assert stats.chisquare(observed).pvalue > 1e-5


@pytest.mark.parametrize(("blocks", "size"), [(2, 100), (3, 32), (10, 100), (40, 10), (9, 500)])
def test_counts_per_block_are_hypergeometric(blocks, size):
    """How many rows of the first block are picked, the share of real data, has its exact law."""
    picked = np.sum(many(blocks * size, size, 20_000, seed=2) < size, axis=1)
    law = stats.hypergeom(blocks * size, size, size)
    support = np.arange(size + 1)
    expected = law.pmf(support) * len(picked)
    observed = np.bincount(picked, minlength=size + 1)
    keep = expected > 5
    table = np.append(observed[keep], observed[~keep].sum())
    theory = np.append(expected[keep], expected[~keep].sum())
    if theory[-1] < 1e-9:
        table, theory = table[:-1], theory[:-1]
    assert stats.chisquare(table, theory * table.sum() / theory.sum()).pvalue > 1e-5


@pytest.mark.parametrize(("population", "size"), [(64, 32), (1000, 100), (5000, 500)])
def test_pairs_are_picked_together_at_the_exact_rate(population, size):
    n_draws = 10_000
    indices = many(population, size, n_draws, seed=3)
    chosen = np.zeros((n_draws, population), np.float32)
    chosen[np.arange(n_draws)[:, None], indices] = 1.0
    together = (chosen.T @ chosen)[np.triu_indices(population, 1)]
    rate = size * (size - 1) / (population * (population - 1))
    z = (together - n_draws * rate) / np.sqrt(n_draws * rate * (1 - rate))
    # Under the uniform law the z are nearly standard normal: neither too wide nor too narrow.
    limit = stats.norm.isf(1e-5 / len(z))
    assert np.abs(z).max() < limit
    assert abs(np.mean(z**2) - 1.0) < 0.15


def test_the_population_may_be_traced():
    traces = []

    @jax.jit
    def draw(key, population):
        traces.append(population)
        return subset(key, population, 4)

    largest = [int(draw(jax.random.key(0), n).max()) for n in (4, 50, 1000)]
    assert len(traces) == 1
    assert largest[0] == 3


@pytest.mark.parametrize("population", [1, 7, 12, 500])
def test_parts_of_a_permutation_make_up_the_whole(population):
    """Image by image or all at once: the same permutation, which hits everything once."""
    key = jax.random.key(4)
    whole = permuted(key, population, jnp.arange(population))
    one_by_one = jax.vmap(lambda i: permuted(key, population, i[None])[0])(jnp.arange(population))
    np.testing.assert_array_equal(whole, one_by_one)
    assert sorted(whole.tolist()) == list(range(population))
    np.testing.assert_array_equal(
        whole[: population // 2], subset(key, population, population // 2)
    )
