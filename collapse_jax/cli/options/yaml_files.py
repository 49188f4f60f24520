"""YAML by the rules of version 1.2, by which 1e-3 is a number and `no` is a word."""

import re
from typing import Any

import yaml

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
    """What a YAML document says.

    Args:
        text: the document.

    Raises:
        yaml.YAMLError: for text that is no YAML.

    Example:
        >>> read_yaml("{bandwidth: [1e-3, 0.1], n: 010, kernel: no}")
        {'bandwidth': [0.001, 0.1], 'n': 10, 'kernel': 'no'}
    """
    return yaml.load(text, Loader=_Loader)
