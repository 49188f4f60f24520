"""What is wrong with a study: everything, each with its place in the file."""

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping

from collapse_jax.cli.options.yaml_files import Place

_FIRST = re.compile(r"[A-Za-z_][\w.]*")


class StudyError(ValueError):
    """A study that cannot be run.

    Args:
        source: the file.
        problems: what is wrong, each with its place.
    """

    def __init__(self, source: str, problems: list[str]):
        number = "one error" if len(problems) == 1 else f"{len(problems)} errors"
        self.headline = f"{source} has {number}, and nothing was run"
        self.problems = problems
        super().__init__("\n".join([f"{self.headline}:", *problems]))


class Problems:
    """Collects what is wrong.

    Args:
        lines: where each entry of the file stands.
    """

    def __init__(self, lines: Mapping[Place, int]):
        self.found: dict[str, None] = {}
        self._lines = lines

    def add(self, place: Place, error: object) -> None:
        """One more, at its place."""
        inside = range(len(place), -1, -1)
        line = next((self._lines[place[:n]] for n in inside if place[:n] in self._lines), 0)
        where = f"{shown(place)} (line {line})" if line else shown(place)
        self.found[f"{where}: {error}".removeprefix(": ")] = None

    @contextlib.contextmanager
    def at(
        self, place: Place, names: Collection[str] = (), places: Mapping[str, Place] | None = None
    ) -> Iterator[None]:
        """Note what is refused within, and go on.

        Args:
            place: the entry that is read.
            names: of its own entries; an error that begins with one is of that one.
            places: of entries that count for it and may stand elsewhere.
        """
        try:
            yield
        except StudyError:
            raise
        except (ImportError, OSError, TypeError, ValueError) as error:
            first = _FIRST.match(str(error))
            name = first[0] if first else ""
            inner = name.split(".") if name in names else ()
            self.add((places or {}).get(name, (*place, *inner)), error)


def shown(place: Place) -> str:
    """A place as one writes it.

    Example:
        >>> shown(("runs", 2, "task", "n_samples"))
        'runs[2].task.n_samples'
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).lstrip(".")
