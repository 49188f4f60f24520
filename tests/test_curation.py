"""Curated loops in the simulator: against exact laws, and what every loop must do."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import xarray as xr
from jax.scipy.special import ndtr
from rewards import VALUES, agreement, endless, first, pair, value
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.loop.curation.operators import AbstractOperator
from collapse_jax.run import compiled
from collapse_jax.theory import curation as theory

P = [0.4, 0.3, 0.2, 0.1]


def curated(*operators, **others):
    return cj.Workflow(synthetic=cj.Synthetic(curation=operators, **others))


def test_two_outcomes_follow_the_exact_chain():
    """Selection and drift, from few rows, also of the metrics of the curation."""
    loop, task = curated(cj.BestOf(linear, 3)), cj.Categorical(2, 9, probabilities=[0.7, 0.3])
    known = cj.theory.expected(loop, task, 5)
    ds = cj.simulate(loop, task, 5, 4000, progress=False)
    assert {"entropy", "collision", "mean_reward", "n_extinct"} <= set(known)
    for name in known:
        assert known[name].attrs["kind"] == "exact"
        assert_mean(ds[name], known[name], rounding=1e-5)
    drift = cj.theory.expected(cj.Replace(), task, 5).entropy
    assert np.all(np.abs(known.entropy - drift)[1:] > 0.01)  # another law than without


def linear(outcome):
    return 0.6 * outcome


def test_many_rows_follow_the_recursion_and_its_fixed_point():
    """Best of 20 beside real rows: with many candidates p Z / (Z - share exp(r))."""
    n = 20_000
    loop = cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=n, curation=cj.BestOf(value, 20)))
    task = cj.Categorical(probabilities=P, n_samples=n)
    ds = cj.simulate(loop, task, 12, 4, progress=False)
    laws = theory.selected(P, VALUES, 20, 12, share=0.5)
    known = cj.theory.expected(loop, task, 12)
    assert known.collision.attrs["kind"] == "asymptotic"
    np.testing.assert_allclose(known.collision[1:], np.sum(laws[1:] ** 2, axis=1), rtol=1e-9)
    np.testing.assert_allclose(ds.collision, np.tile(known.collision, (4, 1)), atol=0.01)
    np.testing.assert_allclose(ds.mean_reward, np.tile(known.mean_reward, (4, 1)), atol=0.03)
    limit = theory.fixed_point(P, VALUES, 0.5)
    assert np.all(np.abs(ds.collision[:, -1] - np.sum(limit**2)) < 0.05)


def test_a_reward_for_nothing_changes_no_law_of_a_gaussian():
    """Over hundreds of generations of few rows, which float32 survives in moving coordinates."""
    loop, task = curated(cj.BestOf(lambda row: 0.0 * row[0], 1)), cj.Gaussian(2, 6)
    ds = cj.simulate(loop, task, 200, 300, metrics=["log_det_ratio", "trace_ratio"], progress=False)
    known = cj.theory.expected(cj.Replace(), task, 200)
    assert_mean(ds.log_det_ratio[:, ::20], known.log_det_ratio[::20], rounding=1e-5)
    assert_mean(ds.trace_ratio[:, :4], known.trace_ratio[:4], rounding=1e-5)
    assert ds.log_det_ratio[:, -1].max() < -100


def test_a_gaussian_moves_to_where_rewards_are_in_units_of_the_user():
    """With exp(reward) linear in the exponent the best of very many is a normal, shifted."""
    slope, k, n = 0.5, 200, 400
    task = cj.Gaussian(1, n, mean=3.0, covariance=4.0)
    loop = curated(cj.BestOf(lambda row: slope * row[0], k))
    ds = cj.simulate(loop, task, 2, 30, metrics=["mean_reward", "squared_error_mean"])
    shift = slope * 4.0  # exact for infinitely many
    assert_mean(ds.mean_reward[:, 0] / slope, 3.0 + shift, rounding=0.01)
    assert_mean(ds.squared_error_mean[:, 1], shift**2, rounding=0.03)


def test_what_is_not_known_is_not_predicted():
    sizes = {"n_train", "real_fraction"}
    best, near = cj.BestOf(first, 4), cj.Nearest(0.5)
    for task in (cj.Gaussian(2), cj.LinearRegression(2), cj.ExponentialFamily("poisson")):
        assert set(cj.theory.expected(curated(best), task, 3)) == sizes | {"acceptance_rate"}
        assert set(cj.theory.expected(curated(best, near), task, 3)) == sizes
    own = curated(Doubled(value, 4))  # whose law nobody knows, though it looks like a known one
    assert set(cj.theory.expected(own, cj.Categorical(4), 3)) == sizes
    edited = cj.Workflow(synthetic=cj.Synthetic(of=cj.Edit(0.5)))
    assert set(cj.theory.expected(edited, cj.Gaussian(2), 3)) == sizes
    with pytest.raises(ValueError, match="plan must be one of rows that are taken as they come"):
        cj.theory.predictions.predict_gaussian(edited.plan(3, 10), dim=1)


@dataclass(frozen=True)
class Doubled(cj.BestOf):
    """The best of twice as many."""

    def curate(self, draw, judge, key, n):
        return cj.BestOf(self.reward, 2 * self.k).curate(draw, judge, key, n)


class Labelled(cj.AbstractTask):
    """Two normal classes at -mu and mu, labels that are right with a given probability."""

    n_samples: int
    accuracy: float
    separation: float
    has_labels = True
    variables: ClassVar = {
        "test_accuracy": cj.Variable("share of new rows that are classified right", "1")
    }

    def real(self, world, key, n, *, size, index):
        return self.sample(world, None, key, n, temperature=None)

    def sample(self, world, model, key, n, *, temperature):
        keys = jax.random.split(key, 3)
        side = jax.random.rademacher(keys[0], (n,), jnp.float32)
        right = jax.random.uniform(keys[1], (n,)) < self.accuracy
        x = jax.random.normal(keys[2], (n, 2)).at[:, 0].add(self.separation * side)
        return x, jnp.where(right, side, -side), side

    def is_right(self, world, rows):
        return rows[1] == rows[2]

    def fit(self, world, data):
        x, y, _ = data.rows
        return jnp.mean(x * y[:, None], axis=0)

    def measure(self, world, model):
        return {
            "test_accuracy": ndtr(self.separation * model[0] / jnp.sqrt(jnp.sum(model**2) + 1e-30))
        }


def test_verified_labels_and_the_critical_accuracy():
    """Below psi/(phi + psi) the classifier is as wrong as it could be right above."""
    before = compiled._advance._cached._cache_size()
    for accuracy, right, wrong in [(0.2, 0.6, 0.3), (0.5, 0.6, 0.3), (0.3, 0.9, 0.1)]:
        task, loop = Labelled(4000, accuracy, 1.5), curated(cj.Verify(right, wrong))
        ds = cj.simulate(loop, task, 2, 40, progress=False)
        limit = theory.limit_accuracy(accuracy, right, wrong, 1.5)
        np.testing.assert_allclose(ds.test_accuracy[:, 1], limit, atol=0.01)
        kept = accuracy * right + (1 - accuracy) * wrong
        assert_mean(ds.acceptance_rate, kept, rounding=1e-3)  # a ratio of n to a random number
        assert_mean(ds.mean_reward, theory.label_accuracy(accuracy, right, wrong))
    assert compiled._advance._cached._cache_size() == before + 1  # numbers are data


class Known(cj.LinearRegression):
    """A regression whose true coefficients are those of the verifier."""

    def world(self, key, rows, index):
        return super().world(key, rows, index)._replace(weights=jnp.ones(self.dim))


@pytest.mark.thorough
def test_a_verified_regression_stays_near_its_verifier():
    task = Known(4, 200, design="fresh")
    ds = cj.simulate(curated(cj.Threshold(agreement, -1.0)), task, 12, 400, progress=False)
    expected = theory.verified(4 / (200 - 4 - 1), 1.0, 12)
    assert_mean(ds.test_error, expected, rounding=0.05)  # first order in the distance
    unverified = expected[0] * np.arange(1, 13)
    assert np.all(ds.test_error.mean("seed")[-3:] < 0.1 * unverified[-3:])


LOOPS = {
    "filter": curated(cj.Filter(value, 0.3), n=[5, 6, 4, 7, 5]),
    "threshold": curated(cj.Threshold(value, 0.0), of=cj.Mixed(0.3)),
    "many": curated(cj.BestOf(value, 2), cj.Threshold(value, -0.5), cj.Filter(value, 0.6)),
    "past": curated(cj.BestOf(value, 2), of=cj.Past(last=2)),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in ("filter", "many") else pytest.mark.thorough) for n in LOOPS],
)
def test_a_chain_depends_on_its_seed_alone(name):
    loop, task = LOOPS[name], cj.Categorical(probabilities=P, n_samples=6)
    ds = cj.simulate(loop, task, 5, 9, progress=False)
    alone = cj.simulate(loop, task, 3, [7], progress=False)
    xr.testing.assert_allclose(alone, ds.sel(seed=[7], generation=[1, 2, 3]), rtol=1e-6)


def test_numbers_do_not_recompile_and_are_schedules():
    task = cj.Categorical(probabilities=P, n_samples=50)
    before = compiled._advance._cached._cache_size()
    rates = [
        cj.simulate(curated(cj.Filter(value, keep)), task, 4, 3, progress=False).acceptance_rate
        for keep in (0.5, 0.1, [0.5, 0.25, 0.1, 1.0])
    ]
    assert compiled._advance._cached._cache_size() == before + 1
    np.testing.assert_allclose(rates[1], 0.1, rtol=1e-5)
    np.testing.assert_allclose(rates[2][0], [0.5, 0.25, 0.1, 1.0], rtol=1e-5)


def test_metrics_of_the_curation_can_be_asked_for_or_not():
    task = cj.Categorical(probabilities=P, n_samples=5)
    ds = cj.simulate(curated(cj.Filter(value, 0.5)), task, 2, 2, metrics=["entropy"])
    assert list(ds) == ["entropy"]
    with pytest.raises(ValueError, match=r"metrics must be one of .*got 'mean_reward'"):
        cj.simulate(cj.Replace(), task, 2, 2, metrics=["mean_reward"])


def test_a_curation_that_accepts_nothing_says_so(tmp_path):
    loop = curated(cj.Threshold(value, 1.5))  # the fourth outcome alone, which dies out
    task = cj.Categorical(probabilities=[0.3, 0.3, 0.3, 0.1], n_samples=3)
    message = "accept one row in 1000 or more, and Threshold accepted fewer of model 1 of the chain"
    with pytest.raises(ValueError, match=message):
        cj.simulate(loop, task, 3, 20, metrics=["entropy"], progress=False)


def test_a_reward_that_is_not_finite_within_a_run_says_so():
    """Of real rows all are fine; of what models make some are not."""
    loop = curated(cj.BestOf(lambda row: jnp.log(row[0] - 2.0), 2), temperature=400.0)
    with pytest.raises(ValueError, match="judge all rows by finite numbers, and BestOf found"):
        cj.simulate(loop, cj.Gaussian(1, 10, mean=9.0), 2, 3, progress=False)


@dataclass(frozen=True)
class Farthest(AbstractOperator):
    """An operator of the user's own, which is written nowhere else."""

    def curate(self, draw, judge, key, n):
        return draw(key, n)

    def value(self, judge, rows):
        return jnp.zeros(len(rows))


class Nameless(Farthest):
    """One that is no dataclass of its own."""


OPERATORS = [
    cj.BestOf(value, 4),
    cj.Filter(value, 0.5),
    cj.Threshold(value, [0.0, 0.5]),
    cj.Nearest(0.5),
    cj.Verify(0.9, 0.1),
    Farthest(),
]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda o: type(o).__name__)
def test_configurations_are_exact(operator):
    loop = curated(operator, cj.BestOf(first, 2))
    written = cj.config.describe(loop)
    cj.config.check_exact(written)
    assert cj.config.rebuild(written) == loop


def test_a_function_without_a_name_is_refused_where_it_would_be_saved(tmp_path):
    loop = curated(cj.BestOf(lambda outcome: 1.0, 2))
    with pytest.raises(ValueError, match=r"synthetic.curation\[0\].reward is .*cannot be written"):
        cj.simulate(loop, cj.Categorical(4, 9), 2, 2, checkpoint=tmp_path, progress=False)


TASK, KDE = cj.Categorical(probabilities=P, n_samples=9), cj.KernelDensity(n_samples=9)
WRONG = {
    "k": (lambda: cj.BestOf(value, 0), TASK, "BestOf.k must be between 1 and"),
    "keep": (lambda: cj.Filter(value, 0.0), TASK, "keep must be above 0 and at most 1, got 0"),
    "keep 2": (lambda: cj.Nearest(1.5), TASK, "keep must be above 0 and at most 1, got 1.5"),
    "right": (lambda: cj.Verify(1.5, 0.0), TASK, "right must be between 0 and 1, got 1.5"),
    "number": (lambda: cj.Verify("no", 0.0), TASK, "Verify.right must be a number"),
    "function": (lambda: cj.BestOf(3.0), TASK, "BestOf.reward must be a function of a row, got 3"),
    "class": (lambda: cj.Nearest, TASK, "synthetic.curation must be operators .*Nearest"),
    "no operator": (lambda: value, TASK, "synthetic.curation must be operators"),
    "no dataclass": (Nameless, TASK, "Nameless must be a frozen dataclass"),
    "shape": (lambda: cj.BestOf(pair), TASK, r"BestOf.reward must return one .* float32\[2\]"),
    "fails": (lambda: cj.BestOf(first), TASK, r"BestOf.reward must be a JAX function of one row"),
    "infinite": (lambda: cj.BestOf(endless), TASK, "reward must be finite, got inf for the row 3"),
    "no labels": (lambda: cj.Verify(0.9, 0.1), TASK, r"no Verify\(...\) with a Categorical, whose"),
    "no points": (lambda: cj.Nearest(0.5), TASK, r"no Nearest\(...\) with a Categorical, whose"),
    "own data": (
        lambda: cj.Nearest(0.5),
        cj.LinearRegression(data=(np.arange(20.0).reshape(10, 2) ** 2, np.arange(10.0) ** 3)),
        "a LinearRegression that has data of its own",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_curations(case, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    make, task, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message):
        cj.simulate(curated(make()), task, 2, 2, progress=False)


def test_an_edited_batch_is_not_curated(monkeypatch):
    with pytest.raises(ValueError, match=r"synthetic.curation must be \(\) with synthetic.of Edit"):
        curated(cj.Nearest(0.5), of=cj.Edit(0.5))


def test_a_chain_is_a_pure_function_of_numbers(monkeypatch):
    """Inside a larger program, also of the numbers of the curation."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    task = cj.Categorical(probabilities=P, n_samples=8)

    @jax.jit
    @jax.vmap
    def rate(keep):
        loop = curated(cj.Filter(value, keep))
        return cj.rollout(loop, task, 2, jax.random.key(0), metrics=["acceptance_rate"])

    found = rate(jnp.array([0.5, 0.25]))["acceptance_rate"]
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.25]], rtol=1e-5)


def test_theory_of_ones_own_for_curated_loops():
    """A registered theory is asked about the loops that it is for, and no others."""

    class Own(Labelled):
        pass

    @cj.theory.expected.register(Own, curated=True)
    def accuracy(task, workflow, n_generations):
        right, wrong = (workflow.synthetic.curation[0].right, workflow.synthetic.curation[0].wrong)
        found = np.full(n_generations, theory.label_accuracy(task.accuracy, right, wrong))
        return {"mean_reward": cj.theory.expectation.Prediction(found, "exact", "Bayes")}

    task = Own(4000, 0.5, 1.5)
    known = cj.theory.expected(curated(cj.Verify(0.6, 0.3)), task, 2)
    np.testing.assert_allclose(known.mean_reward, 2 / 3)
    assert "mean_reward" not in cj.theory.expected(cj.Replace(), task, 2)
    ds = cj.simulate(curated(cj.Verify(0.6, 0.3)), task, 2, 20, progress=False)
    assert_mean(ds.mean_reward, known.mean_reward)
