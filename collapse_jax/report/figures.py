"""Figures of runs that a paper could print."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_jax.analysis.runs import Run, Runs, Theory, collect, title
from collapse_jax.basics import checks
from collapse_jax.report.axes import add_legend, draw
from collapse_jax.report.texts import columns_of, draw_texts, height_of, samples_of

if TYPE_CHECKING:  # loaded when a figure is made, so that importing the package stays quick
    import matplotlib.figure

STYLE: Any = {
    "font.size": 9.5,
    "axes.titlesize": 10.0,
    "axes.labelsize": 9.5,
    "figure.titlesize": 11.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
"""Settings of matplotlib for all figures; colours of text and background are left alone."""
_PANEL = 3.1, 2.5  # inches


def plot(
    ds: Runs,
    *,
    variables: Sequence[str] | None = None,
    quantiles: Sequence[float] = (0.1, 0.9),
    theory: Theory = True,
    axes: Any = None,
) -> "matplotlib.figure.Figure":
    """Plot the metrics of one run, or of several, over the generations.

    Solid lines are means over chains, bands the chains' quantiles, and broken lines in the same
    colour what theory predicts for the mean. In a panel in which some mean is infinite, or leaves
    the range of 80 % of the chains because a few of them carry it, the lines are medians, and its
    label says so. Below are texts of several generations side by side, where the datasets have some
    (`with_samples`).

    The figure belongs to no window: show it by naming it in a notebook, or use its `savefig`.
    Colours of text and background are those of the current matplotlib style.

    Args:
        ds: a dataset from `collapse_jax.simulate`, or several: a mapping from labels or a sequence,
            for instance of the three workflows on one task.
        variables: metrics to plot, one panel each; default those of the task.
        quantiles: lower and upper end of the band, between 0 and 1.
        theory: whether to draw theory, as far as it is known and can be computed from the dataset's
            attributes; or the result of `collapse_jax.theory.expected`, by label where there are
            several datasets.
        axes: matplotlib axes to draw into, one per variable, instead of a new figure. The lines
            carry labels, so `ax.legend()` explains them.

    Returns:
        the figure.

    Raises:
        ValueError: for other datasets, unknown variables or bad quantiles (`TypeError` for another
            type).

    Example:
        >>> import collapse_jax as cj
        >>> ds = cj.simulate(cj.Replace(), cj.Categorical(3, 20), n_generations=5, seeds=10)
        >>> figure = plot(ds, variables=["entropy"])
        >>> figure.axes[0].get_ylabel()
        'entropy of the model [nat]'
    """
    import matplotlib

    from collapse_jax.report.pictures import Picture

    runs = collect(ds, theory)
    names = _variables(runs, variables)
    band = _checked_quantiles(quantiles)
    with matplotlib.rc_context(STYLE):
        if axes is not None:
            panels = _checked_axes(axes, len(names))
            for ax, name in zip(panels, names, strict=True):
                draw(ax, name, runs, band)
            return panels[0].figure.get_figure(root=True)
        columns = len(names) if len(names) <= 3 else min(3, math.ceil(len(names) / 2))
        rows = -(-len(names) // columns)
        width = max(columns, 1.5) * _PANEL[0]
        written = [(found, columns_of(found, width)) for found in samples_of(runs)]
        heights = [_PANEL[1]] * rows + [height_of(lines) for _, lines in written]
        figure = Picture(figsize=(width, sum(heights)), layout="constrained")
        grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
        panels = [figure.add_subplot(grid[i // columns, i % columns]) for i in range(len(names))]
        curves = [
            c for ax, name in zip(panels, names, strict=True) for c in draw(ax, name, runs, band)
        ]
        for row, (found, lines) in enumerate(written, rows):
            draw_texts(figure.add_subplot(grid[row, :]), found, lines)
        heading = textwrap.wrap(title(runs), int(10 * width), break_long_words=False)
        figure.set_figheight(figure.get_figheight() + 0.2 * len(heading))
        figure.suptitle("\n".join(heading))
        add_legend(figure, curves, band)
    return figure


def _variables(runs: Sequence[Run], variables: Sequence[str] | None) -> list[str]:
    if variables is None:
        return list(dict.fromkeys(name for run in runs for name in run.metrics))
    if isinstance(variables, str) or not len(variables):
        raise ValueError(f"variables must be a list of names, got {variables!r}")
    known = list(dict.fromkeys(str(name) for run in runs for name in run.ds.data_vars))
    return [checks.one_of("variables", name, known) for name in variables]


def _checked_quantiles(quantiles: Sequence[float]) -> tuple[float, float]:
    if len(quantiles) != 2 or not 0.0 <= quantiles[0] <= quantiles[1] <= 1.0:
        raise ValueError(f"quantiles must be two numbers from 0 to 1 in order, got {quantiles!r}")
    return float(quantiles[0]), float(quantiles[1])


def _checked_axes(axes: Any, n: int) -> list[Any]:
    panels = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(panels) != n:
        raise ValueError(f"axes must be one per variable, {n} in all, got {len(panels)}")
    return panels
