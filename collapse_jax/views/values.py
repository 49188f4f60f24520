"""A view of numbers: how often they are where."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from collapse_jax.views.base import REAL, TRUTH, AbstractView, Extent, inside, spans

_BINS = 24
_HEADROOM = 2.2  # heights of what is real, beyond which the model's are cut
_TICKS = 100  # rows that are marked below


class Values(AbstractView):
    """Numbers (a histogram, or the density if it is known) over real ones (grey)."""

    rows: Float[Any, " n"]
    real: Float[Any, " m"] | None = None
    grid: Float[Any, " g"] | None = None
    density: Float[Any, " g"] | None = None
    """Density of the model on the grid."""
    name: str = eqx.field(static=True, default="value")
    limits: tuple[float, float] | None = eqx.field(static=True, default=None)
    """Between which all numbers are; default what the real ones span."""
    at: float | None = eqx.field(static=True, default=None)
    """Where a line is drawn that tells good numbers from bad ones."""

    def extent(self) -> Extent:
        known = self._finite(self.rows if self.real is None else self.real)
        left, right = spans(known) if self.limits is None else self.limits
        heights = np.histogram(known, _BINS, (left, right))[0]
        top = heights.max() * _BINS / (max(len(known), 1) * (right - left))
        top = max(float(top), 1e-30) * (_HEADROOM if self.limits is None else 1.0)
        return Extent(left, right, 0.0, top)

    @staticmethod
    def _finite(values: Any) -> np.ndarray:
        values = np.asarray(values, np.float64)
        return values[np.isfinite(values)]

    def draw(self, ax: Any, colour: str) -> None:
        ax.set(xlabel=self.name, yticks=[])
        left, right = ax.get_xlim()
        edges = np.linspace(left, right, _BINS + 1)
        rows = np.asarray(self.rows, np.float64)
        if self.real is not None:
            self._bars(ax, self._finite(self.real), edges, fill=True, color=REAL, alpha=0.35, lw=0)
        kept = rows[inside(ax, rows)]
        if self.density is None:
            self._bars(ax, kept, edges, fill=False, color=colour, lw=1.6)
        else:
            ax.plot(np.asarray(self.grid), np.asarray(self.density), color=colour, lw=1.6)
        low = np.zeros(min(len(kept), _TICKS))
        ax.plot(kept[:_TICKS], low, "|", color=colour, ms=7.0, mew=0.7, clip_on=False)
        if self.at is not None:
            ax.axvline(self.at, **TRUTH)

    @staticmethod
    def _bars(ax: Any, values: np.ndarray, edges: np.ndarray, **style: Any) -> None:
        if len(values):
            heights = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
            ax.stairs(heights, edges, **style)
