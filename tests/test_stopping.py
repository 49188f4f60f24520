"""A run that stops is the run of so many generations, however it was cut, and goes on."""

import json
import os
import re
import socket
import subprocess
import sys

import jaxtyping
import numpy as np
import pytest
import xarray as xr

import collapse_jax as cj
from collapse_jax.analysis.judged import read_rule
from collapse_jax.analysis.runs import collect
from collapse_jax.run import compiled
from collapse_jax.run.stopping import first_met
from collapse_jax.run.sweeps import combine

TASK, N, SEEDS = cj.Categorical(4, 9), 40, 6
RULE = cj.Below("entropy", 0.5)


@pytest.fixture(scope="module", autouse=True)
def _one_program():
    """Chunks of three generations, so that runs of any length share their program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("collapse_jax.run.simulation._CHUNK", 3)
        yield


def run(n_generations=N, seeds=SEEDS, **options):
    return cj.simulate(cj.Replace(), TASK, n_generations, seeds, progress=False, **options)


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.fixture
def begun(monkeypatch):
    """The generations from which the engine was asked to go on."""
    found, advance = [], compiled.advance

    def noting(chains, pool, first, steps):
        found.append(first)
        return advance(chains, pool, first, steps)

    monkeypatch.setattr(compiled, "advance", noting)
    return found


def end_of(whole):
    """By hand: the first generation whose mean over seeds is below, and its successors may not."""
    below = whole.entropy.values.mean(axis=0) < 0.5
    assert 5 < below.argmax() + 1 < N - 5
    return int(below.argmax()) + 1


def check(ds, whole, n):
    xr.testing.assert_allclose(ds, whole.isel(generation=slice(n)), rtol=2e-4, atol=1e-5)
    assert ds.attrs["stopped"] == f"entropy < 0.5 in generation {n} of {N}"
    assert json.loads(ds.attrs["config"])["n_generations"] == n


def test_stops_where_the_mean_first_is_beyond(whole, begun):
    n = end_of(whole)
    ds = run(stop_when=RULE)
    check(ds, whole, n)
    assert begun[-1] > n - 3  # none is run after the chunk in which it stops
    again, differences = cj.rerun(ds, progress=False)
    assert again.sizes["generation"] == n
    assert {difference.largest for difference in differences.values()} == {0.0}


@pytest.mark.parametrize("in_folder", [False, True])
def test_batches_take_turns(whole, begun, in_folder, tmp_path):
    """Two chains fit at a time: three batches wait in a folder, and the answer is the same."""
    folder = {"checkpoint": tmp_path / "run"} if in_folder else {}
    with pytest.raises(ValueError, match="memory_limit") as refused:
        run(memory_limit=1)
    least = int(re.findall(r"need ([\d,]+) bytes", str(refused.value))[0].replace(",", ""))
    ds = run(stop_when=RULE, memory_limit=least, **folder)
    check(ds, whole, end_of(whole))
    assert begun[:4] == [1, 1, 1, 2]  # three take turns
    if in_folder:
        assert len(list((tmp_path / "run").glob("chains-*"))) == 3


def test_goes_on_with_the_same_chain(whole, begun, tmp_path):
    folder = tmp_path / "run"
    n = end_of(whole)
    check(run(stop_when=RULE, checkpoint=folder), whole, n)
    reached = max(int(path.stem) for path in folder.rglob("*.safetensors"))
    assert n <= reached <= N
    begun.clear()
    check(run(stop_when=RULE, checkpoint=folder), whole, n)
    assert begun == []  # all of it is there
    xr.testing.assert_equal(run(checkpoint=folder), whole)
    assert reached == N or min(begun) == reached + 1


def test_a_share_of_chains_and_functions(whole):
    rule = cj.Below("entropy", 0.5, share=0.5)
    half = (whole.entropy.values < 0.5).sum(axis=0) >= 3
    n = int(half.argmax()) + 1
    assert first_met(rule, whole, 0) == n
    assert [rule(whole.isel(generation=slice(t))) for t in (n - 1, n)] == [False, True]
    assert first_met(lambda ds: bool(ds.entropy[:, -1].median() < 0.5), whole, 0) == n
    assert first_met(cj.Above("entropy", 100.0), whole, 0) is None
    later = first_met(rule, whole, n)  # each generation counts once
    assert later is None or later > n
    dead = whole.assign(entropy=whole.entropy.where(whole.seed > 0, np.inf))
    assert first_met(cj.Above("entropy", 100.0), dead, 3) == 4
    seen = []
    ds = run(stop_when=lambda ds: seen.append(ds.sizes["generation"]) or len(seen) > 4)
    assert seen == [1, 1, 2, 3, 4]  # once on ones
    assert ds.attrs["stop_when"].endswith("<lambda>")


def test_runs_that_do_not_stop_say_their_rule(whole):
    ds = run(stop_when=cj.Above("entropy", 9.0))
    xr.testing.assert_equal(ds, whole)
    assert ds.attrs["stop_when"] == "entropy > 9"
    assert "stopped" not in ds.attrs


def test_judged_as_verdicts_and_definitions_are():
    t = np.arange(1, 31)
    rng = np.random.default_rng(0)
    error = rng.exponential(size=(100, 1)) * np.minimum(t, 40)
    ds = xr.Dataset({"test_error": (("seed", "generation"), error)}, {"generation": t})
    answers = {n: cj.verdict(ds.isel(generation=slice(n))).answer for n in t}
    assert first_met(cj.Judged("collapse"), ds, 0) == 10
    assert first_met(cj.Judged("collapse", every=1), ds, 0) == min(
        n for n, answer in answers.items() if answer == "collapse"
    )
    assert first_met(cj.Judged("stable"), ds, 0) is None
    risk = {
        n: cj.diagnose(ds.isel(generation=slice(n)))["catastrophic risk"].answer
        for n in range(7, 31, 7)
    }
    n = first_met(cj.Judged("catastrophic risk", every=7), ds, 0)
    assert n == min(n for n, answer in risk.items() if answer == "yes")
    assert [str(cj.Judged("collapse", every=n)) for n in (10, 1)] == [
        "collapse",
        "collapse, looked at every 1",
    ]


def test_what_is_better_the_higher_is_judged_as_diagnose_does():
    error = np.random.default_rng(0).exponential(size=(100, 1)) * np.arange(1, 21)
    ds = xr.Dataset({"elbo": (("seed", "generation"), -error)}, {"generation": np.arange(1, 21)})
    assert cj.diagnose(ds)["rising risk"].answer == "yes"
    assert first_met(cj.Judged("rising risk", every=20), ds, 0) == 20
    assert not cj.Judged("rising risk")(ds.isel(generation=[0]))  # and is not refused


def test_chains_without_a_value_are_left_out_of_means():
    values = np.array([[1.0, 5.0, np.nan], [1.0, np.nan, np.nan]])
    ds = xr.Dataset({"a": (("seed", "generation"), values)})
    assert cj.Above("a", 2.0).met(ds).tolist() == [False, True, False]


def test_rules_are_written_as_they_are_read():
    assert read_rule("test_error>10") == cj.Above("test_error", 10.0)
    assert read_rule(" trace_ratio < 1e-3") == cj.Below("trace_ratio", 1e-3)
    assert read_rule("vanishing tails") == cj.Judged("vanishing tails")
    for text in ("entropy>", "entropy>x", "entropy=3", "entropy>=3", ">3"):
        with pytest.raises(ValueError, match="stop_when must be a bound such as"):
            read_rule(text)
    with pytest.raises(ValueError, match="did you mean 'collapse'"):
        read_rule("collapses")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: run(stop_when="collapse"), TypeError, "stop_when must be a rule such as Above"),
        (lambda: run(stop_when=cj.Above), TypeError, "stop_when must be a rule such as Above"),
        (lambda: run(stop_when=lambda ds: 1.0), TypeError, "must return True or False, got 1.0"),
        (lambda: run(stop_when=lambda ds: ds.entropy > 1), TypeError, "True or False, got"),
        (lambda: run(stop_when=cj.Above("entropie", 1.0)), ValueError, "did you mean 'entropy'"),
        (
            lambda: run(stop_when=cj.Above("entropy", 1.0), metrics=["entropy_ratio"]),
            ValueError,
            "metric of stop_when must be one of 'entropy_ratio', got 'entropy'",
        ),
        (lambda: run(stop_when=cj.Judged("collapse"), seeds=1), ValueError, "2 or more where"),
        (lambda: run(stop_when=cj.Judged("collapse", "test_error")), ValueError, "variable must"),
        (lambda: run(stop_when=cj.Judged("entangled modes")), ValueError, "no metric entangled"),
        (lambda: cj.Judged("uncertain"), ValueError, "finding must be one of 'collapse'"),
        (lambda: cj.Judged("collapse", every=0), ValueError, "every must be between 1"),
        (lambda: cj.Judged("rising risk", "nll"), ValueError, "variable must be None"),
        (lambda: cj.Above("entropy", np.nan), ValueError, "limit must be finite, got nan"),
        (lambda: cj.Above("entropy", "1"), TypeError, "limit must be a number, got '1'"),
        (lambda: cj.Above(1, 1.0), TypeError, "metric must be the name of a variable"),
        (lambda: cj.Below("entropy", 1.0, share=1.5), ValueError, "share must be above 0"),
    ],
)
def test_bad_rules_are_refused_before_anything_runs(make, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr(compiled, "start", None)
    with pytest.raises(error, match=message):
        make()


def test_cells_of_a_sweep_stop_on_their_own(whole):
    sizes = [9, 3]
    ds = cj.sweep(
        cj.Replace(), TASK, {"n_samples": sizes}, N, SEEDS, stop_when=RULE, progress=False
    )
    ends = ds.last_generation.values[0]
    assert ends[0] == end_of(whole)
    assert ends[1] < ends[0]
    np.testing.assert_array_equal(ds.entropy[0, 0], whole.entropy[:, : ends[0]])
    assert np.isnan(ds.entropy[0, 1, :, ends[1] :]).all()
    assert np.isfinite(ds.entropy[0, 1, :, : ends[1]]).all()
    again, differences = cj.rerun(ds, progress=False)
    assert {difference.largest for difference in differences.values()} == {0.0}
    np.testing.assert_array_equal(again.last_generation, ds.last_generation)
    cell = ds.isel(workflow=0, n_samples=1)
    assert collect(cell, theory=False)[0].ds.sizes["generation"] == ends[1]


def test_a_cell_that_stopped_is_judged_as_it_ran():
    error = np.random.default_rng(0).exponential(size=(100, 1)) * np.arange(1, 41)
    error[:, 20:] = np.nan
    ds = xr.Dataset({"test_error": (("seed", "generation"), error)}, {"generation": range(1, 41)})
    assert cj.verdict(ds).answer == "uncertain"
    cell = ds.assign_coords(last_generation=20)
    assert cj.verdict(cell).answer == "collapse"
    assert cj.diagnose(cell)["rising risk"].answer == "yes"


def test_cells_that_stop_together_say_so(command, tmp_path):
    (tmp_path / "s.yaml").write_text(
        "workflows: replace\ntask: {name: categorical}\nover: {n_samples: [5, 40]}\n"
        "n_generations: 30\nseeds: 6\nstop_when: entropy<0.5\nout: s.nc\n"
    )
    code, out, err = command("sweep s.yaml")
    assert (code, err) == (0, "")
    ds = xr.load_dataset(tmp_path / "s.nc", engine="h5netcdf")
    assert ds.last_generation[0, 0] < ds.last_generation[0, 1]
    assert "NaN" not in out
    cells = [cj.simulate(cj.Replace(), TASK, N, SEEDS, stop_when=RULE, progress=False)] * 2
    whole = combine(cells, {"n_samples": [1, 2], "workflow": ["Replace"]})
    assert (whole.last_generation == cells[0].sizes["generation"]).all()


def test_on_the_command_line(command, tmp_path):
    options = "simulate categorical --n-samples 5 --generations 50 --seeds 20 --out run.nc"
    code, out, err = command(f"{options} --stop-when entropy<0.5")
    ds = xr.load_dataset(tmp_path / "run.nc", engine="h5netcdf")
    assert (code, err) == (0, "")
    n = ds.sizes["generation"]
    assert f"Stopped: entropy < 0.5 in generation {n} of 50" in out
    means = ds.entropy.mean("seed").values
    assert means[-1] < 0.5 <= means[:-1].min()
    code, _, err = command(f"{options} --stop-when entropy")
    assert code == 2
    assert "stop_when must be one of 'collapse'" in err


@pytest.mark.thorough
def test_other_runners_and_several_models_stop_alike(whole):
    check(run(stop_when=RULE, runner="staged"), whole, end_of(whole))
    several = cj.Ecosystem(cj.Replace(), mixing=[[0.5, 0.5], [0.0, 1.0]])
    ds = cj.simulate(several, TASK, N, SEEDS, progress=False)
    n = int((ds.entropy.mean(("seed", "model")).values < 0.5).argmax()) + 1
    stopped = cj.simulate(several, TASK, N, SEEDS, progress=False, stop_when=RULE)
    xr.testing.assert_equal(stopped, ds.isel(generation=slice(n)))
    with pytest.raises(ValueError, match="of several models one"):
        cj.simulate(several, TASK, N, SEEDS, stop_when=cj.Judged("collapse"))


TOGETHER = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 1)
import collapse_jax as cj
address, process, folder, limit = sys.argv[1:]
cj.hosts.connect(address, 2, int(process))
ds = cj.simulate(
    cj.Replace(), cj.Categorical(4, 9), 40, 6, progress=False, stop_when=cj.Below("entropy", 0.5),
    **({"checkpoint": folder} if folder else {}), **({"memory_limit": int(limit)} if limit else {}),
)
if process == "1":
    ds.to_netcdf("process.nc")
"""


@pytest.mark.thorough
@pytest.mark.parametrize(("folder", "limit"), [("", ""), ("run", "64")])
def test_two_processes_decide_alike(whole, folder, limit, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-c", TOGETHER, address]
    both = [
        subprocess.Popen([*command, process, folder, limit], cwd=tmp_path, env={**os.environ})
        for process in ("0", "1")
    ]
    assert [process.wait(timeout=200) for process in both] == [0, 0]
    check(xr.load_dataset(tmp_path / "process.nc"), whole, end_of(whole))
