"""Power laws of metrics over the generations, beside those of theory."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from collapse_jax.analysis.comparisons import check_confidence, quantile
from collapse_jax.analysis.estimates import Estimate, FloatArray, jackknife, n_groups, slope
from collapse_jax.analysis.runs import Run, Runs, collect
from collapse_jax.basics import checks

if TYPE_CHECKING:  # loaded when exponents are read, so that importing the package stays quick
    import pandas as pd


def slopes(
    ds: Runs,
    *,
    variables: Sequence[str] | None = None,
    first: int | None = None,
    last: int | None = None,
    confidence: float = 0.95,
) -> "pd.DataFrame":
    """Exponents of the power laws by which metrics grow or fall over the generations.

    An exponent is the slope of the logarithm of the mean over chains over the logarithm of the
    generation, by least squares, all generations alike. Theory's is that of its own curve over the
    same generations.

    Args:
        ds: runs, as for `plot`.
        variables: metrics; default those of the tasks.
        first: the first generation that counts; default a quarter of the last, rounded up.
        last: the last one; default that of each run.
        confidence: probability with which the interval covers the exponent of the expectations, by
            a jackknife over chains.

    Returns:
        a table with a line for each run and metric: `run`, `metric`, `first`, `last`, `exponent`,
        `low`, `high`, `theory`, `kind` (of the theory, as in `collapse_jax.theory.expected`). NaN
        where chains are not finite, a mean is not positive, or nothing is known.

    Raises:
        ValueError: for fewer than two generations, and arguments outside their range.

    Source:
        the jackknife: Miller, Biometrika 61:1, 1974.

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.LinearRegression(dim=5, n_samples=50)
        >>> found = slopes(cj.simulate(cj.Replace(), task, 40, seeds=500), variables=["test_error"])
        >>> bool(abs(found.exponent[0] - found.theory[0]) < 0.05)
        True
    """
    import pandas as pd

    check_confidence(confidence)
    lines = []
    for run in collect(ds):
        ends = _ends(run, first, last)
        lines += [_line(run, name, *ends, confidence) for name in run.chosen(variables)]
    return pd.DataFrame(lines)


def _ends(run: Run, first: int | None, last: int | None) -> tuple[int, int]:
    """The first and the last generation that count."""
    length = run.ds.sizes["generation"]
    last = length if last is None else last
    checks.whole_number("last", last)
    first = -(-last // 4) if first is None else first
    checks.whole_number("first", first)
    if last > length:
        raise ValueError(f"last must be at most {length}, the last generation, got {last}")
    if first >= last:
        raise ValueError(f"first must be below last, {last}, got {first}")
    return first, last


def _line(run: Run, name: str, first: int, last: int, confidence: float) -> dict[str, Any]:
    chains = run.ds[name].transpose("seed", "generation").values.astype(np.float64)
    exponent = _of_positive(slope(first, last), first, last)
    found = Estimate(math.nan, math.nan)
    if np.isfinite(chains).all():
        found = jackknife(exponent, chains)
    groups = n_groups(len(chains))
    half = quantile(confidence, float(groups - 1)) * found.error if groups > 1 else math.nan
    theory, kind = math.nan, ""
    if name in run.theory:
        theory = float(exponent(run.theory[name].values))
        kind = str(run.theory[name].attrs.get("kind", "exact"))
    return {
        "run": run.label,
        "metric": name,
        "first": first,
        "last": last,
        "exponent": found.value,
        "low": found.value - half,
        "high": found.value + half,
        "theory": theory,
        "kind": kind,
    }


def _of_positive(
    exponent: Callable[[FloatArray], float], first: int, last: int
) -> Callable[[FloatArray], float]:
    """The exponent of a curve; NaN unless the curve is positive and finite."""

    def of_curve(curve: FloatArray) -> float:
        part = curve[first - 1 : last]
        return exponent(curve) if np.all((part > 0.0) & np.isfinite(part)) else math.nan

    return of_curve
