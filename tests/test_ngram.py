"""Tables of n-grams against exact theory, against plain counts, and against their own chains."""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax import theory
from collapse_jax.records.config import run_arguments
from collapse_jax.tasks.texts import corpora

WORKFLOWS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "accumulate-subsample": cj.AccumulateSubsample(),
}
P = np.array([[0.6, 0.4, 0.0], [0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])
WORDS = "the cat sat on the mat and the dog sat on the cat and ran and ran to the mat"
TEXT = WORDS.split()


def run(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options)


@pytest.mark.parametrize(
    ("workflow", "order", "length"),
    [
        pytest.param("replace", 1, 3, marks=pytest.mark.thorough),
        pytest.param("accumulate", 1, 3, marks=pytest.mark.thorough),
        ("replace", 2, 2),
        pytest.param("accumulate-subsample", 2, 2, marks=pytest.mark.thorough),
    ],
)
def test_independent_ngrams_agree_with_theory(workflow, order, length):
    task = cj.NGram(order, 3, 8, length=length)
    ds = run(WORKFLOWS[workflow], task, 6, 6000)
    expected = theory.expected(WORKFLOWS[workflow], task, 6)
    exact = [name for name, curve in expected.items() if curve.attrs["kind"] == "exact"]
    assert {"collision", "squared_error"} <= set(exact)
    assert ("n_extinct" in exact) == (workflow != "accumulate-subsample")
    for name in exact:
        assert_mean(ds[name].values, expected[name].values, rounding=1e-5)
    if "missing_mass" in expected:
        least = ds.missing_mass.values.mean(axis=0) - expected.missing_mass.values
        np.testing.assert_array_less(least, 0.01)


@pytest.mark.thorough
def test_rare_ngrams_die_out_as_branching_processes_do():
    """Of a law with a long tail; what is lost is what theory says."""
    task = cj.NGram(2, 40, 3000, length=2, zipf=1.5)
    ds = run(cj.Replace(), task, 6, 64)
    bound = theory.wright_fisher.missing_mass(np.asarray(task.truth).ravel(), 3000, 6)
    mean = ds.missing_mass.values.mean(axis=0)
    np.testing.assert_allclose(mean, bound, rtol=0.02)
    # In texts n-grams overlap, and are nearly as if they did not.
    text = cj.NGram(2, 40, 150, length=21, zipf=1.5)
    overlapping = run(cj.Replace(), text, 6, 64).missing_mass.values.mean(axis=0)
    np.testing.assert_allclose(overlapping, bound, rtol=0.1)


@pytest.mark.thorough
def test_order_one_is_a_categorical():
    p = [0.5, 0.3, 0.2]
    ngram = run(cj.Replace(), cj.NGram(1, transitions=p, n_samples=4, length=3), 5, 4000)
    plain = run(cj.Replace(), cj.Categorical(probabilities=p, n_samples=12), 5, 4000)
    for name in ("entropy", "collision", "n_extinct"):
        for t in (0, 4):
            first, second = (np.round(ds[name].values[:, t], 5) for ds in (ngram, plain))
            values = np.union1d(first, second)
            table = [[np.sum(x == v) for v in values] for x in (first, second)]
            together = np.array(table)[:, np.sum(table, axis=0) > 20]
            pvalue: Any = stats.chi2_contingency(together)[1]
            assert pvalue > 1e-5


@pytest.mark.parametrize("smoothing", [0.0, pytest.param(0.5, marks=pytest.mark.thorough)])
def test_tables_are_plain_counts(smoothing):
    """Counts, laws of the next token and metrics, by loops over the text."""
    task = cj.NGram(3, data=TEXT * 4, length=9, smoothing=smoothing, test_fraction=0.3)
    seen = []
    ds = run(cj.Replace(), task, 2, 1, observe=seen.append, storage="rows")
    names = list(task.outcomes or ())

    def ngrams(rows):
        return [tuple(row[i : i + 3]) for row in np.asarray(rows).tolist() for i in range(7)]

    counts = Counter(ngrams(task.train))
    table = np.asarray(seen[0].model[0]).reshape(3 * (len(names),))
    assert {place: table[place] for place in np.ndindex(table.shape) if table[place]} == counts

    total, v = sum(counts.values()), len(names)
    after, last = Counter(), Counter()
    for (a, b, c), count in counts.items():
        after[a, b] += count
        last[c] += count

    def log_p(a, b, c):
        if smoothing == 0.0 and not after[a, b]:
            return np.log(last[c] / total) if last[c] else -np.inf
        p = (counts[a, b, c] + smoothing) / (after[a, b] + smoothing * v)
        return np.log(p) if p else -np.inf

    test = ngrams(task.test)
    loss = -np.mean([log_p(*ngram) for ngram in test])
    np.testing.assert_allclose(ds.test_loss.values[0, 0], loss, rtol=1e-5)
    generated = Counter(ngrams(seen[0].rows[0]))
    missing = sum(count for ngram, count in counts.items() if not generated[ngram]) / total
    np.testing.assert_allclose(ds.missing_mass.values[0, 1], missing, atol=1e-6)
    contexts = {ngram[:2] for ngram in counts}
    lost = len(contexts - {ngram[:2] for ngram in generated}) / len(contexts)
    np.testing.assert_allclose(ds.lost_contexts.values[0, 1], lost, atol=1e-6)
    assert ds.n_extinct.values[0, 1] == len(counts.keys() - generated.keys())
    distinct = len(generated) / sum(generated.values())
    np.testing.assert_allclose(ds.distinct.values[0, 1], distinct, rtol=1e-6)
    if smoothing == 0.0:
        entropy = -sum(n * log_p(*ngram) for ngram, n in counts.items()) / total
        np.testing.assert_allclose(ds.entropy.values[0, 0], entropy, rtol=1e-5)


def law_of(rows, order, size):
    """Frequencies of contexts and of tokens after them."""
    counts = np.zeros(size**order, int)
    n = rows.shape[1] - order + 1
    place = sum(rows[:, i : n + i] * size ** (order - 1 - i) for i in range(order))
    np.add.at(counts, place, 1)
    return counts.reshape(-1, size)


@pytest.mark.parametrize(
    ("temperature", "weigh", "smoothing"),
    [
        pytest.param(None, 1, 0.0, id="counts"),
        pytest.param(0.5, 1, 0.0, id="temperature"),
        pytest.param(None, 0.5, 0.0, id="weights", marks=pytest.mark.thorough),
        pytest.param(None, 1, 1.0, id="smoothing", marks=pytest.mark.thorough),
    ],
)
def test_sequences_follow_the_table(temperature, weigh, smoothing):
    """Each token by its context; after a context without followers, by its frequency."""
    counts = np.array([[5, 3, 2], [4, 0, 6], [0, 0, 0]])
    task = cj.NGram(2, 3, 10, length=9, smoothing=smoothing)
    heat = None if temperature is None else jnp.float32(temperature)
    model = jnp.asarray(counts * weigh)
    world = task.world(jax.random.key(0), True, None)
    rows = task.sample(world, model, jax.random.key(0), 20_000, temperature=heat)
    found = law_of(np.asarray(rows), 2, 3)
    weights = counts * weigh + smoothing
    first = weights.sum(axis=1) / weights.sum()
    assert (
        stats.chisquare(
            np.bincount(rows[:, 0], minlength=3)[first > 0], 20_000 * first[first > 0]
        ).pvalue
        > 1e-5
    )
    weights[2] = weights[2] if smoothing else weights.sum(axis=0)
    p = weights ** (1.0 if temperature is None else 1 / temperature)
    p = p / p.sum(axis=1, keepdims=True)
    assert np.all(found[p == 0.0] == 0)
    for seen, law in zip(found, p, strict=True):
        assert stats.chisquare(seen[law > 0], seen.sum() * law[law > 0]).pvalue > 1e-5


@pytest.mark.parametrize(
    "order", [2, *(pytest.param(k, marks=pytest.mark.thorough) for k in (1, 3))]
)
def test_real_text_is_that_of_the_language(order):
    table = {1: P[0], 2: P, 3: np.stack([P, P[::-1], P[:, ::-1]])}[order]
    task = cj.NGram(order, transitions=table, n_samples=10, length=6)
    world = task.world(jax.random.key(0), True, None)
    rows = task.real(world, jax.random.key(1), 40_000, size=None, index=None)
    for part in (rows[:, :order], rows[:, -order:]):  # in equilibrium: the same at both ends
        found, truth = law_of(np.asarray(part), order, 3), np.asarray(world.truth, np.float64)
        assert np.all(found[truth == 0.0] == 0)
        expected = found.sum() * truth[truth > 0] / truth.sum()
        assert stats.chisquare(found[truth > 0], expected).pvalue > 1e-5


@pytest.mark.thorough
def test_the_language_of_zipf_is_in_equilibrium():
    for order in (1, 2, 3):
        contexts, following = cj.NGram(order, 4, zipf=1.3).language
        joint = (contexts[:, None] * following).reshape((4,) * order)
        np.testing.assert_allclose(joint.sum(axis=0), joint.sum(axis=-1), rtol=1e-5)
        ranks = np.arange(1, 5.0) ** -1.3
        np.testing.assert_allclose(-np.sort(-following, axis=1)[0], ranks / ranks.sum(), rtol=1e-5)


def test_equilibria_are_those_of_long_texts():
    p = np.stack([P, P[::-1], P[:, ::-1]])
    law = np.full((3, 3), 1 / 9)
    for _ in range(2000):  # by iteration
        law = 0.5 * law + 0.5 * np.einsum("ab,abc->bc", law, p)
    np.testing.assert_allclose(corpora.equilibrium(p), law.ravel(), atol=1e-10)
    with pytest.raises(ValueError, match="one equilibrium"):
        corpora.equilibrium(np.eye(2))


@pytest.mark.thorough
def test_a_run_with_a_text_is_made_again():
    documents = [TEXT[:9], TEXT[9:], " ".join(TEXT)] * 3
    task = cj.NGram(2, 6, data=documents, length=4)
    assert task.vocab_size == 6
    assert task.outcomes is not None
    assert task.outcomes[-1] == "<other>"
    ds = run(cj.Accumulate(), task, 3, 2)
    again = cj.simulate(**run_arguments(ds, data=documents), progress=False)
    assert ds.equals(again)
    with pytest.raises(ValueError, match="fingerprint differs"):
        run_arguments(ds, data=[*documents, TEXT[::-1]])


def test_texts_as_they_may_be_given():
    read = corpora.read_text
    tokens, vocabulary = read("b a b", None)
    assert (tokens.tolist(), vocabulary) == ([1, 0, 1], ("a", "b"))
    assert read(["b", "a", "b"], None).tokens.tolist() == [1, 0, 1]
    assert read(np.array([7, 3, 7]), None).vocabulary == ("3", "7")
    assert read([[7, 3], [3, 7]], None).vocabulary == ("3", "7", "<end>")
    kept = read(list("aaabbc"), 2)
    assert (kept.tokens.tolist(), kept.vocabulary) == ([0, 0, 0, 1, 1, 1], ("a", "<other>"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cj.NGram(0), "order must be between 1"),
        (lambda: cj.NGram(3, length=2), "length must be between 3"),
        (lambda: cj.NGram(2, 10_000), "vocab_size .* order must be at most"),
        (lambda: cj.NGram(zipf=1.0, transitions=P), "zipf cannot be given together with tr"),
        (lambda: cj.NGram(2, 4, transitions=P), "vocab_size must be 3"),
        (lambda: cj.NGram(3, transitions=P), "transitions must have 3 dimensions"),
        (lambda: cj.NGram(transitions=P[:, :2]), "transitions must have the shape"),
        (lambda: cj.NGram(transitions=P - 0.1), "transitions must not be negative"),
        (lambda: cj.NGram(transitions=P * 1.1), "transitions must sum to 1 .* context"),
        (lambda: cj.NGram(smoothing=-1.0), "smoothing must be"),
        (lambda: cj.NGram(data="a a a a a a"), "two or more different tokens"),
        (lambda: cj.NGram(data=["the cat", "a dog"]), "got the token 'the cat'"),
        (lambda: cj.NGram(data=["a", None, "b"]), "no missing tokens, got one at place 1"),
        (lambda: cj.NGram(data=list("abc") * 20), "four sequences of length=20"),
        (lambda: cj.NGram(data=TEXT * 9, n_samples=100), "n_samples must not exceed"),
        (lambda: cj.NGram(data=3.5), "data must be"),
        (lambda: cj.NGram(data=[[["a", "b"], ["c"]]] * 9), "one of its documents holds others"),
        (lambda: cj.NGram(data=["a", "<other>", "b"] * 20, vocab_size=2), "the token '<other>'"),
        (lambda: cj.NGram(data=[["a", "<end>"], ["b"]] * 20), "must not have the token '<end>'"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
