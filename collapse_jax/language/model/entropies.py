"""How sure a decoder is of the next token."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from collapse_jax.language.corpora.documents import AnyDocuments, counted, n_counted
from collapse_jax.language.model.decoder import Decoder, Params
from collapse_jax.language.model.widths import narrowed

_ENTRIES = 2**24  # most scores in memory: 64 MiB


def next_entropy(
    graphdef: Any, params: Params, documents: AnyDocuments, *, bos_id: int
) -> Float[Array, ""]:
    """Mean entropy of the law of each token in the loss of some documents, in nats.

    Args:
        graphdef: a `Decoder`, split.
        params: a `Decoder`, split.
        documents: rows of tokens, read from BOS to EOS.
        bos_id: the token in front of a document.
    """
    model: Decoder = nnx.merge(graphdef, params)
    n, time = documents.tokens.shape
    width = max(1, min(n, _ENTRIES // (time * model.architecture.vocab_size)))

    def of(rows: AnyDocuments) -> Array:
        inside = jnp.arange(rows.tokens.shape[1]) < rows.lengths[:, None]
        tokens = jnp.where(inside, rows.tokens, 0)
        inputs = jnp.pad(tokens[:, :-1], [(0, 0), (1, 0)], constant_values=bos_id)
        log_p = jax.nn.log_softmax(model.logits(model.hidden(inputs)), axis=-1)
        entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
        return jnp.sum(jnp.where(counted(rows), entropy, 0.0))

    def parts(x: Array) -> Array:
        x = jnp.pad(x, [(0, -n % width)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(-1, width, *x.shape[1:])

    batches = jax.tree.map(parts, documents)
    return jnp.sum(lax.map(lambda rows: narrowed(of, rows), batches)) / n_counted(documents)
