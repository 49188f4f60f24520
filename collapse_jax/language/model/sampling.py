"""Sampling of documents from a decoder, one row each, with a cache."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.language.corpora.documents import (
    AnyDocuments,
    Documents,
    documents_of,
)
from collapse_jax.language.model.attention import Place
from collapse_jax.language.model.decoder import Cache, Decoder, Params, grow_cache
from collapse_jax.numerics.draws import to_uniform
from collapse_jax.numerics.threefry import words

# The cache's first length. It doubles from there, so that a step reads at most twice what it needs.
_SHORTEST_CACHE = 16
_NOWHERE = 2**30  # a position that no token sees


class Sampling(eqx.Module):
    """From which law the next token is drawn, given the model's scores.

    As in transformers, first the temperature acts, then `top_k`, then `top_p`.

    Args:
        temperature: scores are divided by it. Default 1, the model's own law; 0 takes the
            likeliest token.
        top_k: only so many of the likeliest tokens can be drawn. Default all.
        top_p: only the likeliest tokens that together have this probability can be drawn, the one
            that exceeds it included. Default all.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).
    """

    temperature: Any
    top_p: Any
    top_k: int | None = eqx.field(static=True)

    def __init__(
        self, temperature: float = 1.0, *, top_k: int | None = None, top_p: float | None = None
    ):
        self.temperature = checks.positive_number("temperature", temperature, zero_allowed=True)
        self.top_k = None if top_k is None else checks.whole_number("top_k", top_k)
        self.top_p = None if top_p is None else checks.positive_number("top_p", top_p)
        if top_p is not None and not checks.is_traced(top_p) and top_p > 1:
            raise ValueError(f"top_p must be at most 1, got {top_p}")

    def weights(self, scores: Float[Array, "batch vocab"]) -> Float[Array, "batch vocab"]:
        """Unnormalised probabilities of the next token, 1 for the likeliest.

        Example:
            >>> import jax.numpy as jnp
            >>> Sampling(top_k=2).weights(jnp.log(jnp.array([[1.0, 4.0, 2.0]]))).tolist()
            [[0.0, 1.0, 0.5]]
        """
        below = scores - jnp.max(scores, axis=-1, keepdims=True)
        # As the temperature falls to 0 only the greatest score keeps its weight.
        weights = jnp.exp(below / jnp.maximum(self.temperature, 1e-30))
        if self.top_k is not None and self.top_k < scores.shape[-1]:
            least = lax.top_k(weights, self.top_k)[0][:, -1:]
            weights = jnp.where(weights >= least, weights, 0.0)
        if self.top_p is not None:
            falling = -jnp.sort(-weights, axis=-1)
            above = jnp.cumsum(falling, axis=-1) - falling
            kept = above < self.top_p * jnp.sum(falling, axis=-1, keepdims=True)
            least = jnp.min(jnp.where(kept, falling, jnp.inf), axis=-1, keepdims=True)
            weights = jnp.where(weights >= least, weights, 0.0)
        return weights


class _Progress(NamedTuple):
    """Where the rows are. All have made as many steps, a number and no array of them."""

    steps: Int[Array, ""]
    token: Int[Array, " n"]
    tokens: Int[Array, "length n"]
    lengths: Int[Array, " n"]
    finished: Bool[Array, " n"]
    cache: Cache


def sample(
    graphdef: Any,
    params: Params,
    key: Key[Array, ""],
    n: int,
    length: int,
    *,
    bos_id: int,
    eos_id: int,
    possible: Bool[np.ndarray, " vocab"] | None = None,
    settings: Sampling | None = None,
    prompts: AnyDocuments | None = None,
    whole: int | None = None,
) -> tuple[Documents, Bool[Array, " n"]]:
    """`n` independent documents, each from BOS to EOS. Pure; can be vmapped over replicates.

    Stops when all rows have finished, under vmap those of all replicates. Prompts are read in one
    pass, whatever their lengths, and what follows them is drawn.

    Args:
        graphdef: a `Decoder`, split.
        params: a `Decoder`, split.
        key: the key of the draws; rows and positions have numbers of their own.
        n: number of documents.
        length: tokens of the longest document, or of what follows its prompt, EOS included; at most
            the decoder's context.
        bos_id: the token in front of a document.
        eos_id: the token at its end.
        possible: which entries of the vocabulary are tokens; others are never drawn. Default all.
        settings: from which law tokens are drawn. Default the model's.
        prompts: `n` beginnings of documents, without EOS. Default there are none.
        whole: the most tokens of a prompt and what follows it. Default the decoder's context.

    Returns:
        the documents, or what follows their prompts, zeros beyond their ends, and which of
        them have ended. The others have reached `length`, or `whole`, without EOS; they are no
        draws from the model's law of documents.

    Raises:
        ValueError: for a length beyond the context.
    """
    settings = Sampling() if settings is None else settings
    checks.whole_number("n", n)
    checks.whole_number("length", length)
    model: Decoder = nnx.merge(graphdef, params)
    if length > (context := model.architecture.context):
        raise ValueError(f"length must be at most the context of {context}, got {length}")
    uniforms = to_uniform(words(key, (length, 2, n)))
    most = min(context, context if whole is None else checks.whole_number("whole", whole))
    start = _Start(jnp.full(n, bos_id, jnp.int32), 0, (), None)
    start = start if prompts is None else _after(model, prompts, bos_id)

    def step(state: _Progress) -> _Progress:
        place = start.place(state)
        scores, cache = model.step(state.token, place, state.cache)
        scores = scores if possible is None else jnp.where(possible, scores, -jnp.inf)
        uniform = lax.dynamic_index_in_dim(uniforms, state.steps, keepdims=False)
        drawn = draw_index(settings.weights(scores), uniform)
        token = jnp.where(state.finished, 0, drawn)
        finished = state.finished | (drawn == eos_id)
        return _Progress(
            state.steps + 1,
            token,
            lax.dynamic_update_index_in_dim(state.tokens, token, state.steps, 0),
            state.lengths + ~state.finished,
            finished if prompts is None else finished | (place.position + 1 >= most),
            cache,
        )

    boundaries = [min(_SHORTEST_CACHE, length)]
    while boundaries[-1] < length:
        boundaries.append(min(2 * boundaries[-1], length))
    state = _Progress(
        jnp.zeros((), jnp.int32),
        start.token,
        jnp.zeros((length, n), jnp.int32),
        jnp.zeros(n, jnp.int32),
        jnp.zeros(n, bool),
        start.cache or model.init_cache(n, boundaries[0]),
    )
    for boundary in boundaries:
        state = state._replace(cache=grow_cache(state.cache, start.columns + boundary))

        def goes_on(state: _Progress, boundary: int = boundary) -> Array:
            return (state.steps < boundary) & _any_anywhere(~state.finished)

        state = lax.while_loop(goes_on, step, state)
    documents = Documents(state.tokens.T, state.lengths)
    if prompts is None:
        return documents, state.finished
    last = jnp.take_along_axis(documents.tokens, state.lengths[:, None] - 1, axis=1)[:, 0]
    return documents, last == eos_id


class _Start(NamedTuple):
    """What is there before the first step."""

    token: Int[Array, " n"]
    """The last one, which the first step reads."""
    columns: int
    """How many columns of the cache prompts take."""
    cache: Cache
    """Theirs; empty where there are none."""
    position: Int[Array, " n"] | None
    """Where the token is; None for the beginning of all rows."""

    def place(self, state: _Progress) -> Place:
        """Where the token is that a step reads."""
        if self.position is None:
            return Place(state.steps, state.steps)
        columns = jnp.arange(jax.tree.leaves(state.cache)[0].shape[-2])
        last = self.position[:, None]
        filled = jnp.where(columns < last, columns, _NOWHERE)
        filled = jnp.where(columns < self.columns, filled, last + columns - self.columns)
        return Place(self.columns + state.steps, self.position + state.steps, filled)


def _after(model: Decoder, prompts: AnyDocuments, bos_id: int) -> _Start:
    """What is there after BOS and prompts have been read, all but their last token.

    A prompt fills columns from the first; those behind it, up to the longest, hold nothing.
    """
    tokens = jnp.pad(prompts.tokens, [(0, 0), (1, 0)], constant_values=bos_id)
    last = jnp.take_along_axis(tokens, prompts.lengths[:, None], axis=1)[:, 0]
    columns = tokens.shape[1] - 1
    return _Start(last, columns, model.read(tokens[:, :columns]), prompts.lengths)


def joined(prompts: AnyDocuments, following: Documents, time: int) -> AnyDocuments:
    """Prompts and what follows them, as rows of so many tokens; of these all are learned."""
    columns, first = jnp.arange(time), prompts.lengths[:, None]

    def along(x: Array, places: Array) -> Array:
        return jnp.take_along_axis(x, jnp.clip(places, 0, x.shape[1] - 1), axis=1)

    own = columns < first
    prompt = along(prompts.tokens, jnp.broadcast_to(columns, (len(first), time)))
    lengths = prompts.lengths + following.lengths
    tokens = jnp.where(own, prompt, along(following.tokens, columns - first))
    learned = prompts.learned
    if learned is not None:
        learned = ~own | along(learned, jnp.broadcast_to(columns, (len(first), time)))
    return documents_of(jnp.where(columns < lengths[:, None], tokens, 0), lengths, learned)


def draw_index(weights: Float[Array, "n vocab"], uniforms: Float[Array, "2 n"]) -> Int[Array, " n"]:
    """An index for each row, drawn in proportion to its weights, never one of weight 0.

    By inverting the distribution function in two steps, a group of about the square root of the
    vocabulary's size and then the entry: short sums are exact to few roundings, and quick.

    Args:
        weights: not negative, and not all zero in any row.
        uniforms: two numbers on the open interval (0, 1) for each row.
    """
    n, vocab = weights.shape
    width = math.isqrt(vocab - 1) + 1
    groups = -(-vocab // width)
    table = jnp.pad(weights, [(0, 0), (0, groups * width - vocab)]).reshape(n, groups, width)
    group = _invert(jnp.sum(table, axis=-1), uniforms[0])
    chosen = jnp.take_along_axis(table, group[:, None, None], axis=1)[:, 0]
    return group * width + _invert(chosen, uniforms[1])


def _invert(weights: Float[Array, "n m"], uniform: Float[Array, " n"]) -> Int[Array, " n"]:
    cumulative = jnp.cumsum(weights, axis=-1)
    index = jnp.arange(weights.shape[-1], dtype=jnp.int32)
    possible = weights > 0.0
    last = jnp.max(jnp.where(possible, index, 0), axis=-1, keepdims=True)
    reached = possible & (cumulative > uniform[:, None] * cumulative[:, -1:])
    # Rounding may leave the target unreached: then it is the last.
    return jnp.min(jnp.where(reached, index, last), axis=-1)


@jax.custom_batching.custom_vmap
def _any_anywhere(rows: Bool[Array, "..."]) -> Bool[Array, ""]:
    """Whether any is true, in any replicate of a vmap.

    A loop whose condition differs between replicates would copy the caches of those that have
    finished, at each step.
    """
    return jnp.any(rows)


@_any_anywhere.def_vmap
def _(axis_size: int, in_batched: Any, rows: Array) -> tuple[Array, bool]:
    del axis_size, in_batched
    return _any_anywhere(rows), False
