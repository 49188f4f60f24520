"""Kernel densities: likelihood of real test data, by sample size.

One figure per bandwidth, with a row per data set, after arXiv 2410.16713, section 2.2. The blobs
have the same centres in training and test data here; see blobs_centers.py.

    python examples/kde_nll.py --out kde.png
"""

from pathlib import Path
from typing import NamedTuple

import _figures as figures

import collapse_jax as cj
from collapse_jax.loop.captions import caption


class Grid(NamedTuple):
    """What is simulated."""

    datasets: tuple[str, ...]
    bandwidths: tuple[float, ...]
    sizes: tuple[int, ...]
    n_generations: int
    seeds: int


QUICK = Grid(("moons", "swiss_roll"), (0.1, 0.5, 1.0), (10, 100), n_generations=100, seeds=20)
FULL = Grid(
    ("blobs", "circles", "moons", "swiss_roll"),
    (0.1, 0.5, 1.0),
    (10, 32, 100, 316, 1000),
    n_generations=100,
    seeds=100,
)


def main(out: str = "kde.png", grid: Grid = QUICK) -> list[Path]:
    """Simulate the grid and draw a figure for each bandwidth, the sample sizes in shades."""
    cases = [(d, w, n) for d in grid.datasets for w in figures.WORKFLOWS for n in grid.sizes]
    paths = []
    for bandwidth in grid.bandwidths:
        pairs = [(w, cj.KernelDensity(d, n, bandwidth=bandwidth)) for d, w, n in cases]
        runs = iter(figures.simulate(pairs, grid.n_generations, grid.seeds, ["nll"]))
        title = f"Kernel densities with a bandwidth of {bandwidth:g}"
        note = figures.note(grid.seeds, quick=grid != FULL)
        figure, axes = figures.panels(len(grid.datasets), 3, title, note)
        for row, dataset in zip(axes, grid.datasets, strict=True):
            for ax in row:
                by_size = {f"n = {n}": next(runs) for n in grid.sizes}
                cj.plot(by_size, variables=["nll"], axes=ax)
            row[0].set_ylabel(f"{dataset.replace('_', ' ')}: test NLL [nat]")
        for ax, workflow in zip(axes[0], figures.WORKFLOWS, strict=True):
            ax.set_title(caption(workflow), fontsize=10)
        figures.share_labels(axes)
        shades = figures.grey_shades(f"n = {n}" for n in grid.sizes)
        figures.legend(figure, shades, marked=True)
        paths.append(figures.save(figure, figures.named(out, f"h{bandwidth:g}")))
    return paths


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "kde.png")
