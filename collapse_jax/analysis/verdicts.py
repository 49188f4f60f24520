"""Did it collapse? A rule that reads the answer from the error of a run and its uncertainty."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from collapse_jax.analysis import bootstrap
from collapse_jax.analysis.bootstrap import CONFIDENCE
from collapse_jax.analysis.runs import check_chains
from collapse_jax.basics import checks
from collapse_jax.records.cells import as_run, config_of
from collapse_jax.records.labels import check_dataset

Answer = Literal["collapse", "plateau", "stable", "uncertain"]

LEAST_GROWTH = 0.5
"""Errors that grow like this power of the generation, or faster, are unbounded."""
MOST_GROWTH = 2.2
"""Up to this multiple of generation 1's error a run is stable: between pi^2/6 and pi^2/2 - 2."""
LEAST_RISE = 1.25
"""Up to this multiple an error has not grown: data that accumulate raise it so by generation 2."""
MOST_LOSS = math.log(2.0)
"""Up to this many nats above generation 1 a log-likelihood is stable: half the likelihood."""


class Scale(NamedTuple):
    """How a metric is read as an error: larger is worse, infinite for dead chains."""

    of_chain: Callable[[np.ndarray], np.ndarray]
    """What is averaged over chains."""
    of_mean: Callable[[np.ndarray], np.ndarray]
    """The error, from that average."""
    is_ratio: bool
    """Whether errors have a true zero, so that they are compared by their ratio."""
    small: float | None = None
    """For errors relative to a truth: what is small where generation 1 knows the truth exactly."""


def _plain(values: np.ndarray) -> np.ndarray:
    return values


def _squared_log(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(values) ** 2


def _minus_log(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 0.0 - np.log(values)


SCALES: dict[str, Scale] = {
    "trace_ratio": Scale(_squared_log, _plain, is_ratio=True, small=math.log(1.1) ** 2),
    "test_error": Scale(_plain, _plain, is_ratio=True),
    "entropy_ratio": Scale(_plain, _minus_log, is_ratio=True, small=math.log(1.1)),
    "excess_loss": Scale(_plain, _plain, is_ratio=True),
    "nll": Scale(_plain, _plain, is_ratio=False),
    "elbo": Scale(np.negative, _plain, is_ratio=False),
    "test_loss": Scale(_plain, _plain, is_ratio=False),
    "frechet": Scale(_plain, _plain, is_ratio=True),
    "sliced_wasserstein": Scale(_plain, _plain, is_ratio=True),
    "energy": Scale(_plain, _plain, is_ratio=True),
    "mmd": Scale(_plain, _plain, is_ratio=True),
}
"""Metrics that can be judged; the first one that a dataset has is its headline."""


class Verdict(NamedTuple):
    """The answer and what it rests on."""

    answer: Answer
    variable: str
    """The metric that was judged."""
    first: float
    """Error in generation 1."""
    middle: float
    """Error in the second quarter of the generations."""
    late: float
    """Error in the last quarter of the generations."""
    growing: float
    """Share of bootstrap replicates in which the error still grows at least as sqrt(t) does."""
    bounded: float
    """Share of bootstrap replicates in which the late error is close to that of generation 1."""


def headline(ds: xr.Dataset) -> str:
    """The metric by which a run is judged: the first of `SCALES` that the dataset has.

    Args:
        ds: a dataset from `collapse_jax.simulate`.

    Raises:
        ValueError: where there is none.
    """
    for name in SCALES:
        if name in ds:
            return name
    raise ValueError(f"ds must have one of the variables {', '.join(SCALES)}, got {list(ds)}")


def verdict(ds: xr.Dataset, variable: str | None = None) -> Verdict:
    """Judge whether the chains of a run collapse.

    Theory knows three fates of the error: it grows without bound, about linearly (Replace); it
    stays below pi^2/6 = 1.64 times that of generation 1 (Accumulate); or it levels off at a higher
    multiple, up to pi^2/2 - 2 = 2.93 (AccumulateSubsample). The rule tells them apart without
    knowing the workflow, by the errors of generation 1, of the second quarter of the generations
    and of the last:

    - `"collapse"`: between the second and the last quarter the error gained as large a share of its
        whole growth as a curve like sqrt(t) does over the same generations, or a larger one. This
        lies between linear growth and the logarithmic one of, say, kernel densities under
        Accumulate. Errors with a natural zero must have grown by a quarter at least. A run whose
        chains have died is a collapse too.
    - `"stable"`: the late error is at most 2.2 times that of generation 1. Log-likelihoods have no
        natural zero; there, at most log 2 nats above: a real datum is at least half as likely as
        under the first model. A trace or an entropy relative to that of the user's own data, of
        which generation 1 sees all or a part, is compared with the error of a fit to as many
        independent rows; where it sees all, within 10 % of the truth is stable.
    - `"plateau"`: neither. The error has grown beyond that, and its growth has slowed down.
    - `"uncertain"`: the chains are too few to tell (fewer than 90 % of 400 bootstrap replicates, in
        which whole chains are drawn, agree), or there are fewer than 4 generations or 2 chains.

    Each metric is judged as an error in its own scale: `trace_ratio` by its squared logarithm, so
    that a variance that vanishes weighs as much as one that explodes; `entropy_ratio` by minus the
    logarithm of its mean; errors and log-likelihoods as they are. Means over chains leave out
    5 % of the chains at either end, so that a few freak or dead ones do not decide.

    A verdict is about the generations that were run. It says nothing about later ones.

    Args:
        ds: a dataset from `collapse_jax.simulate`.
        variable: the metric to judge, one of `collapse_jax.verdict.SCALES`; default `headline(ds)`.

    Returns:
        the answer with its evidence. The same dataset always gets the same verdict.

    Raises:
        TypeError: for what is no dataset.
        ValueError: for a dataset without such a variable.

    Source:
        the constants are those of arXiv 2410.22812 and `collapse_jax.theory.risk`.

    Example:
        >>> import numpy as np, xarray as xr
        >>> chains = np.random.default_rng(0).exponential(size=(200, 1))
        >>> error = ("seed", "generation"), chains * np.arange(1, 21)
        >>> verdict(xr.Dataset({"test_error": error})).answer
        'collapse'
    """
    check_dataset(ds)
    if variable is None:
        variable = headline(ds)
    checks.one_of("variable", variable, [name for name in SCALES if name in ds])
    check_chains(ds[variable])
    ds = as_run(ds)
    values = ds[variable].transpose("seed", "generation").values.astype(np.float64)
    scale = SCALES[variable]
    n_chains, n_generations = values.shape
    if n_chains < 2 or n_generations < bootstrap.FEWEST_GENERATIONS:
        return Verdict("uncertain", variable, math.nan, math.nan, math.nan, math.nan, math.nan)
    chains = bootstrap.periods(scale.of_chain(values))
    estimate = scale.of_mean(bootstrap.trimmed_mean(chains))
    replicates = scale.of_mean(bootstrap.replicates(chains))
    exponents = bootstrap.growth_exponent(replicates, n_generations)
    bound = _Bound(scale, unseen(ds))
    least = LEAST_RISE if scale.is_ratio and scale.small is None else 1.0
    risen = ~(replicates[:, 2] <= least * replicates[:, 0])  # infinite or missing ones have
    growing = float(np.mean((exponents >= LEAST_GROWTH) & risen))
    bounded = float(np.mean([bound.holds(replicate) for replicate in replicates]))
    first, middle_error, late_error = map(float, estimate)
    answer = _answer(estimate, growing, bounded)
    return Verdict(answer, variable, first, middle_error, late_error, growing, bounded)


class _Bound(NamedTuple):
    scale: Scale
    unseen: float

    def holds(self, errors: np.ndarray) -> bool:
        first, _, late = map(float, errors)
        if not self.scale.is_ratio:
            return late <= first + MOST_LOSS
        if self.scale.small is None:
            return late <= MOST_GROWTH * first
        if self.unseen <= 0.0:
            return late <= self.scale.small
        return late <= first + (MOST_GROWTH - 1.0) * first / self.unseen


def unseen(ds: xr.Dataset) -> float:
    """Share of the real rows that generation 1 does not see; 1 where the truth is a law."""
    task = config_of(ds).get("task", {})
    data = task.get("data")
    return 1.0 - task["n_samples"] / data["rows"] if data else 1.0


def _answer(estimate: np.ndarray, growing: float, bounded: float) -> Answer:
    if not np.isfinite(estimate[0]) or np.isnan(estimate).any():
        return "uncertain"
    if growing >= CONFIDENCE:
        return "collapse"
    if bounded >= CONFIDENCE:
        return "stable"
    if max(growing, bounded) <= 1.0 - CONFIDENCE:
        return "plateau"
    return "uncertain"
