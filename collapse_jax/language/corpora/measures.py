"""Measures of generated documents that need no grammar."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, UInt32


def distinct_documents(tokens: Int[Array, "n time"], lengths: Int[Array, " n"]) -> Int[Array, ""]:
    """Number of different documents. Pure; O(n log n).

    Rows are told apart by a hash of 64 bits: two different ones among a million would be taken for
    one with a probability of 3e-8.

    Args:
        tokens: ids; those beyond a row's length are not looked at.
        lengths: number of tokens of each row.
    """
    within = jnp.arange(tokens.shape[1]) < lengths[:, None]
    columns = jnp.where(within, tokens + 1, 0).astype(jnp.uint32).T
    hashes = [_hash(columns, seed) for seed in (0x9E3779B9, 0x85EBCA6B)]
    first, second = lax.sort(hashes, num_keys=2)
    new = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return jnp.sum(new, dtype=jnp.int32) + min(len(tokens), 1)


def _hash(columns: UInt32[Array, "time n"], seed: int) -> UInt32[Array, " n"]:
    """A hash of each column, which mixes in one word after another as MurmurHash3 mixes its own."""

    def absorb(state: Array, word: Array) -> tuple[Array, None]:
        state = (state ^ word) * jnp.uint32(0xCC9E2D51)
        state = (state ^ (state >> 15)) * jnp.uint32(0x1B873593)
        return state ^ (state >> 13), None

    start = jnp.full(columns.shape[1], seed, jnp.uint32)
    return lax.scan(absorb, start, columns)[0]
