"""Which tensor of a Hugging Face checkpoint is which part of a decoder's parameters.

One list of places serves both directions: a place is a view of the parameters' arrays, from which
a tensor is made, or into which it is put.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Decoder, Params
from collapse_jax.machines import hosts

Path = tuple[Any, ...]
Arrays = dict[Path, np.ndarray]

_PREFIXES = {"gpt2": "transformer."}  # that of all others is "model."
HEAD = "lm_head.weight"


class Place(NamedTuple):
    """Where a tensor's numbers are among the parameters.

    - `name`: the tensor's name in the checkpoint, without the prefix of the family.
    - `view`: the part of an array that it is, `[*rows, *columns]` after a permutation of axes.
    - `rows`: how many of the axes are the tensor's rows; all of them for a vector.
    - `transposed`: whether the checkpoint has the columns first.
    """

    name: str
    view: np.ndarray
    rows: int
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor in the checkpoint."""
        rows, columns = self.view.shape[: self.rows], self.view.shape[self.rows :]
        if not columns:
            return (math.prod(rows),)
        sides = math.prod(rows), math.prod(columns)
        return sides[::-1] if self.transposed else sides

    def read(self) -> np.ndarray:
        """The tensor, from the parameters."""
        if self.transposed:
            return np.ascontiguousarray(self.view.reshape(self.shape[::-1]).T)
        return np.ascontiguousarray(self.view.reshape(self.shape))

    def write(self, tensor: np.ndarray) -> None:
        """Put the tensor among the parameters."""
        self.view[...] = (tensor.T if self.transposed else tensor).reshape(self.view.shape)


def abstract_params(architecture: Architecture, *, scan: bool = False) -> Any:
    """Graph and parameters of a decoder, of which only the shapes are known."""
    return nnx.split(nnx.eval_shape(lambda: Decoder(architecture, rngs=nnx.Rngs(0), scan=scan)))


def allocate(architecture: Architecture, dtype: np.dtype, *, scan: bool) -> Arrays:
    """Arrays on the host for all parameters, by their path."""
    _, params = abstract_params(architecture, scan=scan)
    flat = nnx.to_flat_state(params)
    return {path: np.empty(leaf.shape, dtype) for path, leaf in flat}


def host_arrays(params: Params) -> Arrays:
    """All parameters on the host, by their path; see `hosts.on_host`."""
    return {path: hosts.on_host(leaf[...]) for path, leaf in nnx.to_flat_state(params)}


def as_params(arrays: Mapping[Path, np.ndarray]) -> Params:
    """Parameters of a decoder from arrays by path."""
    return nnx.from_flat_state({path: nnx.Param(array) for path, array in arrays.items()})


def prefix(architecture: Architecture, names: Iterable[str]) -> str:
    """What the names of a checkpoint's tensors begin with.

    GPT-2's own checkpoint, and models saved without a head, have no prefix.
    """
    usual = usual_prefix(architecture)
    return usual if any(name.startswith(usual) for name in names) else ""


def usual_prefix(architecture: Architecture) -> str:
    """What the names begin with when transformers writes them."""
    return _PREFIXES.get(architecture.family, "model.")


def embedding(architecture: Architecture, names: Iterable[str]) -> str:
    """The name of the table of tokens in a checkpoint that has tensors of these names."""
    return prefix(architecture, names) + _embedding(architecture)


def _embedding(architecture: Architecture) -> str:
    return "wte.weight" if architecture.family == "gpt2" else "embed_tokens.weight"


def places(architecture: Architecture, arrays: Arrays) -> Iterator[Place]:
    """The place of every tensor of a checkpoint, for layers that are stacked or not."""
    gpt2 = architecture.family == "gpt2"
    yield Place(_embedding(architecture), arrays["tokens",], 1, False)
    for layer in range(architecture.depth):
        of_layer = _gpt2_layer if gpt2 else _rotary_layer
        start = f"h.{layer}." if gpt2 else f"layers.{layer}."
        for place in of_layer(architecture, layer_arrays(arrays, layer)):
            yield place._replace(name=start + place.name)
    if gpt2:
        yield Place("wpe.weight", arrays["positions",], 1, False)
        yield Place("ln_f.bias", arrays["norm", "bias"], 1, False)
    yield Place("ln_f.weight" if gpt2 else "norm.weight", arrays["norm", "scale"], 1, False)
    if not architecture.tied_head:
        yield Place(HEAD, arrays["head",], 1, False)


def layer_arrays(arrays: Arrays, layer: int) -> Arrays:
    """Those of one layer, of layers that are stacked or not."""
    if any(path[0] == "layers" and not isinstance(path[1], int) for path in arrays):
        return {path[1:]: array[layer] for path, array in arrays.items() if path[0] == "layers"}
    return {path[2:]: array for path, array in arrays.items() if path[:2] == ("layers", layer)}


def _gpt2_layer(architecture: Architecture, layer: Arrays) -> Iterator[Place]:
    for theirs, ours in (("ln_1", "attention_norm"), ("ln_2", "mlp_norm")):
        yield Place(f"{theirs}.weight", layer[ours, "scale"], 1, False)
        yield Place(f"{theirs}.bias", layer[ours, "bias"], 1, False)
    # GPT-2 has all queries first, then all keys, then all values.
    qkv, bias = layer["attention", "qkv", "kernel"], layer["attention", "qkv", "bias"]
    yield Place("attn.c_attn.weight", qkv.transpose(0, 2, 1, 3), 1, False)
    yield Place("attn.c_attn.bias", bias.transpose(1, 0, 2), 3, False)
    yield Place("attn.c_proj.weight", layer["attention", "out", "kernel"], 3, False)
    yield Place("attn.c_proj.bias", layer["attention", "out", "bias"], 1, False)
    yield Place("mlp.c_fc.weight", layer["mlp", "up", "kernel"][:, 0], 1, False)
    yield Place("mlp.c_fc.bias", layer["mlp", "up", "bias"][0], 1, False)
    yield Place("mlp.c_proj.weight", layer["mlp", "down", "kernel"], 1, False)
    yield Place("mlp.c_proj.bias", layer["mlp", "down", "bias"], 1, False)


def _rotary_layer(architecture: Architecture, layer: Arrays) -> Iterator[Place]:
    norms = {"input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"}
    if architecture.post_norms:
        norms = {
            "input_layernorm": "attention_norm",
            "post_attention_layernorm": "attention_post_norm",
            "pre_feedforward_layernorm": "mlp_norm",
            "post_feedforward_layernorm": "mlp_post_norm",
        }
    for theirs, ours in norms.items():
        yield Place(f"{theirs}.weight", layer[ours, "scale"], 1, False)
    groups = architecture.groups
    parts = {"q_proj": slice(0, groups), "k_proj": groups, "v_proj": groups + 1}
    kernel = layer["attention", "qkv", "kernel"]
    for name, part in parts.items():
        yield Place(f"self_attn.{name}.weight", kernel[:, :, part], 1, True)
    yield Place("self_attn.o_proj.weight", layer["attention", "out", "kernel"], 3, True)
    if architecture.qk_norm:
        for theirs, ours in (("q_norm", "query_norm"), ("k_norm", "key_norm")):
            scale = layer["attention", ours, "scale"]
            yield Place(f"self_attn.{theirs}.weight", scale, 1, False)
    if architecture.attention_bias:
        bias = layer["attention", "qkv", "bias"]
        for name, part in parts.items():
            view = bias[:, part]
            yield Place(f"self_attn.{name}.bias", view, view.ndim, False)
    if architecture.out_bias:
        yield Place("self_attn.o_proj.bias", layer["attention", "out", "bias"], 1, False)
    for index, name in enumerate(("gate_proj", "up_proj")):
        yield Place(f"mlp.{name}.weight", layer["mlp", "up", "kernel"][:, index], 1, True)
        if architecture.mlp_bias:
            yield Place(f"mlp.{name}.bias", layer["mlp", "up", "bias"][index], 1, False)
    yield Place("mlp.down_proj.weight", layer["mlp", "down", "kernel"], 1, True)
    if architecture.mlp_bias:
        yield Place("mlp.down_proj.bias", layer["mlp", "down", "bias"], 1, False)
