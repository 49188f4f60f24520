"""Models split over devices and processes, and states within a generation."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

import collapse_jax as cj
from collapse_jax.language.model.architecture import preset
from collapse_jax.language.model.training import start_training
from collapse_jax.language.weights import huggingface
from collapse_jax.machines import model_mesh
from collapse_jax.records.midway import Midway

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "language" / "large_models.py"


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((1, 2), ("data", "model"))


def test_the_table_knows_every_parameter():
    """Everything is split somehow but for norms and the biases of the residual stream."""
    for name in ("gpt2-9m", "llama2-12m", "gemma2-2b"):
        architecture = preset(name)
        task = cj.LanguageModel(
            model=architecture, tokenizer=cj.corpus.ByteTokenizer(), n_samples=2, n_test=2
        )
        params = jax.eval_shape(task.initialise, jax.random.key(0))
        mesh = jax.sharding.AbstractMesh((2, 2), ("data", "model"))
        whole = set()
        for path, leaf in nnx.to_flat_state(params):
            found = model_mesh.spec(path, leaf.shape, mesh)
            assert len(found) == len(leaf.shape)
            if not any(found):
                whole.add((*path[-2:],))
        kinds = {names[-1] for names in whole}
        assert kinds <= {"scale", "bias"}, whole
        assert all("norm" in names[0] or names[0] in ("out", "down") for names in whole), whole


def test_what_the_mesh_does_not_divide_is_whole():
    mesh = jax.sharding.AbstractMesh((2, 8), ("data", "model"))
    kernel = ("layers", 3, "attention", "qkv", "kernel")
    assert model_mesh.spec(kernel, (64, 16, 3, 4), mesh) == P("data", "model", None, None)
    assert model_mesh.spec(kernel, (64, 4, 3, 4), mesh) == P("data", None, None, None)
    stacked = ("layers", "attention", "qkv", "kernel")
    assert model_mesh.spec(stacked, (1, 26, 63, 16, 3, 4), mesh) == P(
        *[None] * 3, "model", None, None
    )


def test_moments_are_split_like_their_parameters(mesh):
    task = cj.LanguageModel(n_samples=2, n_test=2)

    def start(key):
        return start_training(task.optimizer, task.initialise(key))

    found = model_mesh.shardings(jax.eval_shape(start, jax.random.key(0)), mesh)
    params = [where.spec for where in jax.tree.leaves(found.params)]
    moments = [where.spec for where in jax.tree.leaves(found.moments)]
    assert [spec for spec in moments if any(spec)] == 2 * [spec for spec in params if any(spec)]
    assert sum(any(spec) for spec in params) > len(params) / 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": "2x4"}, "mesh must be a jax.sharding.Mesh"),
        ({"mesh": jax.make_mesh((2,), ("data",))}, "mesh must have the axes 'data' and 'model'"),
        (
            {"mesh": jax.make_mesh((1, 2), ("data", "model")), "devices": jax.devices()},
            "devices cannot be given together with a mesh",
        ),
        (
            {"memory_limit": 2**20},
            r"x \(4 \(parameters\) \+ 4 \(gradients\) .* \(mesh\)",
        ),
    ],
)
def test_bad_input(options, message):
    task = cj.LanguageModel(n_samples=2, n_test=2)
    with pytest.raises((TypeError, ValueError), match=message):
        cj.simulate(cj.Replace(), task, 1, 1, **options)


def test_a_mesh_is_for_language_models(mesh):
    with pytest.raises(ValueError, match="mesh splits language models"):
        cj.simulate(cj.Replace(), cj.Gaussian(), 1, 1, mesh=mesh)


def test_a_checkpoint_that_the_host_cannot_hold(tmp_path, monkeypatch):
    """Refused by its config.json alone: there are no weights at all."""
    config = (ROOT / "tests/language/checkpoints/gemma2/config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    monkeypatch.setattr("collapse_jax.language.weights.pretrained.host_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"checkpoint must fit .* parameters x 4 bytes are .* GB"):
        cj.LanguageModel.from_pretrained(tmp_path)


def _run(out, **call):
    """The program, in processes of its own; its metrics (None if it was stopped) and its output."""
    n = call.setdefault("processes", 1)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        call["port"] = found.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment |= {  # most of the time of these runs would be compilation of the same programs
        "JAX_COMPILATION_CACHE_DIR": str(out.parents[1] / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    running = [
        subprocess.Popen(
            [sys.executable, PROGRAM, json.dumps({**call, "process": i, "out": str(out)})],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(n)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in running]
    for process, output in zip(running, outputs, strict=True):
        assert process.returncode == 0, output
    if not out.exists():
        return None, outputs[0]
    with np.load(out) as file:
        return dict(file), outputs[0]


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory):
    """The metrics of a run on 2 x 4 devices."""
    return _run(tmp_path_factory.mktemp("run") / "eight.npz", mesh=[2, 4])[0]


def _check_agreement(found, expected):
    """The same run up to the rounding of sums in another order.

    Losses of the same documents are within 1e-5. Where rounding decides a draw, a token differs
    from then on, of the 2,500 of a generation.
    """
    for name in ("test_loss", "train_loss"):
        first = slice(None), 0
        np.testing.assert_allclose(found[name][first], expected[name][first], rtol=0, atol=1e-5)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=0.02, atol=0.02, err_msg=name)


@pytest.mark.thorough
@pytest.mark.parametrize("call", [{}, {"mesh": [8, 1]}, {"mesh": [2, 4], "processes": 2}])
def test_splits_of_a_model_agree(call, on_eight, tmp_path):
    """One device, other meshes and two processes make one and the same run."""
    found, _ = _run(tmp_path / "found.npz", model=str(tmp_path / "model"), **call)
    _, params = huggingface.load(tmp_path / "model")  # whole, whoever held its parts
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    share = found.pop("share")
    _check_agreement(found, on_eight)
    # A device of eight holds an eighth, but all of norms, and more of the 94 tokens' table.
    assert on_eight["share"] < 0.17
    assert share == 1 if not call else share < 0.17


@pytest.mark.thorough
@pytest.mark.parametrize(("stop", "call"), [("training", {}), ("documents", {"mesh": [2, 4]})])
def test_a_run_stopped_within_a_generation_goes_on_there(stop, call, on_eight, tmp_path):
    """Exactly as if it had not been stopped; and what 8 devices saved, one restores."""
    out, folder = tmp_path / "found.npz", tmp_path / "chains"
    found, _ = _run(out, mesh=[2, 4], stop=stop, folder=str(folder))
    assert found is None
    assert list(folder.glob("midway-*"))
    found, output = _run(out, folder=str(folder), **call)
    assert "restored training of generation 2" in output
    assert ("restored documents of generation 2" in output) == (stop == "documents")
    assert "restored training of generation 1" not in output
    del found["share"]
    if not call:
        _check_agreement(found, on_eight)
    else:
        for name, values in found.items():
            np.testing.assert_array_equal(values, on_eight[name], err_msg=name)
    assert not list(folder.glob("midway-*"))


def test_states_on_disk(tmp_path):
    midway, seeds = Midway(tmp_path, 0.0), np.array([3, 5], np.uint32)
    assert midway.due()
    like = {"a": np.zeros((2, 3), np.float32), "n": np.zeros((), np.int32)}
    assert midway.restore("training", seeds, 2, like) is None
    for step in (32, 64):
        tree = {"a": np.full((2, 3), step, np.float32), "n": np.int32(step)}
        midway.save("training", seeds, 2, step, tree)
    step, found = midway.restore("training", seeds, 2, like)
    assert step == 64
    np.testing.assert_array_equal(found["a"], 64)
    assert found["n"] == 64
    assert midway.restore("training", seeds, 3, like) is None
    assert midway.restore("documents", seeds, 2, like) is None
    assert midway.restore("training", seeds[:1], 2, like) is None
    assert len(list(tmp_path.glob("midway-*/training/[0-9]*"))) == 1
    for file in tmp_path.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged, and not used"):
        assert midway.restore("training", seeds, 2, like) is None
    midway.clear()
    assert not list(tmp_path.glob("midway-*"))
    midway.save("training", seeds, 1, 1, like)  # a run that is extended
    assert midway.restore("training", seeds, 1, like) is not None
