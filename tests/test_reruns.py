"""Parts of datasets, datasets of older versions and infinite values run again and compare."""

import importlib
import json
import re
import sys

import jax
import jaxtyping
import numpy as np
import pytest
import xarray as xr

import collapse_jax as cj
from collapse_jax.records.config import describe
from collapse_jax.run import reruns

TASK = cj.Categorical(4, 9)


def save(ds, path):
    ds.to_netcdf(path, engine="h5netcdf")


PARTS = {
    "variables": lambda ds: ds[["entropy", "collision"]],
    "generations": lambda ds: ds.sel(generation=[2, 5]),
    "the last generation": lambda ds: ds.isel(generation=-1),
    "seeds": lambda ds: ds.sel(seed=[3, 1]),
    "one seed": lambda ds: ds.sel(seed=2),
    "another order": lambda ds: ds.transpose("generation", "seed"),
}


@pytest.mark.parametrize("kind", PARTS)
def test_parts_of_a_dataset_run_again(kind):
    ds = PARTS[kind](cj.simulate(cj.Accumulate(), TASK, 5, 4, progress=False))
    again, differences = cj.rerun(ds, progress=False)
    assert list(differences) == list(ds)
    assert all(difference.only_rounding for difference in differences.values())
    xr.testing.assert_allclose(again, ds)
    other = ds.assign(entropy=ds.entropy + 1.0)
    assert cj.rerun(other, progress=False)[1]["entropy"].largest == pytest.approx(1.0, rel=1e-5)


def test_parts_of_a_sweep_run_again():
    over = {"n_samples": [5, 8]}
    ds = cj.sweep([cj.Replace(), cj.Accumulate()], TASK, over, 3, 2, progress=False)
    part = ds.sel(workflow="Accumulate", n_samples=[8])[["entropy"]]
    again, differences = cj.rerun(part, progress=False)
    assert {name: found.largest for name, found in differences.items()} == {"entropy": 0.0}
    xr.testing.assert_equal(again, part)


def test_what_is_no_part_of_a_run_is_refused():
    ds = cj.simulate(cj.Replace(), TASK, 3, 2, progress=False)
    for part, message in (
        (ds.mean("seed", keep_attrs=True), "no coordinate 'seed'; a mean over chains cannot be"),
        (ds.mean("generation", keep_attrs=True), "no coordinate 'generation'"),
        (ds.assign(twice=2 * ds.entropy), "variables of ds must be one of .*, got 'twice'"),
        (ds[[]], "ds must hold variables of the run: n_train"),
        (ds.isel(seed=[]), "ds must hold at least one seed"),
        (ds.assign_coords(generation=[1, 2, 4]), "ds must hold a part of the run"),
    ):
        with pytest.raises(ValueError, match=message):
            cj.rerun(part, progress=False)


def test_infinite_and_missing_values_equal_themselves():
    """Few rows of a constant subset: the log-determinant is minus infinity, the NLL infinite."""
    rows = np.concatenate([np.zeros(60), np.ones(3)])[:, None]
    task = cj.Gaussian(data=rows, n_samples=6)
    ds = cj.simulate(cj.Replace(), task, 3, 8, progress=False)
    assert np.isinf(ds.nll).any()
    found = cj.rerun(ds, rows, progress=False)[1]
    assert all(difference.largest == 0.0 for difference in found.values())
    old, new = np.array([np.nan, np.inf, 1.0]), np.array([np.nan, np.inf, 1.0])
    assert reruns._difference(old, new) == (0.0, 0.0)
    for other in (np.nan, np.inf, 2.0):
        assert not reruns._difference(old, np.array([np.nan, np.inf, other])).only_rounding
    assert not reruns._difference(old, np.array([0.0, np.inf, 1.0])).only_rounding


def test_files_of_the_first_version_open(command):
    """Version 0.1.0 wrote no stream version, and gave each part its class."""
    now = cj.simulate(cj.Replace(), cj.Categorical(2, 9), 4, 5, metrics=["entropy"], progress=False)
    task = {"type": "Categorical", "n_outcomes": 2, "n_samples": 9, "probabilities": [0.5, 0.5]}
    config = {
        "workflow": {"type": "Replace"},
        "task": {**task, "data": None},
        "n_generations": 4,
        "metrics": ["entropy"],
        "storage": "auto",
    }
    attrs = {"config": json.dumps(config), "workflow": "Replace", "task": "Categorical"}
    attrs |= {"collapse_jax_version": "0.1.0", "jax_version": "0.10.2", "jaxlib_version": "0.10.2"}
    attrs |= {"backend": "cpu", "device": "cpu", "n_devices": 1, "n_processes": 1}
    save(now.drop_attrs(deep=False).assign_attrs(attrs, wall_seconds=2.0), "old.nc")
    code, out, err = command("rerun old.nc")
    assert (code, err) == (0, "")
    assert "stream_version: unknown then, 3 now" in out
    old = xr.load_dataset("old.nc", engine="h5netcdf")
    assert cj.verdict(old[["entropy"]].rename(entropy="entropy_ratio")).answer
    assert cj.summary(old) is not None
    assert len(cj.plot(old).axes)


def test_label_names_are_kept(command):
    data = ["b", "\u00e4", "b", "a", "a", "b"]
    ds = cj.simulate(cj.Replace(), cj.Categorical(data=data), 2, 2, progress=False)
    save(ds, "labels.nc")
    loaded = xr.load_dataset("labels.nc", engine="h5netcdf")
    assert json.loads(loaded.attrs["outcomes"]) == ["a", "b", "\u00e4"]
    assert not any(found.largest for found in cj.rerun(loaded, data, progress=False)[1].values())
    with pytest.raises(ValueError, match="data must be those of the run"):
        cj.rerun(loaded, [name.replace("a", "A") for name in data], progress=False)
    numbers = cj.Categorical(data=np.array([3, 1, 3]))
    assert numbers.outcomes == ("1", "3")
    assert "outcomes" not in cj.simulate(cj.Replace(), TASK, 2, 2, progress=False).attrs


def test_a_table_is_read_again_in_the_same_way(command):
    """Every option by which the run read its table serves the rerun, and is needed there."""
    generator = np.random.default_rng(0)
    rows = [f"{i * 7};{x:.3f};?;{y:.3f}" for i, (x, y) in enumerate(generator.normal(size=(30, 2)))]
    text = "\n".join(["id;x;gone;y", *rows, "1000;?;?;1.5"]).replace(".", ",")
    with open("table.csv", "w", encoding="latin-1") as file:
        file.write(text)
    reading = "--data table.csv --target y --sep ; --decimal , --na-values ? --drop-missing"
    reading += " --drop gone --encoding latin-1 --header"
    options = "--workflow replace --generations 2 --seeds 2 --out run.nc"
    code, _, err = command(f"simulate linear-regression {reading} {options}")
    assert code == 0
    assert err == (
        "table.csv: 30 rows; columns used: x, y (the target); left out: gone (dropped), "
        "id (an identifier); rows left out for missing values: 1\n"
    )
    code, _, again = command(f"rerun run.nc {reading}")
    assert (code, again) == (0, err)
    code, _, err = command(f"rerun run.nc {reading.replace('--drop-missing', '')}")
    assert code == 2
    assert "got 1, the first in line 32, column 'x' of table.csv" in err
    assert "target can only be chosen together with data" in command("rerun run.nc --target y")[2]


def test_verdicts_are_of_chains():
    ds = cj.simulate(cj.Replace(), TASK, 5, 4, progress=False)
    for part, found in (
        (ds.mean("seed"), "'generation'"),
        (ds.isel(generation=0), "'seed'"),
        (ds.expand_dims("workflow"), "'workflow', 'seed', 'generation'"),
        (ds.mean(["seed", "generation"]), "none"),
    ):
        for judge in (cj.verdict, cj.summary, cj.plot, cj.diagnose):
            with pytest.raises(ValueError, match=f"dimensions 'seed' and .*, got {found}; give"):
                judge(part)


@pytest.mark.parametrize(
    ("name", "function", "arrays"),
    [
        ("Gaussian", "gaussian.whiten", ("covariance", "train")),
        ("LinearRegression", "linear_regression.whiten", ("train_x", "train_y")),
        ("LogisticRegression", "logistic_regression.orthonormal_columns", ("train", "values")),
    ],
)
def test_data_are_known_again_where_a_processor_rounds_otherwise(
    name, function, arrays, monkeypatch
):
    x = np.random.default_rng(0).normal(size=(40, 2))
    data = x if name == "Gaussian" else (x, (x.sum(axis=1) + x[:, 0] ** 2 > 0.0).astype(float))
    module, _, function = f"collapse_jax.tasks.{function}".rpartition(".")
    make, ours = getattr(cj, name), getattr(importlib.import_module(module), function)

    def other(*given):
        found = ours(*given)
        return found._replace(**{a: getattr(found, a) * (1.0 + 1e-6) for a in arrays})

    known = make(data=data)
    monkeypatch.setattr(f"{module}.{function}", other)
    there = make(data=data)
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (known, there)), strict=True))
    assert describe(there)["data"] == describe(known)["data"]
    moved = x + 1e-9 if name == "Gaussian" else (x + 1e-9, data[1])
    assert describe(make(data=moved))["data"] != describe(known)["data"]


@pytest.mark.parametrize("read", [cj.verdict, cj.collapse_time, cj.rerun])
def test_what_is_no_dataset_is_refused(read, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    variable = xr.DataArray(np.ones((2, 3)), dims=("seed", "generation"), name="entropy")
    with pytest.raises(
        TypeError, match=r"ds must be a dataset.* DataArray; ds\[\['entropy'\]\] is"
    ):
        read(variable)
    for other in (None, "run.nc", variable.values):
        with pytest.raises(TypeError, match=f"got a {type(other).__name__}$"):
            read(other)


OWN = '''
import jax
import jax.numpy as jnp
import collapse_jax as cj


class Laplace(cj.AbstractTask):
    """A Laplace distribution, fitted by its mean.

    Args:
        scale: true scale.
        n_samples: rows per generation.
    """

    scale: float = 1.0
    n_samples: int = 20
    variables = {"squared_error": cj.Variable("squared error", "1")}

    def real(self, world, key, n, *, size, index):
        return self.scale * jax.random.laplace(key, (n,), jnp.float32)

    def sample(self, world, model, key, n, *, temperature):
        return model + self.scale * jax.random.laplace(key, (n,), jnp.float32)

    def fit(self, world, data):
        return jnp.mean(data.weight * data.rows)

    def measure(self, world, model):
        return {"squared_error": model**2}


class Half(cj.AbstractTask):
    n_samples: int = 3


@cj.theory.expected.register(Laplace)
def known(task, workflow, n_generations):
    values = jnp.full(n_generations, 0.625)
    return {"squared_error": cj.theory.Prediction(values, "exact", "said so")}
'''


def test_a_task_of_ones_own_on_the_command_line(command, monkeypatch):
    with open("own_tasks.py", "w") as file:
        file.write(OWN)
    monkeypatch.setattr(sys, "path", [*sys.path])
    run = "simulate own_tasks:Laplace --workflow replace --generations 3 --seeds 2 --scale 2"
    code, out, err = command(f"{run} --out own.nc")
    assert (code, err) == (0, "")
    assert "Laplace, Replace: scale=2, n_samples=20" in out
    code, out, _ = command("simulate own_tasks:Laplace --help")
    assert code == 0
    assert "A Laplace distribution, fitted by its mean." in out
    assert "--scale FLOAT         True scale. (default: 1.0)" in out
    assert command("rerun own.nc --task own_tasks:Laplace")[0] == 0
    with open("own_features.py", "w") as file:
        file.write("def twice(row):\n    return 2.0 * row\n")
    short = "simulate gaussian --generations 2 --seeds 2 --dim 2 --metrics energy --out far.nc"
    assert command(f"{short} --features own_features:twice")[0] == 0
    monkeypatch.delitem(sys.modules, "own_features")
    assert "own_features:twice must be imported first" in command("rerun far.nc")[2]
    assert command("rerun far.nc --features own_features:twice")[0] == 0
    monkeypatch.delitem(sys.modules, "own_tasks")
    assert "own_tasks:Laplace must be imported first" in command("rerun own.nc")[2]
    assert "0.625" not in command("show own.nc")[1]
    assert "0.625" in command("show own.nc --task own_tasks:Laplace")[1]
    assert "must be written as MODULE:NAME" in command("report own.nc --task own_tasks")[2]
    assert "must be a class of tasks" in command("show own.nc --task math:sqrt")[2]
    for path, message in (
        ("gone:Laplace", "can be imported from here, got gone:Laplace: No module named 'gone'"),
        ("own_tasks:", "task must be written as MODULE:NAME, got 'own_tasks:'"),
        ("own_tasks:Gone", "own_tasks has no Gone"),
        ("own_tasks:Half", "must have all methods of a task, and own_tasks:Half lacks fit"),
        ("json:dumps", r"task must be a class of tasks \(AbstractTask\), got json:dumps"),
        ("own_tasks", "task must be one of 'gaussian', .*'lm', 'MODULE:CLASS', got 'own_tasks'"),
    ):
        code, _, err = command(f"simulate {path}")
        assert code == 2
        assert re.search(message, err), err
