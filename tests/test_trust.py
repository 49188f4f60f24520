"""Every byte that is read back from a folder is the one that was written, or is refused by name."""

import errno
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings

import jax
import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.basics import files
from collapse_jax.basics.fingerprints import digest
from collapse_jax.records import store
from collapse_jax.records.midway import Midway
from collapse_jax.records.store import Checkpoint, Reached
from collapse_jax.run import compiled

CONFIG = {"stream_version": 2, "task": {"n_samples": 9}, "n_generations": 8}
SEEDS = np.arange(3, dtype=np.uint32)
LIKE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.arange(4, dtype=np.int32)}


def state(done, seeds=SEEDS):
    values = np.arange(len(seeds) * done, dtype=np.float32).reshape(len(seeds), done)
    pool = np.full((len(seeds), 4), done, np.uint8)  # as such numbers are written
    return Reached(seeds, done, {"entropy": values}, [[pool]])


def restored(folder, seeds=SEEDS):
    """What is restored, as text, and the warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = list(Checkpoint(folder, CONFIG).restore(seeds, 8))
    return repr(found), " ".join(str(warning.message) for warning in said)


def filled(folder, *seeds):
    with Checkpoint(folder, CONFIG) as kept:
        for some in seeds or (SEEDS,):
            kept.save(state(4, some))
            kept.save(state(5, some))
    return folder


def flips(path, n):
    """The file with one bit flipped, at many places."""
    content = path.read_bytes()
    for place in np.unique(np.linspace(0, len(content) - 1, n).astype(int)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(place) % 8
        path.write_bytes(damaged)
        yield int(place)
    path.write_bytes(content)


def test_flipped_bits_of_chains(tmp_path):
    whole = filled(tmp_path / "whole")
    allowed = {4: repr([state(4)]), 5: repr([state(5)])}
    assert restored(whole) == (allowed[5], "")
    name = next(whole.glob("chains-*/5.*")).relative_to(whole)
    copy = shutil.copytree(whole, tmp_path / "copy")
    for place in flips(copy / name, 300):
        found, said = restored(copy)
        assert found == allowed[5] or (found == allowed[4] and str(copy / name) in said), place
        shutil.copytree(whole, copy, dirs_exist_ok=True)
    for place in flips(copy / "config.json", 100):
        assert _restored_or_refused(copy) in (allowed[5], str(copy)), place


def _restored_or_refused(folder):
    """What is restored; the folder where an error names it."""
    try:
        return restored(folder)[0]
    except ValueError as error:
        return str(folder) if str(folder) in str(error) else str(error)


def test_flipped_bits_within_a_generation(tmp_path):
    midway = Midway(tmp_path, 0.0)
    midway.save("training", SEEDS, 2, 32, LIKE)
    assert midway.restore("training", SEEDS, 2, LIKE) is not None
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(paths) > 5
    for path in paths:
        for place in flips(path, 12):
            with pytest.warns(UserWarning, match="is damaged, and not used") as said:
                assert midway.restore("training", SEEDS, 2, LIKE) is None, (path, place)
            assert str(path) in str(said[0].message)
    assert midway.restore("training", SEEDS, 2, LIKE) is not None
    paths[0].unlink()
    with pytest.warns(UserWarning, match=paths[0].name):
        assert midway.restore("training", SEEDS, 2, LIKE) is None


@pytest.mark.parametrize("kind", ["generation", "seeds", "run"])
def test_files_in_the_place_of_others(kind, tmp_path):
    other = SEEDS + 10
    folder = filled(tmp_path / "run", SEEDS, other)
    mine, theirs = (folder / f"chains-{digest(s)}" / "5.safetensors" for s in (SEEDS, other))
    if kind == "generation":
        shutil.copy(mine.with_name("4.safetensors"), mine)
    elif kind == "seeds":
        shutil.copy(theirs, mine)
    else:
        changed = {**CONFIG, "task": {"n_samples": 8}}
        with Checkpoint(tmp_path / "other", changed) as kept:
            kept.save(state(5))
        shutil.copy(next((tmp_path / "other").glob("chains-*/5.*")), mine)
    found, said = restored(folder)
    assert found == repr([state(4)])
    assert str(mine) in said


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ESTALE, errno.EIO, errno.EMFILE])
def test_faults_of_the_system_are_no_wrong_folders(code, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError(code, "it fails")

    for place in ("mkstemp", "chmod", "fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(files.tempfile if place == "mkstemp" else files.os, place, fails)
            with (
                pytest.raises(OSError, match="it fails") as raised,
                Checkpoint(tmp_path / place, CONFIG),
            ):
                pass
            assert raised.value.errno == code
        assert restored(tmp_path / place) == ("[]", "")
    with monkeypatch.context() as patch:
        patch.setattr(files.tempfile, "mkstemp", fails)
        with pytest.raises(OSError, match="it fails"):
            files.check_writable("out", tmp_path / "a.nc", (".nc",))


def test_a_folder_is_inspected_and_repaired(tmp_path, command, monkeypatch):
    other = SEEDS + 10
    folder = filled(tmp_path / "run", SEEDS, other)
    Midway(folder, 0.0).save("training", SEEDS, 6, 32, LIKE)
    whole = cj.inspect_folder(folder)
    assert (whole.problems, whole.in_use_by) == ((), None)
    assert whole.seeds == dict.fromkeys([*SEEDS.tolist(), *other.tolist()], 5)
    assert [state.kind for state in whole.states] == [*["chains"] * 4, "training"]
    assert "jax" in whole.states[0].written_by
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(paths) > 10
    for path in paths:
        for _ in flips(path, 4):
            (problem,) = cj.inspect_folder(folder).problems
            assert str(path) in problem or path.name == "seal.json", problem
    assert command(f"folder {folder}")[0] == 0
    damaged = next(folder.glob("chains-*/5.*"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (folder / "midway-1").mkdir()
    (folder / "midway-1" / ".part-x").touch()
    code, out, _ = command(f"folder {folder}")
    assert code == 1
    assert f"not whole: {damaged}" in out
    assert "3 seeds at generation 4, 3 seeds at generation 5" in out
    code, out, _ = command(f"folder {folder} --repair")
    assert code == 0
    assert f"repaired: {damaged} is damaged-5.safetensors now" in out
    assert not (folder / "midway-1" / ".part-x").exists()
    assert restored(folder, np.concatenate([SEEDS, other]))[1] == ""
    # What else lies there, and states that a run removes meanwhile, are no matter.
    (folder / "chains-notes.txt").touch()
    check, seen = store.checked, []

    def removed(path):
        if not seen:
            seen.append(path)
            path.unlink()
        return check(path)

    monkeypatch.setattr(store, "checked", removed)
    assert cj.inspect_folder(folder).problems == ()
    assert seen
    with pytest.raises(ValueError, match=f"folder must be that of a run, and {tmp_path} has no"):
        cj.inspect_folder(tmp_path)


def test_a_lost_configuration_is_made_again_by_the_call_that_made_the_run(tmp_path, command):
    """Where the chains say that they are of it, and where it knew no more than they do."""
    folder = filled(tmp_path / "run")
    config = folder / "config.json"
    before, whole = config.read_bytes(), restored(folder)
    config.write_bytes(before[:-9])
    with pytest.raises(ValueError, match=f"collapse-jax folder {folder} --repair sets it aside"):
        Checkpoint(folder, CONFIG)
    code, out, _ = command(f"folder {folder} --repair")
    assert code == 1
    assert f"repaired: {config} is damaged-config.json now" in out
    assert f"not whole: {config}: it is missing; the call that made the run makes it again" in out
    changed = {**CONFIG, "task": {"n_samples": 8}}
    with pytest.raises(ValueError, match=r"lost its config.json, and its chains are of another"):
        Checkpoint(folder, changed)
    assert not config.exists()
    with Checkpoint(folder, CONFIG):
        assert config.read_bytes() == before
    assert restored(folder) == whole
    assert command(f"folder {folder}")[0] == 0
    scheduled = {**CONFIG, "workflow": {"synthetic": {"n": [4, 5]}}}
    with Checkpoint(tmp_path / "scheduled", scheduled) as checkpoint:
        checkpoint.save(state(5))
    (tmp_path / "scheduled" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"which alone knew workflow.synthetic.n; use another"):
        Checkpoint(tmp_path / "scheduled", scheduled)
    config.unlink()
    for path in folder.glob("chains-*/*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"lost its config.json, and has no whole chains"):
        Checkpoint(folder, CONFIG)


def test_other_flags_are_refused_by_name(tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    def run():
        task = cj.Categorical(3, 9)
        return cj.simulate(cj.Replace(), task, 2, 2, progress=False, checkpoint=tmp_path)

    monkeypatch.setattr(compiled, "start", stopped)  # which comes after the folder is claimed
    with pytest.raises(KeyboardInterrupt):
        run()
    with (
        jax.default_matmul_precision("bfloat16"),
        pytest.raises(ValueError, match="matmul_precision is 'None' there and 'bfloat16' here"),
    ):
        run()


HOLDER = """
import sys, time
from collapse_jax.records.store import Checkpoint
with Checkpoint(sys.argv[1], {"stream_version": 2, "task": {"n_samples": 9}, "n_generations": 8}):
    print("held", flush=True)
    time.sleep(100)
"""


def test_one_run_at_a_time(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match=rf"is in use by process {holder.pid} on .* since"),
            Checkpoint(tmp_path, CONFIG),
        ):
            pass
        assert f"process {holder.pid}" in str(cj.inspect_folder(tmp_path).in_use_by)
        with pytest.raises(ValueError, match=f"is in use by process {holder.pid}"):
            cj.inspect_folder(tmp_path, repair=True)
        threading.Timer(1.0, holder.kill).start()  # as a cluster does
        with Checkpoint(tmp_path, CONFIG, wait=60.0):
            assert holder.poll() is not None
    filled(tmp_path)
    assert restored(tmp_path)[0] == repr([state(5)])
    with Checkpoint(tmp_path, CONFIG):
        stopped, started = threading.Event(), time.monotonic()
        threading.Timer(0.5, stopped.set).start()  # as Ctrl-C does
        with pytest.raises(KeyboardInterrupt), Checkpoint(tmp_path, CONFIG, 60.0, 60.0, stopped):
            pass
        assert time.monotonic() - started < 30.0


SHARED = """
import sys
import jax, collapse_jax as cj
from collapse_jax.machines import hosts
hosts._SILENCE = 5
hosts.connect(sys.argv[1], 2, int(sys.argv[2]))
print("connected", flush=True)
cj.simulate(cj.AccumulateSubsample(), cj.Categorical(3, 9), 20_000, 4, progress=False,
    metrics=["entropy"], checkpoint=sys.argv[3], checkpoint_seconds=0.1)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("killed", [1, pytest.param(0, marks=pytest.mark.exhaustive)])
def test_one_of_two_processes_is_killed(killed, tmp_path):
    """The other one ends and says so; one process then goes on with all chains."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-c", SHARED, address]
    both = [
        subprocess.Popen([*command, str(i), tmp_path], stderr=subprocess.PIPE, text=True)
        for i in (0, 1)
    ]
    until = time.monotonic() + 120
    while len({path.parent for path in tmp_path.glob("chains-*/*.safetensors")}) < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    both[killed].kill()
    said = both[1 - killed].communicate(timeout=60)[1]
    assert both[1 - killed].returncode != 0
    assert "another process of the run has ended" in said or "another task died" in said
    both[killed].communicate()
    assert 0 < min(cj.inspect_folder(tmp_path).seeds.values()) < 20_000

    def run(folder):
        task, names = cj.Categorical(3, 9), ["entropy"]
        options = {"metrics": names, "progress": False, "checkpoint": folder}
        return cj.simulate(cj.AccumulateSubsample(), task, 20_000, 4, **options).entropy

    assert run(tmp_path).equals(run(None))


def test_two_first_runs_of_one_folder(tmp_path):
    """Each finds it empty; the second one is of another run, and is told so."""
    changed = {**CONFIG, "task": {"n_samples": 8}}
    first, second = Checkpoint(tmp_path, CONFIG), Checkpoint(tmp_path, changed)
    with first:
        first.save(state(5))
    with pytest.raises(ValueError, match=r"task.n_samples is 9 there and 8 here"), second:
        pass
    assert restored(tmp_path) == (repr([state(5)]), "")
