"""Tables at random, as difficult as people's, with labels or groups: classifiers and mixtures.

As in `test_random_tables.py`, generation 1 is the fit to all training rows. It is worked out again
in float64, by scikit-learn and from the formulas, or the table is refused by name.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from test_random_tables import first, random_table, refused, run

import collapse_jax as cj
from collapse_jax.numerics.softmax import best_weights
from collapse_jax.tasks.parts import mixtures
from collapse_jax.tasks.parts.tables import split

TABLES = 60
_GAIN = 1e-4
_EPS = float(np.finfo(np.float64).eps)
_SINGLE = float(np.finfo(np.float32).eps)


def standardised(rows):
    """Training and test rows in units of the training rows, and these; constants become 0."""
    train, test = split(rows.astype(float), 0.25, 0)
    unit = train.std(axis=0)
    live = unit > 8 * _EPS * np.abs(train).max(axis=0)
    scale = np.where(live, unit, np.inf)
    center = train.mean(axis=0)
    return (train - center) / scale, (test - center) / scale, unit, live


def labels_of(seed, rows):
    """Two or three classes, which depend on the columns more or less or not at all."""
    rng = np.random.default_rng([seed, 1])
    names = [[0, 1], ["no", "yes"], [-1e-12, 1e12], ["b", "a", "c"]][seed // 2 % 4]
    ranks = np.argsort(np.argsort(rows[:, -1].astype(float), kind="stable"))
    noise = rng.choice([0.0, 0.5, 5.0]) * len(rows) * rng.standard_normal(len(rows))
    order = np.argsort(np.argsort(ranks + noise))
    cuts = np.sort(rng.uniform(0.15, 0.85, len(names) - 1)) * len(rows)
    return np.array(names)[np.searchsorted(cuts, order)]


def check_classifier(seed):
    rows = random_table(seed).rows
    labels = labels_of(seed, rows)
    penalty = 10.0 ** np.random.default_rng([seed, 2]).uniform(-6, 3)
    task, out = refused(lambda: cj.LogisticRegression(data=(rows, labels), penalty=penalty))
    codes = np.unique(labels, return_inverse=True)[1]
    (train_y, test_y), (train, test, _, _) = split(codes, 0.25, 0), standardised(rows)
    present = np.unique(train_y)
    if out:
        assert len(present) == 1
        return
    ds = run(seed, task)
    assert np.all(np.isfinite(ds.nll))
    if not np.all(np.isin(codes, present)):  # a label of the test rows alone
        assert first(ds, "separable") == 1.0
        return
    assert first(ds, "separable") == 0.0
    with warnings.catch_warnings():  # of a gradient that rounding keeps above 1e-10
        warnings.simplefilter("ignore", ConvergenceWarning)
        twin = LogisticRegression(C=1.0 / penalty, tol=1e-10, max_iter=3000).fit(train, train_y)
    odds = twin.decision_function(test)
    odds = np.column_stack([np.zeros(len(test)), odds]) if odds.ndim == 1 else odds
    logs = special.log_softmax(odds, axis=1)
    nll = -np.mean(logs[np.arange(len(test)), np.searchsorted(present, test_y)])
    assert first(ds, "nll") == pytest.approx(nll, rel=1e-3, abs=1e-4)
    ordered = np.sort(odds, axis=1)
    if np.all(ordered[:, -1] - ordered[:, -2] > 1e-3):
        assert first(ds, "accuracy") == pytest.approx(twin.score(test, test_y), abs=1e-6)


def log_parts(model, z):
    """Log-density of each component at each row, times its weight."""
    weights, means, covariances = model
    gaps = z - means[:, None]
    solved = np.linalg.solve(covariances, gaps.swapaxes(1, 2))
    quadratic = np.einsum("knd,kdn->kn", gaps, solved)
    volume = np.linalg.slogdet(2 * np.pi * covariances)[1]
    with np.errstate(divide="ignore"):
        return np.log(weights)[:, None] - 0.5 * (quadratic + volume[:, None])


def level_of(model, z):
    """Mean log-density of a row."""
    return float(np.mean(special.logsumexp(log_parts(model, z), axis=0)))


def em_step(model, z, floor, form):
    """A step of expectation and maximisation, which adds the floor to all variances."""
    parts = log_parts(model, z)
    shares = np.exp(parts - special.logsumexp(parts, axis=0))
    size = shares.sum(axis=1)
    alive = size > 1e-6
    shares = shares / np.where(alive, size, 1.0)[:, None]
    means = np.where(alive[:, None], shares @ z, model[1])
    gaps = z - means[:, None]
    unit = np.eye(z.shape[1])
    covariances = np.einsum("kn,knd,kne->kde", shares, gaps, gaps)
    covariances = (covariances * unit if form == "diag" else covariances) + floor * unit
    covariances = np.where(alive[:, None, None], covariances, model[2])
    size = np.where(alive, size, 0.0)
    return size / size.sum(), means, covariances


def converged(start, z, floor, form):
    """The mixture after 99 steps more, or after one that gains too little."""
    twin, level, gain = start, -np.inf, np.inf
    for _ in range(99):
        if gain < _GAIN:
            break
        before, level = level, level_of(twin, z)
        twin, gain = em_step(twin, z, floor, form), abs(level - before)
    return twin


def fitted_of(task):
    """The mixtures of both chains in generation 1, in standardised columns."""
    seen = []
    cj.simulate(cj.Replace(), task, 1, 2, progress=False, observe=seen.append)
    weights, means, roots = (np.asarray(part, float) for part in seen[0].model.mixture)
    if roots.ndim == 3:
        roots = roots[..., None] * np.eye(roots.shape[2])
    return [*zip(weights, means, roots @ roots.swapaxes(2, 3), strict=True)]


def check_mixture(seed):
    rows = random_table(seed).rows
    z, other, unit, live = standardised(rows)
    form = ("full", "full", "diag")[seed // 6 % 3]
    floor = (1e-6, 1e-3)[seed // 18 % 2]
    options = {"n_components": 2, "covariance": form, "reg_covar": floor, "tolerance": _GAIN}
    task, out = refused(lambda: cj.GaussianMixture(data=rows, **options))
    assert out == (not live.all())
    if out:
        return
    ds = run(seed, task)
    assert np.all(np.isfinite(ds.nll))
    volume = np.log(unit).sum()
    one = np.ones(1), np.zeros((1, z.shape[1])), np.eye(z.shape[1])[None]
    one = em_step(one, z, floor, form)
    starts = fitted_of(cj.GaussianMixture(data=rows, max_steps=1, **options))
    for chain, start in enumerate(starts):
        twin = converged(start, z, floor, form)
        nll = volume - level_of(twin, other)
        least = min(np.linalg.eigvalsh(covariance)[0] for covariance in twin[2])
        loose = 5e-4 + 0.2 * _SINGLE / least  # covariances are rounded, and a step more is made
        assert float(ds.nll[chain, 0]) == pytest.approx(nll, rel=loose, abs=loose)
        assert level_of(twin, z) > level_of(one, z) - 1e-3
    np.testing.assert_allclose(ds.variance_ratio[:, 0], 1.0 + floor, rtol=1e-5)


@pytest.mark.parametrize("seed", [0, 16])  # of one shape
def test_some_classifiers_are_right_without_a_loop(seed):
    rows = random_table(seed).rows
    labels = labels_of(seed, rows)
    task = cj.LogisticRegression(data=(rows, labels), penalty=0.1)
    counts = jax.nn.one_hot(task.train_y, 2, axis=0)
    start = jnp.zeros((1, len(task.ridge)))
    weights = jax.jit(best_weights)(task.train_x, counts, 0.1 * task.ridge, start).weights
    odds = np.asarray(weights @ task.test_x.T)[0]
    (train_y, _), (train, test, _, _) = split(labels, 0.25, 0), standardised(rows)
    twin = LogisticRegression(C=10.0, tol=1e-10, max_iter=3000).fit(train, train_y)
    np.testing.assert_allclose(odds, twin.decision_function(test), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", [18, 24])
def test_some_mixtures_are_right_without_a_loop(seed):
    rows = random_table(seed).rows
    task = cj.GaussianMixture(data=rows, n_components=2)
    z, other, unit, _ = standardised(rows)

    @jax.jit
    def fitted(x, test):
        weight = jnp.ones(len(x))
        start = mixtures.seeded(jax.random.key(seed), x, weight, 2, "full", 1e-3)
        final = mixtures.improved(x, weight, start, "full", 1e-3, 99, _GAIN)
        return start, jnp.mean(mixtures.log_density(final, test))

    (weights, means, roots), level = fitted(task.train, task.test)
    start = (np.asarray(part, float) for part in (weights, means, roots @ roots.swapaxes(1, 2)))
    twin = converged(tuple(start), z, 1e-3, "full")
    nll = np.log(unit).sum() - level_of(twin, other)
    assert task.log_volume[0] - float(level) == pytest.approx(nll, rel=1e-3, abs=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(TABLES))
@pytest.mark.parametrize("check", [check_classifier, check_mixture])
def test_all_answers_are_right_or_refused(check, seed):
    check(seed)
