"""Which random draw belongs to whom: keys by seed, generation and role."""

from enum import IntEnum

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, UInt32

from collapse_jax.numerics.threefry import fold_in

STREAM_VERSION = 3
"""Raised whenever the same seed would draw other chains; see CHANGELOG.md.

Datasets and folders of chains carry it, so that chains are never continued with other numbers.
"""

# Room for new roles: the key of a draw must not change when a role is added.
_ROLES_PER_GENERATION = 16
_MODELS = 2**31 - 1  # what sets the keys of models apart from those of generations
_THREEFRY = "threefry2x32"


class Role(IntEnum):
    """What a random draw is for; with the chain's key and the generation it names the draw."""

    WORLD = 0
    REAL = 1
    SAMPLE = 2
    SELECT = 3
    INITIALISE = 4
    FIT = 5
    SOURCE = 6
    MEASURE = 7


def chain_key(seed: UInt32[Array, ""]) -> Key[Array, ""]:
    """The key of the chain with this seed, as `jax.random.key` makes it by JAX's own defaults.

    Always Threefry, whatever the default generator, and without `jax_random_seed_offset`.
    """
    seed = jnp.asarray(seed, jnp.uint32)
    return jax.random.wrap_key_data(jnp.stack([jnp.zeros_like(seed), seed]), impl=_THREEFRY)


def model_key(key: Key[Array, ""], model: Int[Array, ""]) -> Key[Array, ""]:
    """The key of one of several models in the chain with this key, which is that of model 0."""
    return either(model == 0, key, fold_in(key, model + _MODELS))


def either(first: Bool[Array, ""], a: Key[Array, ""], b: Key[Array, ""]) -> Key[Array, ""]:
    """The one key or the other."""
    data = jnp.where(first, jax.random.key_data(a), jax.random.key_data(b))
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(a))


def check_threefry(key: Array | None = None) -> None:
    """Check that random numbers come from Threefry, as reproducible chains need them to.

    Args:
        key: a key of the user's; default only JAX's configuration is looked at.

    Raises:
        ValueError: for another generator: those of JAX's others draw other numbers in batches of
            other sizes and on other devices.
    """
    if key is not None and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        where, found = "key must be a Threefry key", str(jax.random.key_impl(key))
    else:
        where, found = "jax_default_prng_impl must be Threefry", jax.config.jax_default_prng_impl  # pyright: ignore
    if found != _THREEFRY:
        raise ValueError(
            f"{where} ({_THREEFRY!r}), got {found!r}, whose numbers depend on batches and devices, "
            "so that no chain could be run again"
        )
    if not jax.config.jax_threefry_partitionable:  # pyright: ignore
        raise ValueError(
            "jax_threefry_partitionable must be True, JAX's default, got False, which makes other "
            "chains of the same seeds"
        )


def stream(key: Key[Array, ""], generation: Int[Array, ""] | int, role: Role) -> Key[Array, ""]:
    """The key of one role in one generation of the chain whose key this is.

    Depends on nothing else: not on the number of generations, on other chains, on batches,
    devices or interruptions.
    """
    return fold_in(key, generation * _ROLES_PER_GENERATION + role)
