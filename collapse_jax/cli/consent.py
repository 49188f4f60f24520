"""Long work that only a file asks for begins when a person agrees."""

import math
import sys
from collections.abc import Sequence

import numpy as np

from collapse_jax.cli.options.parser import PROGRAM
from collapse_jax.cli.studies import shown_seconds
from collapse_jax.cli.study.forecasts import batches, measurable, seconds_of
from collapse_jax.run.before.prepared import Prepared

LONGEST = 3600.0
"""Seconds, by an estimate."""
MOST_STEPS = 10**6
"""Of training, of which no time is known before."""
_CALL, _BYTE = 5e-6, 1e-9
"""Seconds that a generation of a program takes at the least, and each byte that it works on."""
_CLEARLY_SHORT = 10.0


def ask_before_long(loops: Sequence[Sequence[Prepared]], yes: bool) -> None:
    """Ask whether long work should begin: on a terminal a person, else for `--yes`.

    Args:
        loops: the cells of each loop that are to be run.
        yes: whether all has been agreed to.

    Raises:
        ValueError: where nobody agrees, says how long it is.

    Example:
        >>> import collapse_jax as cj
        >>> from collapse_jax.run.before.prepared import prepare
        >>> ask_before_long([[prepare(cj.Replace(), cj.Categorical(3, 9), 10, 10)]], yes=False)
    """
    reason = "" if yes else reason_to_ask(loops)
    if not reason:
        return
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        print(f"{PROGRAM}: {reason}. Run it? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise ValueError(f"{reason}; --yes runs it, and nothing has been run")


def reason_to_ask(loops: Sequence[Sequence[Prepared]]) -> str:
    """What is long about some runs; nothing where nothing is."""
    cells = [ready for of_loop in loops for ready in of_loop]
    steps = sum(_steps(ready) for ready in cells if not measurable(ready))
    if steps > MOST_STEPS:
        return f"this takes {steps:,} steps of training and more, more than {MOST_STEPS:,}"
    others = [of_loop for of_loop in loops if all(map(measurable, of_loop))]
    if sum(_at_least(ready) for of_loop in others for ready in of_loop) < _CLEARLY_SHORT:
        return ""
    seconds = sum(map(seconds_of, others))
    if seconds > LONGEST:
        return f"this takes about {shown_seconds(seconds)}, more than {shown_seconds(LONGEST)}"
    return ""


def _steps(ready: Prepared) -> int:
    """Steps of training, of batches of chains, of all generations."""
    rows = round(float(np.mean(ready.plan.n_train)))
    each = max(int(ready.task.n_steps(rows)), 1)
    return batches(ready) * ready.n_generations * each


def _at_least(ready: Prepared) -> float:
    """Seconds that are no estimate, and tell which runs are not worth one."""
    each = max(ready.pool_bytes + ready.scratch_bytes, 1) * len(ready.own_seeds)
    return ready.n_generations * math.fsum((_CALL * batches(ready), _BYTE * each))
