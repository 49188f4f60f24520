"""The cross-entropy of documents, in bounded memory."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from collapse_jax.basics import checks
from collapse_jax.language.corpora.documents import AnyDocuments, counted, n_counted
from collapse_jax.language.model.decoder import Decoder, Params
from collapse_jax.language.model.widths import narrowed

# Where not told otherwise, logits are made in parts of at most so many entries: 64 MiB in float32.
_ENTRIES = 2**24


class Loss(NamedTuple):
    """Cross-entropy summed over tokens, and their number, which are floats for exact sums."""

    nats: Float[Array, ""]
    tokens: Float[Array, ""]


def document_loss(
    graphdef: Any, params: Params, documents: AnyDocuments, *, bos_id: int, chunk: int | None = None
) -> Loss:
    """The cross-entropy of documents, each from BOS to its EOS. Pure, differentiable.

    What lies beyond a row's length has no influence whatever, whether it is a valid token or not;
    what is not to be `learned` is read, but has no part in the sum.
    Logits are made for some columns at a time, and made again for the gradient, so that those of a
    large vocabulary never exist whole.

    Args:
        graphdef: a `Decoder`, split.
        params: a `Decoder`, split.
        documents: rows of tokens; their number of columns is at most the decoder's context.
        bos_id: the token in front of a document.
        chunk: columns per part. Default as many as make 2**24 logits.

    Returns:
        the sum in nats, and the number of tokens that are in it, EOS included.

    Raises:
        ValueError: for rows longer than the context.
    """
    model: Decoder = nnx.merge(graphdef, params)
    batch, time = documents.tokens.shape
    most = max(1, _ENTRIES // (batch * model.architecture.vocab_size))
    width = min(time, most if chunk is None else checks.whole_number("chunk", chunk))

    within = jnp.arange(time) < documents.lengths[:, None]
    wanted = counted(documents)
    labels = jnp.where(within, documents.tokens, 0)
    inputs = jnp.pad(labels[:, :-1], [(0, 0), (1, 0)], constant_values=bos_id)
    hidden = model.hidden(inputs)
    total = n_counted(documents)
    if width == time:
        return Loss(_cross_entropy(model, hidden, labels, wanted), total)

    _, head = nnx.split(model)

    def parts(x: Array) -> Array:
        x = jnp.pad(x, [(0, 0), (0, -time % width)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(batch, -1, width, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def part(head: Params, inputs: tuple[Array, Array, Array]) -> Array:
        return _cross_entropy(nnx.merge(graphdef, head), *inputs)

    def add(nats: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, None]:
        return nats + part(head, inputs), None

    nats, _ = lax.scan(add, jnp.zeros(()), (parts(hidden), parts(labels), parts(wanted)))
    return Loss(nats, total)


def _cross_entropy(
    model: Decoder,
    hidden: Float[Array, "batch time width"],
    labels: Int[Array, "batch time"],
    counted: Bool[Array, "batch time"],
) -> Float[Array, ""]:
    scores = model.logits(hidden)
    # A sum over the vocabulary: picking the entry would need a scatter in the gradient.
    chosen = labels[..., None] == jnp.arange(scores.shape[-1])
    score = jnp.sum(jnp.where(chosen, scores, 0.0), axis=-1)
    return jnp.sum(jnp.where(counted, jax.nn.logsumexp(scores, axis=-1) - score, 0.0))


def evaluate(
    graphdef: Any,
    params: Params,
    documents: AnyDocuments,
    *,
    bos_id: int,
    batch_size: int = 64,
    chunk: int | None = None,
    batch_means: bool = False,
) -> Float[Array, ""]:
    """Mean cross-entropy per token of a corpus, in nats, a batch at a time. Pure.

    Args:
        graphdef: as for `document_loss`.
        params: as for `document_loss`.
        bos_id: as for `document_loss`.
        chunk: as for `document_loss`.
        documents: the corpus, or a padded one: rows of length 0 do not count.
        batch_size: documents per batch, which decides the memory needed, not the result.
        batch_means: return the unweighted mean of the batches' means instead, which depends on
            `batch_size` and counts tokens of a batch of short documents for more.

    Returns:
        nats per token; NaN for a corpus without tokens.
    """
    batch_size = checks.whole_number("batch_size", batch_size)

    def batches(x: Array) -> Array:
        x = jnp.pad(x, [(0, -x.shape[0] % batch_size)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(-1, batch_size, *x.shape[1:])

    def loss(batch: AnyDocuments) -> Loss:
        return document_loss(graphdef, params, batch, bos_id=bos_id, chunk=chunk)

    parts = jax.tree.map(batches, documents)
    nats, tokens = lax.map(lambda batch: narrowed(loss, batch), parts)
    if batch_means:
        return jnp.mean(nats / tokens, where=tokens > 0)
    return jnp.sum(nats) / jnp.sum(tokens)
