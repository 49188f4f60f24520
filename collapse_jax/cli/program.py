"""The command line, `collapse-jax`: which command runs what.

Bad input ends with exit code 2 and one line on the standard error; an interrupt with 130.
"""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Annotated, Any

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import File, Folder
from collapse_jax.cli.corpora import corpus_settings, train_tokenizer
from collapse_jax.cli.lasting import run_again, run_sweep
from collapse_jax.cli.papers import show_cards, show_papers
from collapse_jax.cli.parser import HelpShown, parse
from collapse_jax.cli.settings import Setting, settings_of
from collapse_jax.cli.shown import show_runs
from collapse_jax.cli.tables import file_settings
from collapse_jax.cli.tasks import OWN, TASKS, Kind, find_kind
from collapse_jax.cli.workflows import make_workflow, workflow_settings

PROGRAM = "collapse-jax"
_NAMELESS = "file", "files", "paper"
_BAD_INPUT, _FAILED, _INTERRUPTED = 2, 1, 130
_DESCRIPTION = (
    "A laboratory for model collapse: generative models trained on data that models generated."
)
_COMMANDS = {
    "demo": "run three workflows on five tasks; print a table and save a figure",
    "simulate": "run one workflow on one task",
    "sweep": "run workflows over a grid of settings, as a file describes them",
    "show": "show saved datasets: tables, figures, comparisons, exponents, definitions",
    "rerun": "run a saved dataset again, and compare",
    "papers": "list papers and their loops",
    "reproduce": "hold a paper's claims against our chains",
    "tokenizer": "train a tokenizer",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments, default those of the process.

    Returns:
        the exit code: 0; 2 for bad input; 1 where a file could not be written, a rerun differs, an
        optional library is missing or a model makes no acceptable documents; 130 after an
        interrupt.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except HelpShown:
        return 0
    except (TypeError, ValueError) as error:
        return _complain(error, _BAD_INPUT)
    except (OSError, ImportError) as error:
        return _complain(error, _FAILED)
    except RuntimeError as error:
        from collapse_jax.run.staged import TooFewRows

        if not isinstance(error, TooFewRows):
            raise
        return _complain(error, _FAILED)
    except KeyboardInterrupt as interrupt:
        return _complain("; ".join(["interrupted", *interrupt.args]), _INTERRUPTED)


def _run(arguments: list[str]) -> int:
    command, following = (*arguments[:1], "")[0], arguments[1:]
    if command == "--version":
        print(f"{PROGRAM} {version('collapse_jax')}")
        return 0
    if command in ("-h", "--help"):
        return _list("COMMAND", _DESCRIPTION, _COMMANDS)
    if not command:
        raise ValueError(f"command must be given: {', '.join(_COMMANDS)}; see {PROGRAM} --help")
    checks.one_of("command", command, (*_COMMANDS, "--help", "--version"))
    if command == "simulate":
        return _simulate_some(following)
    functions = {
        "demo": _demo,
        "sweep": run_sweep,
        "show": show_runs,
        "papers": show_papers,
        "reproduce": show_cards,
    }
    if command in functions:
        _call(functions[command], command, following)
    elif command == "rerun":
        return 0 if _call(run_again, "rerun", following, file_settings()) else _FAILED
    elif following[:1] != ["train"]:
        if following[:1] in (["-h"], ["--help"]):
            return _list("tokenizer COMMAND", "Tokenizers.", {"train": "train byte pairs"})
        raise ValueError(f"train must follow tokenizer, got {(*following, '')[0]!r}")
    else:
        settings = [*corpus_settings(), *settings_of(train_tokenizer)]
        description = _first_line(train_tokenizer)
        program = f"{PROGRAM} tokenizer train"
        train_tokenizer(**parse(following[1:], program, description, {"options": settings}))
    return 0


def _list(usage: str, description: str, entries: Mapping[str, str]) -> int:
    """Show which commands or tasks there are."""
    lines = [f"  {name:<20} {text}" for name, text in entries.items()]
    print("\n".join([f"usage: {PROGRAM} {usage} [OPTIONS]", "", description, "", *lines, ""]))
    print(f"'{PROGRAM} {usage} --help' shows the options, '{PROGRAM} --version' the version.")
    return 0


def _call(
    function: Callable[..., Any],
    command: str,
    words: Sequence[str],
    others: Sequence[Setting] = (),
) -> Any:
    """Run a command whose options are a function's arguments, `file` and `paper` without a name."""
    settings = [*settings_of(function), *others]
    positional = [setting for setting in settings if setting.name in _NAMELESS]
    options = [setting for setting in settings if setting.name not in _NAMELESS]
    program, description = f"{PROGRAM} {command}", _first_line(function)
    given = parse(words, program, description, {"options": options} if options else {}, positional)
    if positional:
        _start_jax()
    return function(**given)


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").partition("\n")[0]


def _demo(
    out: File = "collapse.png",
    generations: int = 100,
    seeds: int = 400,
    language_model: bool = True,
) -> None:
    """Run three workflows on five tasks; print a table and save a figure (a few minutes).

    Args:
        out: save the figure in this file (.png, .pdf or .svg).
        generations: generations per chain.
        seeds: number of chains per run.
        language_model: train language models as well, which takes most of the time.
    """
    from collapse_jax.report import demonstration

    demonstration.run(out, generations, seeds, language=language_model)


def _simulate_some(words: Sequence[str]) -> int:
    name = (*words[:1], "")[0]
    if name in ("-h", "--help"):
        about = {name: find_kind(name).description for name in TASKS}
        about[OWN] = "A task of your own, by where it can be imported."
        return _list("simulate TASK", "Run one workflow on one task.", about)
    if not name or name.startswith("-"):
        raise ValueError(f"task must follow simulate: {', '.join((*TASKS, OWN))}")
    kind = find_kind(name)
    _simulate(kind, parse_simulation(name, kind, words[1:]))
    return 0


def parse_simulation(name: str, kind: Kind, words: Sequence[str]) -> dict[str, Any]:
    """What the options of `simulate` give, by name."""
    of_run = [
        replace(setting, default=kind.usual.get(setting.name, setting.default))
        for setting in settings_of(_run_chains)
    ]
    groups = {
        "options of the run": [*of_run, *kind.extra],
        "options of the workflow": workflow_settings(),
        "options of the task": kind.settings,
    }
    given = parse(words, f"{PROGRAM} simulate {name}", kind.description, groups)
    return {**kind.usual, **given}


def _simulate(kind: Kind, given: dict[str, Any]) -> None:
    names = [setting.name for setting in (*settings_of(_run_chains), *kind.extra)]
    task = {s.name: given[s.name] for s in kind.settings if s.name in given}
    of_run = {name: given[name] for name in names if name in given}
    _run_chains(lambda: kind.make(task), make_workflow(given), **of_run)


def _run_chains(
    make_task: Any,
    workflow: Any,
    generations: int = 100,
    seeds: int = 100,
    metrics: Annotated[Sequence[str], "NAME ..."] = (),
    out: File | None = None,
    figure: File | None = None,
    checkpoint: Folder | None = None,
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
        generations: generations per chain; the first is fitted to real data.
        seeds: number of independent chains, whose seeds are 0, 1, 2, ...
        metrics: metrics to compute. Default all of the task.
        out: save all chains in this NetCDF file (.nc).
        figure: save a figure (.png, .pdf or .svg).
        checkpoint: keep the chains in this folder while they run, and go on from there another
            time.
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
    from collapse_jax.basics import files
    from collapse_jax.machines import hosts
    from collapse_jax.report.demonstration import FIGURES
    from collapse_jax.report.figures import plot
    from collapse_jax.report.tables import summary
    from collapse_jax.run.simulation import simulate

    saved = out and files.check_writable("out", out, (".nc",))
    rule = None if stop_when is None else read_rule(stop_when)
    drawn = figure and files.check_writable("figure", figure, FIGURES)
    _start_jax()
    if distributed or coordinator or num_processes or process_id:
        hosts.connect(coordinator, num_processes, process_id)
    mesh = _make_mesh(language)
    task = make_task()
    try:
        ds = simulate(
            workflow,
            task,
            generations,
            seeds,
            metrics=list(metrics) or None,
            mesh=mesh,
            checkpoint=checkpoint,
            observe=_make_observer(language, task),
            stop_when=rule,
        )
    except KeyboardInterrupt:
        if checkpoint is None:
            raise
        raise KeyboardInterrupt(f"the same command goes on from {checkpoint}") from None
    if not hosts.is_first():
        return
    predicted = theory.expected(workflow, task, ds.sizes["generation"])
    rich.print(summary(ds, theory=predicted))
    if "stopped" in ds.attrs:
        print(f"Stopped: {ds.attrs['stopped']}")
    if saved:
        files.write_atomically(saved, lambda path: ds.to_netcdf(path, engine="h5netcdf"))
        print(f"Chains: {saved}")
    if drawn:
        image, suffix = plot(ds, theory=predicted), drawn.suffix[1:].lower()
        files.write_atomically(drawn, lambda path: image.savefig(path, format=suffix, dpi=200))
        print(f"Figure: {drawn}")


def _make_mesh(language: Mapping[str, str]) -> Any:
    if "mesh" not in language:
        return None
    from collapse_jax.cli.language import make_mesh

    return make_mesh(language["mesh"])


def _make_observer(language: Mapping[str, str], task: Any) -> Any:
    if "samples" not in language:
        return None
    from collapse_jax.cli.language import make_observer

    return make_observer(language["samples"], task)


def _start_jax() -> None:
    from collapse_jax.machines.devices import keep_compiled_programs, use_all_cores

    with contextlib.suppress(RuntimeError):  # JAX is in use already; its devices are good enough
        use_all_cores()
    keep_compiled_programs()


def _complain(error: object, code: int) -> int:
    print(f"{PROGRAM}: {' '.join(str(error).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
