"""Pictures of loops: streams, batches and fits over the generations, drawn from the plan alone."""

import dataclasses
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from collapse_jax.basics import checks
from collapse_jax.loop.plan import Plan
from collapse_jax.loop.presets import name_of
from collapse_jax.loop.workflow import Mixed, Past, Workflow
from collapse_jax.report.axes import PALETTE, legend_columns, shades
from collapse_jax.report.figures import STYLE
from collapse_jax.report.streams import Batch, batches_of

if TYPE_CHECKING:  # loaded when a figure is made, so that importing the package stays quick
    import matplotlib.axes
    import matplotlib.figure

_MOST = 12  # generations that are shown
_TRACK = 0.24  # inches of the thickest batch and the space below it
_THICKEST = 0.2
_GAP = 0.22
_SHARE = 0.7  # inches of the bar that shows what a fit is made of
_LINE = 0.24
_REAL, _TRUTH, _MODELS = PALETTE["Accumulate"], "#56B4E9", PALETTE["Replace"]
_GREY = "#808080"
_SMALL = 7.5


def plot_plan(
    workflow: Workflow, n_generations: int, n_samples: int = 100
) -> "matplotlib.figure.Figure":
    """Draw a loop: which rows come when, how long they are kept, what each fit is made of.

    A bar is a batch of rows. It lies over all generations that are fitted to it and is thicker, the
    more rows it has. A generation's fit is what crosses its column. The stacked bar below shows by
    how much each batch counts in it, in the colour of the model that made the rows. Long runs are
    shown up to generation 12.

    Args:
        workflow: the loop.
        n_generations: number of generations.
        n_samples: rows of a batch where the workflow does not say; the task's `n_samples`.

    Returns:
        the figure, which belongs to no window. Colours of text and background are those of the
        current matplotlib style.

    Raises:
        TypeError: if the workflow is of another type.
        ValueError: for numbers below 1 and schedules that do not fit the number of generations.

    Example:
        >>> import collapse_jax as cj
        >>> figure = plot_plan(cj.Workflow(cj.Real(every=True), cj.Synthetic(keep=3)), 6)
        >>> figure.axes[0].get_xlabel()
        'generation'
    """
    import matplotlib
    from matplotlib.figure import Figure

    if not isinstance(workflow, Workflow):
        raise TypeError(f"workflow must be a Workflow, got {workflow!r}")
    checks.whole_number("n_generations", n_generations)
    checks.whole_number("n_samples", n_samples)
    plan = workflow.plan(n_generations, n_samples)
    shown = min(n_generations, _MOST)
    real, synthetic = batches_of(plan)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(1.5 + 0.62 * max(shown, 6), 1.0), layout="constrained")
        ax = figure.subplots()
        height = _Drawing(ax, plan, shown, real, synthetic).draw()
        heading = textwrap.wrap(_heading(workflow, plan, shown), int(11 * figure.get_figwidth()))
        words = [line for text in _words(workflow, plan) for line in _wrapped(text, figure)]
        figure.suptitle("\n".join(heading))
        ax.set_title("\n".join(words), loc="left", fontsize=8.5, pad=6)
        figure.set_figheight(height + 0.75 + 0.19 * len(heading) + 0.15 * len(words))
        _legend(figure, plan, shown)
    return figure


class _Drawing(NamedTuple):
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
            ax.axhline(y - _GAP / 2, color=_GREY, lw=0.6, alpha=0.5)
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
            ax.axvspan(t - 0.4, t + 0.4, color=_GREY, alpha=0.1, lw=0, zorder=0)
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
        one = all(a.last < b.first for a, b in zip(given, given[1:], strict=False))
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
        line: Any = {"color": _GREY, "lw": 1.1, "zorder": 1, "solid_capstyle": "round"}
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
            return _REAL if len(batch.sources) == 1 and batch in self.real else _TRUTH
        return self._shades()[source - 1]

    def _shades(self) -> list[str]:
        return _shades_of(self.shown)

    def _rectangle(self, corner: tuple, width: float, height: float, colour: str) -> None:
        from matplotlib.patches import Rectangle

        self.ax.add_patch(Rectangle(corner, width, height, color=colour, lw=0, zorder=2))

    def _arrow(self, start: tuple, end: tuple) -> None:
        style: Any = {"arrowstyle": "-|>", "color": _GREY, "lw": 1.0, "mutation_scale": 7}
        self.ax.annotate("", end, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


def _shades_of(shown: int) -> list[str]:
    return shades(_MODELS, max(shown, 3))[:shown] if shown > 1 else [_MODELS]


def _readable_on(colour: str) -> str:
    from matplotlib.colors import to_rgb

    return "black" if np.dot(to_rgb(colour), (0.3, 0.59, 0.11)) > 0.5 else "white"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def _wrapped(text: str, figure: "matplotlib.figure.Figure") -> list[str]:
    return textwrap.wrap(text, int(12.5 * figure.get_figwidth()), subsequent_indent="    ")


def _heading(workflow: Workflow, plan: Plan, shown: int) -> str:
    name = name_of(workflow) or _composition(workflow)
    if shown == plan.n_generations:
        return name
    return f"{name}: the first {shown} of {plan.n_generations:,} generations"


def _composition(workflow: Workflow) -> str:
    """A workflow by what differs from Replace."""
    parts = []
    for part in (workflow.real, workflow.synthetic, workflow.fit):
        given = [
            f"{f.name}={_short(value)}"
            for f in dataclasses.fields(part)
            if (value := getattr(part, f.name)) != getattr(type(part)(), f.name)
        ]
        parts += [f"{type(part).__name__}({', '.join(given)})"] if given else []
    return ", ".join(parts)


def _short(value: Any) -> str:
    if callable(value):
        return "f(t)"
    text = repr(value)
    return text if len(text) < 40 else f"{text[:36]}...)"


def _words(workflow: Workflow, plan: Plan) -> list[str]:
    """The loop in words: a sentence for each stream and one for the fit."""
    real, synthetic, fit = workflow.real, workflow.synthetic, workflow.fit
    when = "new rows before every generation" if real.every else "once, before generation 1"
    makers = "model t makes rows for generation t + 1"
    if isinstance(synthetic.of, Mixed):
        makers += ", some of them drawn from the truth"
    elif isinstance(synthetic.of, Past):
        last = "" if synthetic.of.last is None else f"the last {synthetic.of.last} of "
        how = "in equal parts" if synthetic.of.equally else "each from one at random"
        makers = f"before generation t + 1 they come from {last}the truth and models 1 to t, {how}"
    what = "all rows that are kept"
    if fit.n is not None:
        how = "with" if fit.with_replacement else "without"
        what = f"random rows of those that are kept, {how} replacement"
    weighed = "" if fit.real_weight is None else "; real rows have a fixed weight together"
    return [
        f"Real rows: {when}, {_kept(real.keep)}.",
        f"Generated rows: {makers}, {_kept(synthetic.keep)}.",
        f"Fit: {what}{weighed}.",
    ]


def _kept(keep: int | None) -> str:
    if keep is None:
        return "kept for good"
    return "kept for one generation" if keep == 1 else f"kept for {keep} generations"


def _legend(figure: "matplotlib.figure.Figure", plan: Plan, shown: int) -> None:
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    models = _shades_of(shown)
    handles: list[Any] = [Patch(color=_REAL, lw=0)]
    labels = ["real rows"]
    if shown > 1:
        picked = [models[0], models[len(models) // 2], models[-1]] if shown > 2 else models
        handles.append(tuple(Patch(color=colour, lw=0) for colour in picked))
        labels.append("rows of models, first to last")
    if not plan.from_one_model and shown > 1:
        handles.append(Patch(color=_TRUTH, lw=0))
        labels.append("rows of the truth in generated batches")
    if shown > 1:
        handles.append(Line2D([], [], color=_GREY, lw=1.1))
        labels.append("what a model generates")
    columns = legend_columns(labels, figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + 0.2 * -(-len(handles) // columns))
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.0)},
    )
