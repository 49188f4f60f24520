"""What generated rows are worth beside real ones: lines of equal loss, and exchange rates.

Models of so many real rows, and of so many that a generator makes which was fitted to 100 others:
along a line models are as good as of the real rows alone where it begins. Left a Gaussian's mean,
right a regression; solid lines are simulated, broken ones theory, where there is one. Numbers are
how many generated rows one real row is worth.

    python examples/worth.py --out worth.png
"""

from pathlib import Path
from typing import Any, NamedTuple

import _figures as figures
import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

import collapse_jax as cj


class Grid(NamedTuple):
    """What is simulated."""

    n_real: tuple[int, ...]
    n_synthetic: tuple[int, ...]
    seeds: int
    generator: int


QUICK = Grid((10, 20, 40, 80, 160), (0, 20, 40, 80, 160, 320), seeds=2000, generator=100)
FULL = QUICK._replace(seeds=20_000)
MEASURED, EXACT = "#0072B2", "#D55E00"


def main(out: str = "worth.png", grid: Grid = QUICK) -> tuple[Path, dict[str, xr.Dataset]]:
    """Draw both panels; returns what was found too."""
    title = f"Rows of a generator that was fitted to {grid.generator} real ones"
    note = figures.note(grid.seeds, quick=grid != FULL)
    figure, axes = figures.panels(1, 2, title, note, (4.4, 3.8))
    tasks = {
        "squared_error_mean": ("a Gaussian's mean", cj.Gaussian(dim=1)),
        "test_error": ("a regression", cj.LinearRegression(dim=5, design="fresh")),
    }
    found = {}
    for ax, (metric, (name, task)) in zip(axes[0], tasks.items(), strict=True):
        ds = cj.worth(
            task,
            grid.n_real,
            grid.n_synthetic,
            grid.seeds,
            metric=metric,
            generator=grid.generator,
        )
        _draw(ax, ds, metric)
        ax.set_title(f"{name}: {ds[metric].attrs['long_name']}", fontsize=9)
        found[name] = ds
    lines = [
        Line2D([], [], color=MEASURED, linewidth=2.6, alpha=0.6, label="equal loss, simulated"),
        Line2D([], [], color=EXACT, linewidth=1.4, linestyle=(0, (4, 2)), label="theory"),
        Line2D([], [], linestyle="", marker="$2$", color="black", label="generated rows per real"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=3, fontsize=8)
    return figures.save(figure, out), found


def _draw(ax: Any, ds: xr.Dataset, metric: str) -> None:
    levels = np.sort(np.log(ds[metric].sel(n_synthetic=0).values))
    x, y = ds.n_synthetic.values, ds.n_real.values
    style = {"levels": levels, "linestyles": "solid"}
    ax.contour(x, y, np.log(ds[metric]), colors=MEASURED, linewidths=2.6, alpha=0.6, **style)
    style["linestyles"] = [(0, (4, 2))]
    ax.contour(x, y, np.log(ds.expected), colors=EXACT, linewidths=1.4, **style)
    for (i, j), rate in np.ndenumerate(ds.exchange.values):
        if x[j] and not np.isnan(rate):
            text = "∞" if np.isinf(rate) else f"{rate:.2g}"
            ax.annotate(text, (x[j], y[i]), ha="center", va="center", fontsize=8)
    ax.set_xscale("symlog", linthresh=x[x > 0].min(), linscale=0.6)
    ax.set_yscale("log")
    for axis, values in ((ax.xaxis, x), (ax.yaxis, y)):
        axis.set_ticks(values, [str(value) for value in values])
        axis.set_ticks([], minor=True)
    ax.set(xlabel="generated rows", ylabel="real rows", ylim=(0.9 * y.min(), 1.1 * y.max()))
    ax.set_xlim(-1.0, 1.3 * x.max())
    ax.grid(visible=False)


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "worth.png")
