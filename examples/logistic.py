"""Logistic regression on its own labels, on two real tables: patients and tumours.

Labels are drawn anew in each generation, on the same rows. Without the old ones they become
separable, which is a state without a way back; with them the models stay what they are. The tables
are scikit-learn's: diabetes (progression above 100) and the ten mean measurements of breast
cancers. With all thirty the real labels are separable from the start.

python examples/logistic.py --out logistic.png
"""

from pathlib import Path
from typing import NamedTuple

import _figures as figures
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes

import collapse_jax as cj
from collapse_jax.loop.captions import caption
from collapse_jax.report.axes import PALETTE


class Grid(NamedTuple):
    """What is simulated."""

    n_generations: int
    seeds: int


QUICK, FULL = Grid(50, 50), Grid(50, 500)
WORKFLOWS = (cj.Replace(), cj.Accumulate())


def tasks() -> dict[str, cj.LogisticRegression]:
    """One task for each table; 30 % of its rows are kept for tests."""
    patients, progression = map(np.asarray, load_diabetes(return_X_y=True))
    tumours, kind = map(np.asarray, load_breast_cancer(return_X_y=True))
    tables = {
        "diabetes": (patients, progression > 100.0),
        "breast cancer": (tumours[:, :10], np.array(["malignant", "benign"])[kind]),
    }
    return {
        name: cj.LogisticRegression(data=data, test_fraction=0.3) for name, data in tables.items()
    }


def main(out: str = "logistic.png", grid: Grid = QUICK) -> tuple[Path, dict[str, float]]:
    """Draw the loss on test rows, and return by what it was multiplied in the end."""
    found = tasks()
    pairs = [(workflow, task) for workflow in WORKFLOWS for task in found.values()]
    runs = figures.simulate(pairs, grid.n_generations, grid.seeds, ["nll", "separable"])
    note = figures.note(grid.seeds, quick=False) + ", the same rows in all generations"
    figure, axes = figures.panels(2, len(found), "Logistic regression on its own labels", note)
    t = np.arange(1, grid.n_generations + 1)
    growth = {}
    for i, ((workflow, _), ds) in enumerate(zip(pairs, runs, strict=True)):
        name, column = caption(workflow), i % len(found)
        loss, share = axes[:, column]
        table = list(found)[column]
        growth[f"{name}, {table}"] = float(ds.nll[:, -1].mean() / ds.nll[:, 0].mean())
        loss.fill_between(t, *ds.nll.quantile((0.1, 0.9), "seed"), color=PALETTE[name], alpha=0.15)
        loss.plot(t, ds.nll.mean("seed"), color=PALETTE[name], lw=2.0)
        share.plot(t, ds.separable.mean("seed"), color=PALETTE[name], lw=2.0)
        loss.set_title(table, fontsize=10)
        loss.set(xscale="log", yscale="log", xlim=(1, t[-1]), ylabel="test loss [nat]")
        share.set(xscale="log", xlim=(1, t[-1]), ylim=(-0.03, 1.03), xlabel="generation")
        share.set_ylabel("share separable")
    figures.share_labels(axes)
    figures.legend(figure, {name: PALETTE[name] for name in map(caption, WORKFLOWS)})
    return figures.save(figure, out), growth


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "logistic.png")
