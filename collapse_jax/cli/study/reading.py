"""A study as it is written becomes runs and outputs, or a list of all that is wrong with it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collapse_jax.basics import checks
from collapse_jax.basics.files import check_regular
from collapse_jax.cli.options.settings import Setting, settings_of
from collapse_jax.cli.options.values import check_value
from collapse_jax.cli.options.yaml_files import Place, lines_of, read_yaml
from collapse_jax.cli.study.outputs import Output, check_inside, kind_of
from collapse_jax.cli.study.problems import Problems, StudyError
from collapse_jax.cli.study.runs import Reader, StudyRun

ENTRIES = ("runs", "defaults", "outputs")
NAME_PATTERN = r"[^\W_][\w.-]{0,99}"
NAME_RULE = "letters, digits, '.', '_' and '-', beginning with a letter or digit"
_LARGEST = 2**20  # characters


@dataclass(frozen=True)
class Study:
    """Runs, and what is to be made of them."""

    source: str
    """The file."""
    runs: list[StudyRun]
    outputs: list[Output]


def read_study(
    source: str | Path | Mapping[str, Any], trust: bool = False, yes: bool = True
) -> Study:
    """Read a study and check all of it.

    Args:
        source: a file, or what would stand in one.
        trust: whether functions and classes that the study names are imported.
        yes: whether there may be any number of generations.

    Raises:
        StudyError: names everything that is wrong, with its place.
        ValueError: for a file that cannot be read.
    """
    if isinstance(source, Mapping):
        entries, lines, name = source, {}, "the study"
    else:
        name = str(source)
        entries, lines = _read_file(name)
    problems = Problems(lines)
    study = _read(entries, name, Reader(problems, trust, yes))
    if problems.found:
        raise StudyError(name, [*problems.found])
    return study


def _read_file(path: str) -> tuple[Any, dict[Place, int]]:
    import yaml

    check_regular("file", path)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise yaml.YAMLError(f"longer than {_LARGEST:,} characters")
        return read_yaml(text), lines_of(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"file must be readable YAML; {path} is not: {error}") from None


def _read(entries: Any, source: str, reader: Reader) -> Study:
    problems = reader.problems
    if not isinstance(entries, Mapping) or not isinstance(entries.get("runs"), list | tuple):
        problems.add((), "runs must be given, a list of what is to be run")
        return Study(source, [], [])
    for name in entries:
        with problems.at((name,)):
            checks.one_of("entry", name, ENTRIES)
    defaults = _mapping(problems, ("defaults",), entries.get("defaults") or {})
    defaults = reader.checked(("defaults",), defaults, unnamed=True)
    runs, names = [], [_name_of(entry) for entry in entries["runs"]]
    if not names:
        problems.add(("runs",), "runs must not be empty")
    for number, given in enumerate(entries["runs"]):
        place = ("runs", number)
        entry = _mapping(problems, place, given)
        with problems.at((*place, "name")):
            _check_name(names, number)
        run = reader.run(place, names[number], entry, defaults)
        if run is not None:
            runs.append(run)
    written = entries.get("outputs") or []
    if not isinstance(written, list | tuple):
        problems.add(("outputs",), f"outputs must be a list of files, got {written!r}")
        written = []
    outputs, taken = [], set()
    for number, given in enumerate(written):
        place = ("outputs", number)
        entry = _mapping(problems, place, {"file": given} if isinstance(given, str) else given)
        with problems.at(place, names=["file", "runs", "metrics", "generations"]):
            output = _output(problems, place, entry, names, runs)
            if output.file.lower() in taken:
                raise ValueError(f"file must be another one for each output, got {output.file!r}")
            taken.add(output.file.lower())
            outputs.append(output)
    return Study(source, runs, outputs)


def _mapping(problems: Problems, place: Place, entry: Any) -> dict[str, Any]:
    if isinstance(entry, Mapping):
        return dict(entry)
    problems.add(place, f"must hold entries such as 'name: value', got {entry!r:.80}")
    return {}


def _name_of(entry: Any) -> str:
    return str(entry.get("name", "")) if isinstance(entry, Mapping) else ""


def _check_name(names: Sequence[str], number: int) -> None:
    name = names[number]
    if not name:
        raise ValueError("name must be given")
    if not re.fullmatch(NAME_PATTERN, name) or name.endswith("."):
        raise ValueError(f"name must be of {NAME_RULE}, got {name!r}")
    if name.lower() in [other.lower() for other in names[:number]]:
        raise ValueError(f"name must be another one for each run, got {name!r} twice")


def _output(
    problems: Problems,
    place: Place,
    entry: Mapping[str, Any],
    names: Sequence[str],
    runs: Sequence[StudyRun],
) -> Output:
    if "file" not in entry:
        raise ValueError("file must be given, whose ending says what it is")
    make = kind_of(entry["file"])
    check_inside(entry["file"])
    settings = {setting.name: setting for setting in settings_of(make)}
    right = {}
    for name, value in entry.items():
        with problems.at((*place, name)):
            check_value(settings[checks.one_of("entry", name, settings)], value)
            right[name] = value
    entry = {"file": entry["file"], **right}
    options = {name: _listed(settings[name], entry[name]) for name in entry if name in settings}
    file, chosen = options.pop("file"), options.pop("runs", None) or list(names)
    for name in chosen:
        checks.one_of("runs", name, names)
    shown = [run for run in runs if run.name in chosen]
    for run in shown:
        for metric in options.get("metrics", ()):
            checks.one_of(f"metrics of {run.name}", metric, run.metrics)
    _check_generations(options.get("generations"), shown)
    return Output(file, make, tuple(chosen), options)


def _listed(setting: Setting, value: Any) -> Any:
    return [value] if setting.many and isinstance(value, str | int) else value


def _check_generations(generations: Sequence[int] | None, runs: Sequence[StudyRun]) -> None:
    for run in runs:
        for t in generations or ():
            if not 1 <= t <= run.n_generations:
                raise ValueError(
                    f"generations must be from 1 to {run.n_generations}, those of {run.name}, "
                    f"got {t}"
                )
            if t > 1 and run.rule is not None:
                raise ValueError(
                    f"generations must be left out, or be [1], with {run.name}, which may stop "
                    f"before generation {t}"
                )
