"""The tasks by their name on the command line, with options made from their arguments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from collapse_jax.basics import checks
from collapse_jax.cli.options.imports import check_trusted, imported_here
from collapse_jax.cli.options.settings import Setting, settings_of
from collapse_jax.cli.options.tables import kind_of, with_data, with_files

_CLASSES = {
    "gaussian": "Gaussian",
    "gaussian-mixture": "GaussianMixture",
    "kde": "KernelDensity",
    "linear-regression": "LinearRegression",
    "logistic-regression": "LogisticRegression",
    "categorical": "Categorical",
    "ngram": "NGram",
    "exponential-family": "ExponentialFamily",
    "flow": "Flow",
    "diffusion": "Diffusion",
    "autoencoder": "Autoencoder",
    "tabular": "Tabular",
    "group-classifier": "GroupClassifier",
}
TASKS = (*_CLASSES, "lm")
OWN = "MODULE:CLASS"
"""Stands for the import path of a task of the user's own."""


@dataclass(frozen=True)
class Kind:
    """A kind of task."""

    description: str
    settings: list[Setting]
    make: Callable[[Mapping[str, Any]], Any]
    """The task of these settings."""
    usual: Mapping[str, Any]
    """Other defaults of a run."""
    extra: list[Setting]
    """Settings of a run, beyond those that all tasks have."""


def find_kind(name: Any, trust: bool) -> Kind:
    """The kind of task of this name, or of this import path.

    Args:
        name: a name of `TASKS`, or `MODULE:CLASS`.
        trust: whether a class of the user's own may be imported.

    Raises:
        ValueError: if there is none.
    """
    if isinstance(name, str) and ":" in name:
        check_trusted(name, trust)
        return find_own(name)
    checks.one_of("task", name, (*TASKS, OWN))
    if name == "lm":
        from collapse_jax.cli.options import language  # slow to import

        return Kind(
            language.DESCRIPTION,
            language.settings(),
            language.make_task,
            language.USUAL,
            language.extra_settings(),
        )
    from collapse_jax import tasks, trained

    return _kind_of({**vars(tasks), **vars(trained)}[_CLASSES[name]])


def find_own(path: str) -> Kind:
    """The kind of task that the user wrote; its module is imported, also from this folder.

    Args:
        path: such as `my_module:MyTask`.

    Raises:
        ValueError: if there is none.
    """
    from collapse_jax.tasks import AbstractTask

    made = imported_here("task", path)
    if not (isinstance(made, type) and issubclass(made, AbstractTask)):
        raise ValueError(f"task must be a class of tasks (AbstractTask), got {path}, {made!r}")
    if unwritten := sorted(made.__abstractmethods__):
        raise ValueError(f"task must have all methods of a task, and {path} lacks {unwritten[0]}")
    return _kind_of(made)


def _kind_of(cls: type) -> Kind:
    arguments = settings_of(cls)
    replaced = with_data(kind_of(arguments))
    return Kind(
        (cls.__doc__ or "").partition("\n")[0],
        with_files(arguments),
        lambda given: cls(**replaced(given)),
        {},
        [],
    )
