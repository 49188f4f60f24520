"""What the scripts of this folder share: their command line, their runs, the look of figures."""

import argparse
import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

import collapse_jax as cj
from collapse_jax.report.axes import MARKERS, legend_columns, shades
from collapse_jax.report.figures import STYLE

WORKFLOWS = (cj.Replace(), cj.Accumulate(), cj.AccumulateSubsample())
GREY = "#7F7F7F"
NO_DITHER = Image.Dither.NONE
EXACT, LARGE_SAMPLES = (0, (4, 2)), (0, (1, 1.2))


def command(main: Callable[..., Any], quick: Any, full: Any, doc: str | None, out: str) -> None:
    """Run `main(out, settings)` from the command line, `--full` with the published settings."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--full", action="store_true", help="the published grid and seeds")
    parser.add_argument("--out", default=out, help=f"where to write; default {out}")
    arguments = parser.parse_args()
    cj.use_all_cores()
    cj.keep_compiled_programs()
    main(arguments.out, full if arguments.full else quick)


def simulate(
    pairs: Iterable[tuple[Any, Any]], n_generations: int, seeds: int, metrics: Sequence[str] | None
) -> list[xr.Dataset]:
    """Run pairs of a workflow and a task, two at a time, as compilation uses one core only.

    Sorted by sample size, since runs that differ in nothing else often share a program: at the same
    time each would compile it.
    """
    pairs = list(pairs)
    order = sorted(range(len(pairs)), key=lambda i: pairs[i][1].n_samples)

    def one(i: int) -> xr.Dataset:
        return cj.simulate(*pairs[i], n_generations, seeds, metrics=metrics, progress=False)

    with ThreadPoolExecutor(2) as pool:
        runs = dict(zip(order, pool.map(one, order), strict=True))
    return [runs[i] for i in range(len(pairs))]


def digits(
    title: str,
    small: str,
    drawn: dict[str, dict[str, np.ndarray]],
    found: dict[str, dict[str, np.ndarray]],
    colors: dict[str, str],
) -> Figure:
    """Images of digits for each loop, and below them what is measured of all loops.

    Args:
        title: what is shown.
        small: the small print.
        drawn: of each loop, rows of images `[digits, side, side]` by what stands beside them.
        found: of each loop, the curves of four metrics over generations.
        colors: those of the loops.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.3), layout="constrained")
        figure.suptitle(f"{title}\n({small})", fontsize=10.0)
        places = figure.add_gridspec(2, 12, height_ratios=(1.2, 1.0))
        width = 12 // len(drawn)
        seen = np.concatenate([np.ravel(x) for rows in drawn.values() for x in rows.values()])
        black = np.quantile(seen, 0.99)  # the brightest pixel of all may be far off
        for i, (name, rows) in enumerate(drawn.items()):
            ax = figure.add_subplot(places[0, width * i : width * (i + 1)])
            framed = [np.hstack([*np.pad(x, ((0, 0), (1, 1), (1, 1)))]) for x in rows.values()]
            ax.imshow(np.vstack(framed), cmap="gray_r", vmin=0.0, vmax=black)
            ax.set_xticks([])
            ax.set_yticks(len(framed[0]) * (np.arange(len(rows)) + 0.5) - 0.5, [*rows])
            ax.set_title(name, fontsize=10.0, color=colors[name])
            ax.set_ylabel("generation")
        for i, metric in enumerate(next(iter(found.values()))):
            ax = figure.add_subplot(places[1, 3 * i : 3 * (i + 1)])
            for name, curves in found.items():
                t = np.arange(1, len(curves[metric]) + 1)
                ax.plot(t, curves[metric], color=colors[name], lw=2.0, marker="o", ms=3.0)
            ax.set(xlabel="generation", title=metric)
            ax.set_ylim(0.0, None if metric == "frechet" else 1.0)
    return figure


def panels(
    rows: int, columns: int, title: str, note: str, size: tuple[float, float] = (3.0, 2.3)
) -> tuple[Figure, np.ndarray]:
    """A figure with axes `[rows, columns]` of this size in inches, a title and small print."""
    with mpl.rc_context(STYLE):
        width, height = size[0] * columns, size[1] * rows + 1.1
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        figure.suptitle(f"{title}\n({note})", fontsize=10.0)
    return figure, axes


def share_labels(axes: np.ndarray) -> None:
    """Keep the labels of the outer axes only."""
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("median" if "median" in ax.get_ylabel() else "")
    for ax in axes[:-1].flat:
        ax.set_xlabel("")


def legend(
    figure: Figure,
    entries: dict[str, str],
    theory: Sequence[str] = (),
    band: str = "10 to 90 % of chains",
    marked: bool = False,
) -> None:
    """Explain colours by their label, the band, and the theory's kinds, below all panels.

    Where curves are `marked`, each panel has one of each colour, in this order.
    """
    marks = itertools.cycle(MARKERS if marked else [""])
    handles: list[Any] = [
        Line2D([], [], color=c, marker=mark, ms=5, lw=2.6, label=t)
        for (t, c), mark in zip(entries.items(), marks, strict=False)
    ]
    handles.append(Patch(color=GREY, alpha=0.25, lw=0, label=band))
    styles: dict[str, Any] = {"exact": EXACT, "large samples": LARGE_SAMPLES}
    handles += [
        Line2D([], [], color=GREY, lw=1.5, ls=styles[kind], label=f"theory ({kind})")
        for kind in theory
    ]
    columns = legend_columns([handle.get_label() for handle in handles], figure.get_figwidth())
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9.0
    )


def grey_shades(labels: Iterable[str]) -> dict[str, str]:
    """Labels with the shades that they have in each workflow's colour, in grey."""
    labels = list(labels)
    return dict(zip(labels, shades(GREY, len(labels)), strict=True))


def note(seeds: int, quick: bool) -> str:
    """Small print: how many chains, and whether `--full` has more."""
    chains = "1 chain" if seeds == 1 else f"{seeds} chains"
    return chains + "; quick mode: --full has more chains or cells" * quick


def save(figure: Figure, out: str | Path) -> Path:
    """Write the figure, a PNG in 256 colours, and return its path."""
    path = Path(out)
    figure.savefig(path, dpi=100)
    if path.suffix == ".png":
        with Image.open(path) as image:
            rgb = image.convert("RGB")
        few = rgb.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=NO_DITHER)
        few.save(path, optimize=True)
    return path


def named(out: str | Path, suffix: str) -> Path:
    """`gaussian.png` with the suffix `d10` is `gaussian-d10.png`."""
    path = Path(out)
    return path.with_name(f"{path.stem}-{suffix}{path.suffix}")
