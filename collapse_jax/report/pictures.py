"""Figures that belong to no window, and that notebooks show."""

import io

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that a notebook shows where it is named, whether or not pyplot is in use."""

    def _repr_png_(self) -> bytes:
        """What IPython asks for."""
        found = io.BytesIO()
        self.savefig(found, format="png", dpi=100)
        return found.getvalue()
