"""Trained models as checkpoints on disk."""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from collapse_jax.basics.files import make_folder
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Params
from collapse_jax.language.task import LanguageModel
from collapse_jax.language.weights import adapters

_NAME = re.compile(r"seed-(\d+)-generation-(\d+)")
_LAST = "config.json", adapters.CONFIG  # written last


class SavedModel(NamedTuple):
    """A model that a run has kept."""

    seed: int
    generation: int
    folder: Path
    """Its checkpoint, as transformers reads it; with `lora` the changes, as PEFT reads them."""
    architecture: Architecture
    params: Params
    """Arrays on the host, all of them: changes are added to what they change."""


def models(folder: str | Path, *, param_dtype: Any = "float32") -> dict[int, SavedModel]:
    """The newest model of each seed that a run has kept, with `--save-models` or `ModelWriter`.

    Args:
        folder: where the run kept them.
        param_dtype: type of the parameters: float32, bfloat16 or float16.

    Returns:
        models by seed, in ascending order.

    Raises:
        ValueError: if the folder is not there or has no models, and for damaged checkpoints.

    Example:
        >>> import collapse_jax as cj
        >>> kept = cj.models("models")  # doctest: +SKIP
        >>> kept[0].generation, kept[0].params  # doctest: +SKIP
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"folder must be one in which a run has kept models, got {str(folder)!r}")
    newest: dict[int, tuple[int, Path]] = {}
    for path in folder.iterdir():
        if (name := _NAME.fullmatch(path.name)) and path.is_dir():
            seed, generation = int(name[1]), int(name[2])
            if any((path / file).exists() for file in _LAST):
                newest[seed] = max(newest.get(seed, (0, path)), (generation, path))
    if not newest:
        raise ValueError(
            f"folder must hold models, seed-0-generation-3 and so on, got {str(folder)!r}"
        )
    return {
        seed: SavedModel(seed, generation, path, *adapters.load(path, param_dtype=param_dtype))
        for seed, (generation, path) in sorted(newest.items())
    }


class ModelWriter:
    """Keeps the newest model of each seed in a folder; give it to `simulate` as `observe`.

    A folder `seed-0-generation-3` in it is a checkpoint, which transformers reads, and
    `LanguageModel.from_pretrained`; with `lora` it has the changes alone, as PEFT reads them,
    unless the checkpoint that they change has itself such changes. When it is whole, that of the
    generation before goes. A model whose training is no longer finite is not kept.

    Args:
        folder: where to; it is made if need be.
        task: the task of the run.

    Raises:
        ValueError: where `folder` is a file.
    """

    def __init__(self, folder: str | Path, task: LanguageModel):
        self.folder, self.task = make_folder("models", folder), task
        base = task.checkpoint
        self.merged = task.lora is None or base is None or adapters.changes_another(base)

    def __call__(self, made: Any) -> None:
        for seed in np.unique(made.seeds[made.left]).tolist():
            start, generation = f"seed-{seed}-generation-", made.generation
            path = self.folder / f"{start}{generation}"
            self.task.save_pretrained(path, made, seed=seed, merged=self.merged)
            for old in self.folder.glob(f"{start}*"):
                number = old.name.removeprefix(start)
                if number.isdigit() and int(number) < generation:
                    shutil.rmtree(old, ignore_errors=True)
