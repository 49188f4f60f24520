"""Numbers that may change from generation to generation."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from collapse_jax.basics import checks

Number: TypeAlias = int | float
Schedule: TypeAlias = Number | Sequence[Number] | np.ndarray | Callable[[int], Number]
"""A number, a sequence of at least T numbers for generations 1..T, or a function of t = 1..T."""


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
        given = [schedule] * n_generations
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
