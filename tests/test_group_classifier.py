"""The classifier of rows in groups against NumPy and scikit-learn."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr
from sklearn.linear_model import LogisticRegression
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.literature.findings.phases import patched_digits
from collapse_jax.records.config import describe, rebuild
from collapse_jax.trained.group_classifier import Grouped

RNG = np.random.default_rng(0)


def table(n, seed=0, labels=("cat", "cow", "dog"), groups=("land", "water")):
    rng = np.random.default_rng(seed)
    label, group = rng.integers(len(labels), size=n), rng.integers(len(groups), size=n)
    means, shifts = np.array([[0, 0, 5], [3, 0, 5], [0, 3, 5]]), np.array([[0, 0, 0], [0, 1, 2.0]])
    x = (means[label] + shifts[group] + rng.normal(size=(n, 3))) * [1.0, 10.0, 1000.0]
    return x, np.array(labels)[label], np.array(groups)[group]


def key(seed=0):
    return jax.random.key(seed, impl="threefry2x32")


def model_of(task, rows, weight):
    made = task.parameters(key())
    return eqx.filter(made, eqx.is_inexact_array)._replace(
        generator=task._generator(rows, jnp.asarray(weight, jnp.float32))
    )


def test_generator_is_weighted_least_squares():
    task = cj.GroupClassifier(data=table(300))
    weight = RNG.uniform(0.0, 2.0, len(task.train.x))
    found = model_of(task, task.train, weight).generator
    x, label, group = (np.asarray(part) for part in task.train)
    design = np.column_stack([np.eye(3)[label], group])
    root = np.sqrt(weight)[:, None]
    right = np.linalg.lstsq(root * design, root * np.float64(x), rcond=None)[0]
    np.testing.assert_allclose(found.means, right[:3], atol=1e-4)
    np.testing.assert_allclose(found.shifts, [np.zeros(3), right[3]], atol=1e-4)
    apart = x - design @ right
    covariance = apart.T @ (weight[:, None] * apart) / (weight.sum() - 4)
    np.testing.assert_allclose(found.root @ found.root.T, covariance, rtol=1e-4, atol=1e-5)
    shares = [[weight[(label == k) & (group == g)].sum() for g in (0, 1)] for k in range(3)]
    np.testing.assert_allclose(found.shares, np.array(shares) / weight.sum(), rtol=1e-4)


@pytest.mark.parametrize("balanced", [True, False])
def test_generated_rows_have_the_generators_law(balanced):
    task = cj.GroupClassifier(data=table(300), balanced=balanced)
    weight = np.where(np.asarray(task.train.label) == 2, 0.1, 1.0)
    model = model_of(task, task.train, weight)
    draw = jax.jit(
        lambda temperature: task.sample(task.test, model, key(1), 40_000, temperature=temperature)
    )
    rows = draw(jnp.float32(4.0))
    label, group = np.asarray(rows.label), np.asarray(rows.group)
    for k in range(3):
        for g in (0, 1):
            share = 1 / 6 if balanced else float(model.generator.shares[k, g])
            assert_mean((label == k) & (group == g), share)
    generator = model.generator
    apart = np.asarray(rows.x - generator.means[label] - generator.shifts[group], np.float64)
    right = 4.0 * np.asarray(generator.root @ generator.root.T)
    for i in range(3):
        assert_mean(apart[:, i], 0.0)
        for j in range(3):
            assert_mean(apart[:, i] * apart[:, j], right[i, j])


def test_metrics_are_those_of_numpy():
    task = cj.GroupClassifier(data=(table(50), table(200, seed=1)))
    weights, bias = RNG.normal(size=(3, 3)), RNG.normal(size=3)
    made = task.parameters(key())
    layer = made.network.layers[0]
    network = eqx.tree_at(
        lambda n: (n.layers[0].weight, n.layers[0].bias),
        made.network,
        (jnp.asarray(weights, layer.weight.dtype), jnp.asarray(bias, layer.bias.dtype)),
    )
    model = eqx.filter(Grouped(network, made.generator), eqx.is_inexact_array)
    measure = jax.jit(lambda rows: task.measure(rows, model))
    found = measure(task.test)
    x, label, group = (np.asarray(part) for part in task.test)
    odds = x @ weights.T + bias
    right = odds.argmax(axis=1) == label
    cells = [right[(label == k) & (group == g)] for k in range(3) for g in (0, 1)]
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["worst_group_accuracy"] == pytest.approx(min(map(np.mean, cells)))
    lost = np.log(np.exp(odds).sum(axis=1)) - odds[np.arange(len(label)), label]
    assert found["nll"] == pytest.approx(lost.mean(), rel=1e-5)
    # A group without test rows plays no part.
    some = jax.tree.map(lambda part: part[(label != 0) | (group == 0)], task.test)
    least = measure(some)["worst_group_accuracy"]
    assert least == pytest.approx(min(map(np.mean, [*cells[:1], *cells[2:]])))


@pytest.mark.thorough
def test_training_ends_at_the_best_classifier():
    """As scikit-learn finds it on the same rows, in units of the user's."""
    train, test = table(400), table(400, seed=1)
    task = cj.GroupClassifier(data=(train, test), steps=3000, batch_size=300, learning_rate=0.03)
    ds = cj.simulate(cj.Replace(), task, 1, seeds=4, progress=False)
    spread = train[0].std(axis=0)
    other = LogisticRegression(C=1e6).fit(train[0] / spread, train[1])
    nll = -np.mean(
        np.log(
            other.predict_proba(test[0] / spread)[
                np.arange(400), np.unique(test[1], return_inverse=True)[1]
            ]
        )
    )
    np.testing.assert_allclose(ds["nll"], nll, rtol=0.02)
    assert json_labels(ds) == ["cat", "cow", "dog"]


def json_labels(ds):
    import json

    return json.loads(ds.attrs["outcomes"])


def test_a_constant_column_tells_nothing():
    """Not even where the mean of equal numbers is rounded, and test rows have another number."""
    (x, *labels), (other, *others) = table(40), table(40, seed=1)
    x, other = (np.column_stack([part, np.full(40, 0.1)]) for part in (x, other))
    other[0, -1] = 0.2
    task = cj.GroupClassifier(data=((x, *labels), (other, *others)))
    assert float(np.abs(task.train.x[:, -1]).max()) < 1e-9
    assert float(np.abs(task.test.x[:, -1]).max()) == pytest.approx(0.1)


def test_the_truth():
    """Rows are as the documentation says, and so are tests; the best line's accuracy is exact."""
    task = cj.GroupClassifier(agreement=0.9, core=0.5, spurious=1.5, dim=3, n_test=4000)
    world = task.world(key(), True, None)
    cells = np.bincount(2 * np.asarray(world.label) + np.asarray(world.group))
    assert cells.tolist() == [1000] * 4
    rows = jax.jit(lambda k: task.real(world, k, 20_000, size=None, index=None))(key(1))
    assert_mean(np.asarray(rows.label), 0.5)
    assert_mean(np.asarray(rows.label == rows.group), 0.9)
    for x in (rows, world):
        assert_mean(np.asarray(x.x[:, 0] * (2 * x.label - 1)), 0.5)
        assert_mean(np.asarray(x.x[:, 1] * (2 * x.group - 1)), 1.5)
        assert_mean(np.asarray(x.x[:, 2]), 0.0)
    # Balanced rows hold the group apart: the best line looks at column 0 alone.
    line = cj.GroupClassifier(core=1.0, n_samples=4000, steps=300, n_test=4000)
    ds = cj.simulate(cj.Replace(), line, 2, seeds=4, progress=False)
    assert abs(float(ds["accuracy"][:, 1].mean()) - ndtr(1.0)) < 0.02
    assert float(ds["accuracy"][:, 0].mean()) < ndtr(1.0) - 0.05


@pytest.mark.thorough
def test_any_loop_runs_and_is_made_again():
    task = cj.GroupClassifier(n_samples=30, steps=5, batch_size=8, depth=1, width=4, n_test=20)
    loop = cj.Workflow(
        cj.Real(every=True, keep=2),
        cj.Synthetic(n=20, keep=2, temperature=0.8),
        cj.Fit(real_weight=0.3, phases=("synthetic", "all", "real"), warm_start=True),
    )
    ds = cj.simulate(loop, task, 3, seeds=3, progress=False)
    staged = cj.simulate(loop, task, 3, seeds=3, runner="staged", progress=False)
    for name in task.variables:
        assert np.all(np.isfinite(ds[name]))
        np.testing.assert_allclose(ds[name], staged[name], rtol=1e-4, atol=1e-5)
    again, differences = cj.rerun(ds)
    assert all(difference.largest == 0.0 for difference in differences.values())
    np.testing.assert_array_equal(again["nll"], ds["nll"])
    rows = table(60)
    own = cj.GroupClassifier(data=rows, steps=5)
    assert describe(rebuild(describe(own), data=rows)) == describe(own)
    frechet = cj.simulate(cj.Replace(), own, 2, 2, metrics=["frechet"], progress=False)
    assert np.all(frechet["frechet"] > 0.0)


def test_digits_have_their_patches():
    (pictures, digits, sides), (tests, _, test_sides) = patched_digits(0.9)
    corners = pictures.reshape(-1, 8, 8)[:, 0, [0, 7]]
    assert np.all(corners[np.arange(len(sides)), sides] == 16.0)
    assert abs(np.mean(sides == digits % 2) - 0.9) < 0.03
    assert np.mean(test_sides) == 0.5
    assert len(tests) % 2 == 0


X, Y, G = table(20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": X}, "data must be .X, y, group., or two of these"),
        ({"data": (X, Y)}, "data must be .X, y, group."),
        ({"data": (X, Y, G[:-1])}, "a label and a group for each row"),
        ({"data": (X, ["a"] * 20, G)}, "y must have two or more different labels"),
        ({"data": (np.where(X > 1, np.nan, X), Y, G)}, "X"),
        ({"data": (table(20), table(20, labels=("cat", "cow", "elk")))}, "elk is not there"),
        ({"data": (table(20), (X[:, :2], Y, G))}, "must have the 3 columns"),
        ({"data": (X, Y, G), "dim": 4}, "dim must be the 3 columns"),
        ({"data": (X, Y, G), "n_samples": 16}, "n_samples must not exceed the 15"),
        ({"agreement": 1.5}, "agreement must be a probability"),
        ({"core": -1.0}, "core"),
        ({"dim": 1}, "dim"),
        ({"depth": -1}, "depth"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        cj.GroupClassifier(**arguments)
