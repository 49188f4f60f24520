"""Texts whose tokens are drawn anew: against plain NumPy, and against exact laws of loops."""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.language.corpora.documents import Documents, Masked
from collapse_jax.language.model import editing
from collapse_jax.language.model.training import Optimizer
from collapse_jax.language.weights import pretrained
from collapse_jax.numerics.keys import Role, chain_key, stream
from collapse_jax.numerics.threefry import words
from collapse_jax.numerics.tokens import TokenEdit, redrawn
from collapse_jax.theory import curation as theory

CHECKPOINT = Path(__file__).parent / "language" / "checkpoints" / "gpt2"


def edited(how, **others):
    return cj.Workflow(synthetic=cj.Synthetic(of=how, **others))


@pytest.mark.parametrize(
    ("threshold", "top_k", "beta", "share"),
    [
        (0.3, 2, 1.5, 0.7),
        pytest.param(0.0, None, 1.0, 1.0, marks=pytest.mark.thorough),
        pytest.param(0.3, None, 0.5, 0.6, marks=pytest.mark.thorough),
    ],
)
def test_tokens_and_their_law_are_those_of_a_plain_loop(threshold, top_k, beta, share):
    """Which tokens are drawn anew, one by one, and from which law, as the published code has it."""
    rng, n = np.random.default_rng(0), 40_000
    scores = np.log(np.array([[0.5, 0.3, 0.15, 0.05], [0.25, 0.25, 0.1, 0.4]]))
    place, tokens = rng.integers(0, 2, n), rng.integers(0, 4, n)
    chance = rng.random(n).astype(np.float32)
    how = TokenEdit(share, threshold, beta, top_k)
    drawn = words(jax.random.key(1), (2, n))
    new = np.asarray(
        redrawn(*map(jnp.asarray, (scores[place], tokens, chance)), drawn, how)  # pyright: ignore
    )
    p = np.exp(scores)
    chosen = (p[place, tokens] > threshold) & (chance < share)
    np.testing.assert_array_equal(new[~chosen], tokens[~chosen])
    for row in (0, 1):
        law = special.softmax(scores[row] / beta)
        law[p[row] < np.sort(p[row])[-(top_k or 4)]] = 0.0
        found = np.bincount(new[chosen & (place == row)], minlength=4)
        assert np.all(found[law == 0.0] == 0)
        expected = found.sum() * law[law > 0] / law.sum()
        assert stats.chisquare(found[law > 0], expected).pvalue > 1e-4


@pytest.mark.parametrize("task", ["ngram", pytest.param("categorical", marks=pytest.mark.thorough)])
def test_edited_tokens_drift_as_is_known_exactly(task):
    """Independent masks, from few tokens, at any share; all of them is Replace."""
    p, f, n = [0.5, 0.3, 0.2], 0.4, 12
    made = {
        "ngram": cj.NGram(1, transitions=p, n_samples=4, length=3),
        "categorical": cj.Categorical(probabilities=p, n_samples=n),
    }[task]
    ds = cj.simulate(edited(cj.Edit(f)), made, 8, 6000, progress=False)
    known = theory.edit_collision(p, n, f, 8)
    assert_mean(ds.collision.values, known, rounding=1e-5)
    assert known[-1] < theory.edit_collision(p, n, 1.0, 8)[-1]
    replace = cj.theory.expected(cj.Replace(), cj.Categorical(probabilities=p, n_samples=n), 8)
    np.testing.assert_allclose(theory.edit_collision(p, n, 1.0, 8), replace.collision)


@pytest.mark.thorough
def test_an_edit_of_ngrams_is_that_of_their_table():
    """The tokens that change between two batches are those that the model found too probable."""
    task, made = cj.NGram(2, 5, 200, length=12, zipf=2.5), []
    loop = edited(cj.Edit(threshold=0.4, top_k=2, beta=1.5))
    options = {"observe": made.append, "storage": "rows", "progress": False}
    cj.simulate(loop, task, 3, [7], **options)
    for before, after in itertools.pairwise(made):
        counts = np.asarray(after.model[0])
        old, new = np.asarray(before.rows[0]), np.asarray(after.rows[0])
        p = counts / counts.sum(axis=1, keepdims=True)
        likely = p[old[:, :-1], old[:, 1:]] > 0.4
        changed = old[:, 1:] != new[:, 1:]
        np.testing.assert_array_equal(old[:, 0], new[:, 0])
        assert not np.any(changed & ~likely)
        ranks = np.argsort(np.argsort(-p, axis=1), axis=1)
        assert np.all(ranks[old[:, :-1], new[:, 1:]][changed] == 1)  # the other one of two
        two = (-np.sort(-p, axis=1)[:, :2]) ** (1 / 1.5)
        other = (two[:, 1] / two.sum(axis=1))[old[:, :-1]][likely]
        deviation = np.sqrt(np.sum(other * (1 - other)))
        assert abs(changed[likely].sum() - other.sum()) < 4 * deviation
    nothing = cj.simulate(edited(cj.Edit(threshold=1.0)), task, 3, [7], progress=False)
    assert np.all(nothing.entropy == nothing.entropy[:, :1])


def test_a_decoder_edits_as_its_scores_say(monkeypatch):
    """On a checkpoint, whose scores are held to those of transformers elsewhere."""
    task = cj.LanguageModel(checkpoint=CHECKPOINT)
    vocab, rng = task.architecture.vocab_size, np.random.default_rng(0)
    tokens, lengths = rng.integers(1, vocab, (5, 9)), np.array([9, 4, 1, 7, 2])
    tokens[np.arange(5), lengths - 1] = 0  # EOS, and BOS
    documents = Documents(jnp.asarray(tokens, jnp.int32), jnp.asarray(lengths, jnp.int32))
    keys = tuple(jax.random.split(jax.random.key(0)))
    params = jax.device_put(task.base.params)  # pyright: ignore
    possible = np.arange(vocab) != 3
    scores = task.logits(np.pad(tokens[:, :-1], [(0, 0), (1, 0)]))
    scores = np.where(possible, scores, -np.inf)
    p = special.softmax(scores, axis=-1)
    there = np.take_along_axis(p, tokens[..., None], axis=-1)[..., 0]
    threshold = float(np.median(there))

    def edit(how, rows=documents):
        return editing.edit_documents(
            task.graphdef, params, rows, keys, how, bos_id=0, eos_id=0, possible=possible
        )

    new = edit(TokenEdit(1.0, threshold, 1e-3, None))  # nearly the likeliest token
    np.testing.assert_array_equal(new.lengths, lengths)
    p[..., 0] = 0.0
    inside = (np.arange(9) < lengths[:, None]) & (tokens != 0)
    expected = np.where(inside & (there > threshold), p.argmax(axis=-1), tokens)
    assert np.any(expected != tokens)
    np.testing.assert_array_equal(new.tokens, expected)
    learned = rng.random(tokens.shape) < 0.5  # prompts and structure stay as they are
    some = edit(TokenEdit(1.0, threshold, 1e-3, None), Masked(*documents, jnp.asarray(learned)))
    np.testing.assert_array_equal(some.tokens, np.where(learned, expected, tokens))
    whole = edit(TokenEdit(1.0, 0.0, 1.0, 5))
    least = np.sort(p, axis=-1)[..., -5]
    chosen = np.take_along_axis(p, np.asarray(whole.tokens)[..., None], axis=-1)[..., 0]
    assert np.all((chosen >= least)[inside & (there > 0.0)])
    monkeypatch.setattr(editing, "_ENTRIES", 2 * 9 * vocab)  # two documents at a time
    np.testing.assert_array_equal(edit(TokenEdit(1.0, 0.0, 1.0, 5)).tokens, whole.tokens)


@pytest.mark.thorough
def test_the_loop_of_a_language_model_edits_real_text_first():
    """Batch t + 1 is batch t, with other tokens where model t was too sure of them."""
    grammar = cj.corpus.Grammar(n_names=2, n_nouns=2)
    quick = Optimizer(1e-2, batch_size=8, epochs=6)
    task, made = cj.LanguageModel(grammar, 24, n_test=8, sample_batch=16, optimizer=quick), []
    loop = edited(cj.Edit(threshold=0.2, top_k=8, beta=1.5))
    ds = cj.simulate(loop, task, 2, [4], observe=made.append, progress=False)
    key = chain_key(jnp.uint32(4))
    real = task.real(
        task.world(key, True, None), stream(key, 0, Role.REAL), 24, size=None, index=None
    )
    before, share = real, []
    for generation in made:
        params, after = (
            jax.tree.map(lambda x: x[0], x) for x in (generation.model, generation.rows)
        )
        old, new = np.asarray(before.tokens), np.asarray(after.tokens)
        inside = np.arange(old.shape[1]) < np.asarray(before.lengths)[:, None]
        np.testing.assert_array_equal(before.lengths, after.lengths)
        eos = task.known_tokenizer.eos_id
        fed = np.pad(old[:, :-1], [(0, 0), (1, 0)], constant_values=task.known_tokenizer.bos_id)
        scores = pretrained.logits(task.graphdef, params, fed, task.architecture.vocab_size)
        p = np.take_along_axis(special.softmax(np.asarray(scores), -1), old[..., None], -1)[..., 0]
        likely = inside & (old != eos) & (p > 0.2)
        assert not np.any((old != new) & ~likely)
        share.append(np.mean((old != new)[likely]))
        before = after
    assert min(share) > 0.02
    assert np.all(ds.acceptance_rate == 1.0)


@pytest.mark.parametrize(
    ("how", "task", "message"),
    [
        (lambda: cj.Edit(threshold=1.5), cj.NGram(), "threshold must be between 0 and 1"),
        (lambda: cj.Edit(beta=0.0), cj.NGram(), "beta must be above 0"),
        (lambda: cj.Edit(top_k=0), cj.NGram(), "top_k must be between 1"),
        (lambda: cj.Edit(threshold=0.9), cj.Categorical(), "whose rows are no texts"),
        (lambda: cj.Edit(top_k=4), cj.Gaussian(), "whose rows are no texts"),
    ],
)
def test_refused(how, task, message):
    with pytest.raises(ValueError, match=message):
        cj.simulate(edited(how()), task, 2, 2, progress=False)
