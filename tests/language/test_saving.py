"""Models on disk with all that belongs to them: tokenizers, settings, and where they came from."""

import json
import shutil
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer

import collapse_jax as cj
from collapse_jax.language.corpora import ByteTokenizer, FileTokenizer, Text, train_bpe
from collapse_jax.language.model.architecture import RopeScaling, preset
from collapse_jax.language.saved_models import ModelWriter
from collapse_jax.language.weights.tensors import abstract_params
from collapse_jax.records import folder
from collapse_jax.run.staged import Generation

CHECKPOINT = Path(__file__).parent / "checkpoints" / "gpt2"
GRAMMAR = cj.corpus.Grammar(n_names=2, n_nouns=2)
TEXTS = ["plain words", " two  spaces ", "né \U0001f600\n\n", "a</s><|endoftext|>b", ""]
SENTENCES = GRAMMAR.sample(40)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Runs in an empty folder, without the run-time checks of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)
    Path("c.txt").write_text("\n".join(text.replace("\n", " ") for text in SENTENCES))


def parameters(architecture, value=0.0):
    shapes = abstract_params(architecture)[1]
    return jax.tree.map(lambda leaf: np.full(leaf.shape, value, np.float32), shapes)


def file_tokenizer(folder, **options):
    """One that was trained, in a folder with a chat template and settings of its own."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    train_bpe(SENTENCES, 280, folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken("<|stop|>", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 77}')
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    return FileTokenizer(folder, **options)


def task(tokenizer=None, corpus=None, **options):
    corpus = Text("c.txt") if corpus is None else corpus
    return cj.LanguageModel(corpus, tokenizer=tokenizer, **options)


def tokenizers():
    file_tokenizer("alone")
    shutil.copy("alone/tokenizer.json", "named.json")
    return {
        "bytes": (task(ByteTokenizer()), TEXTS),
        "words": (task(corpus=GRAMMAR), SENTENCES),
        "folder": (task(file_tokenizer("folder")), TEXTS),
        "ends": (task(file_tokenizer("ends", bos="<|stop|>")), TEXTS),
        "file": (task(FileTokenizer("named.json", eos="<|stop|>")), TEXTS),
    }


@pytest.mark.parametrize("name", ["bytes", "words", "folder", "ends", "file"])
def test_the_tokenizer_in_use_is_saved_and_read_again(name):
    saved, texts = tokenizers()[name]
    own = saved.tokenizer
    saved.save_pretrained("model", parameters(saved.architecture))
    found = FileTokenizer("model")
    assert (found.bos_id, found.eos_id) == (own.bos_id, own.eos_id)
    assert found.vocab_size == own.vocab_size
    for text in texts:
        assert found.encode(text) == own.encode(text)
        assert found.decode(own.encode(text)) == own.decode(own.encode(text))
    again = cj.LanguageModel.from_pretrained("model", saved.corpus)
    assert type(again.tokenizer) is (type(own) if name == "words" else FileTokenizer)
    config = json.loads(Path("model/config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (own.bos_id, own.eos_id)
    assert Path("model/chat_template.jinja").exists() == (name in ("folder", "ends"))
    if name == "folder":
        written = json.loads(Path("model/tokenizer_config.json").read_text())
        assert written["model_max_length"] == 77


def test_a_checkpoint_can_be_saved_into_its_own_folder():
    """Nothing is lost that came with it, and nothing stays of what it replaces."""
    first = task(file_tokenizer("first"))
    first.save_pretrained("model", parameters(first.architecture))
    settings = {"do_sample": True, "eos_token_id": [0, 5]}
    Path("model/generation_config.json").write_text(json.dumps(settings))
    loaded = task(checkpoint="model")
    before = {path.name: path.read_bytes() for path in Path("model").iterdir()}
    loaded.save_pretrained("model", parameters(first.architecture, 1.0))
    after = {path.name: path.read_bytes() for path in Path("model").iterdir()}
    assert after.keys() == before.keys()
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert after[name] == before[name]
    kept = json.loads(after["generation_config.json"])
    assert kept == settings | {"bos_token_id": 0}
    ones = task(checkpoint="model").base.params
    assert all(np.all(leaf == 1.0) for leaf in jax.tree.leaves(ones))

    other = task(ByteTokenizer(), model=first.architecture)
    other.save_pretrained("model", parameters(first.architecture))
    assert not Path("model/chat_template.jinja").exists()
    assert FileTokenizer("model").encode("né") == [110, 195, 169]


def test_without_a_corpus_all_files_of_the_source_go_along():
    first = task(file_tokenizer("first"))
    first.save_pretrained("model", parameters(first.architecture))
    cj.LanguageModel.from_pretrained("model").save_pretrained("copy")
    names = {path.name for path in Path("model").iterdir()}
    assert {path.name for path in Path("copy").iterdir()} == names
    for name in names - {"model.safetensors"}:
        assert Path("copy", name).read_bytes() == Path("model", name).read_bytes()


def test_one_model_of_a_generation_is_saved_by_its_seed():
    made = task(corpus=GRAMMAR)
    parts = [parameters(made.architecture, value) for value in (3.0, 5.0, 5.0)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
    generation = Generation(2, np.array([7, 4, 4]), stacked, None)
    made.save_pretrained("model", generation, seed=4)
    loaded = cj.LanguageModel.from_pretrained("model", GRAMMAR)
    assert all(np.all(leaf == 5.0) for leaf in jax.tree.leaves(loaded.base.params))
    with pytest.raises(ValueError, match=r"seed must be one of \[4, 7\], got None"):
        made.save_pretrained("model", generation)
    with pytest.raises(ValueError, match=r"seed must be one of .*got 5"):
        made.save_pretrained("model", generation, seed=5)
    with pytest.raises(ValueError, match="generation of several models, got 4"):
        made.save_pretrained("model", parts[0], seed=4)


def test_the_newest_model_of_each_seed_is_kept():
    made = task(corpus=GRAMMAR)
    parts = [parameters(made.architecture, value) for value in (3.0, 5.0, 5.0)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
    write = ModelWriter("models", made)
    for generation in (1, 2):
        write(Generation(generation, np.array([1, 10, 10]), stacked, None))
    names = {path.name for path in Path("models").iterdir()}
    assert names == {"seed-1-generation-2", "seed-10-generation-2"}
    loaded = cj.LanguageModel.from_pretrained("models/seed-10-generation-2", GRAMMAR)
    assert all(np.all(leaf == 5.0) for leaf in jax.tree.leaves(loaded.base.params))
    # A half-written one, and what else lies there, are not models.
    Path("models/seed-10-generation-3").mkdir()
    Path("models/seed-1-generation-9").write_text("")
    kept = cj.models("models")
    assert [(seed, found.seed, found.generation) for seed, found in kept.items()] == [
        (1, 1, 2),
        (10, 10, 2),
    ]
    for found, value in zip(kept.values(), (3.0, 5.0), strict=True):
        assert found.architecture == made.architecture
        assert all(np.all(leaf == value) for leaf in jax.tree.leaves(found.params))
    for name in ("nowhere", "models/seed-10-generation-3"):
        with pytest.raises(ValueError, match="folder must"):
            cj.models(name)
    with pytest.raises(ValueError, match=r"models must be a folder, and c.txt is a file"):
        ModelWriter("c.txt", made)


def test_a_run_remembers_its_weights_and_is_found_from_elsewhere(monkeypatch, tmp_path):
    """Other weights or another tokenizer under the same path are another run."""
    first = task(file_tokenizer("tok"))
    first.save_pretrained("model", parameters(first.architecture))
    options = {"n_samples": 8, "tokenizer": FileTokenizer("tok")}
    written = json.loads(json.dumps(cj.config.describe(task(checkpoint="model", **options))))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    again = cj.config.rebuild(written)
    assert cj.config.describe(again) == written
    first.save_pretrained("../model", parameters(first.architecture, 1e-3))
    assert cj.config.describe(cj.LanguageModel(again.corpus, 8, checkpoint="../model")) != written
    with pytest.raises(ValueError, match="LanguageModel must be that of the run"):
        cj.config.rebuild(written)


def test_an_architecture_is_described_and_made_again():
    shape = preset(
        "tiny",
        vocab_size=257,
        context=512,
        positions="rotary",
        rope_scaling=RopeScaling(8.0, 1.0, 4.0, 32),
    )
    written = json.loads(json.dumps(cj.config.describe(task(ByteTokenizer(), model=shape))))
    assert cj.config.rebuild(written).architecture == shape


@pytest.mark.parametrize("name", ["bytes", "words", "folder", "ends", "file"])
def test_live_tokenizers_in_transformers(name):
    """The same ids and ends, from what was saved."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    saved, texts = tokenizers()[name]
    saved.save_pretrained("model", parameters(saved.architecture))
    theirs, own = transformers.AutoTokenizer.from_pretrained("model"), saved.tokenizer
    assert (theirs.bos_token_id, theirs.eos_token_id) == (own.bos_id, own.eos_id)
    for text in texts:
        plain = text.replace("<|endoftext|>", "")  # a text's are text here, and ends there
        ids = theirs(plain, add_special_tokens=False)["input_ids"]
        assert ids == own.encode(plain)
        # An old habit of theirs would take spaces away before punctuation.
        assert theirs.decode(ids, clean_up_tokenization_spaces=False) == own.decode(ids)
    transformers.AutoModelForCausalLM.from_pretrained("model")


def test_a_run_goes_on_where_its_corpus_and_checkpoint_have_moved():
    """Contents say which run it is; where they are now is written down."""
    first = task(file_tokenizer("tok"))
    first.save_pretrained("model", parameters(first.architecture))

    def config(corpus, model):
        made = cj.LanguageModel(Text(corpus), 8, n_test=2, checkpoint=model, most_dropped=1.0)
        written = json.loads(json.dumps(cj.config.describe(made)))
        return {"workflow": {"type": "Workflow"}, "task": written, "n_generations": 2}

    before = config("c.txt", "model")
    Path("run").mkdir()
    folder.claim(Path("run"), before, lambda _: set())
    shutil.move("model", "elsewhere")
    shutil.copy("c.txt", "d.txt")
    after = config("d.txt", "elsewhere")
    assert before != after
    assert folder.run_of(before) == folder.run_of(after)
    folder.claim(Path("run"), after, lambda _: set())
    assert folder.read_config(Path("run/config.json"))["task"] == after["task"]
    Path("d.txt").write_text(Path("d.txt").read_text() + "\nanother")
    with pytest.raises(ValueError, match=r"task\.corpus\.fingerprint is .* there and .* here"):
        folder.check(Path("run"), config("d.txt", "elsewhere"), lambda _: set())
    first.save_pretrained("elsewhere", parameters(first.architecture, 1e-3))
    with pytest.raises(ValueError, match=r"task\.fingerprint is .* there and .* here"):
        folder.check(Path("run"), config("c.txt", "elsewhere"), lambda _: set())
    plain = {"type": "Other", "path": "a"}  # without a fingerprint the place is all there is
    assert folder.run_of({"task": plain}) != folder.run_of({"task": plain | {"path": "b"}})
