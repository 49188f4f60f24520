"""How varied texts are: measures of their words, which are what white space separates."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from collapse_jax.basics import checks
from collapse_jax.tasks.contract import Variable

VARIETY: dict[str, Variable] = {
    "distinct_1": Variable("different words per word of the generated documents", "1"),
    "distinct_2": Variable("different pairs of words per pair of the generated documents", "1"),
    "distinct_3": Variable("different triples of words per triple of the generated documents", "1"),
    "self_bleu": Variable("mean BLEU of a generated document against all others", "1"),
    "repetition": Variable("share of runs of four words that their document had before", "1"),
    "document_length": Variable("mean length of the generated documents", "words"),
    "zipf_exponent": Variable("exponent of word frequencies by rank", "1"),
}
"""Metrics of language models that are computed where they are named."""
_BLEU_ORDER = 4
_NONE_FOUND = 0.1  # what counts where no run of words is found, so that BLEU is not 0
_REPEATED = 4


def measure_texts(texts: Sequence[str], names: Iterable[str] = tuple(VARIETY)) -> dict[str, float]:
    """How varied some texts are.

    Args:
        texts: the texts.
        names: which measures. Default all: `distinct_1` to `distinct_3`, the different runs of so
            many words per run (Li et al., arXiv 1510.03055); `self_bleu`, the mean BLEU of a text
            against all others, of up to four words and smoothed by method 1 of Chen & Cherry (Zhu
            et al., arXiv 1802.01886); `repetition`, the mean share of runs of four words that the
            same text had before (Welleck et al., arXiv 1908.04319); `document_length`, in words;
            `zipf_exponent`, minus the slope of the logarithm of a word's frequency over that of
            its rank.

    Returns:
        each measure by its name; 0 where texts are too short or too few for it.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> found = measure_texts(["a b a b", "a b c"], ["distinct_1", "distinct_2"])
        >>> {name: round(value, 3) for name, value in found.items()}
        {'distinct_1': 0.429, 'distinct_2': 0.6}
    """
    words = [text.split() for text in texts]
    return {name: _measured(words, checks.one_of("names", name, VARIETY)) for name in names}


def _measured(words: list[list[str]], name: str) -> float:
    if name.startswith("distinct_"):
        return distinct(words, int(name[-1]))
    if name == "document_length":
        return float(np.mean([len(text) for text in words])) if words else 0.0
    functions = {"self_bleu": self_bleu, "repetition": repetition, "zipf_exponent": zipf_exponent}
    return functions[name](words)


def _runs(words: Sequence[str], length: int) -> list[tuple[str, ...]]:
    """All runs of so many words."""
    return list(zip(*(words[i:] for i in range(length)), strict=False))


def distinct(words: Sequence[Sequence[str]], length: int) -> float:
    """The different runs of so many words, per run."""
    runs = [run for text in words for run in _runs(text, length)]
    return len(set(runs)) / len(runs) if runs else 0.0


def repetition(words: Sequence[Sequence[str]]) -> float:
    """Mean share of the runs of four words that their text had before, of texts that have any."""
    runs = [_runs(text, _REPEATED) for text in words]
    shares = [1 - len(set(own)) / len(own) for own in runs if own]
    return float(np.mean(shares)) if shares else 0.0


def zipf_exponent(words: Sequence[Sequence[str]]) -> float:
    """Minus the slope of the logarithm of frequencies over that of ranks, by least squares."""
    counts = np.sort(list(Counter(word for text in words for word in text).values()))[::-1]
    if len(counts) < 2:
        return 0.0
    x, y = np.log(np.arange(1, len(counts) + 1)), np.log(counts)
    return float(-np.sum((x - x.mean()) * y) / np.sum((x - x.mean()) ** 2))


def self_bleu(words: Sequence[Sequence[str]]) -> float:
    """Mean BLEU of each text against all others, in time proportional to their length."""
    if len(words) < 2:
        return 0.0
    logs = np.zeros(len(words))
    known = np.ones(len(words), bool)
    for length in range(1, _BLEU_ORDER + 1):
        found, total = _clipped(words, length)
        known &= (found > 0) | (length > 1)  # without a common word BLEU is 0
        logs += np.log(np.where(found > 0, found, _NONE_FOUND) / np.maximum(total, 1))
    brevity = _brevity([len(text) for text in words])
    return float(np.mean(np.where(known, brevity * np.exp(logs / _BLEU_ORDER), 0.0)))


def _clipped(words: Sequence[Sequence[str]], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the runs of each text those that some other text has as often, and all of them."""
    counts = [Counter(_runs(text, length)) for text in words]
    most: dict[tuple[str, ...], tuple[int, int, int]] = {}  # highest, whose that is, second
    for text, own in enumerate(counts):
        for run, count in own.items():
            first, owner, second = most.get(run, (0, -1, 0))
            if count > first:
                most[run] = count, text, first
            elif count > second:
                most[run] = first, owner, count
    found = [
        sum(
            min(count, most[run][2] if most[run][1] == text else most[run][0])
            for run, count in own.items()
        )
        for text, own in enumerate(counts)
    ]
    return np.array(found), np.array([own.total() for own in counts])


def _brevity(lengths: Sequence[int]) -> np.ndarray:
    """The penalty of texts that are shorter than the other text whose length is nearest."""
    known, penalties = Counter(lengths), {}
    for length, count in known.items():
        others = [other for other in known if other != length or count > 1]
        nearest = min(others, key=lambda other, length=length: (abs(other - length), other))
        short = np.exp(1 - nearest / length) if length else 0.0
        penalties[length] = 1.0 if length > nearest else short
    return np.array([penalties[length] for length in lengths])
