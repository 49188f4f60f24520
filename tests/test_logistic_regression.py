"""Logistic regression against scikit-learn, SciPy, and the law of its own loop."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, stats
from scipy.special import expit
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression
from statistics_helpers import assert_mean, assert_same_law

import collapse_jax as cj
from benchmarks import reference
from collapse_jax.numerics.linalg import solve_positive
from collapse_jax.numerics.softmax import FAR, best_weights
from collapse_jax.tasks.parts import tables
from collapse_jax.tasks.parts.labels import Classifier, draw_labels

LOOPS = {
    "accumulate": cj.Accumulate(),
    "subsample": cj.AccumulateSubsample(),
    "weighted": cj.Workflow(cj.Real(every=True, n=7), fit=cj.Fit(real_weight=0.6)),
    "window": cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=[9, 31, 14, 20], keep=2)),
    "past": cj.Workflow(synthetic=cj.Synthetic(of=cj.Past(last=3))),
    "mixed": cj.Workflow(synthetic=cj.Synthetic(of=cj.Mixed(0.4), temperature=0.8)),
}
_CELLS, _KIND = load_breast_cancer(return_X_y=True)
BREAST = (_CELLS[:, :10], np.array(["bad", "good"])[_KIND])  # all 30 columns separate them


def run(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options)


def scikit(x, y, penalty=0.0, weights=None, intercept=False):
    strength = 1.0 / penalty if penalty else np.inf
    model = LogisticRegression(C=strength, fit_intercept=intercept, tol=1e-12, max_iter=20_000)
    return model.fit(x, y, sample_weight=weights)


def ours(x, counts, penalty=0.0, start=None):
    start = np.zeros((counts.shape[1] - 1, x.shape[1])) if start is None else start
    ridge = jnp.full(x.shape[1], penalty, jnp.float32)
    fit = jax.jit(best_weights)
    return fit(jnp.float32(x), jnp.float32(counts.T), ridge, jnp.float32(start))


@pytest.mark.parametrize(("k", "penalty"), [(2, 0.0), (2, 3.0), (3, 0.0), (4, 2.0)])
def test_the_best_weights_are_those_of_scikit_learn(k, penalty):
    rng = np.random.default_rng(k)
    x = rng.standard_normal((150, 4)) + 0.5
    odds = x @ rng.standard_normal((4, k))
    y = (odds + rng.gumbel(size=odds.shape)).argmax(axis=1)
    weight = rng.uniform(0.0, 3.0, size=150)
    theirs = scikit(x, y, penalty, weight).coef_
    theirs = theirs if k == 2 else (theirs - theirs[0])[1:]
    for start in (None, rng.standard_normal((k - 1, 4))):
        found = ours(x, weight[:, None] * np.eye(k)[y], penalty, start)
        np.testing.assert_allclose(found.weights, theirs, atol=1e-4)
        assert not found.endless


def test_small_systems_are_solved():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((9, 6)), rng.standard_normal(6)
    found, flat = solve_positive(jnp.float32(a.T @ a), jnp.float32(b))
    np.testing.assert_allclose(found, np.linalg.solve(a.T @ a, b), rtol=1e-3)
    assert not flat
    found, flat = solve_positive(jnp.diag(jnp.array([2.0, 0.0])), jnp.array([1.0, 1.0]))
    assert found.tolist() == [0.5, 0.0]
    assert flat


def separated(x, y):
    """Whether some weights have no label on the wrong side and one on the right one, by a LP."""
    signed = x * np.where(y, 1.0, -1.0)[:, None]
    bounds = [(-1.0, 1.0)] * x.shape[1]
    zeros = np.zeros(len(x))
    best = optimize.linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=zeros, bounds=bounds)
    return -best.fun > 1e-9


@pytest.mark.parametrize("lattice", [False, True])
def test_separable_labels_are_found(lattice):
    rng = np.random.default_rng(1)
    answers, odds = [], []
    for _ in range(60):
        x = rng.integers(-2, 3, (12, 3)) * 1.0 if lattice else rng.standard_normal((12, 3))
        y = rng.uniform(size=12) < expit(2.0 * x.sum(axis=1))
        found = ours(x, np.eye(2)[y.astype(int)])
        if lattice and np.linalg.matrix_rank(x) < 3:
            continue
        answers.append((bool(found.endless), separated(x, y)))
        assert np.all(np.isfinite(found.weights))
        odds.append(np.min(np.where(y, 1, -1) * (x @ np.asarray(found.weights[0]))))
    ends, theirs = np.array(answers).T
    assert 0.2 < theirs.mean() < 0.8
    np.testing.assert_array_equal(ends, theirs)
    apart = np.array(odds) > 0.1
    np.testing.assert_allclose(np.array(odds)[apart], FAR, rtol=1e-3)
    assert np.all(ends[apart])


def test_separable_chains_stay_as_they_are():
    task = cj.LogisticRegression(dim=3, n_samples=12, class_mean=1.0)
    ds = run(cj.Replace(), task, 60, 200)
    assert np.isfinite(ds.to_array()).all()
    assert np.all(ds.separable.diff("generation") >= 0.0)
    assert ds.separable[:, -1].mean() > 0.99
    ended = ds.separable.values[:, :-1] == 1.0
    assert np.all(np.abs(np.diff(ds.nll)[ended]) < 1e-5 * ds.nll.values[:, 1:][ended])
    again = run(cj.Replace(), cj.LogisticRegression(dim=3, n_samples=12, penalty=1.0), 60, 50)
    assert not again.separable.any()


@pytest.mark.parametrize(
    "labels", [list("abcadb"), [0, 1, 2, 0, 3, 1], [0.5, 1.5, 0.5, 1.5, 2.5, 2.5]]
)
def test_labels_may_be_few_of_each(labels):
    rows = [*np.eye(6), *np.eye(6)]
    assert cj.LogisticRegression(data=(rows, 2 * labels), test_fraction=0.2).dim == 7


def test_labels_follow_their_law():
    odds = jnp.tile(jnp.array([[0.7], [-1.2]]), (1, 200_000))
    drawn = draw_labels(jax.random.key(0), odds)
    p = np.exp([0.0, 0.7, -1.2]) / np.exp([0.0, 0.7, -1.2]).sum()
    assert stats.chisquare(np.bincount(drawn, minlength=3), 200_000 * p).pvalue > 1e-4
    far = jnp.array([[-FAR, FAR]] * 2) * jnp.array([[1.0], [-1.0]])
    for seed in range(100):
        assert draw_labels(jax.random.key(seed), far).tolist() == [2, 1]


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 20.0, 5000.0])
def test_metrics_are_expectations_over_the_truth(scale):
    mean = np.array([0.8, -0.5])
    task = cj.LogisticRegression(dim=2, class_mean=mean)
    weights = scale * np.array([1.0, 0.4])
    model = Classifier(jnp.float32(weights[None]), jnp.zeros((), bool))
    found = task.measure(task.world(jax.random.key(0), False, None), model)
    m, s = weights @ mean, np.linalg.norm(weights)
    points = [-m / s] if s else None
    loss = integrate.quad(
        lambda z: stats.norm.pdf(z) * np.logaddexp(0.0, -m - s * z), -9, 9, points=points, limit=500
    )[0]
    np.testing.assert_allclose(found["nll"], loss, rtol=1e-4)
    np.testing.assert_allclose(found["accuracy"], stats.norm.cdf(m / s) if s else 0.5, rtol=1e-5)
    np.testing.assert_allclose(found["squared_error"], np.sum((weights - 2 * mean) ** 2), rtol=1e-5)


def check_storage(name, task):
    parts = [run(LOOPS[name], task, 4, 3, storage=kept) for kept in ("auto", "rows")]
    for variable in parts[0]:
        np.testing.assert_allclose(parts[0][variable], parts[1][variable], rtol=1e-3, atol=1e-4)


def test_counts_and_rows_give_the_same_chains():
    check_storage("weighted", cj.LogisticRegression(data=BREAST, n_samples=100, penalty=2.0))


@pytest.mark.thorough
@pytest.mark.parametrize("name", LOOPS)
def test_counts_and_rows_give_the_same_chains_in_all_loops(name):
    check_storage(name, cj.LogisticRegression(dim=2, n_samples=20))


@pytest.mark.parametrize(("data", "penalty"), [(BREAST, 0.0), ("iris", 1.0)])
def test_data_of_ones_own(data, penalty):
    x, y = load_iris(return_X_y=True) if data == "iris" else data
    task = cj.LogisticRegression(data=(x * 1e-3 + 7.0, y), penalty=penalty)
    parts = tables.split(np.arange(len(y)), 0.25, 0)
    z = (x - x[parts.train].mean(axis=0)) / x[parts.train].std(axis=0)
    model = scikit(z[parts.train], y[parts.train], penalty, intercept=True)
    ds = run(cj.Replace(), task, 1, 2)
    assert set(ds.data_vars) & set(task.variables) == {"nll", "accuracy", "separable"}
    test = model.predict_log_proba(z[parts.test])
    own = np.searchsorted(model.classes_, y[parts.test])
    nll = -np.mean(test[np.arange(len(own)), own])
    np.testing.assert_allclose(ds.nll[:, 0], nll, rtol=1e-4)
    np.testing.assert_allclose(ds.accuracy[:, 0], np.mean(test.argmax(axis=1) == own), rtol=1e-6)
    assert not ds.separable.any()
    assert ds.attrs["outcomes"] == ('["bad", "good"]' if data != "iris" else '["0", "1", "2"]')


def test_truth_values_and_lost_classes():
    x = np.random.default_rng(0).standard_normal((60, 2))
    two = cj.LogisticRegression(data=(x, x[:, 0] > 0.2), n_samples=20)
    assert two.outcomes == ("False", "True")
    three = cj.LogisticRegression(data=(x, np.arange(60) % 3), n_samples=6)
    for task in (two, three):
        ds = run(cj.Replace(), task, 40, 40)
        assert np.isfinite(ds.to_array()).all()
        assert ds.separable[:, -1].mean() > 0.5


def test_rows_of_a_fixed_design_come_again():
    task = cj.LogisticRegression(dim=2, n_samples=5)
    world = task.world(jax.random.key(0), True, None)
    rows = task.real(world, jax.random.key(1), 12, size=None, index=None)
    assert rows.index.tolist() == [*range(5), *range(5), 0, 1]
    fresh = cj.LogisticRegression(dim=2, n_samples=5, design="fresh")
    world = fresh.world(jax.random.key(0), True, None)
    first, second = (
        fresh.real(world, jax.random.key(i), 5, size=None, index=None) for i in range(2)
    )
    assert not np.any(np.isclose(first.x, second.x))


def check_theory(design, workflow, generations=5):
    task = cj.LogisticRegression(dim=2, n_samples=4000, class_mean=[0.9, 0.3], design=design)
    known = cj.theory.expected(workflow, task, generations)
    assert known.squared_error.kind == "asymptotic"
    ds = run(workflow, task, generations, 300)
    for name, floor in (("squared_error", 0.0), ("nll", None), ("accuracy", None)):
        perfect = known[name].values
        if floor is None:  # what is lost, not what is left
            perfect = cj.theory.families.information(np.hypot(0.9, 0.3))._asdict()[name]
        gap = ds[name].values - (0.0 if floor == 0.0 else perfect)
        wanted = known[name].values - (0.0 if floor == 0.0 else perfect)
        assert_mean(gap, wanted, rounding=0.02)


def test_theory():
    check_theory("fixed", cj.Replace())


@pytest.mark.thorough
@pytest.mark.parametrize(("design", "name"), [*itertools.product(["fixed", "fresh"], LOOPS)])
def test_theory_of_all(design, name):
    if name in ("mixed", "weighted", "window"):
        workflow = {
            "mixed": cj.Workflow(synthetic=cj.Synthetic(of=cj.Mixed(0.4))),
            "weighted": cj.Workflow(cj.Real(every=True), fit=cj.Fit(real_weight=0.6)),
            "window": cj.Workflow(cj.Real(keep=None), cj.Synthetic(keep=2)),
        }[name]
    else:
        workflow = LOOPS[name]
    check_theory(design, workflow, 4)


@pytest.mark.thorough
def test_the_published_loop_has_the_same_law():
    task = cj.LogisticRegression(dim=3, n_samples=60)
    for name, workflow in (("replace", cj.Replace()), ("accumulate", cj.Accumulate())):
        ds = run(workflow, task, 4, 400)
        loops = [reference.logistic_regression(name, 3, 60, 4, seed) for seed in range(400)]
        for t in (0, 3):
            theirs = [loop["squared_error"][t] for loop in loops]
            assert_same_law(ds.squared_error[:, t], theirs, comparisons=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_mean": [1.0]}, r"class_mean must be a number or have shape \(10,\), got"),
        ({"class_mean": np.inf}, "class_mean must be finite, got inf"),
        ({"class_mean": 1e7}, "class_mean must be at most 1e6, got 1e\\+07"),
        ({"penalty": -1.0}, "penalty must be a finite number of zero or more, got -1"),
        ({"n_samples": 0}, "n_samples must be between 1"),
        ({"data": BREAST[0]}, r"data must be a pair \(X, y\)"),
        ({"data": (BREAST[0], BREAST[1][1:])}, "as many labels as rows, got 569 and 568"),
        ({"data": (BREAST[0], ["a"] * 569)}, "two or more different labels, got only a"),
        ({"data": (BREAST[0][:4], ["a", "b", None, "a"])}, "missing labels, got 1, .* at row 2"),
        ({"data": (np.eye(8), list("aaaabaaa"))}, "two labels in the training rows, got only a"),
        ({"data": (BREAST[0], BREAST[0][:, 0])}, "different numbers with fractions in 569 rows"),
        ({"data": BREAST, "dim": 3}, "dim must be the 11 columns of the design, got 3"),
        ({"data": BREAST, "class_mean": 1.0}, "class_mean cannot be given together with data"),
        ({"data": BREAST, "n_samples": 999}, "n_samples must not exceed the 426"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        cj.LogisticRegression(**arguments)


def test_numbers_that_may_be_measured_are_told_and_names_are_not():
    """The target of scikit-learn's table is 214 whole numbers in 442 rows."""
    x, y = load_diabetes(return_X_y=True)
    for labels in (y, y.astype(int)):
        with pytest.warns(UserWarning, match=r"data\[1\] has 214 different numbers in 442 rows"):
            cj.LogisticRegression(data=(x, labels))
    assert cj.LogisticRegression(data=(x, y.astype(str))).n_classes == 214
    assert cj.LogisticRegression(data=(x, np.arange(442) // 11)).n_classes == 41
    assert cj.LogisticRegression(data=(x[:20], np.arange(20) % 8)).n_classes == 8


@pytest.mark.parametrize("design", ["fixed", "fresh"])
def test_a_verifier_knows_the_class_that_a_row_came_from(design):
    """Labels of the truth are right as often as an integral says; all are where only these pass."""
    task = cj.LogisticRegression(2, 200, class_mean=[0.6, 0.8], design=design)
    key = jax.random.key(0, impl="threefry2x32")
    keys = jax.random.split(key, 400)

    def right(key):
        own, other = jax.random.split(key)
        world = task.world(own, rows=True, index=None)
        rows = task.real(world, other, 200, size=None, index=None)
        return jnp.mean(task.is_right(world, rows))

    z, weight = np.polynomial.hermite_e.hermegauss(60)
    exact = np.sum(weight / (1.0 + np.exp(-2.0 * (1.0 + z)))) / np.sqrt(2.0 * np.pi)
    assert_mean(np.asarray(jax.vmap(right)(keys)), exact)
    verified = cj.Workflow(synthetic=cj.Synthetic(curation=cj.Verify(1.0, 0.0)))
    ds = cj.simulate(verified, task, 2, 20, metrics=["mean_reward"], progress=False)
    assert np.all(ds.mean_reward == 1.0)
