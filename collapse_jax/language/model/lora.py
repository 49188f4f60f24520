"""Low-rank changes of a decoder's linear maps, which are trained while the weights stay."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from collapse_jax.basics import checks
from collapse_jax.language.model.architecture import Architecture


class LoRA(eqx.Module):
    """What of a checkpoint is trained: `alpha / rank * A B` is added to each weight matrix.

    `A` has `rank` columns, which start uniform within `1 / sqrt(inputs)`, and `B` as many rows,
    which start as zeros, so that training starts from the checkpoint exactly. Both are in float32.

    Args:
        rank: of the changes.
        alpha: the changes are multiplied by `alpha / rank`.
        targets: which matrices change: `"all"` of the layers, those of `"attention"`, or names
            that end theirs in transformers, such as `["q_proj", "v_proj"]`, of GPT-2 `["c_attn"]`.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        Hu et al. 2021, arXiv 2106.09685, section 4.1.

    Example:
        >>> import collapse_jax as cj
        >>> cj.LoRA(4, targets=["q_proj", "v_proj"]).scale
        4.0
    """

    rank: int = eqx.field(static=True)
    alpha: float = eqx.field(static=True)
    targets: str | tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self, rank: int = 8, *, alpha: float = 16.0, targets: str | list[str] | tuple = "all"
    ):
        self.rank = checks.whole_number("rank", rank)
        self.alpha = float(checks.positive_number("alpha", alpha))
        if not isinstance(targets, str | list | tuple):
            raise TypeError(f"targets must be a word or a list of names, got {targets!r}")
        self.targets = targets if isinstance(targets, str) else tuple(targets)

    @property
    def scale(self) -> float:
        """By what changes are multiplied."""
        return self.alpha / self.rank


class Part(NamedTuple):
    """A matrix of a layer, as transformers has it, within a linear map of the decoder."""

    module: str
    """Its name within a layer of a checkpoint."""
    where: tuple[str, str]
    """The linear map of a layer that it is in."""
    rows: slice | None
    """Which entries of the last axis but one of the outputs it makes; None for all outputs."""

    @property
    def name(self) -> str:
        """What tells it from the other matrices of its linear map."""
        return self.module.rpartition(".")[2]


def parts_of(architecture: Architecture) -> tuple[Part, ...]:
    """All matrices of a layer."""
    if architecture.family == "gpt2":
        return (
            Part("attn.c_attn", ("attention", "qkv"), None),
            Part("attn.c_proj", ("attention", "out"), None),
            Part("mlp.c_fc", ("mlp", "up"), None),
            Part("mlp.c_proj", ("mlp", "down"), None),
        )
    groups, qkv, up = architecture.groups, ("attention", "qkv"), ("mlp", "up")
    return (
        Part("self_attn.q_proj", qkv, slice(0, groups)),
        Part("self_attn.k_proj", qkv, slice(groups, groups + 1)),
        Part("self_attn.v_proj", qkv, slice(groups + 1, groups + 2)),
        Part("self_attn.o_proj", ("attention", "out"), None),
        Part("mlp.gate_proj", up, slice(0, 1)),
        Part("mlp.up_proj", up, slice(1, 2)),
        Part("mlp.down_proj", ("mlp", "down"), None),
    )


def changed_parts(architecture: Architecture, lora: LoRA) -> tuple[Part, ...]:
    """The matrices that change.

    Raises:
        ValueError: for a target that is no matrix of this architecture.
    """
    parts = parts_of(architecture)
    named = (lora.targets,) if isinstance(lora.targets, str) else lora.targets
    if named == ("all",):
        return parts
    if named == ("attention",):
        return tuple(part for part in parts if part.where[0] == "attention")
    names = {name for part in parts for name in (part.module, part.name)}
    for name in named or ("",):
        if name not in names:
            allowed = ", ".join(dict.fromkeys(part.name for part in parts))
            raise ValueError(
                f"targets must be 'all', 'attention' or among {allowed} for a model of the family "
                f"{architecture.family}, got {name!r}"
            )
    return tuple(part for part in parts if part.module in named or part.name in named)


class Factors(nnx.Module):
    """The change of one matrix: `a` is `[*in, rank]` and `b` `[rank, *out]`."""

    def __init__(
        self, key: Key[Array, ""], inputs: tuple[int, ...], outputs: tuple[int, ...], rank: int
    ):
        widest = 1.0 / math.sqrt(math.prod(inputs))
        shape = (*inputs, rank)
        self.a = nnx.LoRAParam(jax.random.uniform(key, shape, jnp.float32, -widest, widest))
        self.b = nnx.LoRAParam(jnp.zeros((rank, *outputs), jnp.float32))


class Adapter(nnx.Module):
    """The change of what a linear map makes."""

    def __init__(
        self,
        factors: Mapping[str, Factors],
        rows: tuple[slice | None, ...],
        linear: Any,
        scale: float,
    ):
        self.factors = nnx.Dict(factors)
        self.rows = tuple((name, where) for name, where in zip(factors, rows, strict=True))
        self.n_inputs, self.dtype, self.scale = linear.n_inputs, linear.dtype, scale
        self.height = linear.kernel.shape[-2]

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        first, *others = (self._of(name, where, x) for name, where in self.rows)
        return self.scale * sum(others, first)

    def _of(self, name: str, where: slice | None, x: Float[Array, "..."]) -> Float[Array, "..."]:
        factors = self.factors[name]
        a, b = (factor[...].astype(self.dtype) for factor in (factors.a, factors.b))
        made = jnp.tensordot(jnp.tensordot(x, a, axes=self.n_inputs), b, axes=1)
        if where is None:
            return made
        around = [(0, 0)] * (made.ndim - 2) + [(where.start, self.height - where.stop), (0, 0)]
        return jnp.pad(made, around)


def adapt(layer: Any, architecture: Architecture, lora: LoRA, key: Key[Array, ""]) -> None:
    """Give a layer of a decoder the changes that are trained."""
    found: dict[tuple[str, str], dict[str, tuple[Part, Factors]]] = {}
    for index, part in enumerate(changed_parts(architecture, lora)):
        linear = _linear(layer, part)
        shape = linear.kernel.shape
        inputs, outputs = shape[: linear.n_inputs], shape[linear.n_inputs :]
        if part.rows is not None:
            outputs = (*outputs[:-2], part.rows.stop - part.rows.start, outputs[-1])
        factors = Factors(jax.random.fold_in(key, index), inputs, outputs, lora.rank)
        found.setdefault(part.where, {})[part.name] = part, factors
    for made in found.values():
        parts = [part for part, _ in made.values()]
        linear = _linear(layer, parts[0])
        rows = tuple(part.rows for part in parts)
        factors = {name: factors for name, (_, factors) in made.items()}
        linear.adapter = Adapter(factors, rows, linear, lora.scale)


def _linear(layer: Any, part: Part) -> Any:
    return getattr(getattr(layer, part.where[0]), part.where[1])


def adapters_of(params: Any) -> Any:
    """The part of a decoder's parameters that is trained."""
    return nnx.split_state(params, nnx.LoRAParam, ...)[0]
