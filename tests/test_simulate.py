"""The promises of the driver: keys, growth, compilation, devices, the dataset."""

import json
import os
import subprocess
import sys
import warnings

import equinox as eqx
import jax
import numpy as np
import pytest
import xarray as xr

import collapse_jax as cj
from collapse_jax.loop.form import columns_of, form_of
from collapse_jax.loop.presets import name_of
from collapse_jax.machines import programs
from collapse_jax.records.config import run_arguments
from collapse_jax.run import compiled

WORKFLOWS = [cj.Replace(), cj.Accumulate(), cj.AccumulateSubsample()]
TASKS = [
    cj.Gaussian(dim=3, n_samples=10),
    cj.KernelDensity("blobs", n_samples=10, n_test=20),
    cj.LinearRegression(dim=3, n_samples=10),
    cj.Categorical(5, 10),
    cj.ExponentialFamily("geometric", n_samples=10),
    cj.LogisticRegression(dim=2, n_samples=10),
    cj.GaussianMixture("ring", 2, 10, covariance="diag", n_test=10),
    cj.NGram(2, 3, 10, length=5),
]
SMALL = {"steps": 3, "batch_size": 4, "width": 4, "depth": 1}
COLUMNS = {"size": np.random.default_rng(0).normal(size=24), "colour": ["red", "blue", "red"] * 8}
TRAINED = [
    cj.Flow("moons", 8, n_test=8, layers=1, **SMALL),
    cj.Diffusion("moons", 8, n_test=8, sampling_steps=3, **SMALL),
    cj.Autoencoder("moons", 8, n_test=8, **SMALL),
    cj.Tabular(COLUMNS, 8, **SMALL),
]
ids = {"ids": lambda x: name_of(x) if isinstance(x, cj.Workflow) else type(x).__name__}
every_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, **ids)
every_task = pytest.mark.parametrize("task", TASKS, **ids)


def run(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options)


@pytest.mark.parametrize("workflow", WORKFLOWS, **ids)
@every_task
def test_contract(workflow, task):
    """What every workflow x task promises: its variables, no NaN, prefixes, other seeds, sizes."""
    ds = run(workflow, task, 8, [3, 1, 7])
    assert list(ds.seed.values) == [3, 1, 7]
    assert list(ds.generation.values) == list(range(1, 9))
    assert set(ds) == {"n_train", "real_fraction", *task.variables} - set(task.on_request)
    for name, variable in ds.items():
        assert variable.dims == ("seed", "generation")
        assert variable.attrs["long_name"]
        assert variable.attrs["units"]
        assert not variable.isnull().any(), name
    assert np.all(ds.real_fraction[:, 0] == 1.0)
    expected = cj.theory.expected(workflow, task, 8)
    np.testing.assert_allclose(ds.n_train, np.tile(expected.n_train, (3, 1)))

    # The chain as a pure function, alone and shorter, is the same chain: the first generations of
    # a longer run, whatever other seeds run beside it.
    key = jax.random.key(7, impl="threefry2x32")
    chain = jax.jit(lambda key: cj.rollout(workflow, task, 5, key))(key)
    for name in ds:
        np.testing.assert_allclose(
            chain[name], ds[name].sel(seed=7).values[:5], rtol=2e-4, atol=1e-5
        )


@pytest.mark.thorough
@pytest.mark.parametrize("workflow", [cj.AccumulateSubsample(), cj.Replace()], **ids)
@pytest.mark.parametrize("task", TRAINED, **ids)
def test_contract_of_what_is_trained(workflow, task):
    """The same of generators that are trained, and that their runs can be made again."""
    test_contract(workflow, task)
    ds = run(workflow, task, 2, [2, 9])
    data = COLUMNS if isinstance(task, cj.Tabular) else None
    xr.testing.assert_equal(ds, cj.simulate(**run_arguments(ds, data=data), progress=False))


@pytest.mark.thorough
def test_chains_do_not_depend_on_devices_batches_or_chunks(monkeypatch):
    task = cj.Gaussian(dim=2, n_samples=5)
    whole = run(cj.AccumulateSubsample(), task, 40, 7)
    one_device = run(cj.AccumulateSubsample(), task, 40, 7, devices=jax.devices()[:1])
    per_chain = 41 * 5 * 2 * 4 + 1000
    batched = run(cj.AccumulateSubsample(), task, 40, 7, memory_limit=4 * per_chain)
    monkeypatch.setattr("collapse_jax.run.simulation._CHUNK", 7)
    chunked = run(cj.AccumulateSubsample(), task, 40, 7)
    for other in (one_device, batched, chunked):
        xr.testing.assert_allclose(whole, other, rtol=2e-4, atol=1e-5)


class Counting(cj.KernelDensity):
    """Counts how often it is traced."""

    def measure(self, world, model):
        TRACES.append(1)
        return super().measure(world, model)


TRACES: list[int] = []


@pytest.mark.parametrize("workflow", WORKFLOWS, **ids)
def test_numbers_do_not_recompile(workflow):
    TRACES.clear()
    for bandwidth, generations, seeds in ((0.1, 30, [0, 1]), (0.5, 30, [8, 2]), (7.0, 30, [5, 6])):
        task = Counting(n_samples=6, n_test=8, bandwidth=bandwidth)
        run(workflow, task, generations, seeds)
    assert len(TRACES) <= 2  # on several CPU devices it is looked through once before


@pytest.mark.parametrize("workflow", [cj.Replace(), cj.Accumulate()], **ids)
@pytest.mark.parametrize(
    "make", [cj.Gaussian, cj.LinearRegression], **{"ids": lambda m: m.__name__}
)
def test_sample_sizes_do_not_recompile_on_the_statistic_path(workflow, make):
    before = compiled._advance._cached._cache_size()
    for n in (20, 1000, 100_000):
        run(workflow, make(dim=2, n_samples=n), 3, 2)
    assert compiled._advance._cached._cache_size() <= before + 1


def test_the_statistic_path_holds_no_rows():
    for task in (TASKS[0], TASKS[2], TASKS[3]):
        for workflow in (cj.Replace(), cj.Accumulate()):
            sizes = set()
            for n, generations in ((10, 10), (100_000, 10), (10, 10_000)):
                bigger = eqx.tree_at(lambda t: t.n_samples, task, n * 1000)
                plan = workflow.plan(generations, n * 1000)
                form = form_of(workflow, bigger, plan)
                first = columns_of(plan, form, None).of(1)
                sizes.add(compiled.bytes_per_chain(bigger, form, first))
            assert len(sizes) == 1
            assert sizes.pop() < 1000


@pytest.mark.parametrize("task", TASKS, **ids)
def test_netcdf_round_trip_and_rerun(task, tmp_path):
    ds = run(cj.Accumulate(), task, 4, [2, 9])
    ds.to_netcdf(tmp_path / "run.nc")
    with xr.open_dataset(tmp_path / "run.nc") as loaded:
        loaded.load()
    xr.testing.assert_identical(ds, loaded)
    again = cj.simulate(**run_arguments(loaded), progress=False)
    xr.testing.assert_equal(ds, again)
    for name in ("collapse_jax_version", "jax_version", "jaxlib_version", "backend", "device"):
        assert ds.attrs[name]
    assert json.loads(ds.attrs["config"])["n_generations"] == 4


def test_rerun_with_data_needs_the_same_data():
    rows = np.random.default_rng(0).standard_normal((40, 2))
    ds = run(cj.Replace(), cj.Gaussian(data=rows, n_samples=10), 3, 4)
    again = cj.simulate(**run_arguments(ds, data=rows), progress=False)
    xr.testing.assert_equal(ds, again)
    with pytest.raises(ValueError, match="data must be given"):
        run_arguments(ds)
    with pytest.raises(ValueError, match="fingerprint"):
        run_arguments(ds, data=rows + 1.0)


def test_metrics_select_variables():
    ds = run(cj.Replace(), TASKS[0], 3, 2, metrics=["nll", "n_train"])
    assert list(ds) == ["n_train", "nll"]


def test_the_pure_layer_is_vmapped_over_hyperparameters():
    def final(bandwidth, key):
        task = cj.KernelDensity(n_samples=8, n_test=10, bandwidth=bandwidth)
        return cj.rollout(cj.Accumulate(), task, 5, key)["nll"][-1]

    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), 3)
    grid = jax.vmap(jax.vmap(final, (None, 0)), (0, None))(np.array([0.1, 1.0]), keys)
    assert grid.shape == (2, 3)
    assert np.all(np.isfinite(grid))


@pytest.mark.thorough
def test_the_pure_layer_is_vmapped_over_sample_sizes():
    def final(n):
        task = cj.Gaussian(dim=2, n_samples=n)
        return cj.rollout(cj.Accumulate(), task, 5, jax.random.key(0))["trace_ratio"]

    rows = jax.vmap(final)(np.array([5, 50, 500]))
    np.testing.assert_allclose(rows[1], final(50), rtol=1e-4)


def test_importing_does_not_start_a_backend():
    code = (
        "import collapse_jax as cj, jax; from jax._src import xla_bridge as b; "
        "assert not b.backends_are_initialized(); cj.use_all_cores(3); "
        "assert len(jax.devices()) == 3; cj.use_all_cores(3)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


KEPT = """
import jax, collapse_jax as cj
found = []
jax.monitoring.register_event_listener(lambda event, **kwargs: found.append(event))
cj.keep_compiled_programs()
cj.simulate(cj.Replace(), cj.Categorical(3, n_samples=5), 2, 2, progress=False)
print(sum(event.endswith("cache_hits") for event in found))
"""


def test_compiled_programs_are_kept_for_other_processes(tmp_path):
    known = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}

    def hits() -> int:
        command = [sys.executable, "-c", KEPT]
        environment = known | {"XDG_CACHE_HOME": str(tmp_path)}
        run = subprocess.run(command, env=environment, check=True, timeout=300, capture_output=True)
        return int(run.stdout)

    assert hits() == 0
    assert any((tmp_path / "collapse_jax").iterdir())
    assert hits() > 0


HANG = """
import jax
jax.config.update("jax_num_cpu_devices", 8)
import collapse_jax as cj
for workflow, task in (
    (cj.Accumulate(), cj.Gaussian(dim=12, n_samples=20)),
    (cj.AccumulateSubsample(), cj.Gaussian(dim=12, n_samples=20)),
    (cj.Replace(), cj.KernelDensity("swiss_roll", n_samples=10, n_test=20)),
    (cj.Accumulate(), cj.LinearRegression(dim=12, n_samples=20)),
    (cj.AccumulateSubsample(), cj.Categorical(5, 300)),
):
    ds = cj.simulate(workflow, task, 20, 19, progress=False)
    assert ds.attrs["n_devices"] == 8
alone = cj.simulate(workflow, task, 20, 19, progress=False, devices=jax.devices()[:1])
for name in ds:  # 19 chains are no multiple of 8
    assert abs(ds[name] - alone[name]).max() < 1e-5, name
print("finished")
"""


@pytest.mark.thorough
def test_many_devices_do_not_hang():
    """LAPACK inside a program on several host devices does, so nothing here may call it."""
    done = subprocess.run(
        [sys.executable, "-c", HANG], capture_output=True, text=True, timeout=400, check=True
    )
    assert "finished" in done.stdout


@every_workflow
@every_task
def test_no_lapack_in_compiled_programs(workflow, task):
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), 2)
    chain = jax.jit(jax.vmap(lambda key: cj.rollout(workflow, task, 3, key)))
    text = chain.lower(keys).as_text()
    for name in ("lapack", "stablehlo.cholesky", "triangular_solve", "eigh", "Qr"):
        assert name not in text


def test_no_warnings(recwarn):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(cj.Replace(), TASKS[0], 2, 3)


def test_sizes_are_exact_beyond_32_bits():
    """A product of sizes on the device would be negative from generation 2148 on."""
    ds = run(cj.Accumulate(), cj.Gaussian(n_samples=10**6), 2200, 1, metrics=["n_train", "nll"])
    assert ds.n_train.values[0].tolist() == [10**6 * t for t in range(1, 2201)]
    assert np.all(np.isfinite(ds.nll))
    big = cj.Categorical(3, 5 * 10**8)
    ds = run(cj.Accumulate(), big, 12, 2)
    assert ds.n_train.values[0, -1] == 6 * 10**9
    np.testing.assert_allclose(ds.entropy, np.log(3.0), rtol=1e-6)
    np.testing.assert_array_equal(ds.real_fraction[0], 1.0 / np.arange(1, 13))


def test_compiled_programs_make_room_for_others():
    runs = []

    @jax.jit
    def traced(x):
        runs.append(x)
        return x + 1

    traced(1.0)
    assert not programs.make_room_for_programs(share=0.99)
    traced(1.0)
    assert len(runs) == 1
    assert programs.make_room_for_programs(share=0.0) or not programs._MAPS.exists()
    traced(1.0)
    assert len(runs) == 2 or not programs._MAPS.exists()


def test_simulate_forgets_programs_where_they_fill_the_process(monkeypatch, tmp_path):
    limit = tmp_path / "max_map_count"
    monkeypatch.setattr(programs, "_LIMIT", limit)
    forgotten = []
    monkeypatch.setattr(jax, "clear_caches", lambda: forgotten.append(True))
    for allowed in ("1000000000", "10"):
        limit.write_text(allowed)
        cj.simulate(cj.Replace(), cj.Gaussian(n_samples=5), 2, 2, progress=False)
    assert len(forgotten) == (1 if programs._MAPS.exists() else 0)
