"""What a page says without a script: tables, answers, pictures of loops, how to run it again."""

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from collapse_jax.analysis.definitions import DEFINITIONS, diagnose
from collapse_jax.analysis.estimates import mean_of
from collapse_jax.analysis.runs import Run
from collapse_jax.loop.captions import caption
from collapse_jax.loop.ecosystems.description import Ecosystem
from collapse_jax.records.config import rebuild
from collapse_jax.report.page.markup import Markup, join, scrollable, tag
from collapse_jax.report.page.studies import Study
from collapse_jax.report.plans import plot_plan, words_of
from collapse_jax.report.tables import estimate
from collapse_jax.report.texts import samples_of

_MOST_ROWS = 400
_MOST_JUDGED = 60
_TEXT = "#010203"  # stands for the colour of the text around a picture


def figures_table(study: Study) -> Markup:
    """Each metric of each curve, in the first and the last generation, beside theory."""
    heads = [*study.axes, "curve", "chains", "first generation", "last generation", "theory"]
    rows = [
        (name, cell, run) for name in study.metrics for cell in study.cells for run in cell.runs
    ]
    rows = [(name, cell, run) for name, cell, run in rows if name in run.ds]
    bodies = []
    for name in study.metrics:
        lines = [_figures(n, cell.settings, run) for n, cell, run in rows[:_MOST_ROWS] if n == name]
        if lines:
            head = tag("th", name, scope="rowgroup", colspan=len(heads))
            bodies.append(tag("tbody", tag("tr", head, class_="group"), *lines))
    left = len(rows) - _MOST_ROWS
    note = f" {left} more rows are left out." if left > 0 else ""
    text = f"Mean ± standard error over chains; theory is that of the last generation.{note}"
    head = tag("thead", tag("tr", *(tag("th", head, scope="col") for head in heads)))
    return scrollable("Table of figures", tag("table", tag("caption", text), head, *bodies))


def _figures(name: str, settings: Mapping[str, Any], run: Run) -> Markup:
    values = run.ds[name].transpose("seed", "generation").values.astype(np.float64)
    known = ""
    if name in run.theory:
        kind = str(run.theory[name].attrs.get("kind", "exact"))
        known = f"{float(run.theory[name].values[-1]):.4g} ({kind})"
    cells = [
        *map(_short, settings.values()),
        len(values),
        *(estimate(*mean_of(values[:, t])) for t in (0, -1)),
        known,
    ]
    label = tag("th", run.label, scope="row")
    found = [tag("td", cell) for cell in cells]
    found.insert(len(settings), label)
    return tag("tr", *found)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def answers(study: Study) -> Markup:
    """The eight definitions of collapse, a run a line."""
    runs = [(cell.settings, run) for cell in study.cells for run in cell.runs]
    lines, evidence = [], []
    for settings, run in runs[:_MOST_JUDGED]:
        name = ", ".join([run.label, *(f"{k}={_short(v)}" for k, v in settings.items())])
        found = diagnose(run.ds.drop_vars("model", errors="ignore"))
        marks = [tag("td", f.answer, class_=f.answer.replace(" ", "-")) for f in found.values()]
        lines.append(tag("tr", tag("th", name, scope="row"), *marks))
        told = [join(tag("dt", f.definition), tag("dd", f.evidence)) for f in found.values()]
        evidence.append(tag("details", tag("summary", f"Why: {name}"), tag("dl", *told)))
    left = len(runs) - _MOST_JUDGED
    note = f" {left} more runs are not judged here." if left > 0 else ""
    heads = ["run", *DEFINITIONS]
    text = f"In which of eight senses did it collapse, in the generations that were run?{note}"
    head = tag("thead", tag("tr", *(tag("th", head, scope="col") for head in heads)))
    table = tag("table", tag("caption", text), head, tag("tbody", *lines))
    if len(evidence) > 12:
        evidence = [tag("details", tag("summary", "Evidence"), *evidence)]
    return join(scrollable("Definitions of collapse", table), *evidence)


def texts(study: Study) -> Markup | None:
    """What models of each generation have written, side by side; None where no run has any."""
    tables = []
    for cell in study.cells:
        for found in samples_of(cell.runs):
            generations = sorted(found.texts)
            heads = [tag("th", f"generation {t}", scope="col") for t in generations]
            n = max(len(part) for part in found.texts.values())
            lines = [
                tag("tr", *(tag("td", "".join(found.texts[t][i : i + 1])) for t in generations))
                for i in range(n)
            ]
            words = [found.label, *(f"{k}={_short(v)}" for k, v in cell.settings.items())]
            name = ", ".join([*filter(None, words), f"seed {found.seed}"])
            caption = tag("caption", name)
            body = tag("thead", tag("tr", *heads)), tag("tbody", *lines)
            table = tag("table", caption, *body, class_="texts")
            tables.append(scrollable(f"Texts: {name}", table))
    return join(*tables) if tables else None


def loops(study: Study) -> Markup:
    """A picture of each loop, its words as its text alternative."""
    pictures: dict[str, Markup] = {}
    for run in study.cells[0].runs:
        config = json.loads(run.ds.attrs.get("config", "{}"))
        try:
            workflow = rebuild(config["workflow"])
        except (KeyError, TypeError, ValueError):  # classes or functions of the user's own
            continue
        inner = workflow.workflow if isinstance(workflow, Ecosystem) else workflow
        n = max(int(run.ds["generation"].max()), 1)
        rows = config.get("task", {}).get("n_samples", 100)
        name = caption(workflow)
        if name not in pictures:
            pictures[name] = _picture(name, inner, n, rows if isinstance(rows, int) else 100)
    if not pictures:
        return tag("p", "The file does not say all of its loop, which cannot be drawn.")
    return tag("div", *pictures.values(), class_="loops")


def _picture(name: str, workflow: Any, n_generations: int, n_samples: int) -> Markup:
    import matplotlib

    names = "text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor"
    colours = dict.fromkeys((*names, "xtick.color", "ytick.color"), _TEXT)
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "page", **colours}
    with matplotlib.rc_context(style):
        figure = plot_plan(workflow, n_generations, n_samples)
        file = io.StringIO()
        empty: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=empty)
        words = " ".join(words_of(workflow, workflow.plan(n_generations, n_samples)))
    sheet = ":root{color:#1b1b1f}@media(prefers-color-scheme:dark){:root{color:#e6e6ea}}"
    svg = file.getvalue().replace(_TEXT, "currentColor")
    svg = svg.replace("<defs>", f"<style>{sheet}</style><defs>", 1)
    data = base64.b64encode(svg.encode()).decode()
    image = tag("img", src=f"data:image/svg+xml;base64,{data}", alt=f"Picture of the loop. {words}")
    return tag("figure", tag("figcaption", name), scrollable(f"Picture of {name}", image))


def generations(study: Study, pictures: Mapping[str, bytes]) -> Markup:
    """The pictures of generations that there are, of the datasets of a study."""
    parts = []
    for label in study.sources:
        if label in pictures:
            content = pictures[label]
            data = base64.b64encode(content).decode()
            kind = "gif" if content.startswith(b"GIF") else "png"
            text = f"Models of {label} and what they make, from the first generation to the last"
            image = tag("img", src=f"data:image/{kind};base64,{data}", alt=f"{text}.")
            parts.append(tag("figure", tag("figcaption", label), scrollable(text, image)))
    return tag("div", *parts, class_="loops") if parts else join()


def again(study: Study) -> Markup:
    """Configuration and Python of each dataset, and the command that made it, where one did."""
    parts = []
    for label, ds in study.sources.items():
        config = json.loads(ds.attrs.get("config", "{}"))
        versions = [
            f"{name.removesuffix('_version')} {ds.attrs[name]}"
            for name in ("collapse_jax_version", "jax_version", "stream_version", "device")
            if name in ds.attrs
        ]
        inside: list[Any] = [tag("p", "Made by " + ", ".join(versions) + ".")] if versions else []
        if "command" in ds.attrs:
            line = tag("code", str(ds.attrs["command"]))
            inside += [tag("p", "Command:"), tag("pre", line, tabindex=0)]
        if config:
            inside += [
                tag("p", "Python:"),
                tag("pre", tag("code", python_of(config, ds)), tabindex=0),
            ]
        text = json.dumps(config, indent=1, ensure_ascii=False)
        inside += [tag("p", "Configuration:"), tag("pre", tag("code", text), tabindex=0)]
        parts.append(tag("details", tag("summary", label), *inside))
    return join(*parts)


def python_of(config: dict[str, Any], ds: xr.Dataset) -> str:
    """A program that runs the chains of a dataset again; of a sweep each cell."""
    seeds = np.atleast_1d(ds["seed"].values).tolist()
    shown = f"list(range({len(seeds)}))" if seeds == list(range(len(seeds))) else repr(seeds)
    several = "runs" in config
    cells = config["runs"] if several else [config]
    text = json.dumps(cells)
    return "\n".join(
        [
            "import json",
            "",
            "import collapse_jax as cj",
            "",
            f"cells = json.loads({text!r})",
            f"seeds = {shown}",
            "runs = [cj.simulate(**cj.config.arguments_of(cell, seeds)) for cell in cells]",
            *([] if several else ["ds = runs[0]"]),
        ]
    )
