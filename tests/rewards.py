"""Functions of a row, in a module of their own so that runs which use them can be saved."""

import jax.numpy as jnp

VALUES = jnp.array([0.0, 1.0, -0.5, 2.0])


def value(outcome):
    """A reward for each of four outcomes."""
    return VALUES[outcome]


def first(row):
    """The first number of a point."""
    return row[0]


def agreement(x, y):
    """How near a label is to the prediction of a verifier all of whose coefficients are 1."""
    return -jnp.abs(y - jnp.sum(x))


def endless(outcome):
    """A reward that no outcome should have."""
    return jnp.where(outcome == 3, jnp.inf, 0.0)


def pair(outcome):
    """Two rewards in place of one."""
    return jnp.stack([VALUES[outcome], VALUES[outcome]])


def turning(outcome, *, generation):
    """A reward for the second of two outcomes, which falls from generation to generation."""
    return (1.2 - 0.6 * generation) * outcome
