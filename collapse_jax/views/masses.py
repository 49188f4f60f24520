"""A view of probabilities of outcomes that have no order but that of the truth."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from collapse_jax.views.base import AbstractView, Extent

_MOST_NAMES = 12
_LONGEST = 10  # characters of a name


class Masses(AbstractView):
    """Probabilities (bars) and the true ones (black lines), the most probable outcomes first."""

    p: Float[Any, " k"]
    truth: Float[Any, " k"]
    names: tuple[str, ...] | None = eqx.field(static=True, default=None)
    title: str = eqx.field(static=True, default="outcome")

    def extent(self) -> Extent:
        top = max(float(np.max(np.asarray(part))) for part in (self.p, self.truth))
        return Extent(-0.7, len(self.truth) - 0.3, 0.0, 1.1 * top)

    def draw(self, ax: Any, colour: str) -> None:
        p, truth = np.asarray(self.p), np.asarray(self.truth)
        order = np.argsort(-truth, kind="stable")
        places = np.arange(len(order))
        ax.bar(places, p[order], width=0.8, color=colour, alpha=0.75, lw=0)
        ax.hlines(truth[order], places - 0.45, places + 0.45, color="black", lw=1.4)
        gone = int(np.sum((p <= 0.0) & (truth > 0.0)))
        if gone:
            text = f"{gone} of {np.sum(truth > 0.0)} are gone"
            ax.text(0.98, 0.98, text, transform=ax.transAxes, ha="right", va="top", fontsize=7.0)
        ax.set(xlabel=self.title, ylabel="probability")
        if self.names is None or len(order) > _MOST_NAMES:
            ax.set_xticks([])
            return
        names = [self.names[i] for i in order]
        short = [n if len(n) <= _LONGEST else n[: _LONGEST - 1] + "…" for n in names]
        several = len(short) > 3 or max(map(len, short)) > 6
        ax.set_xticks(places, short, rotation=90 if several else 0)
