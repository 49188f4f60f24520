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
        ValueError: if it was too large to be kept.
    """
    if written is None:
        return None
    mask = read_value(written["mask"])
    if written["seeds"] is None:
        return mask
    place = {seed: row for row, seed in enumerate(written["seeds"])}
    return mask[[place[seed] for seed in (written["seeds"] if seeds is None else seeds)]]
