"""The paper's story in minutes: three workflows on six tasks, as a table and a figure."""

import contextlib
import textwrap
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import xarray as xr

from collapse_jax.analysis.runs import Runs, collect, title
from collapse_jax.basics import files
from collapse_jax.loop import presets
from collapse_jax.loop.workflow import Workflow
from collapse_jax.machines.devices import use_all_cores
from collapse_jax.report.axes import add_legend, draw
from collapse_jax.report.figures import STYLE
from collapse_jax.report.tables import summary
from collapse_jax.run.simulation import simulate
from collapse_jax.tasks import Categorical, Gaussian, KernelDensity, LinearRegression
from collapse_jax.tasks.base import AbstractTask

if TYPE_CHECKING:  # loaded when a figure is made
    import matplotlib.figure

FIGURES = (".png", ".pdf", ".svg")
"""Suffixes of figure files."""
_BAND = (0.1, 0.9)
_LINE = 44  # characters above a panel
_AT_A_TIME = 2

_WORKFLOWS: tuple[Workflow, ...] = (
    presets.Replace(),
    presets.Accumulate(),
    presets.AccumulateSubsample(),
)


def tasks() -> dict[str, AbstractTask]:
    """The demonstration's tasks, by the metric that is shown of each."""
    return {
        "trace_ratio": Gaussian(dim=3, n_samples=50),
        "nll": KernelDensity("moons", n_samples=100, bandwidth=0.1),
        "test_error": LinearRegression(dim=10, n_samples=100),
        "entropy_ratio": Categorical(n_outcomes=10, n_samples=100),
    }


class Part(NamedTuple):
    """One task of the demonstration."""

    metric: str
    task: AbstractTask
    n_generations: int
    seeds: int | Sequence[int]


def generator() -> Part:
    """A generator that is trained by steps: few chains, and few generations."""
    from collapse_jax.trained import Diffusion  # slow to import

    task = Diffusion("moons", n_samples=300, steps=300)
    return Part("elbo", task, n_generations=10, seeds=4)


def language_model() -> Part:
    """The part that takes longest: a transformer on the embedded grammar."""
    from collapse_jax.language.task import LanguageModel  # slow to import

    task = LanguageModel(n_samples=640)
    return Part("excess_loss", task, n_generations=4, seeds=2)


def run(
    out: str | Path = "collapse.png",
    n_generations: int = 100,
    seeds: int | Sequence[int] = 400,
    progress: bool = True,
    language: bool = True,
) -> dict[str, list[xr.Dataset]]:
    """Simulate all three workflows on all tasks, print a table and save a figure.

    Takes three to four minutes on two CPU cores, half of them without the language model.

    Args:
        out: file of the figure: png, pdf or svg.
        n_generations: generations per chain; the trained generator has 10, language models 4.
        seeds: a number of chains, or their seeds; there are 4 of the generator, and 2 of language
            models.
        progress: show one progress bar, if on a terminal.
        language: whether to train language models as well.

    Returns:
        by the name of the metric, the datasets of Replace, Accumulate and
        AccumulateSubsample.

    Raises:
        ValueError: for bad arguments (`TypeError` for those of another type), before anything is
            run.
    """
    import rich
    from tqdm import tqdm

    path = files.check_writable("out", out, FIGURES)
    with contextlib.suppress(RuntimeError):  # JAX is in use already; its devices are good enough
        use_all_cores()
    parts = [Part(name, task, n_generations, seeds) for name, task in tasks().items()]
    parts += [generator(), language_model()] if language else [generator()]
    order = [part.metric for part in parts]
    parts.reverse()  # what takes longest begins
    pairs = [(part, workflow) for part in parts for workflow in _WORKFLOWS]

    def one(part: Part, workflow: Workflow) -> xr.Dataset:
        metric, task, generations, chains = part
        return simulate(workflow, task, generations, chains, metrics=(metric,), progress=False)

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
    groups: dict[str, list[xr.Dataset]] = {name: [] for name in order}
    for (part, _), done in zip(pairs, running, strict=True):
        groups[part.metric].append(done.result())
    rich.print(summary(*groups.values()))
    image, suffix = figure(groups), path.suffix[1:].lower()
    files.write_atomically(path, lambda name: image.savefig(name, format=suffix, dpi=200))
    print(f"Figure: {path}")
    return groups


def figure(groups: Mapping[str, Runs]) -> "matplotlib.figure.Figure":
    """One panel per group of runs, with a common legend.

    Args:
        groups: runs by the metric to show of them.
    """
    import matplotlib

    from collapse_jax.report.pictures import Picture

    columns = min(len(groups), 3 if len(groups) > 4 else 2)
    rows = -(-len(groups) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Picture(figsize=(3.8 * columns, 2.75 * rows), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        curves = []
        for ax, (name, group) in zip(panels, groups.items(), strict=False):
            runs = collect(group)
            curves += draw(ax, name, runs, _BAND)
            task, _, settings = title(runs).partition(": ")
            lines = textwrap.wrap(settings, _LINE)
            ax.set_title(task, fontweight="bold", loc="left", pad=7 + 12 * len(lines))
            ax.text(0.0, 1.03, "\n".join(lines), transform=ax.transAxes, va="bottom", fontsize=9.0)
        for ax in panels[len(groups) :]:
            ax.set_axis_off()
        add_legend(figure, curves, _BAND)
    return figure
