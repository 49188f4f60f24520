"""The verdict on made-up curves whose answer is known, and on runs of the three workflows."""

import json

import jaxtyping
import numpy as np
import pytest
import xarray as xr

import collapse_jax as cj
from collapse_jax.analysis.verdicts import SCALES, headline, verdict
from collapse_jax.theory import risk

T = 60


def chains(curve, n_chains=100, noise=0.3, name="test_error", seed=0):
    """Chains around a curve, each with a factor of its own and independent errors on top."""
    generator = np.random.default_rng(seed)
    own = generator.gamma(1 / noise**2, noise**2, (n_chains, 1))
    fresh = generator.gamma(1 / noise**2, noise**2, (n_chains, len(curve)))
    return xr.Dataset({name: (("seed", "generation"), curve * own * fresh)})


def log_chains(curve, n_chains=100, noise=0.1, name="nll", seed=0):
    generator = np.random.default_rng(seed)
    values = curve + noise * generator.standard_normal((n_chains, len(curve)))
    return xr.Dataset({name: (("seed", "generation"), values)})


GENERATION = np.arange(1, T + 1)
LINEAR = risk.replace_risk_ratio(T)
BOUNDED = risk.accumulate_risk_ratio(T)
LEVELLING = risk.accumulate_subsample_risk_ratio(T)

CURVES = [
    (chains(LINEAR), "collapse"),
    (chains(np.exp(GENERATION / 10)), "collapse"),
    (chains(GENERATION**0.75), "collapse"),
    (chains(1 + 0.01 * GENERATION, noise=0.01), "collapse"),  # slowly, but without an end in sight
    (chains(BOUNDED), "stable"),
    (chains(np.ones(T)), "stable"),
    (chains(np.linspace(1, 0.2, T)), "stable"),  # it gets better
    (chains(LEVELLING), "plateau"),
    (chains(10 - 9 / GENERATION), "plateau"),
    (chains(1 + 2 * np.log(GENERATION), noise=0.1), "plateau"),
    (chains(BOUNDED, n_chains=3, noise=2.0), "uncertain"),
    (chains(GENERATION**0.47, noise=0.5, n_chains=30), "uncertain"),
    (chains(LINEAR[:3]), "uncertain"),
    (chains(LINEAR, n_chains=1), "uncertain"),
    (log_chains(5 + 0.2 * LINEAR), "collapse"),
    (log_chains(-5 + 0.2 * LINEAR), "collapse"),
    (log_chains(-5 + 0.2 * LEVELLING), "stable"),
    (log_chains(-5 + 0.2 * np.log(GENERATION)), "plateau"),
    (log_chains(np.full(T, np.inf)), "uncertain"),
    (log_chains(np.where(GENERATION > 20, np.inf, 1.0), name="test_loss"), "collapse"),
    (chains(np.exp(-GENERATION / 9), noise=0.01, name="entropy_ratio"), "collapse"),
    (chains(np.where(GENERATION > 20, 0.0, 0.9), noise=1e-3, name="entropy_ratio"), "collapse"),
    (chains(1 - 0.01 * BOUNDED, noise=1e-3, name="entropy_ratio"), "stable"),
    (chains(1 - 0.01 * LEVELLING, noise=1e-3, name="entropy_ratio"), "plateau"),
    (chains(np.exp(-GENERATION), noise=0.01, name="trace_ratio"), "collapse"),
    (chains(np.exp(GENERATION), noise=0.01, name="trace_ratio"), "collapse"),
    (chains(np.where(GENERATION > 20, 0.0, 0.9), noise=1e-3, name="trace_ratio"), "collapse"),
]


@pytest.mark.parametrize("case", range(len(CURVES)))
def test_made_up_curves(case):
    ds, answer = CURVES[case]
    assert verdict(ds).answer == answer, verdict(ds)


@pytest.mark.parametrize(
    ("curve", "answer"), [(LINEAR, "collapse"), (BOUNDED, "stable"), (LEVELLING, "plateau")]
)
def test_errors_that_theory_predicts_are_almost_always_told_apart(curve, answer):
    answers = [verdict(chains(curve, n_chains=50, noise=0.6, seed=s)).answer for s in range(40)]
    assert set(answers) <= {answer, "uncertain"}
    assert answers.count(answer) >= 32


@pytest.mark.parametrize(
    ("workflow", "answer"),
    [(cj.Replace(), "collapse"), (cj.Accumulate(), "stable")],
    ids=["replace", "accumulate"],
)
def test_workflows(workflow, answer):
    ds = cj.simulate(workflow, cj.Categorical(4, 30), 40, 200, progress=False)
    found = verdict(ds)
    assert found.answer == answer
    assert found.variable == headline(ds) == "entropy_ratio"
    assert found == verdict(ds)  # nothing about it is random


def test_a_few_dead_chains_do_not_decide():
    ds = chains(BOUNDED)
    ds.test_error[:3] = np.inf
    assert verdict(ds).answer == "stable"
    ds.test_error[:50, 30:] = np.inf
    assert verdict(ds).answer == "collapse"


def with_data(rows, n_samples, ds):
    config = {"task": {"data": {"rows": rows}, "n_samples": n_samples}}
    return ds.assign_attrs(config=json.dumps(config))


def test_a_fit_to_all_of_the_true_data_has_no_error_to_compare_with():
    small, large = (
        chains(1 - size * (BOUNDED - 1), 50, 1e-4, "entropy_ratio") for size in (0.1, 0.4)
    )
    assert verdict(with_data(100, 100, small)).answer == "stable"
    assert verdict(with_data(100, 100, large)).answer == "plateau"
    # Half of the rows have half of the error of as many independent ones.
    for extra, answer in ((BOUNDED, "stable"), (LEVELLING, "plateau")):
        half = chains(1 - 0.01 * (extra - 0.5), 50, 1e-4, "entropy_ratio")
        assert verdict(with_data(100, 50, half)).answer == answer


def test_headline_is_the_first_that_there_is():
    values = ("seed", "generation"), np.ones((2, 5))
    assert headline(xr.Dataset({"nll": values, "trace_ratio": values})) == "trace_ratio"
    assert headline(xr.Dataset({"nll": values, "n_train": values})) == "nll"
    assert verdict(xr.Dataset({"nll": values, "trace_ratio": values}), "nll").variable == "nll"


def test_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    ds = chains(LINEAR)
    with pytest.raises(ValueError, match=r"ds must have one of .*'x'"):
        headline(ds.rename(test_error="x"))
    with pytest.raises(ValueError, match="variable must be one of 'test_error', got 'test_eror'"):
        verdict(ds, "test_eror")


def test_scales_read_the_truth_as_no_error():
    for name, scale in SCALES.items():
        truth = np.ones(1) if name.endswith("ratio") else np.zeros(1)
        assert scale.of_mean(scale.of_chain(truth)) == 0.0
