"""Sampling: the exact law of documents, filters against transformers, ends, replicates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Decoder
from collapse_jax.language.model.sampling import Sampling, draw_index, sample

pytestmark = pytest.mark.thorough

BOS, EOS, VOCAB = 4, 2, 5
ARCHITECTURE = Architecture(vocab_size=VOCAB, context=24, width=8, depth=2, heads=2)


@functools.cache
def model(seed=0):
    graphdef, params = nnx.split(Decoder(ARCHITECTURE, rngs=nnx.Rngs(0)))
    draw = np.random.default_rng(seed).normal
    return graphdef, jax.tree.map(lambda x: jnp.asarray(draw(0, 0.5, x.shape), x.dtype), params)


@functools.cache
def program(n, length, eos_id=EOS):
    def run(params, key, settings):
        options = {"bos_id": BOS, "eos_id": eos_id, "settings": settings}
        return sample(model()[0], params, key, n, length, **options)

    return jax.jit(run)


@jax.jit
def whole_pass(params, tokens):
    """Scores after BOS and after each token, by a whole pass."""
    decoder = nnx.merge(model()[0], params)
    inputs = jnp.pad(tokens, [(0, 0), (1, 0)], constant_values=BOS)
    return decoder.logits(decoder.hidden(inputs))


def scores_after(prefixes):
    """Scores after each prefix, in float64."""
    padded = np.zeros((-(-len(prefixes) // 32) * 32, 19), np.int32)
    for row, prefix in zip(padded, prefixes, strict=False):
        row[: len(prefix)] = prefix
    ends = [len(prefix) for prefix in prefixes]
    scores = np.asarray(whole_pass(model()[1], padded), np.float64)
    return scores[np.arange(len(ends)), ends]


def filtered(scores, temperature=1.0, top_k=None, top_p=None):
    """The law of the next token by its definition, in plain Python."""
    order = np.argsort(-scores)
    if temperature == 0:
        return np.eye(len(scores))[order[0]]
    law = np.exp((scores - scores.max()) / temperature)
    if top_k is not None:
        law[order[top_k:]] = 0.0
    law /= law.sum()
    if top_p is not None:
        kept = total = 0
        while total < top_p:
            total += law[order[kept]]
            kept += 1
        law[order[kept:]] = 0.0
    return law / law.sum()


def exact_law(length, **settings):
    """Probabilities of all documents of at most `length` tokens, and of all that are cut there."""
    law = {}
    prefixes = {(): 1.0}
    for _ in range(length):
        grown = {}
        rows = scores_after(list(prefixes))
        for (prefix, p), scores in zip(prefixes.items(), rows, strict=True):
            for token, q in enumerate(filtered(scores, **settings)):
                (law if token == EOS else grown)[(*prefix, token)] = p * q
        prefixes = grown
    return law | prefixes


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.6}, {"top_k": 3}, {"top_p": 0.8}, {"temperature": 2.0, "top_k": 4}],
)
def test_documents_have_the_exact_law(settings):
    n = 40_000
    documents, finished = program(n, 3)(model()[1], jax.random.key(7), Sampling(**settings))
    rows = zip(*map(np.asarray, (*documents, finished)), strict=True)
    counts = {}
    for tokens, length, done in rows:
        document = tuple(tokens[:length].tolist())
        assert done == (document[-1] == EOS)
        counts[document] = counts.get(document, 0) + 1
    law = exact_law(3, **settings)
    assert abs(sum(law.values()) - 1) < 1e-9
    possible = {document for document, p in law.items() if p > 0}
    assert set(counts) <= possible
    assert len(possible) > 10
    common = [document for document in possible if law[document] * n > 10]
    observed = [counts.get(document, 0) for document in common]
    expected = [law[document] * n for document in common]
    rest = n - sum(expected)
    if rest > 10:
        observed.append(n - sum(observed))
        expected.append(rest)
    expected = np.array(expected) * sum(observed) / sum(expected)
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_temperature_zero_is_greedy():
    documents, _ = program(3, 20)(model()[1], jax.random.key(0), Sampling(0.0))
    expected = ()
    while len(expected) < 20 and EOS not in expected:
        expected = (*expected, int(np.argmax(scores_after([expected])[0])))
    assert {tuple(row[: len(expected)].tolist()) for row in documents.tokens} == {expected}


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7},
        {"top_k": 4},
        {"top_k": 1},
        {"top_k": 1000},
        {"top_p": 0.3},
        {"top_p": 1e-9},
        {"top_p": 1.0},
        {"temperature": 1.4, "top_k": 9, "top_p": 0.6},
    ],
)
@pytest.mark.filterwarnings("default")
def test_weights_are_those_of_transformers(settings):
    torch = pytest.importorskip("torch")
    process = pytest.importorskip("transformers.generation.logits_process")
    scores = np.random.default_rng(0).normal(0, 2, (50, 23)).astype(np.float32)
    expected = torch.from_numpy(scores)
    if "temperature" in settings:
        expected = process.TemperatureLogitsWarper(settings["temperature"])(None, expected)
    if "top_k" in settings:
        expected = process.TopKLogitsWarper(settings["top_k"])(None, expected)
    if "top_p" in settings:
        expected = process.TopPLogitsWarper(settings["top_p"])(None, expected)
    expected = torch.softmax(expected, dim=-1).numpy()
    found = np.asarray(Sampling(**settings).weights(jnp.asarray(scores)))
    np.testing.assert_array_equal(found > 0, expected > 0)
    np.testing.assert_allclose(
        found / found.sum(axis=1, keepdims=True), expected, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("vocab", [1, 2, 7, 16, 1000])
def test_an_index_is_drawn_in_proportion_to_its_weight(vocab):
    """A fine grid of uniform numbers: frequencies are exact to the grid's spacing."""
    weights = np.random.default_rng(vocab).exponential(size=vocab)
    weights[1::3] = 0.0
    grid = 512
    u = (np.arange(grid) + 0.5) / grid
    uniforms = jnp.asarray(np.stack(np.meshgrid(u, u)).reshape(2, -1), jnp.float32)
    rows = jnp.broadcast_to(jnp.asarray(weights, jnp.float32), (grid * grid, vocab))
    index = np.asarray(jax.jit(draw_index)(rows, uniforms))
    frequency = np.bincount(index, minlength=vocab) / grid**2
    assert (frequency[weights == 0] == 0).all()
    np.testing.assert_allclose(frequency, weights / weights.sum(), rtol=0, atol=3 / grid)


def test_extreme_uniform_numbers_draw_possible_indices():
    weights = jnp.asarray([[0.0, 0.3, 0.0, 0.7, 0.0]] * 4)
    first, last = 2.0**-24, 1 - 2.0**-24
    uniforms = jnp.asarray([[first, first, last, last], [first, last, first, last]])
    assert draw_index(weights, uniforms).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("length", [1, 16, 17, 24])
def test_documents_end_where_they_say(length):
    """Also across the lengths at which the cache grows."""
    (tokens, lengths), finished = program(300, length)(model()[1], jax.random.key(1), Sampling(1.5))
    tokens, lengths, finished = map(np.asarray, (tokens, lengths, finished))
    assert tokens.shape == (300, length)
    ended = tokens[np.arange(300), lengths - 1] == EOS
    np.testing.assert_array_equal(ended, finished)
    np.testing.assert_array_equal(lengths[~finished], length)
    before = np.arange(length) < lengths[:, None] - 1
    assert not (tokens[before] == EOS).any()
    beyond = np.arange(length) >= lengths[:, None]
    assert not tokens[beyond].any()
    assert 0 < finished.sum() < 300 or length > 16


def test_a_model_that_never_ends_is_cut():
    (tokens, lengths), finished = program(3, 20, eos_id=VOCAB)(
        model()[1], jax.random.key(0), Sampling()
    )
    assert not finished.any()
    assert lengths.tolist() == [20] * 3
    assert len(np.unique(tokens, axis=0)) == 3


def test_long_documents_have_the_law_of_whole_passes():
    """The scores behind the draws at all positions, by the probability transform of each token."""
    n, length = 2000, 24
    (tokens, _), _ = program(n, length, eos_id=VOCAB)(model()[1], jax.random.key(5), Sampling())
    scores = np.asarray(whole_pass(model()[1], tokens[:, :-1]), np.float64)
    laws = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    drawn = np.eye(VOCAB)[np.asarray(tokens)]
    variance = (laws * (1 - laws)).sum(axis=0)
    z = (drawn - laws).sum(axis=0) / np.sqrt(variance)
    assert np.abs(z).max() < stats.norm.isf(1e-5 / z.size)


def test_replicates_in_one_program_are_single_runs():
    """Those that finish early wait for the others, and are not changed by that."""
    params = [model()[1], jax.tree.map(lambda x: 0.3 * x, model(seed=1)[1])]
    keys = jax.random.split(jax.random.key(0), 2)
    both = jax.jit(jax.vmap(program(6, 24), in_axes=(0, 0, None)))
    settings = Sampling()
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *params)
    found = both(stacked, keys, settings)
    single = [program(6, 24)(p, key, settings) for p, key in zip(params, keys, strict=True)]
    assert single[0][0].lengths.max() != single[1][0].lengths.max()
    expected = jax.tree.map(lambda *x: jnp.stack(x), *single)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_loop_over_replicates_has_one_condition():
    """With one for each, the caches would be copied at each step."""
    both = jax.vmap(program(6, 16), in_axes=(0, 0, None))
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), model()[1])
    keys = jax.random.split(jax.random.key(0), 2)
    text = str(jax.make_jaxpr(both)(stacked, keys, Sampling()))
    cache = "f32[2,6,2,16,4]"
    selected = [line for line in text.splitlines() if "select_n" in line and cache in line]
    assert cache in text
    assert not selected


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"temperature": -1.0}, "temperature must be a finite number of zero or more, got -1"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"top_k": 0}, "top_k must be between 1 and"),
        ({"top_p": 0.0}, "top_p must be a finite positive number, got 0"),
        ({"top_p": 1.1}, r"top_p must be at most 1, got 1\.1"),
    ],
)
def test_impossible_settings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        Sampling(**settings)


def test_lengths_beyond_the_context_are_refused():
    with pytest.raises(ValueError, match="length must be at most the context of 24, got 25"):
        program(2, 25)(model()[1], jax.random.key(0), Sampling())
