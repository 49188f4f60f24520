"""JAX's flags, on which no chain may depend."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import jax


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
