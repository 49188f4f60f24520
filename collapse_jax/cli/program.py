"""The command line: `collapse-jax` demo, simulate, sweep, rerun and tokenizer.

Bad input ends with exit code 2 and one line on the standard error; an interrupt with 130.
"""

import contextlib
import dataclasses
import functools
import io
import operator
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import tyro

from collapse_jax.basics import checks
from collapse_jax.cli.corpora import TrainTokenizer
from collapse_jax.cli.lasting import Rerun, Sweep
from collapse_jax.cli.options import Options, make_workflow
from collapse_jax.cli.tasks import TASKS

PROGRAM = "collapse-jax"
_COMMANDS = ("demo", "simulate", "sweep", "rerun", "tokenizer")
_BAD_INPUT, _FAILED, _INTERRUPTED = 2, 1, 130
_DESCRIPTION = (
    "A laboratory for model collapse: generative models trained on data that models generated. "
    f"'{PROGRAM} --version' shows the version, '{PROGRAM} simulate gaussian --help' the options "
    "of a task."
)


@dataclasses.dataclass(frozen=True)
class Demo:
    """Run three workflows on five tasks; print a table and save a figure (a few minutes)."""

    out: Annotated[str, tyro.conf.arg(metavar="FILE")] = "collapse.png"
    """Save the figure in this file (.png, .pdf or .svg)."""
    n_generations: Annotated[
        int,
        tyro.conf.arg(name="generations", metavar="INT"),
    ] = 100
    """Generations per chain."""
    seeds: Annotated[int, tyro.conf.arg(metavar="INT")] = 400
    """Number of chains per run."""
    language_model: bool = True
    """Train language models as well, which takes most of the time."""


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
        if arguments[:1] == ["--version"]:
            print(f"{PROGRAM} {version('collapse_jax')}")
            return 0
        command = _parse(arguments)
        if isinstance(command, Demo):
            _demo(command)
        elif isinstance(command, TrainTokenizer):
            _train_tokenizer(command)
        elif isinstance(command, Rerun):
            _start_jax()
            return 0 if command.run() else _FAILED
        elif isinstance(command, Sweep):
            _start_jax()
            command.run()
        elif command is not None:
            _simulate(command)
    except (TypeError, ValueError) as error:
        return _complain(error, _BAD_INPUT)
    except (OSError, ImportError) as error:
        return _complain(error, _FAILED)
    except RuntimeError as error:
        from collapse_jax.language.stages import TooFewDocuments  # slow to import

        if not isinstance(error, TooFewDocuments):
            raise
        return _complain(error, _FAILED)
    except KeyboardInterrupt as interrupt:
        return _complain("; ".join(["interrupted", *interrupt.args]), _INTERRUPTED)
    return 0


def _demo(command: Demo) -> None:
    from collapse_jax.report import demonstration

    demonstration.run(
        command.out, command.n_generations, command.seeds, language=command.language_model
    )


def _train_tokenizer(options: TrainTokenizer) -> None:
    from collapse_jax.language.corpora.bpe import check_arguments, train_bpe

    check_arguments(options.vocab_size, options.out)  # before a long download
    corpus = options.read()
    size = train_bpe(corpus.train, options.vocab_size, options.out)
    print(f"Tokenizer of {size:,} tokens from {len(corpus.train):,} documents: {options.out}")


def _simulate(options: Options) -> None:
    import rich

    from collapse_jax import theory
    from collapse_jax.basics import files
    from collapse_jax.machines import hosts
    from collapse_jax.report.demonstration import FIGURES
    from collapse_jax.report.figures import plot
    from collapse_jax.report.tables import summary
    from collapse_jax.run.simulation import simulate

    workflow = make_workflow(options.workflow)
    out = options.out and files.check_writable("out", options.out, (".nc",))
    figure = options.figure and files.check_writable("figure", options.figure, FIGURES)
    _start_jax()
    if options.distributed or options.coordinator or options.num_processes or options.process_id:
        hosts.connect(options.coordinator, options.num_processes, options.process_id)
    mesh, task = options.make_mesh(), options.make_task()
    try:
        ds = simulate(
            workflow,
            task,
            options.n_generations,
            options.seeds,
            metrics=options.metrics or None,
            mesh=mesh,
            checkpoint=options.checkpoint,
            observe=options.make_observer(task),
        )
    except KeyboardInterrupt:
        if options.checkpoint is None:
            raise
        raise KeyboardInterrupt(f"the same command goes on from {options.checkpoint}") from None
    if not hosts.is_first():
        return
    predicted = theory.expected(workflow, task, options.n_generations)
    rich.print(summary(ds, theory=predicted))
    if out:
        files.write_atomically(out, lambda path: ds.to_netcdf(path, engine="h5netcdf"))
        print(f"Chains: {out}")
    if figure:
        image, suffix = plot(ds, theory=predicted), figure.suffix[1:].lower()
        files.write_atomically(figure, lambda path: image.savefig(path, format=suffix, dpi=200))
        print(f"Figure: {figure}")


def _start_jax() -> None:
    from collapse_jax.machines.devices import keep_compiled_programs, use_all_cores

    with contextlib.suppress(RuntimeError):  # JAX is in use already; its devices are good enough
        use_all_cores()
    keep_compiled_programs()


def _parse(arguments: list[str]) -> Demo | Rerun | Sweep | TrainTokenizer | Options | None:
    """The command and its options; None after help has been shown."""
    _check_names(arguments)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                _commands(),
                prog=PROGRAM,
                description=_DESCRIPTION,
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            return None
    raise ValueError(_one_line(complaint.getvalue()))


def _check_names(arguments: list[str]) -> None:
    """Check command and task, for which the parser has less helpful messages.

    Raises:
        ValueError: where they are missing or unknown.
    """
    help_wanted = ("-h", "--help")
    command, task = (*arguments[:2], "", "")[:2]
    if command in help_wanted:
        return
    if not command:
        raise ValueError(f"command must be given: {', '.join(_COMMANDS)}; see {PROGRAM} --help")
    checks.one_of("command", command, (*_COMMANDS, "--help", "--version"))
    if command in ("demo", "rerun", "sweep") or task in help_wanted:
        return
    if command == "tokenizer":
        if task != "train":
            raise ValueError(f"train must follow tokenizer, got {task!r}")
        return
    if not task or task.startswith("-"):
        raise ValueError(f"task must follow simulate: {', '.join(TASKS)}")
    checks.one_of("task", task, TASKS)


def _commands() -> Any:
    """The type of which tyro makes the parser."""
    tasks: list[Any] = [
        Annotated[options, tyro.conf.subcommand(name)] for name, options in TASKS.items()
    ]
    chosen = tyro.conf.subcommand("simulate", description="Run one workflow on one task.")
    commands: list[Any] = [
        Annotated[Demo, tyro.conf.subcommand("demo")],
        Annotated[functools.reduce(operator.or_, tasks), chosen],
        Annotated[Sweep, tyro.conf.subcommand("sweep")],
        Annotated[Rerun, tyro.conf.subcommand("rerun")],
        Annotated[TrainTokenizer, tyro.conf.subcommand("tokenizer")],
    ]
    return functools.reduce(operator.or_, commands)


def _one_line(complaint: str) -> str:
    """The gist of tyro's message, which is boxed where the terminal knows such characters."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", complaint)
    paragraphs = [""]
    for line in (line.strip("│ ") for line in plain.splitlines()):
        if line.startswith(("╭", "╰")) or (line and set(line) <= {"─", "-"}):
            paragraphs.append("")
        else:
            paragraphs[-1] += f" {line}"
    paragraphs = [" ".join(words) for paragraph in paragraphs if (words := paragraph.split())]
    text, *details = paragraphs[0 if "╭" in plain else 1 :] or ["cannot understand the arguments"]
    if wrong := re.match(r"Error parsing (--[\w-]+): .*?\[?('[^']*')\]?(?:\.|$)", text):
        kind = re.search(rf"{wrong[1]} (\S+)", " ".join(details))
        return f"{wrong[1]} must be {kind[1] if kind else 'another value'}, got {wrong[2]}"
    if missing := re.match(r"Missing from [^:]*: (--[\w-]+)", text):
        return f"{missing[1]} must be given"
    near = re.search(r"Perhaps you meant: (--[\w-]+)", " ".join(details))
    return text.removesuffix(".") + (f"; did you mean {near[1]}?" if near else "")


def _complain(error: object, code: int) -> int:
    print(f"{PROGRAM}: {' '.join(str(error).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
