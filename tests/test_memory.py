"""Memory: what is predicted is what processes take."""

import os
import subprocess
import sys

import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.run import compiled, simulation

COMMON = """
import re, sys
import collapse_jax as cj
arguments, options = ({case}), {{}}
if isinstance(arguments[-1], dict):
    *arguments, options = arguments
"""
ASKED = "print(cj.needs(*arguments, **options).peak)"
RUN = """
cj.simulate(*arguments, **options, progress=False)
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
"""
CASES = {
    "small": "cj.Replace(), cj.Categorical(3, 9), 20, 10",
    "rows": 'cj.Accumulate(), cj.Gaussian(50, 2000), 100, 16, {"storage": "rows"}',
    "metrics": "cj.Replace(), cj.Categorical(3, 30), 1000, 20_000",
    "long chains": "cj.Replace(), cj.Categorical(3, 30), 100_000, 200",
    "statistics": "cj.Accumulate(), cj.Gaussian(400, 800), 3, 64",
    "outcomes": "cj.Accumulate(), cj.Categorical(2_000_000, 3000), 3, 8",
    "kernels": 'cj.Replace(), cj.KernelDensity("moons", n_samples=6000, n_test=6000), 3, 4',
    "regression": "cj.Replace(), cj.LinearRegression(800, 1600), 3, 16",
    "trained": 'cj.Replace(), cj.Diffusion("ring", 200_000, n_test=50_000, steps=5), 2, 2',
    "flow": 'cj.Replace(), cj.Flow("moons", n_samples=100_000, n_test=100_000, steps=5), 2, 4',
    "language": "cj.Replace(), cj.LanguageModel(n_samples=64, n_test=32), 2, 4",
}
NOW = ("small", "outcomes")
"""The others take minutes, and are left to releases."""


def in_bytes(code, case):
    """What a process of its own prints, compiled as a user's is."""
    script = COMMON.format(case=CASES[case]) + code
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.thorough
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="it is Linux that says")
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=[] if c in NOW else [pytest.mark.exhaustive]) for c in CASES],
)
def test_predictions_are_what_processes_take(case):
    """The peak of a process, which no parent has had before: it is started anew, and not forked."""
    predicted, measured = in_bytes(ASKED, case), in_bytes(RUN, case)
    print(f"{case}: {predicted / 1e6:.0f} MB predicted, {measured / 1e6:.0f} MB measured")
    if max(predicted, measured) > 500e6:
        assert abs(predicted / measured - 1.0) < 0.25


def test_what_programs_need_is_what_there_is_of_them():
    """The pools are in it, whatever the runner, and the metrics of all chains."""
    task = cj.Categorical(1000, n_samples=20)
    found = cj.needs(cj.Accumulate(), task, 10, 50, metrics=["entropy"])
    assert found.programs >= 50 * 4 * 1000
    assert found.metrics == 10 * 50 * 4 * (1 + 1)  # in pieces and joined, then joined and kept
    assert found.peak == found.process + found.programs + found.metrics
    staged = cj.needs(cj.Accumulate(), task, 10, 50, metrics=["entropy"], runner="staged")
    assert staged.programs >= 50 * 4 * 1000
    wider = cj.needs(cj.Accumulate(), cj.Categorical(4000, n_samples=20), 10, 50)
    assert wider.programs > 3 * found.programs


def test_few_columns_do_not_hold_on_to_many(monkeypatch):
    """Chunks that are short in time kept all that there is room for in one."""
    held = []

    def measured(self, seeds, found, first):
        held.extend(values.base for values in found.values())

    monkeypatch.setattr(simulation.Results, "put", measured)
    cj.simulate(cj.Replace(), cj.Categorical(3, 9), 3, 2, progress=False)
    sizes = [base.nbytes for base in held if base is not None]
    assert all(size <= 2 * 3 * 4 for size in sizes), sizes


def test_batches_are_narrow_where_their_metrics_are_many(monkeypatch):
    """The host keeps the metrics of chains that run twice: there must be room for them."""
    widths = []
    start = compiled.start
    monkeypatch.setattr(compiled, "start", lambda c, _: (widths.append(len(c.seeds)), start(c))[1])
    ds = [cj.simulate(cj.Replace(), cj.Categorical(3, 9), 50, 60, progress=False)]
    monkeypatch.setattr("collapse_jax.machines.devices.host_memory", lambda: 40 * 8 * 9 * 50)
    ds.append(cj.simulate(cj.Replace(), cj.Categorical(3, 9), 50, 60, progress=False))
    assert widths[0] == 60
    assert max(widths[1:]) < 30
    for name in ds[0]:
        np.testing.assert_allclose(ds[0][name], ds[1][name], rtol=1e-6)
