"""How many compiled programs a process can hold."""

from pathlib import Path

import jax

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
