"""Probabilistic languages of finitely many documents, as deterministic automata over tokens.

Each state gives a law of the next token, and the token alone decides the next state. A document
therefore has one derivation, its probability is a product along that path, and expectations over
the language are sums over expected visits to states.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key

from collapse_jax.language.corpora.documents import Documents

EOS = 0
"""The token that ends a document. It is also fed to a model in front of the first token."""


State = TypeVar("State", bound=Hashable)


class Move(NamedTuple):
    """One token that may follow in a state, its probability, and the state it leads to."""

    token: int
    probability: float
    state: Any  # hashable; None after the end of the document


@dataclasses.dataclass(frozen=True, eq=False)
class Automaton:
    """Tables of a language. State 0 is the start, the last state the end of a document.

    Args:
        probability: law of the next token in each state, zeros at the end. `[states, tokens]`
        successor: the state that a token leads to; the end for EOS. `[states, tokens]`

    Raises:
        ValueError: for a language whose documents have no bounded length.
    """

    probability: Float[np.ndarray, "states tokens"]
    successor: Int[np.ndarray, "states tokens"]

    def __post_init__(self):
        if not np.allclose(self.probability[:-1].sum(axis=1), 1.0):
            raise ValueError("probability must sum to 1 in every state but the last")
        if self.max_length > len(self.probability):
            raise ValueError("successor must not lead back to a state that was left")

    @property
    def end(self) -> int:
        """The state after EOS."""
        return len(self.probability) - 1

    @property
    def vocab_size(self) -> int:
        """Number of tokens, EOS included."""
        return self.probability.shape[1]

    @cached_property
    def _occupancy(self) -> Float[np.ndarray, "steps states"]:
        """Probability to be in each state that is not the end, before each token."""
        transition = np.zeros((self.end + 1, self.end + 1))
        states = np.repeat(np.arange(self.end + 1), self.vocab_size)
        np.add.at(transition, (states, self.successor.ravel()), self.probability.ravel())
        rows, now = [], np.eye(self.end + 1)[0]
        while now.any() and len(rows) <= self.end + 1:  # a longer path would hold a cycle
            rows.append(now)
            now = now @ transition
            now[self.end] = 0.0
        return np.array(rows)

    @property
    def max_length(self) -> int:
        """Tokens of the longest document, EOS included."""
        return len(self._occupancy)

    @cached_property
    def visits(self) -> Float[np.ndarray, " states"]:
        """Expected number of times that a document passes each state."""
        return self._occupancy.sum(axis=0)

    @cached_property
    def expected_counts(self) -> Float[np.ndarray, " tokens"]:
        """Expected number of occurrences of each token in a document."""
        return self.visits @ self.probability

    @cached_property
    def entropy(self) -> float:
        """Entropy of a document, in nats."""
        p = self.probability
        return float(-np.sum(self.visits[:, None] * p * np.log(np.where(p > 0.0, p, 1.0))))

    def path(self, tokens: Sequence[int]) -> list[int] | None:
        """States before each token of a document that ends with EOS; None if it is malformed."""
        states, state = [], 0
        for token in tokens:
            if not 0 <= token < self.vocab_size or self.probability[state, token] == 0.0:
                return None
            states.append(state)
            state = int(self.successor[state, token])
        return states if state == self.end else None

    @cached_property
    def _cumulative(self) -> Float[np.ndarray, "states tokens"]:
        """Distribution functions, 1 from the last possible token on; EOS for ever at the end."""
        p = self.probability.copy()
        p[self.end, EOS] = 1.0
        last = self.vocab_size - 1 - np.argmax(p[:, ::-1] > 0.0, axis=1)
        beyond = np.arange(self.vocab_size) >= last[:, None]
        return np.where(beyond, 1.0, np.cumsum(p, axis=1))

    def sample(self, n: int, generator: np.random.Generator) -> list[list[int]]:
        """`n` documents, drawn on the host in float64."""
        states, columns = np.zeros(n, int), []
        for uniform in generator.random((self.max_length, n)):
            tokens = (self._cumulative[states] <= uniform[:, None]).sum(axis=1)
            states = self.successor[states, tokens]
            columns.append(tokens)
        rows = np.stack(columns, axis=1)
        return [row[: row.argmin() + 1].tolist() for row in rows]  # EOS is the least token

    def draw(self, key: Key[Array, ""], n: int) -> Documents:
        """`n` documents, as rows of `max_length` tokens. Pure; can be vmapped over keys."""
        cumulative = jnp.asarray(self._cumulative, jnp.float32)
        successor = jnp.asarray(self.successor)

        def step(state: Array, uniform: Array) -> tuple[Array, Array]:
            token = jnp.sum(cumulative[state] <= uniform[:, None], axis=1, dtype=jnp.int32)
            return successor[state, token], token

        start = jnp.zeros(n, jnp.int32)
        _, tokens = lax.scan(step, start, jax.random.uniform(key, (self.max_length, n)))
        tokens = tokens.T
        return Documents(tokens, jnp.argmax(tokens == EOS, axis=1).astype(jnp.int32) + 1)

    def log_probability(
        self, tokens: Int[Array, "n time"], lengths: Int[Array, " n"]
    ) -> Float[Array, " n"]:
        """Log-probabilities of documents in nats, -inf where malformed. Pure.

        Malformed is also what does not end with EOS, or holds it twice within its length.
        """
        with np.errstate(divide="ignore"):
            logs = jnp.asarray(np.log(self.probability), jnp.float32)
        successor = jnp.asarray(self.successor)

        def step(carry: tuple[Array, Array], inputs: tuple[Array, Array]):
            state, total = carry
            token, within = inputs
            known = (token >= 0) & (token < self.vocab_size)
            token = jnp.where(known, token, EOS)
            gain = jnp.where(known, logs[state, token], -jnp.inf)
            state = jnp.where(within, successor[state, token], state)
            return (state, total + jnp.where(within, gain, 0.0)), None

        n, time = tokens.shape
        within = jnp.arange(time)[:, None] < lengths
        start = (jnp.zeros(n, jnp.int32), jnp.zeros(n))
        (state, total), _ = lax.scan(step, start, (tokens.T, within))
        return jnp.where(state == self.end, total, -jnp.inf)


def tabulate(
    start: State, moves: Callable[[State], list[Move]], vocab_size: int
) -> tuple[Automaton, list[State]]:
    """Tables of the language whose states and their moves a function describes.

    Args:
        start: the first state.
        moves: what may follow in a state; a state of None is the end.
        vocab_size: number of tokens, EOS included.

    Returns:
        the automaton, and its states in the order of the tables, without the end.

    Raises:
        ValueError: where two moves of one state have the same token, for then a document would have
            two derivations.
    """
    found = {start: moves(start)}
    queue = [start]
    for state in queue:
        for following in (move.state for move in found[state]):
            if following is not None and following not in found:
                found[following] = moves(following)
                queue.append(following)
    number: dict[Any, int] = {state: i for i, state in enumerate([*queue, None])}
    probability = np.zeros((len(number), vocab_size))
    successor = np.full((len(number), vocab_size), number[None], np.int32)
    for state in queue:
        for token, p, following in found[state]:
            if probability[number[state], token] > 0.0:
                raise ValueError(f"moves must have one move per token, got two in state {state}")
            probability[number[state], token] = p
            successor[number[state], token] = number[following]
    return Automaton(probability, successor), queue
