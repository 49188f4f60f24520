"""JAX's flags: those on which no chain may depend, and those that stay the user's."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import jax

_DECISIVE = "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable"


def decisive_flags() -> dict[str, str]:
    """The flags on which numbers depend and which the user may choose, as a folder keeps them."""
    return {name: str(getattr(jax.config, name)) for name in _DECISIVE}


@contextmanager
def usual_flags() -> Iterator[None]:
    """JAX's own defaults for all that changes numbers or stops on infinite ones.

    Chains are float32 throughout: with `jax_enable_x64` other random bits would be drawn. They may
    end at an infinite value honestly, which `jax_debug_infs` would take for a fault.
    """
    with ExitStack() as stack:
        for flag in (jax.enable_x64, jax.debug_infs, jax.debug_nans, jax.debug_key_reuse):
            stack.enter_context(flag(False))
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        stack.enter_context(jax.numpy_dtype_promotion("standard"))
        yield
