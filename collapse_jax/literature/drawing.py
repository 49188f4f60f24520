"""The figure of a card: how far each claim is from our chains, and the curves behind it."""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_jax.literature.cards import Card
from collapse_jax.literature.claims import Claim, Curve
from collapse_jax.report.figures import STYLE

if TYPE_CHECKING:  # loaded when a figure is made, so that importing the package stays quick
    import matplotlib.axes
    import matplotlib.figure

_COLOURS = {"agrees": "#009E73", "disagrees": "#D55E00", "cannot tell": "#E69F00"}
_GREY = "#808080"
_FARTHEST = 3.0  # tolerances that are shown
_COLUMNS = 3
_PANEL = 3.3, 2.4  # inches
_LINE = 0.36


def card_figure(card: Card) -> "matplotlib.figure.Figure":
    """The claims of a card, and the curves that they are read off.

    Above: our number minus the published one, in units of what may lie between the two. Dots agree
    in the grey band, limits (triangles) on the side that they point to, outside of it. Below: means
    over chains with two standard errors, and the law.

    Args:
        card: from `reproduce`.
    """
    import matplotlib

    from collapse_jax.report.pictures import Picture

    shown = [(claim, claim.curve) for claim in card.claims if claim.curve is not None]
    rows = -(-len(shown) // _COLUMNS)
    top = 0.9 + _LINE * len(card.claims)
    with matplotlib.rc_context(STYLE):
        size = _COLUMNS * _PANEL[0], top + rows * _PANEL[1]
        figure = Picture(figsize=size, layout="constrained")
        figure.suptitle(f"{card.paper.authors}, arXiv {card.paper.arxiv}: {card.paper.title}")
        parts = figure.subfigures(2, 1, squeeze=False, height_ratios=(top, rows * _PANEL[1] + 0.01))
        above, below = parts[:, 0]
        _draw_claims(above.subplots(), card.claims)
        panels = below.subplots(max(rows, 1), _COLUMNS, squeeze=False).flat
        for ax, (claim, curve) in zip(panels, shown, strict=False):
            _draw_curve(ax, claim, curve)
        for ax in below.axes[len(shown) :]:
            ax.set_axis_off()
    return figure


def _draw_claims(ax: "matplotlib.axes.Axes", claims: tuple[Claim, ...]) -> None:
    ax.axvspan(-1, 1, color=_GREY, alpha=0.18, lw=0)
    ax.axvline(0, color=_GREY, lw=0.8)
    for y, claim in enumerate(claims):
        apart = _apart(claim)
        colour = _COLOURS[claim.verdict]
        marker: Any = {"=": "o", "<=": "<", ">=": ">"}[claim.relation]
        if abs(apart) == _FARTHEST:
            ax.annotate(
                "", (apart, y), (apart - 0.3 * np.sign(apart), y), arrowprops={"fc": colour}
            )
        ax.plot([apart], [y], marker=marker, color=colour, ms=7, ls="")
    labels = [textwrap.fill(claim.text, 64) for claim in claims]
    ax.set_yticks(range(len(claims)), labels)
    for label, claim in zip(ax.get_yticklabels(), claims, strict=True):
        label.set_color(_COLOURS[claim.verdict])
    ax.set_ylim(len(claims) - 0.5, -0.5)
    ax.set_xlim(-_FARTHEST - 0.2, _FARTHEST + 0.2)
    ax.set_xlabel("ours minus published, in tolerances")
    ax.grid(visible=False)


def _apart(claim: Claim) -> float:
    """Distance in tolerances, no more than is shown."""
    difference = claim.ours.value - claim.published
    if not math.isfinite(difference):
        return 0.0
    scaled = difference / claim.tolerance if claim.tolerance else math.copysign(9.0, difference)
    return float(np.clip(scaled if difference else 0.0, -_FARTHEST, _FARTHEST))


def _draw_curve(ax: "matplotlib.axes.Axes", claim: Claim, curve: Curve) -> None:
    t = np.arange(1, len(curve.mean) + 1)
    colour = _COLOURS[claim.verdict]
    ax.plot(t, curve.mean, color=colour)
    band = curve.mean - 2 * curve.error, curve.mean + 2 * curve.error
    ax.fill_between(t, *band, color=colour, alpha=0.25, lw=0)
    if curve.law is not None:
        ax.plot(t, curve.law, color=_GREY, ls=(0, (4, 2)), lw=1.4)
    if t[-1] > 50:
        ax.set_xscale("log")
    values = curve.mean[curve.mean > 0]
    if len(values) == len(curve.mean) and values.max() > 20 * values.min():
        ax.set_yscale("log")
    ax.set_title("\n".join(textwrap.wrap(claim.text, 46)[:3]), fontsize=7.5, loc="left")
    ax.set_xlabel("generation")
    ax.set_ylabel(curve.metric)
