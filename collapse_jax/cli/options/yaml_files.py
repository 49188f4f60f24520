"""YAML by the rules of version 1.2, by which 1e-3 is a number and `no` is a word."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

Place = tuple[str | int, ...]
"""Where an entry is: names of entries, and numbers within lists from 0."""
_MOST_ENTRIES, _DEEPEST = 100_000, 30  # counted wherever an alias repeats them
_STANDARD = "tag:yaml.org,2002:"
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map", "merge")
_NULL = r"~|null|Null|NULL|"
_BOOLEAN = r"true|True|TRUE|false|False|FALSE"
_INTEGER = r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
_FLOAT = (
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


class _Loader(yaml.SafeLoader):
    """PyYAML's, with the scalars of the core schema in place of those of YAML 1.1."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 (the library fills it)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


for _kind, _pattern in (
    ("null", _NULL),
    ("bool", _BOOLEAN),
    ("int", _INTEGER),
    ("float", _FLOAT),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^({_pattern})$"), None)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("^<<$"), ["<"])
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def read_yaml(text: str) -> Any:
    """What a YAML document says, in plain values: there are no tags.

    Args:
        text: the document.

    Raises:
        yaml.YAMLError: for text that is no YAML, or more than a person would write; for tags, keys
            that stand twice, and what holds itself.

    Example:
        >>> read_yaml("{bandwidth: [1e-3, 0.1], n: 010, kernel: no}")
        {'bandwidth': [0.001, 0.1], 'n': 10, 'kernel': 'no'}
    """
    try:
        loader = _Loader(text)
        node = _checked(loader)
        return None if node is None else loader.construct_document(node)
    except (RecursionError, ValueError) as error:  # of nested brackets, of numbers without end
        raise yaml.YAMLError(str(error)) from None


def lines_of(text: str) -> dict[Place, int]:
    """On which line, from 1, each entry of a YAML document stands.

    Example:
        >>> lines_of("runs: [{name: a}]")
        {('runs',): 1, ('runs', 0): 1, ('runs', 0, 'name'): 1}
    """
    return {} if (node := _checked(_Loader(text))) is None else dict(_lines(node, ()))


def _lines(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int]]:
    if isinstance(node, yaml.MappingNode):
        entries = [(key.value, key, value) for key, value in node.value]
    else:
        several = node.value if isinstance(node, yaml.SequenceNode) else []
        entries = [(number, value, value) for number, value in enumerate(several)]
    for name, where, value in entries:
        yield (*place, name), where.start_mark.line + 1
        yield from _lines(value, (*place, name))


def _checked(loader: _Loader) -> yaml.Node | None:
    """The nodes of the document, which are few and plain."""
    root, seen = loader.get_single_node(), 0
    waiting = [] if root is None else [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if seen > _MOST_ENTRIES or depth > _DEEPEST:
            raise yaml.MarkedYAMLError(
                problem=f"more than {_MOST_ENTRIES:,} entries, or {_DEEPEST} of them within each "
                "other",
                problem_mark=node.start_mark,
            )
        if node.tag.rpartition(":")[2] not in _PLAIN or not node.tag.startswith(_STANDARD):
            raise yaml.MarkedYAMLError(problem="a tag", problem_mark=node.start_mark)
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in inner if isinstance(key, yaml.ScalarNode)]
            if twice := next((key for key in keys if keys.count(key) > 1), ""):
                raise yaml.MarkedYAMLError(
                    problem=f"{twice!r} stands twice", problem_mark=node.start_mark
                )
            inner = [part for pair in inner for part in pair]
        waiting += [(part, depth + 1) for part in inner]
    return root
