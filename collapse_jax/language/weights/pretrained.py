"""The model from which fine-tuning starts, and models on disk with their tokenizers."""

import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Params
from collapse_jax.language.tokenizers.base import AbstractTokenizer
from collapse_jax.language.weights import huggingface
from collapse_jax.machines.devices import host_memory


class Weights:
    """Parameters on the host, which a compiled program never sees: equal only to themselves.

    Raises:
        ValueError: for a checkpoint that the host could not hold, before it is read, and for what
            `huggingface.load` refuses.
    """

    def __init__(self, source: str, architecture: Architecture, param_dtype: str, *, scan: bool):
        n, size = architecture.n_parameters, jnp.dtype(param_dtype).itemsize
        if n * size > (memory := host_memory()):
            raise ValueError(
                f"checkpoint must fit into the {memory / 1e9:.1f} GB of this machine's memory, and "
                f"{n:,} parameters x {size} bytes are {n * size / 1e9:.1f} GB"
                + ("; use param_dtype='bfloat16'" if size > 2 else "")
            )
        _, self.params = huggingface.load(source, param_dtype=param_dtype, scan=scan)


def logits(
    graphdef: Any, params: Params, token_ids: Int[Any, "batch time"], vocab_size: int
) -> Float[Array, "batch time vocab"]:
    """Scores of a `Decoder`, in float32, for whole sequences.

    Raises:
        ValueError: for what is not `[batch, time]`, and for ids outside the vocabulary.
    """
    ids = np.asarray(token_ids)
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise ValueError(f"token_ids must be whole numbers [batch, time], got shape {ids.shape}")
    if ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise ValueError(
            f"token_ids must be between 0 and {vocab_size - 1}, got {ids.min()} to {ids.max()}"
        )

    @jax.jit
    def scores(params: Params, ids: Array) -> Array:
        model = nnx.merge(graphdef, params)
        return model.logits(model.hidden(ids))

    return scores(params, jnp.asarray(ids, jnp.int32))


def save(
    folder: str | Path,
    architecture: Architecture,
    params: Params,
    tokenizer: AbstractTokenizer | None,
    source: str | None,
) -> None:
    """Write a checkpoint that transformers can read, with the tokenizer of the one it came from.

    Args:
        folder: where to.
        architecture: of a `Decoder`.
        params: of a `Decoder`.
        tokenizer: whose first and last tokens of a document config.json names.
        source: the checkpoint whose tokenizer files belong to it, if any.
    """
    entries = {}
    if tokenizer is not None:
        entries = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    huggingface.save(folder, architecture, params, entries=entries)
    if source is not None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if (file := huggingface.find(source) / name).exists():
                shutil.copy(file, Path(folder) / name)
