"""The parts of a picture of a loop: lanes of batches, what each fit is made of, models."""

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from collapse_jax.loop.plan import Plan
from collapse_jax.report.axes import PALETTE, shades
from collapse_jax.report.streams import Batch

if TYPE_CHECKING:  # loaded when a figure is made, so that importing the package stays quick
    import matplotlib.axes

GREY = "#808080"
REAL, TRUTH, MODELS = PALETTE["Accumulate"], "#56B4E9", PALETTE["Replace"]
"""Colours of real rows, of rows of the truth in generated batches, and of a model between others"""

_TRACK = 0.24  # inches of the thickest batch and the space below it
_THICKEST = 0.2
_GAP = 0.22
_SHARE = 0.7  # inches of the bar that shows what a fit is made of
_LINE = 0.24
_SMALL = 7.5


class Drawing(NamedTuple):
    """One picture; y is measured in inches from the top downwards."""

    ax: "matplotlib.axes.Axes"
    plan: Plan
    shown: int
    real: list[Batch]
    synthetic: list[Batch]

    def draw(self) -> float:
        """Draw everything, and return the height in inches."""
        ax, shown = self.ax, self.shown
        ticks: dict[float, str] = {}
        y = 0.08
        bottom = self._lane(self.real, y)
        ticks[(y + bottom) / 2] = "real rows"
        starts: dict[int, float] = {}
        y = bottom
        if any(batch.first <= shown for batch in self.synthetic):
            y += _GAP
            bottom = self._lane(self.synthetic, y, starts)
            ticks[(y + bottom) / 2] = "generated rows"
            ax.axhline(y - _GAP / 2, color=GREY, lw=0.6, alpha=0.5)
            y = bottom
        y += _GAP
        for t in range(1, shown + 1):
            self._composition(t, y)
            self._arrow((t, y - 0.17), (t, y - 0.02))
            self._arrow((t, y + _SHARE + 0.02), (t, y + _SHARE + 0.2))
        weighted = self.plan.real_weight is not None
        ticks[y + _SHARE / 2] = "weight in the fit" if weighted else "share of the fit"
        y += _SHARE + 0.34
        for t in range(1, shown + 1):
            self._model(t, y, starts)
        ticks[y] = "model"
        y += 0.12
        for label, column in self._lines().items():
            y += _LINE
            ticks[y] = label
            for t in range(1, shown + 1):
                ax.text(t, y, column[t - 1], ha="center", va="center", fontsize=_SMALL + 0.5)
        y += 0.16
        for t in range(1, shown + 1):
            ax.axvspan(t - 0.4, t + 0.4, color=GREY, alpha=0.1, lw=0, zorder=0)
        ax.set_xlim(0.5, max(shown, 1) + 0.5)
        ax.set_ylim(y, 0.0)
        ax.set_xticks(range(1, shown + 1))
        ax.xaxis.tick_top()
        ax.set_xlabel("generation")
        ax.xaxis.set_label_position("top")
        ax.set_yticks(list(ticks), list(ticks.values()))
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        return y

    def _lane(self, given: list[Batch], top: float, starts: dict | None = None) -> float:
        """Batches of a stream, one below the other unless each gives way to the next."""
        given = [batch for batch in given if batch.first <= self.shown]
        one = all(a.last < b.first for a, b in itertools.pairwise(given))
        most = max(batch.rows for batch in self.real + self.synthetic)
        for i, batch in enumerate(given):
            y = top + _TRACK * (0 if one else i)
            thickness = _THICKEST * max(batch.rows / most, 0.12)
            middle = y + _TRACK / 2
            self._bar(batch, middle, thickness)
            if starts is not None:
                starts[batch.first] = middle
        return top + _TRACK * (1 if one else len(given))

    def _bar(self, batch: Batch, middle: float, thickness: float) -> None:
        left, right = batch.first - 0.4, min(batch.last, self.shown) + 0.4
        if batch.last > self.shown:
            right = self.shown + 0.5
        y = middle - thickness / 2
        for source, share in reversed(batch.sources.items()):
            colour = self._colour(source, batch)
            extent = (left, y), right - left, thickness * share
            self._rectangle(*extent, colour)
            y += thickness * share
        label = f"{batch.rows:,}" if batch.rows < 1e6 else f"{batch.rows:.2g}"
        if thickness < 0.13:  # below the bar, on the background
            self.ax.text(
                batch.first,
                middle + thickness / 2 + 0.02,
                label,
                ha="center",
                va="top",
                fontsize=6.5,
            )
            return
        several = len(batch.sources) > 1
        box = {"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.85}
        self.ax.text(
            batch.first,
            middle + 0.005,
            label,
            ha="center",
            va="center_baseline",
            fontsize=_SMALL - 0.5 * several,
            color="black" if several else _readable_on(self._colour(max(batch.sources), batch)),
            bbox=box if several else None,
        )

    def _composition(self, t: int, y: float) -> None:
        weights = np.asarray(self.plan.row_weights)[t - 1]
        parts: list[tuple[str, float]] = []
        for stream, weight in ((self.real, weights[0]), (self.synthetic, weights[1])):
            for batch in stream:
                if batch.first <= t <= batch.last:
                    parts += [
                        (self._colour(source, batch), batch.rows * weight * share)
                        for source, share in batch.sources.items()
                    ]
        bottom = y + _SHARE
        for colour, share in parts:
            self._rectangle((t - 0.26, bottom - _SHARE * share), 0.52, _SHARE * share, colour)
            bottom -= _SHARE * share

    def _model(self, t: int, y: float, starts: dict[int, float]) -> None:
        colour = self._shades()[t - 1]
        self.ax.plot([t], [y], "o", ms=14, color=colour, zorder=3)
        self.ax.text(
            t,
            y,
            str(t),
            ha="center",
            va="center_baseline",
            fontsize=8,
            color=_readable_on(colour),
            zorder=4,
        )
        line: Any = {"color": GREY, "lw": 1.1, "zorder": 1, "solid_capstyle": "round"}
        if t + 1 in starts:
            self.ax.plot([t + 0.2, t + 0.5, t + 0.5], [y, y, starts[t + 1]], **line)
            self._arrow((t + 0.49, starts[t + 1]), (t + 0.63, starts[t + 1]))

    def _lines(self) -> dict[str, list[str]]:
        """Numbers below the models, by what they are."""
        plan, found = self.plan, {}
        rows = [f"{n:,}" for n in plan.n_train[: self.shown].tolist()]
        if plan.fit_rows is None:
            found["rows fitted"] = rows
        else:
            found["rows drawn"] = rows
            found["out of"] = [f"{n:,}" for n in plan.size[: self.shown].tolist()]
        real = np.asarray(plan.row_weights)[:, 0] * plan.real_size
        name = "real share" if plan.fit_rows is None else "real share (mean)"
        name = name if plan.real_weight is None else "real rows weigh"
        found[name] = [_percent(share) for share in real[: self.shown].tolist()]
        if plan.temperature is not None:
            found["temperature"] = [f"{x:.3g}" for x in np.asarray(plan.temperature)]
        return found

    def _colour(self, source: int, batch: Batch) -> str:
        if source == 0:
            return REAL if len(batch.sources) == 1 and batch in self.real else TRUTH
        return self._shades()[source - 1]

    def _shades(self) -> list[str]:
        return model_shades(self.shown)

    def _rectangle(self, corner: tuple, width: float, height: float, colour: str) -> None:
        from matplotlib.patches import Rectangle

        self.ax.add_patch(Rectangle(corner, width, height, color=colour, lw=0, zorder=2))

    def _arrow(self, start: tuple, end: tuple) -> None:
        style: Any = {"arrowstyle": "-|>", "color": GREY, "lw": 1.0, "mutation_scale": 7}
        self.ax.annotate("", end, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


def model_shades(shown: int) -> list[str]:
    """The colours of models 1, 2, ..., from light to dark."""
    return shades(MODELS, max(shown, 3))[:shown] if shown > 1 else [MODELS]


def _readable_on(colour: str) -> str:
    from matplotlib.colors import to_rgb

    return "black" if np.dot(to_rgb(colour), (0.3, 0.59, 0.11)) > 0.5 else "white"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"
