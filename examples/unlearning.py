"""Which generations have to be forgotten to undo a collapse, and how well posteriors forget.

Left: all batches stay, and each model makes rows with half of its variance, so that variances
fall. Batches are taken out of the last of the models, without fitting it again. Right: a share of
the rows is taken out of the posterior of a logistic regression on scikit-learn's breast_cancer.

    python examples/unlearning.py --out unlearning.png
"""

from pathlib import Path
from typing import Any, NamedTuple

import _figures as figures
import numpy as np
from sklearn.datasets import load_breast_cancer

import collapse_jax as cj


class Grid(NamedTuple):
    """What is simulated."""

    n_samples: int
    n_generations: int
    seeds: int
    shares: tuple[float, ...]
    tables: int
    """Chains on the table."""


QUICK = Grid(n_samples=100, n_generations=10, seeds=50, shares=(0.1, 0.2, 0.3), tables=4)
FULL = Grid(n_samples=100, n_generations=10, seeds=500, shares=(0.1, 0.2, 0.3, 0.4), tables=20)
COLD = cj.Workflow(cj.Real(keep=None), cj.Synthetic(keep=None, temperature=0.5))
REMOVALS = {
    "that of this model": ("#0072B2", lambda b, last: [b]),
    "those of this and all earlier models": ("#D55E00", lambda b, last: range(1, b + 1)),
    "those of this and all later models": ("#009E73", range),
}
METHODS = {"upper bound": "#0072B2", "reversed": "#D55E00"}


def main(out: str = "unlearning.png", grid: Grid = QUICK) -> tuple[Path, dict[str, np.ndarray]]:
    """Draw both panels; returns the mean variances by what is removed too."""
    note = f"{grid.seeds} and {grid.tables} chains" + "; quick mode" * (grid != FULL)
    figure, axes = figures.panels(1, 2, "Taken out again, without another fit", note, (4.6, 3.6))
    found = _draw_generations(axes[0, 0], grid)
    _draw_shares(axes[0, 1], grid)
    return figures.save(figure, out), found


def _draw_generations(ax: Any, grid: Grid) -> dict[str, np.ndarray]:
    task, last = cj.Gaussian(dim=2, n_samples=grid.n_samples), grid.n_generations
    models, found = np.arange(1, last), {}
    full = 0.0
    for label, (colour, removed) in REMOVALS.items():
        means = []
        for b in models:
            ds = cj.unlearn(COLD, task, last, grid.seeds, synthetic=list(removed(int(b), last)))
            full, unlearned, _ = ds.trace_ratio.mean("seed").values
            means.append(unlearned)
        found[label] = np.array(means)
        ax.plot(models, means, "o-", color=colour, ms=4, lw=1.8, label=label)
    ax.axhline(1.0, color=figures.GREY, ls=figures.EXACT, lw=1.2)
    ax.axhline(full, color=figures.GREY, lw=1.2)
    ax.annotate("truth", (last - 1, 1.0), va="bottom", ha="right", fontsize=8)
    ax.annotate("nothing removed", (last - 1, full - 0.01), va="top", ha="right", fontsize=8)
    ax.set(xlabel="model that made the batch", ylim=(0.0, 1.1), xticks=models)
    ax.set_ylabel(f"variance of model {last}, over the truth's")
    ax.legend(title="batches removed", fontsize=8, title_fontsize=8, loc="lower left")
    return found


def _draw_shares(ax: Any, grid: Grid) -> None:
    task = cj.LogisticRegression(data=load_breast_cancer(return_X_y=True), penalty=10.0)
    percent, full = [100 * share for share in grid.shares], []
    for name, colour in METHODS.items():
        found = []
        for share in grid.shares:
            rows = range(round(share * task.n_samples))
            method = "reversed" if name == "reversed" else "upper_bound"
            ds = cj.unlearn(cj.Replace(), task, 1, grid.tables, real={1: rows}, method=method)
            found.append(ds.divergence)
        means = [part.sel(model="unlearned").mean() for part in found]
        full = [part.sel(model="full").mean() for part in found]
        ax.plot(percent, means, "o-", color=colour, ms=4, lw=1.8, label=f"unlearned, {name}")
    ax.plot(percent, full, "o-", color=figures.GREY, ms=4, lw=1.8, label="nothing removed")
    ax.set(yscale="log", xticks=percent, xlabel="rows removed (%)")
    ax.set_ylabel("divergence from the retrained posterior (nat)")
    ax.legend(fontsize=8, loc="lower right")


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "unlearning.png")
