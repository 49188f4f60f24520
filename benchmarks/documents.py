"""Documents of many lengths against torch: one model of 3.4 million parameters, on all cores.

`python -m benchmarks.documents` compares, in one run and in turn, training for some steps, and
sampling, of GPT-2, Llama and Gemma shapes. Torch pads each step to its longest document, and
samples by transformers' `generate`, with its cache. We keep a context of 512 and cut to a width,
with half a step as `micro_batch`. Both start from the same parameters and read the same documents
in the same order; the losses of a step must agree. Processor time counts besides the clock's:
where other programs use the cores, it says more.
"""

import argparse
import functools
import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.model.architecture import Architecture, preset
from collapse_jax.language.model.decoder import Decoder
from collapse_jax.language.model.sampling import sample
from collapse_jax.language.model.training import Optimizer, start_training, train_steps
from collapse_jax.language.weights import huggingface

VOCAB, CONTEXT, BATCH, STEPS = 1024, 512, 16, 6
ROWS, WRITTEN = 64, 96  # of sampling
_SIZES: dict[str, Any] = {"vocab_size": VOCAB, "context": CONTEXT, "width": 256, "heads": 4}
SHAPES: dict[str, Architecture] = {
    "GPT-2": preset("gpt2-9m", **_SIZES, depth=4),
    "Llama": preset("llama2-12m", **_SIZES, depth=4, mlp_width=640),
    "Gemma-2": preset(
        "gemma2-2b",
        **_SIZES | {"depth": 4, "kv_heads": 2, "head_dim": 64, "mlp_width": 768},
        query_scalar=64.0,
        windows=(128, None, 128, None),
    ),
}
SETTINGS = Optimizer(
    1e-3, schedule="constant", warmup=0.0, batch_size=BATCH, micro_batch=BATCH // 2
)
Run = Callable[[], Any]


class Rates(NamedTuple):
    """Tokens per second, of the clock and of all cores' work."""

    clock: float
    work: float


def documents() -> Documents:
    """Documents with lengths as those of texts, mostly short: the median is 48 tokens."""
    draw = np.random.default_rng(0)
    lengths = np.clip(np.exp(draw.normal(np.log(48), 0.6, BATCH * STEPS)), 8, CONTEXT)
    tokens = draw.integers(1, VOCAB, (BATCH * STEPS, CONTEXT))
    return Documents(jnp.asarray(tokens, jnp.int32), jnp.asarray(lengths, jnp.int32))


class Pair(NamedTuple):
    """A model as both libraries have it."""

    graphdef: Any
    params: Any
    torch: Any


def pair(shape: Architecture) -> Pair:
    """A model with random parameters."""
    import transformers  # pyright: ignore[reportMissingImports]

    graphdef, params = nnx.split(Decoder(shape, rngs=nnx.Rngs(0)))
    with tempfile.TemporaryDirectory() as folder:
        huggingface.save(folder, shape, params)
        transformers.logging.disable_progress_bar()
        transformers.logging.set_verbosity_error()
        none = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
        options: dict[str, Any] = none if shape.positions == "learned" else {}
        if shape.attention_cap is not None:
            options["attn_implementation"] = "eager"  # the other one leaves out the cap
        torch = transformers.AutoModelForCausalLM.from_pretrained(folder, **options)
    return Pair(graphdef, params, torch)


def our_training(model: Pair) -> Run:
    """A function that trains for all steps, and returns the mean loss."""
    rows = documents()

    @functools.partial(jax.jit, donate_argnums=0)
    def program(state: Any) -> Any:
        n, key = len(rows.lengths), jax.random.key(0)
        return train_steps(model.graphdef, SETTINGS, state, rows, n, key, STEPS, bos_id=0)

    start = jax.jit(functools.partial(start_training, SETTINGS))
    return lambda: float(program(start(model.params)).loss)


def torch_training(model: Pair) -> Run:
    """The same in torch, each step padded to its longest document."""
    import torch  # pyright: ignore[reportMissingImports]

    begin = {name: value.clone() for name, value in model.torch.state_dict().items()}
    steps = [jax.tree.map(np.asarray, _step(i)) for i in range(STEPS)]

    def run() -> float:
        model.torch.load_state_dict(begin)
        model.torch.train()
        optimizer = torch.optim.AdamW(model.torch.parameters(), 1e-3, weight_decay=0.0)
        nats = tokens = 0.0
        for rows in steps:
            width = int(rows.lengths.max())
            labels = torch.from_numpy(rows.tokens[:, :width].copy()).long()
            inside = torch.arange(width) < torch.from_numpy(rows.lengths.copy())[:, None]
            inputs = torch.nn.functional.pad(labels[:, :-1], (1, 0))
            scores = model.torch(inputs).logits
            wanted = labels.masked_fill(~inside, -100).flatten()
            loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), wanted)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.torch.parameters(), 1.0)
            optimizer.step()
            nats, tokens = nats + loss.item() * inside.sum().item(), tokens + inside.sum().item()
        return nats / tokens

    return run


def _step(step: int) -> Documents:
    """The documents of a step, in the order of our training."""
    from collapse_jax.language.model.training import _batch

    n = jnp.asarray(BATCH * STEPS)
    return _batch(SETTINGS, documents(), n, jax.random.key(0), jnp.asarray(step))  # pyright: ignore


def our_sampling(model: Pair) -> Run:
    """A function that samples rows that do not end early."""

    def run(key: Any) -> Any:
        return sample(model.graphdef, model.params, key, ROWS, WRITTEN, bos_id=0, eos_id=VOCAB)

    program = jax.jit(run)
    return lambda: jax.block_until_ready(program(jax.random.key(0)))


def torch_sampling(model: Pair) -> Run:
    """The same by `generate`."""
    import torch  # pyright: ignore[reportMissingImports]

    begin = torch.zeros((ROWS, 1), dtype=torch.long)
    options = {"do_sample": True, "top_k": 0, "max_new_tokens": WRITTEN, "use_cache": True}
    ends = {"pad_token_id": 0, "eos_token_id": VOCAB}

    @torch.inference_mode()
    def run() -> None:
        model.torch.eval()
        model.torch.generate(begin, attention_mask=torch.ones_like(begin), **options, **ends)

    return run


def timed(run: Run, tokens: float) -> Rates:
    """The rates of a run."""
    clock, work = time.perf_counter(), time.process_time()
    run()
    return Rates(tokens / (time.perf_counter() - clock), tokens / (time.process_time() - work))


RUNS = {
    "training": (our_training, torch_training, float(documents().lengths.sum())),
    "sampling": (our_sampling, torch_sampling, float(ROWS * WRITTEN)),
}
GOALS = {"training": 1.0, "sampling": 2.0}


def compare(task: str, name: str, repeats: int, threads: int) -> dict[str, Any]:
    """One row of the table."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    model = pair(SHAPES[name])
    ours, theirs, tokens = RUNS[task]
    runs = ours(model), theirs(model)
    first, work = time.perf_counter(), time.process_time()
    losses = [runs[0](), 0.0]
    first, work = time.perf_counter() - first, time.process_time() - work
    losses[1] = runs[1]()
    if task == "training" and not np.isclose(*losses, rtol=1e-4):
        raise ValueError(f"losses must agree, got {losses}")
    rates = np.array([[timed(run, tokens) for run in runs] for _ in range(repeats)])
    ratios = rates[:, 0] / rates[:, 1]
    return {
        "task": task,
        "shape": name,
        "parameters": SHAPES[name].n_parameters,
        "first": first,
        "first_work": work,
        "ours": float(np.median(rates[:, 0, 0])),
        "torch": float(np.median(rates[:, 1, 0])),
        "ratio": float(np.median(ratios[:, 0])),
        "ratio_low": float(ratios[:, 0].min()),
        "ratio_high": float(ratios[:, 0].max()),
        "work_ratio": float(np.median(ratios[:, 1])),
        "goal": GOALS[task],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The comparison as a Markdown table."""
    lines = [
        "| task | shape | parameters | torch, tokens/s | ours, tokens/s | times faster (range) "
        "| in processor time | goal | first call, s (of processors) |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['task']} | {row['shape']} | {row['parameters']:,} | {row['torch']:,.0f} "
        f"| {row['ours']:,.0f} | {row['ratio']:.2f} ({row['ratio_low']:.2f} to "
        f"{row['ratio_high']:.2f}) | {row['work_ratio']:.2f} | {row['goal']} | {row['first']:.0f} "
        f"({row['first_work']:.0f}) |"
        for row in rows
    ]
    return "\n".join(lines)


def tables(result: dict[str, Any]) -> dict[str, str]:
    """The parts of pages that show the results, by their name."""
    return {
        "documents-machine": f"Measured on {result['machine']}.",
        "documents": table(result["rows"]),
    }


def main() -> None:
    """Run the benchmark."""
    import torch  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(prog="python -m benchmarks.documents", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs per row")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for task in RUNS:
        for name in SHAPES:
            if options.only in f"{task} {name}":
                rows.append(compare(task, name, options.repeats, options.threads))
                print(table(rows).splitlines()[-1], flush=True)
    result = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, jax {jax.__version__}, "
        f"torch {torch.__version__}",
        "rows": rows,
    }
    print("\n" + "\n\n".join(tables(result).values()))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
