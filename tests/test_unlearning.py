"""Unlearning, against fits by NumPy to the rows that are left, and against exact integrals."""

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy.special import expit

import collapse_jax as cj
from collapse_jax.numerics.keys import chain_key
from collapse_jax.studies import chains, posteriors, unlearning
from collapse_jax.studies.additive import sums_of
from collapse_jax.studies.posteriors import Likelihood, Normal
from collapse_jax.tasks.parts.designs import FreshRows
from collapse_jax.tasks.parts.least_squares import RegressionWorld

LAST = 8
RING = cj.Workflow(cj.Real(keep=None), cj.Synthetic(keep=3))
MIXED = cj.Workflow(
    cj.Real(every=True, n=10, keep=2),
    cj.Synthetic(keep=3, n=20),
    cj.Fit(real_weight=0.3),
)


def relative(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def fitted_to(workflow, task, seeds):
    """What the last models were fitted to, by the program of `unlearn`: no other is compiled."""
    loop = chains.loop_of(workflow, task, LAST)
    loop = loop._replace(form=loop.form._replace(moving=False))
    found = unlearning._fits(loop, jnp.asarray(seeds, jnp.uint32))
    shape = (len(seeds), loop.form.slots, loop.form.width)
    rows = np.asarray(found.rows)
    return rows.reshape(*shape, *rows.shape[2:]), np.asarray(found.times).reshape(shape)


def gaussian_of(rows, weights=None):
    """Mean and covariance, flat."""
    mean = np.average(rows, axis=0, weights=weights)
    return np.concatenate([mean, np.cov(rows.T, aweights=weights, bias=True).ravel()])


def test_a_batch_in_the_middle_of_a_ring_is_forgotten():
    """Of the pool of generation 8, the real batch and those of models 5 to 7, that of model 6."""
    task, seeds = cj.Gaussian(dim=2, n_samples=12), [3, 4]
    found = cj.unlearn(RING, task, LAST, seeds, synthetic=[6])
    assert found.difference.max() < 1e-10
    slots = fitted_to(RING, task, seeds)[0].astype(float)
    slot_of = {"real": 0, 5: 1 + 4 % 3, 6: 1 + 5 % 3, 7: 1 + 6 % 3}
    for i, seed in enumerate(seeds):
        left = np.concatenate([slots[i, slot_of[batch]] for batch in ("real", 5, 7)])
        for model in ("unlearned", "retrained"):
            parameters = found.parameters.sel(model=model, seed=seed).values
            assert relative(parameters, gaussian_of(left)) < 1e-10
            trace = parameters[[2, 5]].sum() / 2
            measured = found.trace_ratio.sel(model=model, seed=seed)
            np.testing.assert_allclose(measured, trace, rtol=1e-5)


@pytest.mark.thorough
def test_batches_are_those_that_the_models_made():
    task = cj.Gaussian(dim=2, n_samples=12)
    found = cj.unlearn(RING, task, LAST, [3], synthetic=[6])
    loop = chains.loop_of(RING, task, LAST)
    chain = chains.run(loop, chain_key(jnp.uint32(3)))
    made = np.asarray(chain.made, np.float64)
    left = np.concatenate([np.asarray(chain.real, np.float64), made[4], made[6]])
    assert relative(found.parameters[1, 0].values, gaussian_of(left)) < 1e-5


@pytest.mark.thorough
def test_streams_keep_their_weight_and_rows_their_numbers():
    """Where batches come and go, both streams lose some, and one loses single rows."""
    task = cj.Gaussian(dim=2, n_samples=12, estimator="unbiased")
    slots = fitted_to(MIXED, task, [1])[0][0].astype(float)
    real = slots[7 % 2, :10]  # that before generation 8; the one before it goes
    synthetic = [slots[2 + (m - 1) % 3] for m in (5, 6, 7)]
    golden = cj.simulate(MIXED, task, LAST, [1], storage="rows", progress=False)
    found = cj.unlearn(MIXED, task, LAST, [1], real=[7], synthetic={6: range(15), 7: range(20)})
    np.testing.assert_allclose(found.trace_ratio[0, 0], golden.trace_ratio[0, -1], rtol=1e-4)
    left = np.concatenate([synthetic[0], synthetic[1][15:]])
    weights = np.repeat([0.3 / len(real), 0.7 / len(left)], [len(real), len(left)])
    known = gaussian_of(np.concatenate([real, left]), weights)
    known[2:] /= 1 - np.sum(weights**2)
    assert relative(found.parameters.sel(model="unlearned", seed=1).values, known) < 1e-10
    assert found.difference.max() < 1e-10


@pytest.mark.thorough
def test_rows_that_were_drawn_are_forgotten_with_their_batch():
    task = cj.Categorical(5, 40)
    for workflow in (
        cj.AccumulateSubsample(),
        cj.Workflow(cj.Real(keep=None), cj.Synthetic(keep=4), cj.Fit(60, with_replacement=True)),
    ):
        (rows,), (times,) = fitted_to(workflow, task, [2])
        found = cj.unlearn(workflow, task, LAST, [2], real=[1], synthetic=[5])
        assert times.sum() == workflow.plan(LAST, 40).n_train[-1]
        if workflow.fit.n == "batch":
            golden = cj.simulate(workflow, task, LAST, [2], storage="rows", progress=False)
            np.testing.assert_allclose(found.entropy[0, 0], golden.entropy[0, -1], rtol=1e-5)
        left = times.copy()
        left[[0, 1 + 4 % (len(times) - 1)]] = 0  # the slots of the two batches
        counts = np.bincount(rows.ravel(), left.ravel(), 5)
        for model in ("unlearned", "retrained"):
            values = found.parameters.sel(model=model, seed=2)
            np.testing.assert_allclose(values, counts / counts.sum(), rtol=1e-12)


@pytest.mark.thorough
def test_regressions_forget():
    task = cj.LinearRegression(dim=3, n_samples=20)
    found = cj.unlearn(RING, task, LAST, 3, synthetic=[6])
    assert found.difference.max() < 1e-10
    golden = cj.simulate(RING, task, LAST, 3, storage="rows", progress=False)
    np.testing.assert_allclose(found.test_error[0], golden.test_error[:, -1], rtol=1e-3)


RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(90, 4)), RNG.normal(size=90)
COUNTS = RNG.integers(0, 4, 90)
SUMS = {
    "gaussian": (cj.Gaussian(4, 30), X + 5.0, gaussian_of),
    "categorical": (
        cj.Categorical(5, 30),
        COUNTS,
        lambda rows: np.bincount(rows, minlength=5) / len(rows),
    ),
    "regression": (
        cj.LinearRegression(4, 30),
        FreshRows(jnp.asarray(X), jnp.asarray(Y)),
        lambda rows: np.linalg.lstsq(*(np.asarray(part, float) for part in rows), rcond=None)[0],
    ),
    "poisson": (cj.ExponentialFamily(n_samples=30), COUNTS, lambda rows: rows.mean()),
    "gamma": (
        cj.ExponentialFamily("gamma", 3.0, 30, shape=2.0),
        Y,
        lambda rows: 3.0 * np.exp(rows).mean(),
    ),
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("n_left", [60, 3])
def test_sums_less_a_part_are_sums_of_the_rest(name, n_left):
    """Also where fewer rows are left than there are coefficients."""
    task, rows, fit = SUMS[name]
    left = np.arange(90.0) < n_left
    world = RegressionWorld(None, None, None, None, None) if name == "regression" else ()
    known = sums_of(task, world, rows, np.ones(90))
    everything, part = known.total(np.ones(90)), known.total(1.0 - left)
    rest = tuple(a - b for a, b in zip(everything, part, strict=True))
    found = np.concatenate([np.ravel(x) for x in known.solve(rest, float(n_left))])
    some = FreshRows(*(part[:n_left] for part in rows)) if name == "regression" else rows[:n_left]
    assert relative(found, np.ravel(fit(some))) < 1e-10


def test_models_are_those_of_the_parameters():
    mean, covariance = np.ones(2), np.array([[2.0, 0.6], [0.6, 1.0]])
    normal = sums_of(cj.Gaussian(2, 9), (), X[:, :2], np.ones(90)).model((mean, covariance))
    np.testing.assert_allclose(normal.factor @ normal.factor.T, covariance, rtol=1e-6)
    np.testing.assert_allclose(normal.mean, mean)
    # Singular where it is so but for rounding.
    flat = sums_of(cj.Gaussian(2, 9), (), X[:, :2], np.ones(90)).model((mean, np.ones((2, 2))))
    assert flat.log_diag.tolist() == [0.0, -np.inf]
    trials = cj.ExponentialFamily("binomial", 1.0, 9, size=4)
    found = sums_of(trials, (), COUNTS, np.ones(90)).model((np.array([2.0]),))
    np.testing.assert_allclose(np.exp(found), [2.0, 2 / 3], rtol=1e-6)


def exact_law(x, y, weights, prior):
    """The normal law nearest to a posterior, by Gauss-Hermite integrals over log-odds."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(41)
    mean, precision = np.zeros(x.shape[1]), prior + x.T @ x / 4
    for _ in range(400):
        odds = (x @ mean)[:, None] + np.sqrt(
            np.einsum("ij,jk,ik->i", x, np.linalg.inv(precision), x)
        )[:, None] * nodes
        p = expit(odds)
        slope = x.T @ (weights * (y - p @ mass / mass.sum())) - prior @ mean
        wanted = prior + (x.T * (weights * ((p * (1 - p)) @ mass / mass.sum()))) @ x
        mean = mean + 0.3 * np.linalg.solve(wanted, slope)
        precision = 0.7 * precision + 0.3 * wanted
    return Normal(mean, precision)


def test_posteriors_are_the_exact_ones():
    """Of everything, of what is left, and of what is unlearned where so much is nearly normal."""
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.normal(size=(300, 2)), np.ones(300)])
    y = (rng.random(300) < expit(x @ [1.0, -1.0, 0.5])).astype(int)
    left, prior = (np.arange(300) >= 60).astype(float), np.diag([1.0, 1.0, 0.0])

    def of(weights):
        return Likelihood(x, y, weights, 2)

    flat, start = Normal(np.zeros(3), prior), Normal(np.zeros(3), prior + x.T @ x / 4)
    full, rest = (posteriors.nearest(of(w), flat, 1.0, 0.0, start) for w in (np.ones(300), left))
    exact = exact_law(x, y, left, prior)
    assert full.divergence(exact_law(x, y, np.ones(300), prior)) < 1e-4
    assert rest.divergence(exact) < 1e-4
    apart = full.divergence(rest)
    assert apart > 0.01
    bound = posteriors.nearest(of(1 - left), full, -1.0, 1e-9, full)
    turned = posteriors.covering(of(1 - left), full, 1e-9)
    assert max(bound.divergence(rest), turned.divergence(rest)) < 0.05 * apart
    # Where the likelihood counts nowhere, nothing is unlearned.
    kept = posteriors.nearest(of(1 - left), full, -1.0, 1 - 1e-9, full)
    assert kept.divergence(full) < 1e-6


def test_derivatives_are_those_of_the_likelihood():
    """With three classes, by differences."""
    rng, step = np.random.default_rng(2), 1e-4
    x, labels, point = rng.normal(size=(20, 2)), rng.integers(0, 3, 20), rng.normal(size=(1, 4))
    known = Likelihood(x, labels, rng.random(20), 3)
    slope, curvature = known.derivatives(point, np.ones(1, bool))
    moves = step * np.eye(4)
    by_hand = (known.values(point + moves) - known.values(point - moves)) / (2 * step)
    np.testing.assert_allclose(slope, by_hand, rtol=1e-6)
    for i, move in enumerate(moves):
        ends = [known.derivatives(point + s * move, np.ones(1, bool))[0] for s in (1, -1)]
        np.testing.assert_allclose(-curvature[i], (ends[0] - ends[1]) / (2 * step), rtol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["upper_bound", "reversed"])
def test_a_quarter_of_a_table_is_unlearned(method):
    from sklearn.datasets import load_breast_cancer

    task = cj.LogisticRegression(data=load_breast_cancer(return_X_y=True), penalty=10.0)
    removed = {1: range(task.n_samples // 4)}
    found = cj.unlearn(cj.Replace(), task, 1, 3, real=removed, method=method)
    assert np.all(found.divergence.sel(model="unlearned") < 0.5 * found.divergence[0])
    assert found.nll.dims == ("model", "seed")


def test_one_row_that_is_left_is_singular():
    found = cj.unlearn(cj.Replace(), cj.Gaussian(dim=1, n_samples=10), 1, 3, real={1: range(9)})
    assert found.difference.max() < 1e-10
    assert np.isneginf(found.log_det_ratio.sel(model=["unlearned", "retrained"])).all()


GAUSSIAN = cj.Gaussian(dim=1, n_samples=10)
SURE = cj.LogisticRegression(dim=2, n_samples=20, penalty=1.0)
BAD = [
    ({"synthetic": [4]}, "synthetic must be batches that generation 8 is fitted to, 5 to 7, got 4"),
    ({"real": [2]}, "real must be batches that generation 8 is fitted to, 1 to 1, got 2"),
    ({}, "real and synthetic must not both be empty"),
    ({"real": [1], "synthetic": [5, 6, 7]}, "must leave rows, got all 40 of generation 8"),
    ({"synthetic": 5}, "synthetic must be numbers of generations"),
    ({"synthetic": "5"}, "synthetic must be numbers of generations"),
    ({"synthetic": {5: [10]}}, r"synthetic\[5\] must be between 0 and 9, got 10"),
    ({"synthetic": {5: 3}}, r"synthetic\[5\] must be numbers of rows, got 3"),
    ({"synthetic": [5.5]}, "synthetic must be a whole number"),
    ({"synthetic": [[5]]}, "synthetic must be a whole number"),
    ({"synthetic": [5], "method": "reversed"}, "method must be None with a Gaussian"),
    ({"synthetic": [5], "task": cj.KernelDensity(n_samples=9)}, "task must be a Gaussian, .* Kern"),
    ({"synthetic": [5], "task": cj.LogisticRegression()}, "task.penalty must be positive"),
    ({"synthetic": [5], "task": SURE, "method": "exact"}, "method must be one of"),
    ({"synthetic": [5], "task": SURE, "cutoff": 1.0}, "cutoff must be from 0 to below 1, got 1"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_arguments(arguments, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    arguments = {"task": GAUSSIAN} | arguments
    with pytest.raises((ValueError, TypeError), match=message):
        cj.unlearn(RING, n_generations=LAST, seeds=2, **arguments)
