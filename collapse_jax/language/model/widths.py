"""Few widths in place of one: rows are only as wide as the longest document needs.

Documents are rows as wide as the context, and most are shorter. What lies beyond the longest of a
batch costs as much as what lies within, and means nothing. So a batch is cut to one of a few
widths, each of which is compiled once; which one is decided while the program runs.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from collapse_jax.language.corpora.documents import AnyDocuments, documents_of

Result = TypeVar("Result")

# Below, a batch is so small that a second program would cost more than padding does.
_NARROWEST = 64
_EIGHTHS = 1, 2, 3, 4, 8  # of the context


def widths_of(time: int) -> tuple[int, ...]:
    """The widths to which rows of so many tokens may be cut, rising; the last is their own.

    Example:
        >>> widths_of(512), widths_of(28)
        ((64, 128, 192, 256, 512), (28,))
    """
    if time < 2 * _NARROWEST:
        return (time,)
    return tuple(width for n in _EIGHTHS if (width := -(-time * n // 8)) >= _NARROWEST)


def narrowed(function: Callable[[AnyDocuments], Result], documents: AnyDocuments) -> Result:
    """A function of documents, applied to rows that are as wide as the longest needs.

    The function must not depend on what lies beyond a row's length. Under vmap the longest of all
    replicates decides, since different programs cannot run side by side. The result is that of
    whole rows, but for the order in which sums are rounded.
    """
    widths = widths_of(documents.tokens.shape[1])
    if len(widths) == 1:
        return function(documents)
    longest = _greatest_anywhere(jnp.max(documents.lengths))
    index = jnp.sum(longest > jnp.asarray(widths[:-1]))
    branches = [lambda rows, width=width: function(_cut(rows, width)) for width in widths]
    return lax.switch(index, branches, documents)


def by_length(documents: AnyDocuments) -> AnyDocuments:
    """The same documents, short ones first, where that makes parts of them narrower."""
    if len(widths_of(documents.tokens.shape[1])) == 1:
        return documents
    order = jnp.argsort(documents.lengths)
    return jax.tree.map(lambda x: x[order], documents)


def _cut(documents: AnyDocuments, width: int) -> AnyDocuments:
    learned = None if documents.learned is None else documents.learned[:, :width]
    return documents_of(documents.tokens[:, :width], documents.lengths, learned)


@jax.custom_batching.custom_vmap
def _greatest_anywhere(length: Int[Array, ""]) -> Int[Array, ""]:
    """The greatest in all replicates of a vmap, a single number."""
    return length


@_greatest_anywhere.def_vmap
def _(axis_size: int, in_batched: Any, lengths: Array) -> tuple[Array, bool]:
    del axis_size
    return _greatest_anywhere(jnp.max(lengths) if in_batched[0] else lengths), False
