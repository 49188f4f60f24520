"""The parser of the command line, made from settings. It gives what was given, and no defaults."""

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from collapse_jax.cli.options.settings import REQUIRED, Setting

PROGRAM = "collapse-jax"
_NEGATIVE = re.compile(r"-\.?\d")


class HelpShown(Exception):
    """Help was wanted and has been printed."""


class _Parser(argparse.ArgumentParser):
    """As the standard library's, but errors are for the caller."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message.removeprefix("argument "))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise HelpShown(message)


def parse(
    words: Sequence[str],
    program: str,
    description: str,
    groups: Mapping[str, Sequence[Setting]],
    positional: Sequence[Setting] = (),
) -> dict[str, Any]:
    """What the words of a command line give, by name of the setting.

    Args:
        words: the command line after the program's name.
        program: its name, with that of the command.
        description: what it does.
        groups: its options, by the heading under which help has them.
        positional: settings that are written without their name.

    Raises:
        ValueError: for words that cannot be understood.
        HelpShown: after help was asked for and shown.
    """
    nameless = [f"{s.shown}{' ...' * s.many}" for s in positional]
    usage = " ".join([program, *nameless, "[OPTIONS]"])
    parser = _Parser(usage=usage, description=description, allow_abbrev=False)
    # Numbers such as -1e-3 are values as well, which the standard library takes for options.
    parser._negative_number_matcher = _NEGATIVE
    for setting in positional:
        nargs = "*" if setting.many else "?"
        parser.add_argument(setting.name, nargs=nargs, metavar=setting.shown, help=_help(setting))
    for title, settings in groups.items():
        group = parser if title == "options" else parser.add_argument_group(title)
        for setting in settings:
            _add(group, setting)
    given, rest = parser.parse_known_args([_with_hyphens(word) for word in words])
    known = [*positional, *(setting for settings in groups.values() for setting in settings)]
    if rest:
        options = [option for setting in known for option in _options(setting)]
        near = difflib.get_close_matches(rest[0].partition("=")[0], options, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"Unrecognized options: {', '.join(rest)}{hint}")
    found = {}
    for setting in known:
        value = getattr(given, setting.name, None)
        if value is not None and value != []:
            texts = value if isinstance(value, list) else [value]
            found[setting.name] = value if setting.flag else setting.read(texts)
        elif setting.default is REQUIRED:
            name = setting.shown if setting in positional else setting.option
            raise ValueError(f"{name} must be given")
    return found


def list_entries(usage: str, description: str, entries: Mapping[str, str]) -> None:
    """Show which commands or tasks there are."""
    lines = [f"  {name:<20} {text}" for name, text in entries.items()]
    print("\n".join([f"usage: {PROGRAM} {usage} [OPTIONS]", "", description, "", *lines, ""]))
    print(f"'{PROGRAM} {usage} --help' shows the options, '{PROGRAM} --version' the version.")


def _add(group: Any, setting: Setting) -> None:
    options: dict[str, Any] = {"dest": setting.name, "help": _help(setting)}
    if setting.flag:
        options |= {"action": argparse.BooleanOptionalAction, "default": argparse.SUPPRESS}
    else:
        options |= {"nargs": "+" if setting.many else None, "metavar": setting.shown}
    group.add_argument(setting.option, **options)


def _help(setting: Setting) -> str:
    return setting.explained.replace("%", "%%")


def _options(setting: Setting) -> list[str]:
    return [setting.option, f"--no-{setting.option[2:]}"] if setting.flag else [setting.option]


def _with_hyphens(word: str) -> str:
    """An option that is written with underscores, as in Python."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word
