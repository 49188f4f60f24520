"""Three workflows, three fates: the error over that of generation 1, simulated and predicted.

In large samples the ratio is t under Replace, 1 + 1/4 + ... + 1/t^2 under Accumulate, which tends
to pi^2/6, and three times that less 2 under AccumulateSubsample, which tends to pi^2/2 - 2. Models
of finite samples come close to it; their own predictions are exact, and broken lines show both.

    python examples/three_limits.py --out limits.png
"""

from pathlib import Path
from typing import NamedTuple

import _figures as figures
import numpy as np

import collapse_jax as cj
from collapse_jax.report.axes import PALETTE, shades


class Grid(NamedTuple):
    """What is simulated."""

    sizes: tuple[int, ...]
    n_generations: int
    seeds: int


QUICK = Grid(sizes=(10, 100), n_generations=100, seeds=1000)
FULL = Grid(sizes=(10, 100, 1000), n_generations=100, seeds=10_000)
LIMITS = {
    "Accumulate": (cj.theory.risk.ACCUMULATE_LIMIT, "π²/6"),
    "AccumulateSubsample": (cj.theory.risk.ACCUMULATE_SUBSAMPLE_LIMIT, "π²/2 - 2"),
}
RATIOS = {
    "Replace": cj.theory.risk.replace_risk_ratio,
    "Accumulate": cj.theory.risk.accumulate_risk_ratio,
    "AccumulateSubsample": cj.theory.risk.accumulate_subsample_risk_ratio,
}
REPLICATES = 200


def main(out: str = "limits.png", grid: Grid = QUICK) -> Path:
    """Simulate the mean of a one-dimensional Gaussian and draw all of it into one panel."""
    metric = "squared_error_mean"
    pairs = [(w, cj.Gaussian(1, n)) for w in figures.WORKFLOWS for n in grid.sizes]
    runs = figures.simulate(pairs, grid.n_generations, grid.seeds, [metric])
    note = figures.note(grid.seeds, quick=grid != FULL)
    title = "Error of the mean of a Gaussian over that of generation 1"
    figure, axes = figures.panels(1, 1, title, note, size=(7.0, 4.0))
    ax = axes[0, 0]
    t = np.arange(1, grid.n_generations + 1)
    resample = np.random.default_rng(0).integers(grid.seeds, size=(REPLICATES, grid.seeds))
    colours = [c for name in RATIOS for c in shades(PALETTE[name], len(grid.sizes))]
    for (workflow, task), ds, colour in zip(pairs, runs, colours, strict=True):
        # Over the exact error of generation 1, 1/n, which has no noise of its own.
        ratio = task.n_samples * ds[metric].values
        band = np.quantile([ratio[index].mean(0) for index in resample], (0.05, 0.95), axis=0)
        ax.fill_between(t, *band, color=colour, alpha=0.2, lw=0)
        ax.plot(t, ratio.mean(0), color=colour, alpha=0.6, lw=2.6)
        exact = cj.theory.expected(workflow, task, grid.n_generations)[metric]
        ax.plot(t, task.n_samples * exact, color=colour, ls=figures.EXACT, lw=1.5)
    for name, ratio in RATIOS.items():
        style = {"color": PALETTE[name], "ls": figures.LARGE_SAMPLES, "lw": 1.8}
        ax.plot(t, ratio(grid.n_generations), **style)
        if name in LIMITS:
            value, text = LIMITS[name]
            ax.axhline(value, color=PALETTE[name], lw=0.8)
            ax.annotate(
                text, (1.05, value), color=PALETTE[name], va="bottom", xycoords=("data", "data")
            )
    ax.set(xscale="log", yscale="log", xlim=(1, grid.n_generations), xlabel="generation")
    ax.set_ylabel("ratio of expected squared errors")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= grid.n_generations]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_ticks([], minor=True)
    ax.set_ylim(0.8, 1.2 * grid.n_generations)
    entries = {name: PALETTE[name] for name in RATIOS}
    entries |= figures.grey_shades(f"n = {n}" for n in grid.sizes)
    figures.legend(figure, entries, ["exact", "large samples"], "90 % interval of the mean")
    return figures.save(figure, out)


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "limits.png")
