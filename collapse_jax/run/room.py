"""Where chains run, and how many of them at a time."""

import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from collapse_jax.loop.curation.checks import bytes_of_candidates
from collapse_jax.loop.form import Columns, Form
from collapse_jax.machines import model_mesh
from collapse_jax.machines.devices import batch_width, seed_mesh
from collapse_jax.run.needs import calls_lapack
from collapse_jax.tasks import AbstractTask
from collapse_jax.tasks.parts.comparison import Features


def placed(task: AbstractTask, mesh: Mesh) -> AbstractTask:
    """The task, its arrays on every device, or split over the mesh where models are."""
    arrays, others = eqx.partition(task, eqx.is_array)
    if model_mesh.splits_models(mesh):
        return eqx.combine(model_mesh.place(arrays, mesh), others)
    whole = NamedSharding(mesh, PartitionSpec())
    return eqx.combine(jax.device_put(arrays, whole), others)


def bytes_of(task: AbstractTask) -> int:
    """Bytes of the arrays of a task, which its chains share."""
    arrays = eqx.filter(task, lambda x: eqx.is_array(x) or isinstance(x, jax.ShapeDtypeStruct))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(arrays))


def find_mesh(task: AbstractTask, devices: Sequence[Any] | None, mesh: Any | None) -> Mesh:
    """The mesh over which seeds are split, or, as given, models."""
    if mesh is None:
        return seed_mesh(devices)
    if task.runner != "staged":
        raise ValueError(
            f"mesh splits language models; the seeds of a {type(task).__name__} are split over "
            "devices"
        )
    if devices is not None:
        raise ValueError("devices cannot be given together with a mesh, which has devices")
    return model_mesh.checked_mesh(mesh)


def safe_mesh(
    mesh: Mesh,
    task: AbstractTask,
    form: Form,
    names: Sequence[str],
    first: Columns,
    features: Features | None,
) -> Mesh:
    """The mesh, or one device of it where the user's code calls LAPACK on several CPU devices.

    It can hang there for ever (jaxlib 0.10). Chains are the same on one device. Code of this
    package does not call it, and is not looked through.
    """
    devices = mesh.devices.ravel()
    if len(devices) == 1 or devices[0].platform != "cpu" or model_mesh.splits_models(mesh):
        return mesh
    foreign = not type(task).__module__.startswith("collapse_jax.")
    if not (foreign or form.curation or features is not None):
        return mesh
    if not calls_lapack(task, form, names, first, features):
        return mesh
    warnings.warn(
        f"chains run on one of {len(devices)} CPU devices, since jax.numpy.linalg and "
        "jax.scipy.linalg, which the task or a function of the loop calls, can hang for ever on "
        "several",
        stacklevel=5,
    )
    return seed_mesh(devices[:1].tolist())


def width_of(
    task: AbstractTask,
    form: Form,
    mesh: Mesh,
    n_seeds: int,
    limit: int,
    pool_bytes: int,
    scratch_bytes: int,
    kept_bytes: int = 0,
) -> int:
    """How many chains run at a time.

    Raises:
        ValueError: where not even one chain per device fits into memory.
    """
    together = model_mesh.splits_models(mesh)
    candidates = bytes_of_candidates(form.curation, task, form.synthetic.width)
    scratch_bytes = max(scratch_bytes, candidates)
    n_chains = 1 if together else mesh.size
    shared = bytes_of(task) * n_chains
    needed = pool_bytes * mesh.size + scratch_bytes * n_chains + shared
    if needed > limit:
        raise ValueError(
            f"memory_limit of {limit:,} bytes must hold one chain per device, and {n_chains} "
            f"chain(s) of this run need {needed:,} bytes; {task.explain_memory(form.rows)}"
        )
    if together:
        return 1
    left = limit - shared
    return batch_width(
        *(n_seeds, mesh),
        pool_bytes=pool_bytes,
        scratch_bytes=scratch_bytes,
        memory_limit=left,
        kept_bytes=kept_bytes,
    )
