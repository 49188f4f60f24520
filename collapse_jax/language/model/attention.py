"""Causal attention with grouped queries, sliding windows and soft caps, and rotary positions.

Query heads are kept as `[kv_head, group]`: the queries of a group share a key and a value.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from collapse_jax.language.model.architecture import RopeScaling
from collapse_jax.machines.model_mesh import DATA, MODEL, constrain

Rotation = tuple[Float[Array, "... half"], Float[Array, "... half"]]


class Place(NamedTuple):
    """Where in its row, and in the cache, a token is.

    The column is the same for all rows, so that the cache is written in one place. Where prompts
    are of different lengths, positions are not, and columns between the end of a prompt and what
    follows it hold nothing.
    """

    column: Int[Array, ""]
    position: Int[Array, "*batch"]
    """In the row, counted from BOS; a single one where all rows are at the same."""
    filled: Int[Array, "batch columns"] | None = None
    """The position of what is in each column, beyond any where it holds nothing; None where
    columns are positions."""


def frequencies(
    head_dim: int, theta: float, scaling: RopeScaling | None = None
) -> Float[np.ndarray, " half"]:
    """By how much each pair of a head's entries turns from one position to the next.

    Source:
        Su et al. 2021, arXiv 2104.09864, equation 15; the scaling of arXiv 2407.21783, as the
        published code has it.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    turns = np.float32(1.0) / np.float32(theta) ** exponents
    if scaling is None:
        return turns
    stretched = turns / np.float32(scaling.factor)
    if scaling.low is None or scaling.high is None or scaling.context is None:
        return stretched
    within = scaling.context * turns / np.float32(2 * np.pi)
    kept = np.clip((within - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0)
    return (kept * turns + (1.0 - kept) * stretched).astype(np.float32)


def rotation(
    positions: Int[Array, "*positions"], frequencies: Float[np.ndarray, "*kinds half"]
) -> Rotation:
    """Cosines and sines of the angles by which positions turn the pairs of a head's entries.

    Args:
        positions: of tokens.
        frequencies: from `frequencies`, for one kind of layers, or stacked for several.
    """
    first = (1,) * positions.ndim
    steps = frequencies.reshape(*frequencies.shape[:-1], *first, frequencies.shape[-1])
    angles = positions[..., None].astype(jnp.float32) * steps
    return jnp.cos(angles), jnp.sin(angles)


def rotate(
    x: Float[Array, "*batch head_dim"],
    cosines: Float[Array, "*#batch half"],
    sines: Float[Array, "*#batch half"],
) -> Float[Array, "*batch head_dim"]:
    """Turn queries or keys; entry `i` is paired with entry `i + head_dim / 2`."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = (first * cosines - second * sines, second * cosines + first * sines)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def soft_cap(scores: Float[Array, "*shape"], cap: float | None) -> Float[Array, "*shape"]:
    """Squash scores smoothly into (-cap, cap); source: Gemma 2, arXiv 2408.00118, section 2."""
    return scores if cap is None else cap * jnp.tanh(scores / cap)


def visible(
    query: Int[Array, "*queries"],
    key: Int[Array, "*#queries keys"],
    window: int | Int[Array, ""] | None,
) -> Bool[Array, "*queries keys"]:
    """Which positions a query sees: its own and earlier ones, the latest `window` of them."""
    distance = query[..., None] - key
    seen = distance >= 0
    return seen if window is None else seen & (distance < window)


def attend(
    queries: Float[Array, "batch time kv_heads groups head_dim"],
    keys: Float[Array, "batch time kv_heads head_dim"],
    values: Float[Array, "batch time kv_heads head_dim"],
    *,
    scale: float,
    cap: float | None,
    window: int | Int[Array, ""] | None,
) -> Float[Array, "batch time kv_heads groups head_dim"]:
    """Attention of a whole sequence to itself; scores and their softmax are in float32."""
    positions = jnp.arange(queries.shape[1])
    if cap is None:
        batch, time, kv_heads, groups, head_dim = queries.shape
        flat = queries.reshape(batch, time, kv_heads * groups, head_dim)
        mask = None if window is None else visible(positions, positions, window)[None, None]
        mixed = jax.nn.dot_product_attention(
            flat, keys, values, mask=mask, scale=scale, is_causal=window is None
        )
        return mixed.reshape(queries.shape)
    scores = _product("btkgd,bskd->bkgts", queries, keys)
    weights = _softmax(scores, scale, cap, visible(positions, positions, window))
    return jnp.einsum("bkgts,bskd->btkgd", weights.astype(values.dtype), values)


def write_cache(
    cache: Float[Array, "*layers batch kv_heads time head_dim"],
    new: Float[Array, "batch kv_heads head_dim"],
    position: Int[Array, ""],
    layer: Int[Array, ""] | None,
) -> Float[Array, "*layers batch kv_heads time head_dim"]:
    """The cache with new keys or values at a position, of one layer where there are several."""
    new, start = new[:, :, None], (0, 0, position, 0)
    if layer is not None:
        new, start = new[None], (layer, *start)
    return lax.dynamic_update_slice(cache, new, start)


def as_cache(
    part: Float[Array, "*layers batch time kv_heads head_dim"],
) -> Float[Array, "*layers batch kv_heads time head_dim"]:
    """Keys or values of whole sequences as a cache that is full."""
    return constrain(jnp.swapaxes(part, -3, -2), *(None,) * (part.ndim - 4), DATA, MODEL)


def read_cache(
    cache: Float[Array, "*layers batch kv_heads time head_dim"], layer: Int[Array, ""] | None
) -> Float[Array, "batch kv_heads time head_dim"]:
    """The part of a layer."""
    return cache if layer is None else lax.dynamic_index_in_dim(cache, layer, keepdims=False)


def attend_cached(
    queries: Float[Array, "batch kv_heads groups head_dim"],
    keys: Float[Array, "batch kv_heads time head_dim"],
    values: Float[Array, "batch kv_heads time head_dim"],
    place: Place,
    *,
    scale: float,
    cap: float | None,
    window: int | Int[Array, ""] | None,
) -> Float[Array, "batch kv_heads groups head_dim"]:
    """Attention of the token at a place to a cache, whose later entries are ignored."""
    scores = _product("bkgd,bksd->bkgs", queries, keys)
    if place.filled is None:
        seen = visible(place.position, jnp.arange(keys.shape[2]), window)
    else:
        seen = visible(place.position, place.filled, window)[:, None, None]
    weights = _softmax(scores, scale, cap, seen)
    return jnp.einsum("bkgs,bksd->bkgd", weights.astype(values.dtype), values)


def _product(equation: str, queries: Array, keys: Array) -> Array:
    return jnp.einsum(equation, queries, keys, preferred_element_type=jnp.float32)


def _softmax(scores: Array, scale: float, cap: float | None, seen: Array) -> Array:
    scores = jnp.where(seen, soft_cap(scores * scale, cap), jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores, axis=-1)
