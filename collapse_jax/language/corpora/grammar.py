"""The embedded language, of which everything is known exactly."""

import dataclasses
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.language.corpora import story
from collapse_jax.language.corpora.automaton import Automaton, tabulate
from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.tokenizers.base import WordTokenizer


@dataclasses.dataclass(frozen=True)
class Grammar(AbstractCorpus):
    """Little stories about one person, whose probabilities are known exactly.

    A document is one to `max_sentences` sentences; names and nouns follow Zipf's law; the name in
    the first sentence decides the pronouns of all others. A document has one derivation, so its
    log-probability is exact, as are the entropy and the mean number of tokens: the loss of no model
    is below `loss_floor` on average.

    Args:
        n_names: number of names, 2 to 24, by turns of women and men. Default 24.
        n_nouns: number of nouns, 2 to 32. Default 32.
        max_sentences: the most sentences of a document. Default 3.
        continuation: probability that another sentence follows, as long as one may. Default 0.75.
        exponent: of Zipf's law: the word of rank `r` is drawn in proportion to `r**-exponent`.
            Default 1.
        chat: make documents `user: what did nora do today ?`, a new line, and `assistant: ` with
            the story, of which only documents in that form are accepted later. Default False.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Example:
        >>> grammar = Grammar()
        >>> grammar.sample(1)
        ['ravi repaired his red clock at the mill . he ran to the market .']
        >>> round(grammar.entropy, 3), round(grammar.loss_floor, 4)
        (23.051, 1.4327)
        >>> grammar.is_well_formed("otto ran to the mill . she hid a lamp .")
        False
    """

    n_names: int = 24
    n_nouns: int = 32
    max_sentences: int = 3
    continuation: float = 0.75
    exponent: float = 1.0
    chat: bool = False

    def __post_init__(self):
        checks.whole_number("n_names", self.n_names, 2, len(story.NAMES))
        checks.whole_number("n_nouns", self.n_nouns, 2, len(story.NOUNS))
        checks.whole_number("max_sentences", self.max_sentences, 1, 100)
        checks.positive_number("exponent", self.exponent, zero_allowed=True)
        if checks.positive_number("continuation", self.continuation, zero_allowed=True) > 1.0:
            raise ValueError(f"continuation must be at most 1, got {self.continuation}")
        if not isinstance(self.chat, bool):
            raise TypeError(f"chat must be True or False, got {self.chat!r}")

    @cached_property
    def _story(self) -> story.Story:
        return story.Story(**dataclasses.asdict(self))

    @cached_property
    def _tables(self) -> tuple[Automaton, list[story.Slot]]:
        return tabulate(self._story.start, self._story.moves, len(self._story.words))

    @property
    def automaton(self) -> Automaton:
        """The tables of the language: probabilities and successors of states."""
        return self._tables[0]

    @property
    def is_chat(self) -> bool:
        return self.chat

    @cached_property
    def tokenizer(self) -> WordTokenizer:
        """Words as tokens."""
        return WordTokenizer(self._story.words)

    @property
    def vocab_size(self) -> int:
        """Number of words, the end of a document included."""
        return self.automaton.vocab_size

    @property
    def max_length(self) -> int:
        """Tokens of the longest document, EOS included."""
        return self.automaton.max_length

    @property
    def entropy(self) -> float:
        """Entropy of a document, in nats."""
        return self.automaton.entropy

    @property
    def expected_tokens(self) -> float:
        """Mean number of tokens of a document, EOS included."""
        return float(self.automaton.visits.sum())

    @property
    def loss_floor(self) -> float:
        """The least loss that a model can have on average, in nats per token, EOS included."""
        return self.entropy / self.expected_tokens

    def sample(self, n: int, seed: int = 0) -> list[str]:
        """`n` documents, drawn on the host."""
        n = checks.whole_number("n", n)
        generator = np.random.default_rng(checks.whole_number("seed", seed, minimum=0))
        return [self.tokenizer.decode(ids[:-1]) for ids in self.automaton.sample(n, generator)]

    def derivation(self, document: str) -> list[tuple[str, str]] | None:
        """The kind of each word, and the word: the one way in which the grammar makes a document.

        Joined by spaces the words are the document again. None where it is malformed.
        """
        ids = self._ids(document)
        path = None if ids is None else self.automaton.path(ids)
        if ids is None or path is None:
            return None
        words, states = self.tokenizer.words, self._tables[1]
        return [(states[i].kind, words[t]) for i, t in zip(path[:-1], ids[:-1], strict=True)]

    def log_probability(self, document: str) -> float:
        """Log-probability of a document in nats; -inf where it is malformed."""
        ids = self._ids(document)
        path = None if ids is None else self.automaton.path(ids)
        if ids is None or path is None:
            return -np.inf
        return float(np.sum(np.log(self.automaton.probability[path, ids])))

    def is_well_formed(self, document: str) -> bool:
        """Whether the grammar can make a document."""
        return self.log_probability(document) > -np.inf

    def _ids(self, document: str) -> list[int] | None:
        """The tokens of a document with EOS; None where its text is not how they are written."""
        try:
            ids = self.tokenizer.encode(document)
        except ValueError:
            return None
        return [*ids, self.tokenizer.eos_id] if self.tokenizer.decode(ids) == document else None

    def draw(self, key: Key[Array, ""], n: int) -> Documents:
        """`n` documents as tokens, rows of `max_length`. Pure: can be jitted and vmapped."""
        return self.automaton.draw(key, n)

    def log_probabilities(
        self, tokens: Int[Array, "n time"], lengths: Int[Array, " n"]
    ) -> Float[Array, " n"]:
        """Log-probabilities of rows of tokens in nats, -inf where malformed. Pure.

        Args:
            tokens: ids; those beyond a row's length are not looked at.
            lengths: number of tokens of each row, EOS included. A row without EOS is malformed.
        """
        return self.automaton.log_probability(tokens, lengths)

    @cached_property
    def tail(self) -> dict[str, float]:
        """The rarer half of the names and of the nouns, with their true frequencies.

        The frequency of a name is its share of all names, that of a noun its share of all nouns.
        """
        rules = self._story
        pairs = [
            *list(zip(rules.names, rules.name_law, strict=True))[(self.n_names + 1) // 2 :],
            *list(zip(rules.nouns, rules.noun_law, strict=True))[(self.n_nouns + 1) // 2 :],
        ]
        return {word: float(p) for word, p in pairs}

    def tail_survival(
        self, tokens: Int[Array, "n time"], lengths: Int[Array, " n"]
    ) -> Float[Array, ""]:
        """The share of the rare words' true frequency that is still there, between 0 and 1. Pure.

        With `p` the true frequency of a word of the `tail` and `q` that in the documents, it is the
        sum of `min(p, q)` over these words divided by the sum of `p`. What a word has gained does
        not make up for what another has lost, so the value falls where words drift at random, even
        though their mean frequency stays. In real documents it is below 1 for the same reason, by
        about `0.4 / sqrt(p n)` for a word of which `p n` are expected.
        """
        time = tokens.shape[1]
        within = jnp.arange(time) < lengths[:, None]
        known = within & (tokens >= 0) & (tokens < self.vocab_size)
        counts = jnp.zeros(self.vocab_size).at[jnp.where(known, tokens, 0)].add(known)
        kept = total = jnp.zeros(())
        for words in (self._story.names, self._story.nouns):
            class_counts = counts[np.array([self._story.ids[word] for word in words])]
            frequency = class_counts / jnp.maximum(class_counts.sum(), 1.0)
            truth = jnp.array([self.tail.get(word, 0.0) for word in words])
            kept = kept + jnp.minimum(frequency, truth).sum()
            total = total + truth.sum()
        return kept / total

    def accepted(
        self, tokens: Int[Array, "n time"], lengths: Int[Array, " n"]
    ) -> Bool[Array, " n"]:
        """Which rows of tokens `accepts` would accept as text. Pure."""
        if not self.chat:
            return jnp.ones(tokens.shape[0], bool)
        user, assistant, line = (
            self._story.ids[word] for word in (story.USER, story.ASSISTANT, story.NEW_LINE)
        )
        ends = (tokens == self.tokenizer.eos_id) | (tokens == line)
        within = jnp.arange(tokens.shape[1]) < lengths[:, None]
        # The rule asks for a space behind the colon, which only another word brings along.
        followed = within[:, 1:] & ~ends[:, 1:]
        marked = (tokens[:, :-1] == assistant) & followed
        return (tokens[:, 0] == user) & followed[:, 0] & (marked.sum(axis=1) == 1)
