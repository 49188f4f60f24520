"""The rules of the embedded language: who did what, and where.

A document tells of one person, by name and then by the pronoun that goes with the name:

    nora found a red lamp at the market . she walked to the mill .

The name decides every pronoun and possessive up to the end. As a chat the name is in the prompt,
and the response has pronouns only.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from collapse_jax.language.corpora.automaton import Move

NAMES = (
    *("nora", "otto", "ilse", "emil", "maren", "ravi", "tessa", "jonas", "juno", "felix", "petra"),
    *("karl", "lina", "milo", "vera", "bruno", "hanne", "pavel", "sofie", "henrik", "olga", "luca"),
    *("ada", "anton"),
)
"""By rank: the first is the most frequent. Those at even places are followed by "she"."""

NOUNS = (
    *("lamp", "kettle", "ladder", "violin", "basket", "compass", "blanket", "hammer", "mirror"),
    *("teapot", "bicycle", "candle", "drum", "map", "clock", "kite", "barrel", "trumpet", "saddle"),
    *("bucket", "pillow", "chisel", "globe", "whistle", "spindle", "telescope", "lantern"),
    *("zither", "dulcimer", "sundial", "pendulum", "barometer"),
)
"""By rank: the first is the most frequent."""

_TAKING = ("found", "sold", "repaired", "painted", "carried", "hid", "lost", "bought")
_GOING = ("walked", "ran", "cycled", "hurried")
_ADJECTIVES = ("red", "small", "heavy", "broken", "silver", "borrowed", "wooden", "dusty")
_PLACES = ("market", "harbour", "garden", "library", "station", "mill", "museum", "lighthouse")
_DAYS = ("yesterday", "today", "then")
_PRONOUNS = {"she": "her", "he": "his"}

END_OF_DOCUMENT, NEW_LINE, USER, ASSISTANT = "<eos>", "\n", "user:", "assistant:"

# Kinds of words of which there is one: it, and what follows.
_FIXED = {
    "user": (USER, "what"),
    "what": ("what", "did"),
    "did": ("did", "name"),
    "do": ("do", "day"),
    "?": ("?", "new line"),
    "new line": (NEW_LINE, "assistant"),
    "assistant": (ASSISTANT, "pronoun"),
    "to": ("to", "the"),
    "the": ("the", "place"),
}
# Shares of the choices that are not between words of one kind.
_TAKES, _HAS_ADJECTIVE, _HAS_PLACE = 0.75, 0.5, 0.4
_DETERMINERS = (0.4, 0.3)  # "a" and "the"; else the possessive


class Slot(NamedTuple):
    """A state of the language: which kind of word comes next, and what must be remembered."""

    kind: str
    sentence: int = 1
    pronoun: str = ""  # until the name has decided it: none


class Story:
    """The rules for given sizes, as `automaton.tabulate` wants them.

    For the arguments see `collapse_jax.corpus.Grammar`, which checks them.
    """

    def __init__(
        self,
        n_names: int,
        n_nouns: int,
        max_sentences: int,
        continuation: float,
        exponent: float,
        chat: bool,
    ):
        self.names, self.nouns = NAMES[:n_names], NOUNS[:n_nouns]
        self.max_sentences, self.continuation, self.chat = max_sentences, continuation, chat
        self.name_law, self.noun_law = zipf(n_names, exponent), zipf(n_nouns, exponent)
        asking = (USER, "what", "did", "do", *_DAYS, "?", NEW_LINE, ASSISTANT) if chat else ()
        self.words = (
            *(END_OF_DOCUMENT, ".", *asking),
            *("she", "he", "her", "his", "a", "the", "at", "to"),
            *(*_TAKING, *_GOING, *_ADJECTIVES, *_PLACES, *self.names, *self.nouns),
        )
        self.ids = {word: i for i, word in enumerate(self.words)}
        self.start = Slot("user" if chat else "name")

    def moves(self, slot: Slot) -> list[Move]:
        """The words that may follow, their probabilities, and the slots they lead to."""
        return [
            Move(self.ids[word], p, following) for word, p, following in self._moves(slot) if p > 0
        ]

    def _moves(self, slot: Slot) -> Sequence[tuple[str, float, Slot | None]]:
        def go(kind: str) -> Slot:
            return slot._replace(kind=kind)

        def spread(words: tuple[str, ...], kind: str, share: float = 1.0):
            return [(word, share / len(words), go(kind)) for word in words]

        match slot.kind:
            case "name":
                pronouns = tuple(_PRONOUNS)
                following = "do" if self.chat else "verb"
                return [
                    (name, p, Slot(following, slot.sentence, pronouns[rank % 2]))
                    for rank, (name, p) in enumerate(zip(self.names, self.name_law, strict=True))
                ]
            case "pronoun":
                return [(slot.pronoun, 1.0, go("verb"))]
            case "verb":
                return [
                    *spread(_TAKING, "determiner", _TAKES),
                    *spread(_GOING, "to", 1.0 - _TAKES),
                ]
            case "determiner":
                determiners = ("a", "the", _PRONOUNS[slot.pronoun])
                shares = (*_DETERMINERS, 1.0 - sum(_DETERMINERS))
                return [
                    (word, p, go("object")) for word, p in zip(determiners, shares, strict=True)
                ]
            case "object":
                adjectives = spread(_ADJECTIVES, "noun", _HAS_ADJECTIVE)
                return [*adjectives, *self._noun(slot, 1.0 - _HAS_ADJECTIVE)]
            case "noun":
                return self._noun(slot, 1.0)
            case "where":
                return [
                    ("at", _HAS_PLACE, go("the")),
                    (".", 1.0 - _HAS_PLACE, self._next(slot)),
                ]
            case "place":
                return spread(_PLACES, "stop")
            case "stop":
                return [(".", 1.0, self._next(slot))]
            case "end":
                more = self.continuation if slot.sentence <= self.max_sentences else 0.0
                return [
                    (slot.pronoun, more, go("verb")),
                    (END_OF_DOCUMENT, 1.0 - more, None),
                ]
            case "day":
                return spread(_DAYS, "?")
            case kind:
                word, following = _FIXED[kind]
                return [(word, 1.0, go(following))]

    def _noun(self, slot: Slot, share: float) -> Sequence[tuple[str, float, Slot | None]]:
        where = slot._replace(kind="where")
        return [
            (noun, share * float(p), where)
            for noun, p in zip(self.nouns, self.noun_law, strict=True)
        ]

    def _next(self, slot: Slot) -> Slot:
        return Slot("end", slot.sentence + 1, slot.pronoun)


def zipf(n: int, exponent: float) -> np.ndarray:
    """Probabilities of `n` ranks, proportional to `rank**-exponent`. `[n]`"""
    weights = np.arange(1.0, n + 1.0) ** -exponent
    return weights / weights.sum()
