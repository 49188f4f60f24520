"""The decoder: its size, its cache, its two forms, its types."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from collapse_jax.language.model import attention
from collapse_jax.language.model.architecture import PRESETS, Architecture, RopeScaling, preset
from collapse_jax.language.model.decoder import Decoder, grow_cache, stack_layers, unstack_layers

pytestmark = pytest.mark.thorough

SIZES = {"vocab_size": 23, "context": 16, "width": 12, "depth": 2, "heads": 4}
ARCHITECTURES = {
    "plain": Architecture(**SIZES),
    "everything": Architecture(
        **SIZES,
        kv_heads=2,
        head_dim=6,
        mlp_width=20,
        positions="rotary",
        rope_theta=50.0,
        rope_scaling=RopeScaling(4.0, 0.5, 2.0, 16),
        local_rope_theta=9.0,
        norm="rms",
        unit_offset=True,
        activation="silu",
        gated=True,
        out_bias=False,
        tied_head=False,
        query_scalar=9.0,
        attention_cap=2.0,
        final_cap=3.0,
        windows=(4, None),
        qk_norm=True,
        post_norms=True,
        scale_embedding=True,
    ),
}
TOKENS = jax.random.randint(jax.random.key(1), (2, 12), 0, SIZES["vocab_size"])
# Sums of a few dozen float32 numbers of size one in another order, layer after layer.
CLOSE = {"rtol": 0, "atol": 5e-6}


@functools.cache
def model(name, **options):
    """A decoder all of whose parameters are random, and large enough to matter."""
    decoder = nnx.eval_shape(lambda: Decoder(ARCHITECTURES[name], rngs=nnx.Rngs(0), **options))
    graphdef, params = nnx.split(decoder)
    if options.get("scan"):
        parameter = options.get("param_dtype", jnp.float32)
        return graphdef, stack_layers(model(name, param_dtype=parameter)[1])
    draw = np.random.default_rng(0).normal
    return graphdef, jax.tree.map(lambda a: jnp.asarray(draw(0, 0.3, a.shape), a.dtype), params)


def logits(graphdef, params, tokens=TOKENS):
    decoder = nnx.merge(graphdef, params)
    return decoder.logits(decoder.hidden(tokens))


@functools.cache
def program(name, **options):
    return jax.jit(functools.partial(logits, model(name, **options)[0]))


def jitted_logits(name, tokens=TOKENS, **options):
    return program(name, **options)(model(name, **options)[1], tokens)


@pytest.mark.parametrize("name", PRESETS)
def test_the_number_of_parameters_is_that_of_the_model(name):
    architecture = preset(name)
    decoder = nnx.eval_shape(lambda: Decoder(architecture, rngs=nnx.Rngs(0), scan=True))
    sizes = [leaf.size for leaf in jax.tree.leaves(nnx.split(decoder)[1])]
    assert architecture.n_parameters == sum(sizes)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_part_of_an_architecture_is_counted(name):
    _, params = model(name)
    assert ARCHITECTURES[name].n_parameters == sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("gpt2-9m", 8_890_880),
        ("gpt2", 124_439_808),
        ("gemma2-2b", 2_614_341_888),
        ("gemma2-9b", 9_241_705_984),
        ("gemma2-27b", 27_227_128_320),
    ],
)
def test_the_number_of_parameters_is_the_published_one(name, published):
    assert preset(name).n_parameters == published


def test_the_default_preset_is_small_and_takes_other_sizes():
    architecture = preset("tiny", vocab_size=150, context=40)
    assert architecture.n_parameters < 120_000
    assert (architecture.vocab_size, architecture.context) == (150, 40)
    assert preset("tiny", width=32).head_dim == 8


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"width": 0}, ValueError, "width must be between 1 and .*, got 0"),
        ({"heads": 5}, ValueError, "heads must divide the width of 12 .*, got 5"),
        ({"kv_heads": 3}, ValueError, "kv_heads must divide the number of heads, 4, got 3"),
        ({"head_dim": 3, "positions": "rotary"}, ValueError, "head_dim must be even.*got 3"),
        ({"positions": "rotory"}, ValueError, "positions must be one of .*did you mean 'rotary'"),
        ({"norm": "batch"}, ValueError, "norm must be one of 'layer', 'rms', got 'batch'"),
        ({"activation": "tanh"}, ValueError, "activation must be one of 'gelu'"),
        ({"final_cap": -1.0}, ValueError, "final_cap must be a finite positive number, got -1"),
        ({"norm_eps": 0.0}, ValueError, "norm_eps must be a finite positive number, got 0"),
        ({"windows": (4,)}, ValueError, "one entry for each of the 2 layers, got 1"),
        ({"windows": (0, None)}, ValueError, "an entry of windows must be between 1"),
    ],
)
def test_an_impossible_architecture_is_refused(changes, error, match):
    with pytest.raises(error, match=match):
        Architecture(**{**SIZES, **changes})


def test_a_preset_must_exist_and_have_the_field():
    with pytest.raises(ValueError, match=r"preset must be one of .*did you mean 'gemma2-2b'"):
        preset("gemma2-2B")
    with pytest.raises(TypeError, match=r"must be one of vocab_size, .*, got layers"):
        preset("tiny", layers=3)


@pytest.mark.parametrize(
    ("name", "scan"), [("plain", False), ("everything", False), ("everything", True)]
)
def test_cached_decoding_equals_the_full_pass(name, scan):
    graphdef, params = model(name, scan=scan)
    step = jax.jit(lambda params, *args: nnx.merge(graphdef, params).step(*args))
    cache = nnx.merge(graphdef, params).init_cache(batch=2, length=7)
    found = []
    for position in range(TOKENS.shape[1]):
        if position == 7:
            cache = grow_cache(cache, 12)
        scores, cache = step(params, TOKENS[:, position], jnp.asarray(position), cache)
        found.append(scores)
    np.testing.assert_allclose(jnp.stack(found, axis=1), jitted_logits(name), **CLOSE)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stacked_layers_are_the_same_function(name):
    np.testing.assert_allclose(jitted_logits(name, scan=True), jitted_logits(name), **CLOSE)


def test_neither_stacked_layers_nor_remat_change_the_gradient():
    def gradient(**options):
        graphdef, params = model("everything", **options)
        return jax.jit(jax.grad(lambda p: jnp.mean(logits(graphdef, p) ** 2)))(params)

    expected = gradient()
    close = functools.partial(np.testing.assert_allclose, **CLOSE)
    jax.tree.map(close, gradient(remat=True), expected)
    jax.tree.map(close, gradient(scan=True, remat=True), stack_layers(expected))


def test_layers_can_be_stacked_and_taken_apart_again():
    def start(**options):
        decoder = Decoder(ARCHITECTURES["everything"], rngs=nnx.Rngs(0), **options)
        return nnx.split(decoder)[1]

    unrolled, stacked = start(), start(scan=True)
    jax.tree.map(np.testing.assert_array_equal, stack_layers(unrolled), stacked)
    jax.tree.map(np.testing.assert_array_equal, unstack_layers(stacked), unrolled)


def test_replicates_run_in_one_vmapped_program():
    graphdef, params = model("everything")
    one = program("everything")
    seeds = [params, jax.tree.map(lambda leaf: 0.5 * leaf, params)]
    both = jax.jit(jax.vmap(functools.partial(logits, graphdef)))
    found = both(jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds))
    for replicate, params in zip(found, seeds, strict=True):
        np.testing.assert_allclose(replicate, one(params, TOKENS), **CLOSE)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_token_sees_a_later_one(name):
    changed = TOKENS.at[:, 8].add(1) % SIZES["vocab_size"]
    before, after = jitted_logits(name), jitted_logits(name, tokens=changed)
    np.testing.assert_array_equal(before[:, :8], after[:, :8])
    assert (jnp.abs(before[:, 8:] - after[:, 8:]).max(axis=-1) > 1e-5).all()


@pytest.mark.parametrize("cap", [None, 0.7])
@pytest.mark.parametrize("window", [None, 3, jnp.asarray(3)])
def test_attention_equals_its_definition(cap, window):
    """Against a plain loop over heads and queries in float64."""
    batch, time, kv_heads, groups, head_dim = 2, 6, 2, 3, 4
    draw = np.random.default_rng(0).normal
    queries = draw(size=(batch, time, kv_heads, groups, head_dim))
    keys, values = draw(size=(2, batch, time, kv_heads, head_dim))
    expected = np.zeros_like(queries)
    for b, t, k, g in np.ndindex(batch, time, kv_heads, groups):
        first = 0 if window is None else max(0, t + 1 - int(window))
        scores = 0.4 * keys[b, first : t + 1, k] @ queries[b, t, k, g]
        weights = np.exp(scores if cap is None else cap * np.tanh(scores / cap))
        expected[b, t, k, g] = weights @ values[b, first : t + 1, k] / weights.sum()
    arrays = (jnp.asarray(array, jnp.float32) for array in (queries, keys, values))
    found = attention.attend(*arrays, scale=0.4, cap=cap, window=window)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_rotary_scores_depend_on_the_distance_only():
    query, key = jax.random.normal(jax.random.key(0), (2, 8))

    def score(at_query, at_key):
        turned = [
            attention.rotate(
                x, *attention.rotation(jnp.asarray(at), attention.frequencies(8, 100.0))
            )
            for x, at in ((query, at_query), (key, at_key))
        ]
        return turned[0] @ turned[1]

    np.testing.assert_allclose(score(5, 2), score(13, 10), rtol=1e-5)
    assert abs(score(5, 2) - score(5, 3)) > 1e-2


def test_bfloat16_with_float32_master_weights():
    graphdef, params = model("everything", dtype=jnp.bfloat16)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float32"}
    found = jitted_logits("everything", dtype=jnp.bfloat16)
    assert found.dtype == jnp.float32
    # Half a unit in the last of 8 bits at each of a few dozen roundings, of logits up to the cap.
    difference = jnp.abs(found - jitted_logits("everything"))
    assert 1e-4 < difference.max() < 0.25
    assert difference.mean() < 0.03
    grads = jax.eval_shape(jax.grad(lambda p: jnp.mean(logits(graphdef, p) ** 2)), params)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(grads)} == {"float32"}


def test_pure_bfloat16():
    options = {"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16}
    _, params = model("everything", **options)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"bfloat16"}
    difference = jnp.abs(jitted_logits("everything", **options) - jitted_logits("everything"))
    assert difference.mean() < 0.05


def test_the_start_is_that_of_gpt2():
    architecture = preset("tiny", depth=2, width=128)
    _, params = nnx.split(Decoder(architecture, rngs=nnx.Rngs(0)))
    layer = params["layers"][0]
    for weights, std in (
        (params["tokens"], 0.02),
        (params["positions"], 0.02),
        (layer["attention"]["qkv"]["kernel"], 0.02),
        (layer["mlp"]["up"]["kernel"], 0.02),
        (layer["attention"]["out"]["kernel"], 0.01),
        (layer["mlp"]["down"]["kernel"], 0.01),
    ):
        draws = np.asarray(weights[...])
        # Five standard errors of a standard deviation.
        assert abs(draws.std() / std - 1) < 5 / np.sqrt(2 * draws.size)
    assert not layer["mlp"]["up"]["bias"][...].any()
    assert (layer["mlp_norm"]["scale"][...] == 1).all()


def test_lengths_beyond_the_context_are_refused():
    graphdef, params = model("plain")
    decoder = nnx.merge(graphdef, params)
    with pytest.raises(ValueError, match=r"tokens must have .* the context of 16, got 17"):
        decoder.hidden(jnp.zeros((1, 17), int))
    with pytest.raises(ValueError, match="length must be at most the context of 16, got 20"):
        decoder.init_cache(batch=1, length=20)
    with pytest.raises(ValueError, match="length must be at least the cache's 8, got 4"):
        grow_cache(decoder.init_cache(batch=1, length=8), 4)


@pytest.mark.parametrize("dtype", [jnp.int32, "float", "half-ish"])
def test_types_must_be_floating_point(dtype):
    with pytest.raises(ValueError, match="dtype must be one of 'float32', 'bfloat16', 'float16'"):
        Decoder(ARCHITECTURES["plain"], rngs=nnx.Rngs(0), dtype=dtype)
