"""Studies are run, in a folder of their own, and go on from there."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from collapse_jax.basics import files
from collapse_jax.cli.study.outputs import CHAINS
from collapse_jax.cli.study.problems import Problems, StudyError
from collapse_jax.cli.study.reading import Study, read_study
from collapse_jax.cli.study.runs import StudyRun
from collapse_jax.loop.settings import flat
from collapse_jax.machines.flags import decisive_flags
from collapse_jax.numerics.keys import STREAM_VERSION
from collapse_jax.records.run_files import read_run, write_run
from collapse_jax.run.simulation import open_folder

if TYPE_CHECKING:  # loaded when a study is run
    import xarray as xr

_ATTRIBUTE = "study_run"


def run_study(
    study: str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    trust: bool = False,
    progress: bool | None = None,
) -> "dict[str, xr.Dataset]":
    """Run a study: several runs and sweeps, and the figures, tables and pages made of them.

    The whole study is checked before anything runs. Its folder keeps the chains and a file for each
    run, `NAME.nc`: the same call goes on where it was interrupted, and runs that are finished are
    read. More generations, other seeds and further values of what is swept go on from there as
    well. A run that has become another is refused by name. Outputs are made anew each time.

    Args:
        study: a file (.yaml), or what would stand in one, where workflows and tasks may also be
            objects; `docs/study_files.md` explains it.
        out: the folder, made where it is missing; default that of the file's name without its
            ending, in the folder at hand. All that is written is in it.
        trust: whether classes and functions that the study names by their import path, other than
            those of this package, are imported. This runs code of whoever wrote them.
        progress: as for `simulate`.

    Returns:
        the datasets by the name of their run, as `simulate` and `sweep` return them.

    Raises:
        ValueError: before anything is run, names everything that is wrong with its place in the
            study, and runs of the folder that are others by now.
        OSError: where something cannot be saved, for instance on a full disk.

    Example:
        >>> import tempfile
        >>> import collapse_jax as cj
        >>> study = {
        ...     "defaults": {"task": {"name": "categorical"}, "n_generations": 5, "seeds": 4},
        ...     "runs": [
        ...         {"name": "old", "workflow": "replace"},
        ...         {"name": "new", "workflow": {"real": {"every": True}}},
        ...     ],
        ...     "outputs": ["means.csv"],
        ... }
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = cj.run_study(study, folder, progress=False)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['chains', 'means.csv', 'new.nc', 'old.nc']
        >>> found["new"].attrs["workflow"]
        'real.every'
    """
    folder = folder_of(study, out)
    return carry_out(read_study(study, trust), folder, progress=progress)


def carry_out(
    study: Study,
    folder: Path,
    *,
    progress: bool | None = None,
    command: str = "",
    tell: Callable[[str], object] = lambda _: None,
    ask: Callable[[Sequence[StudyRun]], object] = lambda _: None,
) -> "dict[str, xr.Dataset]":
    """Run a study that has been read.

    Args:
        study: the study.
        folder: its folder.
        progress: as for `simulate`.
        command: what the datasets remember as the command that made them.
        tell: receives a line for each file.
        ask: receives, before anything is run, the runs that are not finished.

    Raises:
        ValueError: as `run_study`.
    """
    if jax.process_count() > 1:
        raise ValueError("a study must be run in one process; simulate runs in several")
    check_folder(study, folder)
    waiting = [run for run in study.runs if not finished(run, folder)]
    ask(waiting)
    files.make_folder("out", folder)
    found = {}
    for run in study.runs:
        path = folder / f"{run.name}.nc"
        if run not in waiting:
            found[run.name] = read_run(path)
            tell(f"Chains: {path} (finished before)")
            continue
        ds = run.make(checkpoint=folder / CHAINS / run.name, progress=progress)
        ds.attrs[_ATTRIBUTE] = json.dumps(_whole(run))
        if command:
            ds.attrs["command"] = command
        write_run(ds, path)
        found[run.name] = ds
        tell(f"Chains: {path}")
    for output in study.outputs:
        tell(f"{output.kind}: {output.write(folder, found)}")
    return found


def folder_of(study: str | Path | Mapping[str, Any], out: str | Path | None) -> Path:
    """The folder of a study.

    Raises:
        ValueError: if it is not known, or the name is that of a file.
    """
    if out is None:
        if isinstance(study, Mapping):
            raise ValueError("out must be given with a study that is no file")
        out = Path(study).stem
    if Path(out).exists() and not Path(out).is_dir():
        raise ValueError(f"out must be a folder, and {out} is a file")
    return Path(out)


def finished(run: StudyRun, folder: Path) -> bool:
    """Whether the file of a run is there, and is of this very run.

    That is not known of a rule which is a function, whose chains are looked at again.
    """
    return run.has_known_rule and _written(run, folder) == _whole(run)


def check_folder(study: Study, folder: Path) -> None:
    """Check that what a folder has of the runs of a study is of these runs.

    Raises:
        StudyError: names those that have become others.
    """
    problems = Problems({})
    for number, run in enumerate(study.runs):
        with problems.at(("runs", number)):
            _check_run(run, folder)
    for output in study.outputs:
        with problems.at((), ()):
            if not (folder / output.file).resolve().is_relative_to(folder.resolve()):
                raise ValueError(f"file must stay within the folder, and {output.file} leads out")
    if problems.found:
        raise StudyError(study.source, [*problems.found])


def _check_run(run: StudyRun, folder: Path) -> None:
    now, before = _whole(run), _written(run, folder)
    home = folder / CHAINS / run.name
    cells = {path.parent.name for path in home.glob("*/config.json")}
    cells |= {""} if (home / "config.json").exists() else set()
    there = cells | (set() if before is None else {*before["cells"]})
    if there and not there & {*now["cells"]}:
        raise ValueError(
            f"{run.name} has become another run than it was: {', '.join(map(repr, sorted(there)))} "
            f"is there, and {', '.join(map(repr, now['cells']))} is to be run; give it another "
            "name, or the study another folder (out)"
        )
    for cell, config in now["cells"].items():
        chains = home / cell
        try:
            if (chains / "config.json").exists():  # which knows best what may go on
                open_folder(chains, config)
            elif before is not None and cell in before["cells"]:
                _compare(before["cells"][cell], config)
        except ValueError as error:
            raise ValueError(
                f"{run.name} has become another run than it was: {error}; give it another name, "
                "or the study another folder (out)"
            ) from None


def _compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse a configuration that differs in more than the number of generations."""
    old, new = flat(before), flat(now)
    for name in dict.fromkeys((*old, *new)):
        if name != "n_generations" and old.get(name) != new.get(name):
            raise ValueError(f"{name} is {old.get(name)!r} there and {new.get(name)!r} here")


def _whole(run: StudyRun) -> dict[str, Any]:
    known = {"stream_version": STREAM_VERSION, "flags": decisive_flags()}
    return json.loads(json.dumps({**known, **run.identity}))


def _written(run: StudyRun, folder: Path) -> dict[str, Any] | None:
    """What the file of a run says of it; None where there is none."""
    path = folder / f"{run.name}.nc"
    if not path.exists():
        return None
    try:
        written = json.loads(read_run(path).attrs[_ATTRIBUTE])
    except KeyError:
        raise ValueError(
            f"{path} is no file of a study; move it, or name the run otherwise"
        ) from None
    return written if isinstance(written, dict) else None
