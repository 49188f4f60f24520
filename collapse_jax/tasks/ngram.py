"""Tables of n-grams: language models that are counts, small enough for thousands of chains."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Num

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import Labels, Number
from collapse_jax.numerics.tokens import TokenEdit
from collapse_jax.tasks.base import AbstractTask, Data, Size, Variable
from collapse_jax.tasks.parts.seen import ranked
from collapse_jax.tasks.parts.tables import sample_size, split
from collapse_jax.tasks.texts import corpora, sequences
from collapse_jax.views import AbstractView


class World(NamedTuple):
    """What is known of the truth: how frequent each n-gram is, in it and in the test text."""

    truth: Float[Array, "contexts vocab"]
    test: Float[Array, "contexts vocab"]


class NGram(AbstractTask):
    """A language model that is a table of counts: how often each token follows each context.

    A row is a sequence of `length` tokens, and a context the `order - 1` tokens before one. The
    model generates a context by its frequency, and then token after token. A context that no
    sequence goes on from, as it was seen at an end only, is followed by tokens by their frequency.
    Order 1 is a `Categorical` of `length` draws a row, and so are rows of one n-gram each.

    An n-gram that is missed once is gone under Replace. `missing_mass` is the true probability of
    those; without `smoothing`, `test_loss` is infinite as soon as one of the test text is gone.

    Args:
        order: tokens of an n-gram: 1 for single tokens, 2 for bigrams.
        vocab_size: number of tokens (taken from `transitions` where given). Default 10. With
            `data` the most frequent ones are kept, and the others are one token, `<other>`; default
            all.
        n_samples: sequences per generation. Default 100, with `data` all of the training text.
        length: tokens of a sequence, at least `order`.
        zipf: in the true language the token of rank r in a context has a probability proportional
            to `r ** -zipf`; which that is depends on the context, so that all contexts are equally
            frequent. Default 1.
        transitions: probabilities of the true language instead, an axis for each token of an
            n-gram, the last that of the next token; its sequences are in equilibrium.
        smoothing: what is added to each count where probabilities are made of them.
        data: real text instead: tokens in their order (names, characters or numbers), a string,
            which is split at white space, or a list of such documents, laid end to end with
            `<end>` after each. It is cut into sequences; generation 1 draws `n_samples` of the
            training ones without replacement. The truth is the training text. A run's dataset
            lists the tokens, in their order, in its attribute `outcomes` (JSON).
        test_fraction: share of the sequences that is test text.
        split_seed: seed of the split.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        Suresh et al., arXiv 2412.17646 (unigrams and bigrams of a text); Seddik et al.,
        arXiv 2404.05090.

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.NGram(2, data="the cat sat on the mat and the cat ran " * 9, length=5)
        >>> task.vocab_size, task.n_samples
        (7, 13)
    """

    n_samples: int
    order: int = eqx.field(static=True)
    vocab_size: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    zipf: Any
    transitions: Any
    equilibrium: Any
    """How frequent each context is in the language of `transitions`."""
    smoothing: Any
    smooths: bool = eqx.field(static=True)
    train: Array | None
    test: Array | None
    outcomes: tuple[str, ...] | None = eqx.field(static=True)
    """The tokens, in their order, where they are the user's own."""
    test_fraction: float = eqx.field(static=True)
    split_seed: int = eqx.field(static=True)

    takes_temperature: ClassVar[bool] = True
    error: ClassVar[str | None] = "squared_error"

    variables: ClassVar[dict[str, Variable]] = {
        "test_loss": Variable("cross-entropy of the next token on real text", "nat per token"),
        "entropy": Variable("entropy of the next token", "nat per token"),
        "missing_mass": Variable("true probability of the n-grams that the model lacks", "1"),
        "n_extinct": Variable("n-grams of the truth that the model lacks", "n-grams"),
        "lost_contexts": Variable("share of the true contexts that the model lacks", "1"),
        "distinct": Variable("different n-grams per n-gram of the training set", "1"),
        "collision": Variable("probability that two n-grams agree", "1"),
        "squared_error": Variable("squared error of the frequencies of n-grams", "1"),
        "hallucinated": Variable("share of n-grams that the truth does not have", "1"),
    }

    def __init__(
        self,
        order: int = 2,
        vocab_size: int | None = None,
        n_samples: int | None = None,
        *,
        length: int = 20,
        zipf: Number = None,
        transitions: Any = None,
        smoothing: Number = 0.0,
        data: Labels = None,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.order = checks.whole_number("order", order)
        self.length = checks.whole_number("length", length, self.order)
        self.smoothing = checks.positive_number("smoothing", smoothing, zero_allowed=True)
        self.smooths = checks.is_traced(smoothing) or self.smoothing > 0.0
        self.test_fraction, self.split_seed = test_fraction, split_seed
        given = {"zipf": zipf, "transitions": transitions, "data": data}
        several = [name for name, value in given.items() if value is not None]
        if len(several) > 1:
            raise ValueError(f"{several[0]} cannot be given together with {several[1]}")
        self.zipf = self.transitions = self.equilibrium = None
        self.train = self.test = self.outcomes = None
        if data is not None:
            self._set_data(data, vocab_size, n_samples)
        else:
            self._set_language(zipf, transitions, vocab_size)
            n_samples = 100 if n_samples is None else n_samples
            self.n_samples = checks.whole_number("n_samples", n_samples)
        corpora.check_sizes(self.vocab_size, self.order, self.n_samples, self.length)

    def _set_data(self, data: Any, vocab_size: int | None, n_samples: int | None) -> None:
        text = corpora.read_text(data, vocab_size)
        self.outcomes, self.vocab_size = text.vocabulary, len(text.vocabulary)
        rows = corpora.cut(text.tokens, self.length)
        train, test = split(rows, self.test_fraction, self.split_seed)
        self.train, self.test = jnp.asarray(train), jnp.asarray(test)
        self.n_samples = sample_size(n_samples, len(train))

    def _set_language(self, zipf: Any, transitions: Any, vocab_size: int | None) -> None:
        if transitions is None:
            self.zipf = checks.positive_number("zipf", 1.0 if zipf is None else zipf, True)
            size = 10 if vocab_size is None else vocab_size
            self.vocab_size = checks.whole_number("vocab_size", size, 2)
            return
        self.transitions = corpora.checked_transitions(transitions, self.order)
        self.equilibrium = corpora.equilibrium(self.transitions)
        self.vocab_size = len(self.transitions)
        if vocab_size not in (None, implied := self.vocab_size):
            raise ValueError(f"vocab_size must be {implied} as transitions imply, got {vocab_size}")

    @property
    def n_contexts(self) -> int:
        """Number of contexts that there may be."""
        return self.vocab_size ** (self.order - 1)

    @property
    def population(self) -> int | None:
        """Number of training sequences where the task has a text of the user's, else None."""
        return None if self.train is None else len(self.train)

    @property
    def keeps_rows(self) -> bool:
        return False

    @property
    def scratch_bytes(self) -> int:
        return 16 * self.n_contexts * self.vocab_size

    def additive(self, grows: bool) -> bool:
        return True

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> World:
        truth = self.truth
        return World(truth, truth if self.test is None else _normalised(self._counts(self.test)))

    @property
    def truth(self) -> Float[Array, "contexts vocab"]:
        """How frequent each n-gram is in the true language, or in the training text."""
        if self.train is not None:
            return _normalised(self._counts(self.train))
        contexts, following = self.language
        return contexts[:, None] * following

    @property
    def language(self) -> tuple[Float[Array, " contexts"], Float[Array, "contexts vocab"]]:
        """The true language: how frequent contexts are, and the law of the token after each.

        Raises:
            ValueError: where the truth is a text.
        """
        if self.train is not None:
            raise ValueError("data must be None for a true language, and the task has a text")
        if self.transitions is None:
            return corpora.zipf_language(self.zipf, self.vocab_size, self.order)
        following = jnp.asarray(self.transitions, jnp.float32).reshape(-1, self.vocab_size)
        return jnp.asarray(self.equilibrium, jnp.float32), following

    def real(
        self, world: World, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> Int[Array, "n length"]:
        if self.train is not None:
            return self.train[index]
        return sequences.drawn(key, n, *self.language, self.order, self.length)

    def sample(
        self,
        world: World,
        model: Num[Array, "contexts vocab"],
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Int[Array, "n length"]:
        contexts, table = sequences.laws(self._weights(model))
        if temperature is not None:
            most = jnp.max(table, axis=1, keepdims=True)
            powers = (table / jnp.where(most > 0, most, 1)) ** (1.0 / temperature)
            table = jnp.where(table > 0, powers, 0.0)
        return sequences.drawn(key, n, contexts, table, self.order, self.length)

    def edit(
        self,
        world: World,
        model: Num[Array, "contexts vocab"],
        rows: Int[Array, "n length"],
        keys: tuple[Key[Array, ""], Key[Array, ""]],
        how: TokenEdit,
    ) -> Int[Array, "n length"]:
        """Sequences of which some tokens are new; the first `order - 1` stay what they are."""
        return sequences.edited(rows, self._weights(model), self.order, keys, how)

    def _weights(self, model: Num[Array, "contexts vocab"]) -> Num[Array, "contexts vocab"]:
        return model + self.smoothing if self.smooths else model

    def _counts(
        self, rows: Int[Array, "n length"], valid: Bool[Array, " n"] | None = None
    ) -> Int[Array, "contexts vocab"]:
        return sequences.counted(rows, valid, self.order, self.vocab_size)

    def summarise(
        self,
        world: World,
        rows: Int[Array, "n length"],
        valid: Bool[Array, " n"] | None,
        *,
        size: Size,
    ) -> Int[Array, "contexts vocab"]:
        return self._counts(rows, valid)

    def merge(
        self,
        world: World,
        parts: tuple[Num[Array, "contexts vocab"], Num[Array, "contexts vocab"]],
        scales: Float[Array, "2"] | None,
    ) -> Num[Array, "contexts vocab"]:
        first, second = parts
        if scales is None:
            return first + second
        return scales[0] * first + scales[1] * second

    def fit(self, world: World, data: Data) -> Num[Array, "contexts vocab"]:
        return data.statistic

    def point(self, world: World, model: Num[Array, "contexts vocab"]) -> Float[Array, " k"]:
        return _normalised(model).ravel()

    def seen(
        self, world: World, model: Num[Array, "contexts vocab"], rows: Any
    ) -> dict[str, AbstractView]:
        names = "rank in the truth", "frequency"
        return {"n-grams": ranked(_normalised(model), world.truth, names)}

    def measure(
        self, world: World, model: Num[Array, "contexts vocab"]
    ) -> dict[str, Float[Array, ""]]:
        truth, known = world.truth, model > 0
        weights = model + jnp.asarray(self.smoothing, jnp.float32)
        joint, p = _normalised(weights), _normalised(model)
        total = jnp.sum(joint, axis=1, keepdims=True)
        back = jnp.sum(joint, axis=0, keepdims=True)
        following = jnp.where(total > 0.0, joint / jnp.where(total > 0.0, total, 1.0), back)
        contexts = jnp.sum(truth, axis=1) > 0.0
        lost = contexts & ~jnp.any(known, axis=1)
        return {
            "test_loss": _cross_entropy(world.test, following),
            "entropy": _cross_entropy(joint, following),
            "missing_mass": jnp.sum(jnp.where(known, 0.0, truth)),
            "n_extinct": jnp.sum(~known & (truth > 0.0)),
            "lost_contexts": jnp.sum(lost) / jnp.sum(contexts),
            "distinct": jnp.sum(known) / jnp.sum(model),
            "collision": jnp.sum(p * p),
            "squared_error": jnp.sum((p - truth) ** 2),
            "hallucinated": jnp.sum(jnp.where(truth > 0.0, 0.0, p)),
        }


def _normalised(counts: Num[Array, "contexts vocab"]) -> Float[Array, "contexts vocab"]:
    return counts / jnp.sum(counts)


def _cross_entropy(
    joint: Float[Array, "contexts vocab"], following: Float[Array, "contexts vocab"]
) -> Float[Array, ""]:
    """Mean of minus the logarithm of what a model gives the tokens that follow."""
    log_p = jnp.log(jnp.where(joint > 0.0, following, 1.0))
    return -jnp.sum(jnp.where(joint > 0.0, joint * log_p, 0.0))
