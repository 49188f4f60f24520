"""The story of a user: a checkpoint and chats, four loops, two kills, samples, a page, models.

All of it by the command line, with the smallest model that can write such chats.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import xarray as xr

import collapse_jax as cj
from collapse_jax.cli import program

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
STEPS = "--batch-size 2 --learning-rate 2e-3 --max-attempts 200 --seeds 2 --context 48"
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


def outputs(name):
    return f"--samples {name}/texts --save-models {name}/models --out {name}/run.nc"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The folder in which it all happened, and what was printed of each loop."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("story")
    os.chdir(folder)
    try:
        lines = [json.dumps({"prompt": p, "response": r}) + "\n" for p, r in PAIRS]
        Path("chats.jsonl").write_text("".join(lines))
        Path("sums.jsonl").write_text("".join(lines[-9:]))
        Path("rewards.py").write_text(REWARD)
        for name in LOOPS:
            Path(name).mkdir()
        first = f"simulate lm {CORPUS} --tokenizer tokenizer.json {STEPS.replace('2e-3', '1e-2')}"
        made = start(
            [
                f"tokenizer train {CORPUS} --vocab-size 330 --out tokenizer.json",
                f"{first} --seeds 1 --generations 1 --epochs 30 --save-models base",
            ]
        )
        assert made.returncode == 0, made.stderr
        Path("base/seed-0-generation-1").rename("start")
        loops = {name: f"{words} {outputs(name)}" for name, words in LOOPS.items()}
        made = start([words for name, words in loops.items() if name != "broken"])
        assert made.returncode == 0, made.stderr
        for kill in KILLS:
            killed = start([loops["broken"]], kill)
            assert killed.returncode == -9, killed.stderr
            assert list(Path("broken").glob(f"chains/midway-*/{kill.replace('-', '/')}-*"))
            assert not Path("broken/run.nc").exists()
        resumed = start([loops["broken"]])
        assert resumed.returncode == 0, resumed.stderr
        yield folder, made.stdout, resumed.stdout
    finally:
        os.chdir(before)


@pytest.fixture(autouse=True)
def _here(told, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(told[0])


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*.*"))}


def test_the_story(told, capsys):
    _, printed, resumed = told
    runs = {name: xr.load_dataset(f"{name}/run.nc", engine="h5netcdf") for name in LOOPS}
    # What was killed twice is what was not.
    xr.testing.assert_equal(runs["broken"], runs["best"])
    assert runs["broken"].attrs["samples"] == runs["best"].attrs["samples"]
    for kept in ("texts", "models"):
        whole, broken = files_of(f"best/{kept}"), files_of(f"broken/{kept}")
        assert list(whole) == list(broken)
        assert whole == broken
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


def test_last_models_in_transformers_have_the_loss_that_was_reported(told):
    torch = pytest.importorskip("torch")
    transformers: Any = pytest.importorskip("transformers")
    texts = cj.corpus.Text("chats.jsonl", prompt="prompt", response="response").test
    assert len(texts) > 1
    for name in LOOPS:
        losses = xr.load_dataset(f"{name}/run.nc", engine="h5netcdf").test_loss.values
        for seed in range(2):
            folder = f"{name}/models/seed-{seed}-generation-3"
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
            nats, tokens = 0.0, 0
            for text in texts:
                ids = [tokenizer.bos_token_id, *tokenizer(text).input_ids, tokenizer.eos_token_id]
                ids = torch.tensor([ids])
                with torch.no_grad():
                    loss = model(ids, labels=ids).loss
                nats, tokens = nats + float(loss) * (ids.numel() - 1), tokens + ids.numel() - 1
            np.testing.assert_allclose(nats / tokens, losses[seed, 2], rtol=1e-5)
