"""Makes curves.json beside this file: training losses of torch, from the committed checkpoints.

`pip install '.[crosscheck]' && python tests/language/make_curves.py`

torch's AdamW, its clipping, and the schedules of transformers train the model that transformers
reads. Ours are only the order of the documents, which is checked elsewhere, and their padding.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.model.training import Optimizer
from collapse_jax.numerics.subsets import permuted

FOLDER = Path(__file__).parent
BOS, EOS, KEY = 3, 5, 11
SETTINGS = {
    # A partial batch at the end of each of two epochs, in the second case with decay.
    "gpt2": Optimizer(1e-3, schedule="cosine", warmup=0.2, batch_size=4, epochs=2),
    "llama": Optimizer(
        1e-3, schedule="constant", warmup=0.3, batch_size=4, epochs=2, weight_decay=0.1, b2=0.95
    ),
    "gemma2": Optimizer(1e-3, schedule="cosine", warmup=0.0, batch_size=4, epochs=2, clip=None),
}


def documents() -> Documents:
    """22 random documents of 1 to 12 tokens of the checkpoints' vocabulary."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(6, 61, (22, 12)).astype(np.int32)
    lengths = generator.integers(1, 13, 22).astype(np.int32)
    for row, length in zip(tokens, lengths, strict=True):
        row[length - 1] = EOS
    return Documents(tokens, lengths)


def order(settings: Optimizer, n: int) -> list[list[int]]:
    """The rows of each batch."""
    batches = []
    for epoch in range(settings.epochs):
        key = jax.random.fold_in(jax.random.key(KEY), epoch)
        rows = permuted(key, n, jnp.arange(n)).tolist()
        batches += [rows[i : i + settings.batch_size] for i in range(0, n, settings.batch_size)]
    return batches


def torch_curve(family: str) -> list[float]:
    """The mean loss per token of each batch, before its step."""
    import torch
    import transformers

    settings, (tokens, lengths) = SETTINGS[family], documents()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        FOLDER / "checkpoints" / family, attn_implementation="eager"
    )
    model = model.float().eval()  # dropout is off
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=(settings.b1, settings.b2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )
    batches = order(settings, len(tokens))
    kinds = {"cosine": "cosine", "constant": "constant_with_warmup"}
    schedule = transformers.get_scheduler(
        kinds[settings.schedule],
        optimizer,
        num_warmup_steps=int(np.ceil(settings.warmup * len(batches))),
        num_training_steps=len(batches),
    )
    losses = []
    for rows in batches:
        ids = torch.from_numpy(np.pad(tokens[rows], [(0, 0), (1, 0)], constant_values=BOS)).long()
        labels = ids.clone()
        labels[:, 0] = -100
        labels[:, 1:][torch.arange(12) >= torch.from_numpy(lengths[rows])[:, None]] = -100
        scores = model(ids[:, :-1]).logits.flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(scores, labels[:, 1:].flatten())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        schedule.step()
    return losses


if __name__ == "__main__":
    curves = {family: torch_curve(family) for family in SETTINGS}
    (FOLDER / "curves.json").write_text(json.dumps(curves, indent=1))
