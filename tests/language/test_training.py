"""Training: torch's loss curves, the order of documents, padding, chunks, replicates, types."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from language import make_curves

from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Decoder
from collapse_jax.language.model.loss import document_loss, evaluate
from collapse_jax.language.model.training import (
    FINETUNING,
    STATE_AXES,
    Optimizer,
    _batch,
    start_training,
    train_steps,
)
from collapse_jax.language.weights import huggingface

pytestmark = pytest.mark.thorough

FOLDER = Path(__file__).parent
FAMILIES = ("gpt2", "llama", "gemma2")
ARCHITECTURE = Architecture(vocab_size=61, context=12, width=12, depth=1, heads=2)
DOCUMENTS = jax.tree.map(jnp.asarray, make_curves.documents())
N = len(DOCUMENTS.lengths)
SETTINGS = Optimizer(1e-2, batch_size=4, epochs=2)  # 12 steps, two of them with 2 documents
# Sums of some hundred float32 numbers of size one in another order.
ROUNDING = {"rtol": 2e-5, "atol": 2e-6}


@functools.cache
def start(seed=0, **types):
    graphdef, params = nnx.split(Decoder(ARCHITECTURE, rngs=nnx.Rngs(0), **types))
    draw = np.random.default_rng(seed).normal
    return graphdef, jax.tree.map(lambda x: jnp.asarray(draw(0, 0.3, x.shape), x.dtype), params)


@functools.cache
def program(graphdef, chunk=None):
    def run(settings, state, documents, n_train, key, steps):
        return train_steps(
            graphdef, settings, state, documents, n_train, key, steps, bos_id=3, chunk=chunk
        )

    return jax.jit(run)


def train(graphdef, params, settings=SETTINGS, documents=DOCUMENTS, n_train=N, parts=(1000,)):
    state = start_training(settings, params)
    for steps in parts:
        key = jax.random.key(make_curves.KEY)
        state = program(graphdef)(settings, state, documents, n_train, key, steps)
    return state


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def assert_close(found, expected):
    jax.tree.map(functools.partial(np.testing.assert_allclose, **ROUNDING), found, expected)


def our_curve(family):
    architecture, params = huggingface.load(FOLDER / "checkpoints" / family)
    params = jax.tree.map(jnp.asarray, params)
    decoder = nnx.eval_shape(lambda: Decoder(architecture, rngs=nnx.Rngs(0)))
    graphdef, _ = nnx.split(decoder)
    settings = make_curves.SETTINGS[family]
    state = start_training(settings, params)
    sums = [(0.0, 0.0)]
    for _ in range(settings.n_steps(N)):
        key = jax.random.key(make_curves.KEY)
        state = program(graphdef)(settings, state, DOCUMENTS, N, key, 1)
        sums.append((float(state.nats), float(state.tokens)))
    nats, tokens = np.diff(sums, axis=0).T
    return nats / tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_curve_is_that_of_torch(family):
    expected = json.loads((FOLDER / "curves.json").read_text())[family]
    assert len(expected) == 12
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(our_curve(family), expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("default")
def test_the_committed_curve_is_what_torch_makes_now(family):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    committed = json.loads((FOLDER / "curves.json").read_text())[family]
    np.testing.assert_allclose(make_curves.torch_curve(family), committed, rtol=0, atol=2e-5)


def whole_loss(params, graphdef, chunk=None):
    return document_loss(graphdef, params, DOCUMENTS, bos_id=3, chunk=chunk).nats


@functools.cache
def whole_gradient(chunk):
    graphdef, params = start()
    return jax.jit(jax.value_and_grad(whole_loss), static_argnums=(1, 2))(params, graphdef, chunk)


@functools.cache
def measure(**options):
    graphdef, params = start()

    def run(documents):
        return evaluate(graphdef, params, documents, bos_id=3, batch_size=5, **options)

    return jax.jit(run)


@functools.cache
def losses():
    """Cross-entropy in nats of each token, in NumPy from logits, and which tokens count."""
    graphdef, params = start()

    @jax.jit
    def logits(tokens):
        model = nnx.merge(graphdef, params)
        return model.logits(model.hidden(tokens))

    tokens, lengths = map(np.asarray, DOCUMENTS)
    inputs = np.concatenate([np.full((N, 1), 3), tokens[:, :-1]], axis=1)
    scores = np.asarray(logits(inputs), np.float64)
    laws = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    nats = -np.take_along_axis(laws, tokens[..., None], axis=-1)[..., 0]
    return nats, np.arange(12) < lengths[:, None]


@pytest.mark.parametrize("chunk", [1, 5, 6])
def test_the_loss_in_chunks_is_the_loss(chunk):
    assert_close(whole_gradient(chunk), whole_gradient(None))


def test_logits_in_chunks_never_exist_whole():
    """Neither forward nor backward is there an array of batch times time times vocabulary."""
    graphdef, params = start()

    def largest(chunk):
        jaxpr = jax.make_jaxpr(jax.value_and_grad(whole_loss), static_argnums=(1, 2))
        text = str(jaxpr(params, graphdef, chunk))
        return max(size for size in (3, 4, 6, 12) if f"f32[22,{size},61]" in text)

    assert largest(12) == 12
    assert largest(4) == 4


def test_the_loss_equals_its_definition():
    nats, counted = losses()
    np.testing.assert_allclose(whole_gradient(None)[0], nats[counted].sum(), rtol=1e-6)
    np.testing.assert_allclose(measure()(DOCUMENTS), nats[counted].mean(), rtol=1e-6)


def test_the_mean_of_batch_means_is_another_number():
    nats, counted = losses()
    means = [nats[i : i + 5][counted[i : i + 5]].mean() for i in range(0, N, 5)]
    found = measure(batch_means=True)(DOCUMENTS)
    np.testing.assert_allclose(found, np.mean(means), rtol=1e-6)
    assert abs(found - measure()(DOCUMENTS)) > 1e-4


@pytest.mark.parametrize("filler", [0, 5, 60, -1, 61, 2**31 - 1])
def test_what_lies_beyond_a_document_has_no_influence(filler):
    inside = jnp.arange(12) < DOCUMENTS.lengths[:, None]
    changed = Documents(jnp.where(inside, DOCUMENTS.tokens, filler), DOCUMENTS.lengths)
    assert (np.asarray(changed.tokens) != np.asarray(DOCUMENTS.tokens)).sum() > 50
    graphdef, params = start()
    assert_equal(train(graphdef, params, documents=changed), train(graphdef, params))
    assert measure()(changed) == measure()(DOCUMENTS)


def test_rows_beyond_the_documents_are_not_trained_on():
    graphdef, params = start()
    changed = Documents(DOCUMENTS.tokens.at[17:].set(7), DOCUMENTS.lengths.at[17:].set(12))
    found = train(graphdef, params, documents=changed, n_train=17)
    assert_equal(found, train(graphdef, params, n_train=17))
    assert found.step == 10
    assert found.tokens == 2 * DOCUMENTS.lengths[:17].sum()


@pytest.mark.parametrize("n_train", [1, 4, 17, 22])
def test_every_epoch_visits_every_document_once(n_train):
    settings = Optimizer(batch_size=4, epochs=3)
    numbered = Documents(jnp.arange(22)[:, None], jnp.ones(22, int))
    draw = jax.jit(
        functools.partial(_batch, settings, numbered, jnp.asarray(n_train), jax.random.key(0))
    )
    per_epoch = settings.steps_per_epoch(n_train)
    epochs = []
    for epoch in range(3):
        batches = [draw(jnp.asarray(epoch * per_epoch + step)) for step in range(per_epoch)]
        epochs.append([int(row) for tokens, n in batches for row in tokens[np.asarray(n) > 0, 0]])
        assert sorted(epochs[-1]) == list(range(n_train))
    assert n_train < 5 or len(set(map(tuple, epochs))) == 3
    assert settings.n_steps(n_train) == 3 * per_epoch


def test_chunks_of_steps_are_exactly_one_call():
    graphdef, params = start()
    whole = train(graphdef, params)
    assert_equal(train(graphdef, params, parts=(1, 0, 7, 100)), whole)
    assert whole.step == 12
    assert train(graphdef, params, parts=(7,)).step == 7
    assert np.isfinite(whole.loss)


def test_more_documents_and_other_numbers_are_no_other_program():
    graphdef, params = start()
    compiled = program(graphdef)
    train(graphdef, params)
    before = compiled._cache_size()
    other = Optimizer(2e-3, batch_size=4, epochs=2, warmup=0.5, clip=0.1, weight_decay=0.1)
    train(graphdef, params, n_train=9, settings=other, parts=(3, 2))
    assert compiled._cache_size() <= before + 1  # numbers that were Python's are arrays now


def test_accumulated_gradients_are_those_of_the_batch():
    """In batches of documents of different lengths, some absent, so that weights matter."""
    graphdef, params = start()
    settings = Optimizer(1e-2, batch_size=8, epochs=2, eps=1e-3)
    parts = Optimizer(1e-2, batch_size=8, micro_batch=2, epochs=2, eps=1e-3)
    found, expected = (train(graphdef, params, settings=s) for s in (parts, settings))
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), expected.params, params)
    assert min(jax.tree.leaves(moved)) > 1e-3
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-6),
        found.params,
        expected.params,
    )
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-6)


def test_replicates_in_one_program_are_single_runs():
    """Each with its own start, documents, order and clipping."""
    graphdef, first = start()
    _, second = start(seed=1)
    second = jax.tree.map(lambda x: 3 * x, second)  # whose gradients are clipped more
    other = Documents((DOCUMENTS.tokens + 1) % 61, DOCUMENTS.lengths[::-1])
    stack = functools.partial(jax.tree.map, lambda *x: jnp.stack(x))
    settings = Optimizer(1e-2, batch_size=4, epochs=2, eps=1e-3)
    keys = jax.random.split(jax.random.key(0), 2)
    begin = jax.vmap(functools.partial(start_training, settings), out_axes=STATE_AXES)
    both = jax.vmap(
        functools.partial(program(graphdef), settings),
        in_axes=(STATE_AXES, 0, None, 0, None),
        out_axes=STATE_AXES,
    )
    found = begin(stack(first, second))
    for steps in (5, 100):
        found = both(found, stack(DOCUMENTS, other), 17, keys, steps)
    assert found.step == 10
    for i, (params, documents) in enumerate(((first, DOCUMENTS), (second, other))):
        state = start_training(settings, params)
        state = program(graphdef)(settings, state, documents, 17, keys[i], 100)
        expected = (state.params, state.loss)
        alone = jax.tree.map(lambda x, i=i: x[i], (found.params, found.loss))
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=5e-6), alone, expected
        )


@pytest.mark.parametrize("types", [(jnp.float32, jnp.bfloat16), (jnp.bfloat16, jnp.bfloat16)])
def test_types_stay_and_training_goes_on_in_them(types):
    param_dtype, dtype = types
    graphdef, params = start(param_dtype=param_dtype, dtype=dtype)
    found = train(graphdef, params)
    name = jnp.dtype(param_dtype).name
    assert {x.dtype.name for x in jax.tree.leaves(found.params)} == {name}
    assert {x.dtype.name for x in jax.tree.leaves(found.moments)} == {name, "int32"}
    expected = train(*start())
    # A few parts in 256 of losses of about 4.
    assert abs(found.loss - expected.loss) < 0.05
    assert found.loss != expected.loss


def test_small_updates_are_lost_in_pure_bfloat16_and_kept_by_master_weights():
    def moved(**types):
        graphdef, params = start(**types)
        settings = Optimizer(8e-6, schedule="constant", warmup=0.0, batch_size=4)
        found = train(graphdef, params, settings=settings, parts=(1,)).params
        changed = jax.tree.map(lambda a, b: jnp.mean(a != b), found, params)
        return float(changed["layers"][0]["mlp"]["up"]["kernel"][...])

    assert moved(param_dtype=jnp.bfloat16, dtype=jnp.bfloat16) < 0.3
    assert moved(param_dtype=jnp.float32, dtype=jnp.bfloat16) > 0.9


def test_the_published_values():
    numbers = (FINETUNING.learning_rate, FINETUNING.warmup, FINETUNING.clip)
    assert numbers == (8e-6, 0.05, 1.0)
    assert (FINETUNING.batch_size, FINETUNING.epochs, FINETUNING.weight_decay) == (128, 1, 0.0)
    rates = [float(FINETUNING.rate(jnp.asarray(step), jnp.asarray(60))) for step in range(60)]
    np.testing.assert_allclose(rates[:5], np.array([0, 1, 2, 3, 3]) * 8e-6 / 3, rtol=1e-6)
    assert min(rates[3:]) == max(rates)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be a finite positive"),
        ({"schedule": "cosin"}, ValueError, r"schedule must be one of .* did you mean 'cosine'"),
        ({"batch_size": 0}, ValueError, "batch_size must be between 1 and"),
        ({"batch_size": 8, "micro_batch": 3}, ValueError, "micro_batch must divide .* 8, got 3"),
        ({"micro_batch": 0}, ValueError, "micro_batch must be between 1"),
        ({"warmup": 1.5}, ValueError, r"warmup must be at most 1, got 1\.5"),
        ({"b2": 1.0}, ValueError, r"b2 must be below 1, got 1\.0"),
        ({"epochs": 0}, ValueError, "epochs must be between 1"),
        ({"clip": -1.0}, ValueError, "clip must be a finite positive number"),
    ],
)
def test_impossible_settings_are_refused(changes, error, match):
    with pytest.raises(error, match=match):
        Optimizer(**changes)
