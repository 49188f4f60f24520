"""Entries of arrays at traced places, against NumPy, one by one and of many at once."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from collapse_jax.basics.entries import diagonal, entry, with_entries, with_entry

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


def tripled(x):
    """`x[2] = 3 x[1]`, and of it `x[2]` times the sum."""
    place = jnp.asarray(2)
    changed = with_entry(x, 3.0 * entry(x, 1), place)
    pair, _ = with_entries((changed, jnp.arange(4)), (jnp.sum(x), 7), 0)
    return entry(changed, place) * jnp.sum(pair)


@pytest.mark.parametrize("of", [jax.jacfwd, jax.grad, lambda f: jax.grad(jax.checkpoint(f))])
def test_derivatives_in_either_direction(of):
    """x1 (x0 + x1 + x2 + x3 + x1 + 3 x1 + x3), three times."""
    x = jnp.array([1.0, 2.0, 5.0, -1.0])
    total = 1.0 + 5 * 2.0 + 5.0 - 2.0
    expected = 3.0 * jnp.array([2.0, total + 5 * 2.0, 2.0, 2 * 2.0])
    np.testing.assert_allclose(jax.jit(of(tripled))(x), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(of(tripled))(jnp.stack([x, x])), [expected] * 2, rtol=1e-6)
    many = of(lambda x: jnp.sum(jax.vmap(tripled)(x)))(jnp.stack([x, x]))
    np.testing.assert_allclose(many, [expected] * 2, rtol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 7])
def test_diagonals(d):
    a = np.random.default_rng(d).normal(size=(3, d, d)).astype(np.float32)
    np.testing.assert_array_equal(jax.vmap(diagonal)(a), np.diagonal(a, axis1=1, axis2=2))


def test_arrays_of_several_kinds_have_derivatives_too():
    def f(x):
        return jnp.sum(with_entries((x, x * 2, jnp.zeros(3, int)), (7, x[0], 5), 1)[1])

    np.testing.assert_array_equal(jax.grad(f)(jnp.ones(3)), [3.0, 0.0, 2.0])
    with pytest.raises(TypeError, match="dtype"):
        with_entry(jnp.zeros(3, int), jnp.asarray(2.7), 0)


def test_several_arrays_are_written_together():
    arrays = {"a": jnp.zeros((3, 2)), "b": jnp.arange(3)}
    found = jax.jit(with_entries)(arrays, {"a": jnp.ones(2), "b": 9}, 1)
    np.testing.assert_array_equal(found["a"], [[0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(found["b"], [0, 9, 2])
    np.testing.assert_array_equal(with_entries([jnp.zeros(2)], [3.0], 1), [[0.0, 3.0]])
