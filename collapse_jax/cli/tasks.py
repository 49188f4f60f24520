"""The tasks by their name on the command line, with options made from their arguments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from collapse_jax.basics import checks
from collapse_jax.cli.settings import Setting, settings_of
from collapse_jax.cli.tables import kind_of, with_data, with_files

_CLASSES = {
    "gaussian": "Gaussian",
    "gaussian-mixture": "GaussianMixture",
    "kde": "KernelDensity",
    "linear-regression": "LinearRegression",
    "logistic-regression": "LogisticRegression",
    "categorical": "Categorical",
    "exponential-family": "ExponentialFamily",
}
TASKS = (*_CLASSES, "lm")


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


def find_kind(name: Any) -> Kind:
    """The kind of task of this name.

    Raises:
        ValueError: if there is none.
    """
    checks.one_of("task", name, TASKS)
    if name == "lm":
        from collapse_jax.cli import language  # slow to import

        return Kind(
            language.DESCRIPTION,
            language.settings(),
            language.make_task,
            language.USUAL,
            language.extra_settings(),
        )
    from collapse_jax import tasks

    cls = getattr(tasks, _CLASSES[name])
    arguments = settings_of(cls)
    replaced = with_data(kind_of(arguments))
    return Kind(
        (cls.__doc__ or "").partition("\n")[0],
        with_files(arguments),
        lambda given: cls(**replaced(given)),
        {},
        [],
    )
