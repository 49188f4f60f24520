"""Compiled programs: how many a process can hold, how they are compiled, what they have as data."""

import functools
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_PAUSE = threading.Lock()
_MAPS, _LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")


def make_room_for_programs(share: float = 0.4) -> bool:
    """Forget compiled programs where they take up much of what the process may map.

    A program for CPUs maps some hundred pieces of memory, of which Linux allows 65,530; the
    compiler ends the process with a crash when there are no more. All programs of the process are
    forgotten, also those of others, and compiled again where they are needed.

    Args:
        share: above which share of the limit.

    Returns:
        Whether they were forgotten.
    """
    try:
        limit = int(_LIMIT.read_text())
        with _MAPS.open("rb") as maps:
            mapped = sum(1 for _ in maps)
    except (OSError, ValueError):  # not Linux, or it does not say
        return False
    if mapped <= share * limit:
        return False
    jax.clear_caches()
    return True


@functools.cache
def quick_to_compile(level: int = 0) -> dict[str, Any]:
    """Options of the compiler for programs that run once, which it takes half the time for.

    On CPUs: less optimisation, and the emitter of kernels that was usual before the one by MLIR,
    of which most of the time is the same for any kernel.

    Args:
        level: of optimisation, at most 3.
    """
    options: dict[str, Any] = {"xla_backend_optimization_level": level}
    older = {**options, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda: 0, compiler_options=older)()
    except jax.errors.JaxRuntimeError:  # a compiler that has one emitter only
        return options
    return older


@contextmanager
def garbage_kept() -> Iterator[None]:
    """Where programs are traced: without looks for garbage in the meantime.

    Tracing makes so many objects that Python would look through all there are, of JAX and of the
    user, again and again, for up to a tenth of the time that tracing and compiling take.
    """
    # Within another pause, of another thread perhaps, there is nothing to do, nor to undo.
    if not gc.isenabled() or not _PAUSE.acquire(blocking=False):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        _PAUSE.release()


def traceable(module: Any, sizes: bool = False) -> Any:
    """The module with its numbers as arrays, so that other numbers need no other compilation.

    Whole numbers are sizes, and stay as they are unless `sizes`. So do shapes of arrays that are
    still to come.
    """

    def convert(leaf):
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if isinstance(leaf, float) or (hasattr(leaf, "dtype") and leaf.dtype.kind == "f"):
            return jnp.asarray(leaf, jnp.float32)
        if sizes and isinstance(leaf, int) and not isinstance(leaf, bool):
            return jnp.asarray(leaf, jnp.int32)
        return leaf

    with np.errstate(over="ignore"):  # what float32 cannot hold serves the host only
        return jax.tree.map(convert, module)
