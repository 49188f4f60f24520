"""`python -m benchmarks.trained`: 32 diffusion models side by side, against torch, in one run.

Prints a table in Markdown: seconds of a generation of one replicate, which is training and then
sampling of as many rows. Ours is `cj.simulate`. Torch trains and samples the same network, with the
same features, steps and sampler, in two ways: one replicate after the other (two are timed), and
all at once with `torch.func.vmap`. It runs on all cores or on one, whichever is faster. Seconds are
medians of several repeats, ours and torch's in turn, without compilation.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

import collapse_jax as cj

REPLICATES, ONE_BY_ONE = 32, 2
STEPS, BATCH, ROWS, SAMPLING_STEPS = 300, 128, 1000, 25
WIDTH, DEPTH, RATE, EMA = 64, 3, 1e-2, 0.99
GOALS = {"one by one": 10.0, "vmap": 1.5}


def ours() -> None:
    """Train and sample all replicates for two generations."""
    task = cj.Diffusion(
        n_samples=ROWS,
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=RATE,
        ema=EMA,
        sampling_steps=SAMPLING_STEPS,
        width=WIDTH,
        depth=DEPTH,
    )
    metrics = ["train_loss", "variance_ratio"]
    cj.simulate(cj.Replace(), task, 2, REPLICATES, metrics=metrics, progress=False)


class Way(NamedTuple):
    """One way to train and sample."""

    run: Callable[[], None]
    generations: int
    """How many of one replicate a run is."""

    def seconds(self) -> float:
        """Of a generation of one replicate."""
        start = time.perf_counter()
        self.run()
        return (time.perf_counter() - start) / self.generations


def table(result: dict[str, Any]) -> str:
    """The comparison as a Markdown table."""
    lines = [
        "| torch | torch, ms | ours, ms | times faster (range) | goal |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['way']} | {row['torch_ms']:.0f} | {row['ours_ms']:.1f} | {row['ratio']:.1f} "
            f"({row['ratio_low']:.1f} to {row['ratio_high']:.1f}) | {row['goal']} |"
        )
    return "\n".join(lines)


def tables(result: dict[str, Any]) -> dict[str, str]:
    """The parts of pages that show the results, by their name."""
    return {
        "trained-machine": f"Measured on {result['machine']}; compiling takes "
        f"{result['compile_s']:.1f} s.",
        "trained": table(result),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trained", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="times that each is run, in turn")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    cj.use_all_cores()
    import torch  # pyright: ignore[reportMissingImports]

    from benchmarks import torch_diffusion

    ways = {
        "ours": Way(ours, 2 * REPLICATES),
        "one by one": Way(torch_diffusion.one_by_one, ONE_BY_ONE),
        "vmap": Way(torch_diffusion.together, REPLICATES),
    }

    def seconds_with(threads: int, way: Way) -> float:
        torch.set_num_threads(threads)
        return way.seconds()

    counts = sorted({1, jax.device_count()})
    threads = {
        name: min(counts, key=lambda count, name=name: seconds_with(count, ways[name]))
        for name in GOALS
    }
    first = ways["ours"].seconds()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            times[name].append(seconds_with(threads.get(name, 1), way))
    mine = statistics.median(times["ours"])
    rows = []
    for name, goal in GOALS.items():
        ratios = [theirs / own for theirs, own in zip(times[name], times["ours"], strict=True)]
        rows.append(
            {
                "way": name,
                "torch_ms": 1e3 * statistics.median(times[name]),
                "ours_ms": 1e3 * mine,
                "ratio": statistics.median(ratios),
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
                "goal": goal,
            }
        )
    device = jax.devices()[0]
    result = {
        "machine": f"{jax.device_count()} x {device.platform} ({device.device_kind}), "
        f"{platform.machine()}, jax {jax.__version__}, torch {torch.__version__}",
        "compile_s": (first - mine) * ways["ours"].generations,
        "rows": rows,
    }
    print("\n\n".join(tables(result).values()))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
