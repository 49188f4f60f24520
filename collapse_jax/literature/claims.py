"""One claim of a paper, beside what our chains say of it."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from collapse_jax.analysis.estimates import Estimate

Relation: TypeAlias = Literal["=", "<=", ">="]
Verdict: TypeAlias = Literal["agrees", "disagrees", "cannot tell"]

ERRORS = 4.0
"""Standard errors that chance may explain: a right claim misses them once in 16,000 times."""


class Curve(NamedTuple):
    """Means over chains, generation by generation, for the figure."""

    mean: npt.NDArray[np.float64]
    """`[generation]`"""
    error: npt.NDArray[np.float64]
    """Their standard errors. `[generation]`"""
    law: npt.NDArray[np.float64] | None
    """What the claim says they are, where it says so of each. `[generation]`"""
    metric: str
    """What it is that is shown."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim: a number that a paper prints, or that a law of it gives, and ours.

    Args:
        text: what is claimed, in a few words.
        published: the number.
        ours: that of the chains, with its standard error.
        law: where the number comes from, for people: a formula, a figure.
        relation: whether ours should be equal to it, at most as large, or at least.
        against: what an equal number would be if the claim were wrong, to see whether the chains
            could have told.
        slack: what the number leaves out: digits, the reading of a figure, terms of a higher order
            at the sizes at hand.
        published_error: standard error of the published number.
        derived: whether the number is worked out here for these loops, and the paper has the claim
            in words or for others.
        fault: a known fault of the published procedure.
        curve: the metric over generations, for the figure.
    """

    text: str
    published: float
    ours: Estimate
    law: str = ""
    relation: Relation = "="
    against: float | None = None
    slack: float = 0.0
    published_error: float = 0.0
    derived: bool = False
    fault: str = ""
    curve: Curve | None = None

    @property
    def tolerance(self) -> float:
        """How far apart both numbers may be by chance, and by what the published one leaves out."""
        return ERRORS * math.hypot(self.ours.error, self.published_error) + self.slack

    @property
    def verdict(self) -> Verdict:
        """Whether the chains agree with the claim.

        They cannot tell where the number that the claim denies is within the tolerance as well, or
        where a limit is.

        Example:
            >>> bound = Claim(text="", published=1.0, ours=Estimate(0.9, 0.01), relation="<=")
            >>> number = Claim(text="", published=1.0, ours=Estimate(0.9, 0.01))
            >>> vague = Claim(text="", published=1.0, ours=Estimate(0.9, 0.1), against=0.7)
            >>> print(bound.verdict, number.verdict, vague.verdict, sep=", ")
            agrees, disagrees, cannot tell
        """
        tolerance, above = self.tolerance, self.ours.value - self.published
        if not (math.isfinite(above) and math.isfinite(tolerance)):
            return "cannot tell"
        if self.relation != "=":
            beyond = above if self.relation == "<=" else -above
            if abs(beyond) <= tolerance and tolerance > 0:
                return "cannot tell"
            return "disagrees" if beyond > 0 else "agrees"
        if abs(above) > tolerance:
            return "disagrees"
        told = self.against is None or abs(self.ours.value - self.against) > tolerance
        return "agrees" if told else "cannot tell"
