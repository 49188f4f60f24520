"""Gaussians: error of the mean, trace and log-determinant of the covariance, by sample size.

One figure per dimension, after arXiv 2410.16713, section 2.1.

    python examples/gaussian_grid.py --out gaussian.png
"""

from pathlib import Path
from typing import NamedTuple

import _figures as figures

import collapse_jax as cj
from collapse_jax.loop.captions import caption


class Grid(NamedTuple):
    """What is simulated."""

    dims: tuple[int, ...]
    sizes: tuple[int, ...]
    n_generations: int
    seeds: int


QUICK = Grid(dims=(1, 10), sizes=(10, 32, 100), n_generations=100, seeds=100)
FULL = Grid((1, 3, 10, 31, 100), (10, 32, 100, 316, 1000), n_generations=100, seeds=100)
METRICS = ("squared_error_mean", "trace_ratio", "log_det_ratio")


def main(out: str = "gaussian.png", grid: Grid = QUICK) -> list[Path]:
    """Simulate the grid and draw a figure for each dimension, the sample sizes in shades."""
    paths = []
    for dim in grid.dims:
        tasks = [cj.Gaussian(dim, n) for n in grid.sizes]
        pairs = [(workflow, task) for workflow in figures.WORKFLOWS for task in tasks]
        runs = iter(figures.simulate(pairs, grid.n_generations, grid.seeds, METRICS))
        note = figures.note(grid.seeds, quick=grid != FULL)
        figure, axes = figures.panels(len(METRICS), 3, f"Gaussians, d = {dim}", note)
        for column, workflow in zip(axes.T, figures.WORKFLOWS, strict=True):
            by_size = {f"n = {n}": next(runs) for n in grid.sizes}
            cj.plot(by_size, variables=METRICS, axes=column)
            column[0].set_title(caption(workflow), fontsize=10)
        figures.share_labels(axes)
        shades = figures.grey_shades(f"n = {n}" for n in grid.sizes)
        figures.legend(figure, shades, ["exact", "large samples"], marked=True)
        paths.append(figures.save(figure, figures.named(out, f"d{dim}")))
    return paths


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "gaussian.png")
