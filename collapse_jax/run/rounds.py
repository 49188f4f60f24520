"""Chains side by side, a few generations at a time, with looks at all of them in between.

A rule may stop them, and a tracker is told of them.
"""

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import xarray as xr

from collapse_jax.machines import hosts
from collapse_jax.records.store import Checkpoint
from collapse_jax.run.driver import SECONDS, Batch, Driver, Found
from collapse_jax.run.results import Results
from collapse_jax.run.stopping import Rule, first_met


def run_whole(driver: Driver, seeds: np.ndarray, results: Results) -> None:
    """Run all chains through all generations, one batch after another."""
    for chains, first, found in driver.run(seeds):
        results.put(chains, found, first)
        del found  # or it would wait for the next batch to be run
    results.share(0, driver.n_generations)


def check_turns(together: bool, folder: Checkpoint | None, n_turns: int) -> None:
    """Check that chains which take turns have a folder in common to wait in.

    Raises:
        ValueError: if they run in several processes at once, and have none.
    """
    if together and jax.process_count() > 1 and n_turns > 1 and folder is None:
        raise ValueError(
            "checkpoint must be given with stop_when and track where the seeds of a split model "
            "take turns in several processes"
        )


Tracker = Callable[[int, Mapping[str, np.ndarray]], object]
"""What is told of each generation, in turn: its number and the metrics of all chains."""


@dataclass(frozen=True)
class Look:
    """What is done between rounds.

    Args:
        dataset: makes the dataset of so many generations of all chains.
        rule: stops the chains.
        track: is told of each generation up to there, in the first process alone.
    """

    dataset: Callable[[int], xr.Dataset]
    rule: Rule | None = None
    track: Tracker | None = None

    def after(self, done: int, horizon: int) -> tuple[int, Exception | None]:
        """Look at the generations after `done`.

        Returns:
            the first that meets the rule, 0 where none does; and, in all processes, an error where
            the rule or the tracker has raised one.
        """
        met, failed = 0, None
        try:
            ds = self.dataset(horizon)
            found = None if self.rule is None else first_met(self.rule, ds, done)
            met = hosts.first_says(found or 0)
            if self.track is not None and hosts.is_first():
                values = {str(name): ds[name].values for name in ds}
                for t in range(done, met or horizon):
                    self.track(t + 1, {name: every[..., t] for name, every in values.items()})
        except Exception as error:  # whatever a function of the user's raises
            failed = error
        if hosts.first_says(failed is not None) and failed is None:
            failed = RuntimeError("track has failed in process 0")
        return met, failed


def run_until(driver: Driver, seeds: np.ndarray, results: Results, look: Look) -> int | None:
    """Run all chains with looks at them, until a rule is met.

    Chains that fit into memory together stay there. Others take turns, and wait in the folder of
    the run, or in one that is removed afterwards.

    Args:
        driver: how chains are run.
        seeds: those of this process.
        results: receives what is measured.
        look: what is done between rounds.

    Returns:
        the generation that met the rule, or None. The chains may have gone beyond it.

    Raises:
        Exception: whatever a look raises, when the chains have been saved.
    """
    n, done, steps, failed = driver.n_generations, 0, 1, None
    with _turns(driver, seeds) as advance:
        while done < n:
            before = time.perf_counter()
            horizon = hosts.first_says(min(done + steps, n))
            for chains, first, found in advance(done, horizon):
                results.put(chains, found, first)
            rate = (horizon - done) / max(time.perf_counter() - before, 1e-6)
            hosts.wait_for_all()
            results.share(done, horizon)
            met, failed = look.after(done, horizon)
            if failed is not None:
                break
            if met:
                driver.bar.set_postfix_str(f"stopped in generation {met}")
                return met
            # Turns and meetings take time too: there are few, compared with the generations.
            done, steps = horizon, min(max(1, int(rate * SECONDS), horizon // 8), driver.chunk)
    if failed is not None:
        raise failed
    return None


Advance = Callable[[int, int], Found]


@contextlib.contextmanager
def _turns(driver: Driver, seeds: np.ndarray) -> Iterator[Advance]:
    """What runs all chains from one generation to another, and yields what is new."""
    with contextlib.ExitStack() as stack:
        fit = 0 < len(seeds) <= driver.width
        if not fit and driver.checkpoint is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            driver = dataclasses.replace(driver, checkpoint=Checkpoint(folder, {}, np.inf))
        stack.enter_context(driver.attended())
        batches: list[Batch] = []
        if fit:
            silent = dataclasses.replace(driver, begun=driver.n_generations)
            batches = [*silent.batches(seeds)]
        if len(batches) == 1:
            driver.show_restored(batches[0])
            yield partial(_alone, driver, batches[0])
            if batches[0].done < driver.n_generations:  # others are saved
                driver.save(batches[0])
        else:
            yield partial(_in_turn, driver, seeds)


def _alone(driver: Driver, batch: Batch, done: int, horizon: int) -> Found:
    driver.forward(batch, horizon)
    yield from batch.found(done, horizon)


def _in_turn(driver: Driver, seeds: np.ndarray, done: int, horizon: int) -> Found:
    if driver.checkpoint is not None:
        driver.checkpoint.refresh()
    at = dataclasses.replace(driver, n_generations=horizon, begun=done)
    yield from at.run_on(seeds, done)
