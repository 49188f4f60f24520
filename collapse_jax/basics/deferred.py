"""Values that are worked out where somebody asks for them.

What nobody asks for, a compiler leaves out. But by then it has been traced, mapped over chains and
handed to the compiler, which takes as long as for what is wanted.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import jax


class Deferred(MutableMapping[str, Any]):
    """A dictionary some of whose values are functions, called anew whenever a value is asked for.

    To JAX it is a pytree of all values, of its own kind.

    Args:
        values: values by name.
        functions: functions without arguments, by the names of their values.

    Example:
        >>> found = Deferred({"a": 1}, b=lambda: 2) | {"c": 3}
        >>> found["b"], {**found}
        (2, {'a': 1, 'b': 2, 'c': 3})
    """

    def __init__(self, values: Mapping[str, Any], /, **functions: Callable[[], Any]):
        known = values._functions if isinstance(values, Deferred) else _constant(values)
        self._functions = {**known, **functions}

    def __getitem__(self, name: str) -> Any:
        return self._functions[name]()

    def __setitem__(self, name: str, value: Any) -> None:
        self._functions[name] = lambda: value

    def __delitem__(self, name: str) -> None:
        del self._functions[name]

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def __or__(self, other: Mapping[str, Any]) -> "Deferred":
        return Deferred(self, **Deferred(other)._functions)

    def __ror__(self, other: Mapping[str, Any]) -> "Deferred":
        return Deferred(other) | self

    def copy(self) -> "Deferred":
        """Another one with the same values and functions."""
        return Deferred(self)


def _constant(values: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    return {name: lambda value=value: value for name, value in values.items()}


jax.tree_util.register_pytree_with_keys(
    Deferred,
    lambda found: (
        [(jax.tree_util.DictKey(name), found[name]) for name in sorted(found)],
        tuple(sorted(found)),
    ),
    lambda names, values: Deferred(dict(zip(names, values, strict=True))),
)
