"""Papers about what happens to old data: replaced, accumulated, or a subset of what accumulates."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from collapse_jax.analysis.estimates import at, jackknife
from collapse_jax.literature.cards import Lab, card, curve
from collapse_jax.literature.claims import Claim
from collapse_jax.literature.presets import doubling
from collapse_jax.loop.presets import Accumulate, AccumulateSubsample, Replace
from collapse_jax.tasks.exponential_family import ExponentialFamily, FamilyName
from collapse_jax.tasks.gaussian import Gaussian
from collapse_jax.tasks.kernel_density import KernelDensity
from collapse_jax.tasks.linear_regression import LinearRegression
from collapse_jax.theory import gaussian, regression, risk, wishart

_LOOPS = (Replace(), Accumulate(), AccumulateSubsample())
_PI2_6 = math.pi**2 / 6
_READING = 0.03  # of a number that is read off a published figure


@card("2410.16713")
def _collapse_or_thrive(lab: Lab) -> Iterator[Claim]:
    n, last = 10, lab.pick(30, 100, 100)
    seeds, task = lab.pick(2000, 20_000, 20_000), Gaussian(1, n)
    log = lab.chains(Replace(), task, last, seeds, "log_det_ratio")
    drift = wishart.log_det_mean(n, 1, last)
    yield Claim(
        text="Gaussian, replace: the log-variance falls linearly; slope per generation",
        law="psi((n-1)/2) + log(2/n)",
        derived=True,
        published=float(drift[0]),
        ours=jackknife(lambda mean: mean[-1] / last, log),
        against=0.0,
        curve=curve(log, "log-variance", drift),
    )
    grown = gaussian.accumulate_moments(n, last).covariance
    mixed = gaussian.accumulate_subsample_moments(n, last).covariance
    gone = float(gaussian.replace_moments(n, last).covariance[-1])
    for name, workflow, law, known, other in (
        ("accumulate", Accumulate(), "prod 1 - 1/(n k^2)", grown, gone),
        ("accumulate-subsample", AccumulateSubsample(), "exact recursion", mixed, grown[-1]),
    ):
        trace = lab.chains(workflow, task, last, seeds, "trace_ratio")
        yield Claim(
            text=f"Gaussian, {name}: the variance levels off; generation {last}",
            law=law,
            derived=True,
            published=float(known[-1]),
            ours=jackknife(at(last), trace),
            against=float(other),
            curve=curve(trace, "variance", known),
        )
    figures = dict(zip(_LOOPS, (11.0, 0.19, 0.36), strict=True))
    names = "replace", "accumulate", "accumulate-subsample"
    least = LinearRegression(10, 100)
    for (workflow, number), name in zip(figures.items(), names, strict=True):
        error = lab.chains(workflow, least, 100, lab.pick(150, 1000, 1000), "test_error")
        yield Claim(
            text=f"regression, {name}: test error of generation 100",
            law="read off a figure, 100 chains",
            published=number,
            ours=jackknife(at(100), error),
            against=min(
                (f for f in figures.values() if f != number), key=lambda f: abs(f - number)
            ),
            slack=_READING * number,
            published_error=float(error[:, -1].std(ddof=1)) / math.sqrt(100),
            curve=curve(error, "test error"),
        )
    yield from _blobs(lab)


def _nearest(number: float, others: Iterable[float]) -> float:
    return min((other for other in others if other != number), key=lambda x: abs(x - number))


def _blobs(lab: Lab) -> Iterator[Claim]:
    fault = (
        "The centres of the test blobs are drawn anew, so that test rows lie where there are no "
        "training rows, and whatever widens a model seems to improve it."
    )
    last, seeds = lab.pick(20, 100, 100), lab.pick(30, 100, 100)
    for shared in (False, True):
        task = KernelDensity("blobs", 100, bandwidth=1.0, shared_centers=shared)
        nll = lab.chains(Accumulate(), task, last, seeds, "nll")
        centers = "same centres for training and test" if shared else "centres as published"
        yield Claim(
            text=f"kernel density of blobs, accumulate, {centers}: the NLL falls; its change "
            f"by generation {last}",
            law="falls, in a figure",
            published=0.0,
            relation="<=",
            ours=jackknife(lambda mean: mean[-1] - mean[0], nll),
            fault=fault if shared else "",
            curve=curve(nll, "NLL"),
        )


@card("2404.01413")
def _breaking_the_curse(lab: Lab) -> Iterator[Claim]:
    n, dim, last = 100, 10, lab.pick(20, 100, 100)
    task, seeds = LinearRegression(dim, n), lab.pick(8000, 20_000, 20_000)
    first = regression.noise_error(n, dim)
    replaced = lab.chains(Replace(), task, last, seeds, "test_error")
    law = regression.replace_error(n, dim, last)
    yield Claim(
        text=f"replace: the test error grows linearly; generation {last}",
        law="t s^2 d/(n - d - 1)",
        published=float(law[-1]),
        ours=jackknife(at(last), replaced),
        against=first,
        curve=curve(replaced, "test error", law),
    )
    accumulated = lab.chains(Accumulate(), task, last, seeds, "test_error")
    law = regression.accumulate_error(n, dim, last)
    yield Claim(
        text=f"accumulate: the test error levels off; generation {last}",
        law="sum 1/k^2 s^2 d/(n - d - 1)",
        published=float(law[-1]),
        ours=jackknife(at(last), accumulated),
        against=first,
        curve=curve(accumulated, "test error", law),
    )
    yield Claim(
        text=f"accumulate: never more than pi^2/6 errors of one fit; generation {last}",
        law="pi^2/6",
        relation="<=",
        published=_PI2_6,
        ours=jackknife(lambda mean: mean[-1] / first, accumulated),
    )


@card("2410.22812")
def _universality(lab: Lab) -> Iterator[Claim]:
    last, dim, n = 10, 5, lab.pick(1000, 10_000, 10_000)
    task, seeds = LinearRegression(dim, n), lab.pick(2000, 10_000, 10_000)
    first = regression.noise_error(n, dim)
    sums = float(np.sum(1 / np.arange(1, last + 1) ** 2))
    laws = {"discard": (Replace(), "t", float(last)), "augment": (Accumulate(), "sum 1/k^2", sums)}
    for name, (workflow, law, ratio) in laws.items():
        error = lab.chains(workflow, task, last, seeds, "test_error") / first
        yield Claim(
            text=f"regression, {name}: risk ratio of generation {last}",
            law=law,
            published=ratio,
            ours=jackknife(at(last), error),
            against=1.0,
            curve=curve(error, "risk ratio"),
        )
    # Rows of variance a + b m + c m^2 have terms of order |c|/n beyond the universal ratio.
    rows = 1000
    families: tuple[tuple[FamilyName, float], ...]
    families = ("exponential", 1.0), ("bernoulli", 0.25), ("poisson", 1.0)
    for family, variance in families:
        kind = ExponentialFamily(family, None, rows)
        error = lab.chains(Accumulate(), kind, last, 4 * seeds, "squared_error") * rows / variance
        yield Claim(
            text=f"{family} rows, augment: the same risk ratio",
            law="sum 1/k^2",
            published=sums,
            ours=jackknife(at(last), error),
            against=1.0,
            slack=4 * sums / rows,
        )
    yield from _subsampled(lab)
    yield from _doubled(lab)


def _subsampled(lab: Lab) -> Iterator[Claim]:
    last, dim, n = lab.pick(10, 100, 100), 20, 100
    task, seeds = Gaussian(dim, n), lab.pick(800, 800, 4000)
    error = lab.chains(AccumulateSubsample(), task, last, seeds, "squared_error_mean") * n / dim
    law = risk.accumulate_subsample_risk_ratio(last)
    exact = n * gaussian.accumulate_subsample_moments(n, last).mean_error
    medians = {2: 1.75, 5: 2.3908, 10: 2.6493, 100: 2.905}
    for t, number in medians.items():
        if t > last:
            continue
        yield Claim(
            text=f"augment-subsample: risk ratio of generation {t}, of a mean here",
            law="published for a median",
            published=number,
            ours=jackknife(at(t), error),
            against=2 * risk.accumulate_risk_ratio(last)[t - 1],  # drawn with replacement
            slack=abs(float(exact[t - 1] - law[t - 1])),
            curve=curve(error, "risk ratio", law) if t == 10 else None,
        )


def _doubled(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 100, 12, lab.pick(20_000, 50_000, 200_000)
    error = lab.chains(
        doubling(n), ExponentialFamily("poisson", None, n), last, seeds, "squared_error"
    )
    ours = jackknife(lambda mean: mean[-1] * n, error)
    law = 1 + np.cumsum(np.append(0.0, 0.5 ** np.arange(2, last + 1)))
    fault = (
        "The augmented loader is read again when labels are made anew, so that the pool doubles in "
        "each generation instead of growing by one batch."
    )
    yield Claim(
        text="image features, augment: the risk ratio of its code tends to pi^2/6",
        law="pi^2/6",
        published=_PI2_6,
        ours=ours,
        against=1.5,
        fault=fault,
    )
    yield Claim(
        text="the same loop, whose pool doubles",
        law="1 + 1/4 + 1/8 + ... = 3/2",
        derived=True,
        published=1.5,
        ours=ours,
        against=_PI2_6,
        slack=0.5**last,
        curve=curve(error * n, "risk ratio", law),
    )
