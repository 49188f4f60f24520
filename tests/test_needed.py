"""Work that only some chains need: the same numbers as for each chain by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from collapse_jax.numerics import counts
from collapse_jax.numerics.needed import until_accepted, where_needed

FEW, ODD, MANY = 48, 1003, 1024  # chains: all go on together, as do 1003, or in groups


def assert_same(found, expected):
    """Up to the rounding of another program."""
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def attempt(key, least):
    """An exponential draw beyond some least value, accepted in 5 to 60 of 100 cases."""
    drawn = jax.random.exponential(key, least.shape) * jnp.sqrt(1.0 + least**2)
    return drawn, drawn > least


def draw(key, least, done):
    return until_accepted(attempt, key, least, jnp.full(least.shape, -1.0), done)


def chains(n, m, seed=0):
    keys = jax.random.split(jax.random.key(seed), n)
    least = jax.random.uniform(jax.random.key(seed + 1), (n, m), maxval=3.0, minval=0.5)
    return keys, least, jax.random.bernoulli(jax.random.key(seed + 2), 0.2, (n, m))


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("n", [FEW, ODD, MANY])
def test_chains_draw_what_they_draw_alone(n, m):
    keys, least, done = chains(n, m)
    together = jax.jit(jax.vmap(draw))(keys, least, done)
    for i in (0, 1, n // 2, n - 1):
        assert_same(together[i], draw(keys[i], least[i], done[i]))
    assert bool(jnp.all(together[~done] > least[~done]))
    assert bool(jnp.all(together[done] == -1.0))


def test_chains_may_share_what_is_drawn_from():
    keys, least, done = chains(MANY, 2)
    shared = jax.vmap(draw, (0, None, None))(keys, least[0], done[0])
    own = jax.vmap(draw)(keys, jnp.tile(least[0], (MANY, 1)), jnp.tile(done[0], (MANY, 1)))
    assert_same(shared, own)


def test_models_within_chains_draw_what_they_draw_alone():
    keys, least, done = chains(2 * MANY, 1)
    within = (x.reshape(MANY, 2, *x.shape[1:]) for x in (keys, least, done))
    nested = jax.vmap(jax.vmap(draw))(*within)
    assert_same(nested.reshape(-1, 1), jax.vmap(draw)(keys, least, done))


@pytest.mark.parametrize("n", [FEW, MANY])
def test_nothing_is_drawn_where_all_is_done(n):
    """Else this would never end."""
    keys, least, _ = chains(n, 2)
    found = jax.vmap(draw)(keys, jnp.full_like(least, jnp.inf), jnp.ones(least.shape, bool))
    assert bool(jnp.all(found == -1.0))


def test_one_chain_that_takes_long_is_waited_for():
    keys, least, done = chains(MANY, 1)
    hard = least.at[77].set(7.0)  # accepted once in 370 times
    together = jax.vmap(draw)(keys, hard, jnp.zeros_like(done))
    assert_same(together[77], draw(keys[77], hard[77], jnp.zeros(1, bool)))


def test_draws_have_no_slope():
    keys, least, done = chains(MANY, 2)
    one = jnp.ones_like(least)

    def both(x):
        drawn = jax.vmap(draw)(keys, x, done)
        return drawn + jax.vmap(lambda done, x: where_needed(done, jnp.sqrt, x, x))(done, x)

    _, slope = jax.jvp(both, (least,), (one,))
    np.testing.assert_array_equal(slope, jnp.zeros_like(least))
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(both(x) + x))(least), one)


@pytest.mark.parametrize("n", [1, MANY])
def test_a_branch_is_taken_where_some_chain_needs_it(n):
    taken = []

    def make(x):
        jax.debug.callback(lambda: taken.append(1))
        return jnp.sqrt(x)

    x = jnp.arange(2.0 * n).reshape(n, 2) + 1.0
    call = jax.vmap(lambda needed, x: where_needed(needed, make, x, x))
    none, one = jnp.zeros((n, 2), bool), jnp.zeros((n, 2), bool).at[-1, 0].set(True)
    np.testing.assert_array_equal(call(none, x), x)
    jax.effects_barrier()
    assert not taken
    np.testing.assert_array_equal(call(one, x), x.at[-1, 0].set(jnp.sqrt(x[-1, 0])))
    jax.effects_barrier()
    assert taken


@pytest.mark.parametrize("mean", [0.3, 8.0, 50.0, 3000.0, 1e5])
def test_counts_of_many_chains_are_those_of_one(mean):
    keys = jax.random.split(jax.random.key(4), MANY)
    rate = mean * jax.random.uniform(jax.random.key(5), (MANY, 2), minval=0.7, maxval=1.4)
    together = jax.vmap(counts.poisson)(keys, rate)
    for i in (0, 500, 1023):
        alone = counts.poisson(keys[i], rate[i])
        np.testing.assert_array_equal(together.number[i], alone.number)
