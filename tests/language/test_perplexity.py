"""Perplexities of named texts and under the checkpoint, against NumPy and transformers."""

import json
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.language.corpora import ByteTokenizer
from collapse_jax.language.model.training import Optimizer
from collapse_jax.records import folder

GRAMMAR = cj.corpus.Grammar(n_names=2, n_nouns=2)
TEXTS = ["a fox", "", "the quick brown fox jumps over it"]
WIKI = [*TEXTS[::2], "one more", "and a last one, which is longer"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Runs in an empty folder, without the run-time checks of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def base():
    """A small random model of bytes on disk, that is not sure of anything in particular."""
    Path("c.txt").write_text("\n".join(GRAMMAR.sample(60)))
    Path("wiki.txt").write_text("\n".join(WIKI))
    task = cj.LanguageModel(cj.corpus.Text("c.txt"), tokenizer=ByteTokenizer())
    params = task.initialise(jax.random.key(3))
    rng = np.random.default_rng(0)
    noisy = jax.tree.map(lambda x: np.asarray(x) + 0.3 * rng.normal(size=x.shape), params)
    noisy = jax.tree.map(lambda x: x.astype(np.float32), noisy)
    task.save_pretrained("base", noisy)
    return "base"


def by_hand(logits, rows, bos, eos, context):
    """In NumPy, from scores: documents of ids, in parts of the context."""
    nats = tokens = 0
    for ids in rows:
        whole = [*ids, eos]
        for first in range(0, len(whole), context):
            part = whole[first : first + context]
            scores = np.asarray(logits([[bos, *part[:-1]]])[0], np.float64)
            top = scores.max(-1)
            log_sum = top + np.log(np.exp(scores - top[:, None]).sum(-1))
            nats += (log_sum - scores[np.arange(len(part)), part]).sum()
            tokens += len(part)
    return np.exp(nats / tokens)


def of_rows(task, tokens, lengths):
    """The same of documents as rows, in which an end is there or not."""
    nats = total = 0.0
    for row, n in zip(np.asarray(tokens), np.asarray(lengths), strict=True):
        ids = row[:n].tolist()
        value = by_hand(task.logits, [ids[:-1]], task.tokenizer.bos_id, ids[-1], task.context)
        nats, total = nats + n * np.log(value), total + n
    return np.exp(nats / total)


def tuned(base, **options):
    optimizer = Optimizer(0.02, batch_size=8, epochs=1)
    options = {"context": 16, "longer": "split", "optimizer": optimizer} | options
    return cj.LanguageModel(cj.corpus.Text("c.txt"), 16, checkpoint=base, n_test=4, **options)


def test_perplexities_of_texts_are_those_by_hand(base):
    task = tuned(base)
    tokenizer = task.tokenizer
    ends = tokenizer.bos_id, tokenizer.eos_id
    rows = [tokenizer.encode(text) for text in TEXTS]
    expected = by_hand(task.logits, rows, *ends, 16)
    np.testing.assert_allclose(task.perplexity(None, TEXTS), expected, rtol=1e-4)
    assert expected > 20
    # The end of a document counts, and so do long ones, whose parts are read apart.
    assert abs(by_hand(task.logits, rows, *ends, 40) / expected - 1) > 1e-3


def test_a_run_measures_named_texts_and_its_documents_under_the_checkpoint(base):
    named = {"wiki": cj.corpus.Text("wiki.txt", test_fraction=0.5)}
    task = tuned(base, named=named, generate_from="blocks", lora=cj.LoRA(2))
    seen = []
    names = ["test_loss", "perplexity_wiki", "base_perplexity"]
    ds = cj.simulate(cj.Replace(), task, 1, [4], metrics=names, observe=seen.append)
    texts = sorted(WIKI)
    for made in seen:
        t = made.generation - 1
        own = jax.tree.map(lambda leaf: leaf[0], made.params)
        found = task.perplexity(own, texts)
        np.testing.assert_allclose(ds.perplexity_wiki[0, t], found, rtol=1e-4)
        expected = of_rows(task, *(np.asarray(part[0]) for part in made.documents[:2]))
        np.testing.assert_allclose(ds.base_perplexity[0, t], expected, rtol=1e-4)
    assert not np.allclose(ds.perplexity_wiki[:, 0], task.perplexity(None, texts), rtol=1e-3)
    # What nobody asks for is not computed, and is no variable of others.
    assert "base_perplexity" in task.on_request
    assert "base_perplexity" not in cj.LanguageModel(GRAMMAR, 8).variables
    written = json.loads(json.dumps(cj.config.describe(task)))
    assert cj.config.describe(cj.config.rebuild(written)) == cj.config.describe(task)


class Own(cj.LanguageModel):
    """A subclass, which has its arguments from above."""


@pytest.mark.parametrize("cls", [cj.LanguageModel, Own])
def test_names_may_be_words_that_descriptions_use(cls):
    Path("c.txt").write_text("\n".join(GRAMMAR.sample(60)))
    corpus = cj.corpus.Text("c.txt")
    for names in (["type"], ["unknown"], ["fingerprint", "path"], ["dict", "type", "wiki"]):
        task = cls(corpus, 8, tokenizer=ByteTokenizer(), named=dict.fromkeys(names, corpus))
        written = json.loads(json.dumps(cj.config.describe(task)))
        cj.config.check_exact(written)
        again = cj.config.rebuild(written)
        assert type(again) is cls
        assert list(again.named) == names
        assert cj.config.describe(again) == written
    parts = [{"fingerprint": {}, "path": {"type": "Text", "path": path}} for path in "ab"]
    assert folder.run_of(parts[0]) != folder.run_of(parts[1])


@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        ({"a b": "x"}, ValueError, "named must have words as names, got 'a b'"),
        ({"wiki": ["a text"]}, TypeError, "named must be texts"),
        (["wiki.txt"], TypeError, "named must be a mapping"),
    ],
)
def test_names_are_checked(named, error, message):
    with pytest.raises(error, match=message):
        cj.LanguageModel(GRAMMAR, 8, named=named)


def test_live_perplexity_is_that_of_the_loss_of_transformers(base):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    task = tuned(base, context=40)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    nats = tokens = 0.0
    for text in TEXTS:
        ids = task.tokenizer.encode(text)
        whole = torch.tensor([[task.tokenizer.bos_id, *ids, task.tokenizer.eos_id]])
        with torch.no_grad():
            loss = float(model(whole, labels=whole).loss)
        nats, tokens = nats + loss * (len(ids) + 1), tokens + len(ids) + 1
    np.testing.assert_allclose(task.perplexity(None, TEXTS), np.exp(nats / tokens), rtol=1e-4)
