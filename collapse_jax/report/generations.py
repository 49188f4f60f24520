"""Pictures of what a person would see of a chain: a strip of panels, or a film."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_jax.basics import checks, files
from collapse_jax.report.axes import PALETTE
from collapse_jax.report.figures import STYLE
from collapse_jax.report.pictures import Picture
from collapse_jax.run.on_host.albums import Album
from collapse_jax.views import AbstractView, Extent

if TYPE_CHECKING:  # loaded when a figure is made, so that importing the package stays quick
    import matplotlib.figure

PICTURES = (".png", ".pdf", ".svg", ".gif")
"""Suffixes of files of pictures; a gif is a film."""
_COLUMNS = 5
_FRAMES = 40
_PANEL = 2.0, 1.9  # inches
_DPI = 100


def plot_generations(
    albums: Album | Mapping[str, Album],
    generations: Sequence[int] | None = None,
    *,
    title: str | None = None,
) -> "matplotlib.figure.Figure":
    """Draw what is to be seen of a chain: a column for each of some generations.

    What is real, or true, is grey or broken; what a model has made is in colour. All panels of a
    row show the same part of the plane, that of the truth; how much is beyond stands in a corner.

    It is a function beside `plot`, which draws the metrics of many chains from their dataset: this
    one draws rows and models of one chain, which no dataset holds.

    Args:
        albums: of a run; of several, by label, a row or more for each.
        generations: which are drawn; default up to five, from the first to the last.
        title: heading of the figure; default the name of the task.

    Returns:
        the figure, which belongs to no window.

    Raises:
        ValueError: for an album that is empty, and generations that it does not have.
        TypeError: for what is no album.

    Example:
        >>> import collapse_jax as cj
        >>> album = cj.Album()
        >>> task = cj.Categorical(4, n_samples=20)
        >>> ds = cj.simulate(cj.Replace(), task, 3, seeds=1, observe=album, progress=False)
        >>> len(cj.plot_generations(album).axes)
        3
    """
    named = _named(albums)
    shown = _spread(_common(named), _COLUMNS) if generations is None else list(generations)
    _check_known(named, shown)
    return _figure(named, shown, title)


def animate_generations(
    albums: Album | Mapping[str, Album],
    out: str | Path,
    *,
    title: str | None = None,
    seconds: float = 0.4,
) -> Path:
    """Write what is to be seen of a chain as a film (.gif), a frame for each of its generations.

    Args:
        albums: of a run; of several, by label, side by side.
        out: the file. Of more than 40 generations 40 are shown.
        title: heading; default the name of the task.
        seconds: how long a frame is shown.

    Returns:
        the path of the file.

    Raises:
        ValueError: for an album that is empty, another suffix, and seconds below 0.
        TypeError: for what is no album.

    Example:
        >>> import collapse_jax as cj, tempfile
        >>> album = cj.Album()
        >>> task = cj.Categorical(4, n_samples=20)
        >>> ds = cj.simulate(cj.Replace(), task, 3, seeds=1, observe=album, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cj.animate_generations(album, f"{folder}/film.gif").read_bytes()[:3]
        b'GIF'
    """
    import matplotlib
    from matplotlib.animation import PillowWriter

    named = _named(albums)
    path = files.check_writable("out", out, (".gif",))
    rate: Any = 1.0 / checks.positive_number("seconds", seconds)
    frames = _spread(_common(named), _FRAMES)
    rows = _rows(named)
    extents = _extents(rows, frames)
    columns = min(len(rows), 3)
    lines = -(-len(rows) // columns)
    with matplotlib.rc_context(STYLE):
        size = 1.5 * _PANEL[0] * columns, 1.5 * _PANEL[1] * lines + 0.4
        figure = Picture(figsize=size, layout="constrained")
        axes = list(figure.subplots(lines, columns, squeeze=False).flat)
        heading = _heading(named, title, size[0])

        def draw(t: int) -> None:
            for ax, row in zip(axes, rows, strict=False):
                ax.clear()
                _panel(ax, row, t, extents[row[1]])
                ax.set_title(row[0], fontsize=9.0)
            for ax in axes[len(rows) :]:
                ax.set_axis_off()
            figure.suptitle(f"{heading}\ngeneration {t}")

        def write(name: str) -> None:
            own, writer = f"{name}.gif", PillowWriter(fps=rate)  # it goes by the suffix
            with writer.saving(figure, own, _DPI):
                for t in frames:
                    draw(t)
                    writer.grab_frame()
            Path(own).replace(name)

        files.write_atomically(path, write)
    return path


def save_generations(
    albums: Album | Mapping[str, Album], out: str | Path, *, title: str | None = None
) -> Path:
    """Write a strip, or where the suffix is .gif a film.

    Raises:
        ValueError: for an album that is empty, and another suffix (`TypeError` for no album).
    """
    path = files.check_writable("out", out, PICTURES)
    suffix = path.suffix[1:].lower()
    if suffix == "gif":
        return animate_generations(albums, path, title=title)
    image = plot_generations(albums, title=title)
    files.write_atomically(path, lambda name: image.savefig(name, format=suffix, dpi=_DPI))
    return path


def _named(albums: Any) -> dict[str, Album]:
    named = dict(albums) if isinstance(albums, Mapping) else {"": albums}
    for label, album in named.items():
        if not isinstance(album, Album):
            raise TypeError(f"albums must be an Album, or such by label, got {album!r}")
        if not album.views:
            raise ValueError(
                f"albums must hold generations, and {label or 'this one'} has none; give it to "
                "simulate as observe, and a seed that is run"
            )
    if not named:
        raise ValueError("albums must not be empty")
    return {str(label): album for label, album in named.items()}


def _common(named: Mapping[str, Album]) -> list[int]:
    """Generations that all albums have."""
    found = set.intersection(*(set(album.views) for album in named.values()))
    if not found:
        raise ValueError("albums must have a generation in common, got none")
    return sorted(found)


def _check_known(named: Mapping[str, Album], shown: Sequence[int]) -> None:
    known = _common(named)
    missing = [t for t in shown if t not in known]
    if missing or not shown:
        raise ValueError(f"generations must be of {known}, got {missing or shown}")


def _spread(known: Sequence[int], most: int) -> list[int]:
    """First, last, and some between, evenly on a logarithmic scale where there are many.

    Example:
        >>> _spread(range(1, 101), 5), _spread([1, 2, 3], 5)
        ([1, 3, 10, 32, 100], [1, 2, 3])
    """
    if len(known) <= most:
        return list(known)
    even = np.linspace if len(known) < 4 * most else np.geomspace
    count = np.arange(most)
    places = np.round(even(1, len(known), most)).astype(int) - 1
    return [known[i] for i in np.maximum.accumulate(places - count) + count]  # none of them twice


_Row = tuple[str, str, Album, str]


def _rows(named: Mapping[str, Album]) -> list[_Row]:
    """Label, name of the part, album and colour of each row of panels."""
    rows = []
    for number, (label, album) in enumerate(named.items()):
        colour = PALETTE.get(
            label, (*PALETTE.values(), "#CC79A7", "#E69F00", "#56B4E9")[number % 6]
        )
        rows += [(label, part, album, colour) for part in next(iter(album.views.values()))]
    return rows


def _extents(rows: Sequence[_Row], shown: Sequence[int]) -> dict[str, Extent]:
    """What panels show, by the name of the part: the same in all runs."""
    by_part: dict[str, Extent] = {}
    for _, part, album, _ in rows:
        for t in shown:
            extent = album.views[t][part].extent()
            by_part[part] = by_part[part].joined(extent) if part in by_part else extent
    return by_part


def _panel(ax: Any, row: _Row, t: int, extent: Extent) -> None:
    _, part, album, colour = row
    view: AbstractView = album.views[t][part]
    ax.set(xlim=extent[:2], ylim=extent[2:])
    view.draw(ax, colour)
    ax.set(xlim=extent[:2], ylim=extent[2:])


def _heading(named: Mapping[str, Album], title: str | None, width: float) -> str:
    tasks = dict.fromkeys(album.task for album in named.values())
    text = ", ".join(tasks) if title is None else title
    return "\n".join(textwrap.wrap(text, int(10 * width), break_long_words=False))


def _figure(
    named: Mapping[str, Album], shown: Sequence[int], title: str | None
) -> "matplotlib.figure.Figure":
    import matplotlib

    rows = _rows(named)
    extents = _extents(rows, shown)
    with matplotlib.rc_context(STYLE):
        width = max(_PANEL[0] * len(shown), 4.0) + 0.5
        heading = _heading(named, title, width)
        height = _PANEL[1] * len(rows) + 0.35 + 0.2 * len(heading.splitlines())
        figure = Picture(figsize=(width, height), layout="constrained")
        panels = figure.subplots(len(rows), len(shown), squeeze=False)
        for axes, row in zip(panels, rows, strict=True):
            for ax, t in zip(axes, shown, strict=True):
                _panel(ax, row, t, extents[row[1]])
                if ax is not axes[0]:
                    ax.set_ylabel("")
                    ax.tick_params(labelleft=False)
            if row[0]:
                words = row[0] if not axes[0].get_ylabel() else f"{row[0]}\n{axes[0].get_ylabel()}"
                axes[0].set_ylabel(words)
        for ax, t in zip(panels[0], shown, strict=True):
            ax.set_title(f"generation {t}")
        figure.suptitle(heading)
    return figure
