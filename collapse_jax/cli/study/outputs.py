"""What is made of the runs of a study: figures, tables and pages, by the ending of their file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any

from collapse_jax.basics import checks, files
from collapse_jax.basics.annotations import File
from collapse_jax.report.demonstration import FIGURES
from collapse_jax.report.paper import FORMATS

if TYPE_CHECKING:  # loaded when a study is run
    import xarray as xr

Runs = Mapping[str, "xr.Dataset"]
Names = Annotated[Sequence[str], "RUN ..."]
"""Runs of the study."""
PAGES = (".html",)
CHAINS = "chains"
"""The folder in that of a study where unfinished and finished chains are kept."""


def save_figure(
    found: Any, file: File, runs: Names = (), metrics: Sequence[str] = (), theory: bool = True
) -> None:
    """A figure of curves.

    Args:
        found: the runs.
        file: the figure (.png, .pdf or .svg), in the folder of the study.
        runs: which runs. Default all.
        metrics: which metrics. Default all of the tasks.
        theory: whether to draw theory where it is known.
    """
    from collapse_jax.report.figures import plot

    image, suffix = plot(found, variables=metrics or None, theory=theory), Path(file).suffix
    files.write_atomically(
        file, lambda path: image.savefig(path, format=suffix[1:].lower(), dpi=200)
    )


def save_table(
    found: Any,
    file: File,
    runs: Names = (),
    metrics: Sequence[str] = (),
    generations: Sequence[int] | None = None,
    theory: bool = True,
) -> None:
    """A table of means with standard errors, units and theory.

    Args:
        found: the runs.
        file: the table (.tex, .md or .csv), in the folder of the study.
        runs: which runs. Default all.
        metrics: which metrics. Default all of the tasks.
        generations: which generations. Default the first and the last of each run.
        theory: whether to add theory where it is known.
    """
    from collapse_jax.report.paper import table

    several = [generations] if isinstance(generations, int) else generations
    table(found, variables=metrics or None, generations=several, theory=theory).save(file)


def save_page(
    found: Any,
    file: File,
    runs: Names = (),
    title: str = "Model collapse: a report",
    theory: bool = True,
) -> None:
    """A page of HTML that works without a network.

    Args:
        found: the runs.
        file: the page (.html), in the folder of the study.
        runs: which runs. Default all.
        title: heading of the page.
        theory: whether to draw theory where it is known.
    """
    from collapse_jax.report.page.writing import write_report

    write_report(found, file, title=title, theory=theory)


KINDS: dict[tuple[str, ...], Callable[..., None]] = {
    FIGURES: save_figure,
    FORMATS: save_table,
    PAGES: save_page,
}
"""What makes an output, by the ending of its file."""


@dataclass(frozen=True)
class Output:
    """One file that is made of runs."""

    file: str
    make: Callable[..., None]
    runs: tuple[str, ...]
    """Their names."""
    options: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Whether it is a figure, a table or a page."""
        return self.make.__name__.removeprefix("save_").capitalize()

    def write(self, folder: Path, datasets: Runs) -> Path:
        """Make the file anew."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        self.make({name: datasets[name] for name in self.runs}, str(path), **self.options)
        return path


def kind_of(file: Any) -> Callable[..., None]:
    """What makes a file of this name.

    Raises:
        TypeError: for what is no name.
        ValueError: for another ending.
    """
    if not isinstance(file, str):
        raise TypeError(f"file must be the name of a file, got {file!r}")
    known = {ending: make for endings, make in KINDS.items() for ending in endings}
    return known[checks.one_of("the suffix of file", PurePosixPath(file).suffix.lower(), known)]


def check_inside(file: str) -> None:
    """Check that a name is one of a file in the folder of the study, or in a folder within.

    Raises:
        ValueError: for any other.
    """
    path = PurePosixPath(file)
    if path.is_absolute() or PureWindowsPath(file).anchor or "\\" in file or "\0" in file:
        raise ValueError(f"file must be a name within the folder of the study, got {file!r}")
    if any(part.startswith(".") for part in path.parts) or path.parts[0] == CHAINS:
        raise ValueError(f"file must be a name within the folder of the study, got {file!r}")
