"""In which sense did it collapse? A detector for each of eight definitions of model collapse."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from collapse_jax.analysis import bootstrap
from collapse_jax.analysis.runs import collect, title, with_losses
from collapse_jax.analysis.verdicts import LEAST_GROWTH, unseen
from collapse_jax.records.cells import config_of

if TYPE_CHECKING:  # loaded when a table is made, so that importing the package stays quick
    import pandas as pd

Answer = Literal["yes", "no", "cannot tell"]

CATASTROPHE = 10.0
"""Catastrophic is an error so many times that of generation 1, or real data so much less likely."""
SAME_EXPONENT = 0.1
"""Exponents of scaling laws that differ by no more than this are the same."""
SAME_VARIANCE = 0.9
"""A variance above this multiple of generation 1's has not collapsed."""
LOST_TAIL = 0.5
"""Tails have vanished when less than this share of what generation 1 covered is left."""
MORE_STRANGE = 0.05
"""Hallucinated or entangled data have appeared when their share rose by this much."""

_DISTANCES = ("frechet", "sliced_wasserstein", "energy", "mmd")
_RISKS = ("test_error", "squared_error", "nll", "-elbo", "test_loss", *_DISTANCES)
_LOG_RISKS = ("nll", "-elbo", "test_loss")
_ZERO_RISKS = ("test_error", "squared_error", "wasserstein2")
_COVERS = ("tail_coverage", "recall", "coverage")
_VARIANCES = ("trace_ratio", "entropy_ratio", "variance_ratio")


class Finding(NamedTuple):
    """The answer to one definition of collapse, and what it rests on."""

    definition: str
    answer: Answer
    statistic: str
    """What was computed; or, where nothing could be, why."""
    value: float = math.nan
    low: float = math.nan
    """Lower end of the central 90 % of bootstrap replicates."""
    high: float = math.nan
    """Upper end."""
    rule: str = ""
    """For which values the answer is yes."""

    @property
    def evidence(self) -> str:
        """Statistic, value, interval and rule in one line."""
        if not self.rule:
            return self.statistic
        interval = f"[{self.low:.3g}, {self.high:.3g}]"
        return f"{self.statistic}: {self.value:.3g} {interval}, yes if {self.rule}"


class Diagnosis(Mapping[str, Finding]):
    """Findings by definition, in the order of `DEFINITIONS`; printed as a table."""

    def __init__(self, heading: str, findings: Sequence[Finding]):
        self.heading = heading
        self._findings = {finding.definition: finding for finding in findings}

    def __getitem__(self, definition: str) -> Finding:
        return self._findings[definition]

    def __iter__(self) -> Iterator[str]:
        return iter(self._findings)

    def __len__(self) -> int:
        return len(self._findings)

    def __repr__(self) -> str:
        lines = [f"{f.definition:<22}{f.answer:<13}{f.evidence}" for f in self.values()]
        return "\n".join([self.heading, *lines])

    def to_frame(self) -> "pd.DataFrame":
        """The findings as a data frame, one row per definition."""
        import pandas as pd

        return pd.DataFrame(list(self.values())).set_index("definition")

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format="{:.3g}".format, na_rep="")


def diagnose(ds: xr.Dataset | Sequence[xr.Dataset]) -> Diagnosis:
    """Say in which senses the chains of a run collapse.

    "Model collapse" has been defined in eight ways, which one run may satisfy and miss at the same
    time. For each there is a statistic with a rule for "yes". The answer is "yes" or "no" where the
    central 90 % of 400 bootstrap replicates, in which whole chains are drawn, agree; otherwise,
    and where the run lacks what the definition speaks of, it is "cannot tell".

    *Late* is the last quarter of the generations. *Risk* is the first of `test_error`,
    `squared_error`, `nll`, `-elbo`, `test_loss` and the distances that there is. Means over chains
    leave out 5 % of the chains at either end, so that a few freak or dead ones do not decide.

    - `"catastrophic risk"`: the late risk is over 10 times that of generation 1; for likelihoods,
        which have no zero, real data are over 10 times less likely (log 10 nats). Errors relative
        to the user's own data are compared with a fit to as many independent rows.
    - `"rising risk"`: the late risk is above that of generation 1, by however little.
    - `"diverging risk"`: the risk still grows like sqrt(t) or faster; see
        `analysis.bootstrap.growth_exponent`. Growth that is slower without end, such as logarithmic
        growth, is not found.
    - `"changed scaling"`: the exponent of the power law by which the error falls with `n_samples`
        is off by over 0.1 late in the run. The error is one whose smallest value is zero:
        `test_error`, `squared_error` or `wasserstein2`. Needs runs with several `n_samples`.
    - `"collapsing variance"`: `trace_ratio`, `entropy_ratio` or `variance_ratio` has fallen below
        90 % of generation 1's, and its logarithm still falls like sqrt(t) or faster.
    - `"entangled modes"`: the share of generated data between two modes, `entangled`, rose by over
        0.05.
    - `"vanishing tails"`: late models cover, by `tail_coverage`, less than half of the real tails
        that generation 1 covered; or of all real rows, by `recall` or `coverage`.
    - `"hallucinations"`: the share of generated data where there are no real ones, `hallucinated`
        or 1 - `precision`, rose by over 0.05.

    Findings are about the generations that were run. They say nothing about later ones.

    Args:
        ds: a dataset from `collapse_jax.simulate`, computed with the metrics above as far as they
            matter; or several that differ in `n_samples`, as a sequence or along a dimension
            `n_samples`. The scaling law takes all of them, the other definitions the first.

    Returns:
        the findings by definition. The same dataset always gets the same ones.

    Raises:
        ValueError: for what is no such dataset (`TypeError` for another type).

    Source:
        the definitions are those of Schaeffer et al., arXiv 2503.03150; the rules are ours.

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.LinearRegression(dim=2, n_samples=20)
        >>> found = diagnose(cj.simulate(cj.Replace(), task, n_generations=20, seeds=300))
        >>> found["diverging risk"].answer, found["collapsing variance"].answer
        ('yes', 'cannot tell')
    """
    if isinstance(ds, xr.Dataset) and "n_samples" in ds.dims:
        ds = [ds.isel(n_samples=i) for i in range(ds.sizes["n_samples"])]
    runs = [run.ds for run in collect(ds, theory=False, models=False)]
    first = with_losses(runs[0])
    chains, generations = first.sizes["seed"], first.sizes["generation"]
    heading = f"{title(collect(first, False))} ({chains} chains, {generations} generations)"
    if min(run.sizes["seed"] for run in runs) < 2 or generations < bootstrap.FEWEST_GENERATIONS:
        why = f"needs 2 chains or more and {bootstrap.FEWEST_GENERATIONS} generations or more"
        return Diagnosis(heading, [Finding(name, "cannot tell", why) for name in DEFINITIONS])
    return Diagnosis(
        heading,
        [
            _changed_scaling(runs) if detector is None else detector(first)
            for detector in DEFINITIONS.values()
        ],
    )


class _Periods(NamedTuple):
    """Mean of a metric in generation 1, in the second quarter and late, and its replicates."""

    estimate: np.ndarray
    """`[3]`"""
    replicates: np.ndarray
    """`[replicate, 3]`"""

    def read(self, statistic: Callable[[np.ndarray], Any]) -> tuple[float, float, float]:
        """Value and interval of a statistic, a function of `[..., 3]` to `[...]`."""
        with np.errstate(all="ignore"):
            value, values = map(np.asarray, map(statistic, (self.estimate, self.replicates)))
        if np.isnan(value) or np.isnan(values).any():
            return math.nan, math.nan, math.nan
        tail = 0.5 * (1.0 - bootstrap.CONFIDENCE)
        low, high = np.quantile(values, (tail, 1.0 - tail), method="nearest")
        return float(value), float(low), float(high)


def _periods(ds: xr.Dataset, name: str) -> _Periods:
    values = ds[name].transpose("seed", "generation").values.astype(np.float64)
    chains = bootstrap.periods(values)
    return _Periods(bootstrap.trimmed_mean(chains), bootstrap.replicates(chains))


def _first_of(ds: xr.Dataset, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in ds), None)


def _missing(definition: str, names: Sequence[str]) -> Finding:
    return Finding(definition, "cannot tell", f"the run has no metric {' or '.join(names)}")


def _above(
    definition: str, statistic: str, read: tuple[float, float, float], limit: float
) -> Finding:
    """Yes above the limit."""
    value, low, high = read
    answer: Answer = "yes" if low > limit else "no" if high <= limit else "cannot tell"
    return Finding(definition, answer, statistic, value, low, high, f"> {limit:.3g}")


def _catastrophic_risk(ds: xr.Dataset) -> Finding:
    definition, name = "catastrophic risk", _first_of(ds, _RISKS)
    if name is None:
        return _missing(definition, _RISKS)
    periods = _periods(ds, name)
    if name in _LOG_RISKS:
        read = periods.read(lambda p: p[..., 2] - p[..., 0])
        return _above(definition, f"{name}, late - first [nat]", read, math.log(CATASTROPHE))
    share = unseen(ds) if name == "squared_error" else 1.0
    if share <= 0.0:
        return Finding(definition, "cannot tell", "generation 1 saw all of the true data")
    read = periods.read(lambda p: 1.0 + share * (p[..., 2] / p[..., 0] - 1.0))
    return _above(definition, f"{name}, late / first", read, CATASTROPHE)


def _rising_risk(ds: xr.Dataset) -> Finding:
    definition, name = "rising risk", _first_of(ds, _RISKS)
    if name is None:
        return _missing(definition, _RISKS)
    read = _periods(ds, name).read(lambda p: p[..., 2] - p[..., 0])
    return _above(definition, f"{name}, late - first", read, 0.0)


def _diverging_risk(ds: xr.Dataset) -> Finding:
    definition, name = "diverging risk", _first_of(ds, _RISKS)
    if name is None:
        return _missing(definition, _RISKS)
    n = ds.sizes["generation"]
    read = _periods(ds, name).read(lambda p: bootstrap.growth_exponent(p, n))
    return _above(definition, f"{name}, power of t", read, LEAST_GROWTH)


def _changed_scaling(runs: Sequence[xr.Dataset]) -> Finding:
    definition = "changed scaling"
    sizes = [_size(run) for run in runs]
    if len(set(sizes)) < 2:
        return Finding(definition, "cannot tell", "the runs have only one n_samples")
    names = [name for name in _ZERO_RISKS if all(name in run and _has_zero(run) for run in runs)]
    if not names:
        return _missing(definition, [f"{' or '.join(_ZERO_RISKS)} (of a truth that is a law)"])
    log_n = np.log(sizes) - np.mean(np.log(sizes))
    every = [_periods(run, names[0]) for run in runs]
    # [..., size, period]: the statistic sees all sizes at once.
    joint = _Periods(*(np.stack(parts, axis=-2) for parts in zip(*every, strict=True)))

    def change(p: np.ndarray) -> Any:
        slopes = np.einsum("...np,n->...p", np.log(p), log_n) / np.sum(log_n**2)
        return slopes[..., 2] - slopes[..., 0]

    value, low, high = joint.read(change)
    inside = max(abs(low), abs(high)) <= SAME_EXPONENT
    outside = low > SAME_EXPONENT or high < -SAME_EXPONENT
    answer: Answer = "yes" if outside else "no" if inside else "cannot tell"
    statistic = f"{names[0]}, exponent in n, late - first"
    rule = f"beyond ±{SAME_EXPONENT:.3g}"
    return Finding(definition, answer, statistic, value, low, high, rule)


def _collapsing_variance(ds: xr.Dataset) -> Finding:
    definition, name = "collapsing variance", _first_of(ds, _VARIANCES)
    if name is None:
        return _missing(definition, _VARIANCES)
    periods = _periods(ds, name)
    value, low, high = periods.read(lambda p: p[..., 2] / p[..., 0])
    if low > SAME_VARIANCE:
        rule = f"< {SAME_VARIANCE:.3g}"
        return Finding(definition, "no", f"{name}, late / first", value, low, high, rule)
    n = ds.sizes["generation"]
    read = periods.read(lambda p: bootstrap.growth_exponent(-np.log(p), n))
    finding = _above(definition, f"-log {name}, power of t", read, LEAST_GROWTH)
    if finding.answer == "yes" and high > SAME_VARIANCE:
        return finding._replace(answer="cannot tell")
    return finding


def _vanishing_tails(ds: xr.Dataset) -> Finding:
    definition, name = "vanishing tails", _first_of(ds, _COVERS)
    if name is None:
        return _missing(definition, _COVERS)
    value, low, high = _periods(ds, name).read(lambda p: p[..., 2] / p[..., 0])
    answer: Answer = "yes" if high < LOST_TAIL else "no" if low >= LOST_TAIL else "cannot tell"
    rule = f"< {LOST_TAIL:.3g}"
    return Finding(definition, answer, f"{name}, late / first", value, low, high, rule)


def _share_rises(definition: str, name: str, falling: str = "") -> Callable[[xr.Dataset], Finding]:
    """Yes where a share rises; or where the run has none, where another one falls as much."""

    def detector(ds: xr.Dataset) -> Finding:
        if name in ds:
            read = _periods(ds, name).read(lambda p: p[..., 2] - p[..., 0])
            return _above(definition, f"{name}, late - first", read, MORE_STRANGE)
        if falling in ds:
            read = _periods(ds, falling).read(lambda p: p[..., 0] - p[..., 2])
            return _above(definition, f"{falling}, first - late", read, MORE_STRANGE)
        return _missing(definition, [name, falling] if falling else [name])

    return detector


DEFINITIONS: dict[str, Callable[[xr.Dataset], Finding] | None] = {
    "catastrophic risk": _catastrophic_risk,
    "rising risk": _rising_risk,
    "diverging risk": _diverging_risk,
    "changed scaling": None,  # the only one that looks at several runs
    "collapsing variance": _collapsing_variance,
    "entangled modes": _share_rises("entangled modes", "entangled"),
    "vanishing tails": _vanishing_tails,
    "hallucinations": _share_rises("hallucinations", "hallucinated", falling="precision"),
}
"""The definitions of collapse, and what reads each from a run."""


def _size(ds: xr.Dataset) -> float:
    if "n_samples" in ds.coords:
        return float(ds["n_samples"])
    return float(config_of(ds).get("task", {}).get("n_samples", 1))


def _has_zero(ds: xr.Dataset) -> bool:
    """Whether the truth is a law, so that a perfect model has no error."""
    return not config_of(ds).get("task", {}).get("data")
