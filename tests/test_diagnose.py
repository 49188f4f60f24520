"""The eight detectors where theory knows the answer, and on made-up runs."""

import json

import jaxtyping
import numpy as np
import pytest
import xarray as xr

import collapse_jax as cj
from collapse_jax.analysis import bootstrap
from collapse_jax.analysis.definitions import DEFINITIONS, diagnose
from collapse_jax.theory import risk

T = 40
GENERATION = np.arange(1, T + 1)


def chains(n_samples=100, n_chains=100, data=None, seed=0, **curves):
    """Chains around curves, each with a factor of its own and independent errors on top."""
    generator = np.random.default_rng(seed)
    factor = generator.gamma(25, 1 / 25, (n_chains, 1)) * generator.gamma(25, 1 / 25, (n_chains, T))
    values = {name: (("seed", "generation"), curve * factor) for name, curve in curves.items()}
    config = {"task": {"type": "Mine", "n_samples": n_samples, "data": data}}
    return xr.Dataset(values, attrs={"config": json.dumps(config)})


def answer(definition, *runs):
    return diagnose(list(runs))[definition].answer


RATIOS = {
    cj.Replace(): risk.replace_risk_ratio(T),
    cj.Accumulate(): risk.accumulate_risk_ratio(T),
    cj.AccumulateSubsample(): risk.accumulate_subsample_risk_ratio(T),
}


@pytest.mark.parametrize(
    ("workflow", "answers"),
    [
        (cj.Replace(), {"catastrophic risk": "yes", "diverging risk": "yes"}),
        (cj.Accumulate(), {"catastrophic risk": "no", "diverging risk": "no"}),
        (cj.AccumulateSubsample(), {"catastrophic risk": "no", "diverging risk": "no"}),
    ],
    ids=lambda x: type(x).__name__,
)
def test_regression(workflow, answers):
    """Errors are t B, B (1 + 1/4 + ... + 1/t^2) and about B c_t, at any n: the same power of it."""
    subsample = workflow == cj.AccumulateSubsample()  # compiles anew for each n
    sizes = (60,) if subsample else (60, 240)
    runs = [cj.simulate(workflow, cj.LinearRegression(2, n), T, 300, progress=False) for n in sizes]
    found = diagnose(runs)
    for definition, expected in (answers | {"rising risk": "yes"}).items():
        assert found[definition].answer == expected, found
    assert found["changed scaling"].answer in ("no", "cannot tell"), found
    late = bootstrap.periods(RATIOS[workflow])[2]
    assert found["catastrophic risk"].low * 0.9 < late < found["catastrophic risk"].high * 1.1
    for definition in ("collapsing variance", "entangled modes", "vanishing tails"):
        assert found[definition].answer == "cannot tell"


def test_variance_and_tails_of_gaussians():
    """Variances are (1 - 1/n)^t under Replace, and bounded from below under Accumulate."""
    task = cj.Gaussian(2, 12)
    replace, accumulate = (
        diagnose(cj.simulate(workflow, task, T, 300, progress=False))
        for workflow in (cj.Replace(), cj.Accumulate())
    )
    for definition in ("collapsing variance", "vanishing tails", "catastrophic risk"):
        assert replace[definition].answer == "yes", replace
        assert accumulate[definition].answer == "no", accumulate
    assert accumulate["hallucinations"].answer == "no"


def test_growth_exponent_recovers_powers():
    for power in (-1.5, -0.5, 0.3, 0.5, 1.0, 2.5):
        curve = 1.0 + np.sign(power) * 0.2 * (GENERATION**power - 1.0)
        assert bootstrap.growth_exponent(bootstrap.periods(curve), T) == pytest.approx(
            power, abs=0.01
        )
    logarithm = bootstrap.growth_exponent(bootstrap.periods(3 + np.log(GENERATION)), T)
    assert logarithm == pytest.approx(0.0, abs=0.01)
    for curve, end in ((np.ones(T), bootstrap.SLOWEST), (np.exp(GENERATION), bootstrap.FASTEST)):
        assert bootstrap.growth_exponent(bootstrap.periods(curve), T) == end
    dead = np.where(GENERATION > 20, np.inf, 1.0)
    assert bootstrap.growth_exponent(bootstrap.periods(dead), T) == bootstrap.FASTEST
    assert np.isnan(bootstrap.growth_exponent(bootstrap.periods(np.full(T, np.inf)), T))


@pytest.mark.parametrize(
    ("definition", "metric", "yes", "no"),
    [
        ("catastrophic risk", "test_error", 1 + GENERATION, 1 + GENERATION / 9),
        ("catastrophic risk", "nll", 1 + GENERATION / 9, 1 + GENERATION / 40),
        ("catastrophic risk", "nll", np.where(GENERATION > 20, np.inf, 1.0), np.ones(T)),
        ("rising risk", "test_loss", 1 + GENERATION / 99, 2 - GENERATION / 99),
        ("diverging risk", "squared_error", GENERATION**0.8, 9 - 8 / GENERATION),
        ("collapsing variance", "trace_ratio", 0.9**GENERATION, 0.3 + 0.7 / GENERATION),
        ("collapsing variance", "entropy_ratio", 0.95**GENERATION, 1 + GENERATION),
        ("entangled modes", "entangled", 0.01 * GENERATION, 0.2 + 0 * GENERATION),
        ("vanishing tails", "tail_coverage", 0.9**GENERATION, 0.99**GENERATION),
        ("vanishing tails", "recall", 0.9**GENERATION, 0.99**GENERATION),
        ("hallucinations", "hallucinated", 0.01 * GENERATION, 1e-4 * GENERATION),
        ("hallucinations", "precision", 1 - 0.01 * GENERATION, 1 - 1e-4 * GENERATION),
        ("catastrophic risk", "frechet", 1 + GENERATION, 1 + GENERATION / 9),
    ],
)
def test_detectors_on_made_up_curves(definition, metric, yes, no):
    assert answer(definition, chains(**{metric: yes})) == "yes"
    assert answer(definition, chains(**{metric: no})) == "no"
    assert answer(definition, chains(other=yes)) == "cannot tell"


def test_chains_that_disagree_or_are_too_few():
    close = chains(test_error=GENERATION**0.5, n_chains=30)
    assert answer("diverging risk", close) == "cannot tell"
    assert answer("catastrophic risk", chains(test_error=1 + 0.355 * GENERATION)) == "cannot tell"
    one = chains(test_error=1.0 * GENERATION, n_chains=1)
    assert {found.answer for found in diagnose(one).values()} == {"cannot tell"}
    short = chains(test_error=1.0 * GENERATION).isel(generation=slice(3))
    assert {found.answer for found in diagnose(short).values()} == {"cannot tell"}


def test_scaling_law():
    def run(n, power, **options):
        late = np.where(GENERATION > 20, n**power, n**-1.0)
        return chains(n, seed=n, test_error=late, **options)

    sizes = (10, 100, 1000)
    assert answer("changed scaling", *(run(n, -0.5) for n in sizes)) == "yes"
    assert answer("changed scaling", *(run(n, -1.0) for n in sizes)) == "no"
    assert answer("changed scaling", run(10, -0.5)) == "cannot tell"
    own = {"rows": 50}
    assert answer("changed scaling", *(run(n, -0.5, data=own) for n in sizes)) == "cannot tell"
    runs = xr.concat([run(n, -0.5) for n in sizes], "n_samples", combine_attrs="drop_conflicts")
    joint = diagnose(runs.assign_coords(n_samples=list(sizes)))
    assert joint["changed scaling"].answer == "yes"
    assert joint["changed scaling"].value == pytest.approx(0.5, abs=0.05)


def test_generation_1_that_saw_all_of_the_truth_has_no_error_to_compare_with():
    curve = np.where(GENERATION > 1, 0.01 * GENERATION, 0.0)
    seen = chains(50, data={"rows": 50}, squared_error=curve)
    assert answer("catastrophic risk", seen) == "cannot tell"
    assert answer("rising risk", seen) == "yes"


def test_a_diagnosis_reads_well_and_is_reproducible():
    ds = chains(test_error=1.0 * GENERATION)
    found = diagnose(ds)
    assert list(found) == list(DEFINITIONS)
    assert str(found) == str(diagnose(ds))
    assert "diverging risk        yes          test_error, power of t: " in str(found)
    frame = found.to_frame()
    assert frame.loc["diverging risk", "answer"] == "yes"
    assert frame.shape == (8, 6)
    assert "diverging risk" in found._repr_html_()


def test_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match="ds must be a dataset"):
        diagnose(3)
    with pytest.raises(ValueError, match="dimensions 'seed' and 'generation'"):
        diagnose(xr.Dataset())
