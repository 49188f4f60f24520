"""The memory that the training of a language model needs."""

import jax
import jax.numpy as jnp

from collapse_jax.language.learning import AbstractDecoding


def bytes_held(task: AbstractDecoding) -> dict[str, int]:
    """What training holds of each number that is trained."""
    size = jnp.dtype(task.param_dtype).itemsize if task.lora is None else 4
    held = {"parameters": size, "gradients": size, "moments": 2 * size}
    if task.optimizer.micro_batch < task.optimizer.batch_size:
        held["sum of gradients"] = 4
    return held


def explain_memory(task: AbstractDecoding) -> str:
    """What training needs, in words."""
    n, held = task.n_trained, bytes_held(task)
    parts = " + ".join(f"{size} ({name})" for name, size in held.items())
    shared = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(task.loaded))
    once = f", and {shared / 1e9:.2f} GB for the checkpoint" if shared else ""
    advice = "" if task.lora is not None else ", or lora with a checkpoint"
    return (
        f"training needs {n:,} parameters x ({parts}) bytes = {n * sum(held.values()) / 1e9:.2f} "
        f"GB{once}; use param_dtype='bfloat16'{advice}, or split the model over more devices (mesh)"
    )
