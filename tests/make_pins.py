"""Makes pins.json beside this file: the values and the costs that today's programs have.

`pip install -e '.[test]' && python tests/make_pins.py`

Run it after a change that is meant to draw other numbers, to round otherwise or to cost otherwise,
and say so in CHANGELOG.md: users' chains are no longer those of their seeds. Without a difference
it leaves the file as it is.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import collapse_jax as cj

FILE = Path(__file__).with_name("pins.json")
N_GENERATIONS = 4
SEEDS = (0, 3)

Values = dict[str, np.ndarray]
"""Metrics of one case, `[seed, generation]`."""


@cache
def rows() -> np.ndarray:
    """Thirty correlated rows of real data `[30, 3]`."""
    normals = np.random.default_rng(0).normal(size=(30, 3))
    return normals @ [[1.0, 0.5, 0.0], [0.0, 1.0, 0.2], [0.0, 0.0, 2.0]] + [0.0, 1.0, -3.0]


TRAINING: dict[str, Any] = {"steps": 10, "batch_size": 16}
"""Few steps: where other machines round otherwise, training carries that on."""

WORKFLOWS: dict[str, cj.Workflow] = {
    "Replace": cj.Replace(),
    "Accumulate": cj.Accumulate(),
    "AccumulateSubsample": cj.AccumulateSubsample(),
}
# Made when asked for: nothing may run on JAX's backend before it is set up.
TASKS: dict[str, Callable[[], Any]] = {
    "Gaussian d=1": lambda: cj.Gaussian(dim=1, n_samples=20),
    "Gaussian d=3": lambda: cj.Gaussian(dim=3, n_samples=20),
    "Gaussian unbiased": lambda: cj.Gaussian(n_samples=20, estimator="unbiased"),
    "Gaussian data": lambda: cj.Gaussian(data=rows(), n_samples=15),
    "LinearRegression fixed": lambda: cj.LinearRegression(dim=3, n_samples=12, n_test=50),
    "LinearRegression fresh": lambda: cj.LinearRegression(
        dim=3, n_samples=12, design="fresh", n_test=50
    ),
    "LinearRegression data": lambda: cj.LinearRegression(data=(rows()[:, :2], rows()[:, 2])),
    "Categorical labels": lambda: cj.Categorical(5, 20),
    "Categorical counts": lambda: cj.Categorical(4, 1000),
    "NGram": lambda: cj.NGram(2, 6, 20, length=5),
    "Categorical data": lambda: cj.Categorical(data=list("abacabadabacaba")),
    "KernelDensity h=0.1": lambda: cj.KernelDensity("moons", 20, bandwidth=0.1, n_test=50),
    "KernelDensity scott": lambda: cj.KernelDensity("moons", 20, bandwidth="scott", n_test=50),
    "KernelDensity data": lambda: cj.KernelDensity(data=rows(), bandwidth=0.5),
    "ExponentialFamily poisson": lambda: cj.ExponentialFamily("poisson", 2.0, 20),
    "ExponentialFamily gamma": lambda: cj.ExponentialFamily("gamma", 2.0, 20, shape=2.0),
    "LogisticRegression": lambda: cj.LogisticRegression(dim=2, n_samples=40),
    "GaussianMixture": lambda: cj.GaussianMixture("ring", n_samples=100, n_test=50),
    "Flow": lambda: cj.Flow(n_samples=50, layers=2, width=8, n_test=50, **TRAINING),
    "Diffusion": lambda: cj.Diffusion(
        n_samples=50, sampling_steps=5, width=8, depth=1, n_test=50, **TRAINING
    ),
    "Autoencoder": lambda: cj.Autoencoder(n_samples=50, width=8, depth=1, n_test=50, **TRAINING),
    "Tabular": lambda: cj.Tabular(rows(), width=8, depth=1, **TRAINING),
    "GroupClassifier": lambda: cj.GroupClassifier(50, n_test=50, **TRAINING),
    "LanguageModel": lambda: cj.LanguageModel(n_samples=16, n_test=8, sample_batch=16),
}
ROWS = "Gaussian d=3, rows"
CASES = [(task, workflow) for task in TASKS for workflow in WORKFLOWS] + [(ROWS, "Replace")]

COST_TASKS: dict[str, Callable[[], Any]] = {
    "Gaussian": lambda: cj.Gaussian(dim=10, n_samples=100),
    "LinearRegression": lambda: cj.LinearRegression(dim=10),
    "Categorical": cj.Categorical,
    "KernelDensity": lambda: cj.KernelDensity("moons", n_samples=100),
    "ExponentialFamily": cj.ExponentialFamily,
}
COST_WORKFLOWS = {**WORKFLOWS, "window": cj.Workflow(cj.Real(keep=4), cj.Synthetic(keep=4))}
COSTS = ("flops", "bytes accessed", "transcendentals")
COST_SEEDS, COST_GENERATIONS = 8, 10


def values(task: str, workflow: str) -> Values:
    """All metrics of a short chain, those on request included."""
    made = TASKS[task.removesuffix(", rows")]()
    ds = cj.simulate(
        WORKFLOWS[workflow],
        made,
        2 if made.runner == "staged" else N_GENERATIONS,
        SEEDS[:1] if made.runner == "staged" else SEEDS,
        metrics=["n_train", "real_fraction", *made.variables],
        storage="rows" if task == ROWS else "auto",
        progress=False,
    )
    return {str(name): ds[name].to_numpy().astype(np.float32) for name in ds}


def compiled_chunk(workflow: cj.Workflow, task: Any) -> Any:
    """The compiled program of a chunk of generations, as `cj.simulate` runs it on one CPU device.

    All that these pins know of the engine's inside.
    """
    from collapse_jax.loop.form import columns_of, form_of
    from collapse_jax.loop.generation import metric_names
    from collapse_jax.loop.plan import host_sizes
    from collapse_jax.machines.devices import seed_mesh
    from collapse_jax.run import compiled

    plan = workflow.plan(COST_GENERATIONS, task.n_samples)
    form = form_of(workflow, task, plan)
    chains = compiled.Chains(
        compiled.traceable(task, sizes=not (form.rows or form.synthetic.by_rows)),
        form=form,
        names=tuple(name for name in metric_names(task, None) if name not in host_sizes(plan)),
        numbers=columns_of(plan, form, task.population),
        chunk=COST_GENERATIONS,
        mesh=seed_mesh(jax.local_devices(backend="cpu")[:1]),
        seeds=np.arange(COST_SEEDS, dtype=np.uint32),
    )
    columns = chains.part(1, COST_GENERATIONS)
    steps = jnp.asarray(COST_GENERATIONS, jnp.int32)
    context = (chains.without_numbers(), columns, None, steps)
    lowered = compiled._advance.lower(context, compiled.start(chains)).lowered  # pyright: ignore
    # What is counted comes before machine code, which may be poor.
    return lowered.compile({"xla_backend_optimization_level": 0})


def costs(task: str, workflow: str) -> dict[str, int]:
    """What the compiler counts in the program; a loop's body counts once."""
    counted = compiled_chunk(COST_WORKFLOWS[workflow], COST_TASKS[task]()).cost_analysis()
    return {name: round(counted.get(name, 0.0)) for name in COSTS}


def provenance() -> dict[str, Any]:
    """What rounding depends on."""
    return {
        "jax": jax.__version__,
        "jaxlib": jax.lib.__version__,
        "numpy": np.__version__,
        "platform": jax.default_backend(),
        "devices": jax.local_device_count(),
        "xla_flags": " ".join(sorted(os.environ.get("XLA_FLAGS", "").split())),
        "machine": platform.machine(),
        **_processor(),
    }


def _processor() -> dict[str, str]:
    """The kind of processor, for which XLA compiles, where Linux tells it."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return {}
    lines = [line.partition(":") for line in file.read_text().split("\n\n")[0].splitlines()]
    about = {name.strip(): text.strip() for name, _, text in lines}
    kind = " ".join(about.get(name, "") for name in ("vendor_id", "cpu family", "model"))
    flags = about.get("flags", about.get("Features", "")).split()
    vectors = [f for f in flags if f.startswith(("avx", "fma", "amx", "asimd", "sve"))]
    return {"processor": kind, "vectors": " ".join(sorted(vectors))}


def encode(array: np.ndarray) -> list[str]:
    """A row of exact hexadecimal numbers per seed."""
    return [" ".join(_hexadecimal(x) for x in row) for row in array.astype(np.float32).tolist()]


def _hexadecimal(x: float) -> str:
    digits, exponent, power = x.hex().partition("p")
    return digits.rstrip("0").rstrip(".") + exponent + power if exponent else digits


def decode(pinned: list[str]) -> np.ndarray:
    """The numbers `[seed, generation]` that were encoded."""
    return np.array([[float.fromhex(x) for x in row.split()] for row in pinned], np.float32)


def pinned_values(pins: dict[str, Any], task: str, workflow: str) -> Values:
    """The golden values of a case."""
    prefix = f"{task} | {workflow} | "
    chosen = {k: v for k, v in pins["values"].items() if k.startswith(prefix)}
    return {key.removeprefix(prefix): decode(v) for key, v in chosen.items()}


def _entries() -> Iterator[tuple[str, str, Any]]:
    for task, workflow in CASES:
        for name, array in values(task, workflow).items():
            yield "values", f"{task} | {workflow} | {name}", encode(array)
    for task in COST_TASKS:
        for workflow in COST_WORKFLOWS:
            yield "costs", f"{task} | {workflow}", costs(task, workflow)


def main() -> None:
    """Write the file, and print the keys that have changed."""
    old = json.loads(FILE.read_text()) if FILE.exists() else {}
    pins: dict[str, Any] = {"provenance": provenance(), "values": {}, "costs": {}}
    for kind, key, entry in _entries():
        pins[kind][key] = entry
        if old.get(kind, {}).get(key) != entry:
            print(f"{kind}: {key}")
    sections = []
    for section, entries in pins.items():  # a line for each key, so that a change is seen in a diff
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(e)}" for key, e in entries.items())
        sections.append(f" {json.dumps(section)}: {{\n{lines}\n }}")
    FILE.write_text("{\n" + ",\n".join(sections) + "\n}\n")


if __name__ == "__main__":
    import conftest  # noqa: F401  # as the tests compile, and on as many devices

    main()
