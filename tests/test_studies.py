"""Studies around loops, against brute force, exact laws and the published table."""

import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy.stats import norm

import collapse_jax as cj
from collapse_jax.numerics.keys import chain_key
from collapse_jax.studies import chains

BATCHES = 6


def pool_of(task, seed=0):
    """The batches of a chain. `[batch, row, ...]`"""
    loop = chains.loop_of(cj.Accumulate(), task, BATCHES)
    chain = chains.run(loop, chain_key(jnp.uint32(seed)))
    return np.concatenate([np.asarray(chain.real)[None], np.asarray(chain.made)[:-1]])


def test_chains_are_those_of_simulate():
    """Also where a collapsing chain is in coordinates of its models."""
    task = cj.Gaussian(dim=2, n_samples=10)
    for workflow in (cj.Replace(), cj.Workflow(cj.Real(every=True), cj.Synthetic(keep=2))):
        loop = chains.loop_of(workflow, task, 5)
        models = chains.run(loop, chain_key(jnp.uint32(3))).models
        world = chains.run(loop, chain_key(jnp.uint32(3))).world
        found = jax.vmap(lambda model, world=world: task.measure(world, model)["trace_ratio"])
        golden = cj.simulate(workflow, task, 5, [3], storage="rows", progress=False).trace_ratio
        np.testing.assert_allclose(found(models), golden[0], rtol=1e-4)


def test_a_fit_to_some_batches_is_the_mean_of_their_rows():
    task = cj.Gaussian(dim=2, n_samples=12)
    pool = pool_of(task)
    found = cj.datamodel(
        cj.Accumulate(), task, BATCHES, [0], metric="squared_error_mean", n_masks=40
    )
    assert found.included.sum("batch").values.tolist() == [3] * 40
    for included, value in zip(
        found.included.values, found.squared_error_mean.values[0], strict=True
    ):
        mean = pool[included].reshape(-1, 2).mean(axis=0)
        np.testing.assert_allclose(value, mean @ mean, rtol=1e-4)


@pytest.mark.thorough
def test_weights_are_the_exact_ones():
    """Those of the regression on all subsets of half of the batches, which can be listed."""
    task = cj.Gaussian(dim=1, n_samples=30)
    pool = pool_of(task, 1)
    subsets = list(itertools.combinations(range(BATCHES), BATCHES // 2))
    included = np.zeros((len(subsets), BATCHES))
    errors = np.empty(len(subsets))
    for row, subset in enumerate(subsets):
        included[row, list(subset)] = 1.0
        errors[row] = pool[list(subset)].mean() ** 2
    exact = np.linalg.lstsq(included - included.mean(axis=0), errors - errors.mean(), rcond=1e-9)[0]
    found = cj.datamodel(
        cj.Accumulate(), task, BATCHES, [1], metric="squared_error_mean", n_masks=1000
    )
    largest = np.abs(exact).max()
    np.testing.assert_allclose(found.weight[0], exact - exact.mean(), atol=0.05 * largest)
    centred = exact - exact.mean()
    margin = 0.5 * (found.high[0] - found.low[0])  # of one in 20 intervals that miss
    assert np.all((found.low[0] - margin < centred) & (centred < found.high[0] + margin))
    assert float(found.correlation[0]) > 0.9


FRESH = cj.Workflow(cj.Real(every=True, n=25), cj.Synthetic(n=75))


@pytest.mark.parametrize(
    ("workflow", "factor"),
    [(FRESH, 0.75), (cj.Replace(), 1.0), (cj.Workflow(cj.Real(keep=None)), 1.0)],
    ids=["fresh", "replace", "same"],
)
def test_a_changed_row_is_forgotten_at_the_rate_of_new_real_rows(workflow, factor):
    """(1 - share of new real rows) per generation; never with the same real rows, or none."""
    task = cj.Gaussian(dim=1, n_samples=25 if factor < 1 else 100)
    found = cj.sensitivity(workflow, task, 4, 100, of=lambda model: model.mean)
    law = factor ** np.arange(4)
    error = 5 * found.ratio.std("seed") / 10
    # The spread of the models changes as well, which has no mean to first order.
    assert np.all(np.abs(found.ratio.mean("seed") - law) < error + 0.01)
    assert np.all(np.abs(found.ratio.median("seed") - law) < 0.05)


def test_the_first_model_moves_by_the_changed_row():
    """By the difference of two rows over their number, whose mean size is known."""
    found = cj.sensitivity(
        cj.Replace(), cj.Gaussian(dim=1, n_samples=10), 1, 4000, of=lambda model: model.mean
    )
    moved = 10 * found.distance.values[:, 0]
    assert abs(moved.mean() - 2 / np.sqrt(np.pi)) < 5 * moved.std() / 4000**0.5


def test_rows_of_the_users_are_changed_for_others():
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(40, 2)), rng.normal(size=40))
    task = cj.LinearRegression(data=data, n_samples=20)
    found = cj.sensitivity(cj.Replace(), task, 2, 20)
    assert np.all(found.distance > 0)
    with pytest.raises(ValueError, match="another row, got 30 of 30"):
        cj.sensitivity(cj.Replace(), cj.LinearRegression(data=data), 2, 20)


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.thorough)])
def test_intervals_cover_as_often_as_they_should(times):
    """The published table, and the formula of an interval from one set."""
    seeds, n = 4000, 100
    task = cj.Gaussian(dim=1, n_samples=n)
    known = {
        (1, False): 2 * norm.cdf(1.96 * np.sqrt(1 / (1 + times))) - 1,
        (20, True): {1: 0.986, 10: 0.946}[times],
    }
    for (members, bootstrap), share in known.items():
        ds = cj.ensemble(task, seeds, members=members, bootstrap=bootstrap, n_synthetic=times * n)
        covered = float(((ds.low < 0) & (ds.high > 0)).mean())
        error = np.sqrt(share * (1 - share) / seeds)
        assert abs(covered - share) < 5 * error + 0.01  # as n is finite
        assert ds.member.dims == ("seed", "member")
        np.testing.assert_allclose(ds.estimate, ds.member.mean("member"))


def test_members_of_the_same_rows_do_not_know_what_these_leave_open():
    task = cj.Gaussian(dim=1, n_samples=50)
    ds = cj.ensemble(task, 1000, bootstrap=False, n_synthetic=1000)
    assert float(((ds.low < 0) & (ds.high > 0)).mean()) < 0.6


def test_estimates_are_in_units_of_the_user():
    task = cj.Gaussian(dim=1, n_samples=50, mean=5.0, covariance=9.0)
    ds = cj.ensemble(task, 300, members=1, bootstrap=False, n_synthetic=50)
    error = 5 * 3.0 * np.sqrt(2 / 50) / np.sqrt(300)
    assert abs(float(ds.estimate.mean()) - 5.0) < error
    width = float((ds.high - ds.low).mean()) / (2 * 1.96)
    assert width == pytest.approx(3.0 / np.sqrt(50), rel=0.05)


def test_studies_have_the_flags_of_simulate():
    """The same chains in double precision and under strict rules."""
    task = cj.Gaussian(dim=2, n_samples=10)

    def found():
        return (
            cj.sensitivity(cj.Replace(), task, 2, 3).distance.values,
            cj.ensemble(task, 3, members=2).member.values,
        )

    golden = found()
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        for value, other in zip(golden, found(), strict=True):
            np.testing.assert_array_equal(value, other)
    with jax.threefry_partitionable(False), pytest.raises(ValueError, match="threefry"):
        cj.sensitivity(cj.Replace(), task, 2, 3)


def test_batches_of_other_sizes_change_the_first_real_one():
    """Also where the slots of the pool are wider than it, and no row is left but one."""
    rows = np.random.default_rng(0).normal(size=(40, 1))  # 30 training rows
    loop = cj.Workflow(cj.Real(n=29, keep=None), cj.Synthetic(n=100))
    found = cj.sensitivity(loop, cj.Gaussian(data=rows, n_samples=20), 2, 10)
    assert np.all(found.distance > 0)


BAD = [
    (lambda: cj.datamodel(cj.Accumulate(), TASK, 5, metric="n_train"), "metric must be one of"),
    (
        lambda: cj.sensitivity(cj.Workflow(synthetic=cj.Synthetic(curation=BEST)), TASK, 3, 3),
        r"workflow.synthetic.curation must be \(\) in a study",
    ),
    (lambda: cj.sensitivity(cj.Replace(), TASK, 3, 3, of="mean"), "of must be a function"),
    (lambda: cj.ensemble(TASK, 3, estimate=1.0), "estimate must be a function of rows"),
    (lambda: cj.ensemble("gaussian", 3), "task must be"),
    (
        lambda: cj.datamodel(cj.Accumulate(), TASK, 2, metric="nll"),
        "n_generations must be between 3",
    ),
    (lambda: cj.datamodel(cj.Accumulate(), TASK, 5, metric="nil"), "metric must be one of"),
    (
        lambda: cj.datamodel(cj.Accumulate(), TASK, 5, metric="nll", n_masks=19),
        "n_masks must be between 20",
    ),
    (
        lambda: cj.datamodel(cj.Accumulate(), TASK, 5, metric="nll", share=1.0),
        "share must be above 0 and below 1, got 1",
    ),
    (
        lambda: cj.datamodel(FRESH, TASK, 5, metric="nll"),
        "workflow must have one real batch, and batches all of the same size",
    ),
    (lambda: cj.datamodel("replace", TASK, 5, metric="nll"), "workflow must be one of"),
    (lambda: cj.sensitivity(cj.Replace(), TASK, 0, 3), "n_generations must be between 1"),
    (lambda: cj.ensemble(TASK, 3, members=0), "members must be between 1"),
    (lambda: cj.ensemble(TASK, 3, members=1), "bootstrap must be False with one member"),
    (lambda: cj.ensemble(TASK, 3, level=1.0), "level must be above 0 and below 1, got 1"),
    (lambda: cj.ensemble(TASK, 3, n_synthetic=1), "n_synthetic must be between 2"),
]
TASK = cj.Gaussian(dim=1, n_samples=10)
BEST = cj.BestOf(lambda row: row[0], 2)


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments(call, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((ValueError, TypeError), match=message):
        call()
