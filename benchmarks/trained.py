"""`python -m benchmarks.trained`: 32 diffusion models side by side, against torch, in one run.

Prints a table in Markdown: seconds of a generation of one replicate, which is training and then
sampling of as many rows. Ours is `cj.simulate`. Torch trains and samples the same network, with the
same features, steps and sampler, in two ways: one replicate after the other (two are timed), and
all at once with `torch.func.vmap`. It runs on all cores or on one, whichever is faster. Seconds are
medians of several repeats, ours and torch's in turn, without compilation.
"""

import argparse
import copy
import itertools
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import torch  # pyright: ignore[reportMissingImports]

import collapse_jax as cj

REPLICATES, ONE_BY_ONE = 32, 2
STEPS, BATCH, ROWS, SAMPLING_STEPS = 300, 128, 1000, 25
WIDTH, DEPTH, RATE, EMA = 64, 3, 1e-2, 0.99
GOALS = {"one by one": 10.0, "vmap": 1.5}
LEAST = math.atan(math.exp(-5.0))
Weights = dict[str, Any]


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


def network() -> Any:
    """The perceptron that the task has, of two columns."""
    sizes = [2 + 1 + 2 * (3 + 2 * 4), *[WIDTH] * DEPTH, 2]
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.SiLU()]
    return torch.nn.Sequential(*layers[:-1])


def velocity(apply: Callable[[Any], Any], z: Any, angles: Any) -> Any:
    """What the network makes of rows `[n, 2]` and their angles, by way of their waves."""
    place = torch.log(torch.tan(angles))[:, None] / 5.0
    turns = math.pi * place * torch.tensor([1.0, 2.0, 4.0])
    waves = torch.cat([turns, *(wave * z for wave in (1.0, 2.0, 4.0, 8.0))], dim=1)
    return apply(torch.cat([z, place, torch.sin(waves), torch.cos(waves)], dim=1))


def loss(apply: Callable[[Any], Any], rows: Any, noise: Any, shift: Any) -> Any:
    """Mean squared error of the velocity at stratified angles."""
    share = (torch.arange(len(rows)) + shift) / len(rows)
    angles = LEAST + share * (math.pi / 2 - 2 * LEAST)
    cos, sin = torch.cos(angles)[:, None], torch.sin(angles)[:, None]
    found = velocity(apply, cos * rows + sin * noise, angles)
    return torch.mean((found - (cos * noise - sin * rows)) ** 2)


def turned(apply: Callable[[Any], Any], z: Any) -> Any:
    """Rows from noise, by the midpoint rule."""
    grid = torch.linspace(math.sqrt(math.pi / 2 - LEAST), math.sqrt(LEAST), SAMPLING_STEPS + 1) ** 2
    for angle, after in itertools.pairwise(grid):
        way = after - angle
        half = z + 0.5 * way * velocity(apply, z, angle.expand(len(z)))
        z = z + way * velocity(apply, half, (angle + 0.5 * way).expand(len(z)))
    return z


def one_by_one() -> None:
    """Train and sample some replicates, one after the other."""
    for _ in range(ONE_BY_ONE):
        data, model = torch.randn(ROWS, 2), network()
        average = copy.deepcopy(model)
        optimizer = torch.optim.Adam(model.parameters(), RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            rows = data[torch.randint(ROWS, (BATCH,))]
            found = loss(model, rows, torch.randn(BATCH, 2), torch.rand(()))
            optimizer.zero_grad()
            found.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                pairs = zip(average.parameters(), model.parameters(), strict=True)
                for mean, new in pairs:
                    mean.lerp_(new, 1.0 - EMA)
        with torch.no_grad():
            turned(average, torch.randn(ROWS, 2))


def together() -> None:
    """Train and sample all replicates at once."""
    made = [network() for _ in range(REPLICATES)]
    weights, _ = torch.func.stack_module_state(made)  # pyright: ignore
    average = {name: value.detach().clone() for name, value in weights.items()}
    base = copy.deepcopy(made[0]).to("meta")

    def applied(weights: Weights) -> Callable[[Any], Any]:
        return lambda x: torch.func.functional_call(base, weights, (x,))

    def loss_of(weights: Weights, rows: Any, noise: Any, shift: Any) -> Any:
        return loss(applied(weights), rows, noise, shift)

    gradients = torch.func.vmap(torch.func.grad(loss_of))
    data = torch.randn(REPLICATES, ROWS, 2)
    optimizer = torch.optim.Adam(weights.values(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        index = torch.randint(ROWS, (REPLICATES, BATCH, 1)).expand(-1, -1, 2)
        noise, shift = torch.randn(REPLICATES, BATCH, 2), torch.rand(REPLICATES)
        found = gradients(weights, data.gather(1, index), noise, shift)
        squares = [torch.sum(g.flatten(1) ** 2, dim=1) for g in found.values()]
        shrunk = torch.clamp(1.0 / torch.sqrt(torch.stack(squares).sum(dim=0)), max=1.0)
        with torch.no_grad():
            for name, value in weights.items():
                scale = shrunk.view(-1, *[1] * (value.ndim - 1))
                value.grad = found[name] * scale
            optimizer.step()
            schedule.step()
            for name, value in weights.items():
                average[name].lerp_(value, 1.0 - EMA)
    with torch.no_grad():
        noise = torch.randn(REPLICATES, ROWS, 2)
        torch.func.vmap(lambda w, z: turned(applied(w), z))(average, noise)


RUNS: dict[str, tuple[Callable[[], None], int]] = {
    "ours": (ours, 2 * REPLICATES),
    "one by one": (one_by_one, ONE_BY_ONE),
    "vmap": (together, REPLICATES),
}
"""Each way, and how many generations of a replicate it runs."""


def seconds(name: str) -> float:
    """Of a generation of one replicate."""
    run, generations = RUNS[name]
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / generations


def set_threads(name: str) -> int:
    """The number of torch's threads with which a run is fastest, which is set."""

    def with_threads(threads: int) -> float:
        torch.set_num_threads(threads)
        return seconds(name)

    best = min({1, jax.device_count()}, key=with_threads)
    torch.set_num_threads(best)
    return best


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
    threads = {name: set_threads(name) for name in GOALS}
    first = seconds("ours")
    times: dict[str, list[float]] = {name: [] for name in RUNS}
    for _ in range(options.repeats):
        for name in RUNS:
            torch.set_num_threads(threads.get(name, 1))
            times[name].append(seconds(name))
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
        "compile_s": (first - mine) * RUNS["ours"][1],
        "rows": rows,
    }
    print("\n\n".join(tables(result).values()))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
