"""A folder says which run its chains are of, and takes no other."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from collapse_jax.basics import files, sums

FORMAT = 2
"""Of folders; those of 0.1.0 do not say theirs."""
CONFIG, SUFFIX = "config.json", ".safetensors"
_PLACES = "path", "checkpoint"  # of a corpus or tokenizer, and of a model
_STATES = "chains-", "midway-"
_OURS = (*_STATES, "damaged-")
_MOST_SHOWN = 80  # characters of a value in an error


def check(folder: Path, config: dict[str, Any], runs: Callable[[Path], set[str]]) -> None:
    """Check that the folder, which is made if need be, is that of this configuration, or empty.

    Args:
        folder: the folder.
        config: the configuration.
        runs: finds the runs, as `run_of` calls them, that the states of a folder say they are of.

    Raises:
        ValueError: for a folder that holds another run or other files, or cannot be used.
    """
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _changed(folder, config, runs)


def claim(folder: Path, config: dict[str, Any], runs: Callable[[Path], set[str]]) -> None:
    """Make the folder that of this configuration, for who has its lock. Raises as `check` does."""
    with usable(folder):
        changed = _changed(folder, config, runs)
        if changed is not None:
            text = sums.signed(changed)
            files.write_atomically(folder / CONFIG, lambda name: Path(name).write_text(text))


@contextlib.contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Say of which folder the system's errors are, and which of them are its own faults."""
    try:
        yield
    except OSError as error:
        said = files.refused(f"checkpoint must be a folder to write to, not {folder}", error)
        if isinstance(said, OSError):
            reason = f"checkpoint {folder} could not be used: {error.strerror}"
            said = OSError(error.errno, reason)
        raise said from None


def _changed(
    folder: Path, config: dict[str, Any], runs: Callable[[Path], set[str]]
) -> dict[str, Any] | None:
    """What the folder's configuration is to be, None where it is that already."""
    path = folder / CONFIG
    if path.exists():
        kept = read_config(path)
        goes_on = _compare(folder, kept, config) or _places(kept) != _places(config)
        return {**config, "n_generations": kept["n_generations"]} if goes_on else None
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if not all(name.startswith(_OURS) for name in names):
        raise ValueError(f"checkpoint must be a folder of its own, and {folder} is not empty")
    if any(name.startswith(_STATES) for name in names):
        _check_of_lost(folder, config, runs(folder))
    return config


def _check_of_lost(folder: Path, config: dict[str, Any], runs: set[str]) -> None:
    """Check that a folder whose configuration is lost holds chains of this one, and of no other.

    Raises:
        ValueError: if they are of another run, or that cannot be known.
    """
    lost = f"{folder} has lost its {CONFIG}"
    if not runs <= {run_of(config)}:
        raise ValueError(f"checkpoint must be of this run; {lost}, and its chains are of another")
    schedules = [name for name, value in _flat(config).items() if _is_schedule(name, value)]
    if not runs or schedules:
        why = f"which alone knew {schedules[0]}" if schedules else "and has no whole chains"
        raise ValueError(
            f"checkpoint must say what its chains are of; {lost}, {why}; use another folder"
        )


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a folder; of an older format, which has no check sum, as it is."""
    text = path.read_text(errors="replace")
    try:
        entries = json.loads(text)
        if isinstance(entries, dict) and "format" not in entries and "sum" not in entries:
            return entries
        return sums.unsigned(text)
    except (RecursionError, ValueError) as error:
        raise ValueError(
            f"checkpoint has a damaged {path}: {error}; collapse-jax folder {path.parent} "
            "--repair sets it aside, and the call that made the run then makes it again, unless it "
            "has schedules that are lists, or several models"
        ) from None


def run_of(config: dict[str, Any]) -> str:
    """A fingerprint of all that never changes in a folder: schedules and lengths may go on."""
    fixed = {
        name: value
        for name, value in _flat(config).items()
        if name != "n_generations" and not _is_schedule(name, value)
    }
    return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:16]


def _is_schedule(name: str, value: Any) -> bool:
    return name.startswith("workflow.") and isinstance(value, list)


def _compare(folder: Path, kept: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether the folder's chains go on by other numbers than it knew so far.

    Raises:
        ValueError: if they are of another run.
    """
    old, new = _flat(kept), _flat(config)
    names = [name for name in dict.fromkeys((*old, *new)) if name != "n_generations"]
    differing = [n for n in names if n not in old or n not in new or old[n] != new[n]]
    reached = _reached(folder) if differing else 0
    wrong = [n for n in differing if not _goes_on(n, old.get(n), new.get(n), reached)]
    if wrong:
        raise ValueError(
            f"checkpoint must be of this run, and {folder} is of another: "
            + differing_values(wrong, old, new)
        )
    return bool(differing) and all(len(new[n]) >= reached for n in differing)


def _goes_on(name: str, old: Any, new: Any, reached: int) -> bool:
    """Whether a schedule, given as a list, has been the same in all generations so far.

    A list of one number, again and again, is drawn in another way than one of several.
    """
    schedules = isinstance(old, list) and isinstance(new, list) and name.startswith("workflow.")
    if not schedules or name.endswith((".first_values", ".mixing", ".truth_share")):
        return False
    common = min(reached, len(new))
    return old[:common] == new[:common] and (len(set(old)) == 1) == (len(set(new)) == 1)


def differing_values(names: list[str], old: dict[str, Any], new: dict[str, Any]) -> str:
    """What values are there and here; of long ones the part in which they differ."""
    shown = []
    for name in names:
        both = [repr(part[name]) if name in part else "not given" for part in (old, new)]
        same = [a == b for a, b in zip(*both, strict=False)]
        first = [*same, False].index(False)
        there, here = (_cut(text, first) for text in both)
        shown.append(f"{name} is {there} there and {here} here")
    return "; ".join(shown)


def _cut(text: str, first: int) -> str:
    """A text around where it differs from another."""
    start = max(first - _MOST_SHOWN // 2, 0) if first >= _MOST_SHOWN else 0
    part = text[start : start + _MOST_SHOWN]
    return f"{'...' * (start > 0)}{part}{'...' * (start + len(part) < len(text))}"


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dictionary with names such as `task.n_samples`, without places of known contents."""
    flat = {}
    for name, value in config.items():
        if name in _PLACES and _is_known(config):
            continue
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _is_known(config: dict[str, Any]) -> bool:
    """Whether a fingerprint says what is there; that of a class of the user's own need not."""
    return isinstance(config.get("fingerprint"), str) and ":" not in str(config.get("type", ""))


def _places(config: dict[str, Any]) -> list[Any]:
    """The places that are no matter."""
    here = [value for name, value in config.items() if name in _PLACES and _is_known(config)]
    inner = [_places(value) for value in config.values() if isinstance(value, dict)]
    return [*here, *inner]


def _reached(folder: Path) -> int:
    """The last generation of any chains there."""
    return max((int(path.stem) for path in states_of(folder)), default=0)


def states_of(folder: Path) -> list[Path]:
    """All states of chains. Raises `OSError` where it may not look, unlike `glob`."""
    batches = sorted(batches_in(folder, "chains-"))
    return [state for chains in batches for state in states_in(chains)]


def batches_in(folder: Path, *starts: str) -> list[Path]:
    """The folders of batches in that of a run, whose names begin so."""
    return [path for path in folder.iterdir() if path.name.startswith(starts) and path.is_dir()]


def states_in(chains: Path) -> list[Path]:
    """The states of one batch of chains, the last one last."""
    paths = (path for path in chains.iterdir() if path.suffix == SUFFIX and path.stem.isdigit())
    return sorted(paths, key=lambda path: int(path.stem))
