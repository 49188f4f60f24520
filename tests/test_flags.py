"""JAX's flags change no chain, and stop none. In processes of their own."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import jax
import numpy as np
for flag, value in json.loads(sys.argv[1]).items():
    jax.config.update(flag, value)
import collapse_jax as cj
small = {"steps": 3, "batch_size": 4, "width": 4, "depth": 1}
points = np.random.default_rng(0).normal(size=(12, 2))
tasks = {"language": lambda: [cj.LanguageModel(n_samples=8, n_test=4, sample_batch=8)],
"trained": lambda: [
    cj.Flow("moons", 8, n_test=8, layers=1, **small),
    cj.Diffusion("moons", 8, n_test=8, sampling_steps=3, **small),
    cj.Autoencoder("moons", 8, n_test=8, **small),
    cj.Tabular({"a": points[:, 0], "b": (points[:, 1] > 0.0).astype(str)}, **small),
],
"classical": lambda: [
    cj.Gaussian(dim=2, n_samples=10),
    cj.Gaussian(data=[[float(i % 7), float(i * i % 11)] for i in range(40)], n_samples=10),
    cj.LinearRegression(dim=3, n_samples=12, n_test=20),
    cj.Categorical(5, 20),
    cj.KernelDensity("moons", 20, n_test=20),
    cj.ExponentialFamily("poisson", 0.1, 5),
]}[sys.argv[2]]()
found = {}
for i, task in enumerate(tasks):
    for loop in (cj.Replace(), cj.AccumulateSubsample())[: 2 if sys.argv[2] == "classical" else 1]:
        ds = cj.simulate(loop, task, 3, [7], progress=False)
        name = list(task.variables)[0]
        found[f"{i} {ds.attrs['workflow']}"] = [x.hex() for x in map(float, ds[name].values[0])]
key = jax.random.wrap_key_data(np.array([0, 3], np.uint32), impl="threefry2x32")
def chain(noise):
    task = cj.LinearRegression(dim=2, noise=noise)
    return cj.rollout(cj.Replace(), task, 3, key)["test_error"][-1]
for name, f in (("eager", chain), ("jit", jax.jit(chain)), ("grad", jax.grad(chain))):
    found[f"rollout, {name}"] = float(np.float32(f(2.0))).hex()
print(json.dumps(found))
"""
FLAGS = {
    "jax_enable_x64": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_debug_infs": True,
    "jax_debug_nans": True,
    "jax_random_seed_offset": 5,
}


# At the level of the tests gradients are rounded otherwise where other flags change a program.
ENVIRONMENT = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=1"}


def _run(flags, tasks):
    command = [sys.executable, "-c", PROGRAM, json.dumps(flags), tasks]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.thorough
@pytest.mark.parametrize("tasks", ["classical", "trained", "language"])
def test_no_flag_changes_a_chain(tasks):
    assert _run(FLAGS, tasks) == _run({}, tasks)
