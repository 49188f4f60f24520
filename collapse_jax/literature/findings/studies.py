"""Papers about pools of rows: attribution, unlearning, and downstream estimates."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy.stats import norm

from collapse_jax.analysis.estimates import Estimate, at, jackknife
from collapse_jax.literature.cards import Lab, card
from collapse_jax.literature.claims import Claim
from collapse_jax.loop.presets import Accumulate, Replace
from collapse_jax.run.simulation import simulate
from collapse_jax.studies.datamodels import datamodel
from collapse_jax.studies.ensembles import ensemble
from collapse_jax.studies.unlearning import Method, unlearn
from collapse_jax.tasks.categorical import Categorical
from collapse_jax.tasks.exponential_family import ExponentialFamily
from collapse_jax.tasks.gaussian import Gaussian
from collapse_jax.tasks.linear_regression import LinearRegression
from collapse_jax.tasks.logistic_regression import LogisticRegression


@card("2010.12883")
def _unlearning(lab: Lab) -> Iterator[Claim]:
    last, removed = 8, [3, 5]
    mask = np.ones((last, last), bool)
    mask[-1, removed] = False
    for task, metric in (
        (Gaussian(2, 50), "trace_ratio"),
        (Categorical(10, 50), "squared_error"),
        (LinearRegression(5, 50), "test_error"),
        (ExponentialFamily("gamma", 1.0, 50, shape=2.0), "squared_error"),
    ):
        seeds, name = lab.pick(20, 100, 1000), type(task).__name__
        found = unlearn(Accumulate(), task, last, seeds, synthetic=removed)
        never = simulate(
            *(Accumulate(), task, last, seeds),
            include=mask,
            storage="rows",
            metrics=[metric],
            progress=False,
        )
        apart = found[metric].sel(model="unlearned") / never[metric].isel(generation=-1) - 1
        lab.note(f"{name}(n_samples={task.n_samples})", seeds)
        yield Claim(
            text=f"{name}: statistics that sum are subtracted; greatest relative distance of the "
            f"unlearned model's {metric} from that of a fit that never had the batches",
            law="0, in the loop's single precision",
            derived=True,
            relation="<=",
            published=1e-4,
            ours=Estimate(float(abs(apart).max()), 0.0),
        )
    from sklearn.datasets import load_breast_cancer  # slow to import

    task = LogisticRegression(data=load_breast_cancer(return_X_y=True), penalty=10.0)
    seeds, quarter = lab.pick(5, 20, 100), range(task.n_samples // 4)
    lab.note(f"LogisticRegression(breast_cancer, n_samples={task.n_samples}, penalty=10)", seeds)
    methods: dict[Method, str] = {
        "upper_bound": "the evidence upper bound",
        "reversed": "the reversed divergence",
    }
    for method, text in methods.items():
        found = unlearn(Replace(), task, 1, seeds, real={1: quarter}, method=method)
        yield Claim(
            text=f"a quarter of breast_cancer, by {text}: KL(unlearned, retrained) minus "
            "KL(full, retrained)",
            law="less",
            derived=True,
            relation="<=",
            published=0.0,
            ours=jackknife(lambda mean: mean[1] - mean[0], found.divergence.values.T),
        )


@card("2202.00622")
def _datamodels(lab: Lab) -> Iterator[Claim]:
    seeds, masks, last = lab.pick(40, 200, 1000), lab.pick(400, 1000, 1000), 10
    for name, task, metric in (
        ("mean", Gaussian(2, 50), "squared_error_mean"),
        ("regression", LinearRegression(5, 50), "test_error"),
    ):
        found = datamodel(Replace(), task, last, seeds, metric=metric, n_masks=masks)
        lab.note(f"{type(task).__name__}(dim={task.dim}, n_samples={task.n_samples})", seeds)
        yield Claim(
            text=f"{name}: a linear model of what was included predicts the loss of other subsets; "
            "correlation at least",
            law="0.9",
            derived=True,
            relation=">=",
            published=0.9,
            ours=jackknife(at(1), found.correlation.values[:, None]),
        )
        weight = found.weight.values
        yield Claim(
            text=f"{name}: the real batch is worth most; its weight minus that of the last model's",
            law="less",
            derived=True,
            relation="<=",
            published=0.0,
            ours=jackknife(lambda mean: mean[0] - mean[-1], weight),
        )
        half = last // 2
        yield Claim(
            text=f"{name}: batches of later generations are worth less than those of earlier ones",
            law="less",
            derived=True,
            relation="<=",
            published=0.0,
            ours=jackknife(
                lambda mean, h=half: np.mean(mean[:h]) - np.mean(mean[h:]),
                weight,
            ),
        )


@card("2305.09235")
def _ensembles(lab: Lab) -> Iterator[Claim]:
    n, seeds, members = 100, lab.pick(2000, 20_000, 100_000), 20
    task = Gaussian(1, n)
    for times in (1, 10):
        one = ensemble(task, seeds, members=1, bootstrap=False, n_synthetic=times * n)
        many = ensemble(task, seeds, members=members, n_synthetic=times * n)
        same = ensemble(task, seeds, members=members, bootstrap=False, n_synthetic=times * n)
        lab.note(f"Gaussian(dim=1, n_samples={n})", 3 * seeds)
        known = 2 * norm.cdf(1.96 * np.sqrt(1 / (times + 1))) - 1
        yield Claim(
            text=f"one synthetic set of {times} n rows: the 95 % interval of a mean covers it",
            law="2 Phi(1.96 sqrt(r/(1 + r))) - 1, r = n/n_s",
            derived=True,
            published=float(known),
            ours=_coverage(one),
            against=0.95,
            slack=1 / n,
        )
        yield Claim(
            text=f"{members} generators with bootstraps, {times} n rows each: covers it at least",
            law="0.95, nearly",
            derived=True,
            relation=">=",
            published=0.93,
            ours=_coverage(many),
        )
        yield Claim(
            text=f"{members} generators of the same rows, {times} n rows each: covers less",
            law="less",
            derived=True,
            relation="<=",
            published=0.0,
            ours=Estimate(
                _coverage(same).value - _coverage(many).value,
                float(np.hypot(_coverage(same).error, _coverage(many).error)),
            ),
        )


def _coverage(ds: xr.Dataset) -> Estimate:
    """How often an interval has the truth, which is 0."""
    return jackknife(at(1), ((ds.low < 0) & (ds.high > 0)).values[:, None])
