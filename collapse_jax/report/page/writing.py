"""Runs as one page of HTML, which works without a network."""

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from string import Template
from typing import Any

import xarray as xr

from collapse_jax.analysis.runs import Runs
from collapse_jax.basics import checks, files
from collapse_jax.report.page import sections
from collapse_jax.report.page.bundle import library
from collapse_jax.report.page.controls import curves_of
from collapse_jax.report.page.markup import Markup, join, tag
from collapse_jax.report.page.numbers import numbers_of
from collapse_jax.report.page.studies import Study, studies_of

_BAND = (0.1, 0.9)
_LARGEST = 4_000_000  # bytes of a picture


def write_report(
    runs: Runs,
    out: str | Path,
    *,
    title: str = "Model collapse: a report",
    theory: bool = True,
    pictures: Mapping[str, Any] | None = None,
) -> Path:
    """Write runs and sweeps as one page of HTML that is complete in itself.

    It has the curves with bands and theory, with switches for workflows, metrics, axes and single
    chains and sliders for swept settings; a table of figures with standard errors; the eight
    definitions of collapse; texts of all generations side by side, where datasets have some
    (`with_samples`); pictures of the loops; and how to run all of it again. Nothing is
    fetched when it is opened. Long runs are shown by up to 200 of their generations.

    Args:
        runs: a dataset of `simulate` or `sweep`, or several, as a sequence or a mapping from
            labels. Those of one kind of task share their curves.
        out: the file (.html).
        title: heading of the page.
        theory: whether to draw theory where it is known.
        pictures: of generations, by the label of a dataset: figures of `plot_generations`, or files
            (.png or .gif, of 4 MB at most).

    Returns:
        the path of the file.

    Raises:
        TypeError: for what is no dataset.
        ValueError: for what holds no chains, for a file that cannot be written, and for pictures of
            other datasets, or that cannot be read.
        ImportError: where the extra `report` is not installed.

    Example:
        >>> import collapse_jax as cj
        >>> ds = cj.simulate(cj.Replace(), cj.Categorical(3, 20), n_generations=5, seeds=10)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cj.write_report(ds, f"{folder}/page.html").stat().st_size < 3_000_000
        True
    """
    path = files.check_writable("out", out, (".html",))
    script = library()
    named = _labelled(runs)
    seen = {label: _picture(label, found, named) for label, found in (pictures or {}).items()}
    text = page_of(studies_of(named, theory), title, script, seen)
    files.write_atomically(path, lambda name: Path(name).write_text(text, encoding="utf-8"))
    return path


def _labelled(runs: Any) -> Mapping[str, xr.Dataset]:
    if isinstance(runs, xr.Dataset):
        runs = [runs]
    if not isinstance(runs, Mapping | Sequence) or isinstance(runs, str):
        raise TypeError(f"runs must be a dataset, or a mapping or sequence of them, got {runs!r}")
    if not runs:
        raise ValueError("runs must hold at least one dataset")
    if isinstance(runs, Mapping):
        return {str(label): ds for label, ds in runs.items()}
    return {f"run {number}": ds for number, ds in enumerate(runs, 1)}


def _picture(label: str, picture: Any, named: Mapping[str, Any]) -> bytes:
    """A picture as the content of a file."""
    checks.one_of("pictures", label, list(named))
    if hasattr(picture, "savefig"):
        found = io.BytesIO()
        picture.savefig(found, format="png", dpi=100)
        return found.getvalue()
    return read_picture(picture)


def read_picture(picture: str | Path) -> bytes:
    """The content of a file that a page can show.

    Raises:
        ValueError: for what is no PNG or GIF, or too large, and what cannot be read.
    """
    with files.readable("pictures", picture):
        content = Path(picture).read_bytes()
    if not content.startswith((b"GIF8", b"\x89PNG")) or len(content) > _LARGEST:
        raise ValueError(
            f"pictures must be PNG or GIF of {_LARGEST} bytes at most, got {picture} of "
            f"{len(content)} bytes"
        )
    return content


def page_of(
    studies: Sequence[Study], title: str, script: str, pictures: Mapping[str, bytes] | None = None
) -> str:
    """The page as text; `script` is the library that draws."""
    numbers = [numbers_of(study, _BAND) for study in studies]
    data = json.dumps({"studies": numbers}, ensure_ascii=False, allow_nan=False)
    own = _read("page.js")
    hashes = " ".join(map(_hash, (script, own)))
    parts = zip(studies, numbers, strict=True)
    body = [_study(i, study, found, pictures or {}) for i, (study, found) in enumerate(parts)]
    links = [
        tag("li", tag("a", study.heading, href=f"#study-{i}")) for i, study in enumerate(studies)
    ]
    chains = sum(run.ds.sizes["seed"] for s in studies for cell in s.cells for run in cell.runs)
    n_runs = sum(len(cell.runs) for study in studies for cell in study.cells)
    return Template(_read("template.html")).substitute(
        title=join(title),
        abstract=join(f"{n_runs:,} run{'s' * (n_runs != 1)}, {chains:,} chains together."),
        policy=join(
            f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}"
        ),
        style=_read("style.css"),
        contents=tag("nav", tag("ol", *links), aria_label="Studies") if len(links) > 1 else "",
        body=join(*body),
        numbers=data.replace("<", r"\u003c").replace("&", r"\u0026"),
        library=script,
        script=own,
    )


def _study(
    number: int, study: Study, numbers: dict[str, Any], pictures: Mapping[str, bytes]
) -> Markup:
    parts = {
        "Curves": curves_of(number, numbers),
        "Figures": sections.figures_table(study),
        "Texts": sections.texts(study),
        "Which collapse?": sections.answers(study),
        "Generations": sections.generations(study, pictures),
        "The loops": sections.loops(study),
        "Run it again": sections.again(study),
    }
    inside = [
        tag("section", tag("h3", name), part, aria_label=f"{name}: {study.heading}")
        for name, part in parts.items()
        if part
    ]
    return tag(
        "article", tag("h2", study.heading), *inside, id=f"study-{number}", data_study=number
    )


def _read(name: str) -> str:
    return resources("collapse_jax.report.page").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
