"""Generated texts of all generations side by side, where a dataset has some."""

import json
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from collapse_jax.analysis.runs import Run

_MOST_COLUMNS, _LINES, _CHARACTERS = 4, 7, 11.5  # the last is how many are an inch wide
_LINE = 0.145  # inches


class Samples(NamedTuple):
    """The first documents that the models of one seed have generated."""

    label: str
    """Of the run."""
    seed: int
    texts: dict[int, list[str]]
    """By generation."""


def samples_of(runs: Sequence[Run]) -> list[Samples]:
    """The texts of those runs that have some."""
    found = []
    for run in runs:
        kept = json.loads(run.ds.attrs.get("samples", "null"))
        if kept:
            texts = {int(t): list(part) for t, part in kept["texts"].items()}
            found.append(Samples(run.label or "", int(kept["seed"]), texts))
    return found


def columns_of(samples: Samples, width: float) -> list[tuple[str, list[str]]]:
    """A heading for each shown generation, from the first to the last, and its texts as lines."""
    known = sorted(samples.texts)
    n = min(len(known), _MOST_COLUMNS, max(2, int(width / 1.5)))
    chosen = [known[round(i * (len(known) - 1) / max(n - 1, 1))] for i in range(n)]
    most = max(12, int(_CHARACTERS * width / n) - 2)
    return [(f"generation {t}", _lines(samples.texts[t], most)) for t in dict.fromkeys(chosen)]


def height_of(columns: Sequence[tuple[str, list[str]]]) -> float:
    """Inches that these take, a title included."""
    return _LINE * (3 + max(len(lines) for _, lines in columns))


def draw_texts(ax: Any, samples: Samples, columns: Sequence[tuple[str, list[str]]]) -> None:
    """Write columns of texts into axes."""
    of_run = f"{samples.label}: " if samples.label else ""
    ax.set_axis_off()
    ax.set_title(f"{of_run}texts of seed {samples.seed}", loc="left")
    for index, (heading, lines) in enumerate(columns):
        place = {"x": index / len(columns), "transform": ax.transAxes, "va": "top"}
        ax.text(y=1.0, s=heading, fontsize=7.5, fontweight="bold", **place)
        text = "\n".join(lines).replace("$", r"\$")
        top = 1.0 - 1.0 / (1 + max(len(lines) for _, lines in columns))
        ax.text(y=top, s=text, fontsize=7, family="monospace", linespacing=1.15, **place)


def _lines(texts: Sequence[str], width: int) -> list[str]:
    found: list[str] = []
    for text in texts:
        wrapped = [
            line
            for part in text.splitlines()
            for line in textwrap.wrap(part, width, break_long_words=True) or [""]
        ]
        wrapped = wrapped or ["(empty)"]
        if len(wrapped) > _LINES:
            wrapped = [*wrapped[: _LINES - 1], "…"]
        found += [*wrapped, ""]
    return found[:-1]
