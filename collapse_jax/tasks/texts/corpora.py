"""Texts and languages for tables of n-grams: tokens of the user's own, and Markov chains."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from collapse_jax.basics import checks

END, OTHER = "<end>", "<other>"
_MOST_NGRAMS = 2**26  # entries of a table
_MOST_TOKENS = 2**31  # of a training set, which whole numbers of 32 bits count
_LARGEST_SOLVED = 4096  # contexts of a language whose equilibrium is worked out


class TokenText(NamedTuple):
    """A text as numbers of tokens."""

    tokens: np.ndarray
    vocabulary: tuple[str, ...]


def read_text(data: Any, vocab_size: int | None) -> TokenText:
    """A text as it may be given: tokens in their order, a string, or a list of such documents.

    Args:
        data: the text. Strings are split at white space, and documents are laid end to end, with
            `END` after each.
        vocab_size: how many different tokens are kept, the most frequent ones; the others become
            `OTHER`, which is one of them. None for all.

    Raises:
        ValueError: for missing tokens, and where there are fewer than two different ones.

    Example:
        >>> read_text(["a b".split(), "c"], None)
        TokenText(tokens=array([1, 2, 0, 3, 0], dtype=int32), vocabulary=('<end>', 'a', 'b', 'c'))
    """
    tokens = _tokens(data)
    names, tokens, counts = np.unique(tokens, return_inverse=True, return_counts=True)
    if vocab_size is not None and OTHER in names:
        raise ValueError(f"data must not have the token {OTHER!r}, which stands for those left out")
    if len(names) < 2:
        raise ValueError(f"data must have two or more different tokens, got {len(names)}")
    vocabulary = tuple(map(str, names.tolist()))
    if vocab_size is not None and checks.whole_number("vocab_size", vocab_size, 2) < len(names):
        kept = np.sort(np.argsort(-counts, kind="stable")[: vocab_size - 1])
        number = np.full(len(names), vocab_size - 1)
        number[kept] = np.arange(vocab_size - 1)
        tokens, vocabulary = number[tokens], (*(vocabulary[i] for i in kept), OTHER)
    return TokenText(tokens.reshape(-1).astype(np.int32), vocabulary)


def _tokens(data: Any) -> np.ndarray:
    if isinstance(data, str):
        return np.asarray(data.split())
    checks.refuse_lossy("data", data)
    if not np.iterable(data):
        raise TypeError(f"data must be tokens in their order, or documents, got {data!r}")
    if not isinstance(data, np.ndarray) and any(_is_document(part) for part in data):
        documents = [[*_document(part), END] for part in data]
        return np.asarray([token for document in documents for token in document])
    tokens = np.asarray(data)
    if tokens.ndim != 1 or tokens.dtype.kind not in "biufUO":
        raise ValueError(f"data must be tokens in their order, or documents, got {tokens!r}")
    missing = np.flatnonzero(checks.missing_entries(data))
    if len(missing):
        raise ValueError(f"data must have no missing tokens, got one at place {missing[0]}")
    if tokens.dtype.kind == "f":
        checks.finite_array("data", tokens, ndim=1)
    if tokens.dtype.kind in "OU":
        checks.refuse_look_alikes("data", "tokens", data)
    spaced = [
        t for t in tokens.tolist() if isinstance(t, str) and len(t) > 1 and len(t.split()) > 1
    ]
    if spaced:
        raise ValueError(
            f"data must be tokens or documents, got the token {spaced[0][:40]!r}; a list of texts "
            "is [text.split() for text in texts]"
        )
    return tokens.astype(str) if tokens.dtype.kind == "O" else tokens


def _document(part: Any) -> list[str]:
    """The tokens of a document."""
    if not isinstance(part, str) and np.iterable(part) and any(map(_is_document, part)):
        raise ValueError("data must be tokens or documents, and one of its documents holds others")
    tokens = list(map(str, _tokens(part).tolist()))
    if END in tokens:
        raise ValueError(f"data must not have the token {END!r}, which is put after documents")
    return tokens


def _is_document(part: Any) -> bool:
    return isinstance(part, list | tuple) or (isinstance(part, np.ndarray) and part.ndim > 0)


def cut(tokens: np.ndarray, length: int) -> np.ndarray:
    """A text in sequences of one length, as far as it reaches. `[sequence, length]`

    Raises:
        ValueError: where there are not four.
    """
    n = len(tokens) // length
    if n < 4:
        raise ValueError(
            f"data must have tokens for four sequences of length={length} or more, got "
            f"{len(tokens)} tokens"
        )
    return tokens[: n * length].reshape(n, length)


def check_sizes(vocab_size: int, order: int, n_samples: Any, length: int) -> None:
    """Check that a table of n-grams has room in memory, and that a batch can be counted.

    Raises:
        ValueError: if not.
    """
    if vocab_size**order > _MOST_NGRAMS:
        raise ValueError(
            f"vocab_size ** order must be at most {_MOST_NGRAMS}, the entries of a table, got "
            f"{vocab_size} ** {order}; with data a lower vocab_size keeps the most frequent tokens"
        )
    if not checks.is_traced(n_samples) and n_samples * length >= _MOST_TOKENS:
        raise ValueError(f"n_samples * length must be below 2**31, got {n_samples} * {length}")


def zipf_language(
    exponent: Any, size: int, order: int
) -> tuple[Float[Array, " contexts"], Float[Array, "contexts vocab"]]:
    """How frequent contexts are, and the law of the token after each: Zipf's, of some order.

    The tokens of a context, summed, say which token is the most frequent one after it, so that all
    contexts are equally frequent.
    """
    weights = jnp.arange(1, size + 1, dtype=jnp.float32) ** -jnp.asarray(exponent, jnp.float32)
    first = np.indices((size,) * (order - 1)).sum(axis=0).reshape(-1, 1)
    table = (weights / jnp.sum(weights))[(np.arange(size) - first) % size]
    return jnp.full(len(table), 1.0 / len(table), jnp.float32), table


def checked_transitions(transitions: Any, order: int) -> np.ndarray:
    """Probabilities of the next token in each context.

    Raises:
        ValueError: for other shapes, negative entries, and sums other than 1.
    """
    if checks.is_traced(transitions):
        raise TypeError("transitions must be known numbers, got a traced array")
    p = checks.finite_array("transitions", transitions, ndim=order)
    if len(set(p.shape)) > 1 or len(p) < 2:
        raise ValueError(
            f"transitions must have the shape {('vocab_size',) * order}, of two or more tokens, "
            f"got {p.shape}"
        )
    if np.any(p < 0.0):
        raise ValueError(f"transitions must not be negative, got {p.min():g}")
    total = p.sum(axis=-1)
    if np.any(np.abs(total - 1.0) > 1e-6):
        worst = np.unravel_index(np.argmax(np.abs(total - 1.0)), total.shape)
        raise ValueError(
            f"transitions must sum to 1 over the next token, got {total[worst]:.9g} in context "
            f"{tuple(map(int, worst))}"
        )
    return p / total[..., None]


def equilibrium(transitions: np.ndarray) -> np.ndarray:
    """How frequent each context is in long texts of a language. `[context]`

    Args:
        transitions: probabilities of the next token. `[vocab] * order`

    Raises:
        ValueError: where that depends on how a text begins.

    Example:
        >>> equilibrium(np.array([[0.9, 0.1], [0.3, 0.7]])).round(3).tolist()
        [0.75, 0.25]
    """
    size, order = len(transitions), transitions.ndim
    n = size ** (order - 1)
    if order == 1:
        return np.ones(1)
    if n > _LARGEST_SOLVED:
        raise ValueError(
            f"transitions must have at most {_LARGEST_SOLVED} contexts, got {n}; see zipf, or data"
        )
    chain = np.zeros((n, n))
    context = np.repeat(np.arange(n), size)
    following = (context * size + np.tile(np.arange(size), n)) % n
    np.add.at(chain, (context, following), transitions.ravel())
    system = np.vstack([chain.T - np.eye(n), np.ones(n)])
    found, _, rank, _ = np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=1e-10)
    if rank < n:
        raise ValueError(
            "transitions must have one equilibrium, and where a text leads depends on how it begins"
        )
    found = np.maximum(found, 0.0)
    return found / found.sum()
