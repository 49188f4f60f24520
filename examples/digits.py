"""Diffusion models on their own digits: they fall apart, unless real ones are mixed in.

Three loops of scikit-learn's digits (8 x 8 pixels): generated digits alone; the real ones, and half
as many generated ones, where models stay close to the first; and digits generated at a low
temperature, which keep the looks of digits and lose their variety. A digit counts as recognised if
a classifier, and the nearest real digit, both from the real training digits, say the same.

python examples/digits.py --out digits.png
"""

from pathlib import Path
from typing import Any, NamedTuple

import _figures as figures
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

import collapse_jax as cj


class Grid(NamedTuple):
    """What is simulated."""

    n_generations: int
    seeds: int
    steps: int = 1500
    width: int = 256


QUICK, FULL = Grid(5, 1), Grid(10, 8, steps=4000)
METRICS = ("frechet", "precision", "recall")
COLORS = {"generated only": "#B3262A", "real and half as many": "#1F6FB4", "cold": "#7A4FA3"}
SHOWN = 7  # digits of a row


def loops(n: int) -> dict[str, cj.Workflow]:
    """Replace; mixing as in arXiv 2310.00429; biased sampling as in arXiv 2307.01850."""
    return {
        "generated only": cj.Replace(),
        "real and half as many": cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=n // 2)),
        "cold": cj.Workflow(synthetic=cj.Synthetic(temperature=0.6)),
    }


def main(out: str = "digits.png", grid: Grid = QUICK) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Draw digits and what is measured of them, and return the means over chains."""
    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    task = cj.Diffusion(
        data=images.reshape(-1, 8, 8), steps=grid.steps, width=grid.width, learning_rate=3e-3
    )
    real = np.asarray(task.shown(None, task.train)).reshape(-1, 64)  # pyright: ignore
    known = labels[np.random.default_rng(0).permutation(len(labels))[task.n_test :]]
    judges = [LogisticRegression(max_iter=2000), KNeighborsClassifier(1)]
    for judge in judges:
        judge.fit(real / 16.0, known)
    found, drawn = {}, {}
    for name, loop in loops(task.n_samples).items():
        digits: list[np.ndarray] = []

        def see(made: Any, digits: list[np.ndarray] = digits) -> None:
            rows = [np.asarray(task.shown(None, rows)) for rows in made.rows[: grid.seeds]]
            digits.append(np.stack(rows).reshape(len(rows), -1, 64))

        ds = cj.simulate(
            *(loop, task, grid.n_generations, grid.seeds), metrics=METRICS, observe=see
        )
        means = {metric: ds[metric].mean("seed").values for metric in METRICS}
        first, second = (
            [judge.predict(x.reshape(-1, 64) / 16.0) for x in digits] for judge in judges
        )
        means["recognised"] = np.mean(np.equal(first, second), axis=1)
        shown = sorted({0, len(digits) // 2, len(digits) - 1})
        drawn[name] = {str(t + 1): digits[t][0, :SHOWN].reshape(-1, 8, 8) for t in shown}
        found[name] = means
    small = figures.note(grid.seeds, grid is QUICK)
    figure = figures.digits("Diffusion models on their own digits", small, drawn, found, COLORS)
    return figures.save(figure, out), found


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "digits.png")
