"""Seeds in blocks: shared by processes that come and go, and with metrics on disk."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.records.lock import Lock
from collapse_jax.records.midway import Midway
from collapse_jax.records.store import Checkpoint
from collapse_jax.run import compiled
from collapse_jax.run.driver import Driver
from collapse_jax.run.portions import blocks

CALL = cj.AccumulateSubsample(), cj.Categorical(3, 9), 20, 100
NAMES = ["entropy", "n_train", "n_extinct"]


def run(*call, **options):
    return cj.simulate(*(call or CALL), progress=False, metrics=NAMES, **options)


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.fixture
def small(monkeypatch):
    """Blocks of 30 of the hundred seeds on disk."""
    monkeypatch.setattr(blocks, "_BYTES", 30 * 20 * 4)


@pytest.fixture
def ran(monkeypatch):
    """Seeds of the chains that were run, by block."""
    seen, advance = [], compiled.advance

    def note(chains, *rest):
        if not seen or not np.array_equal(seen[-1], chains.seeds):
            seen.append(np.array(chains.seeds))
        return advance(chains, *rest)

    monkeypatch.setattr(compiled, "advance", note)
    return seen


def test_a_shared_run_is_the_run(whole, tmp_path, ran):
    """Of one process, and again, when nothing is left to run; then of one that does not share."""
    assert whole.equals(run(share=True, checkpoint=tmp_path))
    assert len(ran) == 4
    assert whole.equals(run(share=True, checkpoint=tmp_path))
    assert whole.equals(run(checkpoint=tmp_path))
    assert len(ran) == 4


def test_what_another_has_is_left_to_it(whole, tmp_path, ran):
    """And taken when that one has gone, however it went: a claim is a lock of the system's."""
    seeds = blocks.blocks_of(np.arange(100, dtype=np.uint32), 32)[1]
    other = Lock(tmp_path, f".claim-{blocks.digest(seeds)}")
    assert other.claim()

    def go():
        while len(ran) < 3:
            time.sleep(0.02)
        other.release()

    threading.Thread(target=go, daemon=True).start()
    assert whole.equals(run(share=True, checkpoint=tmp_path))
    assert [int(chains[0]) for chains in ran] == [0, 64, 96, 32]
    stopped = threading.Event()
    stopped.set()
    assert other.claim()
    with pytest.raises(KeyboardInterrupt):
        list(blocks.claimed([seeds], tmp_path, stopped))
    other.release()


def test_who_does_not_share_waits_for_those_who_do(tmp_path):
    config = {"n_generations": 3}
    with (
        Checkpoint(tmp_path, config, shared=True),
        Checkpoint(tmp_path, config, shared=True),
        pytest.raises(ValueError, match="is in use by process"),
        Checkpoint(tmp_path, config),
    ):
        pass
    with (
        Checkpoint(tmp_path, config),
        pytest.raises(ValueError, match="is in use by process"),
        Checkpoint(tmp_path, config, shared=True),
    ):
        pass


PROCESS = """
import sys, time
import collapse_jax as cj
from collapse_jax.run import simulation
simulation._CHUNK = 1
call = cj.AccumulateSubsample(), cj.Categorical(3, 9), 60, 200
advance = simulation.compiled.advance
simulation.compiled.advance = lambda *rest: (time.sleep(0.01), advance(*rest))[1]
ds = cj.simulate(*call, progress=False, metrics=["entropy"], share=True, checkpoint=sys.argv[1],
    checkpoint_seconds=0.05)
ds.to_netcdf(sys.argv[2])
"""


def test_two_processes_share_and_one_is_killed(tmp_path):
    """The other takes over what the killed one had, and a third that comes later has it all."""

    def begin(name):
        command = [sys.executable, "-c", PROCESS, tmp_path / "shared", tmp_path / name]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    both = [begin("a.nc"), begin("b.nc")]
    until = time.monotonic() + 120
    while len([*tmp_path.glob("shared/chains-*/*.safetensors")]) < 3:
        assert time.monotonic() < until
        time.sleep(0.05)
    both[0].send_signal(signal.SIGKILL)
    both[0].communicate()
    assert both[0].returncode == -signal.SIGKILL
    third = begin("c.nc")
    for process in (both[1], third):
        said = process.communicate(timeout=120)[1]
        assert process.returncode == 0, said
    import xarray as xr

    found = [xr.load_dataset(tmp_path / f"{name}.nc", engine="h5netcdf") for name in "bc"]
    call = cj.AccumulateSubsample(), cj.Categorical(3, 9), 60, 200
    alone = cj.simulate(*call, progress=False, metrics=["entropy"])
    assert found[0].equals(found[1])
    np.testing.assert_array_equal(found[0].entropy, alone.entropy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": True}, "checkpoint must be given with share"),
        ({"share": True, "checkpoint": "a", "track": print}, "track cannot be .* with share"),
        ({"out": "a.zarr", "stop_when": cj.Above("entropy", 9.0)}, "stop_when cannot .* with out"),
        ({"out": "a.nc"}, r"the suffix of out must be one of '.zarr', got '.nc'"),
    ],
)
def test_what_blocks_cannot_do(options, message, tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match=message):
        run(**options)


def test_metrics_on_disk_are_the_metrics(whole, tmp_path, small, ran):
    """Whole, again, and with blocks that are missing, cut and flipped, of which but these run."""
    pytest.importorskip("zarr")
    store = tmp_path / "a é.zarr"
    found = run(out=store)
    assert whole.equals(found.load())
    assert whole.entropy.attrs == found.entropy.attrs
    assert {k: v for k, v in whole.attrs.items() if k != "wall_seconds"} == found.attrs
    assert [int(chains[0]) for chains in ran] == [0, 30, 60, 90]
    run(out=store)
    assert len(ran) == 4
    (store / "entropy/c/0/0").unlink()
    cut = store / "n_extinct/c/1/0"
    cut.write_bytes(cut.read_bytes()[:-7])
    flipped = store / "n_train/c/3/0"
    flipped.write_bytes(bytes([flipped.read_bytes()[0] ^ 1]) + flipped.read_bytes()[1:])
    assert whole.equals(run(out=store).load())
    assert [int(chains[0]) for chains in ran[4:]] == [0, 30, 90]


def test_of_a_store_only_what_is_asked_for_is_read(whole, tmp_path, small):
    pytest.importorskip("zarr")
    found = run(out=tmp_path / "a.zarr")
    (tmp_path / "a.zarr/entropy/c/2/0").write_bytes(b"")
    np.testing.assert_array_equal(found.entropy[:60], whole.entropy[:60])
    with pytest.raises(ValueError, match="checksum"):
        found.entropy[60:].load()


def test_a_store_of_another_run_is_refused_by_name(tmp_path, small):
    pytest.importorskip("zarr")
    run(out=tmp_path / "a.zarr")
    other = CALL[0], cj.Categorical(3, 8), *CALL[2:]
    with pytest.raises(ValueError, match=r"task.n_samples is 9 there and 8 here"):
        run(*other, out=tmp_path / "a.zarr")
    with pytest.raises(ValueError, match=r"its seeds are others"):
        run(*CALL[:3], 90, out=tmp_path / "a.zarr")
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(ValueError, match=r"out must be a store of a run, and .*b.zarr is none"):
        run(out=tmp_path / "b.zarr")


def test_several_share_a_store(whole, tmp_path, small):
    pytest.importorskip("zarr")
    options = {"share": True, "checkpoint": tmp_path / "a", "out": tmp_path / "a.zarr"}
    found = [None, None]

    def one(index):
        found[index] = run(**options).load()

    both = [threading.Thread(target=one, args=(i,)) for i in (0, 1)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert whole.equals(found[0])
    assert whole.equals(found[1])


def test_what_memory_cannot_hold_goes_to_disk(monkeypatch, tmp_path):
    """The refusal says so, and what is asked for then needs the memory of a block."""
    with pytest.raises(ValueError, match=r"metrics of 1,000,000 chains .*out='chains.zarr'"):
        cj.simulate(cj.Replace(), cj.Categorical(3, 9), 10**5, 10**6)
    found = cj.needs(
        cj.Replace(), cj.Categorical(3, 9), 10**4, 10**6, metrics=["entropy"], out="a.zarr"
    )
    assert found.metrics < 10**9


def test_stores_on_the_command_line(command, tmp_path):
    pytest.importorskip("zarr")
    code, said, _ = command(
        "simulate categorical --generations 5 --seeds 40 --checkpoint a --share --out b.zarr"
    )
    assert code == 0
    assert "Chains: b.zarr" in said
    import xarray as xr

    assert xr.open_zarr("b.zarr", chunks=None, consolidated=False).sizes["seed"] == 40


def rewarding(place):
    return cj.Workflow(
        synthetic=cj.Synthetic(curation=cj.BestOf(lambda row: -((row[..., 0] - place) ** 2), 4))
    )


def test_a_store_is_of_a_run_that_can_be_told_from_others(tmp_path):
    """Two functions of one factory look the same; long values are shown where they differ."""
    pytest.importorskip("zarr")
    with pytest.raises(ValueError, match=r"out cannot keep this run apart .*reward is a? ?.*func"):
        cj.simulate(rewarding(0.0), cj.Gaussian(1, 9), 3, 4, out=tmp_path / "a.zarr")
    assert not [*tmp_path.iterdir()]
    drawn = [[0.1 * i for i in range(1, 40)] + [last] for last in (7.5, 8.5)]
    sizes = [cj.Workflow(synthetic=cj.Synthetic(temperature=values)) for values in drawn]
    task = cj.Gaussian(1, 9)
    cj.simulate(sizes[0], task, 40, 2, out=tmp_path / "a.zarr", progress=False)
    with pytest.raises(ValueError, match=r"is \.\.\..* 7\.5\] there and .* 8\.5\] here"):
        cj.simulate(sizes[1], task, 40, 2, out=tmp_path / "a.zarr", progress=False)


def test_a_store_has_the_blocks_it_was_made_with(whole, tmp_path, small, ran):
    """So a run in it goes on with or without others."""
    pytest.importorskip("zarr")
    for first in (True, False):
        options = {"checkpoint": tmp_path / f"{first}", "out": tmp_path / f"{first}.zarr"}
        run(**options, share=first)
        (options["out"] / "entropy/c/1/0").unlink()
        before = len(ran)
        assert whole.equals(run(**options, share=not first).load())
        assert len(ran) == before  # from the folder
        assert whole.equals(run(out=options["out"]).load())


def test_a_store_is_written_by_one_run_at_a_time_and_under_one_precision(tmp_path, small):
    import jax

    pytest.importorskip("zarr")
    run(out=tmp_path / "a.zarr")
    with (
        jax.default_matmul_precision("float32"),
        pytest.raises(ValueError, match=r"jax_default_matmul_precision is 'None' there and 'fl"),
    ):
        run(out=tmp_path / "a.zarr")
    held = Lock(tmp_path, ".a.zarr.lock")
    assert held.claim()
    with pytest.raises(ValueError, match=r"out must be in use by one run .*a.zarr is in use by"):
        run(out=tmp_path / "a.zarr")
    with pytest.raises(ValueError, match=r"out must be shared by all, .* which does not share it"):
        run(out=tmp_path / "a.zarr", share=True, checkpoint=tmp_path / "a")
    held.release()


def test_a_claim_lasts_until_the_last_save_is_whole(tmp_path, monkeypatch):
    """Also where the run is interrupted while it has a block."""
    slow, release, save, order = Checkpoint._write, Lock.release, Driver.save, []

    def write(self, reached):
        time.sleep(0.3)
        slow(self, reached)
        order.append("written")

    def let_go(self):
        order.append(self._path.name[:6])
        release(self)

    def save_and_stop(self, batch):
        save(self, batch)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "_write", write)
    monkeypatch.setattr(Lock, "release", let_go)
    monkeypatch.setattr(Driver, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt) as raised:
        run(share=True, checkpoint=tmp_path)
    assert raised.tb is not None  # which holds on to what was left open
    assert order == ["written", ".claim", ".lock"]


def test_states_of_others_who_share_are_left_to_them(tmp_path):
    """When one of them is at its end; a run that is alone leaves nothing."""
    seeds, like = np.arange(4, dtype=np.uint32), {"a": np.zeros(3, np.float32)}
    both = [Midway(tmp_path, 0.0, shared=True) for _ in range(2)]
    for own, midway in zip(np.split(seeds, 2), both, strict=True):
        midway.save("training", own, 1, 32, like)
    both[0].clear()
    assert both[0].restore("training", seeds[:2], 1, like) is None
    assert both[1].restore("training", seeds[2:], 1, like) is not None
    Midway(tmp_path, 0.0).clear()
    assert not list(tmp_path.glob("midway-*"))


def test_a_store_that_cannot_be_locked_is_refused_by_name(tmp_path, small):
    pytest.importorskip("zarr")
    run(out=tmp_path / "a.zarr")
    (tmp_path / ".a.zarr.lock").unlink()
    (tmp_path / ".a.zarr.lock").mkdir()
    with pytest.raises(ValueError, match=r"out must be in a folder to write to, and .*a.zarr is"):
        run(out=tmp_path / "a.zarr")
