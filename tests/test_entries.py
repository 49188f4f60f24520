"""Entries of arrays at traced places, against NumPy, one by one and of many at once."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from collapse_jax.basics.entries import diagonal, entry, with_entry, written

X = np.random.default_rng(0).normal(size=(4, 3, 5, 6)).astype(np.float32)
VALUES = np.random.default_rng(1).normal(size=(4, 3, 5)).astype(np.float32)
PLACES = np.array([2, 0, 5, 3])


def set_at(x, value, i):
    """`x[:, i]` of a matrix is the value."""
    x = np.array(x)
    x[:, i] = value
    return x


def by_hand(places):
    """Entries of each matrix of X, and the matrices with others in their place."""
    pairs = [(n, m) for n in range(4) for m in range(3)]
    read = np.array([X[n, m][:, places[n]] for n, m in pairs]).reshape(4, 3, 5)
    made = np.array([set_at(X[n, m], VALUES[n, m], places[n]) for n, m in pairs])
    return read, made.reshape(X.shape)


@pytest.mark.parametrize("places", [np.full(4, 3), PLACES], ids=["same", "each its own"])
def test_entries_of_many_arrays(places):
    read, made = by_hand(places)
    one_place = len({*places}) == 1
    i, axis = (jnp.asarray(places[0]), None) if one_place else (places, 0)
    reading = jax.vmap(lambda x, i: jax.vmap(lambda x: entry(x, i, 1))(x), (0, axis))
    writing = jax.vmap(
        lambda x, value, i: jax.vmap(lambda x, v: with_entry(x, v, i, 1))(x, value), (0, 0, axis)
    )
    np.testing.assert_array_equal(jax.jit(reading)(X, i), read)
    np.testing.assert_array_equal(jax.jit(writing)(X, VALUES, i), made)
    program = str(jax.make_jaxpr(writing)(X, VALUES, i)) + str(jax.make_jaxpr(reading)(X, i))
    assert bool(re.search("scatter|gather", program)) != one_place


def test_what_is_one_for_all_may_be_written_into_many_and_the_other_way_round():
    i, x, values = jnp.asarray(4), jnp.asarray(X[0]), jnp.asarray(VALUES[0])
    value = VALUES[0, 0]
    into_many = jax.vmap(lambda x: with_entry(x, value, i, 1))(x)
    np.testing.assert_array_equal(into_many, [set_at(x, value, 4) for x in X[0]])
    of_many = jax.vmap(lambda v: with_entry(x[0], v, i, 1))(values)
    np.testing.assert_array_equal(of_many, [set_at(X[0, 0], v, 4) for v in VALUES[0]])
    numbers = jax.vmap(lambda x: with_entry(x, 1, 2))(jnp.zeros((3, 4), jnp.int32))
    np.testing.assert_array_equal(numbers, np.tile([0, 0, 1, 0], (3, 1)))


def test_derivatives_go_through_entries():
    def f(x):
        return jnp.sum(entry(with_entry(x, 3.0 * entry(x, 1), jnp.asarray(2)), jnp.asarray(2)))

    slope = jax.jacfwd(f)(jnp.arange(4.0))
    np.testing.assert_array_equal(slope, [0.0, 3.0, 0.0, 0.0])
    np.testing.assert_array_equal(jax.vmap(jax.jacfwd(f))(jnp.ones((2, 4))), [slope, slope])


@pytest.mark.parametrize("d", [1, 2, 7])
def test_diagonals(d):
    a = np.random.default_rng(d).normal(size=(3, d, d)).astype(np.float32)
    np.testing.assert_array_equal(jax.vmap(diagonal)(a), np.diagonal(a, axis1=1, axis2=2))


def test_several_arrays_are_written_together():
    def write(pair):
        return pair[0].at[0].set(pair[1][1]), pair[1].at[1].set(pair[0][0])

    found = jax.jit(lambda pair: written(write, pair))((jnp.arange(3.0), 10.0 + jnp.arange(3.0)))
    np.testing.assert_array_equal(found, [[11.0, 1.0, 2.0], [10.0, 0.0, 12.0]])
    one = written(lambda x: x + 1.0, jnp.zeros(2))
    np.testing.assert_array_equal(one, [1.0, 1.0])
