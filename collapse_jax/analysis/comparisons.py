"""How far runs are apart, chain by chain where they share seeds."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_jax.analysis.runs import Run, Runs, collect
from collapse_jax.basics import checks

if TYPE_CHECKING:  # loaded when runs are compared, so that importing the package stays quick
    import pandas as pd


def compare(
    ds: Runs,
    *,
    baseline: str | None = None,
    variables: Sequence[str] | None = None,
    generation: int | None = None,
    confidence: float = 0.95,
) -> "pd.DataFrame":
    """Compare runs with one of them, metric by metric.

    Runs with the same seeds are compared chain by chain: generation 1 of two workflows sees the
    same real rows, so that what these have in common cancels. Runs without a common seed are
    compared as independent samples.

    Args:
        ds: two runs or more, as for `plot`: datasets from `collapse_jax.simulate` by label or in
            order, or the cells of a sweep.
        baseline: label of the run that the others are compared with; default the first.
        variables: metrics to compare; default those of the tasks that both runs have.
        generation: which generation; default the last one that both runs have.
        confidence: probability with which the interval covers the difference of the expectations,
            by Student's distribution (Welch's degrees of freedom for independent samples).

    Returns:
        a table with a line for each run and metric:

        - `run`, `baseline`, `metric`, `generation`;
        - `difference`, `low`, `high`: mean of the run minus mean of the baseline, and the ends of
            its interval; NaN where chains are infinite or missing, or too few;
        - `lower`, `higher`: in how many chains the run's value is below and above the baseline's
            with the same seed; NaN without common seeds;
        - `chains`: how many pairs there are, or how many chains the smaller run has;
        - `paired`: whether chains were compared with those of the same seed.

    Raises:
        ValueError: for fewer than two runs, for runs without a common metric, and arguments outside
            their range.

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.Gaussian(dim=1, n_samples=10)
        >>> runs = [cj.simulate(w, task, 50, seeds=200) for w in (cj.Accumulate(), cj.Replace())]
        >>> found = compare(runs, variables=["wasserstein2"]).iloc[0]
        >>> bool(found.low > 0), int(found.lower + found.higher), bool(found.paired)
        (True, 200, True)
    """
    import pandas as pd

    runs = collect(ds, theory=False)
    if len(runs) < 2:
        raise ValueError(f"ds must hold two runs or more to compare, got {len(runs)}")
    check_confidence(confidence)
    names = [run.label for run in runs]
    base = runs[0 if baseline is None else names.index(checks.one_of("baseline", baseline, names))]
    lines = [
        line
        for run in runs
        if run is not base
        for line in _lines(run, base, variables, generation, confidence)
    ]
    return pd.DataFrame(lines)


def _lines(
    run: Run,
    base: Run,
    variables: Sequence[str] | None,
    generation: int | None,
    confidence: float,
) -> list[dict[str, Any]]:
    common = [name for name in run.chosen(variables) if name in base.ds]
    if not common:
        raise ValueError(
            f"ds must hold runs with common metrics; {run.label} has "
            f"{', '.join(run.chosen(variables))}, and {base.label} {', '.join(base.metrics)}"
        )
    last = min(run.ds["generation"].values[-1], base.ds["generation"].values[-1])
    t = int(last) if generation is None else generation
    checks.whole_number("generation", t)
    if t > last:
        raise ValueError(f"generation must be at most {last}, the last of both runs, got {t}")
    seeds = np.intersect1d(run.ds["seed"].values, base.ds["seed"].values)
    lines = []
    for name in common:
        first, second = (_values(each, name, t, seeds) for each in (run, base))
        difference, low, high = _interval(first, second, len(seeds) > 0, confidence)
        lower, higher = math.nan, math.nan
        if len(seeds):
            lower, higher = int(np.sum(first < second)), int(np.sum(first > second))
        lines.append(
            {
                "run": run.label,
                "baseline": base.label,
                "metric": name,
                "generation": t,
                "difference": difference,
                "low": low,
                "high": high,
                "lower": lower,
                "higher": higher,
                "chains": min(len(first), len(second)),
                "paired": len(seeds) > 0,
            }
        )
    return lines


def _values(run: Run, name: str, generation: int, seeds: np.ndarray) -> np.ndarray:
    """Values of the chains, in the order of the common seeds where there are some."""
    values = run.ds[name].sel(generation=generation)
    return (values.sel(seed=seeds) if len(seeds) else values).values.astype(np.float64)


def _interval(
    first: np.ndarray, second: np.ndarray, paired: bool, confidence: float
) -> tuple[float, float, float]:
    """Difference of the means, and the ends of its interval."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return math.nan, math.nan, math.nan
    difference = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2:
        return difference, math.nan, math.nan
    if paired:
        variance, freedom = np.var(first - second, ddof=1) / len(first), len(first) - 1
    else:
        parts = [np.var(values, ddof=1) / len(values) for values in (first, second)]
        variance = sum(parts)
        shares = [part**2 / (len(v) - 1) for part, v in zip(parts, (first, second), strict=True)]
        freedom = variance**2 / sum(shares) if variance > 0.0 else math.inf
    half = quantile(confidence, float(freedom)) * math.sqrt(variance)
    return difference, difference - half, difference + half


def check_confidence(confidence: float) -> None:
    """Refuse what is no probability, or certain."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence!r}")


def quantile(confidence: float, freedom: float) -> float:
    """Half the width, in standard errors, of an interval by Student's distribution."""
    import scipy

    return float(scipy.stats.t.ppf(0.5 + 0.5 * confidence, freedom))
