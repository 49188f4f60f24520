"""The outcome of runs as a table that a paper could print: LaTeX, Markdown or CSV."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from collapse_jax.analysis.estimates import mean_of
from collapse_jax.analysis.runs import Run, Runs, Theory, collect, title
from collapse_jax.basics import files
from collapse_jax.report.tables import MARKS, estimate

if TYPE_CHECKING:  # loaded when a table is made, so that importing the package stays quick
    import pandas as pd

FORMATS = (".tex", ".md", ".csv")
"""Endings of the files that `Table.save` writes."""
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}
_LATEX |= {"±": r"$\pm$", "≤": r"$\le$", "²": "$^{2}$"}
_POWER = re.compile(r"\^(\d+)")


class Entry(NamedTuple):
    """One metric of one run in one generation."""

    run: str
    metric: str
    long_name: str
    units: str
    generation: int
    mean: float
    standard_error: float
    """NaN for a single chain."""
    chains: int
    theory: float
    """What theory predicts for the mean; NaN where nothing is known."""
    kind: str
    """Kind of the theory, as in `collapse_jax.theory.expected`."""


class Table:
    """Means over chains with their standard errors, and what theory says of them.

    Args:
        entries: what the table has.
        caption: what it is about.
    """

    def __init__(self, entries: Sequence[Entry], caption: str):
        self.entries, self.caption = list(entries), caption

    def to_frame(self) -> "pd.DataFrame":
        """A line for each run, metric and generation, with all digits."""
        import pandas as pd

        return pd.DataFrame(self.entries, columns=[*Entry._fields])

    def to_csv(self) -> str:
        """As `to_frame`, separated by commas."""
        return self.to_frame().to_csv(index=False, lineterminator="\n")

    def to_markdown(self) -> str:
        """A line for each metric and run, a column for each generation and its theory."""
        head, body = self._cells(_plain)
        lines = [head, ["---", "---", *["---:"] * (len(head) - 2)], *body]
        shown = [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines
        ]
        return "\n".join([f"{self.caption}. {self._note()}", "", *shown, ""])

    def to_latex(self) -> str:
        r"""As `to_markdown`, an environment `table` for the package booktabs."""
        head, body = self._cells(_latex_number)
        text = [[_latex(cell) for cell in head]]
        text += [[*map(_latex, row[:2]), *row[2:]] for row in body]
        rows = [" & ".join(row) + r" \\" for row in text]
        return "\n".join(
            [
                r"\begin{table}",
                r"  \centering",
                rf"  \caption{{{_latex(self.caption)}. {_latex(self._note())}}}",
                rf"  \begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
                r"    \toprule",
                f"    {rows[0]}",
                r"    \midrule",
                *(f"    {row}" for row in rows[1:]),
                r"    \bottomrule",
                r"  \end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def save(self, path: str | Path) -> None:
        """Write the table, in the format that the file's ending says.

        Raises:
            ValueError: for another ending than `.tex`, `.md` and `.csv`.
            OSError: where it cannot be written.
        """
        where = files.check_writable("path", path, FORMATS)
        make = {".tex": self.to_latex, ".md": self.to_markdown, ".csv": self.to_csv}
        text = make[where.suffix.lower()]()
        files.write_atomically(where, lambda name: Path(name).write_text(text, encoding="utf-8"))

    def __repr__(self) -> str:
        return self.to_markdown()

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format="{:.4g}".format, na_rep="", index=False)

    def _note(self) -> str:
        counts = sorted({entry.chains for entry in self.entries})
        ends = " to ".join(map(str, dict.fromkeys([counts[0], counts[-1]])))
        note = f"Mean ± standard error over {ends} chain{'s' * (counts != [1])}"
        if any(entry.kind == "asymptotic" for entry in self.entries):
            note += "; ~ in large samples"
        if any(entry.kind == "bound" for entry in self.entries):
            note += "; ≤ a bound"
        return f"{note}."

    def _cells(self, number: Callable[[str], str]) -> tuple[list[str], list[list[str]]]:
        """The heads of the columns, and the lines; whatever is no text goes through `number`."""
        times = sorted({entry.generation for entry in self.entries})
        predicted = [t for t in times if any(e.kind for e in self.entries if e.generation == t)]
        columns = [(t, theory) for t in times for theory in (False, True)[: 1 + (t in predicted)]]
        head = ["metric", "run"]
        head += ["theory" if theory else f"generation {t}" for t, theory in columns]
        body = []
        lines: dict[str, dict[str, dict[int, Entry]]] = {}
        for entry in self.entries:
            of_run = lines.setdefault(entry.metric, {}).setdefault(entry.run, {})
            of_run[entry.generation] = entry
        for run, of_line in (line for of_metric in lines.values() for line in of_metric.items()):
            name = _named(next(iter(of_line.values())))
            cells = [_cell(of_line.get(t), theory) for t, theory in columns]
            body.append([name, run, *map(number, cells)])
        return head, body


def table(
    ds: Runs,
    *,
    variables: Sequence[str] | None = None,
    generations: Sequence[int] | None = None,
    theory: Theory = True,
) -> Table:
    r"""The outcome of runs as a table: means, standard errors and theory, with units.

    Args:
        ds: runs, as for `plot`.
        variables: metrics; default those of the tasks.
        generations: which generations; default the first and the last of each run.
        theory: as for `plot`.

    Returns:
        a table with `to_frame`, `to_csv`, `to_markdown`, `to_latex` and `save`.

    Raises:
        ValueError: for unknown metrics and generations.

    Example:
        >>> import collapse_jax as cj
        >>> ds = cj.simulate(cj.Accumulate(), cj.Gaussian(dim=1, n_samples=10), 20, seeds=100)
        >>> found = table(ds, variables=["wasserstein2"])
        >>> found.to_latex().splitlines()[0], len(found.to_frame())
        ('\\begin{table}', 2)
    """
    runs = collect(ds, theory)
    entries = []
    for run in runs:
        names, every = run.chosen(variables), run.ds["generation"].values.tolist()
        times = [*dict.fromkeys([every[0], every[-1]])] if generations is None else generations
        for t in times:
            if t not in every:
                raise ValueError(f"generations must be from 1 to {every[-1]}, got {t!r}")
        entries += [_entry(run, name, t) for name in names for t in times]
    return Table(entries, title(runs) or "Runs")


def _entry(run: Run, name: str, generation: int) -> Entry:
    values = run.ds[name].sel(generation=generation).values.astype(np.float64)
    attributes = run.ds[name].attrs
    theory, kind = math.nan, ""
    if name in run.theory:
        theory = float(run.theory[name].sel(generation=generation))
        kind = str(run.theory[name].attrs.get("kind", "exact")) if not math.isnan(theory) else ""
    long_name, units = str(attributes.get("long_name", name)), str(attributes.get("units", "1"))
    about = run.label, name, long_name, units, generation
    return Entry(*about, *mean_of(values), len(values), theory, kind)


def _named(entry: Entry) -> str:
    units = "" if entry.units in ("1", "") else f" [{entry.units}]"
    return f"{entry.long_name}{units}"


def _cell(entry: Entry | None, theory: bool) -> str:
    if entry is None:
        return ""
    if theory:
        return f"{MARKS.get(entry.kind, '')}{entry.theory:.4g}" if entry.kind else ""
    return estimate(entry.mean, entry.standard_error)


def _plain(cell: str) -> str:
    return cell


def _latex_number(cell: str) -> str:
    """A number in mathematical mode, powers of ten as such."""
    if not cell:
        return ""
    text = cell.replace("~", r"\sim ").replace("≤", r"\le ").replace("±", r"\pm")
    text = re.sub(r"\binf\b", r"\\infty", text).replace("nan", r"\mbox{--}")
    text = re.sub(r"e([+-])0*(\d+)", lambda m: rf"\times 10^{{{m[1].strip('+')}{m[2]}}}", text)
    return f"${text}$"


def _latex(text: str) -> str:
    """Text with the characters escaped that mean something to LaTeX."""
    pieces = _POWER.split(text)
    return "".join(
        f"$^{{{piece}}}$" if number % 2 else "".join(_LATEX.get(c, c) for c in piece)
        for number, piece in enumerate(pieces)
    )
