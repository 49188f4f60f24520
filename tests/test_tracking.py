"""A tracker is told of every generation once, in order; its failure loses nothing."""

import os
import socket
import struct
import subprocess
import sys

import jaxtyping
import numpy as np
import pytest
import xarray as xr

import collapse_jax as cj
from collapse_jax.run import compiled

TASK, N, SEEDS = cj.Categorical(4, 9), 20, 6


@pytest.fixture(scope="module", autouse=True)
def _one_program():
    """Chunks of three generations, so that runs of any length share their program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("collapse_jax.run.simulation._CHUNK", 3)
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield


class Notes:
    """Keeps what it is told, and fails in one generation."""

    def __init__(self, fails_in=0):
        self.generations, self.told, self.fails_in = [], [], fails_in

    def __call__(self, generation, metrics):
        if generation == self.fails_in:
            raise ConnectionError("the server is away")
        self.generations.append(generation)
        self.told.append({name: values.copy() for name, values in metrics.items()})

    def check(self, ds):
        assert self.generations == ds.generation.values.tolist()
        assert all(set(told) == set(ds) for told in self.told)
        for name in ds:
            found = np.stack([told[name] for told in self.told], axis=-1)
            np.testing.assert_array_equal(found, ds[name].values)


def run(track=None, n_generations=N, seeds=SEEDS, **options):
    options = {"progress": False, "track": track, **options}
    return cj.simulate(cj.Replace(), TASK, n_generations, seeds, **options)


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.mark.parametrize("limit", [None, 128], ids=["together", "in turns"])
def test_every_generation_is_told_once(limit, whole):
    notes = Notes()
    ds = run(notes, memory_limit=limit)
    xr.testing.assert_allclose(ds, whole)  # other widths may round differently
    notes.check(ds)


def test_nothing_is_told_beyond_a_stop(whole):
    notes = Notes()
    ds = run(notes, stop_when=lambda ds: ds.sizes["generation"] == 17)
    assert ds.sizes["generation"] == 17  # within a chunk, of 17 and 18
    notes.check(ds)


def test_failures_pass_through_and_runs_go_on(whole, tmp_path, monkeypatch):
    with pytest.raises(ConnectionError, match="the server is away"):
        run(Notes(fails_in=9), checkpoint=tmp_path)
    begun, advance = [], compiled.advance

    def noting(chains, pool, first, steps):
        begun.append(first)
        return advance(chains, pool, first, steps)

    monkeypatch.setattr(compiled, "advance", noting)
    notes = Notes()
    xr.testing.assert_equal(run(notes, checkpoint=tmp_path), whole)
    assert begun[0] >= 9  # nothing that was there is run again
    notes.check(whole)  # and all of it is told again
    begun.clear()
    notes = Notes()
    run(notes, checkpoint=tmp_path)
    notes.check(whole)
    assert not begun


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="track must be a function"):
        run(track="wandb")


@pytest.mark.thorough
def test_several_models_are_told_apart():
    several, notes = cj.Ecosystem(cj.Replace(), mixing=[[0.5, 0.5], [0.5, 0.5]]), Notes()
    options = {"metrics": ["nll"], "progress": False, "track": notes}
    ds = cj.simulate(several, cj.Gaussian(n_samples=9), 4, 3, **options)
    assert notes.told[0]["nll"].shape == (3, 2)
    notes.check(ds)


def records(path):
    """The records of a file of events: a length, a sum, the record, a sum."""
    data, place = path.read_bytes(), 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        yield data[place + 12 : place + 12 + length]
        place += 16 + length


def test_tensorboard_gets_the_curves(whole, tmp_path):
    from tensorboardX import SummaryWriter
    from tensorboardX.proto.event_pb2 import Event

    with SummaryWriter(str(tmp_path)) as writer:

        def track(generation, metrics):
            for name, values in metrics.items():
                writer.add_scalar(name, values.mean(), generation)

        run(track)
    events = [Event.FromString(record) for path in tmp_path.iterdir() for record in records(path)]
    curves = {name: np.full(N, np.nan) for name in whole}
    for event in events:
        for value in event.summary.value:
            curves[value.tag][event.step - 1] = value.simple_value
    for name, curve in curves.items():
        np.testing.assert_allclose(curve, whole[name].mean("seed"), rtol=1e-6)


TOGETHER = """
import sys
import collapse_jax as cj
address, process, folder = sys.argv[1:]
cj.hosts.connect(address, 2, int(process))
def track(generation, metrics):
    assert process == "0" and metrics["entropy"].shape == (6,)
    if generation == 9:
        raise ConnectionError("the server is away")
try:
    cj.simulate(cj.Replace(), cj.Categorical(4, 9), 20, 6, track=track, checkpoint=folder)
except (ConnectionError, RuntimeError) as error:
    print(type(error).__name__, error, end="")
"""


@pytest.mark.thorough
def test_all_processes_hear_of_a_failure(whole, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-c", TOGETHER, address]
    both = [
        subprocess.Popen(
            [*command, process, str(tmp_path / "chains")],
            env={**os.environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        for process in ("0", "1")
    ]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [text.splitlines()[-1] for text in said] == [
        "ConnectionError the server is away",
        "RuntimeError track has failed in process 0",
    ]
    xr.testing.assert_equal(run(checkpoint=tmp_path / "chains"), whole)
