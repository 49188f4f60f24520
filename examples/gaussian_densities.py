"""The fitted densities of a one-dimensional Gaussian over the generations.

The upper panels show one chain: each curve is a fitted model, the darker the later, and the broken
one is the truth. The lowest panels show the standard deviation in many chains. (The published
figure hands the variance to its plotting routine in place of the standard deviation.)

    python examples/gaussian_densities.py --out densities.png
"""

from pathlib import Path
from typing import Any, NamedTuple

import _figures as figures
import numpy as np
from scipy.stats import norm

import collapse_jax as cj
from collapse_jax.loop.captions import caption
from collapse_jax.report.axes import PALETTE, shades


class Grid(NamedTuple):
    """What is simulated."""

    sizes: tuple[int, ...]
    n_generations: int
    seeds: int


QUICK = Grid(sizes=(10, 100), n_generations=100, seeds=100)
FULL = Grid(sizes=(10, 32, 100, 316, 1000), n_generations=100, seeds=100)
SHOWN = (1, 3, 10, 30, 100)


class Fitted(cj.Gaussian):
    """A Gaussian that also reports its parameters."""

    variables = {  # noqa: RUF012
        "mean": cj.tasks.Variable("mean", "data units"),
        "deviation": cj.tasks.Variable("standard deviation", "data units"),
    }

    def __init__(self, n_samples: int):
        super().__init__(1, n_samples)

    def measure(self, world: Any, model: Any) -> dict[str, Any]:
        """Mean and standard deviation of the model."""
        return {"mean": model.mean[0], "deviation": model.factor[0, 0]}


def deviation_theory(workflow: Any, n: int, n_generations: int) -> tuple[np.ndarray, Any]:
    """Expected standard deviation, and the style of its line."""
    if workflow == cj.Replace():
        exact = cj.theory.wishart.variance_power_mean(n, 0.5, n_generations)
        return exact, figures.EXACT
    moments = cj.theory.expected(workflow, cj.Gaussian(1, n), n_generations)
    return np.sqrt(moments.trace_ratio.values), figures.LARGE_SAMPLES


def main(out: str = "densities.png", grid: Grid = QUICK) -> Path:
    """Simulate the workflows at each sample size; rows are sizes, columns workflows."""
    pairs = [(w, Fitted(n)) for n in grid.sizes for w in figures.WORKFLOWS]
    metrics = ("mean", "deviation")
    flat = figures.simulate(pairs, grid.n_generations, grid.seeds, metrics)
    runs = [flat[3 * row : 3 * row + 3] for row in range(len(grid.sizes))]
    note = "one chain; lowest row: " + figures.note(grid.seeds, quick=grid != FULL)
    figure, axes = figures.panels(len(grid.sizes) + 1, 3, "Fitted densities of a Gaussian", note)
    shown = [t for t in SHOWN if t <= grid.n_generations]
    x = np.linspace(-4.0, 4.0, 2001)
    for row, n in enumerate(grid.sizes):
        for ax, ds in zip(axes[row], runs[row], strict=True):
            chain = ds.isel(seed=0)
            colours = shades(PALETTE[ds.attrs["workflow"]], len(shown))
            for t, colour in zip(shown, colours, strict=True):
                model = chain.sel(generation=t)
                ax.plot(x, norm.pdf(x, model["mean"], model["deviation"]), color=colour, lw=1.6)
            ax.plot(x, norm.pdf(x), color="#808080", ls=figures.EXACT, lw=1.6)
            ax.set(xlim=(-4, 4), ylim=(0, 1.6))
        axes[row, 0].set_ylabel(f"density, n = {n}")
    for ax in axes[len(grid.sizes) - 1]:
        ax.set_xlabel("data")
    for column, workflow in enumerate(figures.WORKFLOWS):
        ax = axes[-1, column]
        by_size = {f"n = {n}": runs[row][column] for row, n in enumerate(grid.sizes)}
        cj.plot(by_size, variables=["deviation"], axes=ax)
        colours = shades(PALETTE[caption(workflow)], len(grid.sizes))
        for n, colour in zip(grid.sizes, colours, strict=True):
            curve, style = deviation_theory(workflow, n, grid.n_generations)
            ax.plot(np.arange(1, grid.n_generations + 1), curve, color=colour, ls=style, lw=1.5)
        axes[0, column].set_title(caption(workflow), fontsize=10)
    for ax in axes[-1, 1:]:
        ax.set_ylabel("median" if "median" in ax.get_ylabel() else "")
    entries = figures.grey_shades(f"generation {t}" for t in shown)
    figures.legend(figure, entries, ["exact", "large samples"])
    return figures.save(figure, out)


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "densities.png")
