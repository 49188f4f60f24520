"""The runs of a study: what each entry says, made into workflows and tasks and checked."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from collapse_jax.analysis.judged import Judged, read_rule
from collapse_jax.basics import checks
from collapse_jax.cli.options.imports import import_functions
from collapse_jax.cli.options.settings import Setting, settings_of
from collapse_jax.cli.options.tasks import Kind, find_kind
from collapse_jax.cli.options.values import check_generations, check_value
from collapse_jax.cli.options.workflows import read_workflow, workflow_settings
from collapse_jax.cli.options.yaml_files import Place
from collapse_jax.cli.simulation import run_settings
from collapse_jax.cli.study.problems import Problems
from collapse_jax.loop.captions import caption
from collapse_jax.loop.ecosystems.description import Ecosystem
from collapse_jax.loop.settings import NAMES, flat
from collapse_jax.loop.workflow import Workflow
from collapse_jax.records.config import check_exact
from collapse_jax.run.before.prepared import Prepared, prepare
from collapse_jax.run.simulation import simulate
from collapse_jax.run.stopping import Above, Below, Rule, check_rule, text_of
from collapse_jax.run.sweeps import Cell, cells_of, sweep
from collapse_jax.tasks import AbstractTask

if TYPE_CHECKING:  # loaded when a study is run
    import xarray as xr

OF_RUN = ("n_generations", "seeds", "metrics", "storage", "memory_limit")
"""Arguments of `simulate`."""
OBJECTS = ("workflow", "workflows", "task", "over")
"""Entries that hold entries."""


def entry_settings() -> list[Setting]:
    """What may be said of a run, beside its workflow, its task and what is swept."""
    name = Setting("name", "What the run and its file are called.", text=True)
    return [name, *settings_of(simulate, OF_RUN), *run_settings(["stop_when"])]


@dataclass(frozen=True)
class StudyRun:
    """A run or a sweep of a study."""

    name: str
    cells: Sequence[Cell]
    """What is run; one cell without a name where nothing is swept."""
    ready: Sequence[Prepared]
    """Of each cell."""
    make: Callable[..., "xr.Dataset"]
    """Runs it, with the further arguments of `simulate`."""
    n_generations: int
    rule: Rule | None = None

    @property
    def metrics(self) -> list[str]:
        """Variables that the dataset will have."""
        return list(dict.fromkeys(name for ready in self.ready for name in ready.names))

    @property
    def has_known_rule(self) -> bool:
        """Whether all is known of the rule by which it stops, if there is one."""
        return self.rule is None or isinstance(self.rule, Above | Below | Judged)

    @property
    def identity(self) -> dict[str, Any]:
        """All that makes the dataset what it is, as JSON has it."""
        configs = {
            cell.name: ready.config() for cell, ready in zip(self.cells, self.ready, strict=True)
        }
        seeds = self.ready[0].seeds.tolist()
        whole = {"cells": configs, "seeds": seeds, "stop_when": text_of(self.rule)}
        return json.loads(json.dumps(whole, default=str))


@dataclass(frozen=True)
class Reader:
    """Reads the entries of a study.

    Args:
        problems: collects what is wrong.
        trust: whether functions and classes that are named are imported.
        yes: whether there may be any number of generations.
    """

    problems: Problems
    trust: bool
    yes: bool = True
    _kinds: dict[str, Kind] = field(default_factory=dict)

    def checked(self, place: Place, entry: dict[str, Any], unnamed: bool = False) -> dict[str, Any]:
        """Those entries of a run whose names and kinds are right."""
        settings = {setting.name: setting for setting in entry_settings()}
        if unnamed:
            del settings["name"]
        right = {}
        for name, value in entry.items():
            with self.problems.at((*place, name)):
                checks.one_of("entry", name, (*settings, *OBJECTS))
                if name in settings and not (name == "stop_when" and callable(value)):
                    check_value(settings[name], value)
                right[name] = value
        return right

    def run(
        self, place: Place, name: str, entry: dict[str, Any], defaults: dict[str, Any]
    ) -> StudyRun | None:
        """A run, where nothing is wrong with it; an entry of its own goes before one of all."""
        before, n = self.problems, len(self.problems.found)
        entry = self.checked(place, entry)
        one_of_two = [key for key in ("workflow", "workflows") if key in entry]
        inherited = {
            key: value
            for key, value in defaults.items()
            if key not in entry and not (one_of_two and key in ("workflow", "workflows"))
        }
        whole = {**inherited, **entry}
        for key in ("task", "n_generations", "seeds"):
            if key not in whole:
                before.add(place, f"{key} must be given, here or in defaults")
        loops = [key for key in ("workflow", "workflows") if key in whole]
        if len(loops) != 1:
            before.add(place, "workflow or workflows must be given, one of the two")
        places: dict[str, Place] = {
            key: ("defaults", key) if key in inherited else (*place, key) for key in whole
        }
        if len(before.found) > n:
            return None
        workflows = self._workflows(places[loops[0]], loops[0], whole[loops[0]])
        over = whole.get("over", {})
        if not isinstance(over, Mapping):
            before.add(places["over"], f"over must hold lists of values, got {over!r:.80}")
            return None
        task = self._task(places["task"], whole["task"], places.get("over", place), over)
        rule = None
        with before.at(places.get("stop_when", place)):
            given = whole.get("stop_when")
            rule = read_rule(given) if isinstance(given, str) else given
        if len(before.found) > n:
            return None
        with before.at(place, places=places):
            return self._assembled(name, workflows, task, whole, rule, loops == ["workflows"])
        return None

    def _assembled(
        self,
        name: str,
        workflows: list[Any],
        task: Any,
        whole: Mapping[str, Any],
        rule: Rule | None,
        several: bool,
    ) -> StudyRun:
        over = whole.get("over", {})
        swept = several or bool(over)
        if not swept and not isinstance(task, AbstractTask):
            task = task()
        options: dict[str, Any] = {
            key: [value] if key == "metrics" and isinstance(value, str) else value
            for key, value in whole.items()
            if key in OF_RUN
        }
        n, seeds = options.pop("n_generations"), options.pop("seeds")
        check_generations(n, self.yes)
        alone = Cell("", workflows[0], task, caption(workflows[0]))
        cells = cells_of(workflows, task, over) if swept else [alone]
        ready = [prepare(cell.workflow, cell.task, n, seeds, **options) for cell in cells]
        for of_cell in ready:
            check_exact(of_cell.config())
            if rule is not None:
                check_rule(rule, of_cell.labels(of_cell.config()).of_ones())

        def make(**others: Any) -> "xr.Dataset":
            given = {**options, "stop_when": rule, **others}
            if swept:
                return sweep(workflows, task, over, n, seeds, **given)
            return simulate(workflows[0], task, n, seeds, **given)

        return StudyRun(name, cells, ready, make, n, rule)

    def _workflows(self, place: Place, key: str, entry: Any) -> list[Any]:
        if key == "workflow":
            return [self._workflow(place, entry)]
        if not isinstance(entry, list | tuple) or not entry:
            self.problems.add(place, f"workflows must be a list of workflows, got {entry!r:.80}")
            return []
        return [self._workflow((*place, number), part) for number, part in enumerate(entry)]

    def _workflow(self, place: Place, entry: Any) -> Any:
        if isinstance(entry, Workflow | Ecosystem):
            return entry
        before = len(self.problems.found)
        settings = {setting.name: setting for setting in workflow_settings()}
        given = flat(entry) if isinstance(entry, Mapping) else {}
        for name, value in given.items():
            with self.problems.at((*place, *name.split("."))):
                check_value(settings[checks.one_of("setting of a workflow", name, settings)], value)
                if name == "synthetic.curation":
                    import_functions(value, self.trust)
        if len(self.problems.found) == before:
            with self.problems.at(place, names=given):
                return read_workflow(entry)
        return None

    def _task(self, place: Place, entry: Any, swept_at: Place, over: Mapping[str, Any]) -> Any:
        """A task, or a function that makes one of the settings that are swept."""
        if isinstance(entry, AbstractTask) or callable(entry):
            return entry
        if not isinstance(entry, Mapping):
            self.problems.add(place, f"task must hold entries such as 'name: kde', got {entry!r}")
            return None
        rest = {name: value for name, value in entry.items() if name != "name"}
        before, kind = len(self.problems.found), None
        with self.problems.at((*place, "name")):
            kind = self._kind(entry.get("name"))
        if kind is None:
            return None
        settings = {setting.name: setting for setting in kind.settings}
        for name, value in rest.items():
            with self.problems.at((*place, name)):
                check_value(settings[checks.one_of("entry of task", name, settings)], value)
        for name, values in over.items():
            with self.problems.at((*swept_at, name)):
                checks.one_of("over", name, [*settings, *NAMES])
                if name == "synthetic.curation":
                    import_functions(values, self.trust)

        def make(**swept: Any) -> AbstractTask:
            return kind.make({**rest, **swept})

        if len(self.problems.found) == before and not over:
            with self.problems.at(place, names=settings):
                return make()
        return make

    def _kind(self, name: Any) -> Kind:
        if not isinstance(name, str):
            raise TypeError(f"name must be that of a kind of task, got {name!r}")
        if name not in self._kinds:
            self._kinds[name] = find_kind(name, self.trust)
        return self._kinds[name]
