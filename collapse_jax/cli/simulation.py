"""`collapse-jax simulate`."""

import contextlib
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from collapse_jax.basics.annotations import File, Folder
from collapse_jax.cli.options.imports import imported_here
from collapse_jax.cli.options.parser import PROGRAM, list_entries, parse
from collapse_jax.cli.options.settings import Setting, settings_of
from collapse_jax.cli.options.tasks import OWN, TASKS, Kind, find_kind
from collapse_jax.cli.options.workflows import make_workflow, workflow_settings
from collapse_jax.cli.outputs import Outputs


def simulate_some(words: Sequence[str]) -> None:
    """Run one workflow on one task, as the words of a command line say."""
    name = (*words[:1], "")[0]
    if name in ("-h", "--help"):
        about = {name: find_kind(name, trust=True).description for name in TASKS}
        about[OWN] = "A task of your own, by where it can be imported."
        list_entries("simulate TASK", "Run one workflow on one task.", about)
        return
    if not name or name.startswith("-"):
        raise ValueError(f"task must follow simulate: {', '.join((*TASKS, OWN))}")
    kind = find_kind(name, trust=True)
    given = parse_simulation(name, kind, words[1:])
    _simulate(kind, given, shlex.join([PROGRAM, "simulate", *words]))


def parse_simulation(name: str, kind: Kind, words: Sequence[str]) -> dict[str, Any]:
    """What the options of `simulate` give, by name."""
    of_run = [
        replace(setting, default=kind.usual.get(setting.name, setting.default))
        for setting in run_settings()
    ]
    groups = {
        "options of the run": [*of_run, *kind.extra],
        "options of the workflow": workflow_settings(),
        "options of the task": kind.settings,
    }
    given = parse(words, f"{PROGRAM} simulate {name}", kind.description, groups)
    return {**kind.usual, **given}


def run_settings(names: Sequence[str] | None = None) -> list[Setting]:
    """Options of the run, all or those of these names."""
    return settings_of(_run_chains, names)


def _simulate(kind: Kind, given: dict[str, Any], command: str) -> None:
    names = [setting.name for setting in (*run_settings(), *kind.extra)]
    task = {s.name: given[s.name] for s in kind.settings if s.name in given}
    of_run = {name: given[name] for name in names if name in given}
    _run_chains(lambda: kind.make(task), make_workflow(given), command, **of_run)


def _run_chains(
    make_task: Any,
    workflow: Any,
    command: Any,
    generations: int = 100,
    seeds: int = 100,
    metrics: Annotated[Sequence[str], "NAME ..."] = (),
    features: Annotated[str | None, "MODULE:FUNCTION"] = None,
    out: File | None = None,
    figure: File | None = None,
    picture: File | None = None,
    checkpoint: Folder | None = None,
    checkpoint_wait: Annotated[float, "SECONDS"] = 0.0,
    share: bool = False,
    stop_when: Annotated[str | None, "RULE"] = None,
    distributed: bool = False,
    coordinator: Annotated[str | None, "ADDRESS"] = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    **language: str,
) -> None:
    """Run one workflow on one task.

    Args:
        make_task: what makes the task, when JAX has been started.
        workflow: the workflow.
        command: what was written, which the dataset remembers.
        generations: generations per chain; the first is fitted to real data.
        seeds: number of independent chains, whose seeds are 0, 1, 2, ...
        metrics: metrics to compute. Default all of the task.
        features: what distances compare of each row: a JAX function of a row to a vector, by where
            it can be imported. Default the row itself.
        out: save all chains in this NetCDF file (.nc); or, where they are too many for memory, keep
            them in this store (.zarr), block of seeds by block.
        figure: save a figure (.png, .pdf or .svg).
        picture: save a picture of what the models of seed 0 and their rows look like, generation by
            generation (.png, .pdf, .svg, or .gif for a film). Chains then run stage by stage.
        checkpoint: keep the chains in this folder while they run, and go on from there another
            time.
        checkpoint_wait: how long to wait for another run that is in the folder.
        share: share the seeds with other processes that run the same command with the same
            checkpoint; each takes those that nobody has.
        stop_when: stop after the first generation in which the mean over chains is beyond a bound,
            for instance 'test_error > 10', or the run so far is judged, for instance 'collapse'.
        distributed: be one of several processes, as found by JAX (Slurm, Open MPI, Cloud TPU).
        coordinator: be one of several processes, the first of which has this address (host:port).
        num_processes: with a coordinator: how many processes there are.
        process_id: with a coordinator: which of them this is, from 0.
        language: options of language models alone.
    """
    import rich

    from collapse_jax import theory
    from collapse_jax.analysis.judged import read_rule
    from collapse_jax.machines import hosts
    from collapse_jax.report.tables import summary
    from collapse_jax.run.simulation import simulate

    outputs = Outputs.checked(out, figure, picture, checkpoint)
    compared = None if features is None else imported_here("features", features)
    rule = None if stop_when is None else read_rule(stop_when)
    start_jax()
    if distributed or coordinator or num_processes or process_id:
        hosts.connect(coordinator, num_processes, process_id)
    mesh = _make_mesh(language)
    task = make_task()
    if outputs.album is not None:
        outputs.album.check(task)
    try:
        ds = simulate(
            workflow,
            task,
            generations,
            seeds,
            metrics=list(metrics) or None,
            features=compared,
            mesh=mesh,
            checkpoint=checkpoint,
            checkpoint_wait=checkpoint_wait,
            observe=outputs.album or _make_observer(language, task),
            stop_when=rule,
            share=share,
            out=outputs.store,
        )
    except KeyboardInterrupt:
        if checkpoint is None:
            raise
        raise KeyboardInterrupt(f"the same command goes on from {checkpoint}") from None
    if not hosts.is_first():
        return
    ds.attrs["command"] = command
    for written, option in {"Samples": "samples", "Models": "save_models"}.items():
        if option in language:
            print(f"{written}: {language[option]}")
    if outputs.store:  # perhaps more than memory holds
        print(f"Chains: {outputs.store}")
        return
    ds = _with_samples(ds, language)
    predicted = theory.expected(workflow, task, ds.sizes["generation"])
    outputs.write(ds, predicted)  # first: the rest ends the program where nobody reads on
    rich.print(summary(ds, theory=predicted))
    if "stopped" in ds.attrs:
        print(f"Stopped: {ds.attrs['stopped']}")


def _with_samples(ds: Any, language: Mapping[str, str]) -> Any:
    if "samples" not in language:
        return ds
    from collapse_jax.language.samples import with_samples

    try:
        return with_samples(ds, language["samples"])
    except ValueError as error:  # as where generations were made before there was such a folder
        warnings.warn(f"the dataset has no samples: {error}", stacklevel=2)
        return ds


def _make_mesh(language: Mapping[str, str]) -> Any:
    if "mesh" not in language:
        return None
    from collapse_jax.cli.options.language import make_mesh

    return make_mesh(language["mesh"])


def _make_observer(language: Mapping[str, str], task: Any) -> Any:
    if not language:
        return None
    from collapse_jax.cli.options.language import make_observer

    return make_observer(language, task)


def start_jax() -> None:
    """Use all cores, and keep what is compiled."""
    from collapse_jax.machines.devices import keep_compiled_programs, use_all_cores

    with contextlib.suppress(RuntimeError):  # JAX is in use already; its devices are good enough
        use_all_cores()
    keep_compiled_programs()
