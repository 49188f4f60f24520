"""Linear regression: test error by sample size, dimension and noise.

One figure per variance of the noise, with a row per dimension, after arXiv 2410.16713. Sample sizes
of no more than the dimension are left out, as there.

    python examples/linear_regression.py --out regression.png
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
    noises: tuple[float, ...]
    n_generations: int
    seeds: int


QUICK = Grid((3, 10), (32, 100), (0.1, 10.0), n_generations=100, seeds=100)
FULL = Grid((1, 3, 10, 32, 100), (10, 32, 100, 316, 1000), (0.1, 1.0, 10.0), 100, seeds=100)


def main(out: str = "regression.png", grid: Grid = QUICK) -> list[Path]:
    """Simulate the grid and draw a figure for each variance of the noise."""
    cases = [
        (d, w, n) for d in grid.dims for w in figures.WORKFLOWS for n in grid.sizes if n > d + 1
    ]
    paths = []
    for noise in grid.noises:
        pairs = [(w, cj.LinearRegression(d, n, noise=noise)) for d, w, n in cases]
        runs = iter(figures.simulate(pairs, grid.n_generations, grid.seeds, ["test_error"]))
        note = figures.note(grid.seeds, quick=grid != FULL)
        title = f"Linear regression with noise of variance {noise:g}"
        figure, axes = figures.panels(len(grid.dims), 3, title, note)
        shades = figures.grey_shades(f"n = {n}" for n in grid.sizes)
        for row, dim in zip(axes, grid.dims, strict=True):
            for ax in row:
                found = {n: next(runs) for n in grid.sizes if n > dim + 1}
                # A size that is left out keeps its shade and its mark.
                nothing = next(iter(found.values())).drop_vars("test_error")
                by_size = {f"n = {n}": found.get(n, nothing) for n in grid.sizes}
                cj.plot(by_size, variables=["test_error"], axes=ax)
            row[0].set_ylabel(f"test error, d = {dim}")
        for ax, workflow in zip(axes[0], figures.WORKFLOWS, strict=True):
            ax.set_title(caption(workflow), fontsize=10)
        figures.share_labels(axes)
        figures.legend(figure, shades, ["exact", "large samples"], marked=True)
        paths.append(figures.save(figure, figures.named(out, f"noise{noise:g}")))
    return paths


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "regression.png")
