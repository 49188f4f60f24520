"""Tables: their columns, the laws of these, and what is measured, against other programs."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from statistics_helpers import assert_law, assert_mean

import collapse_jax as cj
from collapse_jax.literature.findings.series import AR1, traffic
from collapse_jax.trained import table_distances
from collapse_jax.trained.columns import Column, Columns, read_columns

thorough = pytest.mark.thorough
RNG = np.random.default_rng(0)
COLOURS = RNG.choice(["blue", "green", "red"], 60, p=[0.5, 0.3, 0.2])
MIXED = {"size": 300 + 20 * RNG.normal(size=60), "colour": COLOURS, "is_new": RNG.random(60) < 0.4}
SMALL = {"steps": 4, "batch_size": 8, "width": 4, "depth": 1, "components": 2}


def key(seed=0):
    return jax.random.key(seed, impl="threefry2x32")


def run(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options)


def network(task, seed=0, scale=1.0):
    """A network with weights of this size."""
    return jax.tree.map(
        lambda x: scale * x if eqx.is_inexact_array(x) else x, task.parameters(key(seed))
    )


# Columns.


def test_kinds_of_columns_are_inferred_and_said():
    frame = pd.DataFrame(
        {
            "number": [0.5, 1.5, 2.0, 2.5],
            "whole": [3, 1, 1, 2],
            "text": ["b", "a", "b", "a"],
            "flag": [True, False, True, True],
            "grade": pd.Categorical(["low", "high", "low", "low"], ["low", "high", "unused"]),
            "object": np.array([1, 2.5, 3, 4], object),
        }
    )
    columns, rows = read_columns(frame, categorical=["whole"])
    assert {column.name: column.categories for column in columns.each} == {
        "number": (),
        "whole": ("1", "2", "3"),
        "text": ("a", "b"),
        "flag": ("False", "True"),
        "grade": ("low", "high"),
        "object": (),
    }
    expected = [[0.5, 2, 1, 1, 0, 1], [1.5, 0, 0, 0, 1, 2.5], [2.0, 0, 1, 1, 0, 3]]
    np.testing.assert_array_equal(rows[:3], expected)
    assert read_columns(np.array([[1.0, 2.0], [3.0, 5.0]]))[0].names == ("0", "1")
    assert cj.Tabular(MIXED).types == {
        "size": "numbers", "colour": "3 categories", "is_new": "2 categories",
    }  # fmt: skip


def test_rows_are_shown_as_they_came():
    task = cj.Tabular(MIXED, window=2)
    first = task.train[:5]
    shown = task.shown(None, first)
    np.testing.assert_allclose(shown["size"], MIXED["size"][2:7], rtol=1e-5)
    np.testing.assert_array_equal(shown["is_new"], MIXED["is_new"][2:7])
    names = np.array(["blue", "green", "red"])
    np.testing.assert_array_equal(names[np.asarray(shown["colour"])], COLOURS[2:7])
    np.testing.assert_array_equal(first[1:, 1], first[:-1, 2])  # the rows before are there
    assert len(task.train) + len(task.test) == 60 - 2 * 2
    assert len(cj.Tabular(MIXED).train) == 45


def replaced(name, values):
    return {**MIXED, name: values}


def with_entry(value):
    return [value, *MIXED["size"][1:]]


DATES = pd.date_range("2020-01-01", periods=60)
TWICE = pd.DataFrame(np.ones((60, 2)), columns=["x", "x"])
WRONG = {
    "missing": (replaced("size", with_entry(np.nan)), {}, "missing values, got 1 in column 'size'"),
    "none": (replaced("colour", [None, *COLOURS[1:]]), {}, "missing values, got 1 in column 'colo"),
    "infinite": (replaced("size", with_entry(np.inf)), {}, "got inf in row 0 of column 'size'"),
    "dates": (replaced("day", DATES), {}, "column 'day' is datetime"),
    "mixed": (replaced("odd", ["a", *MIXED["size"][1:]]), {}, "column 'odd' is mixed"),
    "complex": (replaced("z", MIXED["size"] + 1j), {}, "column 'z' is complex"),
    "identifier": (replaced("id", [f"row {i}" for i in range(60)]), {}, "another in column 'id'"),
    "constant": (replaced("one", np.ones(60)), {}, "'one' .numbers. is constant"),
    "one category": (replaced("one", ["a"] * 60), {}, "'one' .1 categories. is constant"),
    "names": (TWICE, {}, "distinct names of columns, got 'x' twice"),
    "lengths": (replaced("size", [1.0, 2.0]), {}, "one length, got shapes 'size': .2,."),
    "no table": (np.ones(5), {}, "a data frame, a dictionary of columns or an array"),
    "empty": ({}, {}, "must have rows and columns"),
    "few": ({"x": [1.0, 2.0, 3.0]}, {}, "at least 2 training and 2 test rows"),
    "categorical": (MIXED, {"categorical": ["siz"]}, "did you mean 'size'"),
    "window": (MIXED, {"window": 14}, "window must leave at least 2 .* has 1"),
    "below": (MIXED, {"window": -1}, "window must be between 0"),
    "n_samples": (MIXED, {"n_samples": 46}, "must not exceed the 45 training rows"),
    "decay": (MIXED, {"decay": -1.0}, "decay must be a finite number of zero or more"),
    "components": (MIXED, {"components": 0}, "components must be between 1"),
    "fraction": (MIXED, {"test_fraction": 1.5}, "test_fraction must be below 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_named(case, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    data, options, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message):
        cj.Tabular(data, **options)


# The laws of columns.


def test_no_column_sees_itself_or_those_after_it():
    task = cj.Tabular(MIXED, window=1, width=16, components=2)
    laws, net, stretch = task._laws, network(task, scale=3.0), task.train[0]
    slopes = jax.jit(jax.jacobian(lambda x: laws._outputs(net, x)))
    code = jax.vmap(task.columns.in_code)(stretch).reshape(-1)
    sees = np.abs(np.asarray(slopes(code))) > 0
    inputs, outputs = laws._orders
    np.testing.assert_array_equal(sees, outputs[:, None] > inputs[None])


def test_densities_are_those_of_mixtures_and_sum_to_one():
    columns = {"x": MIXED["size"], "colour": COLOURS}
    task = cj.Tabular(columns, components=2, width=8)
    net = network(task, 1, scale=2.0)
    heads = jax.jit(lambda row: task._laws.heads(net, row[None]))
    grid = np.linspace(-40, 40, 4001)
    rows = np.stack([np.repeat(grid, 3), np.tile(np.arange(3), len(grid))], axis=1)
    log = jax.jit(jax.vmap(lambda row: task._laws.log_density(net, row[None])))(jnp.float32(rows))
    np.testing.assert_allclose(np.exp(log).sum() * (grid[1] - grid[0]), 1.0, atol=1e-4)
    row = jnp.array([0.7, 2.0])
    made = heads(row)
    mixture = np.exp(made.log_weight[0]) @ stats.norm.pdf(0.7, made.mean[0], made.deviation[0])
    odds = np.exp(made.log_odds[0] - np.max(made.log_odds[0]))
    found = jax.jit(lambda row: task._laws.log_density(net, row[None]))(row)
    np.testing.assert_allclose(found, np.log(mixture * odds[2] / odds.sum()), rtol=1e-4)
    volume = float(np.log(np.std(task.unit * np.asarray(task.train[:, 0, 0], np.float64))))
    loss = jax.jit(lambda: task.loss(task.test, net, row[None, None], key()))()
    np.testing.assert_allclose(loss, volume - found, rtol=1e-4)


def mixture_of(weight, mean, deviation):
    return lambda x: stats.norm.cdf(x[:, None], mean, deviation) @ weight


def test_rows_have_the_density():
    """Counts of categories and numbers of each, with and without a temperature."""
    columns = {"colour": COLOURS, "flag": MIXED["is_new"], "x": MIXED["size"]}
    task = cj.Tabular(columns, components=2, width=8)
    net, n = network(task, 2, scale=2.0), 20_000
    draw = jax.jit(lambda heat: task.sample(task.test, net, key(1), n, temperature=heat)[:, 0])
    for heat in (1.0, 0.5):
        rows = np.asarray(draw(jnp.float32(heat)))
        heads = jax.jit(lambda row: task._laws.heads(net, row[None]))
        chosen = (rows[:, 0] == 1) & (rows[:, 1] == 0)
        made = heads(jnp.array([1.0, 0.0, 0.0]))

        def shares(log, heat=heat):
            found = np.exp(np.asarray(log, np.float64) / heat)
            return found / found.sum()

        expected = shares(made.log_odds[0]), shares(made.log_odds[1, :2])
        assert_mean(rows[:, :1] == np.arange(3), expected[0])
        assert_mean(rows[rows[:, 0] == 1, 1:2] == np.arange(2), expected[1])
        assert set(np.unique(rows[:, 1])) == {0.0, 1.0}
        weight, spread = shares(made.log_weight[0]), math.sqrt(heat) * made.deviation[0]
        mean = np.asarray(made.mean[0])
        assert_law(rows[chosen, 2], mixture_of(weight, mean, spread), 2)


def test_a_window_carries_a_series_on():
    """A network of which one weight is left is an autoregression, whose correlations are known."""
    series = RNG.normal(size=(60, 2))
    task = cj.Tabular(series, window=2, components=1, depth=0)
    net = network(task, scale=0.0)
    beside = eqx.tree_at(
        lambda m: m.layers[0].weight,
        net.beside,
        net.beside.layers[0].weight.at[1, 2].set(0.8).at[4, 4].set(0.5),  # x by x, y by x
    )
    net = net._replace(beside=beside)
    made = jax.jit(lambda: task.sample(task.test, net, key(3), 4000, temperature=None))()
    assert made.shape == (4000, 3, 2)
    np.testing.assert_array_equal(made[1:, :2], made[:-1, 1:])
    x, y = np.asarray(made[:, 2], np.float64).T
    for lag, error in ((1, 0.05), (2, 0.07), (5, 0.1)):  # 5 standard errors of Bartlett's
        np.testing.assert_allclose(np.corrcoef(x[lag:], x[:-lag])[0, 1], 0.8**lag, atol=error)
    np.testing.assert_allclose(np.std(x), 1.01 / 0.6, rtol=0.12)
    assert abs(np.corrcoef(x[:-1], y[1:])[0, 1]) > 0.3  # through the x of its row
    np.testing.assert_allclose(np.std(y - 0.5 * x), 1.01, rtol=0.06)


# Metrics.


def test_distances_are_those_of_scipy_and_numpy():
    columns = Columns((Column("x", ()), Column("c", ("a", "b", "c")), Column("y", ())))
    rng = np.random.default_rng(1)

    def measure(name, *given):
        function = getattr(table_distances, name)
        return jax.jit(lambda *given: function(columns, *given))(*given)

    def table(n):
        x = np.round(rng.normal(size=n))  # with ties
        return np.stack([x, rng.integers(3, size=n), x + rng.normal(size=n)], axis=1)

    rows, real, valid = table(50), table(70), np.arange(50) < 40
    ours = [jnp.float32(rows), jnp.float32(real), jnp.asarray(valid)]
    kept = rows[valid]
    kolmogorov = [stats.ks_2samp(kept[:, i], real[:, i]).statistic for i in (0, 2)]
    shares = [np.bincount(x[:, 1].astype(int), minlength=3) / len(x) for x in (kept, real)]
    expected = np.mean([*kolmogorov, 0.5 * np.abs(shares[0] - shares[1]).sum()])
    np.testing.assert_allclose(measure("marginal_error", *ours), expected, rtol=1e-5)

    def code(x):
        return np.column_stack([x[:, 0], x[:, 1:2] == np.arange(3), x[:, 2]])

    apart = np.corrcoef(code(kept), rowvar=False) - np.corrcoef(code(real), rowvar=False)
    found = measure("correlation_error", *ours)
    np.testing.assert_allclose(found, np.linalg.norm(apart), rtol=1e-4)
    ratio = code(kept).var(axis=0).sum() / code(real).var(axis=0).sum()
    np.testing.assert_allclose(measure("variance_ratio", *ours), ratio, rtol=1e-4)
    before, after = real[:-1], real[1:]
    each = [np.corrcoef(before[:, i], after[:, i])[0, 1] for i in (0, 2)]
    a, b = (x - x.mean(axis=0) for x in (code(before)[:, 1:4], code(after)[:, 1:4]))
    each.append((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
    found = measure("autocorrelation", ours[1][1:], ours[1][:-1], None)
    np.testing.assert_allclose(found, np.mean(each), rtol=1e-4)
    dead = jnp.zeros((5, 3))
    assert float(measure("autocorrelation", dead, dead, None)) == 0.0
    assert np.isfinite(measure("correlation_error", dead, dead, None))


# Loops.

EVERYTHING = cj.Workflow(
    cj.Real(every=True, keep=2), cj.Synthetic(n=6, keep=3, temperature=0.8), cj.Fit(real_weight=0.3)
)
CHOSEN = cj.Workflow(synthetic=cj.Synthetic(curation=cj.BestOf(lambda row: row["size"], 2)))
PAST = cj.Workflow(cj.Real(keep=None), cj.Synthetic(of=cj.Past(2)), cj.Fit(n=5, warm_start=True))
LOOPS = [(cj.Replace(), 1), *(pytest.param(*case, marks=thorough) for case in (
    (EVERYTHING, 2), (CHOSEN, 0), (CHOSEN, 1), (PAST, 3), (cj.AccumulateSubsample(), 0),
))]  # fmt: skip


@pytest.mark.parametrize(("workflow", "window"), LOOPS)
def test_any_loop_can_be_run(workflow, window):
    task = cj.Tabular(MIXED, n_samples=8, window=window, **SMALL)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        ds = run(workflow, task, 2, [4, 2])
        other = run(workflow, task, 2, [2, 5])
    assert set(task.variables) <= set(ds)
    assert all(np.isfinite(variable).all() for variable in ds.values())
    assert np.all(ds.failed_step == 0)
    for name in ds:
        found = other[name].sel(seed=2).values
        np.testing.assert_allclose(found, ds[name].sel(seed=2).values, rtol=2e-3, atol=1e-4)


def test_distances_need_features_where_there_are_categories():
    task = cj.Tabular(MIXED, n_samples=8, **SMALL)
    with pytest.raises(ValueError, match="give features"):
        run(cj.Replace(), task, 1, 1, metrics=["energy"])
    nearest = cj.Workflow(synthetic=cj.Synthetic(curation=cj.Nearest(0.5)))
    with pytest.raises(ValueError, match=r"no Nearest\(...\) with a Tabular, whose rows are no po"):
        run(nearest, task, 1, 1)


def in_numbers(row):
    return jnp.stack([row["size"] / 20, 1.0 * row["is_new"]])


def test_configurations_make_tables_again_of_the_same_data():
    task = cj.Tabular(MIXED, window=1, categorical=["is_new"], n_samples=8, **SMALL)
    written = cj.config.describe(task)
    again = cj.config.rebuild(written, data=MIXED)
    assert cj.config.describe(again) == written
    assert again.types == task.types
    other = replaced("colour", np.where(COLOURS == "red", "rot", COLOURS))
    with pytest.raises(ValueError, match="fingerprint differs"):
        cj.config.rebuild(written, data=other)


@thorough
def test_features_are_compared():
    task = cj.Tabular(MIXED, n_samples=8, **SMALL)
    options = {"metrics": ["energy"], "features": in_numbers}
    ds = run(cj.Replace(), task, 1, 2, **options)
    assert np.all(ds.energy > 0)
    again = cj.simulate(**cj.config.run_arguments(ds, data=MIXED), progress=False)
    np.testing.assert_array_equal(ds.energy, again.energy)


def test_least_squares_of_series_are_those_of_numpy():
    task, rng = AR1(40), np.random.default_rng(5)
    fitted = run(cj.Replace(), task, 4, 2000).coefficient.values
    chains = []
    for _ in range(2000):
        a, path = 0.8, []
        for _ in range(4):
            x = [rng.normal() / math.sqrt(max(1 - a**2, 1e-3))]
            for e in rng.normal(size=40):
                x.append(a * x[-1] + e)
            a = float(np.linalg.lstsq(np.array(x[:-1])[:, None], np.array(x[1:]))[0][0])
            path.append(a)
        chains.append(path)
    by_hand = np.array(chains)
    error = by_hand.std(axis=0, ddof=1) / math.sqrt(len(by_hand))
    assert_mean(fitted, by_hand.mean(axis=0), rounding=float(np.max(4 * error / by_hand.mean(0))))
    law = 0.8 * (1 - 2 / 40) ** np.arange(1, 5)
    assert np.all(np.abs(fitted.mean(axis=0) - law) < np.abs(0.8 - law))


# Quality.


@thorough
def test_a_normal_table_is_learned():
    rng = np.random.default_rng(3)
    n, d = 4000, 3
    factor = np.array([[1.0, 0, 0], [0.8, 0.6, 0], [-0.5, 0.5, 0.7]]) * [[10], [1], [0.1]]
    rows = rng.normal(size=(n, d)) @ factor.T + [100, 0, 3]
    ds = run(cj.Replace(), cj.Tabular(rows, steps=1000), 1, 4)
    task = cj.Tabular(rows)
    test = np.asarray(task.test[:, 0], np.float64) * (task.unit * task.scale) + task.origin
    covariance = factor @ factor.T
    exact = -stats.multivariate_normal([100, 0, 3], covariance).logpdf(test).mean()
    apart = -stats.norm([100, 0, 3], np.sqrt(np.diag(covariance))).logpdf(test).sum(axis=1).mean()
    found = float(ds.nll.mean())
    assert exact - 0.02 < found < exact + 0.05 < apart - 0.5
    assert float(ds.marginal_error.mean()) < 0.06
    assert float(ds.correlation_error.mean()) < 0.15


@thorough
def test_flowers_and_their_kinds():
    iris = load_iris(as_frame=True).frame.rename(columns={"target": "kind"})
    iris["kind"] = np.array(["setosa", "versicolor", "virginica"])[iris["kind"]]
    task = cj.Tabular(iris[["kind", *iris.columns[:4]]], components=1)
    ds = run(cj.Replace(), task, 1, 8)
    back = task.unit * task.scale
    train, test = (np.asarray(x[:, 0], np.float64) * back + task.origin
                   for x in (task.train, task.test))  # fmt: skip
    kinds, shares = np.unique(train[:, 0], return_counts=True)
    shares = shares / len(train)
    one = LinearDiscriminantAnalysis(store_covariance=True, solver="lsqr")
    one.fit(train[:, 1:], train[:, 0])
    law = np.array([stats.multivariate_normal(m, one.covariance_).logpdf(test[:, 1:])
                    for m in one.means_])  # fmt: skip
    own = test[:, 0].astype(int)
    together = -np.mean(law[own, np.arange(len(test))] + np.log(shares[own]))
    apart = -np.mean(
        stats.norm(train[:, 1:].mean(0), train[:, 1:].std(0)).logpdf(test[:, 1:]).sum(axis=1)
        + np.log(shares[own])
    )
    found = float(ds.nll.mean())
    print(f"network {found:.3f}, one covariance {together:.3f}, independent columns {apart:.3f}")
    assert found < together + 0.5 < apart - 1.0
    made = task.n_samples
    assert len(kinds) == 3
    assert float(ds.marginal_error.mean()) < 1.63 * math.sqrt(1 / made + 1 / len(test))


@thorough
def test_a_window_keeps_what_rows_without_one_lose():
    table = traffic(2000)
    kept = {}
    for window in (0, 5):
        task = cj.Tabular(table, window=window, components=1, depth=0, steps=300)
        kept[window] = run(cj.Replace(), task, 2, 4, metrics=["autocorrelation", "nll"])
    assert_mean(kept[0].autocorrelation, 0.0)
    assert float(kept[5].autocorrelation[:, 0].mean()) > 0.7
    noise = 0.5 * np.log(2 * np.pi * np.e * 0.36)
    entropy = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    np.testing.assert_allclose(kept[5].nll[:, 0].mean(), noise + entropy, atol=0.12)
    assert float(kept[0].nll.min()) > noise + entropy + 0.6


@thorough
def test_categories_drift_and_are_kept_by_mixing():
    """Under Replace a column of categories alone is a chain of draws of n rows, at the least."""
    task = cj.Tabular({"colour": COLOURS}, n_samples=40, steps=300, decay=0.0)
    errors = {}
    for name, loop in (("replace", cj.Replace()), ("accumulate", cj.Accumulate())):
        errors[name] = run(loop, task, 15, 16, metrics=["marginal_error"]).marginal_error
    last = {name: float(error[:, -5:].mean()) for name, error in errors.items()}
    assert last["accumulate"] < 0.75 * last["replace"]
