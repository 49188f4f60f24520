"""Checkpoints: agreement with transformers, what is written, what is refused."""

import dataclasses
import functools
import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from collapse_jax.language.model import attention
from collapse_jax.language.model.architecture import Architecture, RopeScaling, preset
from collapse_jax.language.model.decoder import Decoder
from collapse_jax.language.weights import huggingface
from collapse_jax.language.weights.configuration import read_config, write_config
from collapse_jax.language.weights.tensors import abstract_params

CHECKPOINTS = Path(__file__).parent / "checkpoints"
FAMILIES = ("gpt2", "llama", "gemma2")
OTHERS = {  # the families that differ from these in a few points
    "llama3": "llama",
    "smollm": "llama",
    "mistral": "mistral",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma3": "gemma3_text",
}
ALL = (*FAMILIES, *OTHERS)
AGREEMENT = {"rtol": 0, "atol": 2e-5}


def logits(architecture, params, tokens, **options):
    decoder = nnx.eval_shape(lambda: Decoder(architecture, rngs=nnx.Rngs(0), **options))
    graphdef, _ = nnx.split(decoder)

    def forward(params):
        decoder = nnx.merge(graphdef, params)
        return decoder.logits(decoder.hidden(jnp.asarray(tokens)))

    return np.asarray(jax.jit(forward)(params))


def committed(family):
    folder = CHECKPOINTS / family
    return folder, np.load(folder / "tokens.npy"), np.load(folder / "logits.npy")


def assert_equal_params(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.fixture
def copied(tmp_path):
    """A function that copies a committed checkpoint to where it can be spoiled."""
    return lambda family: Path(shutil.copytree(CHECKPOINTS / family, tmp_path / family))


def edit_config(folder, **entries):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | entries
    kept = {key: value for key, value in config.items() if value != "removed"}
    path.write_text(json.dumps(kept))


def edit_tensors(folder, edit):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("family", "scan"),
    [*((name, False) for name in ALL), *((name, True) for name in (*FAMILIES, "gemma3"))],
)
def test_logits_agree_with_transformers(family, scan, monkeypatch):
    for package in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)  # an import would fail
    folder, tokens, expected = committed(family)
    architecture, params = huggingface.load(folder, scan=scan)
    assert architecture.family == OTHERS.get(family, family)
    np.testing.assert_allclose(
        logits(architecture, params, tokens, scan=scan), expected, **AGREEMENT
    )


def test_the_committed_checkpoints_are_hard_enough():
    """They have what could be left out by mistake, and differ where it is."""
    _, llama, gemma2 = (huggingface.load_architecture(CHECKPOINTS / name) for name in FAMILIES)
    assert llama.groups == 2
    assert not llama.tied_head
    assert gemma2.query_scalar != gemma2.head_dim
    assert gemma2.windows == (5, None, 5)
    assert (gemma2.attention_cap, gemma2.final_cap) == (2.0, 3.0)
    folder, tokens, expected = committed("gemma2")
    assert tokens.shape[1] > 5
    config = json.loads((folder / "config.json").read_text())
    _, params = huggingface.load(folder)
    for entries in (
        {"attn_logit_softcapping": None},
        {"layer_types": ["full_attention"] * 3},
        {"query_pre_attn_scalar": 10},
    ):
        changed = read_config(config | entries)
        assert np.abs(logits(changed, params, tokens) - expected).max() > 1e-2


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama3", {"rope_scaling": None}),
        ("llama3", {"rope_scaling": RopeScaling(8.0)}),
        ("mistral", {"windows": (None, None)}),
        ("qwen2", {"windows": (None, None)}),
        ("qwen2", {"windows": (5, 5)}),
        ("qwen3", {"qk_norm": False}),
        ("gemma", {"scale_embedding": False}),
        ("gemma3", {"local_rope_theta": None}),
        ("gemma3", {"local_rope_theta": 500.0}),
        ("gemma3", {"rope_scaling": None}),
        ("gemma3", {"windows": (5, 5, None)}),
        ("gemma3", {"query_scalar": 8.0}),
    ],
)
@pytest.mark.thorough
def test_the_other_committed_checkpoints_are_hard_enough(family, changes):
    """Whatever is theirs makes a difference, so that leaving it out is noticed."""
    folder, tokens, expected = committed(family)
    architecture, params = huggingface.load(folder)
    changed = dataclasses.replace(architecture, **changes)
    if changes.get("qk_norm") is False:
        flat = nnx.to_flat_state(params)
        params = nnx.from_flat_state(
            {p: v for p, v in flat if not {"query_norm", "key_norm"} & {*p}}
        )
    assert np.abs(logits(changed, params, tokens) - expected).max() > 1e-3


def test_frequencies_of_llama3_are_the_published_ones():
    """Kept, interpolated and divided: worked out by hand from the published formula."""
    found = attention.frequencies(8, 100.0, RopeScaling(8.0, 1.0, 4.0, 32))
    turns = 100.0 ** (-np.arange(4) / 4)
    share = (32 * turns[1] / (2 * np.pi) - 1.0) / 3.0
    between = (1 - share) * turns[1] / 8 + share * turns[1]
    expected = [turns[0], between, turns[2] / 8, turns[3] / 8]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(attention.frequencies(8, 100.0, RopeScaling(8.0)), turns / 8, 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_old_and_new_config_keys_mean_the_same(family):
    config = json.loads((CHECKPOINTS / family / "config.json").read_text())
    expected = read_config(config)
    rope = config.pop("rope_parameters", {})
    config = {key: config[key] for key in config if key not in ("layer_types", "dtype")}
    config["torch_dtype"] = "float32"
    if family != "gpt2":
        config |= {"rope_scaling": None, "rope_theta": rope["rope_theta"]}
    if family == "gemma2":
        config["hidden_act"] = config.pop("hidden_activation")
    assert read_config(config) == expected
    if family == "llama":
        assert expected.rope_theta == 500.0


GEMMA3 = {  # as the 4B has it, in the keys of 2025
    "rope_theta": 1e6,
    "rope_local_base_freq": 10_000.0,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
}


def test_old_keys_of_the_other_families():
    """As their published files have them; what they leave out is as transformers has it."""

    def read(family, **entries):
        config = json.loads((CHECKPOINTS / family / "config.json").read_text())
        for name in ("rope_parameters", "layer_types", *(k for k, v in entries.items() if v == "")):
            config.pop(name, None)
        return read_config(config | {k: v for k, v in entries.items() if v != ""})

    scaled = {
        "type": "llama3",
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
    }
    llama = read("llama3", rope_theta=500_000.0, rope_scaling=scaled)
    assert llama.rope_scaling == RopeScaling(32.0, 1.0, 4.0, 8192)
    assert llama.rope_theta == 500_000.0
    gemma = read("gemma3", sliding_window_pattern=2, **GEMMA3)
    assert (gemma.rope_theta, gemma.local_rope_theta) == (1e6, 1e4)
    assert gemma.rope_scaling == RopeScaling(8.0)
    assert gemma.windows == (5, None, 5)
    assert read("gemma3").windows == (5, 5, 5)  # every sixth layer sees all
    assert read("gemma3").rope_theta == 1e6
    assert read("mistral", sliding_window="", num_key_value_heads=4).windows == (4096, 4096)
    assert read("mistral", sliding_window=None).windows == (None, None)
    assert read("qwen2", use_sliding_window=False).windows == (None, None)
    assert read("qwen2", max_window_layers=0).windows == (5, 5)
    assert read("qwen3", head_dim="").head_dim == 128
    assert read("gemma", hidden_act="gelu").activation == "gelu_tanh"
    assert read("gemma", tie_word_embeddings="", head_dim="").head_dim == 256


def test_published_configs_are_the_presets():
    """Llama and Gemma write sizes; what they leave out is as transformers has it."""
    gemma = {
        "model_type": "gemma2",
        "vocab_size": 256_000,
        "hidden_size": 4608,
        "intermediate_size": 36_864,
        "num_hidden_layers": 46,
        "num_attention_heads": 32,
        "num_key_value_heads": 16,
        "head_dim": 128,
        "max_position_embeddings": 8192,
        "query_pre_attn_scalar": 144,
    }
    assert read_config(gemma) == preset("gemma2-27b")
    gpt2 = {"vocab_size": 50_257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12}
    assert read_config({"model_type": "gpt2", **gpt2}) == preset("gpt2")


@pytest.mark.parametrize("name", ["tiny", "llama2-12m", "gemma2-2b"])
def test_a_config_comes_back(name):
    config = json.loads(json.dumps(write_config(preset(name))))
    assert read_config(config) == preset(name)


def test_a_config_keeps_what_the_architecture_does_not_say():
    """The family and further entries of the checkpoint it came from, unless they contradict it."""
    read = {n: json.loads((CHECKPOINTS / n / "config.json").read_text()) for n in ALL}
    mistral = read["mistral"] | {"sliding_window": None, "initializer_range": 0.5}
    written = write_config(read_config(mistral), like=mistral)
    assert (written["model_type"], written["initializer_range"]) == ("mistral", 0.5)
    gemma2 = read["gemma2"] | {"layer_types": ["full_attention"] * 3}
    assert write_config(read_config(gemma2), like=gemma2)["sliding_window"] == 5
    other = write_config(read_config(read["qwen3"]), like=mistral)
    assert (other["model_type"], "initializer_range" in other) == ("qwen3", False)
    for config in read.values():
        assert read_config(write_config(read_config(config), like=config)) == read_config(config)


@pytest.mark.parametrize("family", ALL)
def test_what_is_written_is_read_again(family, tmp_path):
    architecture, params = huggingface.load(CHECKPOINTS / family)
    huggingface.save(tmp_path / "new", architecture, params, entries={"eos_token_id": 3})
    again, found = huggingface.load(tmp_path / "new")
    assert again == architecture
    assert_equal_params(found, params)
    names = {"config.json", "model.safetensors"}
    assert {path.name for path in (tmp_path / "new").iterdir()} == names
    assert json.loads((tmp_path / "new/config.json").read_text())["eos_token_id"] == 3
    original = {}
    for path in (CHECKPOINTS / family).glob("*.safetensors"):
        original |= load_file(path)
    written = load_file(tmp_path / "new/model.safetensors")
    assert written.keys() == original.keys()
    for name, tensor in original.items():
        np.testing.assert_array_equal(written[name], tensor)


def test_stacked_layers_are_written_alike(tmp_path):
    architecture, params = huggingface.load(CHECKPOINTS / "gemma2", scan=True)
    huggingface.save(tmp_path, architecture, params)
    assert_equal_params(huggingface.load(tmp_path, scan=True)[1], params)
    written = load_file(tmp_path / "model.safetensors")
    original = load_file(CHECKPOINTS / "gemma2/model.safetensors")
    for name, tensor in original.items():
        np.testing.assert_array_equal(written[name], tensor)


def test_large_weights_are_split_and_old_ones_removed(tmp_path):
    architecture, params = huggingface.load(CHECKPOINTS / "gpt2")
    huggingface.save(tmp_path, architecture, params)
    huggingface.save(tmp_path, architecture, params, max_shard_bytes=30_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = {path.name for path in tmp_path.glob("*.safetensors")}
    assert (
        shards
        == set(index["weight_map"].values())
        == {f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)}
    )
    assert index["metadata"]["total_size"] == 4 * architecture.n_parameters
    assert_equal_params(huggingface.load(tmp_path)[1], params)
    huggingface.save(tmp_path, architecture, params)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_kept(family, tmp_path):
    architecture, params = huggingface.load(CHECKPOINTS / family, param_dtype=jnp.bfloat16)
    _, exact = huggingface.load(CHECKPOINTS / family)
    rounded = jax.tree.map(lambda leaf: np.asarray(jnp.asarray(leaf, jnp.bfloat16)), exact)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"bfloat16"}
    assert_equal_params(params, rounded)
    huggingface.save(tmp_path, architecture, params)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    _, found = huggingface.load(tmp_path, param_dtype=jnp.bfloat16)
    assert_equal_params(found, params)
    _, wider = huggingface.load(tmp_path)
    assert_equal_params(wider, jax.tree.map(lambda leaf: leaf.astype(np.float32), params))


def test_names_without_prefix_and_buffers_are_understood(copied):
    """As in GPT-2's own checkpoint."""
    folder = copied("gpt2")

    def edit(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = np.zeros((1, 1, 32, 32), np.float32)

    edit_tensors(folder, edit)
    _, expected = huggingface.load(CHECKPOINTS / "gpt2")
    assert_equal_params(huggingface.load(folder)[1], expected)


def test_a_copy_of_a_tied_head_is_passed_over(copied):
    folder = copied("gpt2")
    edit_tensors(folder, lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"].copy()}))
    huggingface.load(folder)


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_a_head_of_its_own_is_used_whatever_the_configuration_says(copied, family, tmp_path):
    """As transformers does; there is a head, and it is not the embedding."""
    folder, scale = copied(family), np.float32(2.0)
    table = "transformer.wte.weight" if family == "gpt2" else "model.embed_tokens.weight"
    edit_config(folder, final_logit_softcapping=None)
    _, tokens, _ = committed(family)
    expected = scale * logits(*huggingface.load(folder), tokens)
    edit_tensors(folder, lambda t: t.update({"lm_head.weight": scale * t[table]}))
    architecture, params = huggingface.load(folder)
    assert not architecture.tied_head
    assert huggingface.load_architecture(folder) == architecture
    np.testing.assert_allclose(logits(architecture, params, tokens), expected, rtol=1e-6)
    huggingface.save(tmp_path / "new", architecture, params)
    assert json.loads((tmp_path / "new/config.json").read_text())["tie_word_embeddings"] is False
    assert huggingface.load_architecture(tmp_path / "new") == architecture


def test_weights_that_are_no_finite_numbers_are_refused(copied):
    folder, name = copied("gpt2"), "transformer.h.1.mlp.c_fc.weight"
    for value in (np.nan, np.inf):
        edit_tensors(folder, lambda t, value=value: t[name].__setitem__((3, 4), value))
        with pytest.raises(ValueError, match=rf"must be finite, and {name} of .*gpt2/model.safet"):
            huggingface.load(folder)
    edit_tensors(folder, lambda t: t.update({name: t[name].astype(ml_dtypes.float8_e4m3fn)}))
    with pytest.raises(ValueError, match=rf"one of F64, F32, .*{name} of .* is F8_E4M3; quantized"):
        huggingface.load(folder)


def test_pickled_weights_are_refused_with_the_reason(copied):
    folder = copied("gpt2")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"has pytorch_model.bin, a pickle, which may run any"):
        huggingface.load(folder)


@pytest.mark.parametrize(
    ("family", "entries", "match"),
    [
        (
            "gpt2",
            {"model_type": "mamba", "architectures": ["MambaForCausalLM"]},
            r"one of gpt2, llama, mistral, .*, got 'mamba' \(MambaForCausalLM\)",
        ),
        ("gpt2", {"n_embd": "removed"}, r"config.json must have an entry 'n_embd'"),
        ("gpt2", {"n_head": 5}, r"heads must divide the width of 24"),
        ("llama", {"head_dim": None, "hidden_size": 25}, r"heads must divide the width of 25"),
        ("gpt2", {"n_layer": "two"}, r"n_layer of config.json must be a whole number, got 'two'"),
        ("gpt2", {"activation_function": "mish"}, r"activation_function .* must be one of"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, r"must be False, got True"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 5e5}},
            r"type of rotary positions .* must be one of 'default', .*, got 'yarn'",
        ),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, r"got 'dynamic'"),
        ("llama", {"rope_scaling": {"type": "llama3", "factor": 2.0}}, r"have low_freq_factor"),
        ("llama", {"partial_rotary_factor": 0.5}, r"partial_rotary_factor .* must be 1.0, got 0.5"),
        (
            "llama",
            {"rope_parameters": {"full_attention": {"rope_theta": 5e5}, "rope_theta": 1.0}},
            r"got 'one per kind of layer'",
        ),
        ("llama", {"quantization_config": {"bits": 4}}, r"quantization_config .* must be None"),
        ("gemma2", {"layer_types": ["full_attention"]}, r"each of the 3 layers, got 1"),
        ("gemma2", {"layer_types": ["chunked"] * 3}, r"layer_types .* got 'chunked'"),
        ("gpt2", {"n_layer": 3}, r"lacks transformer.h.2.ln_1.weight, .* and 8 more"),
        ("gpt2", {"n_layer": 1}, r"has, beyond .*, transformer.h.1.attn.c_attn.bias, .* 8 more"),
        ("gpt2", {"tie_word_embeddings": False}, r"lacks lm_head.weight"),
        ("gpt2", {"vocab_size": 62}, r"do not fit .*: transformer.wte.weight \[61, 24\] for \[62"),
        ("llama", {"intermediate_size": 48}, r"mlp.gate_proj.weight \[40, 24\] for \[48, 24\]"),
        ("llama", {"attention_bias": True}, r"lacks model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(copied, family, entries, match):
    folder = copied(family)
    edit_config(folder, **entries)
    with pytest.raises((ValueError, TypeError), match=match):
        huggingface.load(folder)


def test_a_missing_an_extra_and_a_misshapen_tensor_are_named(copied):
    folder = copied("gpt2")
    name = "transformer.h.1.mlp.c_fc.weight"
    edit_tensors(folder, lambda tensors: tensors.update({name: tensors[name].T.copy()}))
    with pytest.raises(ValueError, match=r"c_fc.weight \[96, 24\] for \[24, 96\]"):
        huggingface.load(folder)
    edit_tensors(folder, lambda tensors: tensors.update({"adapter": tensors.pop(name)}))
    with pytest.raises(ValueError, match=rf"gpt2 lacks {name}$"):
        huggingface.load(folder)
    edit_tensors(folder, lambda tensors: tensors.update({name: tensors["adapter"]}))
    with pytest.raises(ValueError, match=r"has, beyond what config.json describes, adapter$"):
        huggingface.load(folder)


def test_incomplete_folders_are_refused(copied):
    folder = copied("llama")
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"00002.safetensors is not a whole safetensors file"):
        huggingface.load(folder)
    shard.unlink()
    with pytest.raises(ValueError, match=r"model-00002-of-00002.safetensors .* is missing"):
        huggingface.load(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(ValueError, match=r"must have model.safetensors or .*, and has neither"):
        huggingface.load(folder)
    (folder / "config.json").write_text('{"model_type": "llama",\n "vocab_size": }')
    with pytest.raises(ValueError, match=r"config.json is not JSON, line 2"):
        huggingface.load(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"config.json must hold an object, got list"):
        huggingface.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"must have a file config.json, and .*llama has none"):
        huggingface.load(folder)


@pytest.mark.parametrize("source", [Path("gpt2"), "./gpt2", "a/b/c", "/no/such/folder", "~/gone"])
def test_a_path_is_never_looked_for_on_the_hub(source):
    with pytest.raises(ValueError, match=r"must be a folder or a name on the hub, got '"):
        huggingface.load(source)


def test_a_file_is_no_checkpoint():
    with pytest.raises(ValueError, match=r"must be a folder, and .*config.json is a file"):
        huggingface.load(CHECKPOINTS / "gpt2/config.json")


def test_a_hub_name_needs_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"no folder 'owner/model', .*collapse_jax\[hub\]"):
        huggingface.load("owner/model")


def test_a_hub_name_without_a_network(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"no folder 'owner/model', and .* cannot be reached"):
        huggingface.load("owner/model")


def test_a_hub_name_is_fetched(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def fetch(name, allow_patterns):
        asked.append(name)
        return str(CHECKPOINTS / "gpt2")

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    assert huggingface.load_architecture("owner/model").family == "gpt2"
    assert asked == ["owner/model"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"gated": True}, r"to be written as a checkpoint; the nearest, gpt2"),
        ({"positions": "rotary"}, r"the nearest, llama"),
        ({"windows": (3, None)}, r"the nearest, gpt2"),
        ({"positions": "rotary", "post_norms": True, "windows": (3, 4)}, r"got \[3, 4\]"),
    ],
)
def test_an_architecture_of_no_family_is_not_written(tmp_path, changes, match):
    architecture = Architecture(vocab_size=5, context=4, width=8, depth=2, heads=2, **changes)
    with pytest.raises(ValueError, match=match):
        huggingface.save(tmp_path / "new", architecture, abstract_params(architecture)[1])
    assert not (tmp_path / "new").exists()


@pytest.fixture
def transformers():
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def torch_logits(model, tokens):
    import torch

    with torch.no_grad():
        return model.eval()(torch.asarray(tokens)).logits.float().numpy()


@pytest.mark.parametrize("family", ALL)
def test_live_from_transformers(transformers, family, tmp_path):
    import torch

    torch.manual_seed(1)
    config = transformers.AutoConfig.from_pretrained(CHECKPOINTS / family)
    make = functools.partial(transformers.AutoModelForCausalLM.from_config, config)
    model = make(attn_implementation="eager").float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (3, 32))
    architecture, params = huggingface.load(tmp_path)
    assert architecture.n_parameters == model.num_parameters()
    found = logits(architecture, params, tokens)
    np.testing.assert_allclose(found, torch_logits(model, tokens), **AGREEMENT)


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_live_head_of_its_own(transformers, family, copied):
    """The head that the weights have is used, though the configuration says that it is tied."""
    folder = copied(family)
    table = "transformer.wte.weight" if family == "gpt2" else "model.embed_tokens.weight"
    edit_tensors(folder, lambda t: t.update({"lm_head.weight": np.roll(t[table], 1, axis=0)}))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    _, tokens, before = committed(family)
    found = logits(*huggingface.load(folder), tokens)
    np.testing.assert_allclose(found, torch_logits(model, tokens), **AGREEMENT)
    assert np.abs(found - before).max() > 0.1


@pytest.mark.parametrize(
    ("family", "dtype"),
    [*((name, "float32") for name in ALL), *((name, "bfloat16") for name in FAMILIES)],
)
def test_live_to_transformers(transformers, family, dtype, tmp_path):
    """A model that started here, with weights of our own, and in several files."""
    architecture = huggingface.load_architecture(CHECKPOINTS / family)
    draw = np.random.default_rng(2).normal
    _, shapes = abstract_params(architecture)
    params = jax.tree.map(lambda leaf: jnp.asarray(draw(0, 0.2, leaf.shape), dtype), shapes)
    huggingface.save(tmp_path, architecture, params, max_shard_bytes=40_000)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, attn_implementation="eager", dtype="float32", output_loading_info=True
    )
    assert not any(report.values())
    tokens = np.random.default_rng(0).integers(0, architecture.vocab_size, (2, 32))
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    found = logits(architecture, wide, tokens)
    np.testing.assert_allclose(found, torch_logits(model, tokens), **AGREEMENT)
    stored = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert str(stored.dtype) == f"torch.{dtype}"
