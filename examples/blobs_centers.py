"""Blobs with shared and with independent centres: an artefact of the published figures.

The published code draws the centres of the test blobs anew, unrelated to those of the training
blobs. Test data then lie where there are no training data at all, the likelihood measures the
distance between two unrelated mixtures, and any widening of the model seems to improve it: more
synthetic data seem to help. With the same centres they do not.

    python examples/blobs_centers.py --out blobs.png
"""

from pathlib import Path
from typing import NamedTuple

import _figures as figures

import collapse_jax as cj
from collapse_jax.report.axes import PALETTE


class Grid(NamedTuple):
    """What is simulated."""

    n_samples: int
    bandwidth: float
    n_generations: int
    seeds: int


QUICK = Grid(n_samples=100, bandwidth=1.0, n_generations=100, seeds=20)
FULL = QUICK._replace(seeds=100)
TITLES = {True: "same centres in training and test", False: "independent centres, as published"}

TICKS = (5, 10, 20, 40, 80)


def main(out: str = "blobs.png", grid: Grid = QUICK) -> Path:
    """Simulate both kinds of blobs and draw them side by side."""
    tasks = [
        cj.KernelDensity("blobs", grid.n_samples, bandwidth=grid.bandwidth, shared_centers=shared)
        for shared in TITLES
    ]
    pairs = [(workflow, task) for task in tasks for workflow in figures.WORKFLOWS]
    runs = figures.simulate(pairs, grid.n_generations, grid.seeds, ["nll"])
    note = figures.note(grid.seeds, quick=grid != FULL)
    settings = f"n = {grid.n_samples}, bandwidth {grid.bandwidth:g}"
    title = f"Kernel densities of blobs, {settings}"
    figure, axes = figures.panels(1, 2, title, note, size=(3.8, 2.9))
    for i, (ax, title) in enumerate(zip(axes[0], TITLES.values(), strict=True)):
        cj.plot(runs[3 * i : 3 * i + 3], variables=["nll"], axes=ax)
        ax.set_title(title, fontsize=10)
        ax.set_yscale("log")
        ax.set_yticks(TICKS, [str(tick) for tick in TICKS])
        ax.set_yticks([], minor=True)
    figures.legend(figure, dict(PALETTE))
    return figures.save(figure, out)


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "blobs.png")
