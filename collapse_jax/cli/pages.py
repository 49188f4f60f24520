"""`collapse-jax report`."""

from collections.abc import Sequence
from typing import Annotated

from collapse_jax.basics import files as whole_files
from collapse_jax.basics.annotations import File


def write_page(
    files: Annotated[Sequence[str], "FILE ..."],
    out: File = "report.html",
    title: str = "Model collapse: a report",
    theory: bool = True,
) -> None:
    """Write saved runs and sweeps as one page of HTML that works without a network.

    Args:
        files: the datasets, as simulate or sweep saved them (.nc).
        out: the page (.html).
        title: heading of the page.
        theory: draw theory where it is known.
    """
    from collapse_jax.records.reading import read_run
    from collapse_jax.report.page.writing import write_report

    whole_files.check_writable("out", out, (".html",))
    runs = {str(path): read_run(path) for path in files}
    path = write_report(runs, out, title=title, theory=theory)
    print(f"Page: {path} ({path.stat().st_size / 1e6:.1f} MB)")
