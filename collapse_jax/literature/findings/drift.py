"""Papers about drift: what is lost by sampling alone, of categories, counts and variances."""

from collections.abc import Iterator

import numpy as np

from collapse_jax.analysis.estimates import at, jackknife
from collapse_jax.literature.cards import Lab, card, curve
from collapse_jax.literature.claims import Claim
from collapse_jax.loop.presets import Replace
from collapse_jax.loop.workflow import Past, Real, Synthetic, Workflow
from collapse_jax.tasks.categorical import Categorical
from collapse_jax.tasks.exponential_family import ExponentialFamily
from collapse_jax.tasks.gaussian import Gaussian
from collapse_jax.theory import categorical, wishart, wright_fisher

_SKEWED = 0.5, 0.3, 0.15, 0.05
_DEAD = 1e-6  # nat, of a model with a single outcome


@card("2404.05090")
def _how_bad(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 50, 40, lab.pick(2000, 20_000, 20_000)
    task, start = Categorical(probabilities=_SKEWED, n_samples=n), float(np.square(_SKEWED).sum())
    steps = np.arange(1, last + 1)
    loops = {
        "fully synthetic": (Replace(), (1 - 1 / n) ** steps, "1 - (1 - 1/n)^t (1 - S_0)"),
        "each row of a random earlier model": (
            Workflow(synthetic=Synthetic(of=Past())),
            np.cumprod(1 - 1 / (n * steps**2)),
            "prod 1 - 1/(n k^2), as if accumulated",
        ),
    }
    for name, (workflow, left, law) in loops.items():
        collision = lab.chains(workflow, task, last, seeds, "collision")
        known = 1 - (1 - start) * left
        yield Claim(
            text=f"{name}: two draws agree; probability in generation {last}",
            law=law,
            derived=name != "fully synthetic",
            published=float(known[-1]),
            ours=jackknife(at(last), collision),
            against=start if name == "fully synthetic" else float(1 - (1 - start) * 0.98**last),
            curve=curve(collision, "collision probability", known),
        )
    yield from _times(lab)
    yield from _partly(lab)


def _times(lab: Lab) -> Iterator[Claim]:
    seeds, means = lab.pick(2000, 20_000, 20_000), []
    for n in (15, 30):
        task = Categorical(probabilities=_SKEWED, n_samples=n)
        alive = lab.chains(Replace(), task, 20 * n, seeds, "entropy") > _DEAD
        means.append(1.0 + alive.sum(axis=1, keepdims=True))
        spread = 1 - float(np.square(_SKEWED).sum())
        most = len(_SKEWED)
        bounds = {
            ">=": (1 + spread / (1 - 1 / most) * (n - 1), "1 + (1 - S_0)/(1 - 1/s) (n - 1)"),
            "<=": (1 + spread * n * (n - 1), "1 + (1 - S_0) n (n - 1)"),
        }
        for relation, (bound, law) in bounds.items():
            yield Claim(
                text=f"fully synthetic, n = {n}: mean time until one outcome is left, at "
                + ("least" if relation == ">=" else "most"),
                law=law,
                relation="<=" if relation == "<=" else ">=",
                published=bound,
                ours=jackknife(at(1), means[-1]),
            )
    yield Claim(
        text="that time for twice as many draws, in these units: it is conjectured to grow like n",
        law="2",
        published=2.0,
        ours=jackknife(lambda few, many: many[0] / few[0], *means),
        against=4.0,
        slack=2 / 15,  # terms of order 1/n
    )


def _partly(lab: Lab) -> Iterator[Claim]:
    n_r, n_s, t, last = 5, 200, 10, 200
    loop = Workflow(Real(keep=None), Synthetic(n=n_s))
    task = Categorical(probabilities=_SKEWED, n_samples=n_r)
    collision = lab.chains(loop, task, last, lab.pick(4000, 40_000, 40_000), "collision")
    right = categorical.partially_synthetic_collision(_SKEWED, n_r, n_s, last)
    alpha = n_s / (n_r + n_s)
    beta = alpha * ((1 + 1 / n_r) * alpha - 1 / n_r)
    start = float(np.square(_SKEWED).sum())
    slip = 2 * (1 - 1 / n_r) * start * alpha / n_r * beta ** np.arange(last)
    printed = right - slip / (1 + (1 + 1 / n_r) * alpha)
    fault = (
        "The formula is printed with a minus before (alpha/N) beta^m. It must be a plus: with the "
        "minus a truth of one outcome would not stay one."
    )
    for name, sign, known, other in (
        ("the printed formula", "-", printed, right),
        ("its sign corrected", "+", right, printed),
    ):
        yield Claim(
            text=f"{n_r} real and {n_s} synthetic draws: two draws agree in generation {t}, by "
            f"{name}",
            law=f"S_m with {sign} (alpha/N) beta^m",
            derived=sign == "+",
            published=float(known[t - 1]),
            ours=jackknife(at(t), collision),
            against=float(other[t - 1]),
            fault=fault if sign == "-" else "",
            curve=curve(collision, "collision probability", known),
        )
    limit = start + (1 - start) * (n_r + 3 * n_s) / (n_r**2 + 2 * n_s * n_r + n_s)
    yield Claim(
        text=f"the same loop: the limit of that probability, nearly reached in generation {last}",
        law="S_0 + (1 - S_0)(N + 3n)/(N^2 + 2nN + n)",
        published=limit,
        ours=jackknife(at(last), collision),
        against=1.0,
        slack=beta**last,
    )


@card("2305.17493")
def _curse(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 100, 20, lab.pick(20_000, 100_000, 100_000)
    task = Gaussian(1, n, estimator="unbiased")
    distance = lab.chains(Replace(), task, last, seeds, "wasserstein2")
    known = wishart.wasserstein2(n, last, estimator="unbiased")
    first_order = 1.5 * last / n
    yield Claim(
        text=f"Gaussian: squared Wasserstein distance of generation {last}",
        law="(3/2) sum 1/n, to first order",
        published=first_order,
        ours=jackknife(at(last), distance),
        against=last / n,
        slack=(last / n) ** 2 / 16,  # of the second order
        curve=curve(distance, "Wasserstein distance", known),
    )
    last, few = 400, 20
    small = Gaussian(1, few, estimator="unbiased")
    log = lab.chains(Replace(), small, last, seeds // 10, "log_det_ratio")
    rate = wishart.log_det_mean(few, 1, 1, estimator="unbiased")[0]
    yield Claim(
        text="Gaussian, unbiased variance: it vanishes all the same; slope of its logarithm",
        law="psi((n-1)/2) - log((n-1)/2)",
        derived=True,
        published=float(rate),
        ours=jackknife(lambda mean: mean[-1] / last, log),
        against=0.0,
        curve=curve(log, "log-variance"),
    )
    outcomes, draws, last = 10, 20, 300
    entropy = lab.chains(
        Replace(), Categorical(outcomes, draws), last, lab.pick(2000, 10_000, 10_000), "entropy"
    )
    uniform = np.full(outcomes, 1 / outcomes)
    dead = wright_fisher.count_spectrum(uniform, draws, last)[:, -1]
    yield Claim(
        text=f"discrete: one outcome is left in the end; share of chains in generation {last}",
        law="1",
        published=1.0,
        ours=jackknife(at(last), (entropy <= _DEAD).astype(np.float64)),
        against=0.0,
        slack=1 - float(dead[-1]) + 1e-6,
        curve=curve((entropy <= _DEAD).astype(np.float64), "share of chains", dead),
    )


@card("2412.17646")
def _rate(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 10, 50, lab.pick(5000, 50_000, 50_000)
    counts = ExponentialFamily("poisson", 1.0, n)
    alive = 1 - lab.chains(Replace(), counts, last, seeds, "extinct")
    known = -np.expm1(-n * wright_fisher.branching_survival(last))
    yield Claim(
        text=f"Poisson rows: a chain is alive in generation {last}; probability",
        law="1 - exp(-n lambda g_k)",
        published=float(known[-1]),
        ours=jackknife(at(last), alive),
        against=1.0,
        curve=curve(alive, "share alive", known),
    )
    p, n, last = 0.001, 1000, 20
    rare = ExponentialFamily("bernoulli", p, n)
    alive = 1 - lab.chains(Replace(), rare, last, seeds, "extinct")
    g = wright_fisher.branching_survival(last)[-1]
    factor = max(1 - 3 * n * p**2 - 3 * last * p, 0.0)
    for relation, bound, law in (
        (">=", -np.expm1(-n * p * g), "1 - exp(-n p g_k)"),
        ("<=", 1 - factor * np.exp(-n * p * g), "1 - (1 - 3np^2 - 3kp) exp(-n p g_k)"),
    ):
        yield Claim(
            text=f"Bernoulli rows, p = {p}: a chain is alive in generation {last}; probability, at "
            + ("least" if relation == ">=" else "most"),
            law=law,
            relation=">=" if relation == ">=" else "<=",
            published=float(bound),
            ours=jackknife(at(last), alive),
            curve=curve(alive, "share alive") if relation == "<=" else None,
        )
    n, last, least = 10, 100, 0.1
    task = Gaussian(1, n, estimator="unbiased")
    wide = lab.chains(Replace(), task, last, seeds, "log_det_ratio") > 2 * np.log(least)
    bound = np.exp(-np.arange(1, last + 1) / (4 * n - 1)) / least
    yield Claim(
        text=f"Gaussian: a standard deviation above {least} in generation {last}; probability",
        law="(s_0/e) exp(-k/(4n - 1))",
        relation="<=",
        published=float(bound[-1]),
        ours=jackknife(at(last), wide.astype(np.float64)),
        curve=curve(wide.astype(np.float64), "share of chains", np.minimum(bound, 1.0)),
    )
