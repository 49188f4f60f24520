"""Options made from annotated arguments and from what their docstrings say of them."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union

_NONE_IS_ALL = re.compile(r"\bNone for all\b")
_NONE_IS_NONE = re.compile(r"\bNone for none\b")
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
REQUIRED = "<required>"
"""Stands for the default where there is none."""


@dataclass(frozen=True)
class Setting:
    """One argument, and what may be written for it on the command line."""

    name: str
    """Its name in Python, dotted for a part of a workflow."""
    help: str = ""
    default: Any = REQUIRED
    number: type | None = None
    """`int` or `float`, where numbers may be written."""
    many: bool = False
    names: tuple[str, ...] = ()
    """Words that have a meaning."""
    text: bool = False
    """Whether any text may be written."""
    flag: bool = False
    optional: bool = False
    metavar: str = ""
    """What stands for its values, where the above do not tell."""

    @property
    def option(self) -> str:
        """As the command line writes it."""
        return "--" + self.name.replace("_", "-")

    @property
    def none_is_all(self) -> bool:
        """Whether None, as `all`, may be written."""
        return self.optional and bool(_NONE_IS_ALL.search(self.help))

    @property
    def none_is_none(self) -> bool:
        """Whether None, as `none`, may be written."""
        return self.optional and bool(_NONE_IS_NONE.search(self.help.replace("`", "")))

    @property
    def shown(self) -> str:
        """What stands for its values, each of them, in help and messages."""
        if self.metavar:
            return self.metavar.removesuffix(" ...")
        if self.number is None:
            kinds = [] if self.names or not self.text else ["TEXT"]
        else:
            kinds = ["INT" if self.number is int else "FLOAT"]
        kinds += ["{" + ",".join(self.names) + "}"] if self.names else []
        kinds += ["all"] if self.none_is_all else []
        kinds += ["none"] if self.none_is_none else []
        return "|".join(kinds)

    @property
    def explained(self) -> str:
        """What help says of it."""
        text = " ".join(self.help.replace("`", "").split())
        text = _NONE_IS_ALL.sub("default all" if self.default is None else "'all' for all", text)
        if self.none_is_none:
            text = _NONE_IS_NONE.sub("'none' for none", text)
        text = re.sub(r"\bNone for\b", "default", text)
        text = re.sub(r"\bNone gives\b", "The default gives", text)
        text = text[:1].upper() + text[1:]
        default = self.default
        if default is REQUIRED:
            return f"{text} (required)"
        if re.search(r"\bDefault\b|[;:] default\b|The default\b", text):
            return text
        if default is None or default == ():
            return f"{text} (optional)"
        if isinstance(default, bool):
            default = "on" if default else "off"
        return f"{text} (default: {str(default).encode('unicode_escape').decode()})"

    def read(self, words: Sequence[str]) -> Any:
        """The value that is written so.

        Raises:
            ValueError: for a word that is none.
        """
        values = [self._read_one(word) for word in words]
        if not self.many:
            return values[0]
        return values[0] if len(values) == 1 and self.number is not None else values

    def _read_one(self, word: str) -> Any:
        if (word == "all" and self.none_is_all) or (word == "none" and self.none_is_none):
            return None
        if self.number is not None and word not in self.names:
            try:
                return int(word)
            except ValueError:
                pass
            try:
                if self.number is float:
                    return float(word)
            except ValueError:
                pass
            if not self.names:
                raise ValueError(f"{self.option} must be {self.shown}, got {word!r}")
        return word  # a wrong name is refused, with the nearest one, by whom it is for


def settings_of(
    made: Callable[..., Any], names: Iterable[str] | None = None, prefix: str = ""
) -> list[Setting]:
    """The arguments of a function or class that can be written on a command line.

    Args:
        made: the function or class, with annotations and a docstring in Google's style.
        names: which arguments; None for all.
        prefix: what their names begin with.

    Example:
        >>> def bake(bread: str = "rye", *, minutes: int | None = None):
        ...     '''Bake.
        ...
        ...     Args:
        ...         bread: what to bake.
        ...         minutes: how long; None for all night.
        ...     '''
        >>> [(s.option, s.shown, s.explained) for s in settings_of(bake)]
        ... # doctest: +NORMALIZE_WHITESPACE
        [('--bread', 'TEXT', 'What to bake. (default: rye)'),
         ('--minutes', 'INT|all', 'How long; default all night.')]
    """
    documented = _documented(inspect.getdoc(made) or "")
    function = made.__init__ if isinstance(made, type) else made  # type: ignore[misc]
    annotations = typing.get_type_hints(function, include_extras=True)
    found = []
    for name, parameter in inspect.signature(made).parameters.items():
        if (names is not None and name not in names) or parameter.kind in _VARIADIC:
            continue
        missing = parameter.default is inspect.Parameter.empty
        default = REQUIRED if missing else parameter.default
        if type(default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
            default = None
        base = Setting(prefix + name, documented.get(name, ""), default)
        setting = _with_kinds(base, annotations.get(name, Any))
        if setting.number or setting.names or setting.text or setting.flag:
            found.append(setting)
    return found


def _with_kinds(setting: Setting, annotation: Any) -> Setting:
    """The setting, with all that its annotation lets people write."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is type(None):
        return replace(setting, optional=True)
    if annotation is bool:
        return replace(setting, flag=True)
    if annotation is int:
        return setting if setting.number is float else replace(setting, number=int)
    if annotation is float:
        return replace(setting, number=float)
    if annotation is str:
        return replace(setting, text=True)
    if origin is Literal:
        return replace(setting, names=(*setting.names, *arguments))
    if origin is Annotated:
        return _with_metavar(setting, arguments)
    if origin in (Union, types.UnionType):
        for argument in arguments:
            setting = _with_kinds(setting, argument)
        return setting
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _with_kinds(replace(setting, many=True), arguments[0])
    return setting


def _with_metavar(setting: Setting, arguments: tuple[Any, ...]) -> Setting:
    words = [word for word in arguments[1:] if isinstance(word, str)]
    if not words:
        return _with_kinds(setting, arguments[0])
    kinds = words[0].removesuffix(" ...").split("|")
    number = float if "FLOAT" in kinds else int if "INT" in kinds else setting.number
    names = next((kind[1:-1].split(",") for kind in kinds if kind.startswith("{")), ())
    return replace(
        setting,
        metavar=words[0],
        number=number,
        names=(*setting.names, *names),
        many=setting.many or words[0].endswith(" ..."),
        text=number is None,
    )


def _documented(docstring: str) -> dict[str, str]:
    """What the section `Args:` says of each argument."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", docstring, re.MULTILINE)
    found: dict[str, str] = {}
    name = ""
    for line in section[1].splitlines() if section else ():
        if entry := re.match(r" {4}(\w+)(?: \(.*?\))?: (.*)", line):
            name, found[entry[1]] = entry[1], entry[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found
