"""In which sense does it collapse? Eight definitions, three workflows, four tasks.

Writes a page of tables in Markdown, with what the paper says beside each.

    python examples/diagnoses.py --out diagnose.md
"""

from pathlib import Path
from typing import NamedTuple

import _figures as figures

import collapse_jax as cj
from collapse_jax.loop.captions import caption


class Grid(NamedTuple):
    """What is simulated."""

    sizes: tuple[int, ...]
    """Sample sizes, the first of which is diagnosed; the scaling law looks at all."""
    n_generations: int
    seeds: int


QUICK = Grid(sizes=(100, 32), n_generations=100, seeds=100)
FULL = Grid(sizes=(100, 32, 316), n_generations=100, seeds=1000)
WHAT_THE_PAPER_SAYS = {
    "Gaussian": (
        "Replace: the mean drifts and the covariance collapses. Accumulate: both stay close to the "
        "truth. AccumulateSubsample: in between, and levelling off."
    ),
    "KernelDensity": (
        "Replace: the test likelihood gets worse without bound. Accumulate: it hardly changes, and "
        "may get better where the kernels are too narrow for the data. AccumulateSubsample: in "
        "between."
    ),
    "LinearRegression": (
        "Replace: the test error grows linearly. Accumulate: it is bounded. AccumulateSubsample: "
        "higher than that, and levelling off."
    ),
    "Categorical": "Replace: all but one outcome die out. The other workflows were not run.",
}
OUR_REMARKS = {
    "Gaussian": "",
    "KernelDensity": (
        "Each generation adds kernel noise, so strange data, and data between the modes, appear in "
        "all workflows; under Replace they keep coming. Likelihoods have no known smallest value, "
        "so there is no scaling law to judge."
    ),
    "LinearRegression": (
        "Under Replace the error is t times as large at every n, which does not change its power "
        "of n. Under AccumulateSubsample the change is one of small samples, n = 32 for d = 10; it "
        "is gone where n is large."
    ),
    "Categorical": "Frequencies give no probability to outcomes that were never real.",
}
HEAD = """# Which collapse?

Written by `python examples/diagnoses.py{flag}`: {seeds} chains of {t} generations, n = {n} (and
n = {others} for the scaling law). The rules are those of `collapse_jax.diagnose`, which are ours;
the definitions are those of arXiv 2503.03150. "-" is "cannot tell": the task has no such notion, or
the chains disagree. What the paper says is arXiv 2410.16713 in our words; it judges by plots.
"""
MARKS = {"yes": "**yes**", "no": "no", "cannot tell": "-"}


def tasks(n: int) -> list[cj.tasks.AbstractTask]:
    """The tasks at one sample size."""
    return [
        cj.Gaussian(3, n),
        cj.KernelDensity("moons", n, bandwidth=0.1),
        cj.LinearRegression(10, n),
        cj.Categorical(10, n),
    ]


def table(found: list[cj.Diagnosis]) -> str:
    """Definitions by workflows, with the evidence below."""
    names = [caption(workflow) for workflow in figures.WORKFLOWS]
    lines = [f"| definition | {' | '.join(names)} |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {definition} | {' | '.join(MARKS[d[definition].answer] for d in found)} |"
        for definition in found[0]
    ]
    details = "\n\n".join(str(diagnosis) for diagnosis in found)
    summary = "<details><summary>Evidence</summary>"
    return "\n".join(lines) + f"\n\n{summary}\n\n```text\n{details}\n```\n\n</details>\n"


def main(out: str = "diagnose.md", grid: Grid = QUICK) -> dict[str, list[cj.Diagnosis]]:
    """Diagnose all workflows on all tasks, write the page and return the findings by task."""
    flag = " --full" if grid == FULL else ""
    others = " and ".join(map(str, grid.sizes[1:]))
    seeds, t, n = grid.seeds, grid.n_generations, grid.sizes[0]
    page = HEAD.format(flag=flag, seeds=seeds, t=t, n=n, others=others)
    answers: dict[str, list[cj.Diagnosis]] = {}
    for by_size in zip(*map(tasks, grid.sizes), strict=True):
        task = by_size[0]
        # The scaling law is one of errors whose smallest value is zero.
        lawful = {"test_error", "squared_error", "wasserstein2"} & set(task.variables)
        chosen = by_size if lawful else [task]
        pairs = [(workflow, each) for workflow in figures.WORKFLOWS for each in chosen]
        runs = iter(figures.simulate(pairs, t, seeds, list(task.variables)))
        answers[type(task).__name__] = [
            cj.diagnose([next(runs) for _ in chosen]) for _ in figures.WORKFLOWS
        ]
    for name, found in answers.items():
        page += f"\n## {name}\n\n{table(found)}\nThe paper: {WHAT_THE_PAPER_SAYS[name]}\n"
        page += f"\n{OUR_REMARKS[name]}\n" * bool(OUR_REMARKS[name])
    Path(out).write_text(page)
    return answers


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "diagnose.md")
