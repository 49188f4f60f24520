"""Papers about real data beside generated ones: kept, drawn anew, weighted, or mixed in."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from collapse_jax.analysis.estimates import FloatArray, at, jackknife
from collapse_jax.literature.cards import Lab, card, curve
from collapse_jax.literature.claims import Claim
from collapse_jax.literature.presets import corrected
from collapse_jax.loop.presets import Replace
from collapse_jax.loop.workflow import Fit, Real, Synthetic, Workflow
from collapse_jax.tasks.exponential_family import ExponentialFamily
from collapse_jax.tasks.gaussian import Gaussian
from collapse_jax.theory import expected, mixing, wishart


@card("2310.00429")
def _iterative_retraining(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 20, 50, lab.pick(4000, 40_000, 40_000)
    alone = lab.chains(
        Replace(), Gaussian(1, n, estimator="unbiased"), last, seeds, "log_det_ratio"
    )
    spread = np.exp(alone / 2)
    law = wishart.variance_power_mean(n, 0.5, last, "unbiased")
    yield Claim(
        text=f"fully synthetic: the standard deviation vanishes; mean in generation {last}",
        law="alpha^t, alpha = E sqrt(chi^2_(n-1)/(n-1))",
        published=float(law[-1]),
        ours=jackknife(at(last), spread),
        against=1.0,
        curve=curve(spread, "standard deviation", law),
    )
    n, dim, last, seeds = 100, 5, 40, lab.pick(2000, 10_000, 10_000)
    task = Gaussian(dim, n, estimator="unbiased")
    for ratio, where in ((0.4, "below 1/2, as the theorem asks"), (4, "far beyond the theorem")):
        loop = Workflow(Real(keep=None), Synthetic(n=round(ratio * n)))
        error = lab.chains(loop, task, last, seeds, "squared_error_mean") * n / dim
        known = n * mixing.mixed_moments(n, round(ratio * n), last, estimator="unbiased").mean_error
        limit = 1 + ratio / (1 + 2 * ratio)
        yield Claim(
            text=f"{ratio:g} synthetic rows for each real one ({where}): the error of the mean "
            "stays, in errors of one fit",
            law="1 + r/(1 + 2r)",
            derived=True,
            published=limit,
            ours=jackknife(at(last), error),
            against=float(last),
            slack=2 / n,
            curve=curve(error, "error ratio", known),
        )


@card("2307.01850")
def _mad(lab: Lab) -> Iterator[Claim]:
    n, dim, last, seeds = 100, 10, 15, lab.pick(500, 5000, 5000)
    bias, task = 0.8, Gaussian(dim, n, estimator="unbiased")
    biased = Workflow(synthetic=Synthetic(temperature=bias))
    ds = lab.simulate(biased, task, last, seeds, ("trace_ratio", "squared_error_mean"))
    trace = ds.trace_ratio.values.astype(np.float64)
    power = bias ** np.arange(last)
    yield Claim(
        text=f"fully synthetic, sampled with bias {bias}: diversity is lost; trace in generation "
        f"{last}",
        law="bias^(t-1)",
        published=float(power[-1]),
        ours=jackknife(at(last), trace),
        against=1.0,
        curve=curve(trace, "trace ratio", power),
    )
    error = ds.squared_error_mean.values.astype(np.float64) * n / dim
    walk = 1 + np.append(0.0, np.cumsum(power[1:]))
    yield Claim(
        text="fully synthetic: the mean walks away, in errors of one fit",
        law="1 + sum of bias^j",
        derived=True,
        published=float(walk[-1]),
        ours=jackknife(at(last), error),
        against=1.0,
        curve=curve(error, "error ratio", walk),
    )
    yield from _fresh_data(lab)


def _fresh_data(lab: Lab) -> Iterator[Claim]:
    n, n_s, dim, last, seeds = 100, 900, 2, 60, lab.pick(4000, 40_000, 40_000)
    task = Gaussian(dim, n, estimator="unbiased")
    ends = []
    for first in (50, 1000):
        start = [first, *[n] * (last - 1)]
        loop = Workflow(Real(n=start, every=True), Synthetic(n=n_s))
        ends.append(lab.chains(loop, task, last, seeds, "wasserstein2"))
    apart = float(ends[0][:, 0].mean() - ends[1][:, 0].mean())
    yield Claim(
        text="fresh data: where it ends does not depend on the first model (50 or 1000 rows)",
        law="no difference",
        published=0.0,
        ours=jackknife(lambda few, many: few[-1] - many[-1], *ends),
        against=apart,
        slack=apart * (n_s / (n + n_s)) ** (last - 1),
    )
    yield Claim(
        text=f"fresh data, unbiased sampling: as good as {n} real rows alone or better; "
        "distance in these units",
        law="n_e >= n_r",
        relation="<=",
        published=1.0,
        ours=jackknife(
            lambda mixed, alone: mixed[-1] / alone[0],
            ends[0],
            lab.chains(Replace(), task, last, seeds, "wasserstein2"),
        ),
        curve=curve(ends[0], "Wasserstein distance"),
    )
    biased = Workflow(Real(every=True), Synthetic(n=n_s, temperature=0.8))
    distance = lab.chains(biased, task, last, seeds, "wasserstein2")
    yield Claim(
        text=f"fresh data, bias 0.8, {n_s} synthetic rows: worse than {n} real rows alone",
        law="n_e < n_r",
        relation=">=",
        published=1.0,
        ours=jackknife(lambda mean: mean[-1] / mean[0], distance),
        curve=curve(distance, "Wasserstein distance"),
    )


@card("2502.18049")
def _golden_ratio(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 100, 30, lab.pick(20_000, 100_000, 100_000)
    task, golden = ExponentialFamily("poisson", None, n), (math.sqrt(5) - 1) / 2
    errors = {}
    for weight in (0.3, 0.5, golden, 0.75, 1.0):
        loop = Workflow(Real(every=True), fit=Fit(real_weight=weight))
        errors[weight] = lab.chains(loop, task, last, seeds, "squared_error") * n
    for weight, law in ((0.3, "(w^2 + (1-w)^2)/(1 - (1-w)^2)"), (golden, "w itself")):
        limit = n * mixing.weighted_limit(weight, n, n)
        yield Claim(
            text=f"weight {weight:.3g} of the new real rows: where the error levels off, in errors "
            "of one fit",
            law=law,
            derived=weight == 0.3,
            published=limit,
            ours=jackknife(lambda mean: mean[last // 2 :].mean(), errors[weight]),
            against=1.0,
            slack=1e-4,
            curve=curve(errors[weight], "error ratio"),
        )
    for weight in (0.5, 0.75, 1.0):
        yield Claim(
            text=f"one over the golden ratio is a better weight than {weight:g}: difference",
            law="best of all weights",
            relation="<=",
            published=0.0,
            ours=jackknife(
                lambda best, other: (best - other)[last // 2 :].mean(),
                errors[golden],
                errors[weight],
            ),
        )


@card("2402.07087")
def _self_correction(lab: Lab) -> Iterator[Claim]:
    few, many, last, seeds = 20, 10**6, 30, lab.pick(10_000, 50_000, 50_000)
    task = ExponentialFamily("poisson", None, many)
    for strength, t in ((0.25, 6), (1.0, 4), (4.0, 3)):
        rate, shown = 1 / (1 + strength), _rate_until(t)
        loop = Workflow(Real(n=few), Synthetic(n=many, of=corrected(strength).synthetic.of))
        error = lab.chains(loop, task, last, seeds, "squared_error")
        known = expected(loop, task, last).squared_error.values
        yield Claim(
            text=f"correction of strength {strength:g}: each generation divides the error of a bad "
            "first model by 1 + strength",
            law="1/(1 + strength)",
            published=rate,
            ours=jackknife(shown, error),
            against=1.0,
            slack=rate * few / many / rate ** (2 * (t - 1)),  # the noise of many rows
            curve=curve(error, "squared error", known),
        )
    n, loop = 100, Workflow(Real(n=100), Synthetic(n=100, of=corrected(1.0).synthetic.of))
    error = n * lab.chains(loop, task, last, seeds, "squared_error")
    yield Claim(
        text=f"correction of strength 1: the loop is stable; error of generation {last}, in errors "
        "of one fit",
        law="1/(1 - 1/(1 + strength)^2)",
        derived=True,
        published=4 / 3,
        ours=jackknife(at(last), error),
        against=float(last),
        curve=curve(error, "error ratio"),
    )


def _rate_until(t: int) -> Callable[[FloatArray], float]:
    """The factor of a generation on the root of the error, over generations 1..t."""
    return lambda mean: float((mean[t - 1] / mean[0]) ** (0.5 / (t - 1)))
