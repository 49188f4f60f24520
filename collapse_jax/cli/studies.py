"""`collapse-jax run` and `schema`: studies as files."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from collapse_jax.basics.annotations import File, Folder
from collapse_jax.cli.options.parser import PROGRAM

if TYPE_CHECKING:  # loaded when a study is run
    from collapse_jax.cli.study.forecasts import Forecast
    from collapse_jax.cli.study.reading import Study
    from collapse_jax.cli.study.runs import StudyRun


def run_file(
    file: File,
    out: Folder | None = None,
    dry_run: bool = False,
    trust: bool = False,
    yes: bool = False,
) -> None:
    """Run a study, as a file describes it (.yaml): runs, sweeps, and what is made of them.

    Args:
        file: the study; docs/study_files.md explains it.
        out: the folder of all that is written, from which the same command goes on. Default the
            name of the file without its ending.
        dry_run: check the study, tell sizes, memory and an estimate of the time, and run nothing.
        trust: import classes and functions that the study names, which runs code of whoever wrote
            them.
        yes: begin without a question what takes more than an hour, by an estimate.
    """
    from collapse_jax.cli.consent import ask_before_long
    from collapse_jax.cli.study.forecasts import of_loops
    from collapse_jax.cli.study.problems import StudyError
    from collapse_jax.cli.study.reading import read_study
    from collapse_jax.cli.study.running import carry_out, check_folder, folder_of

    def ask(waiting: "Sequence[StudyRun]") -> None:
        ask_before_long([cells for run in waiting for cells in of_loops(run)], yes)

    folder = folder_of(file, out)
    words = [PROGRAM, "run", file, *(["--out", out] if out else []), *(["--trust"] * trust)]
    words += ["--yes"] * yes
    try:
        study = read_study(file, trust, yes)
        if dry_run:
            check_folder(study, folder)
            _foretell(study, folder)
        else:
            carry_out(study, folder, command=shlex.join(words), tell=print, ask=ask)
    except StudyError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        raise ValueError(error.headline) from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the same command goes on from {folder}") from None


def print_schema() -> None:
    """Print the JSON Schema of studies, by which editors complete and check them."""
    from collapse_jax.cli.study.schema import study_schema

    print(json.dumps(study_schema(), indent=1))


def _foretell(study: "Study", folder: Path) -> None:
    """Print what a study will take."""
    import rich
    from rich import box
    from rich.table import Table

    from collapse_jax.cli.study.forecasts import forecast, total_seconds
    from collapse_jax.cli.study.running import finished

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold")
    for head in ("chains", "generations", "at once", "memory", "file", "time"):
        table.add_column(head, justify="right")
    waiting: list[Forecast] = []
    for run in study.runs:
        if finished(run, folder):
            table.add_row(run.name, *[""] * 5, "finished")
            continue
        found = forecast(run)
        waiting.append(found)
        table.add_row(
            run.name,
            f"{found.cells} x {found.chains:,}" if found.cells > 1 else f"{found.chains:,}",
            f"{found.generations:,}",
            f"{found.together:,}",
            shown_bytes(found.memory_bytes),
            shown_bytes(found.file_bytes),
            "not measured" if found.seconds is None else shown_seconds(found.seconds),
        )
    rich.print(table)
    seconds, all_known = total_seconds(waiting)
    more = "" if all_known else ", and what was not measured"
    print(f"Together about {shown_seconds(seconds)}{more}, estimated from half a second of each.")
    for output in study.outputs:
        print(f"{output.kind}: {folder / output.file}")


def shown_bytes(number: float | int) -> str:
    """A size for people.

    Example:
        >>> shown_bytes(12), shown_bytes(3_456_789)
        ('12 B', '3.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def shown_seconds(seconds: float | int) -> str:
    """A time for people.

    Example:
        >>> shown_seconds(0.2), shown_seconds(75), shown_seconds(8000)
        ('1 s', '75 s', '2.2 h')
    """
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
