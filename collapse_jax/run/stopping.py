"""When to stop: rules that look at a dataset after each generation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from collapse_jax.basics import checks

Rule = Callable[[xr.Dataset], bool]
"""What is given a run so far, as `simulate` would return it, and says whether it may stop there."""


@dataclass(frozen=True)
class _Bound:
    """A bound on a metric in one generation, of all chains together.

    Args:
        metric: a variable of the run.
        limit: the bound, which itself does not count.
        share: the share of chains that must be beyond it, above 0 and up to 1; None for the mean
            over chains to be, of those that have a value.

    Raises:
        ValueError: for arguments outside their range (`TypeError` for those of another type).
    """

    metric: str
    limit: float
    share: float | None = None
    sign: ClassVar[str]
    _beyond: ClassVar[np.ufunc]

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str):
            raise TypeError(f"metric must be the name of a variable, got {self.metric!r}")
        if isinstance(self.limit, bool | str | complex) or not np.isscalar(self.limit):
            raise TypeError(f"limit must be a number, got {self.limit!r}")
        if not np.isfinite(self.limit):
            raise ValueError(f"limit must be finite, got {self.limit}")
        if self.share is not None and not 0 < checks.positive_number("share", self.share) <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")

    def __call__(self, ds: xr.Dataset) -> bool:
        """Whether the last generation of a run is beyond the bound."""
        return bool(self.met(ds.isel(generation=slice(-1, None)))[0])

    def met(self, ds: xr.Dataset) -> np.ndarray:
        """Whether each generation is. `[generation]`"""
        checks.one_of("metric of stop_when", self.metric, map(str, ds))
        chains = np.moveaxis(ds[self.metric].values.astype(np.float64), -1, 0)
        chains = chains.reshape(len(chains), -1)
        if self.share is None:
            known = ~np.isnan(chains)
            with np.errstate(invalid="ignore"):
                means = np.where(known, chains, 0.0).sum(axis=1) / known.sum(axis=1)
                return self._beyond(means, self.limit)
        # A count, so that shares such as 0.1 of 10 chains are not lost to rounding.
        needed = np.ceil(self.share * chains.shape[1] - 1e-9)
        return self._beyond(chains, self.limit).sum(axis=1) >= needed

    def __str__(self) -> str:
        whose = "" if self.share is None else f" in {100 * self.share:g} % of the chains"
        return f"{self.metric} {self.sign} {self.limit:g}{whose}"


@dataclass(frozen=True)
class Above(_Bound):
    __doc__ = f"""{_Bound.__doc__}
    Example:
        >>> import collapse_jax as cj
        >>> task, rule = cj.LinearRegression(dim=3, n_samples=30), cj.Above("test_error", 0.5)
        >>> ds = cj.simulate(cj.Replace(), task, 1000, seeds=100, stop_when=rule)
        >>> print(ds.attrs["stopped"])
        test_error > 0.5 in generation 5 of 1000
    """

    sign: ClassVar[str] = ">"
    _beyond: ClassVar[np.ufunc] = np.greater


@dataclass(frozen=True)
class Below(_Bound):
    __doc__ = f"""{_Bound.__doc__}
    Example:
        >>> print(Below("trace_ratio", 0.1, share=0.5))
        trace_ratio < 0.1 in 50 % of the chains
    """

    sign: ClassVar[str] = "<"
    _beyond: ClassVar[np.ufunc] = np.less


def text_of(rule: Rule | None) -> str:
    """How a rule is called, the same in all processes."""
    if rule is None:
        return ""
    shown = type(rule).__str__ is not object.__str__ and not hasattr(rule, "__qualname__")
    return str(rule) if shown else getattr(rule, "__qualname__", type(rule).__qualname__)


def stop_attributes(rule: Rule, met: int | None, n_generations: int) -> dict[str, str]:
    """What a dataset says of its rule, and of the generation that met it."""
    text = text_of(rule)
    if met is None:
        return {"stop_when": text}
    return {"stop_when": text, "stopped": f"{text} in generation {met} of {n_generations}"}


def check_rule(rule: Any, ds: xr.Dataset) -> None:
    """Check a rule on a dataset like those that it will see.

    Raises:
        TypeError: for what is no function, or returns anything but True or False.
        ValueError: for what the rule itself refuses.
    """
    if not callable(rule) or isinstance(rule, type):
        raise TypeError(
            'stop_when must be a rule such as Above("test_error", 10.0), or a function of a '
            f"dataset, got {rule!r}"
        )
    _answer(rule, ds)


def first_met(rule: Rule, ds: xr.Dataset, after: int) -> int | None:
    """The first generation beyond `after` in which a rule is met; None where it is in none."""
    if isinstance(rule, _Bound):
        found = np.flatnonzero(rule.met(ds.isel(generation=slice(after, None))))
        return after + 1 + int(found[0]) if len(found) else None
    generations = range(after + 1, ds.sizes["generation"] + 1)
    return next((t for t in generations if _answer(rule, ds.isel(generation=slice(t)))), None)


def _answer(rule: Callable[..., Any], ds: xr.Dataset) -> bool:
    answer = rule(ds)
    found = np.asarray(answer)  # also of xarray
    if found.shape or found.dtype != bool:
        raise TypeError(f"stop_when must return True or False, got {answer!r}")
    return bool(found)
