"""Which bandwidth survives its own output? Nine kernel bandwidths under three workflows.

The kernel-density study of arXiv 2410.16713: each generation estimates the density of two moons
from what earlier ones sampled. Narrow kernels follow every sample and blow up under Replace; wide
ones blur the moons, and then the blurred moons, and so on.

    python examples/bandwidths.py                 # 100 generations
    python examples/bandwidths.py --full          # 1,000, kept in a folder: Ctrl-C, and go on later
"""

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import collapse_jax as cj

BANDWIDTHS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


def main(
    out: str = "bandwidths.png",
    n_generations: int = 100,
    seeds: int = 20,
    checkpoint: str | None = None,
) -> xr.Dataset:
    """Run the sweep and draw each workflow's mean test loss by generation."""
    ds = cj.sweep(
        [cj.Replace(), cj.Accumulate(), cj.AccumulateSubsample()],
        cj.KernelDensity("moons", n_samples=100),
        {"bandwidth": BANDWIDTHS},
        n_generations,
        seeds,
        metrics=["nll"],
        checkpoint=checkpoint,
    )
    figure, panels = plt.subplots(
        1, ds.sizes["workflow"], figsize=(11, 3.6), sharey=True, layout="constrained"
    )
    colors = plt.get_cmap("viridis")(np.linspace(0.0, 0.95, len(BANDWIDTHS)))
    for panel, workflow in zip(panels, ds.workflow.values, strict=True):
        mean = ds.nll.sel(workflow=workflow).mean("seed")
        for bandwidth, color in zip(BANDWIDTHS, colors, strict=True):
            curve = mean.sel(bandwidth=bandwidth)
            panel.plot(ds.generation, curve, color=color, label=f"{bandwidth:g}")
        panel.set(xscale="log", yscale="symlog", xlabel="generation", title=workflow)
    panels[0].set_ylabel("negative log-density of real data (nat)")
    panels[-1].legend(title="bandwidth", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(out, dpi=200)
    plt.close(figure)
    return ds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="bandwidths.png", help="where to write the figure")
    parser.add_argument("--full", action="store_true", help="1,000 generations, 100 chains a curve")
    cj.use_all_cores()
    options = parser.parse_args()
    started = time.perf_counter()
    if options.full:
        main(options.out, 1000, 100, checkpoint="bandwidths")
    else:
        main(options.out)
    print(f"{options.out}, after {time.perf_counter() - started:.0f} s")
