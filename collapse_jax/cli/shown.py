"""`collapse-jax show` and `report`: what saved runs say, without running them again."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from collapse_jax.basics import files as whole_files
from collapse_jax.basics import sums
from collapse_jax.basics.annotations import File
from collapse_jax.cli.options.tasks import find_own

if TYPE_CHECKING:
    import pandas as pd
    import rich.table
    import xarray as xr


def show_runs(
    files: Annotated[Sequence[str], "FILE ..."],
    metrics: Annotated[Sequence[str], "NAME ..."] = (),
    theory: bool = True,
    diagnose: bool = False,
    compare: bool = False,
    baseline: Annotated[str | None, "LABEL"] = None,
    slopes: bool = False,
    figure: File | None = None,
    table: File | None = None,
    task: Annotated[str | None, "MODULE:CLASS"] = None,
) -> None:
    """Show saved runs: the errors of each, what theory says of them, and the verdict.

    Args:
        files: datasets, as simulate or sweep saved them (.nc). Several are called by their names.
        metrics: metrics to compare, draw and tabulate. Default all of the task.
        theory: whether to work out the theory, where it is known.
        diagnose: say in which of eight senses each run collapses.
        compare: compare the last generations of the runs with those of one of them, chain by chain
            where they share seeds.
        baseline: the run that others are compared with. Default the first.
        slopes: the exponents of the power laws over the last three quarters of the generations,
            beside those of theory.
        figure: save a figure (.png, .pdf or .svg).
        table: save a table of means with standard errors, units and theory (.tex, .md or .csv).
        task: the task of your own that runs are of, whose theory is then known too.
    """
    import rich

    from collapse_jax.analysis.comparisons import compare as compare_runs
    from collapse_jax.analysis.definitions import diagnose as find_definitions
    from collapse_jax.analysis.exponents import slopes as find_slopes
    from collapse_jax.analysis.runs import collect
    from collapse_jax.records.run_files import read_run
    from collapse_jax.report.demonstration import FIGURES
    from collapse_jax.report.figures import plot
    from collapse_jax.report.paper import FORMATS
    from collapse_jax.report.paper import table as paper_table
    from collapse_jax.report.tables import summary

    if task is not None:
        find_own(task)
    drawn = figure and whole_files.check_writable("figure", figure, FIGURES)
    tabled = table and whole_files.check_writable("table", table, FORMATS)
    names = list(metrics) or None
    named = _named(files, [read_run(file) for file in files])
    given: Any = named if len(named) > 1 else next(iter(named.values()))
    runs = collect(given, theory=False)
    if len(runs) < 2 and (compare or baseline is not None):
        raise ValueError("compare needs two runs or more; name several files")
    groups: dict[str, dict[str, xr.Dataset]] = {}
    for run in runs:
        groups.setdefault(run.task, {})[run.label or run.workflow] = run.ds
    rich.print(summary(*groups.values(), theory=theory))
    if compare or baseline is not None:
        frame = compare_runs(given, baseline=baseline, variables=names)
        rich.print(_comparison(frame))
    if slopes:
        rich.print(_exponents(find_slopes(given, variables=names)))
    if diagnose:
        for run in runs:
            print(f"\n{run.label}" if run.label else "")
            print(find_definitions(run.ds))
    if tabled:
        paper_table(given, variables=names, theory=theory).save(tabled)
        print(f"Table: {tabled}")
    if drawn:
        image, suffix = plot(given, variables=names, theory=theory), drawn.suffix[1:].lower()
        whole_files.write_atomically(
            drawn, lambda path: image.savefig(path, format=suffix, dpi=200)
        )
        print(f"Figure: {drawn}")


def write_page(
    files: Annotated[Sequence[str], "FILE ..."],
    out: File = "report.html",
    title: str = "Model collapse: a report",
    theory: bool = True,
    task: Annotated[str | None, "MODULE:CLASS"] = None,
) -> None:
    """Write saved runs and sweeps as one page of HTML that works without a network.

    Args:
        files: the datasets, as simulate or sweep saved them (.nc). A picture that simulate saved of
            one (.png or .gif, of 4 MB at most) is shown where it is in the same folder.
        out: the page (.html).
        title: heading of the page.
        theory: draw theory where it is known.
        task: the task of your own that runs are of, whose theory is then known too.
    """
    from collapse_jax.records.run_files import read_run
    from collapse_jax.report.page.writing import write_report

    if task is not None:
        find_own(task)
    whole_files.check_writable("out", out, (".html",))
    runs = _named(files, [read_run(file) for file in files])
    pictures = _pictures(dict(zip(runs, files, strict=True)), runs)
    path = write_report(runs, out, title=title, theory=theory, pictures=pictures)
    print(f"Page: {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _pictures(paths: Mapping[str, str], runs: "Mapping[str, xr.Dataset]") -> dict[str, Path]:
    """Pictures beside the files of runs that name one; no other folder is looked into."""
    from collapse_jax.report.page.writing import read_picture

    found = {}
    for label, ds in runs.items():
        path = Path(paths[label]).parent / Path(str(ds.attrs.get("picture", ""))).name
        if not path.is_file():
            continue
        try:
            read_picture(path)
            if ds.attrs.get("picture_sum") != sums.sum_of_file(path):
                raise ValueError(f"{path} is no longer the picture of this run")
        except (OSError, ValueError) as error:
            print(f"The picture of {label} is left out: {error}", file=sys.stderr)
        else:
            found[label] = path
    return found


def _named(files: Sequence[str], datasets: "Sequence[xr.Dataset]") -> "dict[str, xr.Dataset]":
    """Datasets by the names of their files, with as many folders as tell them apart."""
    paths = [Path(file).with_suffix("") for file in files]
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, datasets, strict=True))
    twice = next(file for file in files if list(files).count(file) > 1)
    raise ValueError(f"files must be different ones, got {twice} twice")


def _comparison(frame: "pd.DataFrame") -> "rich.table.Table":
    """A comparison for people."""
    base, last = frame["baseline"].iloc[0], sorted({*frame["generation"]})
    head = f"Minus {base}, generation {'/'.join(map(str, last))}"
    shown = _table(head, "metric", "difference", "95 % interval", "lower in")
    for line in frame.to_dict("records"):
        count = "" if math.isnan(line["lower"]) else f"{line['lower']:.0f} of {line['chains']}"
        interval = _interval(line["low"], line["high"])
        shown.add_row(line["run"], line["metric"], _number(line["difference"]), interval, count)
    return shown


def _exponents(frame: "pd.DataFrame") -> "rich.table.Table":
    """Exponents for people."""
    from collapse_jax.report.tables import MARKS

    ends = [f"{first} to {last}" for first, last in zip(frame["first"], frame["last"], strict=True)]
    head = f"Power of t, generations {'/'.join(dict.fromkeys(ends))}"
    shown = _table(head, "metric", "exponent", "95 % interval", "theory")
    for line in frame.to_dict("records"):
        if math.isnan(line["exponent"]):
            continue
        known = not math.isnan(line["theory"])
        theory = f"{MARKS.get(line['kind'], '')}{line['theory']:.3f}" if known else ""
        interval = _interval(line["low"], line["high"])
        shown.add_row(line["run"], line["metric"], f"{line['exponent']:.3f}", interval, theory)
    return shown


def _table(title: str, *others: str) -> "rich.table.Table":
    from rich import box
    from rich.table import Table

    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("run")
    for name in others:
        shown.add_column(name, justify="left" if name == "metric" else "right", no_wrap=True)
    return shown


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f"{low:.3g} to {high:.3g}"
