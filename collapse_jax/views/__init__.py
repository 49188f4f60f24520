"""What a person sees of a generation: points, values, images, lines, masses; each draws itself."""

from collapse_jax.views.base import AbstractView, Extent
from collapse_jax.views.curves import Curve, Lines
from collapse_jax.views.masses import Masses
from collapse_jax.views.planes import Images, Points, Regions
from collapse_jax.views.values import Values

__all__ = [
    "AbstractView",
    "Curve",
    "Extent",
    "Images",
    "Lines",
    "Masses",
    "Points",
    "Regions",
    "Values",
]
