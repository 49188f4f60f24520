"""The command line, `collapse-jax`: which command runs what.

Bad input ends with exit code 2 and one line on the standard error; an interrupt with 130.
"""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from collapse_jax.basics import checks
from collapse_jax.cli.options.parser import PROGRAM, HelpShown, list_entries, parse
from collapse_jax.cli.options.settings import Setting, settings_of

_NAMELESS = "file", "files", "folder", "paper"
_BAD_INPUT, _FAILED, _INTERRUPTED, _UNREAD = 2, 1, 130, 141
_DESCRIPTION = (
    "A laboratory for model collapse: generative models trained on data that models generated."
)
_COMMANDS = {
    "demo": "run three workflows on six tasks; print a table and save a figure",
    "simulate": "run one workflow on one task",
    "sweep": "run workflows over a grid of settings, as a file describes them",
    "show": "show saved datasets: tables, figures, comparisons, exponents, definitions",
    "rerun": "run a saved dataset again, and compare",
    "folder": "show what the folder of a run holds; check and repair it",
    "papers": "list papers and their loops",
    "reproduce": "hold a paper's claims against our chains",
    "report": "write saved runs and sweeps as one page of HTML",
    "run": "run a study: runs, sweeps, figures, tables and a page, as a file describes them",
    "schema": "print the JSON Schema of studies, for editors",
    "tokenizer": "train a tokenizer",
}
_FUNCTIONS = {
    "demo": "demo:run_demo",
    "sweep": "lasting:run_sweep",
    "run": "studies:run_file",
    "schema": "studies:print_schema",
    "show": "shown:show_runs",
    "folder": "folders:show_folder",
    "papers": "papers:show_papers",
    "reproduce": "papers:show_cards",
    "report": "shown:write_page",
}
"""Where the functions of those commands are whose options are just their arguments."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments, default those of the process.

    Returns:
        the exit code: 0; 2 for bad input; 1 where a file could not be written, a rerun differs, an
        optional library is missing or a model makes no acceptable documents; 130 after an
        interrupt; 141 where nobody reads the output any longer.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    code = 0
    _replace_what_cannot_be_shown()
    try:
        with contextlib.suppress(HelpShown):
            code = _run(arguments)
        if sys.stdout is not None:  # closed from the start, as by `>&-`
            sys.stdout.flush()
        return code
    except (TypeError, ValueError) as error:
        return _complain(error, _BAD_INPUT)
    except BrokenPipeError:  # as in `collapse-jax papers | head`: nobody reads on
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _UNREAD
    except SystemExit as end:  # by which rich ends where nobody reads on
        if isinstance(end.__context__, BrokenPipeError):
            return _UNREAD
        raise
    except (OSError, ImportError) as error:
        return _complain(error, _FAILED)
    except RuntimeError as error:
        from collapse_jax.run.monitor import GivenUp

        if not isinstance(error, GivenUp):
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
        list_entries("COMMAND", _DESCRIPTION, _COMMANDS)
        return 0
    if not command:
        raise ValueError(f"command must be given: {', '.join(_COMMANDS)}; see {PROGRAM} --help")
    checks.one_of("command", command, (*_COMMANDS, "--help", "--version"))
    if command == "simulate":
        _function("simulation:simulate_some")(following)
    elif command == "rerun":
        settings = _function("options.tables:file_settings")()
        return 0 if _call(_function("lasting:run_again"), command, following, settings) else _FAILED
    elif command == "tokenizer":
        _train_tokenizer(following)
    else:
        went = _call(_function(_FUNCTIONS[command]), command, following)
        return _FAILED if went is False else 0
    return 0


def _function(place: str) -> Callable[..., Any]:
    """A function of this package, whose module is loaded now: other commands do without it."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"collapse_jax.cli.{module}"), name)


def _train_tokenizer(words: Sequence[str]) -> None:
    if words[:1] in (["-h"], ["--help"]):
        list_entries("tokenizer COMMAND", "Tokenizers.", {"train": "train byte pairs"})
    elif words[:1] != ["train"]:
        raise ValueError(f"train must follow tokenizer, got {(*words, '')[0]!r}")
    else:
        train = _function("options.corpora:train_tokenizer")
        settings = [*_function("options.corpora:corpus_settings")(), *settings_of(train)]
        program = f"{PROGRAM} tokenizer train"
        train(**parse(words[1:], program, _first_line(train), {"options": settings}))


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
        _function("simulation:start_jax")()
    return function(**given)


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").partition("\n")[0]


def _replace_what_cannot_be_shown() -> None:
    """Show letters that a terminal does not have as question marks, and do not end there."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _complain(error: object, code: int) -> int:
    print(f"{PROGRAM}: {' '.join(str(error).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
