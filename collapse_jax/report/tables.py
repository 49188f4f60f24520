"""The outcome of runs as a table in the terminal: errors, theory and the verdict."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_jax.analysis.estimates import mean_of
from collapse_jax.analysis.runs import Run, Runs, Theory, collect, title
from collapse_jax.analysis.verdicts import SCALES, headline, verdict
from collapse_jax.loop.plan import SIZES

if TYPE_CHECKING:  # loaded when a table is made, so that importing the package stays quick
    import rich.console
    import rich.table

_COLOURS = {"collapse": "red", "plateau": "yellow", "stable": "green", "uncertain": "default"}
_FURTHER = ("test_loss", "train_loss", "acceptance_rate", "mean_reward", "distinct_documents")
"""What else says how training and sampling went, a line each."""
_NAMED = "perplexity_"  # what the metrics of named texts begin with
MARKS = {"exact": "", "asymptotic": "~", "bound": "≤"}
"""What stands in front of theory that is not exact."""


def summary(*groups: Runs, theory: Theory = True) -> "rich.console.Group":
    """What came out of runs, one table per group and one line per run; for `rich.print`.

    A line has the run's headline metric (see `analysis.verdicts.headline`) in the first and the
    last generation, as mean and standard error over chains; what theory predicts for the mean in
    the last generation, where it is known; and the verdict. Below it are the other metrics that
    were asked for by name; else, of language models, the losses, the perplexities of named texts,
    the share of documents that were accepted, their mean reward, and how many differ.

    Args:
        groups: runs that belong together, for instance of three workflows on one task: each a
            dataset from `collapse_jax.simulate`, or a mapping from labels, or a sequence.
        theory: as in `collapse_jax.report.figures.plot`; datasets only for a single group.

    Raises:
        ValueError: for what is no such dataset (`TypeError` for another type).
    """
    from rich.console import Group
    from rich.text import Text

    if len(groups) != 1 and not isinstance(theory, bool):
        raise ValueError("theory must be True or False where there are several groups")
    collected = [collect(group, theory) for group in groups]
    parts: list[Any] = []
    for runs in collected:
        parts += [Text(title(runs), style="bold"), _table(runs)]
    chains = {run.ds.sizes["seed"] for runs in collected for run in runs}
    number = " to ".join(str(n) for n in sorted({min(chains), max(chains)}))
    note = f"Mean ± standard error over {number} chain{'s' * (chains != {1})}"
    if any(_kind(run) == "asymptotic" for runs in collected for run in runs):
        note += "; ~ in large samples"
    return Group(*parts, Text(f"{note}.", style="dim"))


def _table(runs: Sequence[Run]) -> "rich.table.Table":
    """One group: a line per run."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = list(dict.fromkeys(_name(run) for run in runs))
    table.add_column(" / ".join(names), overflow="fold")
    for t in (0, -1):
        ends = sorted({int(run.ds["generation"][t]) for run in runs})
        table.add_column(f"generation {'/'.join(map(str, ends))}", justify="right")
    predicts = any(_kind(run) for run in runs)
    if predicts:
        table.add_column("theory", justify="right")
    table.add_column("")
    for run in runs:
        name = _name(run)
        values = run.ds[name].transpose("seed", "generation").values.astype(np.float64)
        predicted, kind = [""] * predicts, _kind(run)
        if kind:
            predicted[0] = MARKS.get(kind, "") + f"{float(run.theory[name].values[-1]):.3g}"
        answer = verdict(run.ds).answer if name in SCALES else ""
        style = _COLOURS.get(answer, "default")
        estimates = [estimate(*mean_of(values[:, t])) for t in (0, -1)]
        table.add_row(run.label or name, *estimates, *predicted, f"[{style}]{answer}[/{style}]")
        for further in (other for other in _further(run) if other != name):
            values = run.ds[further].transpose("seed", "generation").values.astype(np.float64)
            estimates = [estimate(*mean_of(values[:, t])) for t in (0, -1)]
            table.add_row(f"  {further}", *estimates)
    return table


def _name(run: Run) -> str:
    """The metric to show: the headline, or any where there is none."""
    return headline(run.ds) if any(name in run.ds for name in SCALES) else run.metrics[0]


def _further(run: Run) -> list[str]:
    """What else to show: all that was asked for by name, or what a reader wants to know anyway."""
    found = run.ds.data_vars.items()
    names = [str(name) for name, values in found if {*values.dims} == {"seed", "generation"}]
    if not {*SIZES} <= {*names}:  # a run for which nothing is named has the sizes too
        return names
    perplexities = [name for name in names if name.startswith(_NAMED)]
    return [name for name in (*_FURTHER, *perplexities) if name in names]


def _kind(run: Run) -> str:
    """Kind of the theory of the metric shown, empty where there is none."""
    name = _name(run)
    return str(run.theory[name].attrs.get("kind", "exact")) if name in run.theory else ""


def estimate(mean: float, error: float) -> str:
    """Mean and standard error, to two digits of the latter but no more than four of the mean.

    The mean alone where its error is not known, or nothing but rounding.

    Example:
        >>> estimate(1.64493, 0.0123), estimate(0.00021, math.nan)
        ('1.645 ± 0.012', '0.00021')
    """
    size = max(abs(mean), error)
    if not math.isfinite(size + error) or error <= 1e-5 * size:
        return f"{mean:.4g}"
    if not 1e-3 <= size < 1e5:
        return f"{mean:.1e} ± {error:.0e}"
    decimals = max(0, min(1 - _exponent(error), 3 - _exponent(size)))
    if error < 0.5 * 10.0**-decimals:
        return f"{mean:.{decimals}f}"
    return f"{mean:.{decimals}f} ± {error:.{decimals}f}"


def _exponent(number: float) -> int:
    return math.floor(math.log10(number))
