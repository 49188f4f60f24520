"""What other loops cost, as a ratio to Accumulate in the same run, on the statistic path.

`python -m benchmarks.loops [--out benchmarks/results/loops.json]`
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax

import collapse_jax as cj

N_GENERATIONS, SEEDS, REPEATS = 100, 4096, 7
METRICS = ["squared_error_mean", "trace_ratio", "log_det_ratio"]

LOOPS: dict[str, cj.Workflow] = {
    "Accumulate": cj.Accumulate(),
    "Replace": cj.Replace(),
    "window of 10": cj.Workflow(cj.Real(keep=10), cj.Synthetic(keep=10)),
    "window of 50": cj.Workflow(cj.Real(keep=50), cj.Synthetic(keep=50)),
    "fixed mixing": cj.Workflow(cj.Real(keep=None)),
    "fresh mixing": cj.Workflow(cj.Real(every=True)),
    "fresh real rows that stay": cj.Workflow(
        cj.Real(every=True, keep=None), cj.Synthetic(keep=None)
    ),
    "real_weight": cj.Workflow(cj.Real(every=True), fit=cj.Fit(real_weight=0.6)),
    "temperature": cj.Workflow(cj.Real(keep=None), cj.Synthetic(keep=None, temperature=0.9)),
}


def measure(dim: int, n_samples: int, loops: dict[str, cj.Workflow]) -> list[dict[str, Any]]:
    """Seconds of each loop in turn, several times; the first time, with compilation, apart."""
    task = cj.Gaussian(dim=dim, n_samples=n_samples)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(REPEATS + 1):
        for name, workflow in loops.items():
            started = time.perf_counter()
            cj.simulate(workflow, task, N_GENERATIONS, SEEDS, metrics=METRICS, progress=False)
            times[name].append(time.perf_counter() - started)
    rows = []
    for name, seconds in times.items():
        first, steady = seconds[0], statistics.median(seconds[1:])
        ratios = [a / b for a, b in zip(seconds[1:], times["Accumulate"][1:], strict=True)]
        rows.append(
            {
                "task": f"Gaussian d={dim} n={n_samples}",
                "loop": name,
                "us_per_generation": round(1e6 * steady / (SEEDS * N_GENERATIONS), 3),
                "times_accumulate": round(statistics.median(ratios), 2),
                "compile_s": round(first - steady, 1),
            }
        )
        print(rows[-1], flush=True)
    return rows


def tables(result: dict[str, Any]) -> dict[str, str]:
    """The part of the page that shows the results, by its name."""
    lines = [
        f"Measured on {result['machine']}.",
        "",
        "| loop | task | us per chain and generation | times Accumulate |",
        "| --- | --- | ---: | ---: |",
    ]
    for r in result["rows"]:
        lines.append(
            f"| {r['loop']} | {r['task']} | {r['us_per_generation']:.2f} "
            f"| {r['times_accumulate']:.2f} |"
        )
    return {"loops": "\n".join(lines)}


def main() -> None:
    """Measure all, and write the figures down where a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out")
    out = parser.parse_args().out
    cj.use_all_cores()
    rows = measure(10, 100, LOOPS)
    few = ("Accumulate", "window of 10", "fresh mixing")
    rows += measure(10, 100_000, {name: LOOPS[name] for name in few})
    machine = f"{len(jax.devices())} x {jax.devices()[0].device_kind}, jax {jax.__version__}"
    if out:
        Path(out).write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
