"""`collapse-jax folder`: what the folder of a run holds."""

import json
from collections import Counter

from collapse_jax.basics.annotations import Folder


def show_folder(folder: Folder, repair: bool = False) -> bool:
    """Show what the folder of a run holds, and check every file of it.

    Args:
        folder: the folder, which is the checkpoint of a run.
        repair: set aside what is damaged, and remove what was never finished.

    Returns:
        whether all of it is whole.
    """
    from collapse_jax.records.inspection import inspect_folder

    found = inspect_folder(folder, repair=repair)
    workflow, task = (found.config.get(name, {}) for name in ("workflow", "task"))
    shown = {
        "run": f"{workflow.get('type', 'unknown')}, {task.get('type', 'unknown')}",
        "generations": f"{found.config.get('n_generations', 'unknown')} asked for at first",
        "chains": _chains(found.seeds),
        "within generations": _within([state.kind for state in found.states]),
        "written by": "; ".join(sorted({s.written_by for s in found.states if s.written_by})),
        "stream": str(found.config.get("stream_version", "unknown")),
        "flags": json.dumps(found.config.get("flags", {})),
        "in use by": found.in_use_by or "nobody",
    }
    for name, text in shown.items():
        print(f"{name}: {text or 'none'}")
    for done in found.repaired:
        print(f"repaired: {done}")
    for problem in found.problems:
        print(f"not whole: {problem}")
    if not found.problems:
        print("all files are as they were written")
    return not found.problems


def _chains(reached: dict[int, int]) -> str:
    """How many seeds have come how far."""
    counts = sorted(Counter(reached.values()).items())
    seeds = "", "s"
    return ", ".join(f"{n} seed{seeds[n > 1]} at generation {done}" for done, n in counts)


def _within(kinds: list[str]) -> str:
    counts = sorted(Counter(kind for kind in kinds if kind != "chains").items())
    return ", ".join(f"{n} of {kind}" for kind, n in counts)
