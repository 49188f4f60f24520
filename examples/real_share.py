"""The share of real data in the training set, by generation.

python examples/real_share.py --out real_share.png
"""

from pathlib import Path
from typing import NamedTuple

import _figures as figures
import numpy as np

import collapse_jax as cj
from collapse_jax.loop.captions import caption
from collapse_jax.report.axes import PALETTE


class Grid(NamedTuple):
    """What is simulated."""

    n_samples: int
    n_generations: int
    seeds: int


QUICK = FULL = Grid(n_samples=100, n_generations=100, seeds=100)
TICKS = (0.0, 0.01, 0.1, 1.0)


def main(out: str = "real_share.png", grid: Grid = QUICK) -> Path:
    """Run all workflows on one task, as the share does not depend on it."""
    task = cj.Categorical(2, grid.n_samples)
    pairs = [(workflow, task) for workflow in figures.WORKFLOWS]
    runs = figures.simulate(pairs, grid.n_generations, grid.seeds, ["real_fraction"])
    note = figures.note(grid.seeds, quick=False) + f", n = {grid.n_samples}"
    figure, axes = figures.panels(1, 3, "Real data in the training set", note)
    t = np.arange(1, grid.n_generations + 1)
    for ax, ds, workflow in zip(axes[0], runs, figures.WORKFLOWS, strict=True):
        name = caption(workflow)
        share = ds.real_fraction
        ax.fill_between(t, *share.quantile((0.1, 0.9), "seed"), color=PALETTE[name], alpha=0.15)
        ax.plot(t, share.mean("seed"), color=PALETTE[name], alpha=0.55, lw=2.6)
        theory = cj.theory.expected(workflow, task, grid.n_generations).real_fraction
        ax.plot(t, theory, color=PALETTE[name], ls=figures.EXACT, lw=1.5)
        ax.set_title(name, fontsize=10)
        ax.set(xscale="log", xlim=(1, grid.n_generations), xlabel="generation", ylabel="share")
        ax.set_yscale("symlog", linthresh=0.01)
        ax.set_ylim(-5e-4, 1.1)
        ax.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    figures.share_labels(axes)
    figures.legend(figure, dict(PALETTE), ["exact"])
    return figures.save(figure, out)


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "real_share.png")
