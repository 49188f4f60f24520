"""A run in blocks of seeds, each of which is run to its end before the next one."""

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from collapse_jax.records.regions import Regions
from collapse_jax.run.before.prepared import Prepared
from collapse_jax.run.driver import Driver
from collapse_jax.run.portions.blocks import blocks_of, claimed
from collapse_jax.run.results import Labels, Results, warn_of_failures
from collapse_jax.tasks.trained import FAILED


def check_portions(share: bool, out: Any, checkpoint: Any, stop_when: Any, track: Any) -> None:
    """Check what a run in blocks cannot be together with.

    Raises:
        TypeError: if `share` is no truth value.
        ValueError: names what is given beside it, or missing.
    """
    if not isinstance(share, bool):
        raise TypeError(f"share must be True or False, got {share!r}")
    name = "share" if share else "out"
    if not share and out is None:
        return
    if share and checkpoint is None:
        raise ValueError("checkpoint must be given with share: the folder that processes share")
    for other, value in {"stop_when": stop_when, "track": track}.items():
        if value is not None:
            raise ValueError(
                f"{other} cannot be given together with {name}: it looks at all chains of a "
                "generation, and these are run a block of seeds at a time"
            )
    if jax.process_count() > 1:
        raise ValueError(
            f"{name} cannot be given where several processes are connected (jax.distributed), "
            "which share the seeds and hold the metrics together"
        )


def run_in_blocks(
    driver: Driver,
    ready: Prepared,
    labels: Labels,
    shape: tuple[int, ...],
    share: bool,
    out: str | Path | None,
) -> xr.Dataset:
    """Run all chains, and return the dataset of all of them, whichever process ran them.

    Args:
        driver: how chains are run.
        ready: the run.
        labels: what makes the dataset.
        shape: of the values of a chain.
        share: whether other processes take blocks.
        out: the store where metrics go, None where they stay in memory.
    """
    seeds, kept, n = ready.own_seeds, driver.checkpoint, shape[0]
    blocks = blocks_of(seeds, ready.block)
    regions, whole = None, None
    if out is None:
        whole = Results(ready.computed, seeds, len(seeds), shape, True)
    else:
        regions = _open(out, ready, labels, shape, share)
    folder = kept.folder if share and kept is not None else None
    own = contextlib.closing(claimed(blocks, folder, driver.interrupted))
    with driver.attended(), regions or contextlib.nullcontext(), own as numbers:
        for number in numbers:
            block = blocks[number]
            if regions is not None and regions.holds(number):
                driver.bar.update(len(block) * n)
                continue
            found = whole or Results(ready.computed, block, len(block), shape, True)
            if kept is not None:
                kept.refresh()
            try:
                for chains, first, values in driver.run_on(block):
                    found.put(chains, values, first)
                    del values
            finally:
                if kept is not None:
                    kept.refresh()  # what was saved is whole before others may have it
            if regions is not None:
                part = labels.part(slice(number * ready.block, (number + 1) * ready.block))
                regions.put(number, part.of(found.all, n))
                warn_of_failures(found.all.get(FAILED), n, block.tolist(), level=5)
    if whole is None:
        return regions.dataset()  # pyright: ignore
    warn_of_failures(whole.all.get(FAILED), n, seeds.tolist(), level=5)
    return labels.of(whole.all, n)


def _open(
    out: Any, ready: Prepared, labels: Labels, shape: tuple[int, ...], share: bool
) -> Regions:
    """The store of the run."""
    ones = {name: np.ones((1, 1, *shape[1:]), np.float32) for name in ready.computed}
    like = labels.part(slice(1)).of(ones, 1).assign_attrs(labels.attributes(shape[0]))
    return Regions(out, ready.own_seeds, ready.block, like, shape[0], share)
