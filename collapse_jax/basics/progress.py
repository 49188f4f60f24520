"""How far long work is, where no bar can show it."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

SECONDS = 60.0
"""Between two lines, and before the first one."""

Say = Callable[[str], None]


def lines(name: str) -> Say:
    """What prints the latest of the texts it is given, at most once a minute, as a line.

    Short work prints nothing. Lines go where error messages do, so that they are in no output.

    Args:
        name: of the work, in front of each line.
    """
    said = time.monotonic()

    def say(text: str) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= SECONDS:
            said = now
            print(f"{name}: {text}", file=sys.stderr, flush=True)

    return say


def beside(bar: tqdm, name: str, *, wanted: bool) -> Say:
    """What shows texts at a bar, or as lines where it is hidden; nothing where none are wanted."""
    if not bar.disable:
        return bar.set_postfix_str
    return lines(name) if wanted else lambda _: None
