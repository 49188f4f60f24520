"""What `simulate` is given, checked before anything is compiled."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from collapse_jax.basics import checks
from collapse_jax.loop.checks import check_compiled
from collapse_jax.loop.ecosystems.description import Ecosystem, Loop
from collapse_jax.loop.plan import CURATION, SIZES
from collapse_jax.loop.presets import PRESETS
from collapse_jax.loop.workflow import Workflow
from collapse_jax.machines.devices import host_memory
from collapse_jax.numerics.keys import check_threefry
from collapse_jax.records.config import KNOWN
from collapse_jax.tasks import AbstractTask, Variable
from collapse_jax.tasks.parts.comparison import between_of, check_features, variables_of


def in_stages(task: AbstractTask, runner: str | None, observe: Any) -> bool:
    """Whether chains are run stage by stage."""
    wanted = task.runner if observe is None else "staged"
    runner = checks.one_of("runner", wanted if runner is None else runner, ("compiled", "staged"))
    if runner == "compiled":
        if observe is not None:
            raise ValueError("runner must be 'staged' with observe, got 'compiled'")
        check_compiled(task)
    return runner == "staged"


def checked_seeds(seeds: int | Sequence[int]) -> np.ndarray:
    """Seeds as an array of distinct 32-bit words."""
    if isinstance(seeds, str):
        raise TypeError(f"seeds must be a number of chains or a sequence of seeds, got {seeds!r}")
    if not isinstance(seeds, Iterable):
        return np.arange(checks.whole_number("seeds", seeds), dtype=np.uint32)
    values = [checks.whole_number("seeds", s, minimum=0, maximum=2**32 - 1) for s in seeds]
    if not values:
        raise ValueError("seeds must not be empty")
    unique, counts = np.unique(values, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"seeds must be distinct, got {unique[counts.argmax()]} more than once")
    return np.asarray(values, dtype=np.uint32)


def check_results(
    seeds: int | Sequence[int], n_generations: int, n_metrics: int, n_models: int
) -> None:
    """Refuse runs whose metrics alone are more than this machine can hold.

    Raises:
        ValueError: says how much they need, and what to change.
    """
    n_seeds = len(seeds) if isinstance(seeds, Sequence) else seeds
    if not isinstance(n_seeds, int | np.integer) or n_seeds < 1:
        return  # which is refused elsewhere
    # Gathered, and once more as the dataset; a number takes 4 bytes.
    needed = 8 * int(n_seeds) * n_generations * n_metrics * n_models
    if needed > host_memory():
        raise ValueError(
            f"seeds and n_generations must be fewer: {n_metrics} metrics of {n_seeds:,} chains in "
            f"{n_generations:,} generations take {needed:,} bytes, and this machine has "
            f"{host_memory():,}; let them go to disk (out='chains.zarr'), run some of the seeds "
            "at a time (a chain depends on its own seed alone), or fewer metrics"
        )


def checked_loop(
    workflow: Loop, task: AbstractTask, runner: str | None, observe: Any, mesh: Any
) -> tuple[Workflow, dict[str, Variable]]:
    """The loop of each model, and the variables that there are of several.

    Raises:
        TypeError: if the workflow or the task are of another type.
        ValueError: where several models would run stage by stage, or on a mesh.
    """
    if not isinstance(workflow, Ecosystem):
        check_instance("workflow", workflow, Workflow)
    check_instance("task", task, AbstractTask)
    if isinstance(workflow, Workflow):
        return workflow, {}
    if task.runner == "staged" or task.acceptance is not None:
        raise ValueError(f"task must not be a {type(task).__name__} in an Ecosystem")
    if observe is not None:
        raise ValueError("observe must be None with an Ecosystem, whose models run in one program")
    if runner == "staged":
        raise ValueError("runner must be 'compiled' with an Ecosystem, got 'staged'")
    if mesh is not None:
        raise ValueError("mesh must be None with an Ecosystem; give devices")
    return workflow.workflow, between_of(task) if workflow.n_models > 1 else {}


def check_options(
    workflow: Workflow,
    task: AbstractTask,
    metrics: Sequence[str] | None,
    storage: str,
    times: Mapping[str, float],
    features: Any,
    between: Mapping[str, Variable],
) -> None:
    check_variables(task)
    check_features(task, metrics, features)
    checks.one_of("storage", storage, ("auto", "rows"))
    for name, seconds in times.items():
        checks.positive_number(name, seconds, zero_allowed=True)
    check_threefry()
    if metrics is None:
        return
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a sequence of names, got {metrics!r}")
    if not metrics:
        raise ValueError("metrics must not be empty; leave it out for all of them")
    curation = CURATION if workflow.synthetic.curation else {}
    known = {**SIZES, **curation, **task.variables, **between, **variables_of(task)}
    for name in metrics:
        checks.one_of("metrics", name, known)


def check_variables(task: AbstractTask) -> None:
    """Check that a task says which metrics it has. Raises `TypeError` otherwise."""
    found = getattr(task, "variables", None)
    if isinstance(found, Mapping) and all(isinstance(one, Variable) for one in found.values()):
        return
    raise TypeError(
        f"variables of a {type(task).__name__} must say what each metric is, such as "
        f'{{"error": cj.Variable("squared error", "1")}}, got {found!r}'
    )


def check_instance(name: str, value: Any, kind: type) -> None:
    if isinstance(value, kind):
        return
    known = [*PRESETS, "Workflow"] if kind is Workflow else [*KNOWN, "LanguageModel"]
    itself = getattr(value, "__name__", "")
    of_kind = isinstance(value, type) and issubclass(value, kind)
    if of_kind or (callable(value) and itself in known):
        written = "Replace" if value is Workflow else itself
        raise TypeError(f"{name} must be an instance, got {itself} itself; write {written}()")
    if isinstance(value, str):
        checks.one_of(name, value, known)
        raise TypeError(f"{name} must be an object, got the name {value!r}; write {value}()")
    raise TypeError(f"{name} must be one of {', '.join(known)}, got {value!r}")
