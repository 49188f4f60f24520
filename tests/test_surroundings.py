"""Where runs are: threads, other processes, terminals, homes, paths, clocks, and large numbers."""

import ctypes
import io
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
import tqdm as progress

import collapse_jax as cj
from collapse_jax.machines import hosts
from collapse_jax.records.run_files import read_run
from collapse_jax.records.store import Checkpoint
from collapse_jax.run import compiled, simulation

CLI = [sys.executable, "-m", "collapse_jax.cli.program"]
SMALL = ["simulate", "categorical", "--generations", "3", "--seeds", "5"]


def run(n=10, seeds=8, **options):
    call = cj.AccumulateSubsample(), cj.Categorical(3, 9), n, seeds
    return cj.simulate(*call, **{"progress": False, **options})


def entropy_of(seeds):
    return run(seeds=seeds).entropy.values


def test_threads_make_the_same_chains(tmp_path):
    """At once, of one task and of another, and in folders of their own."""
    whole = run()
    other = cj.simulate(cj.Replace(), cj.Gaussian(2, 10), 5, 4, progress=False)
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(run) for _ in range(2)]
        found += [pool.submit(run, checkpoint=tmp_path / str(i)) for i in range(2)]
        beside = pool.submit(cj.simulate, cj.Replace(), cj.Gaussian(2, 10), 5, 4, progress=False)
    assert all(whole.equals(one.result()) for one in found)
    assert other.equals(beside.result())


def test_an_interrupt_in_a_thread_loses_nothing(tmp_path, monkeypatch):
    """As servers of notebooks send it, where no signal arrives."""
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    monkeypatch.setattr(simulation, "_CHUNK", 1)
    begun, said, advance = threading.Event(), [], compiled.advance

    def slow(chains, pool, first, steps):
        if first == 5:
            begun.set()
            time.sleep(0.5)
        return advance(chains, pool, first, steps)

    def one():
        try:
            run(checkpoint=tmp_path, checkpoint_seconds=0.0)
        except KeyboardInterrupt:
            said.append("interrupted")

    with monkeypatch.context() as patched:
        patched.setattr(compiled, "advance", slow)
        thread = threading.Thread(target=one)
        thread.start()
        assert begun.wait(60)
        kind = ctypes.py_object(KeyboardInterrupt)
        where = ctypes.c_ulong(thread.ident or 0)
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(where, kind) == 1
        thread.join()
    assert said == ["interrupted"]
    found = cj.inspect_folder(tmp_path)
    assert found.in_use_by is None
    assert set(found.seeds.values()) <= {4, 5}
    assert run().equals(run(checkpoint=tmp_path))


WORKERS = """
import multiprocessing, sys
import collapse_jax as cj
def work(seeds):
    try:
        call = cj.AccumulateSubsample(), cj.Categorical(3, 9), 10, seeds
        return cj.simulate(*call, progress=False).entropy.values.tolist()
    except RuntimeError as error:
        return str(error)
if __name__ == "__main__":
    kind, started = sys.argv[1:]
    if started == "started":
        work(2)
    with multiprocessing.get_context(kind).Pool(1) as pool:
        print(pool.map_async(work, [8]).get(timeout=100)[0])
"""


@pytest.mark.parametrize(
    ("kind", "started"), [("spawn", "started"), ("fork", "started"), ("fork", "not started")]
)
def test_workers(kind, started, tmp_path):
    (tmp_path / "w.py").write_text(WORKERS)
    command = [sys.executable, "-W", "ignore", "w.py", kind, started]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    if (kind, started) == ("fork", "started"):
        assert "forked from one in which JAX had started" in said
        assert 'get_context("spawn")' in said
    else:
        np.testing.assert_array_equal(np.float32(json.loads(said)), entropy_of(8))


def cli(words, **options):
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment = {**kept, **options.pop("env", {})}
    return subprocess.run(
        [*CLI, *words], capture_output=True, text=True, check=False, env=environment, **options
    )


@pytest.mark.parametrize("words", [["schema"], ["papers"], ["--help"], SMALL], ids=str)
def test_nobody_reads_on(words):
    """A pipe that is closed at once, and no output at all."""
    reading, writing = os.pipe()
    os.close(reading)
    piped = {"stdout": writing, "stderr": subprocess.PIPE}
    done = subprocess.run([*CLI, *words], **piped, text=True, check=False)
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""
    shell = " ".join(map(repr, [*CLI, *words])) + " >&-"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_chains_are_saved_though_nobody_reads_on(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    words = [*CLI, *SMALL, "--out", tmp_path / "a.nc"]
    assert subprocess.run(words, stdout=writing, check=False).returncode == 141
    os.close(writing)
    assert read_run(tmp_path / "a.nc").sizes["seed"] == 5


def test_a_home_that_cannot_be_written_to(tmp_path):
    """Programs are not kept then, and nothing is said of it; a file cannot be a home."""
    (tmp_path / "file").write_text("")
    done = cli(SMALL, env={"HOME": str(tmp_path / "file"), "XDG_CACHE_HOME": ""})
    assert (done.returncode, done.stderr) == (0, "")


def test_paths_with_spaces_and_letters_that_terminals_lack(tmp_path):
    """In a locale without UTF-8 too, where what cannot be shown becomes a question mark."""
    folder = tmp_path / "ä b"
    folder.mkdir()
    names = ["--out", folder / "ö 1.nc", "--checkpoint", folder / "ü", "--figure", folder / "ß.png"]
    for env in ({"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict"}):
        done = cli([*SMALL, *names], env=env)
        assert (done.returncode, done.stderr) == (0, "")
        done = cli(["show", folder / "ö 1.nc"], env=env)
        assert (done.returncode, done.stderr) == (0, "")
    assert cli(["folder", folder / "ü"], env={"LC_ALL": "C"}).returncode == 0


def test_clocks_that_jump(tmp_path, monkeypatch):
    """Days back and forth, with a bar on the terminal and saves all the time."""
    whole, now = run(), iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 1e9 + (-1) ** next(now) * 1e6)
    monkeypatch.setattr(progress.std, "time", time.time)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    found = run(checkpoint=tmp_path, checkpoint_seconds=0.0, progress=True)
    assert whole.equals(found)
    assert 0.0 <= found.attrs["wall_seconds"] < 1000.0


def test_the_last_seed():
    both = run(seeds=[2**32 - 1, 0])
    assert both.seed.values.tolist() == [2**32 - 1, 0]
    np.testing.assert_array_equal(both.entropy[1], run(seeds=1).entropy[0])
    with pytest.raises(ValueError, match=r"seeds must be between 0 and 4294967295"):
        run(seeds=[2**32])


@pytest.mark.thorough
def test_a_hundred_thousand_seeds():
    found = run(3, 100_000, metrics=["entropy"]).entropy
    np.testing.assert_allclose(found[-100:], run(3, range(99_900, 100_000)).entropy, rtol=1e-6)


@pytest.mark.thorough
def test_a_million_generations():
    call = cj.Replace(), cj.Categorical(3, 1000), 10**6, 2
    found = cj.simulate(*call, progress=False, metrics=["entropy", "n_extinct"])
    assert found.sizes["generation"] == 10**6
    assert np.all(found.n_extinct[:, -1] == 2)
    first = cj.simulate(call[0], call[1], 100, 2, progress=False, metrics=["entropy"])
    np.testing.assert_array_equal(found.entropy[:, :100], first.entropy)


def test_a_dataset_runs_again_as_far_as_it_goes():
    """However many generations its file says there were."""
    ds = run()
    config = json.loads(ds.attrs["config"])
    ds.attrs["config"] = json.dumps({**config, "n_generations": 2**26})
    again, differences = cj.rerun(ds, progress=False)
    assert again.sizes["generation"] == 10
    assert differences["entropy"].largest == 0.0


def test_forks_are_noted(monkeypatch):
    monkeypatch.setattr(hosts, "_FORKED", threading.Event())
    jax.devices()
    hosts._note_fork()
    with pytest.raises(RuntimeError, match="forked from one in which JAX had started"):
        run()
