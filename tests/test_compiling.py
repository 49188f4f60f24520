"""How programs are compiled: by which options, and what Python does meanwhile."""

import gc
import itertools
import re
import threading

import jax
import make_pins
import numpy as np
import pytest
from compositions import HAND_PICKED, T

import collapse_jax as cj
from collapse_jax.machines import programs
from collapse_jax.run import compiled
from collapse_jax.run.before.prepared import prepare

SLOTS = cj.Workflow(cj.Real(every=True, keep=3), cj.Synthetic(keep=2), cj.Fit(20))


@pytest.fixture
def forget():
    """What makes nothing be known of the compiler, as it is not afterwards."""

    def forget():
        programs.quick_to_compile.cache_clear()
        compiled._compiled_start.cache_clear()

    yield forget
    forget()


def test_a_compiler_without_the_older_emitter_compiles_all_the_same(forget, monkeypatch):
    task = cj.Gaussian(2, 12)
    usual = cj.simulate(SLOTS, task, 6, 5, progress=False)
    asked, jit = [], jax.jit

    def newer(function, **options):
        if "xla_cpu_use_fusion_emitters" in options.get("compiler_options", {}):
            asked.append(options)
            return jit(function, compiler_options={"xla_cpu_no_such_option": False})
        return jit(function, **options)

    forget()
    with monkeypatch.context() as without:
        without.setattr(jax, "jit", newer)
        options = programs.quick_to_compile()
    assert asked
    assert options == {"xla_backend_optimization_level": 0}
    newest = cj.simulate(SLOTS, task, 6, 5, progress=False)
    for name in usual:
        np.testing.assert_allclose(newest[name], usual[name], rtol=1e-4, atol=1e-5)


WINDOW = cj.Workflow(cj.Real(keep=7), cj.Synthetic(keep=7))
MIXED = cj.Workflow(cj.Real(keep=7), cj.Synthetic(keep=7, of=cj.Mixed(0.5)))
DRAWN = cj.Workflow(cj.Real(every=True, keep=7), cj.Synthetic(keep=7), cj.Fit(20))
IN_PLACE = {
    "moments": (WINDOW, lambda: cj.Gaussian(3, 50), 7),
    "moments, few rows": (WINDOW, lambda: cj.Gaussian(3, 5), 7),
    "equations": (MIXED, lambda: cj.LinearRegression(3, n_samples=20), 7),
    "counts": (WINDOW, lambda: cj.Categorical(5, 20), 7),
    "rows": (cj.AccumulateSubsample(), lambda: cj.Gaussian(3, 20), make_pins.COST_GENERATIONS + 1),
    "rows in parts": (
        *(cj.AccumulateSubsample(), lambda: cj.LinearRegression(3, n_samples=20)),
        make_pins.COST_GENERATIONS + 1,
    ),
    "rows of two streams": (DRAWN, lambda: cj.LinearRegression(3, n_samples=20), 14),
    "rows of two widths": (
        cj.Workflow(cj.Real(every=True, keep=7, n=9), cj.Synthetic(keep=7), cj.Fit(20)),
        *(lambda: cj.LinearRegression(3, n_samples=20), 14),
    ),
    "models": (
        cj.Workflow(synthetic=cj.Synthetic(of=cj.Past(7))),
        *(lambda: cj.Gaussian(3, 20), 7),
    ),
    "labels": (WINDOW, lambda: cj.LogisticRegression(2, n_samples=40), 7),
}


@pytest.mark.parametrize("case", IN_PLACE)
def test_what_is_kept_is_never_copied(case):
    """Or a generation would cost more, the more generations are kept."""
    workflow, task, slots = IN_PLACE[case]
    program = make_pins.compiled_chunk(workflow, task()).as_text()
    kept = rf"\w+\[{make_pins.COST_SEEDS},{slots}(,\d+)*\]"
    assert re.search(rf"dynamic-update-slice\S* = {kept}\S* fusion\(", program) is not None
    assert re.findall(rf"= ({kept})\S* copy\(", program) == []


PAIR = cj.Ecosystem(cj.Accumulate(), mixing=[[0.5, 0.5], [0.0, 1.0]])


@pytest.mark.parametrize("workflow", [cj.Accumulate(), SLOTS, PAIR], ids=["total", "slots", "two"])
def test_pools_begin_with_one_batch_and_room_for_others(workflow, monkeypatch):
    begun = []

    def start(chains, spare):
        context, first = chains.beginning(), chains.part(1, 1)
        level = 1 if chains.form.statistic else 0
        small, pool = compiled._compiled_start(level)(context, first), whole(chains, spare)
        begun.append((np.asarray(small.rows), np.array(pool.rows), chains.form))
        return pool

    whole = compiled.start
    monkeypatch.setattr(compiled, "start", start)
    task = cj.KernelDensity("moons", 8)
    cj.simulate(workflow, task, 5, 3, metrics=["nll"], progress=False)
    small, whole_rows, form = begun[0]
    axis = 1 + len(form.models_axis)
    assert small.shape[axis] == 1
    assert whole_rows.shape[axis] == form.slots > 1
    first, later = np.split(whole_rows, [1], axis)
    np.testing.assert_array_equal(first, small)
    assert np.any(first != 0.0)
    assert not np.any(later)


BATCHES = {
    "rows": (SLOTS, lambda: cj.KernelDensity("moons", 8)),
    "rows in parts": (cj.AccumulateSubsample(), lambda: cj.LinearRegression(2, n_samples=9)),
    "two models": (PAIR, lambda: cj.KernelDensity("moons", 8)),
}


@pytest.mark.parametrize("case", BATCHES)
def test_batches_start_in_the_memory_of_those_before(case, monkeypatch):
    """Nothing of these is left in it, and chains are what they are all at once."""
    workflow, task = BATCHES[case]
    whole = cj.simulate(workflow, task(), 5, 18, progress=False)
    begun, start = [], compiled.start

    def watched(chains, spare):
        pool = start(chains, spare)
        begun.append((chains, spare, jax.tree.map(np.array, pool.rows)))
        return pool

    monkeypatch.setattr(compiled, "start", watched)
    monkeypatch.setattr("collapse_jax.machines.devices._NARROWEST", 2)
    monkeypatch.setattr("collapse_jax.machines.devices._CACHE_BYTES", 1)
    parts = cj.simulate(workflow, task(), 5, 18, progress=False)
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-5, atol=1e-6)
    first, *others = begun
    assert first[1] is None
    assert len(others) >= 2
    for chains, spare, rows in others:
        assert all(x.is_deleted() for x in jax.tree.leaves(spare))
        for here, alone in zip(*map(jax.tree.leaves, (rows, start(chains).rows)), strict=True):
            np.testing.assert_array_equal(here, alone)


BEGUN = {
    "gaussian": lambda: cj.Gaussian(2, 9),
    "regression": lambda: cj.LinearRegression(2, n_samples=4),
    "categorical": lambda: cj.Categorical(3, 4),
    "kernels": lambda: cj.KernelDensity("moons", 4, n_test=9),
}
LOOPS = {
    **HAND_PICKED,
    "two": PAIR,
    "two, window": cj.Ecosystem(WINDOW, mixing=[[0.5, 0.5], [0.0, 1.0]]),
    "edited": cj.Workflow(synthetic=cj.Synthetic(of=cj.Edit(0.5))),
}
STARTS = [
    (loop, "regression" if loop == "edited" else task)
    for loop, task in zip(LOOPS, itertools.cycle(BEGUN), strict=False)
    if "temper" not in loop and loop != "mixed, schedule"  # kernels have no temperature
]


@pytest.mark.parametrize(("loop", "task"), STARTS)
def test_pools_are_what_the_whole_loop_begins_with(loop, task):
    """Though the program that makes them knows next to nothing of how the loop goes on."""
    ready = prepare(LOOPS[loop], BEGUN[task](), T, 4)
    chains = ready.chains()(ready.own_seeds)
    first = chains.of(1)
    begin = jax.vmap(lambda seed: compiled._begin(chains.task, chains.form, first, seed))
    pool, expected = compiled.start(chains), jax.jit(begin)(chains.seeds)
    assert jax.tree.structure(pool) == jax.tree.structure(expected)
    for found, wanted in zip(*map(jax.tree.leaves, (pool, expected)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_loops_that_begin_alike_share_the_program_that_begins_them():
    def programs_that_begin():
        return sum(compiled._compiled_start(level)._cached._cache_size() for level in (0, 1))

    task, options = cj.KernelDensity("moons", 17), {"seeds": 2, "progress": False}
    cj.simulate(cj.Replace(), task, 2, metrics=["nll"], **options)
    before = programs_that_begin()
    assert before > 0
    cj.simulate(cj.Accumulate(), task, 3, metrics=["nll"], **options)
    cj.simulate(cj.Accumulate(), task, 4, metrics=["variance_ratio"], **options)
    assert programs_that_begin() == before


def test_no_garbage_is_looked_for_while_a_program_is_traced():
    seen = []

    @jax.jit
    def traced(x):
        seen.append(gc.isenabled())
        return x

    with programs.garbage_kept():
        with programs.garbage_kept():
            traced(1.0)
        assert not gc.isenabled()
    assert gc.isenabled()
    assert seen == [False]
    with pytest.raises(ZeroDivisionError), programs.garbage_kept():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_who_looks_for_no_garbage_is_left_alone():
    gc.disable()
    try:
        with programs.garbage_kept():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_pauses_of_threads_end_with_the_one_that_began():
    inside, done = threading.Event(), threading.Event()

    def other():
        with programs.garbage_kept():
            inside.set()
            done.wait(10.0)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10.0)
    with programs.garbage_kept():
        assert not gc.isenabled()
    assert not gc.isenabled()
    done.set()
    thread.join()
    assert gc.isenabled()


@pytest.mark.parametrize(
    "make",
    [
        lambda dataset: cj.KernelDensity(dataset, 12, bandwidth=0.3),
        lambda dataset: cj.Diffusion(dataset, n_samples=12, steps=2, width=4, depth=1),
    ],
    ids=["kernel density", "diffusion"],
)
def test_data_sets_of_the_plane_share_programs(make):
    """And chains are those that each has in a process of its own (`tests/pins.json`)."""

    def run(dataset):
        task = make(dataset)
        ds = cj.simulate(cj.Replace(), task, 2, 2, progress=False)
        assert f'"dataset": "{dataset}"' in ds.attrs["config"]
        return np.stack([found.values for found in ds.values()])

    first = run("moons")
    before = compiled._advance._cached._cache_size()
    others = [run("blobs"), run("circles")]
    assert compiled._advance._cached._cache_size() == before
    assert not any(np.allclose(first, other) for other in others)


class Reader(cj.KernelDensity):
    """One whose rows depend on the name of the data set."""

    def real(self, world, key, n, *, size, index):
        assert self.dataset in ("moons", "blobs")
        return super().real(world, key, n, size=size, index=index)


def test_tasks_of_ones_own_keep_the_name_of_the_data_set():
    for dataset in ("moons", "blobs"):
        options = {"n_generations": 2, "seeds": 2, "metrics": ["nll"], "progress": False}
        own = cj.simulate(cj.Replace(), Reader(dataset, 9), **options)
        ours = cj.simulate(cj.Replace(), cj.KernelDensity(dataset, 9), **options)
        np.testing.assert_array_equal(own.nll, ours.nll)
