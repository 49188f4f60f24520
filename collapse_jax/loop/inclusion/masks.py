"""Masks of batches on the host: what users give, checked, and what follows from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from collapse_jax.loop.form import Form
from collapse_jax.loop.plan import Plan
from collapse_jax.tasks.base import AbstractTask

Include = npt.ArrayLike | Callable[[int, int], bool]
"""Truth values, or a function of a generation, from 1, and a batch: 0 what is real, b what model b
made."""
_MOST_ROWS = 2**31


@dataclass(frozen=True, eq=False)
class Mask:
    """Which batches each model is fitted to, of those that are kept."""

    values: npt.NDArray[np.bool_]
    """`[seed, generation, batch]`; with one seed for all where they do not differ."""
    seeds: npt.NDArray[np.uint32]
    """Those of the run. `[seed]`"""

    def of(self, seeds: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Those of some seeds of the run. `[seed, generation, batch]`"""
        if len(self.values) == 1:
            return np.broadcast_to(self.values, (len(seeds), *self.values.shape[1:]))
        order = np.argsort(self.seeds)
        return self.values[order[np.searchsorted(self.seeds, seeds, sorter=order)]]

    def slots(
        self, plan: Plan, form: Form, seeds: npt.NDArray[np.uint32], first: int, steps: int
    ) -> npt.NDArray[np.bool_]:
        """The same by the slots of the pool, for generations `first`, `first + 1`, ...

        Beyond the last generation it is repeated. `[seed, steps, slot]`
        """
        index = np.minimum(np.arange(first - 1, first - 1 + steps), plan.n_generations - 1)
        batch = np.zeros((steps, form.slots), np.int64)
        for row, i in enumerate(index.tolist()):
            made = np.arange(i - int(plan.synthetic_batches[i]), i)
            batch[row, form.real.slots + made % form.synthetic.slots] = made + 1
        values = self.values if len(self.values) == 1 else self.of(seeds)
        found = np.take_along_axis(values[:, index], batch[None], axis=2)
        return np.broadcast_to(found, (len(seeds), *found.shape[1:]))


def read_mask(include: Any, n_generations: int, seeds: npt.NDArray[np.uint32]) -> Mask:
    """The mask that a user gave, as an array or as a rule.

    Raises:
        ValueError: for another shape (`TypeError` for what holds no truth values).
    """
    n = n_generations
    if callable(include):
        values = np.zeros((1, n, n), bool)
        for t in range(1, n + 1):
            for batch in range(t):
                values[0, t - 1, batch] = _truth(include(t, batch), t, batch)
        return Mask(values, seeds)
    try:
        array = np.asarray(include)
    except ValueError as error:
        raise ValueError(f"include must be one array, got {error}") from None
    if array.dtype != bool:
        raise TypeError(
            "include must hold True and False, or be a function of generation and batch to "
            f"these, got {type(include).__name__} of {array.dtype}"
        )
    wanted = f"({len(seeds)}, {n}, {n}) or ({n}, {n})"
    if array.ndim not in (2, 3) or min(array.shape[-2:]) < n:
        raise ValueError(
            f"include must be [seed, generation, batch] or [generation, batch], {wanted} or more "
            f"of the last two, got {array.shape}"
        )
    if array.ndim == 3 and len(array) != len(seeds):
        raise ValueError(f"include must have one mask for each seed, {wanted}, got {array.shape}")
    return Mask(array if array.ndim == 3 else array[None], seeds)


def _truth(value: Any, t: int, batch: int) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(
            f"include must return True or False, got {value!r} for generation {t}, batch {batch}"
        )
    return bool(value)


def checked_mask(
    include: Include | None,
    plan: Plan,
    seeds: npt.NDArray[np.uint32],
    task: AbstractTask,
    several: bool,
    staged: bool,
) -> Mask | None:
    """The mask of a run, None where there is none.

    Raises:
        ValueError: if a fit would have nothing or too little, and where masks are not known: in an
            ecosystem, and stage by stage. See also `read_mask`.
    """
    if include is None:
        return None
    if several:
        raise ValueError("include must be None with an Ecosystem, whose models share batches")
    if staged:
        raise ValueError(
            f"include must be None where a {type(task).__name__} is run stage by stage, and not in "
            "one program"
        )
    mask = read_mask(include, plan.n_generations, seeds)
    _check_mask(mask, plan, task)
    return mask


def _check_mask(mask: Mask, plan: Plan, task: AbstractTask) -> None:
    """Check that each model is fitted to something.

    Raises:
        ValueError: if all batches of a generation are masked, or those that are not have fewer rows
            than a fit needs, or there are 2**31 rows or more.
    """
    if plan.size.max() >= _MOST_ROWS:
        raise ValueError(
            f"include must be None where 2**31 rows or more are kept, got {plan.size.max()}"
        )
    empty = np.argwhere(np.sum(included_rows(mask, plan), axis=0) == 0)
    if len(empty):
        row, i = empty[0].tolist()
        seed = _whose(mask, row)
        kept = [0] if plan.real_batches[i] else []
        kept += range(i - int(plan.synthetic_batches[i]) + 1, i + 1)
        raise ValueError(
            f"include must leave each fit a batch, and of {seed} it has none of the batches {kept} "
            f"that generation {i + 1} keeps"
        )
    rows = included_sizes(mask, plan)["n_train"]
    few = np.argwhere(rows < task.fewest_rows)
    if len(few):
        row, i = few[0].tolist()
        raise ValueError(
            f"include must leave each fit of this {type(task).__name__} {task.fewest_rows} rows or "
            f"more, and of {_whose(mask, row)} generation {i + 1} has {rows[row, i]}"
        )


def _whose(mask: Mask, row: int) -> str:
    return "all seeds" if len(mask.values) == 1 else f"seed {mask.seeds[row]}"


def included_rows(mask: Mask, plan: Plan) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Real rows and generated rows that a fit may use, each `[seed, generation]`."""
    n = plan.n_generations
    real = plan.real_size * mask.values[:, :n, 0]
    synthetic = np.zeros(real.shape, np.int64)
    for i in range(n):
        made = slice(i - int(plan.synthetic_batches[i]), i)
        used = mask.values[:, i, made.start + 1 : i + 1]
        synthetic[:, i] = used @ plan.synthetic_rows[made]
    return real, synthetic


def included_sizes(mask: Mask, plan: Plan) -> dict[str, npt.NDArray[Any]]:
    """See `plan.host_sizes`; each `[seed, generation]`."""
    real, synthetic = included_rows(mask, plan)
    if plan.fit_rows is None:
        return {"n_train": real + synthetic, "real_fraction": real / (real + synthetic)}
    drawn = np.broadcast_to(plan.fit_rows, real.shape)
    return {"n_train": drawn if plan.with_replacement else np.minimum(drawn, real + synthetic)}
