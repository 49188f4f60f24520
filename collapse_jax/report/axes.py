"""Panels of figures: the curves of one metric, the scale of the axes, the legend."""

import itertools
import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from collapse_jax.analysis.runs import Run

if TYPE_CHECKING:  # loaded when a figure is made, so that importing the package stays quick
    import matplotlib.axes
    import matplotlib.figure

PALETTE = {
    "Replace": "#D55E00",
    "Accumulate": "#0072B2",
    "AccumulateSubsample": "#009E73",
}
"""The colour of each workflow in all figures (Okabe and Ito's, safe for the colour-blind)."""
OTHER_COLOURS = ("#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_THEORY_STYLES = {"exact": (0, (4, 2)), "asymptotic": (0, (1, 1.2)), "bound": (0, (5, 1.5, 1, 1.5))}
_LOG_X_FROM = 20  # generations
_LOG_Y_FROM = 20.0  # largest over smallest value
_TAILS = (0.1, 0.9)
_VISIBLE = 0.05  # share of the range of a panel
_LEGEND_ROW = 0.2  # inches
_MARKED = 12  # generations, up to which all points are marked
_MARKS = 6  # points that are marked otherwise, where there are several curves
MARKERS = "osD^vPX*"
"""Of curves, in turn."""
_OF_ZEROS = (0.0, 1.0)  # as of a share of which there is none


class Curve(NamedTuple):
    """One run's values of one metric over the chains, `[generation]` each."""

    run: Run
    colour: str
    generation: np.ndarray
    mean: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tails: np.ndarray
    """Range of 80 % of the chains, `[2, generation]`."""
    centre: str
    """What the line shows, "mean" or "median"."""
    theory: np.ndarray
    kind: str
    """Kind of the theory, one of `_THEORY_STYLES`; empty where there is none."""
    marker: str = ""
    """What tells the line from others without colours; empty where it is alone."""

    @property
    def line(self) -> np.ndarray:
        return self.mean if self.centre == "mean" else self.median


def draw(
    ax: "matplotlib.axes.Axes", name: str, runs: Sequence[Run], quantiles: Sequence[float]
) -> list[Curve]:
    """Draw one panel: one metric of all runs that have it.

    Args:
        ax: the axes to draw into.
        name: the metric.
        runs: the runs, from `collapse_jax.analysis.runs.collect`.
        quantiles: lower and upper end of the band.

    Returns:
        what was drawn, for `add_legend`.
    """
    looks = zip(runs, colours_of(runs), markers_of(runs), strict=True)
    curves = [
        curve_of(run, colour, name, quantiles)._replace(marker=marker)
        for run, colour, marker in looks
        if name in run.ds
    ]
    centre = "median" if rare_chains_carry_a_mean(curves) else "mean"
    curves = [curve._replace(centre=centre) for curve in curves]
    _scale_x(ax, np.concatenate([curve.generation for curve in curves]))
    bottom, top = _scale_y(ax, curves)
    for curve in curves:
        low, high = (np.clip(edge, bottom, top) for edge in (curve.low, curve.high))
        ax.fill_between(curve.generation, low, high, color=curve.colour, alpha=0.15, lw=0)
    for i, curve in enumerate(curves):
        line: Any = {"color": curve.colour, "alpha": 0.55, "lw": 2.6, "ms": 5}
        line |= {"marker": curve.marker, "markevery": _marked(curve, i / len(curves))}
        ax.plot(curve.generation, _drawable(curve.line), label=curve.run.label, **line)
    for curve in curves:
        if curve.kind:
            style: Any = _THEORY_STYLES[curve.kind]
            line = {"color": curve.colour, "lw": 1.5, "ls": style, "label": f"_{curve.kind}"}
            alone = "_" if len(curve.generation) == 1 else None
            ax.plot(curve.generation, _drawable(curve.theory), marker=alone, ms=14, **line)
    if not any(np.isfinite(curve.line).any() for curve in curves):
        ax.text(0.5, 0.5, "infinite", transform=ax.transAxes, ha="center", va="center")
        ax.set_yticks([])
    attributes = curves[0].run.ds[name].attrs
    label = str(attributes.get("long_name", name)) + (", median" * (centre == "median"))
    units = str(attributes.get("units", "1")).replace("^2", "²")
    label = label if units == "1" else f"{label} [{units}]"
    ax.set_ylabel(textwrap.fill(label, 26, break_on_hyphens=False))
    ax.set_xlabel("generation")
    return curves


def add_legend(
    figure: "matplotlib.figure.Figure", curves: Iterable[Curve], quantiles: Sequence[float]
) -> None:
    """Explain colours and lines below the panels of a figure, which grows to make room.

    Args:
        figure: the figure, which has a constrained layout.
        curves: all that was drawn into it.
        quantiles: lower and upper end of the bands.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    curves = list(curves)
    grey = "#808080"
    by_label = {c.run.label: (c.colour, c.marker) for c in curves if c.run.label}
    handles: list[Any] = [
        Line2D([], [], color=colour, marker=marker, ms=6, alpha=0.8, lw=2.6, label=label)
        for label, (colour, marker) in by_label.items()
    ]
    centres = {curve.centre for curve in curves}
    centre = "mean (or median, if labelled)" if len(centres) > 1 else "".join(centres)
    handles.append(Line2D([], [], color=grey, alpha=0.55, lw=2.6, label=f"{centre} of chains"))
    low, high = (f"{100 * q:.3g}" for q in quantiles)
    handles.append(Patch(color=grey, alpha=0.25, lw=0, label=f"{low} to {high} % of chains"))
    kinds = {curve.kind for curve in curves}
    for kind, dashes in _THEORY_STYLES.items():
        if kind in kinds:
            style: Any = dashes
            label = f"theory ({'large samples' if kind == 'asymptotic' else kind})"
            handles.append(Line2D([], [], color=grey, lw=1.5, ls=style, label=label))
    columns = legend_columns([handle.get_label() for handle in handles], figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * -(-len(handles) // columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def curve_of(run: Run, colour: str, name: str, quantiles: Sequence[float]) -> Curve:
    """What is drawn of one metric of one run; the line is the mean."""
    values = run.ds[name].transpose("seed", "generation").values.astype(np.float64)
    method: Any = "linear" if np.isfinite(values).all() else "nearest"
    ends = [*_TAILS, *quantiles, 0.5]
    *tails, low, high, median = np.quantile(values, ends, axis=0, method=method)
    with np.errstate(invalid="ignore"):
        mean = values.mean(axis=0)
    theory, kind = np.full(len(mean), np.nan), ""
    if name in run.theory:
        theory, kind = run.theory[name].values, str(run.theory[name].attrs.get("kind", "exact"))
    generation, tails = run.ds["generation"].values, np.asarray(tails)
    return Curve(run, colour, generation, mean, median, low, high, tails, "mean", theory, kind)


def _marked(curve: Curve, turn: float) -> list[int]:
    """Which generations are marked: all where there are few, else some, at other places in turn."""
    n = len(curve.generation)
    if n <= _MARKED:
        return list(range(n))
    apart = np.geomspace if n >= _LOG_X_FROM else np.linspace
    ends = apart(1, n, _MARKS + 1)
    return np.unique(np.round(ends[:-1] + turn * np.diff(ends)).astype(int) - 1).tolist()


def rare_chains_carry_a_mean(curves: Sequence[Curve]) -> bool:
    """Whether a mean is infinite, or visibly outside the range of most chains."""
    means = [curve.mean for curve in curves]
    if not np.isfinite(np.concatenate(means)).all():
        return True
    forward = np.log if wants_logarithm(means) else np.asarray
    tolerance = _VISIBLE * float(np.ptp(forward(np.concatenate(means))))
    with np.errstate(divide="ignore"):
        return any(
            np.any(forward(curve.mean) > forward(curve.tails[1]) + tolerance)
            or np.any(forward(curve.mean) < forward(curve.tails[0]) - tolerance)
            for curve in curves
        )


def legend_columns(labels: Sequence[str], width: float) -> int:
    """Most columns of a legend, filled column by column, that fit into a width in inches."""
    for columns in range(len(labels), 1, -1):
        rows = -(-len(labels) // columns)
        parts = [labels[i : i + rows] for i in range(0, len(labels), rows)]
        if sum(0.63 + 0.076 * max(map(len, part)) for part in parts) < width:
            return len(parts)
    return 1


def _scale_x(ax: "matplotlib.axes.Axes", generation: np.ndarray) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    first, last = int(generation.min()), int(generation.max())
    if last >= _LOG_X_FROM:
        ax.set_xscale("log")
        subs = (1.0, 2.0, 5.0) if last / first < 200 else (1.0,)
        ax.xaxis.set_major_locator(LogLocator(subs=subs))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    elif last > first:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    else:
        ax.set_xticks([first])
    ax.set_xlim((first, last) if last > first else (first - 0.5, last + 0.5))


def _scale_y(ax: "matplotlib.axes.Axes", curves: Sequence[Curve]) -> tuple[float, float]:
    """Choose the scale and limits that show all finite values; theory cannot stretch them far."""
    lines = _finite([curve.line for curve in curves])
    if not lines.size:
        return -math.inf, math.inf
    everything = _finite([x for curve in curves for x in (curve.line, curve.low, curve.high)])
    predicted = _finite([curve.theory for curve in curves])
    forward, backward = np.asarray, np.asarray
    if wants_logarithm([curve.line for curve in curves]):
        ax.set_yscale("log")
        parts = [x[_nonzero_from(curve) :] for curve in curves for x in (curve.line, curve.low)]
        everything = _finite([*parts, *(curve.high for curve in curves)])
        everything, predicted = everything[everything > 0.0], predicted[predicted > 0.0]
        forward, backward = np.log, np.exp
    shown = forward(everything)
    if forward is np.asarray and not np.ptp(shown):
        far = 1.1 * float(shown[0])
        shown = np.array((min(far, 0.0), max(far, 0.0)) if far else _OF_ZEROS)
    span = float(np.ptp(shown)) or max(abs(float(shown[0])), 1.0) * 0.1
    near = forward(predicted)
    near = near[(near >= shown.min() - span) & (near <= shown.max() + span)]
    shown = np.concatenate([shown, near])
    margin = 0.05 * max(float(np.ptp(shown)), span)
    bottom, top = float(shown.min()) - margin, float(shown.max()) + margin
    if forward is not np.log and everything.min() >= 0.0 and everything.any():
        bottom = max(bottom, 0.0)
    limits = float(backward(bottom)), float(backward(top))
    ax.set_ylim(*limits)
    return limits


def wants_logarithm(curves: Sequence[np.ndarray]) -> bool:
    """Whether values are positive and span decades, in later generations than the first."""
    everything, later = _finite(curves), _finite([curve[1:] for curve in curves])
    if not later.size:
        return False
    return bool(everything.min() > 0.0 and later.max() > _LOG_Y_FROM * later.min())


def _nonzero_from(curve: Curve) -> int:
    """1 where generation 1 is exact but for rounding, as for a fit to all of the true data."""
    return int(curve.line[0] < 1e-6 * np.min(curve.line[1:], initial=math.inf))


def _drawable(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _finite(arrays: Iterable[np.ndarray]) -> np.ndarray:
    values = np.concatenate([np.ravel(array) for array in arrays])
    return values[np.isfinite(values)]


def shades(colour: str, n: int) -> list[str]:
    """A colour in `n` degrees of lightness, from light to dark; itself if `n` is 1.

    Example:
        >>> shades("#0072B2", 1), shades("#0072B2", 3)
        (['#0072B2'], ['#73b1d5', '#0072b2', '#003959'])
    """
    from matplotlib.colors import to_hex, to_rgb

    if n == 1:
        return [colour]
    light, own, dark = (np.asarray(to_rgb(c)) for c in ("white", colour, "black"))
    ends = 0.45 * light + 0.55 * own, own, 0.5 * dark + 0.5 * own
    mixed = [np.interp(np.linspace(-1.0, 1.0, n), (-1.0, 0.0, 1.0), c) for c in np.transpose(ends)]
    return [to_hex(rgb) for rgb in np.transpose(mixed)]


def colours_of(runs: Sequence[Run]) -> list[str]:
    """By workflow, in shades where several runs share one."""
    others = itertools.cycle(OTHER_COLOURS)
    counts = Counter(run.workflow for run in runs)
    left = {name: iter(shades(PALETTE.get(name) or next(others), n)) for name, n in counts.items()}
    return [next(left[run.workflow]) for run in runs]


def markers_of(runs: Sequence[Run]) -> list[str]:
    """Another for each run, so that curves can be told apart without their colours.

    One run alone has none but where its generations are so few that each is marked.
    """
    if len(runs) > 1 or runs[0].ds.sizes["generation"] <= _MARKED:
        return [MARKERS[i % len(MARKERS)] for i in range(len(runs))]
    return [""]
