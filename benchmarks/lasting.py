"""`python -m benchmarks.lasting`: what long runs cost, and what keeping them costs on top.

Prints the tables of docs/scaling.md. Times are those of the steady state: the best of several runs
after a first one that compiles.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm.auto import tqdm

import collapse_jax as cj
from collapse_jax.loop.form import columns_of, form_of
from collapse_jax.machines import hosts
from collapse_jax.records.store import Checkpoint
from collapse_jax.run import compiled

PUBLISHED = ("squared_error_mean", "trace_ratio", "log_det_ratio")
Row = dict[str, Any]


def seconds(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def runner(
    workflow: Any, task: Any, generations: int, chains: int, **options: Any
) -> Callable[[], object]:
    """A run as a function without arguments."""
    metrics = PUBLISHED if isinstance(task, cj.Gaussian) else None
    options = {"progress": False, "metrics": metrics, **options}
    return lambda: cj.simulate(workflow, task, generations, chains, **options)


def costs(repeats: int) -> list[Row]:
    """Time per chain and generation, and bytes per chain, against d, n and t."""
    gaussians = [(d, 100, 100, 2**14 // d) for d in (1, 3, 10, 31, 100)]
    gaussians += [(10, n, 100, 2048) for n in (10_000, 1_000_000)]
    gaussians += [(10, 100, t, 2048) for t in (400, 1600)]
    kernels = [(n, 100, 2**13 // n) for n in (32, 100, 316)] + [(100, t, 32) for t in (400, 1600)]
    cases: list[tuple[Any, Any, str, int, int, int]] = [
        (cj.Accumulate(), cj.Gaussian(d, n), f"Gaussian d={d}", n, t, chains)
        for d, n, t, chains in gaussians
    ]
    for workflow in (cj.Accumulate(), cj.AccumulateSubsample()):
        cases += [
            (workflow, cj.KernelDensity("moons", n, bandwidth=0.1), "KDE moons", n, t, chains)
            for n, t, chains in kernels
        ]
    rows = []
    for workflow, task, name, n, t, chains in cases:
        run = runner(workflow, task, t, chains)
        run()
        best = min(seconds(run) for _ in range(repeats))
        row = {
            "task": name,
            "workflow": type(workflow).__name__,
            "n": n,
            "t": t,
            "chains": chains,
            "us": 1e6 * best / (chains * t),
            "bytes": _bytes_per_chain(workflow, task, t),
        }
        rows.append(row)
        print(row, flush=True)
    return rows


SCALED = ("Gaussian d=10", "KDE moons")


def _bytes_per_chain(workflow: cj.Workflow, task: Any, n_generations: int) -> int:
    plan = workflow.plan(n_generations, task.n_samples)
    form = form_of(workflow, task, plan)
    first = columns_of(plan, form, task.population).of(1)
    return compiled.bytes_per_chain(task, form, first)


def scaled(name: str, n_devices: int) -> Callable[[], object]:
    """The run of which the scaling is measured, compiled."""
    gaussian = name == SCALED[0]
    task = cj.Gaussian(10, 100) if gaussian else cj.KernelDensity("moons", 100, bandwidth=0.1)
    chains = 4096 if gaussian else 256
    run = runner(cj.Accumulate(), task, 100, chains, devices=jax.devices()[:n_devices])
    run()
    return run


def on_one_core(name: str) -> Callable[[], float]:
    """The seconds of that run on one device, in a process that may use one core only."""
    command = [sys.executable, "-m", "benchmarks.lasting", "--serve", name]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask() -> float:
        print(file=process.stdin, flush=True)
        return float(process.stdout.readline())  # pyright: ignore[reportOptionalMemberAccess]

    return ask


def serve(name: str) -> None:
    """Be the process of `on_one_core`: for each line that comes, run once and print the seconds."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before any thread is started
    run = scaled(name, 1)
    for _ in sys.stdin:
        print(seconds(run), flush=True)


def strong_scaling(repeats: int) -> list[Row]:
    """The same chains on one core, on one device that may use both cores, and on two devices.

    Medians of triples. XLA runs large operations of one device on all cores, so that the second
    device gains less than the second core.
    """
    rows = []
    for name in SCALED:
        core, one, two = on_one_core(name), scaled(name, 1), scaled(name, 2)
        core()
        triples = []
        for _ in range(repeats):
            before, start = core(), time.process_time()
            middle = seconds(one)
            used = (time.process_time() - start) / middle
            after = seconds(two)
            triples.append((before / after, middle / after, used))
        cores, devices, used = (sorted(column) for column in zip(*triples, strict=True))
        rows.append({"task": name, "cores": cores, "devices": devices, "used": used})
        print(rows[-1], flush=True)
    return rows


class Spent(NamedTuple):
    """A method whose time counts, by this clock."""

    owner: Any
    name: str
    clock: Callable[[], float] = time.perf_counter


def share_of(run: Callable[[], object], *methods: Spent) -> float:
    """Share of a run's time that is spent in some methods.

    The difference of two runs, with and without, would be lost in the noise of a shared machine.
    """
    spent: list[float] = []

    def timed(method: Callable[..., Any], clock: Callable[[], float]) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            start = clock()
            result = method(*arguments, **options)
            spent.append(clock() - start)
            return result

        return call

    with contextlib.ExitStack() as patched:
        for owner, name, clock in methods:
            method = getattr(owner, name)
            setattr(owner, name, timed(method, clock))
            patched.callback(setattr, owner, name, method)
        whole = seconds(run)
    return sum(spent) / whole


# What a run waits for, and the processor time of writing meanwhile, as if that stopped all cores.
SAVING = (
    Spent(hosts, "pieces_on_host"),
    Spent(Checkpoint, "_wait"),
    Spent(Checkpoint, "_write", time.thread_time),
)


def overheads(minutes: float) -> list[Row]:
    """Shares of the time that checkpoints and the progress bar take, at their defaults."""
    rows = []
    for name, workflow, task, chains in (
        ("Gaussian d=10", cj.Accumulate(), cj.Gaussian(10, 100), 4096),
        ("KDE moons", cj.AccumulateSubsample(), cj.KernelDensity("moons", 100), 64),
    ):
        runner(workflow, task, 200, chains)()
        generations = int(200 / seconds(runner(workflow, task, 200, chains)) * 60 * minutes)
        with tempfile.TemporaryDirectory() as folder:
            kept = runner(workflow, task, generations, chains, checkpoint=f"{folder}/run")
            saving = share_of(kept, *SAVING)
        shown = runner(workflow, task, generations // 4, chains, progress=True)
        with contextlib.redirect_stderr(io.StringIO()):
            bar = share_of(shown, Spent(tqdm, "update"))
        rows.append(
            {
                "task": name,
                "workflow": type(workflow).__name__,
                "chains": chains,
                "t": generations,
                "checkpoint": saving,
                "bar": bar,
            }
        )
        print(rows[-1], flush=True)
    return rows


def table(header: str, rows: list[list[str]]) -> str:
    """A Markdown table, the first two columns of which are words."""
    n = header.count("|") + 1
    rule = " | ".join(["---"] * 2 + ["---:"] * (n - 2))
    return "\n".join(f"| {line} |" for line in [header, rule, *map(" | ".join, rows)])


def _middle(values: list[float]) -> str:
    """Median and range of sorted values."""
    return f"{np.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"


def study(rows: list[Row], chains: int = 10**6, generations: int = 10**4) -> list[list[str]]:
    """What a study costs: time in proportion to chains and generations, disk for one metric."""
    lines = []
    for row in rows:
        if row["n"] != 100 or row["t"] != 100:
            continue
        hours = 1e-6 * row["us"] * chains * generations / 3600
        lines.append(
            [
                row["task"],
                row["workflow"],
                f"{row['us']:.3g} us x 1e6 x 1e4",
                f"{hours:,.3g}",
                f"{hours / 24:,.3g}",
            ]
        )
    return lines


def tables(result: dict[str, Any]) -> dict[str, str]:
    """The tables of docs/scaling.md by their name."""
    return {
        "machine": f"Measured on {result['machine']}.",
        "costs": table(
            "task | workflow | n | t | chains | us per chain and generation | bytes per chain",
            [
                [
                    *(r["task"], r["workflow"], f"{r['n']:,}", f"{r['t']:,}", f"{r['chains']:,}"),
                    *(f"{r['us']:.3g}", f"{r['bytes']:,}"),
                ]
                for r in result["costs"]
            ],
        ),
        "devices": table(
            "task | goal | one core over two | one device over two | cores that one device uses",
            [
                [r["task"], "1.7", _middle(r["cores"]), _middle(r["devices"]), _middle(r["used"])]
                for r in result["devices"]
            ],
        ),
        "overheads": table(
            "task | workflow | chains | generations | saving | progress bar",
            [
                [
                    *(r["task"], r["workflow"], f"{r['chains']:,}", f"{r['t']:,}"),
                    *(f"{100 * r['checkpoint']:.2g} %", f"{100 * r['bar']:.2g} %"),
                ]
                for r in result["overheads"]
            ],
        ),
        "study": table(
            "task | workflow | cost x chains x generations | hours | days",
            study(result["costs"]),
        ),
    }


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lasting", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each kind")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=3.0, help="length of the runs with saves")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    cj.use_all_cores()
    device = jax.devices()[0]
    result = {
        "machine": f"{jax.device_count()} x {device.platform} ({device.device_kind}), "
        f"{platform.machine()}, jax {jax.__version__}",
        "costs": costs(options.repeats),
        "devices": strong_scaling(options.repeats) if jax.device_count() > 1 else [],
        "overheads": overheads(options.minutes),
    }
    print("\n\n".join(tables(result).values()))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
