"""Runs that are interrupted, killed, damaged or extended come out as if nothing had happened."""

import json
import os
import resource
import signal
import subprocess
import sys

import compositions
import jax
import jaxtyping
import ml_dtypes  # noqa: F401  numpy knows bfloat16 by it
import numpy as np
import pytest
import xarray as xr
from safetensors import safe_open
from safetensors.numpy import load_file

import collapse_jax as cj
from collapse_jax.basics import files
from collapse_jax.cli import program
from collapse_jax.records import saving
from collapse_jax.records.store import Checkpoint
from collapse_jax.run import compiled
from collapse_jax.run.before.prepared import prepare
from collapse_jax.run.driver import _refill

pytestmark = pytest.mark.thorough

TASK = cj.Categorical(4, 9)


def run(folder=None, n_generations=12, seeds=6, workflow=None, task=TASK, **options):
    workflow = cj.Replace() if workflow is None else workflow
    return cj.simulate(
        workflow, task, n_generations, seeds, progress=False, checkpoint=folder, **options
    )


@pytest.fixture
def often(monkeypatch):
    """Saves after every generation."""
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    monkeypatch.setattr("collapse_jax.run.simulation._CHUNK", 1)
    return {"checkpoint_seconds": 0.0}


@pytest.fixture
def interrupted_after(monkeypatch):
    """Presses Ctrl-C, or sends another signal, during a call of the engine."""

    def arrange(calls, advance=compiled.advance, sent=signal.SIGINT, times=1):
        count = iter(range(1, 1000))

        def pressing(*arguments):
            if next(count) == calls:
                for _ in range(times):
                    os.kill(os.getpid(), sent)
            return advance(*arguments)

        monkeypatch.setattr(compiled, "advance", pressing)

    return arrange


KILLED = """
import os, random, shutil, signal, sys, time
import jax, collapse_jax as cj, xarray
from collapse_jax.run import compiled, simulation
from collapse_jax.records.store import Checkpoint
folder = sys.argv[1]
jax.config.update("jax_compilation_cache_dir", folder + "/programs")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
Checkpoint.due = lambda self: True
simulation._CHUNK = 1

def run(name=None):
    kept = name and folder + "/" + name
    return cj.simulate(cj.AccumulateSubsample(), cj.Categorical(3, 9), 40, 6, progress=False,
        memory_limit=6000, checkpoint=kept, checkpoint_seconds=0)

def child(work, started=lambda: None):  # JAX runs in the children only: it does not survive a fork
    pid = os.fork()
    if pid == 0:
        advance = compiled.advance
        compiled.advance = lambda *arguments: (started(), advance(*arguments))[1]
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return pid

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

assert ended(child(lambda: run().to_netcdf(folder + "/whole.nc"))) == 0
random.seed(0)
kills, runs = 0, 1
while kills < 20:
    reading, writing = os.pipe()
    pid = child(lambda: run(f"run{runs}"), lambda: os.write(writing, b"."))
    os.read(reading, 1)
    time.sleep(random.uniform(0.0, 0.3))
    os.kill(pid, signal.SIGKILL)
    code = ended(pid)
    assert code in (0, -signal.SIGKILL)
    runs, kills = (runs + 1, kills) if code == 0 else (runs, kills + 1)
    os.close(reading), os.close(writing)
assert ended(child(lambda: run(f"run{runs}").to_netcdf(folder + "/resumed.nc"))) == 0
print(runs)
"""


def test_killed_at_random_moments(tmp_path):
    """Twenty times, mostly while it saves, which it does after every generation."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=True, timeout=300)
    whole, resumed = (xr.load_dataset(tmp_path / f"{name}.nc") for name in ("whole", "resumed"))
    xr.testing.assert_equal(whole, resumed)
    assert len(list(tmp_path.glob("run1/chains-*"))) > 1  # several batches
    assert not list(tmp_path.glob("run*/chains-*/damaged*"))


GROWING = cj.KernelDensity("moons", n_samples=6, n_test=8)  # its pool of rows does


@pytest.mark.parametrize(
    ("workflow", "task"), [(cj.Accumulate(), GROWING), (cj.Replace(), TASK)], ids=["rows", "counts"]
)
def test_more_generations_fewer_and_other_seeds(workflow, task, tmp_path, often):
    whole = run(None, 12, 6, workflow, task)
    for n_generations, seeds in ((5, 5), (12, 5), (12, 6), (3, [4, 2])):
        ds = run(tmp_path / "run", n_generations, seeds, workflow, task)
        expected = whole.sel(seed=ds.seed, generation=ds.generation)
        xr.testing.assert_allclose(ds, expected, rtol=2e-4, atol=1e-5)


def test_other_batches_and_devices(tmp_path, often, interrupted_after):
    whole = run(seeds=11)
    interrupted_after(4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", seeds=11, **often)
    ds = run(tmp_path / "run", seeds=11, devices=jax.devices()[:1], memory_limit=2500)
    xr.testing.assert_equal(ds, whole)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves(tmp_path, interrupted_after, often, sent):
    whole, usual = run(), signal.getsignal(sent)  # ignored by what runs in the background
    interrupted_after(5, sent=sent)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    (state,) = tmp_path.glob("run/chains-*/5.safetensors")
    assert signal.getsignal(sent) is usual
    first = []
    advance = compiled.advance
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "advance", lambda *a: first.append(a[2]) or advance(*a))
        xr.testing.assert_equal(run(tmp_path / "run"), whole)
    assert first == list(range(6, 13))
    assert state.with_name("12.safetensors").exists()


def test_a_second_ctrl_c_stops_at_once(tmp_path, interrupted_after, often):
    whole, usual = run(), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupted_after(5, times=2)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, usual)
    (folder,) = tmp_path.glob("run/chains-*")
    assert sorted(path.name for path in folder.iterdir())[-1] == "4.safetensors"
    xr.testing.assert_equal(run(tmp_path / "run"), whole)


def test_ctrl_c_on_the_command_line(tmp_path, interrupted_after, often, capsys, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    folder = str(tmp_path / "run")
    command = ["simulate", "gaussian", "--workflow", "replace", "--seeds", "3"]
    command += ["--generations", "6", "--checkpoint", folder]
    interrupted_after(3)
    assert program.main(command) == 130
    assert capsys.readouterr().err == (
        f"collapse-jax: interrupted; the same command goes on from {folder}\n"
    )
    assert program.main(command) == 0


@pytest.mark.parametrize(
    ("here", "message"),
    [
        (cj.Flow(n_samples=30, layers=3), "task.layers is 2 there and 3 here; stream_version"),
        (cj.Flow(n_samples=30, layers=2, width=8), "task.width is 32 there and 8 here; stream"),
        (cj.Diffusion(n_samples=30), "task.type is 'Flow' there and 'Diffusion' here"),
        (cj.GaussianMixture(n_components=9, n_samples=30), "task.type is 'Flow' there and 'Gaus"),
    ],
)
def test_another_architecture_is_refused(here, message, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "start", None)  # nothing may run
    there = prepare(cj.Replace(), cj.Flow(n_samples=30, layers=2), 2, 2)
    with Checkpoint(tmp_path, there.config()):
        pass
    with pytest.raises(ValueError, match=message):
        run(tmp_path, 3, 2, task=here)


def test_another_run_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    run(folder, 2, 2)
    other = cj.Categorical(4, 8)
    with pytest.raises(ValueError, match=r"of another: task.n_samples is 9 there and 8 here$"):
        run(folder, 2, 2, task=other)
    with pytest.raises(ValueError, match=r"workflow.type is 'Replace' there and 'Accumulate' here"):
        run(folder, 2, 2, workflow=cj.Accumulate())
    with pytest.raises(ValueError, match=r"metrics is \['n_train'.* there and \['entropy'\] here"):
        run(folder, 2, 2, metrics=["entropy"])
    with pytest.raises(ValueError, match=r"a folder of its own, and .* is not empty"):
        run(tmp_path, 2, 2)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"checkpoint must be a folder to write to, not .*file"):
        run(tmp_path / "file", 2, 2)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"checkpoint has a damaged .*config.json"):
        run(folder, 2, 2)


@pytest.mark.parametrize("version", [1, None])
def test_chains_of_other_random_numbers_are_not_continued(version, tmp_path):
    folder = tmp_path / "run"
    run(folder, 2, 2)
    config = json.loads((folder / "config.json").read_text())
    for name in ("format", "stream_version", "sum"):  # as 0.1.0 wrote it
        config.pop(name)
    config |= {} if version is None else {"stream_version": version}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"checkpoint must be of this run.*stream_version is"):
        run(folder, 3, 2)


def test_arrays_are_read_back_by_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_PART", 16)
    rng = np.random.default_rng(0)
    arrays = {
        f"{i}": rng.integers(0, 2, shape) for i, shape in enumerate([(), (0, 3), (7,), (5, 2)])
    }
    arrays = {
        f"{kind}.{name}": array.astype(kind)
        for kind in ("bool", "int8", "float16", "uint32", "float32", "int64", "bfloat16")
        for name, array in arrays.items()
    }
    arrays["turned"] = rng.normal(size=(6, 4)).T
    files.write_safetensors(str(tmp_path / "a.safetensors"), arrays, {"by": "us"})
    with safe_open(tmp_path / "a.safetensors", framework="np") as file:
        assert file.metadata() == {"by": "us"}
        assert set(file.keys()) == set(arrays)
        for name, array in arrays.items():
            found = file.get_tensor(name)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("kind", "least", "most", "nbytes"),
    [
        ("int32", 0, 200, 1),
        ("int32", 0, 300, 2),
        ("uint32", 0, 2**32 - 1, 4),
        ("int32", -9, 9, 4),
        ("bool", 0, 1, 1),
        ("float32", 0, 9, None),
    ],
)
def test_whole_numbers_are_written_in_few_bits_and_read_as_they_were(kind, least, most, nbytes):
    whole = np.random.default_rng(0).integers(least, most, (3, 2, 5), endpoint=True).astype(kind)
    whole[0, 0, :3] = least, most, most
    whole[..., 3:] = 0
    for array in (whole, np.zeros_like(whole)):
        pieces = files.compacted([array[:1], array[1:]])
        leaf = jax.device_put(np.ones_like(array))
        np.testing.assert_array_equal(_refill(leaf, np.concatenate(pieces)), array)
    size = sum(piece.nbytes for piece in files.compacted([whole]))
    assert size == (whole.nbytes if nbytes is None else 3 * 2 * 3 * nbytes)


def test_chains_that_were_written_in_more_bits_are_read(tmp_path, often, monkeypatch):
    def kinds(n):
        (path,) = tmp_path.glob(f"run/chains-*/{n}.safetensors")
        return {x.dtype.name for name, x in load_file(path).items() if name.startswith("pool")}

    whole = run(storage="rows")
    with monkeypatch.context() as patch:
        patch.setattr(files, "compacted", list)
        run(tmp_path / "run", n_generations=8, storage="rows", **often)
    assert kinds(8) == {"int32"}
    xr.testing.assert_equal(run(tmp_path / "run", storage="rows", **often), whole)
    assert kinds(12) == {"uint8"}


@pytest.mark.parametrize("damage", ["truncated", "header", "metrics", "pool", "empty"])
def test_damage_is_found_and_the_state_before_is_used(damage, tmp_path, often):
    whole = run()
    run(tmp_path / "run", n_generations=8, **often)
    (newest,) = tmp_path.glob("run/chains-*/8.safetensors")
    content = newest.read_bytes()
    first = 8 + int.from_bytes(content[:8], "little")  # of the arrays, after the header
    names = json.loads(content[8:first])
    place = {"header": 20, "pool": first + names["pool.0000.0000"]["data_offsets"][0]}
    place["metrics"] = first + names["metric.entropy"]["data_offsets"][0]
    if damage == "truncated":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        newest.write_bytes(b"")
    else:
        at = place[damage]
        newest.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.warns(UserWarning, match=r"8.safetensors is damaged, and the state before it"):
        ds = run(tmp_path / "run")
    xr.testing.assert_equal(ds, whole)
    assert newest.with_name("damaged-8.safetensors").exists()
    xr.testing.assert_equal(run(tmp_path / "run"), whole)


def test_what_takes_long_is_saved_less_often(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    kept = saving.Saving(tmp_path, 60.0)
    for later, took, pause in ((60.0, 1.0, 60.0), (60.0, 6.0, 150.0)):
        now[0] += later - 0.1
        assert not kept.due()
        now[0] += 0.2
        assert kept.due()
        with kept.of("of a test"):
            now[0] += took
        now[0] += pause - 0.1  # 4 % of the time, or the interval
        assert not kept.due()
        now[0] += 0.2
        assert kept.due()
        kept = saving.Saving(tmp_path, 60.0)


def test_a_full_disk(tmp_path, often, monkeypatch):
    whole = run()
    folder = tmp_path / "run"
    run(folder, n_generations=4, **often)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match=r"generation 5 could not be saved in .*run"):
            run(folder, **often)
        monkeypatch.setattr(Checkpoint, "due", lambda self: False)
        with pytest.raises(OSError, match=r"generation 12 could not be saved in .*run"):
            run(folder)  # saves at its end only
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.stem for path in folder.glob("chains-*/*")} == {"3", "4"}
    xr.testing.assert_equal(run(folder), whole)
    assert json.loads((folder / "config.json").read_text())["task"]["n_samples"] == 9


def test_a_longer_run_may_keep_its_data_in_another_form(tmp_path):
    """Real rows lose their share only after the generations that were saved."""
    loop = cj.Workflow(
        cj.Real(every=True, n=compositions.fading), cj.Synthetic(n=compositions.flooding)
    )
    arguments = (loop, cj.Gaussian(dim=2, n_samples=100))
    cj.simulate(*arguments, 5, 4, checkpoint=tmp_path / "run", progress=False)
    longer = cj.simulate(*arguments, 10, 4, checkpoint=tmp_path / "run", progress=False)
    xr.testing.assert_allclose(longer, cj.simulate(*arguments, 10, 4, progress=False))


LISTS = [([5, 5, 5], [5, 5, 5, 5], [6, 6, 6, 6]), ([5, 7, 3], [5, 7, 3, 9], [5, 7, 4])]


@pytest.mark.parametrize(("short", "long", "other"), LISTS)
def test_lists_go_on_where_the_numbers_so_far_are_the_same(
    short, long, other, tmp_path, often, monkeypatch
):
    def listed(n, folder=tmp_path / "a", n_generations=None):
        workflow = cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=n))
        return run(folder, n_generations or len(n), workflow=workflow, **often)

    fresh = listed(long, folder=None)
    listed(short)
    with pytest.raises(ValueError, match=r"workflow.synthetic.n is \[5, .* there and"):
        listed(other)
    first, advance = [], compiled.advance
    monkeypatch.setattr(compiled, "advance", lambda *x: first.append(x[2]) or advance(*x))
    xr.testing.assert_equal(listed(long), fresh)
    assert first == [4]
    xr.testing.assert_equal(listed(short), fresh.isel(generation=range(3)))
    assert first == [4]
    with pytest.raises(ValueError, match="is of another"):  # drawn in another way
        listed([5, 5, 5, 5, 9] if len(set(short)) == 1 else [5, 5, 5, 5])
