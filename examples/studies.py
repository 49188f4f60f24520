"""Studies around loops on real tables: attribution, ensembles, and how much hangs on one row.

Left: which batches the test error of a regression is owed to, on scikit-learn's diabetes; bars are
the weights of batches in a datamodel, lines their range over pools. Middle: a normal law of tumour
radii (breast_cancer) that feeds itself, alone or as one of several models that share their rows.
Right: how far a chain moves where one real row of the same column is another one, with and without
new real rows; broken lines are theory.

    python examples/studies.py --out studies.png
"""

from pathlib import Path
from typing import Any, NamedTuple

import _figures as figures
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes

import collapse_jax as cj


class Grid(NamedTuple):
    """What is simulated."""

    n_generations: int
    seeds: int
    n_masks: int
    members: tuple[int, ...]


QUICK = Grid(n_generations=10, seeds=500, n_masks=200, members=(1, 4, 16))
FULL = Grid(n_generations=10, seeds=2000, n_masks=1000, members=(1, 4, 16))
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
ROWS = 50
REAL_SHARE = 0.3


def main(out: str = "studies.png", grid: Grid = QUICK) -> tuple[Path, dict[str, np.ndarray]]:
    """Draw the three panels; returns what they show, by name."""
    note = figures.note(grid.seeds, quick=grid != FULL)
    figure, axes = figures.panels(1, 3, "Studies around loops, on real rows", note, (3.7, 3.2))
    radii = np.asarray(load_breast_cancer(return_X_y=True)[0])[:, :1]
    found = {
        "weights": _draw_weights(axes[0, 0], grid),
        "errors": _draw_ensembles(axes[0, 1], grid, radii),
        "ratios": _draw_sensitivity(axes[0, 2], grid, radii),
    }
    return figures.save(figure, out), found


def _draw_weights(ax: Any, grid: Grid) -> np.ndarray:
    task = cj.LinearRegression(data=load_diabetes(return_X_y=True), n_samples=ROWS)
    pools = max(grid.seeds // 10, 4)
    ds = cj.datamodel(
        cj.Replace(), task, grid.n_generations, pools, metric="test_error", n_masks=grid.n_masks
    )
    low, weight, high = ds.weight.quantile([0.1, 0.5, 0.9], "seed").values
    batches = ds.batch.values
    colours = [GREEN, *[BLUE] * (len(batches) - 1)]
    ax.bar(batches, weight, color=colours, yerr=[weight - low, high - weight], ecolor=figures.GREY)
    ax.axhline(0.0, color="black", lw=0.8)
    ax.set(xlabel="batch: 0 real, b made by model b", ylabel="change of the test error")
    ax.set_title(f"datamodel; correlation {float(ds.correlation.median()):.2f}", fontsize=9)
    ax.set_xticks(batches)
    return weight


def _draw_ensembles(ax: Any, grid: Grid, radii: np.ndarray) -> np.ndarray:
    task, generations = cj.Gaussian(data=radii, n_samples=ROWS), range(1, grid.n_generations + 1)
    curves = []
    for k, colour in zip(grid.members, (ORANGE, BLUE, GREEN), strict=True):
        loop = cj.Replace()
        if k > 1:  # all are fitted to the same real rows first, as the one is
            loop = cj.Ecosystem(loop, np.full((k, k), 1 / k), shared_real=True)
        name, n = "squared_error_mean", grid.n_generations
        ds = cj.simulate(loop, task, n, grid.seeds, metrics=[name], progress=False)
        mean = ds[name].mean([d for d in ds[name].dims if d != "generation"]).values
        label = "one generator" if k == 1 else f"{k} that share their rows"
        ax.plot(generations, mean, color=colour, lw=1.8, label=label)
        known = cj.theory.expected(loop, task, n)
        if name in known:
            curve = known[name].mean("model") if "model" in known[name].dims else known[name]
            ax.plot(generations, curve, color=colour, ls=figures.EXACT, lw=1.2)
        curves.append(mean)
    ax.set(xlabel="generation", ylabel="squared error of the mean", ylim=(0.0, None))
    ax.set_title("ensembles", fontsize=9)
    ax.legend(fontsize=8, loc="upper left")
    return np.array(curves)


def _draw_sensitivity(ax: Any, grid: Grid, radii: np.ndarray) -> np.ndarray:
    task, generations = cj.Gaussian(data=radii, n_samples=15), np.arange(1, grid.n_generations + 1)
    synthetic = cj.Synthetic(n=35)
    loops = {
        "new real rows": (GREEN, cj.Workflow(cj.Real(every=True), synthetic)),
        "the same real rows": (BLUE, cj.Workflow(cj.Real(keep=None), synthetic)),
        "none": (ORANGE, cj.Workflow(synthetic=synthetic)),
    }
    curves = []
    for label, (colour, loop) in loops.items():
        ds = cj.sensitivity(loop, task, grid.n_generations, grid.seeds, of=lambda model: model.mean)
        ratio = ds.ratio.median("seed").values
        ax.plot(generations, ratio, color=colour, lw=1.8, label=label)
        curves.append(ratio)
    law = (1 - REAL_SHARE) ** (generations - 1)
    ax.plot(generations, law, color=GREEN, ls=figures.EXACT, lw=1.2)
    ax.set(xlabel="generation", ylabel="distance over that of model 1", ylim=(0.0, None))
    ax.set_title("one real row is another one", fontsize=9)
    ax.legend(title="later generations have", fontsize=8, title_fontsize=8)
    return np.array(curves)


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "studies.png")
