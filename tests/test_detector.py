"""Detectors that are trained within a loop, against scikit-learn and exact laws."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import xarray as xr
from sklearn.linear_model import LogisticRegression
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.loop.curation.candidates import Candidates
from collapse_jax.loop.curation.judge import Judge
from collapse_jax.run import compiled
from collapse_jax.theory import curation as theory

P = np.array([0.4, 0.3, 0.2, 0.1])


def one_hot(outcome):
    return jax.nn.one_hot(outcome, 4)


def curated(*operators, **others):
    return cj.Workflow(synthetic=cj.Synthetic(curation=operators, **others))


def fitted(features, penalty, real, new, valid=None):
    """Scikit-learn's log-odds of some rows, features `[row, f]`, by the same pieces."""
    x = np.concatenate([real if valid is None else real[valid], new]).astype(np.float64)
    is_real = np.arange(len(x)) < len(x) - len(new)
    each = np.where(is_real, 0.5 / is_real.sum(), 0.5 / len(new))
    mean = each @ x
    scale = np.sqrt(each @ (x - mean) ** 2)

    def scaled(rows):
        z = (rows - mean) / scale
        return z if features else np.concatenate([z, z**2], axis=1)

    model = LogisticRegression(C=1 / penalty, class_weight="balanced", tol=1e-10, max_iter=9999)
    model.fit(scaled(x), is_real)
    return lambda rows: model.decision_function(scaled(np.asarray(rows, np.float64)))


@pytest.mark.parametrize(("features", "penalty"), [(None, 0.3), (lambda x: x[:2] ** 3, 5.0)])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_scores_are_those_of_scikit_learn(features, penalty, offset):
    """Sets of unequal size, of which some real rows do not count."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(90, 3)) + offset
    new = rng.normal(size=(50, 3)) * [0.5, 1.0, 2.0] + [0.0, 0.7, 0.0] + offset
    valid = np.arange(90) < 80
    place = (lambda rows: rows) if offset == 0.0 else (lambda rows: rows - offset)
    new_given = new if offset == 0.0 else new + offset  # placed by the judge
    known = jnp.float32(real), jnp.array(valid)
    judge = Judge(cj.KernelDensity(), None, place, lambda: known, 1)
    detector = cj.Detector(features, penalty)

    def draw(key, n):
        return Candidates.of_model(jnp.float32(new_given[:n]))

    operator = cj.BestOf(detector, 4).trained(draw, judge, jax.random.key(0), 50)
    found = operator.value(judge, jnp.float32(new_given))

    def by_row(rows):
        return rows if features is None else np.stack([features(row) for row in rows])

    twin = fitted(features, penalty, by_row(real), by_row(new), valid)
    np.testing.assert_allclose(found, twin(by_row(new)), atol=5e-3 if offset else 2e-3)
    assert np.abs(found).max() > 1.0


def test_a_detector_undoes_what_a_model_does_wrong():
    """Of k outcomes of a tilted model the best, by the ratio of truth and model, exactly."""
    n, k = 40_000, 3
    q = np.sqrt(P) / np.sqrt(P).sum()
    loop = curated(cj.BestOf(cj.Detector(one_hot, 1e-3), k), temperature=2.0)
    task = cj.Categorical(probabilities=P, n_samples=n)
    ds = cj.simulate(loop, task, 2, 10, progress=False)
    law = theory.best_of(q, np.log(P / q), k)
    np.testing.assert_allclose(ds.collision[:, 1], np.sum(law**2), atol=0.006)
    assert abs(np.sum(law**2) - np.sum(q**2)) > 0.02
    np.testing.assert_allclose(ds.mean_reward[:, 0], law @ np.log(P / q), atol=0.03)
    np.testing.assert_allclose(ds.acceptance_rate, 1 / k, rtol=1e-6)
    assert set(cj.theory.expected(loop, task, 2)) == {"n_train", "real_fraction", "acceptance_rate"}


def test_a_detector_sees_that_variance_is_lost():
    """By default it sees numbers and squares, whose log-odds are exact for normal laws."""
    loop = curated(cj.BestOf(cj.Detector(penalty=1e-2), 4), temperature=0.5)
    task = cj.Gaussian(1, 4000, mean=3.0, covariance=4.0)
    ds = cj.simulate(loop, task, 2, 40, metrics=["trace_ratio"], progress=False)
    x = np.linspace(-4.0, 4.0, 801)
    q = np.exp(-(x**2)) / np.sum(np.exp(-(x**2)))
    law = theory.best_of(q, x**2 / 2, 4)
    assert law @ x**2 > 0.7
    assert_mean(ds.trace_ratio[:, 1], law @ x**2, rounding=0.01)


def test_where_there_is_nothing_to_see_all_is_as_without():
    """Of a model of the truth rows are taken as they come, but for the noise of the training."""
    n, k = 1000, 4
    loop = curated(cj.BestOf(cj.Detector(one_hot), k))
    task = cj.Categorical(probabilities=P, n_samples=n)
    ds = cj.simulate(loop, task, 2, 300, metrics=["squared_error", "mean_reward"], progress=False)
    plain = cj.theory.expected(cj.Replace(), task, 2).squared_error[1]
    # Of small rewards r the best of k has the law p (1 + (k - 1)/k (r - E r)), and r is here how
    # far n candidates are from their law, by chance.
    noise = 0.5 * ((k - 1) / k) ** 2
    assert_mean(ds.squared_error[:, 1] / plain, 1.0 + noise, rounding=0.02)
    assert float(ds.mean_reward.mean()) < 0.02


def test_what_is_far_from_real_is_not_taken():
    """Half of the candidates are of another kind: no one of them is taken."""
    rng = np.random.default_rng(1)
    real = jnp.float32(rng.normal(size=(200, 2)))
    judge = Judge(cj.KernelDensity(), None, lambda rows: rows, lambda: (real, None), 1)

    def draw(key, n):
        rows = jax.random.normal(key, (n, 2))
        far = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (n, 1))
        return Candidates.of_model(rows + 20.0 * far)

    for operator in (
        cj.Threshold(cj.Detector(), 0.0),
        cj.Filter(cj.Detector(), 0.4),
        cj.BestOf(cj.Detector(penalty=1e-3), 20),
    ):
        trained = operator.trained(draw, judge, jax.random.key(1), 300)
        made = trained.curate(draw, judge, jax.random.key(2), 300)
        assert bool(made.full)
        assert float(jnp.max(jnp.abs(made.rows))) < 8.0


def test_a_chain_depends_on_its_seed_alone_and_compiles_once():
    loop = curated(cj.Filter(cj.Detector(one_hot), 0.5), cj.BestOf(cj.Detector(one_hot), 2))
    task = cj.Categorical(probabilities=P, n_samples=60)
    before = compiled._advance._cached._cache_size()
    ds = cj.simulate(loop, task, 4, 5, progress=False)
    assert compiled._advance._cached._cache_size() == before + 1
    alone = cj.simulate(loop, task, 2, [3], progress=False)
    xr.testing.assert_allclose(alone, ds.sel(seed=[3], generation=[1, 2]), rtol=1e-4)


def test_rows_that_are_none_have_no_features():
    """Batches of other sizes are filled up with rows of zeros, which a logarithm does not like."""
    detector = cj.Detector(lambda row: jnp.log(jnp.abs(row)))
    made = cj.Synthetic(n=40, curation=cj.BestOf(detector, 2))
    loop = cj.Workflow(cj.Real([40, 30, 50], every=True), made)
    ds = cj.simulate(loop, cj.Gaussian(1, 40), 3, 3, progress=False)
    assert np.all(np.isfinite(ds.mean_reward))


def test_configurations_are_exact():
    loop = curated(cj.BestOf(cj.Detector(one_hot, 0.5), 4), cj.Filter(cj.Detector(), 0.5))
    written = cj.config.describe(loop)
    cj.config.check_exact(written)
    assert cj.config.rebuild(written) == loop
    assert cj.config.rebuild(written) != curated(cj.BestOf(cj.Detector(one_hot), 4))


TASK = cj.Categorical(probabilities=P, n_samples=9)


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (cj.Detector, r"BestOf.reward must be a Detector with features=.*a Categorical"),
        *(
            (lambda penalty=penalty: cj.Detector(penalty=penalty), "Detector.penalty must be a fin")
            for penalty in (0.0, np.nan, np.inf, [1.0, 2.0])
        ),
        (
            lambda: cj.Detector(3),  # pyright: ignore
            "Detector.features must be a function, got 3",
        ),
        (lambda: cj.Detector(lambda x: x[0]), "reward.features must return equally many numbers"),
        (lambda: cj.Detector(lambda x: 1.0 / x), r"reward.features must be finite, got .*inf"),
    ],
)
def test_refused(detector, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((ValueError, TypeError), match=message):
        cj.simulate(curated(cj.BestOf(detector(), 4)), TASK, 2, 2, progress=False)
