"""A decoder-only transformer: whole sequences for training, a cache for sampling."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.language.model import attention
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.layers import (
    Layer,
    Norm,
    Residual,
    floating_type,
    normal_parameter,
)
from collapse_jax.language.model.lora import LoRA, adapt
from collapse_jax.machines.model_mesh import DATA, MODEL, constrain

Params = Any  # an nnx.State, whose own type hints warn when they are checked at run time
Cache = tuple[tuple[Array, Array], ...]


class Decoder(nnx.Module):
    """A transformer of the families of `Architecture`: GPT-2, Llama, Mistral, Qwen, Gemma.

    Everything may be vmapped over parameters. The start is GPT-2's: normal weights, those that
    write into the residual stream smaller by `sqrt(2 * depth)`, zero biases, norms that do nothing.

    Args:
        architecture: what the decoder is made of.
        rngs: source of the random start.
        dtype: type in which it computes (norms, softmax and logits are in float32 in any case).
        param_dtype: type of the parameters. With `dtype` bfloat16, float32 here keeps master
            weights, which small updates still change.
        remat: whether the backward pass computes a layer again instead of keeping what is inside.
        scan: whether the layers' parameters are stacked, and a loop runs over them. A deep model
            compiles several times faster, a small one runs slower.
        init_std: standard deviation of the weights at the start.
        lora: low-rank changes of the weights, `nnx.LoRAParam`s beside them.

    Example:
        Split it once, and work with plain JAX on the parameters; merge where they are used:

        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> from collapse_jax.language.model.architecture import preset
        >>> from collapse_jax.language.model.decoder import Decoder
        >>> graphdef, params = nnx.split(Decoder(preset("tiny"), rngs=nnx.Rngs(0)))
        >>> def logits(params, tokens):
        ...     model = nnx.merge(graphdef, params)
        ...     return model.logits(model.hidden(tokens))
        >>> jax.eval_shape(logits, params, jnp.zeros((8, 16), int)).shape
        (8, 16, 128)
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        rngs: nnx.Rngs,
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        remat: bool = False,
        scan: bool = False,
        init_std: float = 0.02,
        lora: LoRA | None = None,
    ):
        self.architecture = architecture
        self.dtype = floating_type("dtype", dtype)
        self.remat, self.scan = bool(remat), bool(scan)
        param_dtype = floating_type("param_dtype", param_dtype)
        std = checks.positive_number("init_std", init_std)
        table = functools.partial(normal_parameter, std=std, param_dtype=param_dtype)
        rows = (architecture.vocab_size, architecture.width)
        self.tokens = table(rngs.params(), rows)
        learned = architecture.positions == "learned"
        places = (architecture.context, architecture.width)
        self.positions = table(rngs.params(), places) if learned else None

        def layer(key: Key[Array, ""]) -> Layer:
            made = Layer(architecture, key, std=std, dtype=self.dtype, param_dtype=param_dtype)
            if lora is not None:
                adapt(made, architecture, lora, key)
            return made

        self.layers: Any
        keys = jax.random.split(rngs.params(), architecture.depth)
        if scan:
            graphdef, _ = nnx.split(nnx.eval_shape(lambda: layer(keys[0])))
            stacked = jax.vmap(lambda key: nnx.split(layer(key))[1])(keys)
            self.layers = nnx.merge(graphdef, stacked)
        else:
            self.layers = nnx.List([layer(key) for key in keys])
        self.norm = Norm(architecture, self.dtype, param_dtype)
        self.head = None if architecture.tied_head else table(rngs.params(), rows)

    def hidden(self, tokens: Int[Array, "batch time"]) -> Float[Array, "batch time width"]:
        """The last hidden states, normalised: what `logits` turns into scores.

        Padding belongs at the end of a row, where no earlier token sees it.

        Raises:
            ValueError: for sequences longer than the context.
        """
        self._check_length("tokens must have at most as many columns as", tokens.shape[1])
        positions = jnp.arange(tokens.shape[1])
        x, rotations = self._embed(tokens, positions), self._rotations(positions)
        if not self.scan:
            for layer, window in zip(self.layers, self.architecture.windows, strict=True):
                graphdef, state = nnx.split(layer)
                apply = _applied(graphdef, self._pick(rotations, window is not None), window)
                x = (jax.checkpoint(apply) if self.remat else apply)(x, state)
            return self.norm(x)

        graphdef, stacked = nnx.split(self.layers)

        def body(x: Array, scanned: tuple[Any, Any, Any]) -> tuple[Array, None]:
            state, window, local = scanned
            return _applied(graphdef, self._pick(rotations, local), window)(x, state), None

        if self.remat:
            body = jax.checkpoint(body, prevent_cse=False)
        x, _ = lax.scan(body, x, (stacked, *self._scanned_windows()))
        return self.norm(x)

    def logits(self, hidden: Residual) -> Float[Array, "*batch vocab"]:
        """Scores of the next token, in float32; any part of a sequence may be given."""
        table = (self.tokens if self.head is None else self.head)[...].astype(self.dtype)
        scores = jnp.einsum("...w,vw->...v", hidden, table, preferred_element_type=jnp.float32)
        return attention.soft_cap(scores, self.architecture.final_cap)

    def init_cache(self, batch: int, length: int) -> Cache:
        """An empty cache for `length` tokens.

        Returns:
            keys and values `[batch, kv_head, time, head_dim]` for each layer; with `scan`
            one pair for all, with a leading axis of layers.

        Raises:
            ValueError: for a length beyond the context.
        """
        self._check_length("length must be at most", length)
        arch = self.architecture
        shape, axes = (batch, arch.kv_heads, length, arch.head_dim), (DATA, MODEL)
        if self.scan:
            shape = (arch.depth, *shape)
            axes = (None, DATA, MODEL)
        empty = constrain(jnp.zeros(shape, self.dtype), *axes)
        return ((empty, empty),) * (1 if self.scan else arch.depth)

    def read(self, tokens: Int[Array, "batch time"]) -> Cache:
        """The cache after whole sequences: keys and values of all their tokens.

        Raises:
            ValueError: for sequences longer than the context.
        """
        self._check_length("tokens must have at most as many columns as", tokens.shape[1])
        positions = jnp.arange(tokens.shape[1])
        x, rotations = self._embed(tokens, positions), self._rotations(positions)
        if not self.scan:
            kept = []
            for layer, window in zip(self.layers, self.architecture.windows, strict=True):
                x, own = layer.read(x, self._pick(rotations, window is not None), window)
                kept.append(jax.tree.map(attention.as_cache, own))
            return tuple(kept)

        graphdef, stacked = nnx.split(self.layers)

        def body(x: Array, scanned: tuple[Any, Any, Any]) -> tuple[Array, tuple[Array, Array]]:
            state, window, local = scanned
            return nnx.merge(graphdef, state).read(x, self._pick(rotations, local), window)

        _, kept = lax.scan(body, x, (stacked, *self._scanned_windows()))
        return (jax.tree.map(attention.as_cache, kept),)

    def step(
        self,
        token: Int[Array, " batch"],
        place: attention.Place | Int[Array, ""],
        cache: Cache,
    ) -> tuple[Float[Array, "batch vocab"], Cache]:
        """Read one token of each row and score the next one.

        Args:
            token: the tokens at the place.
            place: in the rows and in the cache; a position where all rows are at the same. It must
                be within the cache; `grow_cache` makes room.
            cache: keys and values of all positions before.

        Returns:
            logits in float32, and the cache with the place filled.
        """
        if not isinstance(place, attention.Place):
            place = attention.Place(place, place)
        x, rotations = self._embed(token, place.position), self._rotations(place.position)
        if not self.scan:
            filled = []
            for layer, window, kept in zip(
                self.layers, self.architecture.windows, cache, strict=True
            ):
                rotation = self._pick(rotations, window is not None)
                x, grown = layer.step(x, rotation, window, place, kept)
                filled.append(grown)
            return self.logits(self.norm(x)), tuple(filled)

        graphdef, stacked = nnx.split(self.layers)

        # The cache is carried: as a scanned input it would be copied whole at every step.
        def body(
            carry: tuple[Array, tuple[Array, Array]], scanned: tuple[Any, Any, Any, Array]
        ) -> tuple[tuple[Array, tuple[Array, Array]], None]:
            x, kept = carry
            state, window, local, index = scanned
            layer = nnx.merge(graphdef, state)
            rotation = self._pick(rotations, local)
            return layer.step(x, rotation, window, place, kept, index), None

        index = jnp.arange(self.architecture.depth)
        scanned = (stacked, *self._scanned_windows(), index)
        (x, kept), _ = lax.scan(body, (x, cache[0]), scanned)
        return self.logits(self.norm(x)), (kept,)

    def _embed(self, tokens: Int[Array, "*batch"], positions: Int[Array, "*time"]) -> Residual:
        x = self.tokens[...][tokens].astype(self.dtype)
        if self.architecture.scale_embedding:
            x = x * jnp.asarray(self.architecture.width**0.5, self.dtype)
        if self.positions is not None:
            x = x + self.positions[...][positions].astype(self.dtype)
        return constrain(x, DATA)

    def _rotations(self, positions: Int[Array, "*time"]) -> attention.Rotation | None:
        """Rotations of layers without a window and, where they differ, of those with one."""
        arch = self.architecture
        if arch.positions == "learned":
            return None
        steps = attention.frequencies(arch.head_dim, arch.rope_theta, arch.rope_scaling)
        if arch.local_rope_theta is not None:
            local = attention.frequencies(arch.head_dim, arch.local_rope_theta)
            steps = np.stack([steps, local])
        return attention.rotation(positions, steps)

    def _pick(self, rotations: attention.Rotation | None, local: Any) -> attention.Rotation | None:
        """The rotation of a layer, which has a window or not."""
        if rotations is None or self.architecture.local_rope_theta is None:
            return rotations
        index = local if isinstance(local, jax.Array) else int(bool(local))
        return rotations[0][index], rotations[1][index]

    def _scanned_windows(self) -> tuple[Int[Array, " depth"] | None, Int[Array, " depth"] | None]:
        """For each layer its window, the context where it has none, and whether it has one."""
        windows = self.architecture.windows
        if all(window is None for window in windows):
            return None, None
        local = jnp.asarray([int(window is not None) for window in windows])
        return jnp.asarray([window or self.architecture.context for window in windows]), local

    def _check_length(self, rule: str, length: int) -> None:
        if length > self.architecture.context:
            raise ValueError(f"{rule} the context of {self.architecture.context}, got {length}")


def grow_cache(cache: Cache, length: int) -> Cache:
    """The same cache with room for `length` tokens.

    Few growths at fixed lengths are cheaper than a cache that is as long as the longest document
    from the start, since every step reads all of it.
    """

    def grow(old: Array) -> Array:
        room = length - old.shape[-2]
        if room < 0:
            raise ValueError(f"length must be at least the cache's {old.shape[-2]}, got {length}")
        return jnp.pad(old, [(0, 0)] * (old.ndim - 2) + [(0, room), (0, 0)])

    return jax.tree.map(grow, cache)


def stack_layers(params: Params) -> Params:
    """Parameters of a decoder with `scan` from those of one without."""
    layers: dict[tuple, dict[Any, Array]] = {}
    rest = {}
    for path, leaf in nnx.to_flat_state(params):
        if path[0] == "layers":
            layers.setdefault(("layers", *path[2:]), {})[path[1]] = leaf[...]
        else:
            rest[path] = leaf
    for path, parts in layers.items():
        rest[path] = nnx.Param(jnp.stack([parts[index] for index in sorted(parts)]))
    return nnx.from_flat_state(rest)


def unstack_layers(params: Params) -> Params:
    """Parameters of a decoder without `scan` from those of one with it."""
    flat = {}
    for path, leaf in nnx.to_flat_state(params):
        if path[0] == "layers":
            for index, part in enumerate(leaf[...]):
                flat["layers", index, *path[1:]] = nnx.Param(part)
        else:
            flat[path] = leaf
    return nnx.from_flat_state(flat)


def _applied(graphdef: Any, rotation: attention.Rotation | None, window: Any) -> Any:
    """A layer as a function of its input and its parameters."""
    return lambda x, state: constrain(nnx.merge(graphdef, state)(x, rotation, window), DATA)
