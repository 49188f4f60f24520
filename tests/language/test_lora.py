"""Low-rank changes: agreement with PEFT, with gradients by hand, and what is kept of them."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

import collapse_jax as cj
from collapse_jax.cli.options.language import settings
from collapse_jax.cli.options.parser import parse
from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.model.decoder import Decoder, unstack_layers
from collapse_jax.language.model.lora import adapters_of, changed_parts
from collapse_jax.language.model.loss import document_loss
from collapse_jax.language.model.training import Optimizer, start_training, train_steps
from collapse_jax.language.saved_models import ModelWriter
from collapse_jax.language.weights import adapters, huggingface, tensors
from collapse_jax.language.weights.configuration import read_config
from collapse_jax.run.before.prepared import prepare
from collapse_jax.run.room import bytes_of
from collapse_jax.run.staged import Generation

CHECKPOINTS = Path(__file__).parent / "checkpoints"
GRAMMAR = cj.corpus.Grammar(n_names=2, n_nouns=2)
AGREEMENT = {"rtol": 0, "atol": 2e-5}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Runs in an empty folder, without the run-time checks of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


def logits(graphdef, params, tokens):
    def forward(params):
        decoder = nnx.merge(graphdef, params)
        return decoder.logits(decoder.hidden(jnp.asarray(tokens)))

    return np.asarray(jax.jit(forward)(params))


def graph(architecture, **options):
    return nnx.split(nnx.eval_shape(lambda: Decoder(architecture, rngs=nnx.Rngs(0), **options)))


def small(name="gpt2", **options):
    options = {"n_samples": 8, "n_test": 4, "sample_batch": 8, "max_attempts": 200} | options
    options = {"optimizer": Optimizer(0.05, batch_size=4, epochs=3)} | options
    return cj.LanguageModel(GRAMMAR, checkpoint=CHECKPOINTS / name, **options)


def noise(params, seed=0, size=0.2):
    """Changes that are not at their start."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: size * rng.normal(size=x.shape).astype(np.float32), params)


@pytest.fixture
def written():
    """A function that copies changes which PEFT has written, beside the model they change."""

    def copy(family, **entries):
        folder = Path(shutil.copytree(CHECKPOINTS / family / "lora", f"{family}-lora"))
        path = folder / "adapter_config.json"
        base = {"base_model_name_or_path": str(CHECKPOINTS / family)}
        path.write_text(json.dumps(json.loads(path.read_text()) | base | entries))
        return folder

    return copy


@pytest.mark.parametrize(("family", "scan"), [("gpt2", False), ("gemma2", False), ("gemma2", True)])
def test_logits_agree_with_peft(family, scan, written):
    """Of changes that PEFT wrote: those beside the weights, and those added to them."""
    folder = written(family)
    tokens = np.load(CHECKPOINTS / family / "tokens.npy")
    expected, base = (np.load(CHECKPOINTS / family / at / "logits.npy") for at in ("lora", ""))
    assert np.abs(expected - base).max() > 0.5
    architecture, merged = adapters.load(folder, scan=scan)
    found = logits(graph(architecture, scan=scan)[0], merged, tokens)
    np.testing.assert_allclose(found, expected, **AGREEMENT)
    lora, changes = adapters._load_changes(folder, architecture, scan)
    assert (lora.rank, lora.alpha) == (3, 5.0)
    _, weights = huggingface.load(CHECKPOINTS / family, scan=scan)
    graphdef = graph(architecture, scan=scan, lora=lora)[0]
    beside = logits(graphdef, nnx.merge_state(weights, changes), tokens)
    np.testing.assert_allclose(beside, expected, **AGREEMENT)
    loaded = cj.LanguageModel.from_pretrained(folder)
    np.testing.assert_allclose(loaded.logits(tokens), expected, **AGREEMENT)


def test_dropout_has_no_part_in_what_is_read(written):
    """PEFT itself drops nothing outside of training, and changes are not trained on here."""
    found = [adapters.load(written("gpt2"))[1]]
    folder = Path("gpt2-lora").rename("plain")
    found.append(adapters.load(written("gpt2", lora_dropout=0.5))[1])
    assert json.loads(Path("gpt2-lora/adapter_config.json").read_text())["lora_dropout"] == 0.5
    assert json.loads((folder / "adapter_config.json").read_text())["lora_dropout"] == 0.0
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_no_dropout_is_promised():
    """Where it is asked for it is refused by its name, and folders do not claim it."""
    options: dict = {"dropout": 0.1}
    with pytest.raises(TypeError, match="dropout"):
        cj.LoRA(8, **options)
    with pytest.raises(ValueError, match="--lora-dropout"):
        parse(["--lora-dropout", "0.1"], "lm", "", {"options": settings()})
    task, params = changed("gpt2")
    task.save_pretrained("changes", params, merged=False)
    assert json.loads(Path("changes/adapter_config.json").read_text())["lora_dropout"] == 0.0


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type of .* must be 'LORA', got 'IA3'"),
        ({"use_rslora": True}, "use_rslora of .* must be False, got True"),
        ({"use_dora": True}, "use_dora of .* must be False, got True"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights of .* must be one of .* got 'pissa'"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights of .* got 'pissa_niter_4'"),
        ({"init_lora_weights": "olora"}, "leave the weights of the checkpoint as they are"),
        ({"alpha_pattern": {"c_fc": 3}}, "alpha_pattern of .* must be {}"),
        ({"r": 2}, "must be the factors that adapter_config.json describes"),
        ({"r": None}, "rank must be"),
        ({"base_model_name_or_path": None}, "base_model_name_or_path must be in"),
    ],
)
def test_changes_of_another_kind_are_refused(entries, message, written):
    with pytest.raises((ValueError, TypeError), match=message):
        adapters.load(written("gpt2", **entries))


def test_training_starts_from_the_checkpoint_exactly():
    task = small("gemma2", lora=cj.LoRA(2))
    tokens = np.load(CHECKPOINTS / "gemma2" / "tokens.npy")
    start = task.initialise(jax.random.key(1))
    assert task.n_trained == sum(leaf.size for leaf in jax.tree.leaves(start))
    found = logits(task.graphdef, task.whole(start), tokens)
    np.testing.assert_array_equal(found, task.logits(tokens))


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_training_is_that_of_the_product_by_hand(family):
    """Gradients of all weights, from them those of the factors, and AdamW in NumPy."""
    lora, settings = cj.LoRA(2, alpha=3.0), Optimizer(0.05, batch_size=4, epochs=3, eps=1e-3)
    architecture, base = huggingface.load(CHECKPOINTS / family)
    graphdef, shapes = graph(architecture, lora=lora)
    start = noise(adapters_of(shapes))
    rng = np.random.default_rng(1)
    tokens = jnp.asarray(rng.integers(architecture.vocab_size, size=(4, 9)), jnp.int32)
    rows = Documents(tokens, jnp.asarray([9, 5, 7, 9], jnp.int32))
    state = start_training(settings, start)
    key = jax.random.key(0)

    @jax.jit
    def train(state, frozen):
        return train_steps(graphdef, settings, state, rows, 4, key, 3, bos_id=0, frozen=frozen)

    state = train(state, base)
    plain = graph(architecture)[0]

    @jax.jit
    @jax.grad
    def gradient(params):
        loss = document_loss(plain, params, rows, bos_id=0)
        return loss.nats / loss.tokens

    factors = {path: np.array(leaf[...]) for path, leaf in nnx.to_flat_state(start)}
    first, second = (dict.fromkeys(factors, 0.0) for _ in range(2))
    for step in range(3):
        whole = adapters.merge(architecture, lora, tensors.as_params(factors), base)
        of_weights = gradient(whole)
        found = {path: np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(of_weights)}
        slopes = {}
        for layer in range(architecture.depth):
            for part in changed_parts(architecture, lora):
                slope = found["layers", layer, *part.where, "kernel"]
                slope = slope if part.rows is None else slope[..., part.rows, :]
                own = ("layers", layer, *part.where, "adapter", "factors", part.name)
                a, b = factors[(*own, "a")], factors[(*own, "b")]
                n_in, n_out = a.ndim - 1, b.ndim - 1
                outs = tuple(range(n_in, n_in + n_out)), tuple(range(1, n_out + 1))
                slopes[(*own, "a")] = lora.scale * np.tensordot(slope, b, axes=outs)
                ins = tuple(range(n_in))
                slopes[(*own, "b")] = lora.scale * np.tensordot(a, slope, axes=(ins, ins))
        norm = np.sqrt(sum(np.sum(slope**2) for slope in slopes.values()))
        rate = float(settings.rate(jnp.asarray(step), jnp.asarray(3)))
        for path, raw in slopes.items():
            slope = raw / max(1.0, norm)
            first[path] = 0.9 * first[path] + 0.1 * slope
            second[path] = 0.999 * second[path] + 0.001 * slope**2
            mean, square = first[path] / (1 - 0.9 ** (step + 1)), second[path]
            square = square / (1 - 0.999 ** (step + 1))
            factors[path] = factors[path] - rate * mean / (np.sqrt(square) + 1e-3)
    moved, first_ones = 0.0, {p: leaf[...] for p, leaf in nnx.to_flat_state(start)}
    for path, leaf in nnx.to_flat_state(state.params):
        np.testing.assert_allclose(leaf[...], factors[path], rtol=0, atol=2e-5)
        moved = max(moved, np.abs(factors[path] - first_ones[path]).max())
    assert moved > 0.02
    assert set(dict(nnx.to_flat_state(state.params))) == set(factors)


def test_a_run_keeps_changes_alone_goes_on_where_it_stopped_and_saves_them():
    """The changes are what is carried and saved; the weights are those of all seeds."""
    task = small(lora=cj.LoRA(2, targets=["c_attn"]), start="previous")
    seen, write = [], ModelWriter("models", task)

    def observe(made):
        seen.append(made)
        write(made)
        if made.generation == 2 and len(seen) == 2:
            raise KeyboardInterrupt

    arguments = (cj.Replace(), task, 3)
    with pytest.raises(KeyboardInterrupt):
        cj.simulate(*arguments, [0, 5], checkpoint="run", checkpoint_seconds=0, observe=observe)
    stopped = cj.simulate(*arguments, [0, 5], checkpoint="run", observe=observe)
    whole = cj.simulate(*arguments, [0, 5])
    for name in whole:
        np.testing.assert_array_equal(stopped[name], whole[name])
    assert np.all(np.diff(whole.train_loss) < 0)
    for made in seen:
        assert sum(leaf.size for leaf in jax.tree.leaves(made.params)) == 2 * task.n_trained
    files = {path.name for path in Path("models/seed-5-generation-3").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= files
    assert "model.safetensors" not in files
    kept = cj.models("models")[5]
    tokens = np.load(CHECKPOINTS / "gpt2" / "tokens.npy")
    own = jax.tree.map(lambda leaf: leaf[1], seen[-1].params)
    expected = logits(task.graphdef, task.whole(own), tokens)
    found = logits(graph(kept.architecture)[0], kept.params, tokens)
    np.testing.assert_allclose(found, expected, **AGREEMENT)
    assert np.abs(found - task.logits(tokens)).max() > 1e-2
    # What trains on is the same whether it is measured in the run or by hand.
    world = task.world(jax.random.key(0), rows=True, index=None)
    assert np.isfinite(task.measure(world, own)["test_loss"])


def changed(family, targets="all"):
    lora = cj.LoRA(3, alpha=5, targets=targets)
    task = cj.LanguageModel(checkpoint=CHECKPOINTS / family, lora=lora)
    return task, noise(task.initialise(jax.random.key(0)))


@pytest.mark.parametrize(
    ("family", "targets"), [("gpt2", "all"), ("gemma2", ["v_proj", "mlp.gate_proj"])]
)
def test_changes_are_read_as_they_were_written(family, targets):
    task, params = changed(family, targets)
    tokens = np.load(CHECKPOINTS / family / "tokens.npy")
    expected = logits(task.graphdef, task.whole(params), tokens)
    task.save_pretrained("merged", params)
    task.save_pretrained("changes", params, merged=False)
    for folder in ("merged", "changes"):
        found = cj.LanguageModel.from_pretrained(folder).logits(tokens)
        np.testing.assert_allclose(found, expected, **AGREEMENT)
    task.save_pretrained("base")
    base = cj.LanguageModel.from_pretrained("base").logits(tokens)
    np.testing.assert_array_equal(base, task.logits(tokens))
    with pytest.raises(ValueError, match="folder must not be a whole checkpoint"):
        task.save_pretrained("merged", params, merged=False)
    on_top = cj.LanguageModel(GRAMMAR, 8, n_test=4, checkpoint="changes", lora=cj.LoRA(1))
    with pytest.raises(ValueError, match="merged must be True where"):
        on_top.save_pretrained("more", on_top.initialise(jax.random.key(0)), merged=False)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # they warn of each other
@pytest.mark.parametrize("family", ["gpt2", "gemma2", "qwen3", "gemma3", "llama"])
def test_live_peft_reads_what_was_saved(family):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    for targets in ("all", "attention"):
        task, params = changed(family, targets)
        tokens = np.load(CHECKPOINTS / family / "tokens.npy")
        task.save_pretrained(targets, params, merged=False)
        base = transformers.AutoModelForCausalLM.from_pretrained(
            CHECKPOINTS / family, attn_implementation="eager"
        )
        model = peft.PeftModel.from_pretrained(base, targets)
        with torch.no_grad():
            theirs = model(torch.tensor(tokens, dtype=torch.int64)).logits.numpy()
        ours = logits(task.graphdef, task.whole(params), tokens)
        scale = max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * scale)


def test_layers_that_are_stacked_are_the_same_model():
    task, params = changed("gemma2")
    stacked = small("gemma2", lora=task.lora, scan=True)
    shapes = stacked.initialise(jax.random.key(0))
    paths = [
        {(path, leaf.shape) for path, leaf in nnx.to_flat_state(found)}
        for found in (unstack_layers(shapes), params)
    ]
    assert paths[0] == paths[1]
    task.save_pretrained("changes", params, merged=False)
    lora, changes = adapters._load_changes(Path("changes"), task.architecture, True)
    assert lora.scale == task.lora.scale
    tokens = np.load(CHECKPOINTS / "gemma2" / "tokens.npy")
    ours = [logits(t.graphdef, t.whole(p), tokens) for t, p in ((task, params), (stacked, changes))]
    np.testing.assert_allclose(*ours, **AGREEMENT)


def test_the_memory_of_the_weights_counts_once_and_that_of_training_for_the_changes():
    plain, task = small("gemma2"), small("gemma2", lora=cj.LoRA(2), start="previous")
    n = task.architecture.n_parameters
    assert plain.scratch_bytes == 16 * n
    assert task.scratch_bytes == 16 * task.n_trained
    assert bytes_of(task.prepared()) == bytes_of(task) == 4 * n
    pools = [prepare(cj.Replace(), t, 2, 2).pool_bytes for t in (plain, task)]
    assert pools[0] < 4 * task.n_trained < pools[1] < 4 * n  # with `previous` a model is carried
    half = small("gemma2", lora=cj.LoRA(2), dtype="bfloat16")
    assert (half.param_dtype, bytes_of(half)) == ("bfloat16", 2 * n)
    assert {leaf.dtype for leaf in jax.tree.leaves(half.initialise(jax.random.key(0)))} == {
        jnp.dtype("float32")
    }
    with pytest.raises(ValueError, match=rf"{task.n_trained:,} parameters x .* 0.00 GB for the"):
        cj.simulate(cj.Replace(), task, 2, 2, memory_limit=4 * n)


def test_a_run_is_known_by_its_changes():
    task = small(lora=cj.LoRA(2, targets=["c_attn"]))
    written = json.loads(json.dumps(cj.config.describe(task)))
    again = cj.config.rebuild(written)
    assert again.lora == task.lora
    assert cj.config.describe(again) == cj.config.describe(task)
    assert cj.config.describe(small(lora=cj.LoRA(3))) != cj.config.describe(task)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: cj.LoRA(0), ValueError, "rank must be"),
        (lambda: cj.LoRA(alpha=-1.0), ValueError, "alpha must be"),
        (lambda: cj.LoRA(targets=3), TypeError, "targets must be a word or a list"),
        (lambda: small(lora=8), TypeError, "lora must be an LoRA, got 8"),
        (lambda: small(lora=cj.LoRA(targets="q_proj")), ValueError, "among c_attn, c_proj, c_fc"),
        (lambda: small(lora=cj.LoRA(targets=[])), ValueError, "targets must be .*got ''"),
        (lambda: cj.LanguageModel(lora=cj.LoRA()), ValueError, "lora must be None with mode='pre"),
    ],
)
def test_arguments_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_options_on_the_command_line():
    from collapse_jax.cli.options.language import make_task, settings

    base = cj.LanguageModel()
    base.save_pretrained("model", base.initialise(jax.random.key(0)))
    given = {"model": "model", "n_samples": 8, "n_test": 4}
    made = make_task(given | {"lora_rank": 2, "lora_targets": ["c_attn"]})
    assert made.lora == cj.LoRA(2, targets=["c_attn"])
    of_all = make_task(given | {"lora_alpha": 8.0, "lora_targets": ["all"]})
    assert (of_all.lora.rank, of_all.lora.scale) == (8, 1.0)
    assert of_all.n_trained > 4 * made.n_trained
    assert make_task(given).lora is None
    assert {s.option for s in settings()} >= {"--lora-rank", "--lora-alpha", "--lora-targets"}


def test_the_arithmetic_of_a_large_model_in_the_documentation():
    """Gemma-2 2B, from its published configuration, against the table of the page."""
    config = {
        "model_type": "gemma2",
        "vocab_size": 256000,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 8192,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
    }
    architecture = read_config(config)
    shapes = graph(architecture, lora=cj.LoRA(8), scan=True)[1]
    found = sum(leaf.size for leaf in jax.tree.leaves(adapters_of(shapes)))
    by_hand = 26 * 8 * (2 * (2304 + 2048) + 2 * (2304 + 1024) + 3 * (2304 + 9216))
    assert (found, architecture.n_parameters) == (by_hand, 2_614_341_888)
    page = Path(__file__).parents[2] / "docs" / "tasks" / "language_model.md"
    for number in (f"{by_hand:,} in all", f"{architecture.n_parameters:,} x 2"):
        assert number in page.read_text(encoding="utf-8")
    assert round((by_hand * 20 + 2 * architecture.n_parameters) / 1e9, 2) == 5.44


def test_clipping_is_switched_off_on_the_command_line():
    from collapse_jax.cli.options.language import make_task, settings

    clip = next(setting for setting in settings() if setting.name == "clip")
    assert clip.read(["none"]) is None
    assert clip.read(["2"]) == 2.0
    assert clip.shown == "FLOAT|none"
    assert "'none' for none" in clip.explained
    assert make_task({"n_samples": 8, "clip": clip.read(["none"])}).optimizer.clip is None
    assert make_task({"n_samples": 8}).optimizer.clip == 1.0


def test_changes_of_a_checkpoint_that_has_changes_are_kept_as_whole_models(written):
    """PEFT could not say what they change."""
    folder = written("gpt2")
    task = small(folder.absolute(), lora=cj.LoRA(2, targets=["c_attn"]))
    own = noise(task.initialise(jax.random.key(0)))
    stacked = jax.tree.map(lambda leaf: leaf[None], own)
    ModelWriter("models", task)(Generation(1, np.array([3]), stacked, None))
    kept = cj.models("models")[3]
    tokens = np.load(CHECKPOINTS / "gpt2" / "tokens.npy")
    found = logits(graph(kept.architecture)[0], kept.params, tokens)
    np.testing.assert_allclose(found, logits(task.graphdef, task.whole(own), tokens), **AGREEMENT)
    assert np.abs(found - task.logits(tokens)).max() > 0.1


def test_a_checkpoint_is_known_by_its_settings_too():
    """The same numbers compute something else where, say, scores have another cap."""
    copied = Path(shutil.copytree(CHECKPOINTS / "gemma2", "copied"))
    prints = [small(name).base.fingerprint for name in ("gemma2", copied.absolute())]
    assert prints[0] == prints[1]
    path = copied / "config.json"
    entries = json.loads(path.read_text())
    for name in ("final_logit_softcapping", "rms_norm_eps", "sliding_window"):
        assert entries[name]
        path.write_text(json.dumps(entries | {name: type(entries[name])(entries[name] / 2)}))
        prints.append(small(copied.absolute()).base.fingerprint)
    assert len(set(prints)) == 4
