"""A fault of the system at every call that touches a folder, and a kill at every one.

The loop is a toy in NumPy, run by the same driver and kept in the same folder as all others: what
is tried is how chains are kept, at all places. `thorough` tests try it with real ones.
"""

import errno
import os
import shutil
import threading
import warnings

import jaxtyping
import numpy as np
import pytest
from faults import CODES, SHORT, Faults
from tqdm import tqdm

from collapse_jax.records.store import Checkpoint
from collapse_jax.run.driver import Driver

CONFIG = {"stream_version": 2, "task": {"n_samples": 9}}
SEEDS = np.arange(5, dtype=np.uint32)


class Toy:
    """Chains of a number each: 1664525 times the last one and some more."""

    def start(self, chains):
        return {"x": np.asarray(chains, np.uint32), "n": np.zeros((), np.int32)}

    def advance(self, chains, pool, first, steps):
        x = pool["x"] * np.uint32(1664525) + np.uint32(first)
        return {"x": x, "n": np.asarray(pool["n"] + 1)}, {
            "error": (x % 997).astype(np.float32)[:, None]
        }


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """Saves after every generation; numbers are put where they are."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it takes most of the time
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # what is slow, and not tried here
    monkeypatch.setattr("collapse_jax.run.driver._refill", _refill)
    monkeypatch.setattr("collapse_jax.machines.hosts.pieces_on_host", lambda leaf: [leaf])


def _refill(leaf, saved):
    return np.resize(saved, leaf.shape) if saved.ndim else saved


def run(folder, n_generations=3):
    """The chains of two batches, `[seed, generation]`."""
    config = {**CONFIG, "n_generations": n_generations}
    kept = None if folder is None else Checkpoint(folder, config, 0.0)
    bar = tqdm(disable=True)
    driver = Driver(Toy(), np.copy, n_generations, 1, 3, bar, kept, threading.Event())
    found = {}
    for seeds, metrics in driver.run(SEEDS):
        found |= dict(zip(seeds.tolist(), metrics["error"].tolist(), strict=True))
    return [found[seed] for seed in SEEDS.tolist()]


def reached(folder):
    """The last whole generation of each batch of chains."""
    kept = Checkpoint(folder, CONFIG).restore(SEEDS, 0)
    return {seed: state.done for state in kept for seed in state.seeds.tolist()}


def before(kind, folder):
    """What is there before the call that is disturbed."""
    if kind == "some generations":
        run(folder, 2)
    elif kind == "one batch":
        run(folder, 2)
        shutil.rmtree(sorted(folder.glob("chains-*"))[0])
    return folder


LONG = pytest.mark.thorough
KINDS = ["one batch", *(pytest.param(kind, marks=LONG) for kind in ("nothing", "some generations"))]


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_fails_once(kind, tmp_path):
    """What went well before is kept; the same call then gives the same chains."""
    whole, start = run(None), before(kind, tmp_path / "start")
    with Faults(tmp_path / "counted") as counted:
        _copy(start, tmp_path / "counted")
        first = len(counted.calls)
        assert run(tmp_path / "counted") == whole
    calls = counted.calls[first:]
    wanted = {"open", "write", "fsync", "os.mkdir", "os.rename", "os.chmod", "fcntl.flock"}
    if kind != "nothing":
        wanted |= {"read", "os.remove"}
    assert wanted < {call for call, _ in calls}
    tried, failed = 0, 0
    for place, (call, path) in enumerate(calls):
        for code in CODES[call]:
            tried += 1
            folder = _copy(start, tmp_path / f"{place} {code}")
            had = reached(folder) if kind != "nothing" else {}
            failed += _disturbed(folder, whole, place, code)
            now = reached(folder) if (folder / "config.json").exists() else {}
            assert all(now.get(seed, 0) >= had[seed] for seed in had), (call, path, code)
            assert run(folder) == whole, (call, path, code)
            shutil.rmtree(folder)
    assert tried > 150
    assert failed > tried // 3


def _copy(start, folder):
    if start.exists():
        shutil.copytree(start, folder)
    return folder


def _disturbed(folder, whole, place, code):
    """Whether the call ends in an error, which must be one of the system, and say where."""
    with Faults(folder, place, code) as faults, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert run(folder) == whole
        except (OSError, ValueError) as error:
            assert code != SHORT
            assert isinstance(error, OSError) or code == errno.EACCES, repr(error)
            assert str(folder) in str(error)
            assert os.strerror(code) in str(error)
            assert len(faults.calls) > place
            return True
    return False


@pytest.mark.parametrize("kind", ["nothing", "one batch", "some generations"])
def test_a_kill_at_every_call(kind, tmp_path):
    """And within all that is written."""
    whole, folder = run(None), before(kind, tmp_path / "run")
    (tmp_path / "kills").mkdir()
    with Faults(folder, kills=tmp_path / "kills"):
        run(folder)
    kills = sorted((tmp_path / "kills").iterdir())
    assert len(kills) > 10
    for left in kills:
        assert run(left) == whole, left
        assert not list(left.rglob("damaged*"))
        assert not list(left.glob("chains-*/.part-*"))
