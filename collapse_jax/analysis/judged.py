"""Verdicts and definitions of collapse as rules by which a run stops."""

import re
from dataclasses import dataclass
from typing import get_args

import xarray as xr

from collapse_jax.analysis.bootstrap import FEWEST_GENERATIONS
from collapse_jax.analysis.definitions import DEFINITIONS
from collapse_jax.analysis.runs import check_chains, with_losses
from collapse_jax.analysis.verdicts import Answer, verdict
from collapse_jax.basics import checks
from collapse_jax.run.stopping import Above, Below, Rule

FINDINGS = (
    *(answer for answer in get_args(Answer) if answer != "uncertain"),
    *(name for name, detector in DEFINITIONS.items() if detector is not None),
)
"""What can be found of one run while it lasts."""

_BOUND = re.compile(r"\s*([\w-]+)\s*([<>])\s*([^\s<>=]+)\s*")


@dataclass(frozen=True)
class Judged:
    """A finding about the run so far, as `verdict` or `diagnose` makes it.

    Both judge by whole chains: 90 % of the bootstrap replicates, in which chains are drawn again,
    must agree. Whoever looks often sees a rare answer sooner, so that `every` is part of the rule.

    Args:
        finding: an answer of `verdict`, `"collapse"`, `"plateau"` or `"stable"`; or a definition of
            `diagnose` whose answer is to be yes, for instance `"vanishing tails"`.
        variable: of a verdict, the metric to judge; default its headline.
        every: after how many generations each it is asked for.

    Raises:
        ValueError: for arguments outside their range (`TypeError` for those of another type).

    Example:
        >>> import collapse_jax as cj
        >>> task, rule = cj.Gaussian(dim=2, n_samples=50), cj.Judged("collapse")
        >>> ds = cj.simulate(cj.Replace(), task, 1000, seeds=100, stop_when=rule)
        >>> print(ds.attrs["stopped"])
        collapse in generation 10 of 1000
    """

    finding: str
    variable: str | None = None
    every: int = 10

    def __post_init__(self) -> None:
        checks.one_of("finding", self.finding, FINDINGS)
        checks.whole_number("every", self.every)
        if self.variable is not None and self.finding in DEFINITIONS:
            raise ValueError(
                "variable must be None with a definition, which knows its own, got "
                f"{self.variable!r}"
            )

    def __call__(self, ds: xr.Dataset) -> bool:
        """Whether this is found of a dataset, whose last generation is one that is looked at.

        Raises:
            ValueError: for one chain alone, or several models, and without a metric to judge.
        """
        check_chains(ds)
        if ds.sizes["seed"] < 2:
            raise ValueError("seeds must be 2 or more where chains are judged, got 1")
        detector = DEFINITIONS.get(self.finding)
        if ds.sizes["generation"] == 1:
            self._check(ds)
        if ds.sizes["generation"] < max(self.every, FEWEST_GENERATIONS):
            return False
        if ds.sizes["generation"] % self.every:
            return False
        if detector is None:
            return verdict(ds, self.variable).answer == self.finding
        return detector(with_losses(ds)).answer == "yes"

    def _check(self, ds: xr.Dataset) -> None:
        """Refuse what can never be found."""
        detector = DEFINITIONS.get(self.finding)
        if detector is None:
            verdict(ds, self.variable)
            return
        finding = detector(with_losses(ds).isel(generation=FEWEST_GENERATIONS * [0]))
        if not finding.rule:
            raise ValueError(f"stop_when must be what can be found, and {finding.statistic}")

    def __str__(self) -> str:
        text = self.finding if self.variable is None else f"{self.finding} of {self.variable}"
        return text if self.every == Judged.every else f"{text}, looked at every {self.every}"


def read_rule(text: str) -> Rule:
    """A rule that is written as one reads it.

    Raises:
        ValueError: for a text that is none.

    Example:
        >>> read_rule("test_error > 10"), read_rule("collapse").finding
        (Above(metric='test_error', limit=10.0, share=None), 'collapse')
    """
    bound = _BOUND.fullmatch(text)
    if bound is None and not re.search("[<>=]", text):
        return Judged(checks.one_of("stop_when", text, FINDINGS))
    try:
        metric, sign, limit = bound.groups()  # pyright: ignore
        return (Above if sign == ">" else Below)(metric, float(limit))
    except (AttributeError, ValueError):
        raise ValueError(
            "stop_when must be a bound such as 'test_error > 10', or one of "
            f"{', '.join(FINDINGS)}, got {text!r}"
        ) from None
