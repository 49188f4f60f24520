"""Rows that are drawn by a detector of given skill, against exact laws."""

import numpy as np
import pytest
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.run import compiled
from collapse_jax.theory import plans, recursion

GROWING = (cj.Real(keep=None), cj.Synthetic(keep=None))
FRESH = (cj.Real(every=True, n=[5, 3, 4, 6, 3], keep=2), cj.Synthetic(n=7, keep=2))
TASK = cj.Gaussian(1, 6)


def known(streams, skill, n=6, generations=5):
    """The share of rows drawn that are real, and the exact moments of loops with a mean."""
    real, made = streams
    plan = cj.Workflow(real, made, cj.Fit(n, with_replacement=True)).plan(generations, 6)
    synthetic = (1.0 - np.broadcast_to(skill, generations)) * plan.synthetic_size
    share = plan.real_size / (plan.real_size + synthetic)
    weights = np.stack(
        [
            share / plan.real_size,
            np.where(plan.synthetic_size > 0, 1.0 - share, 0.0)
            / np.maximum(plan.synthetic_size, 1),
        ],
        axis=1,
    )
    return share, recursion.exact_moments(plans.streams_of(plan)._replace(row_weights=weights))


@pytest.mark.parametrize("streams", [GROWING, FRESH], ids=["growing", "fresh"])
@pytest.mark.parametrize(
    "skill", [0.0, (0.6, 0.9, 0.2, 0.7, 0.5), 1.0], ids=["none", "some", "all"]
)
def test_fits_have_the_exact_moments_of_rows_with_these_weights(streams, skill):
    real, synthetic = streams
    loop = cj.Workflow(real, synthetic, cj.Fit(6, with_replacement=True, skill=skill))
    ds = cj.simulate(loop, TASK, 5, 4000, progress=False)
    share, moments = known(streams, skill)
    assert_mean(ds.real_fraction, share, rounding=1e-6)
    assert_mean(ds.trace_ratio, moments.covariance, rounding=1e-5)
    assert_mean(ds.squared_error_mean, moments.mean_error, rounding=1e-5)
    assert set(cj.theory.expected(loop, TASK, 5)) == {"n_train", "real_fraction"}
    if skill == 1.0:
        assert np.all(ds.real_fraction == 1.0)


def test_without_skill_it_is_plain_mixing():
    """The weights of the test above are those of all rows alike, whose theory is another's."""
    plain = cj.theory.expected(cj.Workflow(*GROWING, cj.Fit(6, with_replacement=True)), TASK, 5)
    share, moments = known(GROWING, 0.0)
    np.testing.assert_allclose(moments.covariance, plain.trace_ratio, rtol=1e-12)
    np.testing.assert_allclose(share, plain.real_fraction, rtol=1e-12)


def test_tasks_of_rows_and_of_counts_and_one_program():
    def loop(skill):
        return cj.Workflow(*GROWING, cj.Fit(40, with_replacement=True, skill=skill))

    before = compiled._advance._cached._cache_size()
    for task in (cj.NGram(n_samples=40, length=6), cj.KernelDensity(n_samples=40)):
        found = [
            cj.simulate(loop(skill), task, 3, 40, progress=False).real_fraction.mean("seed")
            for skill in (0.0, 0.5, 1.0)
        ]
        np.testing.assert_allclose(found[1], [1.0, 2 / 3, 1 / 2], atol=0.06)
        np.testing.assert_array_equal(found[2], 1.0)
    assert compiled._advance._cached._cache_size() == before + 2


@pytest.mark.parametrize(
    ("fit", "streams", "message"),
    [
        (
            {"n": 5, "skill": 0.5},
            GROWING,
            "fit.skill must be None but for rows that are drawn",
        ),
        (
            {"n": 5, "skill": 0.5, "with_replacement": True, "real_weight": 0.5},
            GROWING,
            "without a real_weight, got 0.5",
        ),
        ({"n": 5, "skill": 0.5, "with_replacement": True}, (), "skill must be None where no real"),
        (
            {"n": 5, "skill": 1.0, "with_replacement": True},
            (cj.Real(keep=1, every=False), cj.Synthetic()),
            "skill must be None where no real",
        ),
        (
            {"n": 5, "skill": 1, "with_replacement": True},
            (cj.Real(keep=2), cj.Synthetic(keep=2)),
            "skill must be below 1 where no real row is kept, got 1 in generation 3",
        ),
        (
            {"n": 5, "skill": 1.5, "with_replacement": True},
            GROWING,
            "skill must be between 0 and 1",
        ),
    ],
)
def test_refused(fit, streams, message):
    with pytest.raises(ValueError, match=message):
        cj.simulate(cj.Workflow(*streams, fit=cj.Fit(**fit)), TASK, 3, 2, progress=False)


def test_configurations_and_captions_have_it():
    loop = cj.Workflow(*GROWING, cj.Fit(5, with_replacement=True, skill=0.5))
    assert cj.config.rebuild(cj.config.describe(loop)) == loop
    assert "fit.skill=0.5" in cj.simulate(loop, TASK, 2, 2, progress=False).attrs["workflow"]
