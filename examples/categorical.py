"""Outcomes that die out: entropy by generation, and generations until one outcome is left.

python examples/categorical.py --out categorical.png
"""

import math
from pathlib import Path
from typing import NamedTuple

import _figures as figures
import numpy as np

import collapse_jax as cj
from collapse_jax.loop.captions import caption
from collapse_jax.report.axes import PALETTE


class Grid(NamedTuple):
    """What is simulated."""

    outcomes: tuple[int, ...]
    sizes: tuple[int, ...]
    """Until total collapse, which takes about 2 n generations."""
    large_sizes: tuple[int, ...]
    """For 100 generations only."""
    seeds: int


QUICK = Grid(outcomes=(2, 10, 100), sizes=(10, 32, 100), large_sizes=(), seeds=100)
# Total collapse of 100,000 samples would take 10^6 generations to see.
FULL = Grid((10, 100, 1000), (10, 32, 100, 316, 1000), (10_000, 100_000), seeds=100)
LONG_ENOUGH = 10  # runs last this many times n; one chain in 10^4 takes longer


def entropies(grid: Grid, axes: np.ndarray) -> None:
    """Entropy of each workflow by sample size, over 100 generations, into three panels."""
    k = grid.outcomes[1]
    sizes = (*grid.sizes, *grid.large_sizes)
    pairs = [(w, cj.Categorical(k, n)) for w in figures.WORKFLOWS for n in sizes]
    runs = iter(figures.simulate(pairs, 100, grid.seeds, ["entropy_ratio"]))
    for ax, workflow in zip(axes, figures.WORKFLOWS, strict=True):
        by_size = {f"n = {n}": next(runs) for n in sizes}
        cj.plot(by_size, variables=["entropy_ratio"], axes=ax)
        ax.set_ylim(0.0, 1.02)
        ax.set_title(f"{caption(workflow)}, K = {k}", fontsize=10)


def times(grid: Grid, axes: np.ndarray) -> None:
    """Generation of total collapse under Replace against the sample size, into a panel for each."""
    pairs = [(cj.Replace(), cj.Categorical(k, n)) for k in grid.outcomes for n in grid.sizes]
    runs = iter(figures.simulate(pairs, LONG_ENOUGH * max(grid.sizes), grid.seeds, ["entropy"]))
    smooth = np.geomspace(grid.sizes[0], grid.sizes[-1], 50)
    colour = PALETTE["Replace"]
    for ax, k in zip(axes, grid.outcomes, strict=True):
        found = [cj.collapse_time(next(runs)).values for _ in grid.sizes]
        low, high = np.transpose([np.nanquantile(time, (0.1, 0.9)) for time in found])
        ax.fill_between(grid.sizes, low, high, color=colour, alpha=0.15, lw=0)
        mean = [np.nanmean(time) for time in found]
        ax.plot(grid.sizes, mean, color=colour, alpha=0.55, lw=2.6, marker="o", ms=4)
        exact = [
            cj.theory.wright_fisher.mean_collapse_time(np.full(k, 1 / k), n) for n in grid.sizes
        ]
        ax.plot(grid.sizes, exact, color=colour, ls=figures.EXACT, lw=1.5)
        diffusion = 2 * smooth * (k - 1) * math.log(k / (k - 1))
        ax.plot(smooth, diffusion, color="#505050", ls=figures.LARGE_SAMPLES, lw=1.5)
        ax.set(xscale="log", yscale="log", xlabel="n, samples per generation")
        ax.set_title(f"Replace, K = {k}", fontsize=10)
        ax.set_ylabel("generations until\none outcome is left")
        ax.set_xticks(grid.sizes, [str(n) for n in grid.sizes])
        ax.set_xticks([], minor=True)


def main(out: str = "categorical.png", grid: Grid = QUICK) -> Path:
    """Draw entropies above times of collapse."""
    note = figures.note(grid.seeds, quick=grid != FULL)
    figure, axes = figures.panels(2, 3, "K equally probable outcomes", note)
    entropies(grid, axes[0])
    times(grid, axes[1])
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    entries = figures.grey_shades(f"n = {n}" for n in (*grid.sizes, *grid.large_sizes))
    figures.legend(figure, entries, ["exact", "large samples"], marked=True)
    return figures.save(figure, out)


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "categorical.png")
