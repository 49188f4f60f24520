"""Sequences of tokens by tables of n-grams: counted, drawn, and edited.

A context is the `order - 1` tokens before one, as a number: its tokens are digits, the first of
them the highest.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int, Key, Num

from collapse_jax.numerics.threefry import fold_in, words
from collapse_jax.numerics.tokens import Conditional, TokenEdit, redrawn


def counted(
    rows: Int[Array, "n length"], valid: Bool[Array, " n"] | None, order: int, vocab_size: int
) -> Int[Array, "contexts vocab"]:
    """How often each token follows each context in some sequences; `valid` says which count."""
    ngram = _numbers(rows, order, vocab_size)
    once = 1 if valid is None else jnp.broadcast_to(valid[:, None], ngram.shape)
    empty = jnp.zeros(vocab_size**order, jnp.int32)
    return empty.at[ngram].add(jnp.asarray(once, jnp.int32)).reshape(-1, vocab_size)


def _numbers(rows: Int[Array, "n length"], size: int, vocab_size: int) -> Int[Array, "n places"]:
    """All runs of so many tokens, as numbers."""
    last = rows.shape[1] - size + 1
    number = jnp.zeros((len(rows), last), jnp.int32)
    for i in range(size):
        number = number * vocab_size + rows[:, i : last + i]
    return number


def laws(
    weights: Num[Array, "contexts vocab"],
) -> tuple[Num[Array, " contexts"], Num[Array, "rows vocab"]]:
    """Weights of contexts, and of the token after each.

    The last row of the second serves contexts from which no sequence goes on.
    """
    table = jnp.concatenate([weights, jnp.sum(weights, axis=0, keepdims=True)])
    return jnp.sum(weights, axis=1), table


def drawn(
    key: Key[Array, ""],
    n: int,
    contexts: Num[Array, " contexts"],
    table: Num[Array, "rows vocab"],
    order: int,
    length: int,
) -> Int[Array, "n length"]:
    """Sequences whose first context, and then each token, is drawn by weights as of `laws`."""
    size, steps = table.shape[1], length - order + 1
    law = Conditional.of(table)
    first = words(fold_in(key, 0), (2, n))
    begin = Conditional.of(contexts[None]).draw(jnp.zeros(n, jnp.int32), first)

    def step(context: Int[Array, " n"], drawn: Array) -> tuple[Array, Array]:
        row = jnp.where(law.total[context] > 0, context, len(table) - 1)
        token = law.draw(row, drawn)
        return (context * size + token) % len(contexts), token

    tokens = lax.scan(step, begin, words(fold_in(key, 1), (steps, 2, n)))[1]
    powers = jnp.asarray(size ** np.arange(order - 1)[::-1], jnp.int32)
    return jnp.concatenate([begin[:, None] // powers % size, tokens.T], axis=1)


def edited(
    rows: Int[Array, "n length"],
    weights: Num[Array, "contexts vocab"],
    order: int,
    keys: tuple[Key[Array, ""], Key[Array, ""]],
    how: TokenEdit,
) -> Int[Array, "n length"]:
    """Sequences of which some tokens, none of the first context, are drawn anew.

    Args:
        rows: the sequences.
        weights: of the token after each context.
        order: tokens of an n-gram.
        keys: those of the new tokens, and of the choice which are new.
        how: which tokens are drawn anew, and from which law.
    """
    contexts, table = laws(weights)
    tokens = rows[:, order - 1 :]
    context = _numbers(rows[:, :-1], order - 1, table.shape[1])
    row = jnp.where(contexts[context] > 0, context, len(table) - 1).reshape(-1)
    scores = jnp.log(table[row].astype(jnp.float32))
    chance = jax.random.uniform(keys[1], (tokens.size,))
    new = redrawn(scores, tokens.reshape(-1), chance, words(keys[0], (2, tokens.size)), how)
    return jnp.concatenate([rows[:, : order - 1], new.reshape(tokens.shape)], axis=1)
