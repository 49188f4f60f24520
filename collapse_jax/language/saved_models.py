"""Trained models as checkpoints on disk."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from collapse_jax.basics.files import make_folder
from collapse_jax.language.task import LanguageModel


class ModelWriter:
    """Keeps the newest model of each seed in a folder; give it to `simulate` as `observe`.

    A folder `seed-0-generation-3` in it is a checkpoint, which transformers reads, and
    `LanguageModel.from_pretrained`. That of the generation before goes when it is whole.

    Args:
        folder: where to; it is made if need be.
        task: the task of the run.

    Raises:
        ValueError: where `folder` is a file.
    """

    def __init__(self, folder: str | Path, task: LanguageModel):
        self.folder, self.task = make_folder("models", folder), task

    def __call__(self, made: Any) -> None:
        for seed in np.unique(made.seeds).tolist():
            start, generation = f"seed-{seed}-generation-", made.generation
            self.task.save_pretrained(self.folder / f"{start}{generation}", made, seed=seed)
            for old in self.folder.glob(f"{start}*"):
                number = old.name.removeprefix(start)
                if number.isdigit() and int(number) < generation:
                    shutil.rmtree(old, ignore_errors=True)
