"""Masks of batches as a dataset carries them, and back."""

from typing import Any

import numpy as np
import numpy.typing as npt

from collapse_jax.loop.inclusion.masks import Mask
from collapse_jax.records.values import read_value, write_value


def describe_mask(mask: Mask) -> dict[str, Any]:
    """A mask as JSON can hold it: a large one by its fingerprint."""
    if len(mask.values) == 1:
        return {"seeds": None, "mask": write_value("include", mask.values[0])}
    return {"seeds": mask.seeds.tolist(), "mask": write_value("include", mask.values)}


def rebuild_mask(
    written: dict[str, Any] | None, seeds: list[int] | None = None
) -> npt.NDArray[np.bool_] | None:
    """What `include` was, for some seeds of the run, or for all as one where they do not differ.

    Raises:
        ValueError: if it was too large to be kept, or is not what was written.
    """
    if written is None:
        return None
    try:
        mask, of = read_value(written["mask"]), written["seeds"]
        if of is None:
            return mask
        place = {seed: row for row, seed in enumerate(of)}
        return mask[[place[seed] for seed in (of if seeds is None else seeds)]]
    except (IndexError, KeyError, TypeError):
        raise ValueError(
            f"include must be a mask of the run's seeds, got {written!r:.80}"
        ) from None
