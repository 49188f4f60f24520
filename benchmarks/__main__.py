"""`python -m benchmarks`: our chains against plain NumPy and scikit-learn loops, in one run.

Prints tables in Markdown. Times are per chain of 100 generations, in the steady state: the median
of several repeats, ours and the loop's in turn; compilation is separate. The loop is the published
procedure, one chain at a time, on one thread, so that its time does not depend on how busy the
other cores are.
"""

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The loop's BLAS must not spread over cores: for such small matrices that only costs.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import jax  # noqa: E402
import numpy as np  # noqa: E402

import collapse_jax as cj  # noqa: E402
from benchmarks import limits, reference  # noqa: E402

GENERATIONS = 100
PUBLISHED = ("squared_error_mean", "trace_ratio", "log_det_ratio")
MEASURED = {cj.Gaussian: PUBLISHED, cj.ExponentialFamily: ("squared_error", "extinct")}
"""The metrics of the loops; all, where nothing is said."""
WORKFLOWS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "accumulate-subsample": cj.AccumulateSubsample(),
}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    workflow: str
    task: cj.Gaussian | cj.KernelDensity | cj.LogisticRegression | cj.ExponentialFamily
    loop: Callable[[int], object]
    chains: int
    goal: float
    limit: Callable[[], float]

    @property
    def name(self) -> str:
        if isinstance(self.task, cj.Gaussian):
            return f"Gaussian d={self.task.dim} n={self.task.n_samples}"
        if isinstance(self.task, cj.LogisticRegression):
            return f"Logistic d={self.task.dim} n={self.task.n_samples}"
        if isinstance(self.task, cj.ExponentialFamily):
            return f"{self.task.family.capitalize()} n={self.task.n_samples}"
        return f"KDE {self.task.dataset} n={self.task.n_samples} h={self.task.bandwidth:g}"

    def ours(self) -> None:
        cj.simulate(
            WORKFLOWS[self.workflow],
            self.task,
            GENERATIONS,
            self.chains,
            metrics=MEASURED.get(type(self.task)),
            progress=False,
        )


def gaussian(workflow: reference.Workflow, dim: int, n: int, chains: int, goal: float) -> Case:
    """A Gaussian row; its limit is the time to draw the random numbers that it needs."""
    statistic = dim * (dim + 1) // 2 + 2 * dim  # mean and triangle, and a chi-square's two words
    rows = n * dim
    words = rows if workflow == "accumulate-subsample" else statistic
    return Case(
        workflow,
        cj.Gaussian(dim=dim, n_samples=n),
        lambda seed: reference.gaussian(workflow, dim, n, GENERATIONS, seed),
        chains,
        goal,
        lambda: GENERATIONS * words / limits.normals_per_second(),
    )


def kernel(
    workflow: reference.Workflow, n: int, bandwidth: float, chains: int, goal: float
) -> Case:
    """A kernel-density row; its limit is the time to evaluate the kernels at the test rows."""
    task = cj.KernelDensity("moons", n_samples=n, bandwidth=bandwidth)
    return Case(
        workflow,
        task,
        lambda seed: reference.kernel_density(workflow, "moons", bandwidth, n, GENERATIONS, seed),
        chains,
        goal,
        lambda: GENERATIONS * n * task.n_test / limits.exponentials_per_second(),
    )


def logistic(workflow: reference.Workflow, dim: int, n: int, chains: int, goal: float) -> Case:
    """A row of logistic regression; its limit is the time to evaluate the log-odds of the rows."""
    return Case(
        workflow,
        cj.LogisticRegression(dim=dim, n_samples=n),
        lambda seed: reference.logistic_regression(workflow, dim, n, GENERATIONS, seed),
        chains,
        goal,
        lambda: GENERATIONS * n / limits.exponentials_per_second(),
    )


def family(workflow: reference.Workflow, name: reference.Family, n: int, chains: int) -> Case:
    """A row of an exponential family; its limit is the time to draw a normal number per sum."""
    return Case(
        workflow,
        cj.ExponentialFamily(name, 1.0, n),
        lambda seed: reference.exponential_family(workflow, name, n, GENERATIONS, seed),
        chains,
        200,
        lambda: GENERATIONS / limits.normals_per_second(),
    )


CASES = [
    gaussian("replace", 1, 100, 32_768, 400),
    gaussian("replace", 10, 100, 4096, 80),
    gaussian("accumulate", 10, 100, 4096, 200),
    gaussian("accumulate", 31, 316, 1024, 300),
    gaussian("accumulate-subsample", 31, 316, 128, 10),
    gaussian("accumulate", 100, 1000, 256, 450),
    kernel("replace", 100, 0.1, 256, 90),
    kernel("accumulate", 100, 0.1, 256, 1800),
    kernel("accumulate-subsample", 100, 0.1, 256, 75),
    logistic("replace", 10, 100, 1024, 50),
    logistic("accumulate", 10, 100, 1024, 50),
    family("replace", "poisson", 100, 65_536),
    family("replace", "exponential", 100, 65_536),
    family("accumulate", "exponential", 100, 65_536),
]


def seconds(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(case: Case, repeats: int) -> dict[str, Any]:
    """Time ours and the loop in turn; medians of the repeats, and of the ratios pair by pair."""
    first = seconds(case.ours)
    pairs = [
        (seconds(case.ours) / case.chains, seconds(lambda i=i: case.loop(i)))
        for i in range(repeats)
    ]
    ours, loop = (float(np.median(column)) for column in zip(*pairs, strict=True))
    ratios = [theirs / mine for mine, theirs in pairs]
    return {
        "case": case.name,
        "workflow": case.workflow,
        "chains": case.chains,
        "loop_ms": 1e3 * loop,
        "ours_ms": 1e3 * ours,
        "ratio": float(np.median(ratios)),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "goal": case.goal,
        "compile_s": max(first - ours * case.chains, 0.0),
        "times_limit": ours / case.limit(),
    }


def exponent(sizes: list[int], run: Callable[[int], None], repeats: int = 3) -> float:
    """Slope of log time against log size."""
    times = []
    for size in sizes:
        run(size)
        times.append(min(seconds(lambda s=size: run(s)) for _ in range(repeats)))
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def growth() -> dict[str, float]:
    """Measured exponents of the time of a run in the number of generations and of samples."""

    def gaussian_accumulate(n: int) -> None:
        task = cj.Gaussian(dim=10, n_samples=n)
        cj.simulate(cj.Accumulate(), task, 400, 1024, metrics=PUBLISHED, progress=False)

    def kernel_accumulate(t: int) -> None:
        cj.simulate(cj.Accumulate(), cj.KernelDensity(n_samples=50), t, 32, progress=False)

    def gaussian_subsample(t: int) -> None:
        task = cj.Gaussian(dim=10, n_samples=100)
        workflow = cj.AccumulateSubsample()
        cj.simulate(workflow, task, t, 32, metrics=PUBLISHED, progress=False)

    generations = [250, 500, 1000, 2000]
    return {
        "Gaussian Accumulate, in n (100 to 100,000)": exponent(
            [100, 1000, 10_000, 100_000], gaussian_accumulate
        ),
        "KDE Accumulate, in generations (250 to 2,000)": exponent(generations, kernel_accumulate),
        "Gaussian AccumulateSubsample, in generations": exponent(generations, gaussian_subsample),
    }


def grid() -> dict[str, float]:
    """The paper's Gaussian grid, compilation included: 5 d x 5 n x 3 workflows x 100 seeds.

    Two runs at a time, as compilation uses one core only; of those that share a program, which
    differ in n alone, one comes after the other.
    """
    import resource

    sizes, dims = (1000, 316, 100, 32, 10), (100, 31, 10, 3, 1)  # the longest first
    runs = list(itertools.product(sizes, dims, WORKFLOWS.values()))

    def run(n: int, dim: int, workflow: cj.Workflow) -> None:
        task = cj.Gaussian(dim=dim, n_samples=n)
        cj.simulate(workflow, task, 100, 100, metrics=PUBLISHED, progress=False)

    with ThreadPoolExecutor(2) as pool:
        wall = seconds(lambda: list(pool.map(run, *zip(*runs, strict=True))))
    return {
        "seconds": wall,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The comparison as a Markdown table."""
    lines = [
        "| task | workflow | loop, ms/chain | ours, ms/chain | times faster (range) | goal "
        "| compile, s | times the limit |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        lines.append(
            f"| {r['case']} | {r['workflow']} | {r['loop_ms']:.4g} | {r['ours_ms']:.4g} "
            f"| {r['ratio']:.0f} ({r['ratio_low']:.0f} to {r['ratio_high']:.0f}) | {r['goal']:.0f} "
            f"| {r['compile_s']:.1f} | {r['times_limit']:.1f} |"
        )
    return "\n".join(lines)


def tables(result: dict[str, Any]) -> dict[str, str]:
    """The parts of pages that show the results, by their name."""
    found = {
        "speed-machine": f"Measured on {result['machine']}.",
        "speed": table(result["rows"]),
    }
    if "growth" in result:
        exponents = (f"* {name}: exponent {value:.2f}" for name, value in result["growth"].items())
        found["growth"] = "\n".join(exponents)
    if "grid" in result:
        whole = result["grid"]
        found["grid"] = (
            "The paper's whole Gaussian grid (5 dimensions x 5 sizes x 3 workflows x 100 chains x\n"
            f"100 generations) takes {whole['seconds']:.0f} s and {whole['peak_gib']:.1f} GiB, "
            "compilation included; the plain loop needs hours."
        )
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs per row")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--no-growth", action="store_true", help="skip the growth exponents")
    parser.add_argument("--grid", action="store_true", help="run the paper's whole Gaussian grid")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    cj.use_all_cores()
    device = jax.devices()[0]
    result: dict[str, Any] = {
        "machine": f"{jax.device_count()} x {device.platform} ({device.device_kind}), "
        f"{platform.machine()}, jax {jax.__version__}, numpy {np.__version__}"
    }
    if options.grid:
        result["grid"] = grid()
        jax.clear_caches()  # or rows of the table would find their programs compiled
    rows = []
    for case in CASES:
        if options.only in f"{case.name} {case.workflow}":
            rows.append(compare(case, options.repeats))
            print(table(rows).splitlines()[-1], flush=True)
    result["rows"] = rows
    if not options.no_growth:
        result["growth"] = growth()
    print("\n" + "\n\n".join(tables(result).values()))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
