"""What is measured of the chains of a run, and the dataset that it becomes."""

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from collapse_jax.machines import hosts
from collapse_jax.records.labels import label, provenance
from collapse_jax.tasks import AbstractTask
from collapse_jax.tasks.parts.comparison import Features, in_user_units
from collapse_jax.tasks.trained import FAILED


class Results:
    """What is measured of the chains of a run, each metric `[seed, generation, ...]`.

    Args:
        names: the metrics.
        own: seeds of the chains that this process runs.
        n_seeds: number of chains of all processes together.
        shape: of one chain's values: the generations, and perhaps models.
        together: whether all processes run all chains.
    """

    def __init__(
        self,
        names: Sequence[str],
        own: np.ndarray,
        n_seeds: int,
        shape: tuple[int, ...],
        together: bool,
    ):
        self.own = {name: np.empty((len(own), *shape), np.float32) for name in names}
        self._seeds = own
        self._place = {seed: row for row, seed in enumerate(own.tolist())}
        self._n_seeds, self._alone = n_seeds, together or jax.process_count() == 1
        several = (n_seeds, *shape)
        self.all = self.own
        if not self._alone:
            self.all = {name: np.empty(several, np.float32) for name in names}

    def put(self, seeds: np.ndarray, found: dict[str, np.ndarray], first: int) -> None:
        """Keep the metrics of some chains in the generations after `first`."""
        rows = self._rows(seeds)
        for name, values in self.own.items():
            values[rows, first : first + found[name].shape[1]] = found[name]

    def _rows(self, seeds: np.ndarray) -> slice | list[int]:
        """Where these chains are; a slice, if they are one, for it is copied much faster."""
        start = self._place[seeds[0].item()]
        if np.array_equal(self._seeds[start : start + len(seeds)], seeds):
            return slice(start, start + len(seeds))
        return [self._place[seed] for seed in seeds.tolist()]

    def share(self, first: int, last: int) -> None:
        """Let all processes have those of generations `first + 1` to `last`."""
        if self._alone:
            return
        for name, values in self.own.items():
            part = np.ascontiguousarray(values[:, first:last])
            self.all[name][:, first:last] = hosts.gather(part, self._n_seeds)


@dataclass(frozen=True)
class Labels:
    """How what is measured becomes the dataset that users see."""

    task: AbstractTask
    features: Features | None
    names: tuple[str, ...]
    """The variables."""
    sizes: Mapping[str, np.ndarray]
    """Those of them that the plan knows. `[generation]`, or `[seed, generation]`"""
    seeds: np.ndarray
    config: Mapping[str, Any]
    workflow: str
    """What the loop is called."""
    n_models: int
    mesh: Mesh
    started: float = field(default_factory=time.perf_counter)

    def of(self, values: Mapping[str, np.ndarray], n: int, **further: str) -> xr.Dataset:
        """The first `n` generations, with further attributes."""
        shape = (len(self.seeds), n)
        found = {name: array[:, :n] for name, array in values.items()}
        found = in_user_units(self.task, self.features, found)
        found |= {
            name: np.broadcast_to(column[..., :n], shape) for name, column in self.sizes.items()
        }
        chosen = {name: found[name] for name in self.names}
        attributes = self.attributes(n, **further)
        return label(self.task, chosen, self.seeds, attributes, n_models=self.n_models)

    def attributes(self, n: int, **further: str) -> dict[str, Any]:
        """What a dataset of so many generations says of itself."""
        return {
            **provenance({**self.config, "n_generations": n}, self.mesh),
            "workflow": self.workflow,
            "wall_seconds": time.perf_counter() - self.started,
            **further,
        }

    def part(self, rows: slice) -> "Labels":
        """Those of some of the chains."""
        sizes = {n: column[rows] if column.ndim > 1 else column for n, column in self.sizes.items()}
        return replace(self, seeds=self.seeds[rows], sizes=sizes)

    def of_ones(self) -> xr.Dataset:
        """A dataset of one generation, before there is any."""
        ones = np.ones((len(self.seeds), 1))
        return self.of(dict.fromkeys(self.names, ones), 1)


def warn_of_failures(failed: np.ndarray | None, n: int, seeds: Sequence[int], level: int) -> None:
    """Say where training met losses that are no finite numbers: steps `[seed, generation, ...]`."""
    if failed is None:
        return
    found = np.argwhere(failed[:, :n] > 0.0)
    if len(found):
        chain, t, *model = found[0].tolist()
        of_model = f", model {model[0]}," if model else ""
        warnings.warn(
            f"training of seed {seeds[chain]}{of_model} in generation {t + 1} left out step "
            f"{failed[tuple(found[0])]:.0f}, whose loss or slope was no finite number; {FAILED}, "
            f"where it is among the metrics, says where else, in {len(found)} fits in all",
            stacklevel=level,
        )
