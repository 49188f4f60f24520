"""The cipher Threefry-2x32 (20 rounds), whose words are JAX's, in one kernel on CPUs.

On CPUs JAX rolls the rounds into a loop, whose four kernels go through memory five times. Written
out they take a third of the time, if only the compiler does not merge them into all that reads a
word, and work them out anew for each reader. So they are a branch, into which it does not look, and
both words of a block leave it as one complex number, for each word would be worked out by itself.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Int, Key, UInt32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def words(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Random 32-bit words, by Threefry in counter mode.

    Uses both words of each block of the cipher. `jax.random.bits` folds them into one, so that an
    array's words do not depend on its length; that is not needed here, and costs a factor of two
    where random numbers are most of the work.
    """
    size = math.prod(shape)
    both = jnp.concatenate(_of_counters(jax.random.key_data(key), size))
    return both[:size].reshape(shape)


def pairs(key: Key[Array, ""], n: int) -> tuple[UInt32[Array, " n"], UInt32[Array, " n"]]:
    """The two rows of `words(key, (2, n))`, which need not be laid side by side in memory."""
    return _of_counters(jax.random.key_data(key), 2 * n)


def fold_in(key: Key[Array, ""], data: Int[Array, ""] | UInt32[Array, ""] | int) -> Key[Array, ""]:
    """The key that `jax.random.fold_in` gives."""
    pair = _of_number(jax.random.key_data(key), jnp.asarray(data, jnp.uint32))
    return jax.random.wrap_key_data(jnp.stack(pair), impl=jax.random.key_impl(key))


@partial(jax.jit, inline=True)  # so that it is traced once
def _of_number(key, data):
    return _enciphered(key, lambda: (jnp.zeros_like(data), data))


@partial(jax.jit, static_argnames="size", inline=True)
def _of_counters(key, size):
    """Both words of as many blocks as `size` words need, block i of the counters i and i + half."""
    half = -(-size // 2)

    def counters():
        first = lax.iota(jnp.uint32, half)
        second = first + jnp.uint32(half)
        if size % 2:  # as JAX fills up an odd number
            second = jnp.where(first == half - 1, jnp.uint32(0), second)
        return first, second

    return _enciphered(key, counters)


def _enciphered(key, counters):
    """Pairs of words, each of a pair that is enciphered."""
    return lax.platform_dependent(
        key, cpu=partial(_written_out, counters), default=partial(_as_jax_does, counters)
    )


def _as_jax_does(counters, key):
    both = threefry_2x32(key, jnp.stack(counters()))
    return both[0], both[1]


def _written_out(counters, key):
    # What is enciphered is made within the branch, for else it would go through memory.
    shape = jax.eval_shape(counters)[0].shape
    # A key that was made of two words need not be put together; each is asked for in one shape.
    apart = tuple(jnp.broadcast_to(key[i], (1,) * len(shape)) for i in range(2))
    always = lax.optimization_barrier(jnp.ones((), bool))
    pair = lax.cond(
        always,
        lambda: _packed(*_rounds(apart, *counters())),
        lambda: jnp.zeros(shape, jnp.complex64),
    )
    return _bits(lax.real(pair)), _bits(lax.imag(pair))


def _bits(number):
    return lax.bitcast_convert_type(number, jnp.uint32)


def _packed(first, second):
    return lax.complex(*(lax.bitcast_convert_type(x, jnp.float32) for x in (first, second)))


def _rounds(key, first, second):
    schedule = key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY)
    first, second = first + schedule[0], second + schedule[1]
    for group in range(1, 6):
        for turn in _ROTATIONS[(group + 1) % 2]:
            first = first + second
            second = ((second << turn) | (second >> (32 - turn))) ^ first
        first = first + schedule[group % 3]
        second = second + schedule[(group + 1) % 3] + jnp.uint32(group)
    return first, second
