"""The paper's story in a minute: three workflows on four tasks, as a table and a figure."""

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from collapse_jax import files, workflows
from collapse_jax.devices import use_all_cores
from collapse_jax.panels import add_legend, draw
from collapse_jax.plot import STYLE
from collapse_jax.runs import Runs, collect, title
from collapse_jax.simulate import simulate
from collapse_jax.table import summary
from collapse_jax.tasks import Categorical, Gaussian, KernelDensity, LinearRegression
from collapse_jax.tasks.base import AbstractTask
from collapse_jax.workflows import AbstractWorkflow

if TYPE_CHECKING:  # loaded when a figure is made
    import matplotlib.figure

FIGURES = (".png", ".pdf", ".svg")
"""Suffixes of figure files."""
_BAND = (0.1, 0.9)
_AT_A_TIME = 2

_WORKFLOWS: tuple[AbstractWorkflow, ...] = (
    workflows.Replace(),
    workflows.Accumulate(),
    workflows.AccumulateSubsample(),
)


def tasks() -> dict[str, AbstractTask]:
    """The demonstration's tasks, by the metric that is shown of each."""
    return {
        "trace_ratio": Gaussian(dim=3, n_samples=50),
        "nll": KernelDensity("moons", n_samples=100, bandwidth=0.1),
        "test_error": LinearRegression(dim=10, n_samples=100),
        "entropy_ratio": Categorical(n_outcomes=10, n_samples=100),
    }


def run(
    out: str | Path = "collapse.png",
    n_generations: int = 100,
    seeds: int | Sequence[int] = 400,
    progress: bool = True,
) -> dict[str, list[xr.Dataset]]:
    """Simulate all three workflows on four tasks, print a table and save a figure.

    Takes about a minute on two CPU cores, most of it for compilation.

    **Arguments:**

    - `out`: file of the figure: png, pdf or svg.
    - `n_generations`: generations per chain.
    - `seeds`: a number of chains, or their seeds.
    - `progress`: show one progress bar, if on a terminal.

    **Returns:** by the name of the metric, the datasets of Replace, Accumulate and
    AccumulateSubsample.

    Raises `ValueError` or `TypeError` for bad arguments, before anything is run.
    """
    import rich
    from tqdm.auto import tqdm

    path = files.check_writable("out", out, FIGURES)
    with contextlib.suppress(RuntimeError):  # JAX is in use already; its devices are good enough
        use_all_cores()
    pairs = [(name, task, workflow) for name, task in tasks().items() for workflow in _WORKFLOWS]

    def one(name: str, task: AbstractTask, workflow: AbstractWorkflow) -> xr.Dataset:
        return simulate(workflow, task, n_generations, seeds, metrics=(name,), progress=False)

    # Compilation, which is most of the work, uses one core at a time.
    pool = ThreadPoolExecutor(_AT_A_TIME)
    total = len(pairs)
    with tqdm(total=total, unit="run", disable=None if progress else True, leave=False) as bar:
        try:
            running = [pool.submit(one, *pair) for pair in pairs]
            for done in as_completed(running):
                done.result()
                bar.update()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    groups: dict[str, list[xr.Dataset]] = {name: [] for name, _, _ in pairs}
    for (name, _, _), done in zip(pairs, running, strict=True):
        groups[name].append(done.result())
    rich.print(summary(*groups.values()))
    image, suffix = figure(groups), path.suffix[1:].lower()
    files.write_atomically(path, lambda name: image.savefig(name, format=suffix, dpi=200))
    print(f"Figure: {path}")
    return groups


def figure(groups: Mapping[str, Runs]) -> "matplotlib.figure.Figure":
    """One panel per group of runs, with a common legend.

    **Arguments:**

    - `groups`: runs by the metric to show of them.
    """
    import matplotlib
    from matplotlib.figure import Figure

    columns = 2 if len(groups) > 1 else 1
    rows = -(-len(groups) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.8 * columns, 2.75 * rows), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        curves = []
        for ax, (name, group) in zip(panels, groups.items(), strict=False):
            runs = collect(group)
            curves += draw(ax, name, runs, _BAND)
            task, _, settings = title(runs).partition(": ")
            ax.set_title(task, fontweight="bold", loc="left", pad=19)
            ax.text(0.0, 1.03, settings, transform=ax.transAxes, va="bottom", fontsize=9.0)
        for ax in panels[len(groups) :]:
            ax.set_axis_off()
        add_legend(figure, curves, _BAND)
    return figure
