"""The embedded language: its exact numbers against enumeration, sampling and plain loops."""

import collections
import functools
import itertools
import math
import re

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.language.corpora import automaton, story
from collapse_jax.language.corpora.automaton import Automaton, Move, tabulate

GRAMMARS = {"story": cj.corpus.Grammar(), "chat": cj.corpus.Grammar(chat=True)}
both = pytest.mark.parametrize("name", list(GRAMMARS))


def every_document(grammar):
    """All documents of a grammar with their probabilities, by walking its rules, not its tables."""
    rules = grammar._story
    moves = functools.cache(rules.moves)
    found = []

    def walk(slot, words, p):
        for token, step, following in moves(slot):
            if following is None:
                found.append((words, p * step))
            else:
                walk(following, [*words, rules.words[token]], p * step)

    walk(rules.start, [], 1.0)
    return [(" ".join(words).replace(" \n ", "\n"), p) for words, p in found]


def padded(rows, time):
    tokens = np.full((len(rows), time), 77)  # not zeros: nothing may be read there
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return jnp.asarray(tokens), jnp.array([len(row) for row in rows])


@pytest.mark.parametrize("chat", [False, True])
def test_exact_numbers_agree_with_enumeration(chat):
    grammar = cj.corpus.Grammar(2, 3, max_sentences=1, exponent=1.5, chat=chat)
    documents = every_document(grammar)
    texts, p = [text for text, _ in documents], np.array([p for _, p in documents])
    sizes = np.array([len(text.replace("\n", " \n ").split(" ")) + 1 for text in texts])
    # Names, days, then a transitive sentence or one of movement, counted by hand.
    assert len(set(texts)) == len(texts) == 2 * (3 if chat else 1) * (8 * 3 * 9 * 3 * 9 + 4 * 8)
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(grammar.entropy, -np.sum(p * np.log(p)), rtol=1e-12)
    np.testing.assert_allclose(grammar.expected_tokens, p @ sizes, rtol=1e-12)
    np.testing.assert_allclose(grammar.loss_floor, -np.sum(p * np.log(p)) / (p @ sizes), rtol=1e-12)
    assert grammar.max_length == sizes.max()
    for text, probability in documents[:: len(documents) // 50]:
        assert math.isclose(grammar.log_probability(text), math.log(probability), rel_tol=1e-12)
    counts = collections.Counter()
    for text, probability in documents:
        for word in text.replace("\n", " \n ").split(" "):
            counts[word] += probability
    expected = dict(zip(grammar.tokenizer.words, grammar.automaton.expected_counts, strict=True))
    assert expected.pop("<eos>") == pytest.approx(1.0, rel=1e-12)
    assert {word: pytest.approx(count) for word, count in counts.items()} == {
        word: count for word, count in expected.items() if count > 0
    }


@both
def test_one_derivation_per_document(name):
    """Texts, tokens and derivations determine each other."""
    grammar = GRAMMARS[name]
    texts = grammar.sample(300, seed=3)
    for text in texts:
        derivation = grammar.derivation(text)
        assert derivation is not None
        assert " ".join(word for _, word in derivation).replace(" \n ", "\n") == text
        assert grammar.tokenizer.decode(grammar.tokenizer.encode(text)) == text
        assert grammar.is_well_formed(text)
        assert grammar.accepts(text)
    assert grammar.sample(300, seed=3) == texts != grammar.sample(300, seed=4)
    kinds = {kind for text in texts for kind, _ in grammar.derivation(text) or ()}
    assert {"name", "noun", "verb", "place"} <= kinds
    if name == "chat":
        pattern = r"user: what did \w+ do \w+ \?\nassistant: s?he \w+ .* \."
        assert all(re.fullmatch(pattern, text) for text in texts)


@both
def test_host_samples_have_the_exact_entropy(name):
    grammar = GRAMMARS[name]
    texts = grammar.sample(4000, seed=1)
    logs = np.array([grammar.log_probability(text) for text in texts])
    sizes = np.array([len(grammar.tokenizer.encode(text)) + 1 for text in texts])
    assert_mean(-logs, grammar.entropy)
    assert_mean(sizes, grammar.expected_tokens)


@both
def test_device_samples_have_the_exact_law(name):
    grammar = GRAMMARS[name]
    tokens, lengths = jax.jit(grammar.draw, static_argnums=1)(jax.random.key(5), 20_000)
    assert tokens.shape == (20_000, grammar.max_length)
    assert tokens.dtype == lengths.dtype == jnp.int32
    logs = grammar.log_probabilities(tokens, lengths)
    assert_mean(-logs, grammar.entropy, rounding=1e-6)
    assert_mean(lengths, grammar.expected_tokens)
    within = np.arange(grammar.max_length) < np.asarray(lengths)[:, None]
    counts = np.stack(
        [((np.asarray(tokens) == i) & within).sum(axis=1) for i in range(grammar.vocab_size)]
    )
    expected = grammar.automaton.expected_counts
    seen = expected * 20_000 > 100  # rarer ones have no standard error to speak of
    assert_mean(counts[seen], expected[seen], axis=1)
    # The host's account of the same documents.
    texts = cj.corpus.decode_documents(
        np.asarray(tokens)[:200], np.asarray(lengths)[:200], grammar.tokenizer
    )
    host = [grammar.log_probability(text) for text in texts]
    np.testing.assert_allclose(logs[:200], host, rtol=1e-5)


def test_draws_of_replicates_are_those_of_each():
    grammar, keys = GRAMMARS["story"], jax.random.split(jax.random.key(0), 3)
    together = jax.vmap(lambda key: grammar.draw(key, 4))(keys)
    for i, key in enumerate(keys[:2]):
        np.testing.assert_array_equal(together.tokens[i], grammar.draw(key, 4).tokens)
    assert not np.array_equal(together.tokens[0], together.tokens[1])


MALFORMED = [
    "",
    "nora",
    "nora ran to the mill",
    "nora ran to the mill . he ran to the mill .",
    "otto found her lamp .",
    "otto found his lamp . otto ran to the mill .",
    "otto found his lamp . " * 2,
    "otto found  his lamp .",
    " otto found his lamp .",
    "otto found his unicorn .",
    "otto found his lamp . <eos>",
    "she ran to the mill .",
    "otto ran to the mill . he ran to the mill . he ran to the mill . he ran to the mill .",
    "user: what did otto do then ?\nassistant: he ran to the mill .",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_texts(text):
    assert GRAMMARS["story"].log_probability(text) == -math.inf
    assert not GRAMMARS["story"].is_well_formed(text)
    assert GRAMMARS["story"].derivation(text) is None


def test_malformed_rows():
    grammar = GRAMMARS["story"]
    good = [*grammar.tokenizer.encode("otto ran to the mill ."), 0]
    rarest = [*grammar.tokenizer.encode("otto found his barometer ."), 0]
    assert rarest[3] == grammar.vocab_size - 1  # nothing may be taken for the last word
    rows = [
        good,
        good[:-1],  # no EOS
        [*good, 0],  # two
        [*good, *good],
        [*rarest[:3], grammar.vocab_size, *rarest[4:]],  # an embedding may have more rows
        [*rarest[:3], -1, *rarest[4:]],
        [],
        [0],
    ]
    for time in (14, 40):
        logs = grammar.log_probabilities(*padded(rows, time))
        assert math.isclose(
            logs[0], grammar.log_probability("otto ran to the mill ."), rel_tol=1e-6
        )
        assert np.all(np.asarray(logs[1:]) == -np.inf)
    assert grammar.log_probabilities(*padded([good], len(good)))[0] == logs[0]


def test_zipf():
    grammar = cj.corpus.Grammar(n_names=5, n_nouns=4, exponent=2.0)
    counts = dict(zip(grammar.tokenizer.words, grammar.automaton.expected_counts, strict=True))
    for words in (story.NAMES[:5], story.NOUNS[:4]):
        for rank, word in enumerate(words, 1):
            assert math.isclose(counts[words[0]] / counts[word], rank**2)
    names, nouns = 1 + 1 / 4 + 1 / 9 + 1 / 16 + 1 / 25, 1 + 1 / 4 + 1 / 9 + 1 / 16
    assert grammar.tail == {
        "emil": pytest.approx(1 / 16 / names),
        "maren": pytest.approx(1 / 25 / names),
        "ladder": pytest.approx(1 / 9 / nouns),
        "violin": pytest.approx(1 / 16 / nouns),
    }


def survival(grammar, texts):
    """The share of the tail's true frequency that is still there, by a plain count of words."""
    words = [word for text in texts for word in text.split()]
    kept = 0.0
    for kind in (story.NAMES[: grammar.n_names], story.NOUNS[: grammar.n_nouns]):
        n = sum(word in kind for word in words) or 1
        kept += sum(min(words.count(w) / n, grammar.tail[w]) for w in kind if w in grammar.tail)
    return kept / sum(grammar.tail.values())


def test_survival_of_the_tail():
    grammar = GRAMMARS["story"]
    measure = jax.jit(grammar.tail_survival)

    def of(texts):
        rows = [[*grammar.tokenizer.encode(text), 0] for text in texts]
        return float(measure(*padded(rows, grammar.max_length)))

    texts = grammar.sample(300, seed=2)
    common = [text for text in texts if not set(text.split()) & set(grammar.tail)]
    assert 20 < len(common) < 200
    assert of(common) == 0.0
    for some in (texts, texts[:40], common[:5] + texts[:2]):
        np.testing.assert_allclose(of(some), survival(grammar, some), rtol=1e-5)
    assert 0.95 < grammar.tail_survival(*grammar.draw(jax.random.key(0), 20_000)) <= 1.0


def test_distinct_documents():
    grammar = cj.corpus.Grammar(n_names=2, n_nouns=2, max_sentences=1)
    tokens, lengths = grammar.draw(jax.random.key(1), 3000)
    tokens, lengths = np.asarray(tokens), np.asarray(lengths)
    expected = len({tuple(row[:n]) for row, n in zip(tokens.tolist(), lengths, strict=True)})
    assert 500 < expected < 2500
    rubbish = np.where(np.arange(tokens.shape[1]) < lengths[:, None], tokens, -5 + 9 * tokens)
    rubbish[0, lengths[0] :] = 3
    count = jax.jit(cj.corpus.distinct_documents)
    assert count(jnp.asarray(tokens), jnp.asarray(lengths)) == expected
    assert count(jnp.asarray(rubbish), jnp.asarray(lengths)) == expected
    # A prefix, and zeros that belong to the document, are other documents.
    rows = jnp.array([[1, 2, 0], [1, 2, 0], [1, 2, 5], [2, 1, 0], [1, 2, 0]])
    assert count(rows, jnp.array([2, 3, 2, 2, 2])) == 3
    assert count(rows[:1], jnp.array([3])) == 1
    assert count(rows[:0], jnp.zeros(0, jnp.int32)) == 0


def test_accepted_rows_are_accepted_texts():
    """All rows of five tokens out of those that the rule is about."""
    grammar = GRAMMARS["chat"]
    tokenizer = grammar.tokenizer
    alphabet = [tokenizer.encode(word)[0] for word in ("user:", "assistant:", "\n", "lamp")]
    rows = [list(row) for k in range(6) for row in itertools.product(alphabet, repeat=k)]
    rows = [[*row, 0] for row in rows] + [row for row in rows if len(row) == 5]
    tokens, lengths = padded(rows, 6)
    accepted = np.asarray(grammar.accepted(tokens, lengths))
    texts = cj.corpus.decode_documents(np.asarray(tokens), np.asarray(lengths), tokenizer)
    by_rule = [t.startswith("user: ") and t.count("assistant: ") == 1 for t in texts]
    assert accepted.tolist() == by_rule == [grammar.accepts(text) for text in texts]
    assert 100 < sum(by_rule) < 1000
    assert grammar.reformat(texts[0]) == texts[0]
    assert GRAMMARS["story"].accepted(tokens, lengths).all()


def test_equal_arguments_make_equal_grammars():
    assert cj.corpus.Grammar(chat=True) == GRAMMARS["chat"] != GRAMMARS["story"]
    assert hash(cj.corpus.Grammar(chat=True)) == hash(GRAMMARS["chat"])


def test_automata_that_are_none():
    with pytest.raises(ValueError, match="moves must have one move per token, got two in state 0"):
        tabulate(0, lambda state: [Move(1, 0.5, None), Move(1, 0.5, 1)], 2)
    with pytest.raises(ValueError, match="must not lead back"):
        tabulate(0, lambda state: [Move(0, 0.5, None), Move(1, 0.5, 0)], 2)
    with pytest.raises(ValueError, match="must sum to 1"):
        Automaton(np.array([[0.5, 0.4], [0, 0]]), np.array([[1, 1], [1, 1]]))


def test_an_automaton_of_two_documents():
    """EOS alone, or one letter first; the letter of probability 0 never comes."""
    moves = {0: [Move(0, 0.25, None), Move(2, 0.75, 1)], 1: [Move(automaton.EOS, 1.0, None)]}
    two, states = tabulate(0, moves.__getitem__, 4)
    assert states == [0, 1]
    assert two.entropy == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))
    tokens, lengths = two.draw(jax.random.key(0), 4000)
    assert set(map(tuple, tokens.tolist())) == {(0, 0), (2, 0)}
    assert_mean(np.asarray(lengths) - 1.0, 0.75)
    np.testing.assert_allclose(
        two.log_probability(tokens[:50], lengths[:50]),
        np.where(lengths[:50] == 1, math.log(0.25), math.log(0.75)),
        rtol=1e-6,
    )


BAD = [
    ({"n_names": 1}, "n_names must be between 2 and 24, got 1"),
    ({"n_names": 25}, "n_names must be between 2 and 24, got 25"),
    ({"n_nouns": 33}, "n_nouns must be between 2 and 32, got 33"),
    ({"n_nouns": 2.5}, r"n_nouns must be a whole number, got 2\.5"),
    ({"max_sentences": 0}, "max_sentences must be between 1 and 100, got 0"),
    ({"continuation": 1.5}, "continuation must be at most 1, got 1.5"),
    ({"continuation": -0.5}, "continuation must be a finite number of zero or more, got -0.5"),
    ({"exponent": -1.0}, "exponent must be a finite number of zero or more, got -1"),
    ({"chat": 1}, "chat must be True or False, got 1"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[str(a) for a, _ in BAD])
def test_refused(arguments, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((ValueError, TypeError), match=message):
        cj.corpus.Grammar(**arguments)
