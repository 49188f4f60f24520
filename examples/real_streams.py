"""Real rows that keep coming, or keep being used: how much of them does a loop need?

Errors of the mean of a one-dimensional Gaussian, times the size n of a batch. Lines are theory,
read off the plan of each loop; points are simulated.

1. A constant share a of fresh real rows: a plateau at 1/(a (2 - a)).
2. A vanishing share c/t: the error still grows, as t/(1 + 2c) instead of t.
3. Fresh real rows that stay, all rows kept: the root of the error falls like t^-min(1/2, a).
4. The same real rows and L times as many synthetic ones: the error first rises, then falls with L.
5. Fresh real rows of weight w: the best weight is one over the golden ratio.
6. Rows that come from the truth with probability g/(1 + g): what a generation knows is forgotten
   at the rate 1/(1 + g).

    python examples/real_streams.py --out real_streams.png
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _figures as figures
import numpy as np

import collapse_jax as cj
from collapse_jax.loop.workflow import Fit, Mixed, Real, Synthetic, Workflow
from collapse_jax.report.axes import PALETTE, shades


class Grid(NamedTuple):
    """What is simulated."""

    n_samples: int
    n_generations: int
    seeds: int


QUICK = Grid(n_samples=100, n_generations=100, seeds=400)
FULL = Grid(n_samples=1000, n_generations=1000, seeds=4000)
METRIC = "squared_error_mean"
SHARES, RATES, STAYING, GAMMAS = (
    (0.1, 0.3, 0.6),
    (0.5, 1.0, 2.0),
    (0.1, 0.25, 0.75),
    (0.25, 1.0, 4.0),
)
RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
AMOUNTS_AT = (2, 3, 5)  # generations
LABEL: dict[str, Any] = {
    "xytext": (0, 4),
    "textcoords": "offset points",
    "va": "bottom",
    "fontsize": 8,
}
WEIGHTS = (0.3, 0.45, 0.618, 0.75, 0.9)
REAL, MORE = "#CC79A7", 10


def share_of_fresh_rows(n: int, share: Callable[[int], float]) -> Workflow:
    """Generation t > 1 sees a share of fresh real rows, the others from the newest model."""

    def real(t: int) -> int:
        return n if t == 1 else min(max(1, round(share(t) * n)), n - 1)

    return Workflow(Real(n=real, every=True), Synthetic(n=lambda t: n - real(t + 1)))


def rows_that_stay(n: int, share: float) -> Workflow:
    """Every generation adds n rows, a share of them real, and all are kept."""
    real = max(1, round(share * n))
    return Workflow(
        Real(n=lambda t: n if t == 1 else real, every=True, keep=None),
        Synthetic(n=n - real, keep=None),
    )


def families(n: int) -> list[tuple[str, dict[str, Workflow]]]:
    """The families that are drawn over generations: title, and label and loop of each curve."""
    fading = {f"c = {c:g}": share_of_fresh_rows(n, lambda t, c=c: c / t) for c in RATES}
    mixed = {f"g = {g:g}": Workflow(synthetic=Synthetic(of=Mixed(g / (1 + g)))) for g in GAMMAS}
    return [
        (
            "1. share a of fresh real rows",
            {f"a = {a:g}": share_of_fresh_rows(n, lambda t, a=a: a) for a in SHARES},
        ),
        ("2. share c/t of fresh real rows", fading),
        ("3. share a, and all rows stay", {f"a = {a:g}": rows_that_stay(n, a) for a in STAYING}),
        ("6. rows of the truth mixed in", mixed),
    ]


def main(out: str = "real_streams.png", grid: Grid = QUICK) -> Path:
    """Simulate the six families and draw one panel of each."""
    n, length = grid.n_samples, grid.n_generations
    more = MORE * grid.seeds  # where there are few generations and differences are small
    note = figures.note(grid.seeds, quick=grid != FULL) + f", n = {n}; {more} in 4 and 5"
    figure, axes = figures.panels(2, 3, "Streams of real rows", note)
    over_time = families(n)
    for ax, (title, loops) in zip((*axes[0], axes[1, 2]), over_time, strict=True):
        draw_over_time(ax, loops, n, length, grid.seeds)
        ax.set_title(title, fontsize=10)
    draw_amounts(axes[1, 0], n, max(AMOUNTS_AT), more)
    draw_weights(axes[1, 1], n, min(length, 30), more)
    entries = {"Replace": PALETTE["Replace"], "with real rows": REAL}
    figures.legend(figure, entries, ["exact"], "mean ± 2 standard errors")
    return figures.save(figure, out)


def draw_over_time(ax: Any, loops: dict[str, Workflow], n: int, length: int, seeds: int) -> None:
    """The error over generations: lines of theory, and simulated points at a few of them."""
    task, t = cj.Gaussian(1, n), np.arange(1, length + 1)
    runs = figures.simulate([(loop, task) for loop in loops.values()], length, seeds, [METRIC])
    at = np.unique(np.geomspace(1, length, 8).astype(int))
    places = iter((1.0, 0.85, 0.7))
    replace = cj.theory.expected(Workflow(), task, length)[METRIC]
    ax.plot(t, n * replace, color=PALETTE["Replace"], lw=1.0, ls=figures.EXACT)
    for (label, loop), ds, colour in zip(
        loops.items(), runs, shades(REAL, len(loops)), strict=True
    ):
        known = n * cj.theory.expected(loop, task, length)[METRIC].values
        ax.plot(t, known, color=colour, ls=figures.EXACT, lw=1.5)
        points(ax, at, n * ds[METRIC].sel(generation=at).values, colour)
        where = round(length ** next(places))  # not one above the other
        ax.annotate(label, (where, known[where - 1]), **LABEL, ha="right", color=colour)
    ax.set(xscale="log", yscale="log", xlim=(0.9, 1.2 * length), xlabel="generation")
    ax.set_ylabel("n times the squared error")


def draw_amounts(ax: Any, n: int, length: int, seeds: int) -> None:
    """The error over the amount of synthetic data, beside the same real rows for ever."""
    task = cj.Gaussian(1, n)
    loops = [Workflow(Real(keep=None), Synthetic(n=max(1, round(r * n)))) for r in RATIOS]
    runs = figures.simulate([(loop, task) for loop in loops], length, seeds, [METRIC])
    fine = np.geomspace(0.1, 12.0, 60)
    lines = [Workflow(Real(keep=None), Synthetic(n=max(1, round(r * n)))) for r in fine]
    known = np.array([cj.theory.expected(loop, task, length)[METRIC].values for loop in lines])
    for t, colour in zip(AMOUNTS_AT, shades(REAL, len(AMOUNTS_AT)), strict=True):
        ax.plot(fine, n * known[:, t - 1], color=colour, ls=figures.EXACT, lw=1.5)
        simulated = [n * ds[METRIC].sel(generation=t).values for ds in runs]
        points(ax, RATIOS, np.stack(simulated, axis=1), colour)
        peak = int(np.argmax(known[:, t - 1]))
        where = (fine[peak], n * known[peak, t - 1])
        ax.annotate(f"t = {t}", where, **LABEL, color=colour)
    ax.set_title("4. synthetic rows per fixed real row", fontsize=10)
    ax.set(xscale="log", xlabel="L", ylabel="n times the squared error")


def draw_weights(ax: Any, n: int, length: int, seeds: int) -> None:
    """The error in the long run over the weight of fresh real rows."""
    task = cj.Gaussian(1, n)
    runs = figures.simulate([(weighted(w), task) for w in WEIGHTS], length, seeds, [METRIC])
    fine = np.linspace(0.25, 1.0, 61)
    last = [cj.theory.expected(weighted(w), task, length)[METRIC].values[-1] for w in fine]
    ax.plot(fine, n * np.array(last), color=REAL, ls=figures.EXACT, lw=1.5)
    simulated = [n * ds[METRIC].sel(generation=length).values for ds in runs]
    points(ax, WEIGHTS, np.stack(simulated, axis=1), REAL)
    golden = cj.theory.mixing.optimal_real_weight(n, n)
    ax.axvline(golden, color=figures.GREY, lw=0.8)
    ax.annotate(" 0.618...", (golden, max(last) * n), color=figures.GREY, va="top", fontsize=8)
    ax.set_title("5. weight of fresh real rows", fontsize=10)
    ax.set(xlabel="w", ylabel="n times the squared error")


def weighted(w: float) -> Workflow:
    """Fresh real rows have the weight w together."""
    return Workflow(Real(every=True), fit=Fit(real_weight=float(w)))


def points(ax: Any, x: Any, samples: np.ndarray, colour: str) -> None:
    """Means over chains `[seed, point]`, with two standard errors."""
    samples = samples.reshape(-1, samples.shape[-1])
    error = 2 * samples.std(axis=0) / np.sqrt(len(samples))
    ax.errorbar(x, samples.mean(axis=0), error, fmt="o", ms=3, lw=1, color=colour, alpha=0.7)


if __name__ == "__main__":
    figures.command(main, QUICK, FULL, __doc__, "real_streams.png")
