"""A fault of the system at every call that touches a folder, and a kill at every one.

The loop is a toy in NumPy, run by the same driver and kept in the same folder as all others: what
is tried is how chains are kept, at all places. `thorough` tests try it with real ones.
"""

import errno
import gc
import json
import os
import shutil
import threading
import warnings

import jaxtyping
import numpy as np
import pytest
import xarray as xr
from faults import CODES, SHORT, Faults
from tqdm import tqdm

import collapse_jax as cj
from collapse_jax.language.model.training import Optimizer
from collapse_jax.records.midway import Midway
from collapse_jax.records.regions import Regions
from collapse_jax.records.store import Checkpoint
from collapse_jax.run.driver import Driver
from collapse_jax.run.on_host.lost import Lost
from collapse_jax.run.portions.blocks import claimed

CONFIG = {"stream_version": 2, "task": {"n_samples": 9}}
SEEDS = np.arange(5, dtype=np.uint32)


class Toy:
    """Chains of a number each: 1664525 times the last one and some more."""

    def start(self, chains, spare=None):
        return {"x": np.asarray(chains, np.uint32), "n": np.zeros((), np.int32)}

    def left_over(self, chains, pool):
        return None

    def advance(self, chains, pool, first, steps):
        x, n = pool["x"] * np.uint32(1664525) + np.uint32(first), np.asarray(pool["n"] + 1)
        return {"x": x, "n": n}, {"error": (x % 997).astype(np.float32)[:, None]}


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """Saves after every generation."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # it takes most of the time
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # what is slow, and not tried here


@pytest.fixture
def _of_numpy(monkeypatch):
    """Toys have no devices."""
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
    for seeds, first, metrics in driver.run(SEEDS):
        for seed, values in zip(seeds.tolist(), metrics["error"].tolist(), strict=True):
            assert len(found.setdefault(seed, [])) == first
            found[seed] += values
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


@pytest.mark.usefixtures("_of_numpy")
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
            assert not list(folder.rglob("damaged*")), (call, path, code)
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
        error = _error_of(run, folder, whole)
    assert len(faults.calls) > place
    if error is None:
        return False
    assert code != SHORT
    assert isinstance(error, OSError) or code == errno.EACCES, repr(error)
    assert str(folder) in str(error)
    assert os.strerror(code) in str(error)
    return True


def _error_of(run, folder, whole, *rest):
    try:
        assert run(folder, *rest) == whole
    except (OSError, ValueError) as error:
        return error
    return None


@pytest.mark.usefixtures("_of_numpy")
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


@pytest.mark.usefixtures("_of_numpy")
def test_files_that_are_damaged_or_exchanged(tmp_path):
    """The same chains, or a refusal that names the file."""
    run(tmp_path / "start", 2)
    whole = run(None)
    names = [path.relative_to(tmp_path / "start") for path in (tmp_path / "start").rglob("*.*")]
    contents = {name: (tmp_path / "start" / name).read_bytes() for name in names}
    assert len(names) == 6
    refused = set()
    for name, content in contents.items():
        others = [other for key, other in contents.items() if key != name]
        half = content[: len(content) // 2]
        for number, damaged in enumerate((None, b"", half, content[::-1], content * 2, *others)):
            folder = shutil.copytree(tmp_path / "start", tmp_path / f"{name.stem} {number}")
            (folder / name).unlink()
            if damaged is not None:
                (folder / name).write_bytes(damaged)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                error = _error_of(run, folder, whole)
            if error is not None:
                refused.add(name.name)
                assert str(folder) in str(error)
            elif name.stem == "2" and damaged is not None:  # the state that is used
                assert str(folder / name) in str(said[0].message)
            shutil.rmtree(folder)
    assert refused == {"config.json"}


def _lost(folder):
    """Who is lost, as one process notes it and another reads."""
    Lost(folder).note([3, 4], 2)
    again = Lost(folder)
    again.read()
    return again.generations


def _claims(folder):
    """The blocks that a process has alone."""
    return sorted(claimed(np.split(SEEDS, [2, 4]), folder, threading.Event()))


def _store(folder):
    """A store that is written block by block, where it does not hold them."""
    values = np.arange(15, dtype=np.float32).reshape(5, 3)
    coordinates = {"seed": SEEDS, "generation": np.arange(1, 4)}
    like = xr.Dataset({"error": (("seed", "generation"), values)}, coordinates)
    like.attrs["config"] = json.dumps({"n_generations": 3})
    with Regions(folder / "x.zarr", SEEDS, 2, like.isel(seed=[0], generation=[0]), 3) as regions:
        for block in range(3):
            if not regions.holds(block):
                regions.put(block, like.isel(seed=slice(2 * block, 2 * block + 2)))
    return regions.dataset()["error"].values.tolist()


BESIDE = [
    (_lost, 1),
    (_claims, 1),
    pytest.param(_store, 7, marks=LONG),
    pytest.param(_store, 1, marks=[LONG, pytest.mark.exhaustive]),
]
"""What else a run writes, and one in how many faults is tried."""


@pytest.fixture
def _careless():
    """No warnings of locks that there are not, nor of what a library leaves that is disturbed."""
    with warnings.catch_warnings(action="ignore"):
        yield
        gc.collect()


@pytest.mark.usefixtures("_careless")
@pytest.mark.parametrize(("act", "one_in"), BESIDE)
def test_calls_beside_the_chains_fail_once(act, one_in, tmp_path):
    """What is written beside chains, and by processes that share them, is whole or made again."""
    (tmp_path / "counted").mkdir()
    with Faults(tmp_path / "counted") as counted:
        whole = act(tmp_path / "counted")
        assert act(tmp_path / "counted") == whole
    faults = [
        (place, code) for place, (call, _) in enumerate(counted.calls) for code in CODES[call]
    ]
    failed = 0
    for place, code in faults[::one_in]:
        folder = tmp_path / f"{place} {code}"
        folder.mkdir()

        def both(folder):
            act(folder)
            return act(folder)

        with Faults(folder, place, code):
            error = _error_of(both, folder, whole)
        about = counted.calls[place], os.strerror(max(code, 0)), error
        failed += error is not None
        assert error is None or str(folder) in str(error), about
        assert isinstance(error, OSError | None) or code in (errno.EACCES, errno.ENOLCK), about
        assert act(folder) == whole, about
        shutil.rmtree(folder)
    assert failed > len(faults) // one_in // 4


LIKE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.arange(4, dtype=np.int32)}


def _midway(folder, step):
    """Save a state within a generation; what is restored then."""
    midway = Midway(folder, 0.0)
    midway.save("training", SEEDS, 2, step, {**LIKE, "n": LIKE["n"] + np.int32(step)})
    return _restored(folder)


def _restored(folder):
    with warnings.catch_warnings():  # of what is not whole
        warnings.simplefilter("ignore")
        step, tree = Midway(folder, 0.0).restore("training", SEEDS, 2, LIKE) or (0, LIKE)
    np.testing.assert_array_equal(tree["n"], LIKE["n"] + step)
    np.testing.assert_array_equal(tree["a"], LIKE["a"])
    return step


@pytest.mark.parametrize("one_in", [16, pytest.param(3, marks=LONG)])
def test_calls_within_a_generation_fail_once(one_in, tmp_path):
    """One state is there; whatever befalls the next one, one of both is restored."""
    assert _midway(tmp_path / "start", 32) == 32
    with Faults(tmp_path / "counted") as counted:
        shutil.copytree(tmp_path / "start", tmp_path / "counted")
        first = len(counted.calls)
        _midway(tmp_path / "counted", 64)
    calls = counted.calls[first:]
    failed = 0
    for place in range(0, len(calls), one_in):
        call, path = calls[place]
        code = CODES[call][place // one_in % len(CODES[call])]
        folder = shutil.copytree(tmp_path / "start", tmp_path / f"{place}")
        with Faults(folder, place, code), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            error = _error_of(_midway, folder, 64, 64)
        failed += error is not None
        assert error is None or str(folder) in str(error), (call, path, code, error)
        assert _restored(folder) in (32, 64), (call, path, code)
        assert _midway(folder, 64) == 64
    assert failed > len(calls) // one_in // 2


TINY = {"n_samples": 8, "steps": 40, "batch_size": 4, "width": 4, "depth": 1, "n_test": 10}


def _language():
    corpus = cj.corpus.Grammar(n_names=2, n_nouns=2, max_sentences=1)
    optimizer = Optimizer(3e-2, batch_size=2, epochs=9)
    return cj.LanguageModel(corpus, n_samples=8, n_test=4, sample_batch=8, optimizer=optimizer)


TASKS = {
    "classical": (lambda: cj.Categorical(3, 9), 14),
    "trained": (lambda: cj.Flow("moons", layers=2, knots=3, **TINY), 7),
    "language": (_language, 4),
}
"""Tasks, and how many places are tried."""


@pytest.mark.thorough
@pytest.mark.parametrize("name", TASKS)
def test_calls_of_tasks_fail_once(name, tmp_path, monkeypatch):
    """Runs in stages, with states within their generations."""
    monkeypatch.setattr(Midway, "due", lambda self: True)
    make, n = TASKS[name]
    task = make()

    def run(folder):
        options = {"runner": "staged", "progress": False, "checkpoint_seconds": 0.0}
        ds = cj.simulate(cj.Replace(), task, 2, 2, checkpoint=folder, **options)
        return {name: values.values.tolist() for name, values in ds.items()}

    whole = run(None)
    with Faults(tmp_path / "counted", kills=tmp_path / "kills") as counted:
        assert run(tmp_path / "counted") == whole
    calls = counted.calls
    for place in np.linspace(0, len(calls) - 1, n).astype(int):
        call, path = calls[place]
        code = CODES[call][place % len(CODES[call])]
        folder = tmp_path / f"{place}"
        with Faults(folder, place, code), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            error = _error_of(run, folder, whole)
        assert error is None or str(folder) in str(error), (call, path, code, error)
        assert _quietly(run, folder) == whole, (call, path, code)
    kills = list((tmp_path / "kills").iterdir())
    for left in kills[:: len(kills) // n]:
        assert _quietly(run, left) == whole, left


def _quietly(run, folder):
    """A run whose warnings are of states that are not whole."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="checkpoint .* is damaged, and not used")
        return run(folder)
