"""Subsets: uniform ones, in time proportional to the subset, and what is largest or smallest."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt, UInt32

from collapse_jax.numerics.threefry import words

# Pairs of rounds of the network. Small rectangles mix slowly: with 5 pairs a million subsets of
# {1..12} are visibly not uniform, with 12 they are. Large ones need few: 4 pairs are twice Luby and
# Rackoff's number.
_PAIRS_SMALL, _PAIRS_LARGE = 12, 4
_LARGE = 4096
_INFINITE = 0x7F800000  # the bits of infinity


def subset(key: Key[Array, ""], population: Int[Array, ""] | int, size: int) -> Int[Array, " size"]:
    """A uniform subset of `range(population)` of `size` distinct indices, in random order.

    The indices are the images of `0 .. size-1` under a keyed random permutation of the population;
    see `permuted`.

    Args:
        key: the key of the draw.
        population: number of items to draw from, at least `size` and below 2**30.
        size: number of indices.

    Returns:
        distinct indices. `[size]`

    Example:
        >>> import jax
        >>> indices = subset(jax.random.key(0), 1000, 5)
        >>> len(set(indices.tolist()))
        5
    """
    return permuted(key, population, jnp.arange(size, dtype=jnp.int32))


def permuted(
    key: Key[Array, ""], population: Int[Array, ""] | int, indices: Int[Array, " size"]
) -> Int[Array, " size"]:
    """Images of some indices under a random permutation of `range(population)`.

    The permutation, which the key decides, is a Feistel network over a rectangle just larger than
    the population (Black and Rogaway, CT-RSA 2002), with values outside walked on along their cycle
    until they fall inside. No array of the population's length is made, and the population may be a
    traced number.

    Args:
        key: the key of the permutation.
        population: number of items, below 2**30.
        indices: whole numbers below the population. `[size]`

    Returns:
        their images. `[size]`

    Example:
        >>> import jax, jax.numpy as jnp
        >>> key = jax.random.key(0)
        >>> parts = [permuted(key, 6, jnp.arange(i, i + 3)).tolist() for i in (0, 3)]
        >>> sorted(parts[0] + parts[1])
        [0, 1, 2, 3, 4, 5]
    """
    population = jnp.asarray(population, jnp.int32)
    width = jnp.ceil(jnp.sqrt(population.astype(jnp.float32))).astype(jnp.int32)
    height = lax.div(population + width - 1, width)
    round_keys = words(key, (_PAIRS_SMALL, 2))
    n_pairs = jnp.where(population < _LARGE, _PAIRS_SMALL, _PAIRS_LARGE)

    def permute(x: Int[Array, " size"]) -> Int[Array, " size"]:
        def two_rounds(k, state):
            row, column = state
            column = _add_modulo(column, _hash(row, round_keys[k, 0]), width)
            row = _add_modulo(row, _hash(column, round_keys[k, 1]), height)
            return row, column

        row, column = lax.fori_loop(0, n_pairs, two_rounds, _divide(x, width))
        return row * width + column

    def walk(state):
        x, inside = state
        x = jnp.where(inside, x, permute(x))
        return x, x < population

    start = (indices.astype(jnp.int32), jnp.zeros(indices.shape, bool))
    return lax.while_loop(lambda state: ~jnp.all(state[1]), walk, start)[0]


def _divide(x: Int[Array, " size"], by: Int[Array, ""]):
    """Quotient and remainder of numbers below 2**30. CPUs have no vectorised integer division."""
    quotient = (x.astype(jnp.float32) / by.astype(jnp.float32)).astype(jnp.int32)
    remainder = x - quotient * by  # rounding may leave it one multiple too low or too high
    low, high = (remainder < 0).astype(jnp.int32), (remainder >= by).astype(jnp.int32)
    return quotient - low + high, remainder + (low - high) * by


def _hash(x: Int[Array, " size"], key: UInt[Array, ""]) -> UInt[Array, " size"]:
    """A keyed mixing of 32-bit words (the finaliser of MurmurHash3, keyed before and after)."""
    h = x.astype(jnp.uint32) * jnp.uint32(0x9E3779B9) + key
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return h ^ (h >> 16)


def _add_modulo(x, word: UInt[Array, " size"], modulus):
    """`x` plus a uniform number below `modulus` made from a random word, modulo `modulus`.

    The product with a 24-bit fraction replaces an integer division, which is slow.
    """
    fraction = (word >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)
    moved = x + jnp.minimum((fraction * modulus).astype(jnp.int32), modulus - 1)
    return jnp.where(moved >= modulus, moved - modulus, moved)


def largest(values: Float[Array, " m"], n: int) -> Int[Array, " n"]:
    """Places of the n largest values, in ascending order; of equal values those of the first.

    The n-th largest is found bit by bit, which for many short rows at once takes a tenth of the
    time of sorting them.

    Args:
        values: numbers, none of them NaN.
        n: how many are wanted, at most m.

    Example:
        >>> largest(jnp.array([3.0, 1.0, 2.0, 3.0, 2.0]), 3).tolist()
        [0, 2, 3]
    """
    bits = lax.bitcast_convert_type(jnp.where(values == 0.0, 0.0, values), jnp.uint32)
    top = jnp.uint32(1 << 31)
    order = jnp.where(bits >= top, ~bits, bits | top)  # as whole numbers in the same order

    def add(i: Int[Array, ""], bound: UInt32[Array, ""]) -> UInt32[Array, ""]:
        higher = bound | (top >> i.astype(jnp.uint32))
        enough = jnp.sum(order >= higher, dtype=jnp.int32) >= n
        return jnp.where(enough, higher, bound)

    bound = lax.fori_loop(0, 32, add, jnp.zeros((), jnp.uint32))
    above, equal = order > bound, order == bound
    missing = n - jnp.sum(above, dtype=jnp.int32)
    chosen = above | (equal & (jnp.cumsum(equal, dtype=jnp.int32) <= missing))
    place = jnp.where(chosen, jnp.cumsum(chosen, dtype=jnp.int32) - 1, n)
    return jnp.zeros(n, jnp.int32).at[place].set(jnp.arange(len(values)), mode="drop")


def smallest(values: Float[Array, "*n m"], rank: int) -> Float[Array, "*n"]:
    """The value of this rank, from 1, along the last axis; none is negative.

    By halving the range of their bits, which are in the order of the values. Much faster than
    sorting on a CPU.
    """
    bits = lax.bitcast_convert_type(lax.stop_gradient(values), jnp.int32)

    def halve(_, bracket):
        low, high = bracket  # what is sought lies above the one, and not above the other
        middle = low + (high - low) // 2
        enough = jnp.sum(bits <= middle[..., None], axis=-1, dtype=jnp.int32) >= rank
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    shape = values.shape[:-1]
    bracket = (jnp.full(shape, -1, jnp.int32), jnp.full(shape, _INFINITE, jnp.int32))
    return lax.bitcast_convert_type(lax.fori_loop(0, 32, halve, bracket)[1], jnp.float32)
