"""Files that somebody else wrote run no code of theirs, whatever they name."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

import collapse_jax as cj
from collapse_jax.records.run_files import read_run

CHECKPOINT = Path(__file__).parent / "language" / "checkpoints" / "gpt2"

CODE = """
open("ran", "w").close()
class Task: pass
def rule(*_): return True
"""
TOUCH = "touch ran"
NAMED = {
    "task": ("task", {"type": "stranger:Task", "n_samples": 3}),
    "function": ("task", {"type": "os:system", "command": TOUCH}),
    "elsewhere": ("task", {"type": "collapse_jax.basics.files:os.system", "command": TOUCH}),
    "process": ("task", {"type": "subprocess:Popen", "args": ["touch", "ran"]}),
    "exit": ("workflow", {"type": "Workflow", "synthetic": {"n": {"function": "os:_exit"}}}),
    "operator": (
        "workflow",
        {
            "type": "Workflow",
            "synthetic": {"curation": {"type": "os:system", "command": TOUCH}},
        },
    ),
    "import": ("features", {"import": "os:system"}),
    "workflow": ("workflow", {"type": "stranger:Task"}),
    "rule": ("workflow", {"type": "Workflow", "synthetic": {"n": {"function": "stranger:rule"}}}),
    "features": ("features", {"function": "stranger:rule"}),
    "mask": ("include", {"function": "stranger:rule"}),
}
TAGS = [
    "!!python/object/apply:os.system [touch ran]",
    "!!python/object/new:stranger.Task []",
    "!!python/name:stranger.rule ''",
    "!!python/module:stranger ''",
]
SWEEP = """
workflows: %s
task: {name: categorical}
over: {n_samples: [3]}
n_generations: 2
seeds: 2
out: x.nc
"""


@pytest.fixture(autouse=True)
def _stranger(command, tmp_path, monkeypatch):
    """A module that tells when it is imported, where Python would find it."""
    (tmp_path / "stranger.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    assert not (tmp_path / "ran").exists()
    assert "stranger" not in sys.modules


@pytest.fixture(scope="module")
def run():
    return cj.simulate(cj.Replace(), cj.Categorical(3, 9), 2, 2, progress=False)


@pytest.mark.parametrize("name", NAMED)
def test_datasets_import_nothing(name, run, command):
    entry, value = NAMED[name]
    config = json.loads(run.attrs["config"]) | {entry: value}
    run.assign_attrs(config=json.dumps(config)).to_netcdf("run.nc", engine="h5netcdf")
    code, _, said = command("rerun run.nc")
    assert code == 2, said
    assert said.count("\n") == 1
    if name == "function":
        assert command("show run.nc")[0] in (0, 2)


@pytest.mark.parametrize("tag", TAGS)
def test_yaml_has_no_tags(tag, command, tmp_path):
    (tmp_path / "sweep.yaml").write_text(SWEEP % tag)
    code, _, said = command("sweep sweep.yaml")
    assert code == 2
    assert "must be readable YAML" in said


@pytest.mark.parametrize(
    "change",
    [
        ("name: categorical", "name: 'stranger:Task'"),
        ("workflows: replace", "workflows: {synthetic: {curation: 'accept:stranger:rule'}}"),
        ("workflows: replace", "workflows: [{synthetic.curation: ['accept:os:_exit']}]"),
        ("{n_samples: [3]}", "{synthetic.curation: ['accept:stranger:rule']}"),
    ],
)
def test_sweeps_import_nothing(change, command, tmp_path):
    (tmp_path / "sweep.yaml").write_text((SWEEP % "replace").replace(*change))
    code, _, said = command("sweep sweep.yaml")
    assert code == 2
    assert "would run code that it names; trust must be given for that" in said
    assert not (tmp_path / "x.nc").exists()


def test_yaml_bombs_are_small(command, tmp_path):
    """Aliases of aliases, a billion words if they were written out."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for n in range(1, 9):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
    (tmp_path / "sweep.yaml").write_text("\n".join(lines) + SWEEP % "*a8")
    assert command("sweep sweep.yaml")[0] == 2


READERS = {
    "a.txt": cj.corpus.Text,
    "a.jsonl": lambda path: cj.corpus.Text(path, text="text"),
    "a.csv": cj.tasks.read_table,
    "a.parquet": cj.tasks.read_table,
    "a.nc": read_run,
    "a.yaml": lambda path: cj.run_study(path, "out"),
}


@pytest.mark.parametrize("name", READERS)
def test_what_never_ends_is_not_read(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match="is a pipe or a device"):
        READERS[name](str(tmp_path / name))


INDICES = {
    '{"weight_map": {"a": 3}}': "weight_map of .* must name a file for each tensor",
    '{"weight_map": ["a"]}': "weight_map of .* must name a file for each tensor",
    '{"weight_map": {"a": ["b"]}}': "weight_map of .* must name a file for each tensor",
    "{}": "weight_map of .* must name a file for each tensor",
    '{"weight_map": {"a": "../other/model.safetensors"}}': "must be in ",
    "[" * 100_000: "must be JSON",
}


@pytest.mark.parametrize("index", INDICES, ids=range(len(INDICES)))
def test_indices_of_shards_name_files_of_their_folder(index, tmp_path):
    for name in ("model", "other"):
        shutil.copytree(CHECKPOINT, tmp_path / name)
    (tmp_path / "model" / "model.safetensors").unlink()
    (tmp_path / "model" / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=INDICES[index]):
        cj.LanguageModel(checkpoint=tmp_path / "model")
