"""The story of a user: a checkpoint and chats, four loops, two kills, samples, a page, models.

All of it by the command line, with the smallest model that can write such chats.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file

import collapse_jax as cj
from collapse_jax.cli import program
from collapse_jax.language.corpora import FileTokenizer, train_bpe
from collapse_jax.language.model.architecture import preset
from collapse_jax.language.model.training import Optimizer
from collapse_jax.language.saved_models import ModelWriter

pytestmark = pytest.mark.thorough

PAIRS = [
    (f"Does {a} see {b}?", f"Yes, {a} sees {b} {where}.")
    for a in ("Ann", "Bob", "Kim", "Leo")
    for b, where in (("Mia", "at sea"), ("Tom", "at home"), ("Zoe", "by bus"))
] + [(f"What is {i} and {i}?", f"It is {2 * i}.") for i in range(9)]
REWARD = '''
def brevity(text):
    """Short answers are liked."""
    return -0.5 * len(text.split())
'''
CORPUS = "--corpus chats.jsonl --prompt prompt --response response"
STEPS = "--batch-size 2 --learning-rate 2e-3 --max-attempts 200 --seeds 2"
ASKED = "--perplexity sums=sums.jsonl --metrics test_loss train_loss distinct_2 perplexity_sums"
LOOP = f"simulate lm --model start {CORPUS} {STEPS} --epochs 4 --generations 3 {ASKED}"
BEST = f"{LOOP} --generate-from prompts --synthetic.curation best-of:rewards:brevity:2"
LOOPS = {
    "replace": f"{LOOP} --workflow replace",
    "accumulate": f"{LOOP} --workflow accumulate",
    "subsample": f"{LOOP} --workflow accumulate-subsample",
    "best": BEST,
    "broken": f"{BEST} --checkpoint broken/chains",
}
KILLS = ["training-2", "documents-3"]

PROGRAM = """
import json, os, signal, sys
from collapse_jax.cli.program import main
from collapse_jax.records.midway import Midway
from collapse_jax.records.store import Checkpoint

def killing(self, kind, seeds, generation, step, tree):
    save(self, kind, seeds, generation, step, tree)
    if f"{kind}-{generation}" == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

Midway.due = Checkpoint.due = lambda self: True
save, Midway.save = Midway.save, killing
for words in json.loads(sys.argv[2]):
    print(words)
    if code := main(words.split()):
        sys.exit(code)
"""


def start(commands, kill="never"):
    """The commands in a process of their own, which may be killed when it has saved something."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, kill, json.dumps(commands)],
        env={**os.environ, "XDG_CACHE_HOME": str(Path.cwd() / "programs")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def make_checkpoint():
    """A model of one layer that has learned the chats, and its tokenizer."""
    corpus = cj.corpus.Text("chats.jsonl", prompt="prompt", response="response")
    train_bpe(corpus.train, 330, "tokenizer.json")
    task = cj.LanguageModel(
        corpus,
        tokenizer=FileTokenizer("tokenizer.json"),
        model=preset("tiny", vocab_size=330, context=32, depth=1),
        optimizer=Optimizer(1e-2, batch_size=2, epochs=30),
        max_attempts=200,
    )
    kept = ModelWriter("base", task)
    cj.simulate(cj.Replace(), task, 1, 1, metrics=["train_loss"], observe=kept, progress=False)
    Path("base/seed-0-generation-1").rename("start")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where it all happens: chats, a reward, and a checkpoint."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("story")
    os.chdir(folder)
    lines = [json.dumps({"prompt": p, "response": r}) + "\n" for p, r in PAIRS]
    Path("chats.jsonl").write_text("".join(lines))
    Path("sums.jsonl").write_text("".join(lines[-9:]))
    Path("rewards.py").write_text(REWARD)
    make_checkpoint()
    os.chdir(before)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    """Where it all happens, without the run-time checks of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(folder)


def commands(*names):
    """Those of loops, each of which writes all that it can into a folder of its own."""
    for name in names:
        Path(name).mkdir(exist_ok=True)
    kept = "--samples {0}/texts --save-models {0}/models --out {0}/run.nc"
    return [f"{LOOPS[name]} {kept.format(name)}" for name in names]


def finished(*names):
    """What is printed when these loops are run to their ends."""
    made = start(commands(*names))
    assert made.returncode == 0, made.stderr
    return made.stdout


def run_of(name):
    return xr.load_dataset(f"{name}/run.nc", engine="h5netcdf")


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*.*"))}


@pytest.mark.usefixtures("here")
def test_the_story(capsys):
    printed = finished("replace", "accumulate", "subsample", "best")
    for kill in KILLS:
        killed = start(commands("broken"), kill)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert list(Path("broken/chains").glob(f"midway-*/{kill.replace('-', '/')}-*"))
        assert not Path("broken/run.nc").exists()
    resumed = finished("broken")
    runs = {name: run_of(name) for name in LOOPS}
    # What was killed twice is what was not.
    xr.testing.assert_equal(runs["broken"], runs["best"])
    assert runs["broken"].attrs["samples"] == runs["best"].attrs["samples"]
    for kept in ("texts", "models"):
        whole, broken = files_of(f"best/{kept}"), files_of(f"broken/{kept}")
        assert list(whole) == list(broken)
        assert whole == broken
    # Documents are kept in 16 bits, and no wider than the longest.
    kept = [load_file(path) for path in Path("broken/chains").glob("chains-*/3.safetensors")]
    tokens = [x for arrays in kept for x in arrays.values() if x.ndim == 4]
    assert {x.dtype for x in tokens} == {np.dtype("uint16")}
    assert all(x.shape[3] < 32 for x in tokens)
    assert "\nSamples: best/texts\nModels: best/models\n" in printed
    # The table has what was asked for.
    for text, n in ((printed, 4), (resumed, 1)):
        for metric in ("train_loss", "distinct_2", "perplexity_sums"):
            assert sum(line.startswith(f"   {metric} ") for line in text.splitlines()) == n
    # All loops start from one model, and generated documents are chats; those of the last one
    # answer real questions.
    first = [runs[name].test_loss.values[:, 0] for name in ("replace", "accumulate", "subsample")]
    np.testing.assert_array_equal(*first[:2])
    np.testing.assert_array_equal(first[0], first[2])
    asked = {prompt for prompt, _ in PAIRS}
    for name, ds in runs.items():
        assert np.isfinite(ds.to_array()).all()
        assert ds.sizes == {"seed": 2, "generation": 3}
        for path in sorted(Path(f"{name}/texts").iterdir()):
            texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
            prompts = [text.removeprefix("user: ").partition("\nassistant: ")[0] for text in texts]
            assert len(texts) == 18
            assert all(text.count("\nassistant: ") == 1 for text in texts)
            assert ({*prompts} <= asked) or name not in ("best", "broken")
        assert len([*Path(f"{name}/texts").iterdir()]) == 6
    # The page.
    code = program.main(["report", *(f"{name}/run.nc" for name in LOOPS), "--out", "page.html"])
    assert (code, capsys.readouterr().err) == (0, "")
    page = Path("page.html").read_text()
    for name in ("Replace", "Accumulate", "AccumulateSubsample", "BestOf", "perplexity_sums"):
        assert name in page
    for ds in runs.values():
        last = json.loads(ds.attrs["samples"])["texts"]["3"][0]
        assert last.splitlines()[-1].replace("'", "&#x27;") in page


def test_last_models_in_transformers_have_the_loss_that_was_reported(request):
    torch = pytest.importorskip("torch")
    transformers: Any = pytest.importorskip("transformers")
    request.getfixturevalue("here")
    if not Path("best/run.nc").exists():
        finished("best")
    texts = cj.corpus.Text("chats.jsonl", prompt="prompt", response="response").test
    assert len(texts) > 1
    for seed, losses in enumerate(run_of("best").test_loss.values):
        kept = f"best/models/seed-{seed}-generation-3"
        tokenizer = transformers.AutoTokenizer.from_pretrained(kept)
        model = transformers.AutoModelForCausalLM.from_pretrained(kept).eval()
        nats, tokens = 0.0, 0
        for text in texts:
            ids = [tokenizer.bos_token_id, *tokenizer(text).input_ids, tokenizer.eos_token_id]
            with torch.no_grad():
                loss = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss
            nats, tokens = nats + float(loss) * (len(ids) - 1), tokens + len(ids) - 1
        np.testing.assert_allclose(nats / tokens, losses[2], rtol=1e-5)
