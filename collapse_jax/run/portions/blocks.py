"""Which seeds are a block, and whose turn it is."""

import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np

from collapse_jax.basics.fingerprints import digest
from collapse_jax.records.folder import usable
from collapse_jax.records.lock import Lock

_SHARES = 32  # blocks of a run that is shared: some for each of several processes
_NARROW = 32  # chains, with fewer of which programs are no quicker
_BYTES = 2**26  # of a variable in a block that goes to disk
_PAUSE = 0.5  # seconds between two looks at what others have


def block_size(n_seeds: int, n_numbers: int, staged: bool, share: bool, on_disk: bool) -> int:
    """How many seeds a block has: the same in all processes, whatever their machines are.

    Args:
        n_seeds: of the run.
        n_numbers: of a metric of a chain.
        staged: whether generations are so long that single chains may be shared.
        share: whether processes share the seeds.
        on_disk: whether a block is to be small enough to be held until it is written.
    """
    size = max(n_seeds, 1)
    if on_disk:
        size = min(size, max(1, _BYTES // (4 * n_numbers)))
    if share:
        size = min(size, max(1 if staged else _NARROW, -(-n_seeds // _SHARES)))
    return size


def blocks_of(seeds: np.ndarray, size: int) -> list[np.ndarray]:
    """Blocks of so many seeds, the last of which may be smaller."""
    return np.split(seeds, range(size, len(seeds), size))


def claimed(
    blocks: list[np.ndarray], folder: Path | None, stopped: threading.Event
) -> Generator[int, None, None]:
    """The number of each block, once, while no other process has it.

    A block that another process has comes when that one has finished it, or was killed.

    Args:
        blocks: the seeds of each.
        folder: where the claims are, None where nobody shares.
        stopped: set when waiting is to end, as by Ctrl-C.

    Raises:
        ValueError: where the file system of the folder has no locks.
        OSError: where the system does not let it be used.
        KeyboardInterrupt: where waiting was to end.
    """
    left = list(range(len(blocks)))
    while left:
        had = len(left)
        for number in [*left]:
            claim = None if folder is None else Lock(folder, f".claim-{digest(blocks[number])}")
            if claim is not None and folder is not None:
                with usable(folder):
                    if not claim.claim():
                        continue
            try:
                left.remove(number)
                yield number
            finally:
                if claim is not None:
                    claim.release()
        if len(left) == had and stopped.wait(_PAUSE):
            raise KeyboardInterrupt
