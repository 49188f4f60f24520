"""Generated documents as files that people can read."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from collapse_jax.basics import checks
from collapse_jax.basics.files import make_folder, write_atomically
from collapse_jax.language.corpora.encoding import decode_documents
from collapse_jax.language.tokenizers.base import AbstractTokenizer
from collapse_jax.language.tokenizers.files import FileTokenizer


class SampleWriter:
    """Writes the documents of each generation to a folder; give it to `simulate` as `observe`.

    A file `seed-0-generation-1.jsonl` holds what the first model of seed 0 generated, a document a
    line, in the order in which later generations learn from them. There is none of a seed whose
    training is no longer finite.

    Args:
        folder: where to; it is made if need be.
        tokenizer: of the task.
        special: whether special tokens are written too, as is needed to read chats that a template
            wrote; of tokenizers from files.

    Raises:
        ValueError: where `folder` is a file, or the tokenizer has no special tokens to write.
    """

    def __init__(self, folder: str | Path, tokenizer: AbstractTokenizer, *, special: bool = False):
        if special and not isinstance(tokenizer, FileTokenizer):
            raise ValueError(
                f"special must be False with a {type(tokenizer).__name__}, whose special tokens "
                "have no text"
            )
        self.folder, self.tokenizer = make_folder("samples", folder), tokenizer
        self.how = {"special": True} if special else {}

    def __call__(self, made: Any) -> None:
        documents = [np.asarray(x) for x in made.documents]
        for chain in made.left:
            seed = made.seeds[chain]
            rows = documents[0][chain], documents[1][chain]
            texts = decode_documents(*rows, self.tokenizer, **self.how)
            lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
            path = self.folder / f"seed-{seed}-generation-{made.generation}.jsonl"
            content = "\n".join(lines) + "\n"
            write_atomically(path, lambda name, content=content: _write(name, content))


def with_samples(
    ds: xr.Dataset, folder: str | Path, n: int = 3, *, seed: int | None = None
) -> xr.Dataset:
    """A dataset that has the first documents of each generation, for figures and reports.

    Args:
        ds: of a run whose documents `SampleWriter`, or `--samples`, has written.
        folder: where to.
        n: documents of each generation.
        seed: of which chain. Default the first.

    Returns:
        the same dataset, with the documents as the attribute `samples`.

    Raises:
        ValueError: for a seed that the run lacks, and where documents of a generation are missing.

    Example:
        >>> import collapse_jax as cj
        >>> cj.plot(cj.with_samples(ds, "documents"))  # doctest: +SKIP
    """
    n = checks.whole_number("n", n)
    seeds = ds["seed"].values.tolist()
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise ValueError(f"seed must be one of the run, {seeds}, got {seed}")
    texts: dict[int, list[str]] = {}
    for t in ds["generation"].values.tolist():
        path = Path(folder) / f"seed-{seed}-generation-{t}.jsonl"
        if not path.is_file():
            raise ValueError(f"folder must hold the documents of each generation, and lacks {path}")
        with path.open(encoding="utf-8") as lines:
            texts[t] = [json.loads(line)["text"] for line in itertools.islice(lines, n)]
    kept = json.dumps({"seed": seed, "texts": texts}, ensure_ascii=False)
    return ds.assign_attrs(samples=kept)


def _write(path: str, content: str) -> None:
    Path(path).write_text(content, encoding="utf-8")
