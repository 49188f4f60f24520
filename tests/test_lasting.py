"""Reruns, sweeps and several processes give what one run in one process gives."""

import functools
import os
import re
import socket
import subprocess
import sys

import jax
import jaxtyping
import numpy as np
import pytest
import xarray as xr

import collapse_jax as cj
from collapse_jax.run import compiled

pytestmark = pytest.mark.thorough

TASK = cj.Categorical(4, 9)


def never(*_):
    raise AssertionError("something was run")


def rows(out):
    """Largest difference and verdict of the entropy in a printed table."""
    return [line.split()[3:6:2] for line in out.splitlines() if "entropy " in line]


def save(ds, path):
    ds.to_netcdf(path, engine="h5netcdf")


def test_rerun_tells_equal_from_different(command):
    ds = cj.simulate(cj.Replace(), TASK, 5, [3, 1], progress=False)
    save(ds, "same.nc")
    code, out, err = command("rerun same.nc")
    assert (code, err) == (0, "")
    assert [line.split()[3:6:2] for line in out.splitlines() if "entropy " in line] == [
        ["0", "yes"]
    ]
    rounded = ds.copy(deep=True)
    rounded["entropy"] *= 1.00001
    save(rounded, "rounded.nc")
    assert command("rerun rounded.nc")[0] == 0
    other = ds.copy(deep=True)
    other["entropy"][1, 2] += 0.1
    other.attrs["jax_version"] = "0.1"
    save(other, "other.nc")
    code, out, _ = command("rerun other.nc")
    assert code == 1
    assert rows(out) == [["0.1", "no"]]
    assert f"jax_version: 0.1 then, {jax.__version__} now" in out


def test_rerun_with_a_table(command):
    table = np.random.default_rng(0).normal(size=(30, 3))
    np.savetxt("table.csv", table, delimiter=",", header="a,b,c", comments="")
    regression = "simulate linear-regression --workflow replace --generations 3 --seeds 2 "
    assert command(regression + "--data table.csv --target b --out run.nc")[0] == 0
    assert command("rerun run.nc --data table.csv --target b")[0] == 0
    assert "fingerprint differs" in command("rerun run.nc --data table.csv --target c")[2]
    assert "data must be given" in command("rerun run.nc")[2]


def test_rerun_refuses(command):
    xr.Dataset({"x": 1}).to_netcdf("bare.nc", engine="h5netcdf")
    for name, message in (
        ("bare.nc", "file must be a dataset of simulate or sweep, and bare.nc is none"),
        ("missing.nc", "file must be a readable file, and there is no file missing.nc"),
    ):
        code, out, err = command(f"rerun {name}")
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


def test_a_sweep_runs_again(command):
    rows = np.random.default_rng(1).normal(size=(40, 2))
    make = functools.partial(cj.Gaussian, data=rows)
    workflows, over = [cj.Replace(), cj.Accumulate()], {"n_samples": [5, 8, 11]}
    ds = cj.sweep(workflows, make, over, 3, [4, 2], progress=False)
    again, differences = cj.rerun(ds, rows, progress=False)
    xr.testing.assert_equal(ds, again)
    assert all(difference.largest == 0 for difference in differences.values())
    with pytest.raises(ValueError, match="data must be those of the run"):
        cj.rerun(ds, rows + 1.0, progress=False)
    np.save("rows.npy", rows)
    save(ds, "sweep.nc")
    assert command("rerun sweep.nc --data rows.npy")[0] == 0


def test_other_generators_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"key must be a Threefry key .*, got 'rbg'"):
        cj.rollout(cj.Replace(), TASK, 2, jax.random.key(0, impl="rbg"))
    key = jax.random.PRNGKey(0)
    for name, value in (("jax_default_prng_impl", "rbg"), ("jax_threefry_partitionable", False)):
        before = getattr(jax.config, name)
        jax.config.update(name, value)
        try:
            for call in (
                lambda: cj.simulate(cj.Replace(), TASK, 2, 2, progress=False),
                lambda: cj.rollout(cj.Replace(), TASK, 2, key),
            ):
                with pytest.raises(ValueError, match=f"{name} must be"):
                    call()
        finally:
            jax.config.update(name, before)


def test_a_sweep_is_its_runs(tmp_path, monkeypatch):
    over = {"n_samples": [5, 8], "covariance": [1.0, 4.0]}
    workflows, task = [cj.Replace(), cj.Accumulate()], cj.Gaussian(dim=2)
    before = compiled._advance._cached._cache_size()
    options = {"metrics": ["squared_error_mean"], "progress": False}
    ds = cj.sweep(workflows, task, over, 4, 2, checkpoint=tmp_path / "cells", **options)
    assert compiled._advance._cached._cache_size() <= before + 2  # one of each workflow
    assert ds.squared_error_mean.dims == ("workflow", *over, "seed", "generation")
    alone = cj.simulate(
        cj.Accumulate(), cj.Gaussian(2, 8, covariance=4.0), 4, 2, **options
    ).squared_error_mean
    cell = ds.squared_error_mean.sel(workflow="Accumulate", n_samples=8, covariance=4.0, drop=True)
    xr.testing.assert_equal(cell, alone)
    save(ds, tmp_path / "sweep.nc")

    monkeypatch.setattr(compiled, "start", never)  # finished cells are read
    again = cj.sweep(workflows, task, over, 4, 2, checkpoint=tmp_path / "cells", **options)
    xr.testing.assert_equal(ds, again)
    functional = functools.partial(cj.Gaussian, 2)
    xr.testing.assert_equal(
        ds, cj.sweep(workflows, functional, over, 4, 2, checkpoint=tmp_path / "cells", **options)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"over": {"n_sample": [1]}}, "over must be one of .*did you mean 'n_samples'"),
        ({"over": {"n_samples": 3}}, r"over\['n_samples'\] must be a sequence of values, got 3"),
        ({"over": {"n_samples": []}}, r"over\['n_samples'\] must not be empty"),
        ({"over": {"n_samples": [3, 3]}}, r"over\['n_samples'\] must be distinct"),
        ({"over": {"n_samples": [[3]]}}, r"over\['n_samples'\] must hold numbers or names"),
        ({"over": {"n_samples": [3, 0]}}, "n_samples must be between 1 and .*, got 0"),
        (
            {"over": {"synthetic.temperatur": [1]}},
            "over must be one of .*did you mean 'synthetic.temperature'",
        ),
        (
            {"over": {"synthetic.temperature": [1.0, -1.0]}},
            "synthetic.temperature must be positive, got -1",
        ),
        ({"over": {"fit.real_weight": [0.5]}}, "fit.real_weight must be None where no real row"),
        (
            {"over": {"synthetic.of.last": [2]}},
            r"synthetic.of.last can only be given with synthetic.of past, got Latest\(\)",
        ),
        (
            {"task": cj.KernelDensity(n_samples=9), "over": {"synthetic.temperature": [1.0, 0.9]}},
            "synthetic.temperature must be 1 with a KernelDensity",
        ),
        ({"task": lambda: 3, "over": {"synthetic.n": [3]}}, "task must be a task, or a function"),
        ({"workflows": []}, "workflows must not be empty"),
        ({"workflows": ["replace"]}, r"workflows must be workflows, .* got 'replace'"),
        ({"workflows": [cj.Replace(), cj.Replace()]}, "workflows must be distinct"),
        ({"task": cj.Categorical(data=["a", "b"])}, "task must be a function where it has data"),
    ],
    ids=lambda x: x[:40] if isinstance(x, str) else "",
)
def test_bad_sweeps(arguments, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr(compiled, "start", never)
    good = {"workflows": cj.Replace(), "task": TASK, "over": {"n_samples": [3]}}
    with pytest.raises((ValueError, TypeError), match=message):
        cj.sweep(**{**good, **arguments}, n_generations=2, seeds=2, progress=False)


def test_a_sweep_over_settings_of_workflows(tmp_path):
    """Also with data of the user's own, whose task need not be made anew."""
    over = {"synthetic.n": [6, 9], "real.every": [False, True], "synthetic.temperature": [0.9, 1]}
    mixed = cj.Workflow(synthetic=cj.Synthetic(of=cj.Mixed(0.5)))
    task = cj.Categorical(data=list("aabbbcdd"))
    options = {"metrics": ["entropy"], "progress": False}
    ds = cj.sweep([cj.Accumulate(), mixed], task, over, 4, 2, **options)
    assert ds.entropy.dims == ("workflow", *over, "seed", "generation")
    caption = "synthetic.of=Mixed(truth_share=0.5)"
    assert ds.workflow.values.tolist() == ["Accumulate", caption]
    for name, loop in (
        (
            "Accumulate",
            cj.Workflow(cj.Real(every=True, keep=None), cj.Synthetic(9, None, temperature=0.9)),
        ),
        (
            caption,
            cj.Workflow(cj.Real(every=True), cj.Synthetic(9, of=cj.Mixed(0.5), temperature=0.9)),
        ),
    ):
        cell = {"synthetic.n": 9, "real.every": True, "synthetic.temperature": 0.9}
        alone = cj.simulate(loop, task, 4, 2, **options).entropy
        xr.testing.assert_equal(ds.entropy.sel(workflow=name, **cell, drop=True), alone)
    save(ds, tmp_path / "sweep.nc")
    again = cj.rerun(xr.load_dataset(tmp_path / "sweep.nc"), list("aabbbcdd"), progress=False)
    assert again[1]["entropy"].largest == 0.0


SWEEP = """
workflows: [replace]
task: {name: categorical, n_outcomes: 4}
over: {n_samples: [9, 5]}
n_generations: 3
seeds: 2
metrics: [entropy]
checkpoint: cells
out: sweep.nc
"""


def test_sweeps_on_the_command_line(command, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    code, out, err = command("sweep sweep.yaml")
    assert (code, err) == (0, "")
    assert out.endswith("Chains: sweep.nc\n")
    ds = xr.load_dataset("sweep.nc", engine="h5netcdf")
    alone = cj.simulate(cj.Replace(), TASK, 3, 2, metrics=["entropy"], progress=False)
    xr.testing.assert_equal(
        ds.entropy.sel(workflow="Replace", n_samples=9, drop=True), alone.entropy
    )
    assert len(os.listdir("cells")) == 2
    for old, new, message in (
        (
            "metrics: [entropy]",
            "metrics: entropi",
            "metrics must be one of .*did you mean 'entropy",
        ),
        ("n_outcomes: 4", "probabilities: [1e-3, 0.5]", "must sum to 1, got a sum of 0.501"),
        ("seeds: 2", "", "seeds must be given in sweep.yaml"),
        ("seeds", "seed", "entry of sweep.yaml must be one of .*did you mean 'seeds'"),
        ("n_samples", "n_sample", "entry of over must be one of .*did you mean 'n_samples'"),
        ("categorical", "categoric", "task must be one of .*did you mean 'categorical'"),
        ("[replace]", "[replac]", "workflow must be one of .*did you mean 'replace'"),
        ("{name", "[name", "file must be readable YAML; sweep.yaml is not"),
        ("out: sweep.nc", "out: sweep.csv", "suffix of out must be one of '.nc'"),
    ):
        file.write_text(SWEEP.replace(old, new, 1))
        code, _, err = command("sweep sweep.yaml")
        assert code == 2
        assert re.search(message, err), err


COMPOSED = """
workflows:
  - accumulate
  - {workflow: accumulate, real: {keep: 1}}
  - {real: {every: true}, synthetic: {n: [4, 5, 6], of: {name: past, last: 2}}}
task: {name: categorical, n_outcomes: 4, n_samples: 9}
over: {fit.n: [3, 4]}
n_generations: 3
seeds: 2
metrics: [entropy]
out: sweep.nc
"""


def test_sweeps_of_composed_workflows_on_the_command_line(command, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(COMPOSED)
    code, _, err = command("sweep sweep.yaml")
    assert (code, err) == (0, "")
    ds = xr.load_dataset("sweep.nc", engine="h5netcdf")
    caption = "real.every, synthetic.n=[4, 5, 6], synthetic.of=Past(last=2)"
    assert ds.workflow.values.tolist() == ["Accumulate", "synthetic.keep=None", caption]
    loop = cj.Workflow(
        cj.Real(every=True), cj.Synthetic(n=[4, 5, 6], of=cj.Past(last=2)), cj.Fit(n=4)
    )
    alone = cj.simulate(loop, TASK, 3, 2, metrics=["entropy"], progress=False).entropy
    cell = ds.entropy.sel({"workflow": caption, "fit.n": 4}, drop=True)
    xr.testing.assert_equal(cell, alone)
    for old, new, message in (
        ("every", "evry", "setting of a workflow must be one of .*did you mean 'real.every'"),
        ("past,", "passt,", "synthetic.of must be one of .*did you mean 'past'"),
        ("workflow: acc", "workflow: ac", "workflow must be one of .*did you mean 'accumulate'"),
        ("  - accumulate", "  - 3", "workflows must be names or settings, got 3"),
        ("fit.n", "fit.m", "entry of over must be one of .*did you mean 'fit.n'"),
    ):
        file.write_text(COMPOSED.replace(old, new, 1))
        is_refused(command("sweep sweep.yaml"), message)


def is_refused(answer, message):
    code, _, err = answer
    assert code == 2
    assert re.search(message, err), err


OWN = """
import jax
import jax.numpy as jnp
import collapse_jax as cj


class Laplace(cj.AbstractTask):

    n_samples: int = 100
    scale: float = 1.0
    variables = {"squared_error": cj.Variable("squared error of the scale", "1")}

    def real(self, world, key, n, **_):
        return self.scale * jax.random.laplace(key, (n,))

    def fit(self, world, data):
        return jnp.sum(data.weight * jnp.abs(data.rows)) / jnp.sum(data.weight)

    def sample(self, world, model, key, n, **_):
        return model * jax.random.laplace(key, (n,))

    def measure(self, world, model):
        return {"squared_error": (model - self.scale) ** 2}


def likes(row):
    return row
"""
OF_OWN = """
workflows: [replace, {synthetic: {curation: "best-of:own_sweep:likes:2"}}]
task: {name: own_sweep:Laplace, n_samples: 9}
over: {scale: [1, 2.5]}
n_generations: 3
seeds: 2
checkpoint: cells
out: sweep.nc
"""


def test_sweeps_of_a_task_of_ones_own(command, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_sweep.py").write_text(OWN)
    (tmp_path / "sweep.yaml").write_text(OF_OWN)
    code, _, err = command("sweep sweep.yaml --trust")
    assert (code, err) == (0, "")
    ds = xr.load_dataset("sweep.nc", engine="h5netcdf")
    assert ds.attrs["command"] == "collapse-jax sweep sweep.yaml --trust"
    own_sweep = sys.modules["own_sweep"]
    curated = cj.Workflow(synthetic=cj.Synthetic(curation=(cj.BestOf(own_sweep.likes, 2),)))
    for loop, name in zip((cj.Replace(), curated), ds.workflow.values, strict=True):
        alone = cj.simulate(loop, own_sweep.Laplace(9, scale=2.5), 3, 2, progress=False)
        cell = ds.squared_error.sel(workflow=name, scale=2.5, drop=True)
        xr.testing.assert_equal(cell, alone.squared_error)
    for old, new, message in (
        ("n_samples", "n_sample", "entry of task must be one of .*did you mean 'n_samples'"),
        ("{scale", "{scal", "entry of over must be one of .*did you mean 'scale'"),
        (":Laplace", ":Laplac", "own_sweep has no Laplac"),
        (":Laplace", ":likes", "task must be a class of tasks"),
        ("own_sweep:Laplace", "gone:Laplace", "task must be of a module that can be imported"),
        ("own_sweep:likes", "gone:likes", "synthetic.curation must be of a module that can be"),
    ):
        (tmp_path / "sweep.yaml").write_text(OF_OWN.replace(old, new, 1))
        is_refused(command("sweep sweep.yaml --trust"), message)


def test_two_processes_share_the_seeds(tmp_path):
    """Seven seeds are four and three; the first process alone writes and prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = "simulate categorical --workflow accumulate-subsample --n-samples 9 --seeds 7"
    options += f" --generations 6 --out run.nc --checkpoint chains --coordinator {address}"
    options += " --num-processes 2 --process-id"
    first, second = (
        subprocess.Popen(
            [sys.executable, "-m", "collapse_jax.cli.program", *options.split(), str(process)],
            cwd=tmp_path,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for process in (0, 1)
    )
    assert "Chains: run.nc\n" in first.communicate(timeout=200)[0]
    assert "Chains" not in second.communicate(timeout=200)[0]
    assert first.returncode == second.returncode == 0
    task = cj.Categorical(n_samples=9)
    alone = cj.simulate(cj.AccumulateSubsample(), task, 6, 7, progress=False)
    together = xr.load_dataset(tmp_path / "run.nc", engine="h5netcdf")
    xr.testing.assert_allclose(together, alone, rtol=2e-4, atol=1e-5)
    assert together.attrs["n_processes"] == 2
    assert len(list((tmp_path / "chains").glob("chains-*/6.safetensors"))) == 2
    assert list((tmp_path / "cache").rglob("*-cache"))  # compiled programs are kept


def test_addresses_are_complete():
    with pytest.raises(ValueError, match="process_id must be given together with the others of"):
        cj.hosts.connect("127.0.0.1:1", 2)
    with pytest.raises(ValueError, match="process_id must be between 0 and 1, got 2"):
        cj.hosts.connect("127.0.0.1:1", 2, 2)
