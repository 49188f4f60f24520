"""Which bandwidth survives its own output? Nine kernel bandwidths under three workflows.

The kernel-density study of arXiv 2410.16713: each generation estimates the density of two moons
from what earlier ones sampled. Narrow kernels follow every sample and blow up under Replace; wide
ones blur the moons, and then the blurred moons, and so on.

    python examples/bandwidths.py                 # 100 generations
    python examples/bandwidths.py --full          # 1,000, kept in a folder: Ctrl-C, and go on later
"""

from typing import NamedTuple

import _figures as figures
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import collapse_jax as cj

BANDWIDTHS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


class Grid(NamedTuple):
    """What is simulated."""

    n_generations: int
    seeds: int
    checkpoint: str | None = None


QUICK, FULL = Grid(100, 20), Grid(1000, 100, checkpoint="bandwidths")


def main(out: str = "bandwidths.png", grid: Grid = QUICK) -> xr.Dataset:
    """Run the sweep and draw each workflow's mean test loss by generation."""
    ds = cj.sweep(
        list(figures.WORKFLOWS),
        cj.KernelDensity("moons", n_samples=100),
        {"bandwidth": BANDWIDTHS},
        grid.n_generations,
        grid.seeds,
        metrics=["nll"],
        checkpoint=grid.checkpoint,
        progress=False,
    )
    note = figures.note(grid.seeds, quick=grid == QUICK) + ", n = 100"
    figure, axes = figures.panels(1, ds.sizes["workflow"], "Nine bandwidths on two moons", note)
    colors = plt.get_cmap("viridis")(np.linspace(0.0, 0.95, len(BANDWIDTHS)))
    for ax, workflow in zip(axes[0], ds.workflow.values, strict=True):
        chains = ds.nll.sel(workflow=workflow)
        for bandwidth, color in zip(BANDWIDTHS, colors, strict=True):
            curve = chains.sel(bandwidth=bandwidth)
            band = curve.quantile((0.1, 0.9), "seed")
            ax.fill_between(ds.generation, *band, color=color, alpha=0.15, lw=0)
            ax.plot(ds.generation, curve.mean("seed"), color=color, label=f"{bandwidth:g}")
        ax.set_title(workflow, fontsize=10)
        ax.set(xscale="log", xlabel="generation", ylabel="test loss [nat]")
        ax.set_yscale("symlog", linthresh=1.0)
        ax.set_ylim(min(0.0, float(ds.nll.min())), 1.5 * float(ds.nll.max()))
    figures.share_labels(axes)
    axes[0, -1].legend(title="bandwidth", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figures.save(figure, out)
    return ds


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "bandwidths.png")
