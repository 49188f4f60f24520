"""Papers about how much of each kind of rows there is, and how that changes over generations."""

from collections.abc import Callable, Iterator

import numpy as np

from collapse_jax.analysis.estimates import at, jackknife, slope
from collapse_jax.literature.cards import Lab, card, curve
from collapse_jax.literature.claims import Claim
from collapse_jax.literature.presets import fresh_share, growing, rows_that_stay
from collapse_jax.loop.presets import Replace
from collapse_jax.loop.workflow import Real, Synthetic, Workflow
from collapse_jax.tasks.exponential_family import ExponentialFamily
from collapse_jax.tasks.gaussian import Gaussian
from collapse_jax.theory import expected


@card("2502.18865")
def _constant_share(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 10_000, 100, lab.pick(10_000, 50_000, 50_000)
    task, shown = ExponentialFamily("poisson", None, n), slope(last // 4, last)
    shares: dict[str, tuple[Callable[[int], float], float, float, str]] = {
        "a constant share, 1/10": (lambda t: 0.1, 0.0, 1.0, "levels off"),
        "a share 1/t": (lambda t: 1 / t, 1.0, 0.0, "grows linearly"),
        "a share 1/t^2": (lambda t: 1 / t**2, 1.0, 0.0, "grows linearly"),
    }
    levels = {  # with what the law leaves out: nothing, and about one generation
        "a constant share, 1/10": (1 / (0.1 * 1.9), "1/(a (2 - a))", 1e-3),
        "a share 1/t": (last / 3, "t/(1 + 2c)", 1.0),
    }
    for name, (share, power, other, what) in shares.items():
        loop = fresh_share(n, share)
        error = lab.chains(loop, task, last, seeds, "squared_error") * n
        known = n * expected(loop, task, last).squared_error.values
        yield Claim(
            text=f"{name} of new real rows: the error {what}; its exponent in t",
            law=f"t^{power:g}",
            derived=True,
            published=power,
            ours=jackknife(shown, error),
            against=other,
            slack=2 / (last // 4),  # terms of order 1/t
            curve=curve(error, "error ratio", known),
        )
        if name in levels:
            level, law, rest = levels[name]
            yield Claim(
                text=f"{name}: error of generation {last}, in errors of one fit",
                law=law,
                derived=True,
                published=level,
                ours=jackknife(at(last), error),
                against=float(last),
                slack=rest,
            )


@card("2602.16065")
def _contamination(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 1000, lab.pick(400, 1000, 1000), lab.pick(4000, 20_000, 20_000)
    task, shown = ExponentialFamily("poisson", None, n), slope(last // 4, last)
    for share in (0.1, 0.25, 0.75):
        loop, rate = rows_that_stay(n, share), -min(share, 0.5)
        error = lab.chains(loop, task, last, seeds, "squared_error") * n
        yield Claim(
            text=f"real share {share:g} of what is added: the root of the error falls at the "
            "slower of the rates 1/2 and the share",
            law=f"t^{rate:g}",
            published=rate,
            ours=jackknife(lambda mean: shown(mean) / 2, error),
            against=-0.5 if share < 0.5 else -share,
            slack=0.03,  # at finite t
            curve=curve(error, "error ratio", n * expected(loop, task, last).squared_error.values),
        )


@card("2402.11778")
def _amount(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 100, 60, lab.pick(40_000, 200_000, 200_000)
    task, errors = ExponentialFamily("poisson", None, n), {}
    for ratio in (0.25, 1.0, 4.0):
        loop = Workflow(Real(keep=None), Synthetic(n=round(ratio * n)))
        errors[ratio] = n * lab.chains(loop, task, last, seeds, "squared_error")
        excess = ratio / (1 + ratio) ** 2
        yield Claim(
            text=f"r = {ratio:g} times as many synthetic rows as real ones: excess error of the "
            "second model over real rows alone",
            law="r/(1 + r)^2",
            derived=True,
            published=excess,
            ours=jackknife(lambda mean: mean[1] - mean[0], errors[ratio]),
            against=0.0,
            curve=curve(errors[ratio], "error ratio"),
        )
    for few, many, t, what in (
        (0.25, 1.0, 2, "first rises"),
        (4.0, 1.0, 2, "then falls"),
        (1.0, 4.0, last, "keeps rising, in the long run,"),
    ):
        yield Claim(
            text=f"the error {what} with the amount: {many:g} against {few:g} in generation {t}",
            law="more",
            relation=">=",
            published=0.0,
            ours=jackknife(
                lambda a, b, t=t: b[t - 1] - a[t - 1],
                errors[few],
                errors[many],
            ),
        )


@card("2505.13947")
def _growth(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 20, lab.pick(100, 400, 400), lab.pick(2000, 20_000, 20_000)
    task, shown = Gaussian(1, n), slice(last // 4 - 1, last)
    log_t = np.log(np.arange(1, last + 1))[shown]
    weights = (log_t - log_t.mean()) / np.sum((log_t - log_t.mean()) ** 2)
    for power, workflow, rate, other in (
        (1, growing(n, 1.0), -2 / n, 0.0),
        (2, growing(n, 2.0), 0.0, -2 / n),
    ):
        log = lab.chains(workflow, task, last, seeds, "log_det_ratio")
        known = expected(workflow, task, last).log_det_ratio.values
        what = "variance still vanishes" if power == 1 else "variance stays"
        yield Claim(
            text=f"batches of n t^{power} rows: the {what}; exponent in t",
            law="-2/n for t, 0 for t^2",
            derived=True,
            published=rate,
            ours=jackknife(lambda mean: weights @ mean[shown], log),
            against=other,
            slack=4 / n**2,
            curve=curve(log, "log-variance", known),
        )
    log = lab.chains(Replace(), task, last, seeds, "log_det_ratio")
    yield Claim(
        text=f"batches of n rows: the variance vanishes exponentially; its logarithm over {last}",
        law="-2/n to first order",
        derived=True,
        published=-2 / n,
        ours=jackknife(lambda mean: mean[-1] / last, log),
        against=0.0,
        slack=4 / n**2,
    )
