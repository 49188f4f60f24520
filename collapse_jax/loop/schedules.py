"""Numbers that may change from generation to generation."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from collapse_jax.basics import checks

Number: TypeAlias = int | float
Schedule: TypeAlias = Number | Sequence[Number] | np.ndarray | Callable[[int], Number]
"""A number, a sequence of at least T numbers for generations 1..T, or a function of t = 1..T."""


class Range(NamedTuple):
    """Which values a number may have; without limits any finite one."""

    low: float = -math.inf
    high: float = math.inf
    open: bool = False
    """Whether `low` itself is too low."""

    def check(self, name: str, values: Any) -> Any:
        """The values `[generation]` as they are; traced ones are not looked at.

        Raises:
            ValueError: if one is out of range.

        Example:
            >>> Range(0.0, 1.0, open=True).check("keep", np.array([0.5, 0.0]))
            Traceback (most recent call last):
            ValueError: keep must be above 0 and at most 1, got 0 in generation 2
        """
        if not isinstance(values, np.ndarray):
            return values
        low = values <= self.low if self.open else values < self.low
        wrong = np.flatnonzero(low | (values > self.high))
        if not len(wrong):
            return values
        allowed = f"between {self.low:g} and {self.high:g}"
        if self.open:
            allowed = f"above {self.low:g}" + (
                f" and at most {self.high:g}" if math.isfinite(self.high) else ""
            )
        raise ValueError(
            f"{name} must be {allowed}, got {values[wrong[0]]:g} in generation {wrong[0] + 1}"
        )


SHARE = Range(0.0, 1.0)


class Numbered:
    """A part of a loop, a dataclass, some of whose fields are schedules.

    Their values are data of the program; whatever else it is made of is compiled in.
    """

    numbers: ClassVar[Mapping[str, Range]] = {}
    """The fields that are schedules, and which values they may have."""

    def check_numbers(self, name: str) -> None:
        """Check the schedules of a part of this name, and keep them as they can be compared.

        Raises:
            ValueError: if a value is not finite, or a sequence is empty.
            TypeError: if there is anything but numbers.
        """
        for field in self.numbers:
            schedule = getattr(self, field)
            check_schedule(f"{name}.{field}", schedule)
            object.__setattr__(self, field, plain(schedule))

    def values(self, name: str, n_generations: int) -> dict[str, Any]:
        """The values of the schedules, each `[generation]`.

        Raises:
            ValueError: if one is out of its range.
        """
        return {
            field: limits.check(
                f"{name}.{field}", values_of(f"{name}.{field}", getattr(self, field), n_generations)
            )
            for field, limits in self.numbers.items()
        }

    def having(self, values: Mapping[str, Any]) -> Any:
        """The same with these values, of one generation and perhaps traced, as its numbers."""
        made = copy.copy(self)
        for field in self.numbers:
            object.__setattr__(made, field, values[field])
        return made

    def without_numbers(self) -> Any:
        """What of it is compiled in."""
        return self.having(dict.fromkeys(self.numbers, 0.0))


def values_of(name: str, schedule: Any, n_generations: int) -> Any:
    """The values of a schedule in generations 1..T.

    Args:
        name: name of the setting, for messages.
        schedule: a number, a sequence, or a function that is called on the host.
        n_generations: number of generations T.

    Returns:
        `[generation]`, float64; a traced number is repeated as it is.

    Raises:
        ValueError: if a sequence is too short, or a value is not finite.
        TypeError: if there is anything but numbers.

    Example:
        >>> values_of("n", lambda t: 10 * t, 3).tolist()
        [10.0, 20.0, 30.0]
    """
    if checks.is_traced(schedule):
        import jax.numpy as jnp

        return jnp.broadcast_to(schedule, (n_generations,))
    if callable(schedule):
        given = [schedule(t) for t in range(1, n_generations + 1)]
    elif isinstance(schedule, Sequence | np.ndarray) and not isinstance(schedule, str):
        given = list(schedule)
        if len(given) < n_generations:
            raise ValueError(
                f"{name} must have a value for each of the {n_generations} generations, "
                f"got {len(given)}"
            )
        given = given[:n_generations]
    else:
        return np.full(n_generations, _number(name, schedule, 1))
    values = [_number(name, value, t) for t, value in enumerate(given, 1)]
    return np.asarray(values, np.float64)


def plain(schedule: Any) -> Any:
    """The same schedule in a form that can be compared: a sequence of numbers as a tuple.

    Example:
        >>> plain(np.array([3, 4])), plain(range(2)), plain(0.5)
        ((3, 4), (0, 1), 0.5)
    """
    if callable(schedule) or checks.is_traced(schedule) or isinstance(schedule, str | None):
        return schedule
    values = np.asarray(schedule).tolist()
    return tuple(values) if isinstance(values, list) else values


def is_constant(schedule: Any) -> bool:
    """Whether it is one number for all generations, whatever their number."""
    return not callable(schedule) and (np.ndim(schedule) == 0 or len(set(schedule)) == 1)


def check_schedule(name: str, schedule: Any) -> None:
    """Check as much of a schedule as can be known before the number of generations is.

    Raises:
        ValueError: if a value is not finite, or a sequence is empty.
        TypeError: if it is neither a number, nor a sequence of such, nor a function.
    """
    if callable(schedule) or checks.is_traced(schedule):
        return
    length = len(schedule) if isinstance(schedule, Sequence | np.ndarray) else 1
    if not length:
        raise ValueError(f"{name} must not be empty")
    values_of(name, schedule, length)


def _number(name: str, value: Any, t: int) -> float:
    try:
        if isinstance(value, bool | np.bool_ | str):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be a number, a sequence of numbers or a function of the generation, "
            f"got {value!r}"
        ) from None
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number} in generation {t}")
    return number
