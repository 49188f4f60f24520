"""`python -m benchmarks.language`: language models against the same model in torch, in one run.

Prints a table in Markdown: sampling, and training of 8 replicates, of small GPT-2 models. Ours is
one program for all replicates, split over one device per core. Torch runs transformers' model, one
replicate after the other (two of them are timed), with its cache in sampling, on all cores or on
one, whichever is faster: where other programs use the cores too, its threads wait for each other.
Both read rows of equal length, and no document ends early, so that they do the same work. Rates are
medians of several repeats, ours and torch's in turn. The share of the limit is that of the float32
operations of the model's matrix products, per second, in those of one large product on all cores.
"""

import argparse
import functools
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import PartitionSpec

import collapse_jax as cj
from benchmarks.limits import products_per_second
from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Decoder
from collapse_jax.language.model.sampling import sample
from collapse_jax.language.model.training import STATE_AXES, Optimizer, start_training, train_steps
from collapse_jax.language.weights import huggingface
from collapse_jax.machines.devices import AXIS, seed_mesh

REPLICATES, TORCH_REPLICATES = 8, 2
TIME = 32
BATCH, STEPS = 16, 20  # of training
ROWS = 128  # of sampling, of each replicate
SIZES = {
    "0.1M": Architecture(vocab_size=128, context=TIME, width=64, depth=2, heads=4),
    "0.5M": Architecture(vocab_size=128, context=TIME, width=128, depth=2, heads=4),
}
GOALS = {
    ("sampling", "0.1M"): 3.0,
    ("sampling", "0.5M"): 2.0,
    ("training", "0.1M"): 1.5,
    ("training", "0.5M"): 0.9,
}
NEVER = SIZES["0.1M"].vocab_size  # no token has this id, so that no document ends early
SETTINGS = Optimizer(1e-3, batch_size=BATCH)
Run = Callable[[], Any]


@dataclass(frozen=True)
class Model:
    """A model of one size, as both libraries have it."""

    architecture: Architecture

    @functools.cached_property
    def split(self) -> Any:
        """The graph, and the parameters of one replicate."""
        return nnx.split(Decoder(self.architecture, rngs=nnx.Rngs(0)))

    @functools.cached_property
    def replicates(self) -> Any:
        """Parameters with a leading axis of replicates."""
        stack = functools.partial(jnp.stack, axis=0)
        return jax.tree.map(lambda x: stack([x] * REPLICATES), self.split[1])

    @functools.cached_property
    def torch(self) -> Any:
        """The same model in transformers, or None where torch is not installed."""
        try:
            import torch  # pyright: ignore[reportMissingImports]
            import transformers  # pyright: ignore[reportMissingImports]
        except ImportError:
            return None
        del torch
        with tempfile.TemporaryDirectory() as folder:
            huggingface.save(folder, self.architecture, self.split[1])
            config = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
            transformers.logging.disable_progress_bar()
            return transformers.AutoModelForCausalLM.from_pretrained(folder, **config)

    def operations(self, task: str) -> float:
        """Float32 operations of matrix products per token: two per weight, thrice in training."""
        positions = self.architecture.context * self.architecture.width
        weights = self.architecture.n_parameters - positions
        return 2.0 * weights * (3.0 if task == "training" else 1.0)


def our_sampling(model: Model) -> Run:
    """A function that samples `ROWS` documents from each replicate."""
    graphdef = model.split[0]

    def run(params: Any, key: Any) -> Any:
        return sample(graphdef, params, key, ROWS, TIME, bos_id=0, eos_id=NEVER)

    program = jax.jit(_split(jax.vmap(run), (PartitionSpec(AXIS),) * 2, PartitionSpec(AXIS)))
    keys = jax.random.split(jax.random.key(0), REPLICATES)
    return lambda: jax.block_until_ready(program(model.replicates, keys))


def our_training(model: Model) -> Run:
    """A function that trains all replicates for `STEPS` steps."""
    documents = _documents()

    def run(params: Any, key: Any) -> Any:
        state = start_training(SETTINGS, params)
        n = len(documents.lengths)
        state = train_steps(model.split[0], SETTINGS, state, documents, n, key, STEPS, bos_id=0)
        return state

    axes = STATE_AXES
    specs = jax.tree.map(
        lambda axis: PartitionSpec() if axis is None else PartitionSpec(AXIS),
        axes,
        is_leaf=lambda axis: axis is None,
    )
    program = jax.jit(_split(jax.vmap(run, out_axes=axes), (PartitionSpec(AXIS),) * 2, specs))
    keys = jax.random.split(jax.random.key(0), REPLICATES)
    return lambda: jax.block_until_ready(program(model.replicates, keys))


def torch_sampling(model: Model) -> Run:
    """The same from torch, with one cache for the rows of a replicate."""
    import torch  # pyright: ignore[reportMissingImports]

    @torch.inference_mode()
    def run() -> None:
        for _ in range(TORCH_REPLICATES):
            token, cache = torch.zeros((ROWS, 1), dtype=torch.long), None
            for _ in range(TIME):
                output = model.torch(token, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                token = torch.multinomial(torch.softmax(output.logits[:, -1], dim=-1), 1)

    return run


def torch_training(model: Model) -> Run:
    """The same from torch, a replicate after the other."""
    import torch  # pyright: ignore[reportMissingImports]

    tokens = torch.from_numpy(np.array(_documents().tokens)).long()
    inputs = torch.nn.functional.pad(tokens[:, :-1], (1, 0))

    def run() -> None:
        for _ in range(TORCH_REPLICATES):
            optimizer = torch.optim.AdamW(model.torch.parameters(), 1e-3, weight_decay=0.0)
            rows = torch.randperm(len(tokens)).split(BATCH)
            for batch in rows[:STEPS]:
                scores = model.torch(inputs[batch]).logits.flatten(0, 1)
                loss = torch.nn.functional.cross_entropy(scores, tokens[batch].flatten())
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.torch.parameters(), 1.0)
                optimizer.step()

    return run


def _documents() -> Documents:
    tokens = np.random.default_rng(0).integers(0, NEVER, (BATCH * STEPS, TIME)).astype(np.int32)
    return Documents(jnp.asarray(tokens), jnp.full(len(tokens), TIME, jnp.int32))


def _split(function: Any, in_specs: Any, out_specs: Any) -> Any:
    return jax.shard_map(
        function, mesh=seed_mesh(None), in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


RUNS = {
    "sampling": (our_sampling, torch_sampling, ROWS * TIME),
    "training": (our_training, torch_training, BATCH * STEPS * TIME),
}


def compare(task: str, size: str, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    model = Model(SIZES[size])
    ours, theirs, tokens = RUNS[task]
    runs = [ours(model)]
    if model.torch is not None:
        runs.append(_on_best_threads(theirs(model)))
    work = (tokens * REPLICATES, tokens * TORCH_REPLICATES)[: len(runs)]
    rates = np.array(
        [[n / _seconds(run) for n, run in zip(work, runs, strict=True)] for _ in range(repeats + 1)]
    )[1:]  # compilation is in the first
    rate = float(np.median(rates[:, 0]))
    row = {
        "task": task,
        "parameters": model.architecture.n_parameters,
        "ours": rate,
        "share_of_limit": rate * model.operations(task) / (2.0 * products_per_second()),
        "goal": GOALS[task, size],
    }
    if len(runs) == 2:
        ratios = rates[:, 0] / rates[:, 1]
        row |= {
            "torch": float(np.median(rates[:, 1])),
            "ratio": float(np.median(ratios)),
            "ratio_low": float(ratios.min()),
            "ratio_high": float(ratios.max()),
        }
    return row


def _on_best_threads(run: Run) -> Run:
    """Set torch to the number of threads with which the run is fastest."""
    import torch  # pyright: ignore[reportMissingImports]

    run()  # the first run is slower

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        return _seconds(run)

    torch.set_num_threads(min({1, jax.device_count()}, key=seconds))
    return run


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def table(rows: list[dict[str, Any]]) -> str:
    """The comparison as a Markdown table."""
    lines = [
        "| task | parameters | torch, tokens/s | ours, tokens/s | times faster (range) | goal "
        "| share of the limit |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        ratio, torch = "torch is not installed", "-"
        if "ratio" in row:
            ratio = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
            torch = f"{row['torch']:,.0f}"
        lines.append(
            f"| {row['task']} | {row['parameters']:,} | {torch} | {row['ours']:,.0f} | {ratio} "
            f"| {row['goal']} | {row['share_of_limit']:.0%} |"
        )
    return "\n".join(lines)


def tables(result: dict[str, Any]) -> dict[str, str]:
    """The parts of pages that show the results, by their name."""
    return {
        "language-machine": f"Measured on {result['machine']}, where a large matrix product runs "
        f"at {result['gflops']:.0f} GFLOP/s.",
        "language": table(result["rows"]),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs per row")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    cj.use_all_cores()
    limit = products_per_second()
    device = jax.devices()[0]
    result = {
        "machine": f"{jax.device_count()} x {device.platform} ({device.device_kind}), "
        f"{platform.machine()}, jax {jax.__version__}",
        "gflops": 2e-9 * limit,
    }
    rows = []
    for task, size in GOALS:
        if options.only in f"{task} {size}":
            rows.append(compare(task, size, options.repeats))
            print(table(rows).splitlines()[-1], flush=True)
    result["rows"] = rows
    print("\n" + "\n\n".join(tables(result).values()))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
