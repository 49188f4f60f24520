"""The options of workflows, made from the fields of `Real`, `Synthetic` and `Fit`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from collapse_jax.cli.options.imports import import_functions
from collapse_jax.cli.options.settings import REQUIRED, Setting, settings_of
from collapse_jax.loop.presets import PRESETS
from collapse_jax.loop.settings import NAMES, PARTS, SOURCES, command_name, composed, flat
from collapse_jax.loop.workflow import Workflow

_PRESET = Setting(
    "workflow",
    "The workflow that the options below change.",
    default="replace",
    names=tuple(map(command_name, PRESETS)),
)


def workflow_settings() -> list[Setting]:
    """Which workflow, and each of its settings by its dotted name."""
    found = [_PRESET]
    for part, cls in PARTS.items():
        found += settings_of(cls, prefix=f"{part}.")
        if part == "synthetic":
            found += _of_source()
    return found


def _of_source() -> list[Setting]:
    """Which kind of source, and the settings of each kind."""
    found = [
        Setting(
            "synthetic.of",
            "Where the rows come from: the newest model, past ones, the newest and the truth, "
            "beyond the newest, or the batch before with some rows made anew.",
            default="latest",
            names=tuple(SOURCES),
        )
    ]
    for kind, cls in SOURCES.items():
        for setting in settings_of(cls, prefix="synthetic.of."):
            default = None if setting.default is REQUIRED else setting.default
            help_ = f"With --synthetic.of {kind}: {setting.help}"
            found.append(replace(setting, help=help_, default=default))
    return found


def make_workflow(given: Mapping[str, Any]) -> Workflow:
    """The workflow of these options; others are left alone.

    Functions of a curation are imported, from the folder at hand too.

    Raises:
        ValueError: for unknown names and values outside their range, and for a module that cannot
            be imported.
    """
    import_functions(given.get("synthetic.curation"), trust=True)
    settings = {name: value for name, value in given.items() if name in NAMES}
    return composed(given.get("workflow"), settings)


def read_workflow(entry: Any) -> Workflow:
    """A workflow as a file describes it: a name, or a mapping of settings.

    Args:
        entry: the name of a preset; or settings such as `{"real": {"every": True}}`, with the
            preset that they change as `workflow`.

    Raises:
        ValueError: for unknown names and values outside their range.
        TypeError: for anything else.

    Example:
        >>> from collapse_jax.loop.captions import caption
        >>> caption(read_workflow({"workflow": "accumulate", "synthetic": {"n": 400}}))
        'real.keep=None, synthetic.n=400, synthetic.keep=None'
    """
    if isinstance(entry, str):
        return composed(entry, {})
    if not isinstance(entry, Mapping):
        raise TypeError(f"workflows must be names or settings, got {entry!r}")
    settings = flat({name: value for name, value in entry.items() if name != "workflow"})
    keeps_all = {name: None for name, value in settings.items() if value == "all"}
    return composed(entry.get("workflow"), settings | keeps_all)
