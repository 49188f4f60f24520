"""What the theory tests share: a z-test, and brute-force chains that draw every row."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

Z = 4.5
"""Two-sided tail 7e-6; about 600 means are compared in this directory, so that one false alarm is
expected in 250 changes of the seeds."""


def check_means(samples: np.ndarray, expected: np.ndarray) -> None:
    """Fails unless the mean over axis 0 is within Z standard errors of `expected`, everywhere."""
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    gap = np.abs(samples.mean(axis=0) - expected)
    worst = np.max(gap / np.maximum(error, 1e-12))
    assert np.all(gap <= Z * error + 1e-12), f"worst z = {worst:.2f}"


class Chain(NamedTuple):
    """Statistics of simulated chains, each `[replicate, generation]`."""

    mean_error: np.ndarray
    covariance: np.ndarray


def simulate_weighted(
    rng: np.random.Generator,
    replicates: int,
    weights: np.ndarray,
    sizes: np.ndarray,
    sources: np.ndarray,
    *,
    scale: float = 1.0,
    unbiased: bool = False,
    kernel: float = 0.0,
) -> Chain:
    """One-dimensional chains with weighted batches, row by row, truth N(0, 1)."""
    mean_error, covariance = [], []
    batches: dict[int, np.ndarray] = {}
    mean, variance = np.zeros(replicates), np.ones(replicates)
    for t in range(len(weights) + 1):
        if t:
            share = np.concatenate(
                [np.full(sizes[b], weights[t - 1, b] / sizes[b]) for b in batches]
            )
            rows = np.concatenate([batches[b] for b in batches], axis=1)
            mean = rows @ share
            variance = ((rows - mean[:, None]) ** 2) @ share
            if unbiased:
                variance = variance / (1 - np.sum(share**2))
            variance = variance + kernel
            mean_error.append(mean**2)
            covariance.append(variance)
        spread = np.sqrt(variance * (scale if t else 1.0))
        for b in np.flatnonzero(sources == t):
            noise = rng.standard_normal((replicates, sizes[b]))
            batches[int(b)] = mean[:, None] + spread[:, None] * noise
    return Chain(np.stack(mean_error, 1), np.stack(covariance, 1))


def simulate_subsample(
    rng: np.random.Generator,
    replicates: int,
    n: int,
    n_generations: int,
    *,
    unbiased: bool = False,
    with_replacement: bool = False,
    bandwidth: float = 0.0,
) -> Chain:
    """One-dimensional chains under Accumulate-Subsample; with a bandwidth, kernel densities."""
    mean_error, covariance = [], []
    pool = rng.standard_normal((replicates, n))
    for _ in range(n_generations):
        if with_replacement:
            chosen = rng.integers(pool.shape[1], size=(replicates, n))
        else:
            chosen = np.argpartition(rng.random(pool.shape), n - 1, axis=1)[:, :n]
        rows = np.take_along_axis(pool, chosen, axis=1)
        mean, variance = rows.mean(axis=1), rows.var(axis=1, ddof=int(unbiased))
        mean_error.append(mean**2)
        covariance.append(variance + bandwidth**2)
        noise = rng.standard_normal((replicates, n))
        if bandwidth:
            picked = rng.integers(n, size=(replicates, n))
            new = np.take_along_axis(rows, picked, axis=1) + bandwidth * noise
        else:
            new = mean[:, None] + np.sqrt(variance)[:, None] * noise
        pool = np.concatenate([pool, new], axis=1)
    return Chain(np.stack(mean_error, 1), np.stack(covariance, 1))


class BruteForce(NamedTuple):
    """The helpers, as one fixture (so that tests need no import path)."""

    check_means: Callable[..., None]
    weighted: Callable[..., Chain]
    subsample: Callable[..., Chain]


@pytest.fixture(scope="session")
def brute_force() -> BruteForce:
    """Simulators of the procedure itself and the z-test."""
    return BruteForce(check_means, simulate_weighted, simulate_subsample)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that every test starts afresh."""
    return np.random.default_rng(20241016713)
