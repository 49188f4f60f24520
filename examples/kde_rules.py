"""Kernel densities whose bandwidth follows a rule: Scott's and Silverman's.

Both depend on the size of the training set, so under Accumulate the bandwidth shrinks; in two
dimensions they are the same.

    python examples/kde_rules.py --out rules.png
"""

from pathlib import Path
from typing import NamedTuple

import _figures as figures

import collapse_jax as cj
from collapse_jax.report.axes import PALETTE


class Grid(NamedTuple):
    """What is simulated."""

    datasets: tuple[str, ...]
    n_samples: int
    n_generations: int
    seeds: int


QUICK = Grid(("swiss_roll",), n_samples=32, n_generations=50, seeds=20)
FULL = Grid(
    ("blobs", "circles", "moons", "swiss_roll"), n_samples=100, n_generations=1000, seeds=100
)
RULES = ("scott", "silverman")


def main(out: str = "rules.png", grid: Grid = QUICK) -> Path:
    """Simulate both rules; rows are data sets, columns rules."""
    cases = [(rule, dataset) for dataset in grid.datasets for rule in RULES]
    pairs = [
        (workflow, cj.KernelDensity(dataset, grid.n_samples, bandwidth=rule))
        for rule, dataset in cases
        for workflow in figures.WORKFLOWS
    ]
    runs = figures.simulate(pairs, grid.n_generations, grid.seeds, ["nll"])
    note = figures.note(grid.seeds, quick=grid != FULL) + f", n = {grid.n_samples}"
    title = "Kernel densities with the rules of Scott and Silverman"
    figure, axes = figures.panels(len(grid.datasets), 2, title, note)
    for i, (ax, (rule, dataset)) in enumerate(zip(axes.flat, cases, strict=True)):
        cj.plot(runs[3 * i : 3 * i + 3], variables=["nll"], axes=ax)
        ax.set_title(f"{dataset.replace('_', ' ')}, {rule.title()}", fontsize=10)
        ax.set_ylabel("test NLL [nat]")
    for row in axes:
        low, high = zip(*(ax.get_ylim() for ax in row), strict=True)
        for ax in row:
            ax.set_ylim(min(low), max(high))
    figures.share_labels(axes)
    figures.legend(figure, dict(PALETTE))
    return figures.save(figure, out)


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "rules.png")
