"""Views in a plane: points with densities, rows with labels, and images."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from collapse_jax.views.base import REAL, TRUTH, AbstractView, Extent, inside, spans

_LEVELS = (0.03, 0.15, 0.4, 0.8)  # of the greatest density on the grid
_MARKS = "o^sDvP*X"  # of labels
_TONES = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
_GAP = ((0, 0), (1, 1), (1, 1))  # pixels around each image


class Points(AbstractView):
    """Rows of two columns (dots) over real ones (grey crosses), with the density if it is known."""

    rows: Float[Any, "n 2"]
    real: Float[Any, "m 2"]
    grid: Float[Any, "g g 2"] | None = None
    """Points of the plane at which the density is known."""
    log_density: Float[Any, "g g"] | None = None
    centers: Float[Any, "k 2"] | None = None
    """Centres of components, drawn as rings."""
    weights: Float[Any, " k"] | None = None
    """Their weights: the area of a ring."""
    names: tuple[str, str] = eqx.field(static=True, default=("column 1", "column 2"))

    def extent(self) -> Extent:
        real = np.asarray(self.real)
        return Extent(*spans(real[:, 0]), *spans(real[:, 1]))

    def draw(self, ax: Any, colour: str) -> None:
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        real, rows = np.asarray(self.real), np.asarray(self.rows)
        ax.plot(*real.T, "x", color=REAL, ms=2.6, mew=0.5, alpha=0.45, zorder=1)
        shown = inside(ax, *rows.T)
        ax.plot(*rows[shown].T, "o", color=colour, ms=2.4, mew=0.0, alpha=0.6, zorder=2)
        if self.log_density is not None and self.grid is not None:
            logs = np.asarray(self.log_density, np.float64)
            if np.isfinite(logs).any():
                top = logs[np.isfinite(logs)].max()
                height = np.exp(np.where(np.isfinite(logs), logs - top, -np.inf))
                x, y = np.moveaxis(np.asarray(self.grid), -1, 0)
                ax.contour(x, y, height, levels=_LEVELS, colors=colour, linewidths=0.9, zorder=3)
        if self.centers is not None and self.weights is not None:
            weights = np.asarray(self.weights)
            style: Any = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.0}
            ax.scatter(*np.asarray(self.centers).T, s=1.0 + 500.0 * weights, zorder=4, **style)


class Regions(AbstractView):
    """Rows of two columns by their label, and the lines at which a classifier changes its mind."""

    rows: Float[Any, "n 2"]
    label: Int[Any, " n"]
    grid: Float[Any, "g g 2"]
    odds: Float[Any, "k g g"]
    """Log-odds of each label on the grid, up to a number that all share."""
    true_odds: Float[Any, "k g g"] | None = None

    def extent(self) -> Extent:
        grid = np.asarray(self.grid)
        return Extent(*spans(grid[..., 0], margin=0.0), *spans(grid[..., 1], margin=0.0))

    def draw(self, ax: Any, colour: str) -> None:
        ax.set(xlabel="column 1", ylabel="column 2")
        rows, label = np.asarray(self.rows), np.asarray(self.label)
        shown = inside(ax, *rows.T)
        for k in np.unique(label):
            own: Any = {"ls": "", "marker": _MARKS[k % 8], "color": _TONES[k % 8], "alpha": 0.55}
            ax.plot(*rows[shown & (label == k)].T, ms=3.0, mew=0.0, **own)
        self._lines(ax, self.odds, colors=colour, linewidths=1.8, linestyles="solid")
        if self.true_odds is not None:
            truth = {"colors": TRUTH["color"], "linewidths": TRUTH["lw"]}
            self._lines(ax, self.true_odds, linestyles=[TRUTH["ls"]], **truth)

    def _lines(self, ax: Any, odds: Any, **style: Any) -> None:
        odds = np.asarray(odds, np.float64)
        for k in range(len(odds) if len(odds) > 2 else 1):
            lead = odds[k] - np.delete(odds, k, axis=0).max(axis=0)
            if np.isfinite(lead).all() and lead.min() < 0.0 < lead.max():
                ax.contour(*np.moveaxis(np.asarray(self.grid), -1, 0), lead, levels=[0.0], **style)


class Images(AbstractView):
    """Images side by side, white the least and black the greatest of the real ones."""

    rows: Float[Any, "n h w"]
    real: Float[Any, "m h w"]
    across: int = eqx.field(static=True, default=4)

    def extent(self) -> Extent:
        height, width = np.asarray(self.tiled).shape
        return Extent(-0.5, width - 0.5, -0.5, height - 0.5)

    @property
    def tiled(self) -> np.ndarray:
        """As one image, rows of `across` from above."""
        real = np.asarray(self.real)
        images = np.asarray(self.rows)[: self.across**2]
        padded = np.pad(images, _GAP, constant_values=float(real.min()))
        lines = [padded[i : i + self.across] for i in range(0, len(padded), self.across)]
        lines = [line for line in lines if len(line) == len(lines[0])]
        return np.vstack([np.hstack([*line]) for line in lines])

    def draw(self, ax: Any, colour: str) -> None:
        real = np.asarray(self.real)
        style: Any = {"cmap": "gray_r", "vmin": real.min(), "vmax": real.max(), "aspect": "equal"}
        ax.imshow(self.tiled, origin="upper", **style)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        for spine in ax.spines.values():
            spine.set(visible=True, color=colour)
