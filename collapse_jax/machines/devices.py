"""Which devices share the work, and how many chains they take at a time."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

AXIS = "seed"


def use_all_cores(n_cores: int | None = None) -> None:
    """Give this process one JAX CPU device per core, over which `simulate` splits the seeds.

    Call it once, before the first JAX computation; it has no effect on GPUs and TPUs. A program on
    one CPU device uses about one core, because the arrays of small chains are too small to share.

    Args:
        n_cores: number of devices, default the cores that this process may use.

    Raises:
        RuntimeError: when JAX's backends are already in use with another number of devices.
    """
    if n_cores is None:
        n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        n_cores = n_cores or os.cpu_count() or 1
    if jax.config.jax_num_cpu_devices == n_cores:  # pyright: ignore
        return
    jax.config.update("jax_num_cpu_devices", n_cores)


def keep_compiled_programs() -> None:
    """Keep compiled programs in the user's cache folder, so that another process need not wait.

    For scripts and notebooks; the command line does so. Programs depend on sizes and the machine,
    not on seeds or numbers such as a bandwidth. Whoever has set up JAX's compilation cache, or
    switched it off, keeps what they chose; where the folder cannot be written to, nothing is kept.

    Example:
        >>> import collapse_jax as cj
        >>> cj.keep_compiled_programs()  # once, before the first computation
    """
    chosen = jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache  # pyright: ignore
    if not chosen:
        try:
            home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            folder = home / "collapse_jax"
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except (OSError, RuntimeError):  # a home that is missing, or may only be read
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def seed_mesh(devices: Sequence[Any] | None) -> Mesh:
    """A mesh with one axis, over which seeds are split; default all devices of this process."""
    chosen = jax.local_devices() if devices is None else list(devices)
    if not chosen:
        raise ValueError("devices must not be empty")
    here = jax.process_index()
    for device in chosen:
        if device.process_index != here:
            raise ValueError(f"devices must be of this process, {here}, got {device}")
    return Mesh(np.array(chosen), (AXIS,))


def default_memory_limit(mesh: Mesh) -> int:
    """Bytes that the pools of one batch may take: half of what the devices, or the host, have."""
    statistics = [device.memory_stats() for device in mesh.local_devices]
    limits = [s["bytes_limit"] for s in statistics if s and "bytes_limit" in s]
    if limits and len(limits) == len(statistics):
        return sum(limits) * mesh.size // len(limits) // 2
    return host_memory() // 2


def host_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_in_use() -> int:
    """Bytes of memory that this process takes now, or, where it does not say, took at most."""
    try:
        with open("/proc/self/statm", "rb") as pages:
            return os.sysconf("SC_PAGE_SIZE") * int(pages.read().split()[1])
    except OSError:  # not Linux
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# A batch's arrays should fit a core's cache, but a batch should not be so narrow that starting an
# operation costs more than running it. Measured on a CPU with 1 MiB of second-level cache.
_CACHE_BYTES = 2**21
_NARROWEST, _WIDEST = 32, 16384
# Pools of rows are larger; those of a batch should fit what cores share of the third level.
# Measured with 32 MiB for two cores: 10 to 15 % faster than batches of 512 MiB.
_POOL_BYTES = 2**25


def batch_width(
    n_seeds: int,
    mesh: Mesh,
    *,
    pool_bytes: int,
    scratch_bytes: int,
    memory_limit: int,
    kept_bytes: int = 0,
) -> int:
    """How many chains run at a time, a multiple of the number of devices.

    Args:
        n_seeds: number of chains in all.
        mesh: the devices.
        pool_bytes: size of one chain's pool.
        scratch_bytes: size of the largest array that one chain works on.
        memory_limit: bytes that pools and such arrays may take.
        kept_bytes: what the host keeps of one chain until its batch is done, for which there is a
            quarter of its memory.

    Returns:
        a width that respects the limit and, on CPUs, the cache; balanced, so that the last
        batch is about as full as the others.
    """
    most = memory_limit // ((pool_bytes + scratch_bytes) * mesh.size)
    most = min(most, host_memory() // 4 // max(kept_bytes * mesh.size, 1))
    if mesh.devices.flat[0].platform == "cpu":
        most = min(most, max(_NARROWEST, min(_WIDEST, _CACHE_BYTES // scratch_bytes)))
        most = min(most, max(2, _POOL_BYTES // pool_bytes))
    per_device = -(-n_seeds // mesh.size)
    n_batches = -(-per_device // max(most, 1))
    return -(-per_device // n_batches) * mesh.size
