"""Small transformers trained on their own documents, and on real beside synthetic ones.

python examples/language_model.py --out language_model.png
"""

from pathlib import Path
from typing import NamedTuple

import _figures as figures
import numpy as np

import collapse_jax as cj
from collapse_jax.loop.captions import caption
from collapse_jax.report.axes import PALETTE

METRICS = {
    "excess_loss": "excess test loss [nat per token]",
    "malformed": "share of malformed documents",
    "tail_survival": "survival of rare words",
}


class Grid(NamedTuple):
    """What is simulated."""

    n_samples: int
    n_generations: int
    seeds: int
    sizes: tuple[int, ...]
    """Numbers of real, and of synthetic documents."""


QUICK = Grid(1024, 5, seeds=4, sizes=(0, 256, 1024))
FULL = Grid(4096, 10, seeds=10, sizes=(0, 256, 512, 1024, 4096))


def main(out: str = "language_model.png", grid: Grid = QUICK) -> Path:
    """Run all workflows and the grid on the embedded grammar."""
    task = cj.LanguageModel(n_samples=grid.n_samples)
    runs = {
        caption(workflow): cj.simulate(workflow, task, grid.n_generations, grid.seeds)
        for workflow in figures.WORKFLOWS
    }
    mixed = cj.real_synthetic_grid(task, grid.sizes, grid.sizes, grid.seeds)
    note = figures.note(grid.seeds, quick=grid == QUICK) + f", {grid.n_samples} documents"
    figure, axes = figures.panels(1, 4, "Language models on an embedded grammar", note)
    for ax, (metric, label) in zip(axes[0], METRICS.items(), strict=False):
        for name, ds in runs.items():
            low, high = ds[metric].min("seed"), ds[metric].max("seed")
            ax.fill_between(ds.generation, low, high, color=PALETTE[name], alpha=0.15, lw=0)
            ax.plot(ds.generation, ds[metric].mean("seed"), color=PALETTE[name], lw=2.0, marker=".")
        ax.set(xlabel="generation", ylabel=label, xticks=np.arange(1, grid.n_generations + 1))
    mean = mixed.excess_loss.mean("seed")
    ax = axes[0, -1]
    ax.imshow(mean, cmap="cividis_r", origin="lower", aspect="auto")
    for (row, column), value in np.ndenumerate(mean.values):
        bright = value < np.nanmean(mean)
        text = "no data" if np.isnan(value) else f"{value:.3g}"
        color = "white" if not bright and not np.isnan(value) else "black"
        ax.text(column, row, text, ha="center", va="center", fontsize=8.0, color=color)
    ticks = range(len(grid.sizes))
    ax.set_xticks(ticks, [str(size) for size in grid.sizes])
    ax.set_yticks(ticks, [str(size) for size in grid.sizes])
    ax.set(xlabel="synthetic documents", ylabel="real documents")
    ax.set_title("excess test loss", fontsize=10)
    ax.grid(False)
    figures.legend(figure, {name: PALETTE[name] for name in runs}, band="all chains")
    return figures.save(figure, out)


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "language_model.png")
