"""Measures of the words of texts: against NLTK's values, a plain twin, and by hand."""

import math
import random
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import collapse_jax as cj
from collapse_jax.language.corpora.encoding import decode_documents
from collapse_jax.language.corpora.variety import VARIETY, measure_texts
from collapse_jax.language.model.training import Optimizer
from collapse_jax.language.weights import pretrained
from collapse_jax.numerics.keys import Role, chain_key, stream


def random_texts(n, words, shortest, longest, seed=0):
    r = random.Random(seed)
    return [
        " ".join(r.choice(words) for _ in range(r.randint(shortest, longest))) for _ in range(n)
    ]


def plain_bleu(hypothesis, references):
    """BLEU by its definition (Papineni et al., 2002), smoothed by method 1 of Chen & Cherry."""
    logs = 0.0
    for n in range(1, 5):
        runs = Counter(tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1))
        known = [
            Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for text in references
        ]
        found = sum(min(c, max(own[run] for own in known)) for run, c in runs.items())
        if n == 1 and found == 0:
            return 0.0
        logs += math.log((found or 0.1) / max(1, runs.total())) / 4
    nearest = min((abs(len(text) - len(hypothesis)), len(text)) for text in references)[1]
    short = len(hypothesis) <= nearest
    return math.exp(logs) * (math.exp(1 - nearest / len(hypothesis)) if short else 1.0)


@pytest.mark.parametrize(
    ("texts", "nltk"),
    [
        (random_texts(50, "abcdef", 1, 15), 0.5566286083527098),
        (random_texts(6, "abcdefghijklmnopqrstuvwxyz", 1, 5, seed=3), None),
        (["a b c d e", "a b c d e", "x y z"], None),
        (["a", "b", "a"], None),
    ],
)
def test_self_bleu_is_that_of_nltk(texts, nltk):
    """The number is NLTK's, by `sentence_bleu` with `SmoothingFunction().method1`."""
    words = [text.split() for text in texts]
    plain = [plain_bleu(text, words[:i] + words[i + 1 :]) for i, text in enumerate(words)]
    found = measure_texts(texts, ["self_bleu"])["self_bleu"]
    np.testing.assert_allclose(found, np.mean(plain), rtol=1e-12)
    if nltk is not None:
        np.testing.assert_allclose(found, nltk, rtol=1e-12)


def test_other_measures_are_what_they_say():
    texts = ["a b c d a b c d a", "a b", ""]
    found = measure_texts(texts)
    assert list(found) == list(VARIETY)
    np.testing.assert_allclose(found["distinct_1"], 4 / 11)
    np.testing.assert_allclose(found["distinct_2"], 4 / 9)
    np.testing.assert_allclose(found["distinct_3"], 4 / 7)
    np.testing.assert_allclose(found["repetition"], 2 / 6)
    np.testing.assert_allclose(found["document_length"], 11 / 3)
    counts = np.array([4, 3, 2, 2])
    slope = np.polyfit(np.log([1, 2, 3, 4]), np.log(counts), 1)[0]
    np.testing.assert_allclose(found["zipf_exponent"], -slope)
    zipf = [" ".join(f"w{r}" for r in range(1, 200) for _ in range(round(1e5 / r**1.2)))]
    np.testing.assert_allclose(measure_texts(zipf, ["zipf_exponent"])["zipf_exponent"], 1.2, 1e-3)
    assert set(measure_texts([]).values()) == set(measure_texts(["", ""]).values()) == {0.0}
    with pytest.raises(ValueError, match="did you mean 'self_bleu'"):
        measure_texts(texts, ["self-bleu"])


@pytest.mark.thorough
def test_a_run_measures_what_is_asked_for_and_nothing_else():
    grammar = cj.corpus.Grammar(n_names=2, n_nouns=2)
    quick = Optimizer(1e-2, batch_size=8, epochs=2)
    task = cj.LanguageModel(grammar, 16, n_test=8, sample_batch=16, optimizer=quick)
    assert {*task.on_request} - {*task.variables} == {"base_perplexity"}  # there is no first model
    names, made = ["test_loss", "next_entropy", *VARIETY], []
    ds = cj.simulate(
        cj.Replace(), task, 1, [4, 2], metrics=names, observe=made.append, progress=False
    )
    assert set(ds) == set(names)
    for chain, seed in enumerate([4, 2]):
        tokens, lengths = (np.asarray(x)[chain] for x in made[0].documents)
        texts = decode_documents(tokens, lengths, task.known_tokenizer)
        for name, value in measure_texts(texts).items():
            np.testing.assert_allclose(ds[name].sel(seed=seed).item(), value, rtol=1e-6)
        world = task.world(stream(chain_key(jnp.uint32(seed)), 0, Role.WORLD), True, None)
        params = jax.tree.map(lambda x, chain=chain: x[chain], made[0].params)
        fed = np.pad(np.asarray(world.test.tokens)[:, :-1], [(0, 0), (1, 0)])
        scores = pretrained.logits(task.graphdef, params, fed, task.architecture.vocab_size)
        entropy = np.sum(special.entr(special.softmax(np.asarray(scores), -1)), axis=-1)
        inside = np.arange(fed.shape[1]) < np.asarray(world.test.lengths)[:, None]
        found = ds.next_entropy.sel(seed=seed).item()
        np.testing.assert_allclose(found, entropy[inside].mean(), rtol=1e-5)
