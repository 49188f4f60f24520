"""The layers of a decoder: norms, linear maps, attention and MLP.

Parameters are cast to the type in which a layer computes each time they are used; norms are
computed in float32. The axes of the kernels are those along which large models are split: key and
value heads, the inner width of the MLP, the residual stream.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.language.model import attention
from collapse_jax.language.model.architecture import Architecture

Window = int | Int[Array, ""] | None
Residual = Float[Array, "*batch width"]

_ACTIVATIONS = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
}


def floating_type(name: str, dtype: Any) -> jnp.dtype:
    """`dtype` as one of the types in which parameters and activations may be."""
    try:
        known = jnp.dtype(dtype).name
    except TypeError:
        known = str(dtype)
    return jnp.dtype(checks.one_of(name, known, ("float32", "bfloat16", "float16")))


def normal_parameter(
    key: Key[Array, ""], shape: tuple[int, ...], std: float, param_dtype: jnp.dtype
) -> nnx.Param:
    """A parameter that starts as normal draws, made in float32 whatever its type."""
    return nnx.Param((std * jax.random.normal(key, shape, jnp.float32)).astype(param_dtype))


class Linear(nnx.Module):
    """A linear map from the last axes of its input to new ones, `kernel` being `[*in, *out]`."""

    def __init__(
        self,
        key: Key[Array, ""],
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        *,
        bias: bool,
        std: float,
        dtype: jnp.dtype,
        param_dtype: jnp.dtype,
    ):
        self.kernel = normal_parameter(key, inputs + outputs, std, param_dtype)
        self.bias = nnx.Param(jnp.zeros(outputs, param_dtype)) if bias else None
        self.n_inputs, self.dtype = len(inputs), dtype
        self.adapter: Any = nnx.data(None)  # see `lora.adapt`

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        y = jnp.tensordot(x, self.kernel[...].astype(self.dtype), axes=self.n_inputs)
        if self.bias is not None:
            y = y + self.bias[...].astype(self.dtype)
        return y if self.adapter is None else y + self.adapter(x)


class Norm(nnx.Module):
    """LayerNorm or RMSNorm of the last axis, in float32."""

    def __init__(
        self,
        architecture: Architecture,
        dtype: jnp.dtype,
        param_dtype: jnp.dtype,
        size: int | None = None,
    ):
        size = architecture.width if size is None else size
        self.centred = architecture.norm == "layer"
        self.eps = architecture.norm_eps
        self.offset = 1.0 if architecture.unit_offset else 0.0
        self.dtype = dtype
        self.scale = nnx.Param(jnp.full(size, 1.0 - self.offset, param_dtype))
        self.bias = nnx.Param(jnp.zeros(size, param_dtype)) if self.centred else None

    def __call__(self, x: Residual) -> Residual:
        x = x.astype(jnp.float32)
        if self.centred:
            x = x - jnp.mean(x, axis=-1, keepdims=True)
        x = x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.eps)
        x = x * (self.scale[...].astype(jnp.float32) + self.offset)
        if self.bias is not None:
            x = x + self.bias[...].astype(jnp.float32)
        return x.astype(self.dtype)


class Attention(nnx.Module):
    """Causal self-attention.

    The kernel `qkv` is `[width, kv_heads, groups + 2, head_dim]`: for each key and value head its
    queries, then the key, then the value, so that one product makes all of them.
    """

    def __init__(
        self,
        architecture: Architecture,
        key: Key[Array, ""],
        *,
        std: float,
        dtype: jnp.dtype,
        param_dtype: jnp.dtype,
    ):
        heads = (architecture.kv_heads, architecture.groups)
        types = {"dtype": dtype, "param_dtype": param_dtype}
        first, second = jax.random.split(key)
        qkv = (heads[0], heads[1] + 2, architecture.head_dim)
        biased = architecture.attention_bias
        self.qkv = Linear(first, (architecture.width,), qkv, bias=biased, std=std, **types)
        out = (*heads, architecture.head_dim)
        out_std = std / math.sqrt(2 * architecture.depth)
        biased = bool(architecture.out_bias)
        self.out = Linear(second, out, (architecture.width,), bias=biased, std=out_std, **types)
        norm = functools.partial(Norm, architecture, **types, size=architecture.head_dim)
        self.query_norm = norm() if architecture.qk_norm else None
        self.key_norm = norm() if architecture.qk_norm else None
        self.groups = architecture.groups
        self.scale = architecture.query_scalar**-0.5
        self.cap = architecture.attention_cap

    def __call__(
        self,
        x: Float[Array, "batch time width"],
        rotation: attention.Rotation | None,
        window: Window,
    ) -> Float[Array, "batch time width"]:
        return self.read(x, rotation, window)[0]

    def read(
        self,
        x: Float[Array, "batch time width"],
        rotation: attention.Rotation | None,
        window: Window,
    ) -> tuple[Float[Array, "batch time width"], tuple[Array, Array]]:
        """Attention of whole sequences, and their keys and values, as a cache."""
        queries, keys, values = self._project(x, rotation)
        mixed = attention.attend(
            queries, keys, values, scale=self.scale, cap=self.cap, window=window
        )
        return self.out(mixed), (keys, values)

    def step(
        self,
        x: Float[Array, "batch width"],
        rotation: attention.Rotation | None,
        window: Window,
        place: attention.Place,
        cache: tuple[Array, Array],
        index: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch width"], tuple[Array, Array]]:
        """Attention of one token, whose key and value are put into the cache.

        With `index` the cache has a leading axis of layers, and this is the layer to use.
        """
        queries, key, value = self._project(x, rotation)
        keys = attention.write_cache(cache[0], key, place.column, index)
        values = attention.write_cache(cache[1], value, place.column, index)
        mixed = attention.attend_cached(
            queries,
            attention.read_cache(keys, index),
            attention.read_cache(values, index),
            place,
            scale=self.scale,
            cap=self.cap,
            window=window,
        )
        return self.out(mixed), (keys, values)

    def _project(
        self, x: Residual, rotation: attention.Rotation | None
    ) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
        qkv = self.qkv(x)
        turning, values = qkv[..., : self.groups + 1, :], qkv[..., self.groups + 1, :]
        if self.query_norm is not None and self.key_norm is not None:
            parts = turning[..., : self.groups, :], turning[..., self.groups :, :]
            normed = self.query_norm(parts[0]), self.key_norm(parts[1])
            turning = jnp.concatenate(normed, axis=-2)
        if rotation is not None:
            turning = attention.rotate(turning, *(part[..., None, None, :] for part in rotation))
        return turning[..., : self.groups, :], turning[..., self.groups, :], values


class MLP(nnx.Module):
    """The MLP of a layer; the kernel `up` is `[width, 1, mlp_width]`, gated `[width, 2, ...]`."""

    def __init__(
        self,
        architecture: Architecture,
        key: Key[Array, ""],
        *,
        std: float,
        dtype: jnp.dtype,
        param_dtype: jnp.dtype,
    ):
        linear = functools.partial(
            Linear, bias=architecture.mlp_bias, dtype=dtype, param_dtype=param_dtype
        )
        first, second = jax.random.split(key)
        width, inner = (architecture.width,), (architecture.mlp_width,)
        self.up = linear(first, width, (2 if architecture.gated else 1, *inner), std=std)
        self.down = linear(second, inner, width, std=std / math.sqrt(2 * architecture.depth))
        self.gated, self.activation = architecture.gated, architecture.activation

    def __call__(self, x: Residual) -> Residual:
        # With rows and time as one axis the gradient of GPT-2's MLP takes half as long on CPUs.
        inner = self.up(x.reshape(-1, x.shape[-1]))
        first = _ACTIVATIONS[self.activation](inner[..., 0, :])
        return self.down(first * inner[..., 1, :] if self.gated else first).reshape(x.shape)


class Layer(nnx.Module):
    """Attention and an MLP, each normalised before, perhaps after, and added to its input."""

    def __init__(
        self,
        architecture: Architecture,
        key: Key[Array, ""],
        *,
        std: float,
        dtype: jnp.dtype,
        param_dtype: jnp.dtype,
    ):
        types = {"dtype": dtype, "param_dtype": param_dtype}
        first, second = jax.random.split(key)
        norm = functools.partial(Norm, architecture, **types)
        self.attention_norm = norm()
        self.attention = Attention(architecture, first, std=std, **types)
        self.mlp_norm = norm()
        self.mlp = MLP(architecture, second, std=std, **types)
        self.attention_post_norm = norm() if architecture.post_norms else None
        self.mlp_post_norm = norm() if architecture.post_norms else None

    def __call__(
        self,
        x: Float[Array, "batch time width"],
        rotation: attention.Rotation | None,
        window: Window,
    ) -> Float[Array, "batch time width"]:
        return self._finish(x, self.attention(self.attention_norm(x), rotation, window))

    def read(
        self,
        x: Float[Array, "batch time width"],
        rotation: attention.Rotation | None,
        window: Window,
    ) -> tuple[Float[Array, "batch time width"], tuple[Array, Array]]:
        """The layer applied to whole sequences; see `Attention.read`."""
        mixed, kept = self.attention.read(self.attention_norm(x), rotation, window)
        return self._finish(x, mixed), kept

    def step(
        self,
        x: Float[Array, "batch width"],
        rotation: attention.Rotation | None,
        window: Window,
        place: attention.Place,
        cache: tuple[Array, Array],
        index: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch width"], tuple[Array, Array]]:
        """The layer applied to one token; see `Attention.step`."""
        normed = self.attention_norm(x)
        mixed, cache = self.attention.step(normed, rotation, window, place, cache, index)
        return self._finish(x, mixed), cache

    def _finish(self, x: Residual, mixed: Residual) -> Residual:
        x = x + (mixed if self.attention_post_norm is None else self.attention_post_norm(mixed))
        y = self.mlp(self.mlp_norm(x))
        return x + (y if self.mlp_post_norm is None else self.mlp_post_norm(y))
