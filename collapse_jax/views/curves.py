"""Views of functions: one over its argument, and lines through labelled rows."""

import math
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from collapse_jax.views.base import REAL, TRUTH, AbstractView, Extent, inside, spans

_HEADROOM = 2.2
_LEAST = 1e-3  # of the greatest value of the truth; what has less is not shown


class Curve(AbstractView):
    """A function of the model (line and dots) and that of the truth (broken)."""

    x: Float[Any, " n"]
    y: Float[Any, " n"]
    truth: Float[Any, " n"]
    names: tuple[str, str] = eqx.field(static=True)
    log: bool = eqx.field(static=True, default=False)
    """Whether both axes are logarithmic."""
    most: float = eqx.field(static=True, default=math.inf)
    """What the function cannot exceed."""

    def extent(self) -> Extent:
        truth = np.asarray(self.truth, np.float64)
        x, most = np.asarray(self.x, np.float64), float(np.nanmax(truth))
        if not self.log:
            last = np.flatnonzero(truth > _LEAST * most)[-1] + 1  # and one beyond, if there is one
            left, right = spans(x[: last + 1][np.isfinite(truth[: last + 1])], margin=0.05)
            return Extent(left, right, 0.0, min(_HEADROOM * most, 1.05 * self.most))
        least = float(truth[truth > 0.0].min())
        right = 1.3 * float(x[(truth > 0.0) | (np.asarray(self.y) > 0.0)].max())
        return Extent(0.8 * float(x[0]), right, least / 3.0, min(10.0 * most, 1.5 * self.most))

    def draw(self, ax: Any, colour: str) -> None:
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        if self.log:
            ax.set(xscale="log", yscale="log")
            ax.yaxis.set_minor_formatter("")  # with less than two decades there would be too many
        x, y, truth = (np.asarray(part) for part in (self.x, self.y, self.truth))
        seen = y > 0.0 if self.log else np.isfinite(y)
        true = truth > 0.0 if self.log else np.isfinite(truth)
        if self.names[0] == "count":
            ax.xaxis.get_major_locator().set_params(integer=True)
        style = "." if self.log else ".-"
        ax.plot(x[seen], y[seen], style, color=colour, lw=1.0, ms=3.5)
        ax.plot(x[true], truth[true], **TRUTH)
        if self.log and np.any(~seen & (truth > 0.0)):
            text = f"{np.sum(~seen & (truth > 0.0))} of {np.sum(truth > 0.0)} are gone"
            ax.text(0.98, 0.98, text, transform=ax.transAxes, ha="right", va="top", fontsize=7.0)


class Lines(AbstractView):
    """Rows with a label each (grey), the model's line through them, and the true one (broken)."""

    x: Float[Any, " n"]
    y: Float[Any, " n"]
    ends: Float[Any, "2"]
    """Where lines begin and end."""
    truth: Float[Any, "2"]
    fitted: Float[Any, "2"] | None = None
    """The model at these; None where the rows are what it says."""
    names: tuple[str, str] = eqx.field(static=True, default=("covariate", "label"))

    def extent(self) -> Extent:
        bottom, top = spans(self.truth, margin=0.0)
        middle, half = 0.5 * (bottom + top), max(0.5 * (top - bottom), 1e-30)
        return Extent(*spans(self.ends, margin=0.05), middle - 1.8 * half, middle + 1.8 * half)

    def draw(self, ax: Any, colour: str) -> None:
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        x, y, ends = (np.asarray(part) for part in (self.x, self.y, self.ends))
        shown = inside(ax, x, y)
        dots = REAL if self.fitted is not None else colour
        ax.plot(x[shown], y[shown], "o", color=dots, ms=2.6, mew=0.0, alpha=0.6)
        ax.plot(ends, np.asarray(self.truth), **TRUTH)
        if self.fitted is not None:
            ax.plot(ends, np.asarray(self.fitted), color=colour, lw=1.8)
