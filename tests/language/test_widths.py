"""Rows as wide as their longest document needs: the numbers of whole rows, in few programs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params

from collapse_jax.language.corpora.documents import documents_of
from collapse_jax.language.model import entropies, widths
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Decoder
from collapse_jax.language.model.entropies import next_entropy
from collapse_jax.language.model.loss import document_loss, evaluate
from collapse_jax.language.model.training import Optimizer, start_training, train_steps
from collapse_jax.language.model.widths import narrowed, widths_of

TIME, VOCAB = 150, 13
GRAPHDEF, PARAMS = nnx.split(
    Decoder(
        Architecture(vocab_size=VOCAB, context=TIME, width=8, depth=1, heads=2),
        rngs=nnx.Rngs(0),
        init_std=0.3,
    )
)


def documents(*lengths, learned=None, seed=0):
    tokens = np.random.default_rng(seed).integers(0, VOCAB, (len(lengths), TIME))
    return documents_of(jnp.asarray(tokens, jnp.int32), jnp.asarray(lengths, jnp.int32), learned)


def loss_and_gradient(params, rows):
    def nats(params):
        return document_loss(GRAPHDEF, params, rows, bos_id=0).nats

    return jax.value_and_grad(nats)(params)


@functools.cache
def program(narrow):
    if narrow:
        return jax.jit(lambda params, rows: narrowed(lambda r: loss_and_gradient(params, r), rows))
    return jax.jit(loss_and_gradient)


def assert_close(found, expected):
    """Equal but for the order of sums of some hundred float32 numbers as large as the largest."""

    def close(a, b):
        rounding = 2e-6 * max(1.0, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=rounding)

    jax.tree.map(close, found, expected)


def test_widths():
    assert widths_of(512) == (64, 128, 192, 256, 512)
    assert widths_of(TIME) == (75, 150)
    assert [len(widths_of(time)) for time in (1, 64, 127, 128, 8192)] == [1, 1, 1, 2, 5]
    for time in range(1, 700):
        found = widths_of(time)
        assert found[-1] == time
        assert list(found) == sorted(set(found))
        assert len(found) == 1 or found[0] >= 64


@pytest.mark.parametrize(
    "lengths", [(1, 75, 3, 0), (76, 75, 3, 1), (75, 1, 74, 2), (150, 1, 9, 20), (0, 0, 0, 0)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_gradient_are_those_of_whole_rows(lengths, masked):
    learned = jnp.asarray(np.random.default_rng(1).random((4, TIME)) < 0.5) if masked else None
    rows = documents(*lengths, learned=learned)
    assert_close(program(True)(PARAMS, rows), program(False)(PARAMS, rows))


def test_of_full_rows_they_are_so_to_the_last_bit():
    rows = documents(150, 150, 150, 150)
    found, expected = program(True)(PARAMS, rows), program(False)(PARAMS, rows)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@functools.cache
def width_used():
    """A program that tells to which width it cut the rows."""
    return jax.jit(lambda rows: narrowed(lambda r: jnp.asarray(r.tokens.shape[1]), rows))


def test_rows_are_as_narrow_as_they_can_be_and_never_narrower():
    for longest, expected in ((0, 75), (75, 75), (76, 150), (149, 150), (150, 150)):
        assert width_used()(documents(longest, 1)) == expected


def test_one_program_serves_all_lengths_and_has_a_part_for_each_width():
    for longest in (1, 70, 80, 150):
        width_used()(documents(longest, 1))
    assert width_used()._cache_size() == 1
    assert branches(lambda rows: narrowed(lambda r: jnp.sum(r.tokens), rows), documents(1)) == [2]


def branches(function, *arguments):
    """How many alternatives each choice in a program has."""
    found = []

    def look(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "cond":
                found.append(len(equation.params["branches"]))
            for inner in jaxprs_in_params(equation.params):
                look(inner)

    look(jax.make_jaxpr(function)(*arguments).jaxpr)
    return found


def stacked(*rows):
    return jax.tree.map(lambda *x: jnp.stack(x), *rows)


def test_replicates_share_the_width_of_the_longest_and_run_no_other():
    rows = stacked(documents(3, 1), documents(90, 2, seed=1))
    each = jax.vmap(lambda rows: narrowed(lambda r: loss_and_gradient(PARAMS, r), rows))
    assert branches(each, rows) == [2]  # were it different in each, all would be run
    found = jax.jit(each)(rows)
    for i in range(2):
        alone = jax.tree.map(lambda x, i=i: x[i], rows)
        assert_close(jax.tree.map(lambda x, i=i: x[i], found), program(False)(PARAMS, alone))


def train(rows, micro_batch=4):
    settings = Optimizer(1e-2, batch_size=4, micro_batch=micro_batch, epochs=2, eps=1e-3)

    @jax.jit
    def run(params, rows):
        state = start_training(settings, params)
        n, key = len(rows.lengths), jax.random.key(0)
        return train_steps(GRAPHDEF, settings, state, rows, n, key, 100, bos_id=0)

    return run(PARAMS, rows), run


LENGTHS = 3, 9, 150, 76, 1, 75, 40, 33, 12, 100, 5


@pytest.mark.thorough
@pytest.mark.parametrize("micro_batch", [4, 2])
def test_training_is_that_on_whole_rows(micro_batch, monkeypatch):
    rows = documents(*LENGTHS)
    found, run = train(rows, micro_batch)
    assert branches(run, PARAMS, rows) == [2]
    monkeypatch.setattr(widths, "_NARROWEST", 1000)
    expected, run = train(rows, micro_batch)
    assert branches(run, PARAMS, rows) == []
    assert_close((found.params, found.loss), (expected.params, expected.loss))


@pytest.mark.thorough
def test_what_lies_beyond_a_document_has_no_influence():
    rows = documents(*LENGTHS)
    inside = jnp.arange(TIME) < rows.lengths[:, None]
    changed = rows._replace(tokens=jnp.where(inside, rows.tokens, 2**31 - 1))
    jax.tree.map(np.testing.assert_array_equal, train(changed)[0], train(rows)[0])


EVALUATE = functools.partial(evaluate, batch_size=2)


@pytest.mark.parametrize("measure", [EVALUATE, next_entropy])
def test_what_is_measured_is_what_it_is_on_whole_rows(measure, monkeypatch):
    monkeypatch.setattr(entropies, "_ENTRIES", 2 * TIME * VOCAB)  # two rows at a time

    def measured():
        run = functools.partial(measure, GRAPHDEF, PARAMS, bos_id=0)
        rows = documents(*LENGTHS)
        return jax.jit(run)(rows), branches(run, rows)

    found, choices = measured()
    monkeypatch.setattr(widths, "_NARROWEST", 1000)
    expected, none = measured()
    assert (choices, none) == ([2], [])
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_alternatives_share_their_memory():
    """A program with a choice of widths needs what its widest part does, not what all need."""

    def scratch(narrow):
        rows = documents(*(8 * (150,)))
        compiled = program(narrow).lower(PARAMS, rows).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert scratch(True) < 1.2 * scratch(False)
