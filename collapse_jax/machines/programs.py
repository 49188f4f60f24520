"""Compiled programs: how many a process can hold, and what they have as data."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_MAPS, _LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")


def make_room_for_programs(share: float = 0.4) -> bool:
    """Forget compiled programs where they take up much of what the process may map.

    A program for CPUs maps some hundred pieces of memory, of which Linux allows 65,530; the
    compiler ends the process with a crash when there are no more. All programs of the process are
    forgotten, also those of others, and compiled again where they are needed.

    Args:
        share: above which share of the limit.

    Returns:
        Whether they were forgotten.
    """
    try:
        limit = int(_LIMIT.read_text())
        with _MAPS.open("rb") as maps:
            mapped = sum(1 for _ in maps)
    except (OSError, ValueError):  # not Linux, or it does not say
        return False
    if mapped <= share * limit:
        return False
    jax.clear_caches()
    return True


def traceable(module: Any, sizes: bool = False) -> Any:
    """The module with its numbers as arrays, so that other numbers need no other compilation.

    Whole numbers are sizes, and stay as they are unless `sizes`. So do shapes of arrays that are
    still to come.
    """

    def convert(leaf):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if isinstance(leaf, float) or (hasattr(leaf, "dtype") and leaf.dtype.kind == "f"):
            return jnp.asarray(leaf, jnp.float32)
        if sizes and isinstance(leaf, int) and not isinstance(leaf, bool):
            return jnp.asarray(leaf, jnp.int32)
        return leaf

    with np.errstate(over="ignore"):  # what float32 cannot hold serves the host only
        return jax.tree.map(convert, module)
