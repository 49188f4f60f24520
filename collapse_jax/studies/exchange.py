"""What generated rows are worth beside real ones: models fitted to so many of each."""

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from collapse_jax.basics import checks
from collapse_jax.loop.workflow import Real, Synthetic, Workflow
from collapse_jax.run.arguments import check_instance, checked_seeds
from collapse_jax.run.simulation import simulate
from collapse_jax.tasks import AbstractTask
from collapse_jax.theory.expectation import expected

Numbers: TypeAlias = npt.NDArray[np.float64]


def worth(
    task: AbstractTask,
    n_real: Sequence[int],
    n_synthetic: Sequence[int],
    seeds: int | Sequence[int],
    *,
    metric: str,
    generator: int | None = None,
) -> xr.Dataset:
    """The loss of models of so many real and so many generated rows, and what the latter are worth.

    Each cell is a loop of two generations: model 1 generates the rows that model 2 is fitted to
    beside its real ones. Its seeds are those of all others, so that cells differ by their sizes
    alone. `equivalent` is the number of real rows that do as well without any others, interpolated
    between the losses of `n_synthetic=0` on logarithmic scales; NaN beyond them.

    Args:
        task: what is learned, any task that `simulate` runs.
        n_real: numbers of real rows, zero or more.
        n_synthetic: numbers of generated rows, zero among them.
        seeds: as for `simulate`.
        metric: one of the task's that is positive and falls with more rows.
        generator: real rows that model 1 is fitted to, which model 2 does not see. None fits it to
            the very rows that model 2 sees, so that there is nothing new in what it generates.

    Returns:
        Over `n_real` and `n_synthetic`: the mean of the metric over chains, its standard `error`,
        what theory has for it (`expected`, with its `kind` in each cell's `known`), `equivalent`,
        and `exchange`, how many generated rows one real row is worth: infinite where they do not
        help at all. Cells without any rows, or without a generator, are NaN.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        arXiv 2410.16713, section 4 (grids of language models); the rest is ours.

    Example:
        >>> import collapse_jax as cj
        >>> found = cj.worth(
        ...     cj.Gaussian(dim=1), [10, 20, 40], [0, 20], 500, metric="squared_error_mean",
        ...     generator=100,
        ... )
        >>> print(found.exchange.sel(n_real=10, n_synthetic=20).values.round(1))
        1.2
    """
    check_instance("task", task, AbstractTask)
    sizes = {
        "n_real": _checked("n_real", n_real),
        "n_synthetic": _checked("n_synthetic", n_synthetic),
    }
    if 0 not in sizes["n_synthetic"]:
        raise ValueError(f"n_synthetic must have 0 among its numbers, got {list(n_synthetic)}")
    if sum(r > 0 for r in sizes["n_real"]) < 2:
        raise ValueError(f"n_real must have two positive numbers or more, got {list(n_real)}")
    if generator is not None:
        checks.whole_number("generator", generator)
    checks.one_of("metric", metric, task.variables)
    chains = checked_seeds(seeds).tolist()
    shape = tuple(map(len, sizes.values()))
    mean, error, known = (np.full(shape, np.nan) for _ in range(3))
    kinds = np.full(shape, "", object)
    for i, r in enumerate(sizes["n_real"]):
        for j, s in enumerate(sizes["n_synthetic"]):
            if (cell := _cell(r, s, generator)) is None:
                continue
            loop, last = cell
            ds = simulate(loop, task, last, chains, metrics=[metric], progress=False)
            values = ds[metric].values[:, -1].astype(np.float64)
            mean[i, j] = values.mean()
            error[i, j] = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            theory = expected(loop, task, last)
            if metric in theory:
                known[i, j] = theory[metric].values[-1]
                kinds[i, j] = theory[metric].attrs["kind"]
    equivalent = _equivalent(mean, *sizes.values())
    exchange = _exchange(mean, equivalent, *sizes.values())
    units = task.variables[metric].units
    dims = tuple(sizes)
    text = {
        "equivalent": ("real rows alone that do as well", "rows"),
        "exchange": ("generated rows that one real row is worth", "rows"),
    }
    found: dict[str, Any] = {
        metric: (dims, mean, task.variables[metric]._asdict()),
        "error": (dims, error, {"long_name": f"standard error of {metric}", "units": units}),
        "expected": (dims, known, {"long_name": f"theory of {metric}", "units": units}),
        "known": (dims, kinds.astype(str), {"long_name": "kind of theory"}),
    }
    for name, values in (("equivalent", equivalent), ("exchange", exchange)):
        found[name] = (dims, values, dict(zip(("long_name", "units"), text[name], strict=True)))
    return xr.Dataset(found, coords=sizes, attrs={"generator": generator or "the same rows"})


def _cell(r: int, s: int, generator: int | None) -> tuple[Workflow, int] | None:
    """The loop of a cell, and its generations; None where there is none."""
    if s == 0:
        return (Workflow(Real(n=r)), 1) if r else None
    if generator is None:
        return (Workflow(Real(n=r, keep=None), Synthetic(n=s)), 2) if r else None
    if r == 0:
        return Workflow(Real(n=generator), Synthetic(n=s)), 2
    return Workflow(Real(n=(generator, r), every=True), Synthetic(n=s)), 2


def _equivalent(loss: Numbers, n_real: list[int], n_synthetic: list[int]) -> Numbers:
    """How many real rows alone have these losses."""
    alone = loss[:, n_synthetic.index(0)]
    usable = (np.array(n_real) > 0) & (alone > 0)
    if usable.sum() < 2:
        raise ValueError(
            f"metric must be positive for two numbers of real rows or more, got {alone.round(6)}"
        )
    x, y = np.log(np.array(n_real, float)[usable]), np.log(alone[usable])
    if np.any(np.diff(y) >= 0):
        warnings.warn(
            "the loss of real rows alone does not fall with their number; more seeds or other "
            "sizes make `equivalent` and `exchange` clear",
            stacklevel=3,
        )
        y = np.minimum.accumulate(y)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.interp(-np.log(loss), -y, x, left=np.nan, right=np.nan)
    return np.exp(found)


def _exchange(
    loss: Numbers, equivalent: Numbers, n_real: list[int], n_synthetic: list[int]
) -> Numbers:
    """How many generated rows do what one real row more does."""
    alone = n_synthetic.index(0)
    more = equivalent - np.array(n_real, float)[:, None]
    rows = np.broadcast_to(np.array(n_synthetic, float), loss.shape)
    found = np.divide(rows, more, out=np.full(loss.shape, np.nan), where=more > 0)
    found[loss >= loss[:, [alone]]] = np.inf
    found[:, alone] = np.nan
    return found


def _checked(name: str, values: Any) -> list[int]:
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray | range):
        raise TypeError(f"{name} must be a sequence of numbers of rows, got {values!r}")
    found = [checks.whole_number(name, value, minimum=0) for value in values]
    if len(set(found)) < len(found):
        raise ValueError(f"{name} must be distinct numbers, got {found}")
    return sorted(found)
