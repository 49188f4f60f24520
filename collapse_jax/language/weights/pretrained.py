"""The model from which fine-tuning starts, and models on disk with their tokenizers."""

import dataclasses
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from collapse_jax.basics.fingerprints import digest
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Params
from collapse_jax.language.model.lora import LoRA
from collapse_jax.language.tokenizers.base import AbstractTokenizer
from collapse_jax.language.weights import adapters, huggingface
from collapse_jax.language.weights.companions import companions_of, special_ids
from collapse_jax.language.weights.stored import read_json
from collapse_jax.machines.devices import host_memory
from collapse_jax.run.staged import Generation


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
        self.architecture = architecture
        _, self.params = adapters.load(source, param_dtype=param_dtype, scan=scan)

    @cached_property
    def fingerprint(self) -> str:
        """A short name of the model, by which a run remembers where it started."""
        numbers = (np.asarray(leaf) for leaf in jax.tree.leaves(self.params))
        return digest(np.frombuffer(_written(self.architecture).encode(), np.uint8), *numbers)


def _written(architecture: Architecture) -> str:
    """All settings but those that are as usual, so that a name outlasts new ones."""
    usual = {field.name: field.default for field in dataclasses.fields(architecture)}
    settings = dataclasses.asdict(architecture).items()
    return json.dumps({name: x for name, x in settings if x != usual[name]}, sort_keys=True)


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


def one_model(params: Params | Generation, seed: int | None) -> Params:
    """The parameters of one model, of a generation that a run has made.

    Raises:
        ValueError: where it does not say which, or names one that is not there.
    """
    if not isinstance(params, Generation):
        if seed is not None:
            raise ValueError(f"seed must be given with a generation of several models, got {seed}")
        return params
    seeds = params.seeds.tolist()
    if seed not in seeds and (seed is not None or len(set(seeds)) > 1):
        raise ValueError(f"seed must be one of {sorted(set(seeds))}, got {seed}")
    place = 0 if seed is None else seeds.index(seed)
    return jax.tree.map(lambda leaf: leaf[place], params.model)


def save(
    folder: str | Path,
    params: Params,
    architecture: Architecture,
    tokenizer: AbstractTokenizer | None,
    source: str | None,
) -> None:
    """Write a checkpoint that transformers can read, with the tokenizer in use.

    Args:
        folder: where to; it may be the source.
        params: of a `Decoder`.
        architecture: of a `Decoder`.
        tokenizer: what the model reads and writes. Default that of the source.
        source: the checkpoint it came from, if any, whose other settings go along.
    """
    came_from = None if source is None else adapters.base_of(source)
    like = {} if came_from is None else read_json(came_from / "config.json")
    entries = {} if tokenizer is None else special_ids(tokenizer, like)
    files = companions_of(tokenizer, came_from)
    huggingface.save(folder, architecture, params, entries=entries, like=like, files=files)


def save_changed(
    folder: str | Path,
    trained: Params,
    lora: LoRA,
    architecture: Architecture,
    tokenizer: AbstractTokenizer | None,
    source: str | None,
    base: Params | None,
) -> None:
    """Write a checkpoint of which changes were trained, or, without a base, these as PEFT does.

    Args:
        folder: where to.
        trained: the changes.
        lora: what they are.
        architecture: of a `Decoder`.
        tokenizer: what the model reads and writes. Default that of the source.
        source: the checkpoint that is changed.
        base: its parameters, if all of them are to be written.
    """
    if base is not None:
        whole = adapters.merge(architecture, lora, trained, base)
        return save(folder, whole, architecture, tokenizer, source)
    files = companions_of(tokenizer, adapters.base_of(str(source)))
    return adapters.save_changes(folder, architecture, lora, trained, str(source), files)
