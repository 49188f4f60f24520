"""What all views share: the part of the plane that they need, and how they draw into it."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import numpy as np

if TYPE_CHECKING:  # loaded when a figure is made, so that importing the package stays quick
    import matplotlib.axes

REAL = "#808080"
"""The colour of what is real, in all views."""
TRUTH: Any = {"color": "#606060", "ls": (0, (4, 2)), "lw": 1.4}
"""How lines of the truth are drawn."""


class Extent(NamedTuple):
    """Which part of the plane a view needs; what is beyond is counted, and not drawn."""

    left: float
    right: float
    bottom: float
    top: float

    def joined(self, other: "Extent") -> "Extent":
        """The least that holds both.

        Example:
            >>> Extent(0, 1, 0, 1).joined(Extent(-1, 0.5, 0, 2))
            Extent(left=-1, right=1, bottom=0, top=2)
        """
        low, high = min, max
        return Extent(
            low(self.left, other.left),
            high(self.right, other.right),
            low(self.bottom, other.bottom),
            high(self.top, other.top),
        )


class AbstractView(eqx.Module):
    """What is drawn of one model in one panel, as arrays, which a compiled program can make."""

    @abstractmethod
    def extent(self) -> Extent:
        """The part of the plane that the panel should show at least.

        It follows the truth where one is known, so that models that leave it are seen to.
        """

    @abstractmethod
    def draw(self, ax: "matplotlib.axes.Axes", colour: str) -> None:
        """Draw into axes whose limits are set: the model in this colour, the truth in grey."""


def spans(*groups: Any, margin: float = 0.15) -> tuple[float, float]:
    """From the least to the greatest of all finite numbers, and some more.

    Example:
        >>> spans([0.0, 1.0], [np.nan, 3.0], margin=0.0)
        (0.0, 3.0)
    """
    values = np.concatenate([np.ravel(np.asarray(group, np.float64)) for group in groups])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    width = margin * (high - low) or margin * max(abs(low), 1e-30)
    return low - width, high + width


def inside(ax: "matplotlib.axes.Axes", *columns: Any) -> np.ndarray:
    """Which rows, given by one coordinate or two, lie within the limits of the axes.

    How many do not is written into a corner.
    """
    limits = (ax.get_xlim(), ax.get_ylim())
    shown = np.ones(len(columns[0]), bool)
    for values, (low, high) in zip(columns, limits, strict=False):
        shown &= (np.asarray(values) >= low) & (np.asarray(values) <= high)
    if not shown.all():
        text = f"{np.sum(~shown)} of {len(shown)} outside"
        ax.text(0.98, 0.98, text, transform=ax.transAxes, ha="right", va="top", fontsize=7.0)
    return shown
