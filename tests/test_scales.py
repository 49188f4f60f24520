"""The user's own data, whatever their offsets and scales, against float64 NumPy."""

from typing import NamedTuple

import numpy as np
import pytest
from regression_tables import TABLES, diabetes
from sklearn import datasets as sk

import collapse_jax as cj
from collapse_jax.analysis.runs import collect, title
from collapse_jax.tasks.parts.tables import split

CHAINS = 200


def _dependent():
    """A duplicate, zeros, a sum and a constant beside the intercept."""
    x, y = diabetes()
    return np.column_stack([x, x[:, 2], 0 * y, x[:, 0] + x[:, 1], 0 * y + 7.0]), y


# Tables of one shape, so that one program serves them.
QUICK = {
    "diabetes with a small column": TABLES["diabetes with a small column"],
    "shifted": lambda: (diabetes()[0] + 1e6, diabetes()[1] * 1e-6 + 1e6),
    "huge labels": lambda: (diabetes()[0] * 1e-20, diabetes()[1] * 1e20),
    "nearly linear": lambda: (diabetes()[0], diabetes()[0].sum(axis=1) + 1e-6 * diabetes()[1]),
}
ALL = {**TABLES, **QUICK, "dependent columns": _dependent}


class Solved(NamedTuple):
    """Least squares in float64, in standardised columns and an intercept."""

    rank: int
    error: float
    noise: float
    leverage: float
    """What unit noise in the labels adds to the error on the test rows, on average."""

    def after(self, t: int) -> float:
        """Expected error in generation t under Replace."""
        return self.error + (t - 1) * self.noise * self.leverage


def solved(x, y):
    train, test = split(np.column_stack([x, y]), 0.25, 0)
    mean, spread = train[:, :-1].mean(axis=0), train[:, :-1].std(axis=0)
    spread = np.where(spread > 1e-12 * np.abs(mean), spread, np.inf)
    made = [np.column_stack([(t[:, :-1] - mean) / spread, np.ones(len(t))]) for t in (train, test)]
    inverse = np.linalg.pinv(made[0], rcond=1e-11)
    weights = inverse @ train[:, -1]
    rank = int(np.linalg.matrix_rank(made[0], tol=1e-9 * np.sqrt(len(train))))
    residual = train[:, -1] - made[0] @ weights
    error = np.mean((made[1] @ weights - test[:, -1]) ** 2)
    leverage = np.mean(np.sum((made[1] @ inverse) ** 2, axis=1))
    return Solved(rank, error, residual @ residual / (len(train) - rank), leverage)


@pytest.mark.parametrize("name", list(ALL))
def test_least_squares_in_single_precision_is_that_of_numpy(name):
    """In the coordinates of the device, where any solver gives what a chain starts from."""
    x, y = ALL[name]()
    task, golden = cj.LinearRegression(data=(x, y)), solved(x, y)
    assert task.rank == golden.rank
    assert task.noise == pytest.approx(golden.noise, rel=1e-4)
    train, test, labels, test_labels = map(
        np.asarray, (task.train_x, task.test_x, task.train_y, task.test_y)
    )
    found = np.mean((test @ np.linalg.lstsq(train, labels)[0] - test_labels) ** 2)
    assert float(found) * task.units["test_error"] == pytest.approx(golden.error, rel=1e-3)


def _check_replace(x, y, storage="auto"):
    """Generation 1 to a thousandth, generation 4 to what the number of chains tells."""
    golden = solved(x, y)
    task = cj.LinearRegression(data=(x, y))
    ds = cj.simulate(cj.Replace(), task, 4, CHAINS, storage=storage, progress=False)
    found = ds.test_error.values
    np.testing.assert_allclose(found[:, 0], golden.error, rtol=1e-3)
    assert abs(found[:, 3].mean() - golden.after(4)) < 5 * found[:, 3].std() / CHAINS**0.5


@pytest.mark.parametrize("name", QUICK)
def test_replace_on_tables_is_what_numpy_expects(name):
    _check_replace(*QUICK[name]())


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in ALL if name not in QUICK])
def test_replace_on_all_tables_is_what_numpy_expects(name):
    _check_replace(*ALL[name]())


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(ALL)[::4])
def test_replace_by_rows_is_what_numpy_expects(name):
    _check_replace(*ALL[name](), "rows")


def test_what_is_linear_up_to_rounding_has_no_noise():
    """The columns are known to eight digits, which is all that the labels are apart."""
    x = 63_588_426.0 + 10.0 * np.random.default_rng(0).integers(0, 3, (20, 1))
    with pytest.raises(
        ValueError, match="noise must be given: least squares fits the data exactly"
    ):
        cj.LinearRegression(data=(x, x[:, 0] * 0.1 - 1e6))
    task = cj.LinearRegression(data=(x, x[:, 0] * 0.1 - 1e6), noise=1e-4)
    first = cj.simulate(cj.Replace(), task, 1, 2, progress=False).test_error
    assert float(first.max()) < 1e-12


def _difficult(kind):
    """Three columns and two more, of which one is of no use, or tiny."""
    x, y = TABLES["stackloss"]()
    other = np.random.default_rng(0).standard_normal(len(y))
    flag = np.arange(len(y)) % 3 == 0
    more = {
        "scaled": (1e-4 * other, 0 * y),
        "zero": (0 * y, other),
        "duplicated": (x[:, 0], other),
        "dummies": (flag, ~flag),
    }[kind]
    return np.column_stack([x, *more]), y


@pytest.mark.parametrize("storage", ["auto", "rows"])
@pytest.mark.parametrize("kind", ["scaled", "zero", "duplicated", "dummies"])
def test_columns_of_no_use_do_no_harm(kind, storage):
    _check_replace(*_difficult(kind), storage)


def test_the_rank_is_reported_where_columns_are_dependent():
    x, y = _difficult("dummies")
    for columns, rank in ((x, 5), (x[:, :-1], 5)):
        task = cj.LinearRegression(data=(columns, y))
        ds = cj.simulate(cj.Replace(), task, 1, 2, progress=False)
        assert ds.attrs["rank"] == rank == solved(columns, y).rank
        assert ("rank=5" in title(collect(ds))) == (rank < task.dim)


@pytest.mark.parametrize("workflow", [cj.Replace(), cj.Accumulate(), cj.AccumulateSubsample()])
def test_regression_has_no_units(workflow):
    x, y = sk.load_wine(return_X_y=True)
    x, y = x[:, :4], y.astype(float)
    golden = cj.simulate(
        workflow, cj.LinearRegression(data=(x, y), n_samples=40), 4, 3, progress=False
    ).test_error
    for scale in (1e-6, 1.0, 1e6):
        task = cj.LinearRegression(data=((x + 1e6) * scale, (y + 1e6) * scale), n_samples=40)
        found = cj.simulate(workflow, task, 4, 3, progress=False).test_error
        np.testing.assert_allclose(found / scale**2, golden, rtol=1e-3)


@pytest.mark.parametrize("workflow", [cj.Replace(), cj.Accumulate(), cj.AccumulateSubsample()])
def test_gaussians_of_constant_rows_are_singular(workflow):
    """Of 20 rows out of 1000 zeros and 3 ones, nearly all are zero."""
    data = np.concatenate([np.zeros(1000), np.ones(3)])[:, None]
    task = cj.Gaussian(data=data, n_samples=20)
    ds = cj.simulate(workflow, task, 3, 200, progress=False)
    dead = np.isneginf(ds.log_det_ratio)
    assert 0.85 < float(dead.mean()) < 1.0
    assert bool(np.all(np.isposinf(ds.nll) == dead))
    assert bool(np.all(ds.log_det_ratio.where(~dead, 0.0) > -5.0))


@pytest.mark.parametrize("workflow", [cj.Replace(), cj.AccumulateSubsample()])
def test_gaussians_of_few_counts_are_singular_where_these_are(workflow):
    data = np.random.default_rng(0).poisson(1.0, (400, 3)).astype(float)
    ds = cj.simulate(workflow, cj.Gaussian(data=data, n_samples=5), 1, 400, progress=False)
    found = ds.log_det_ratio.values
    assert 20 < np.isneginf(found).sum() < 100
    assert found[np.isfinite(found)].min() > -8.0


def _densities(data, bandwidth):
    task = cj.KernelDensity(data=data, bandwidth=bandwidth)
    names = ("nll", "variance_ratio", "tail_coverage", "hallucinated")
    return cj.simulate(cj.Replace(), task, 2, 3, metrics=names, progress=False)


def test_kernel_densities_follow_offsets_and_scales():
    rows = np.random.default_rng(0).standard_normal((200, 2))
    golden = _densities(rows, 0.3)
    for scale in (1e-6, 1.0, 1e6):
        found = _densities((rows + 1e6) * scale, 0.3 * scale)
        assert found.nll.values == pytest.approx(
            golden.nll.values + 2 * np.log(scale), rel=1e-4, abs=1e-4
        )
        for name in ("variance_ratio", "tail_coverage", "hallucinated"):
            np.testing.assert_allclose(found[name], golden[name], rtol=1e-4)


def test_kernel_densities_of_tiny_bandwidths_are_numbers():
    rows = np.random.default_rng(0).standard_normal((400, 1))
    found = _densities(rows, 1e-6).nll.values
    train, test = split(rows, 0.25, 0)
    nearest = np.min((test - train.T) ** 2, axis=1)
    np.testing.assert_allclose(found[:, 0], nearest.mean() / 2e-12, rtol=1e-3)
    assert np.all(np.isfinite(found))


def test_ties_are_no_hallucinations():
    ages = np.round(40.0 + 10.0 * np.random.default_rng(0).standard_normal((400, 1)))
    found = _densities(ages, 1.0)
    assert float(found.hallucinated.max()) < 0.2
    assert float(found.tail_coverage.min()) > 0.5


GAUSSIAN_METRICS = ["squared_error_mean", "trace_ratio", "log_det_ratio", "wasserstein2", "nll"]


@pytest.mark.parametrize("scale", [1e-60, 1e-12, 1e8, 1e15, 1e60])
def test_gaussian_metrics_carry_any_scale(scale):
    shape = np.array([[2.0, 1.0], [1.0, 3.0]])
    found = [
        cj.simulate(
            cj.Replace(),
            cj.Gaussian(dim=2, n_samples=10, covariance=factor * shape),
            3,
            5,
            metrics=GAUSSIAN_METRICS,
            progress=False,
        )
        for factor in (1.0, scale**2)
    ]
    golden = found[0]
    for name, power in (("squared_error_mean", 2), ("wasserstein2", 2), ("trace_ratio", 0)):
        np.testing.assert_allclose(found[1][name] / scale**power, golden[name], rtol=1e-4)
    np.testing.assert_allclose(found[1].nll - 2 * np.log(scale), golden.nll, atol=1e-3)


def test_regressions_carry_any_noise():
    errors = [
        cj.simulate(cj.Replace(), cj.LinearRegression(3, 20, noise=noise), 3, 5, progress=False)
        for noise in (1.0, 1e40)
    ]
    golden, loud = (found.test_error.values.astype(float) for found in errors)
    np.testing.assert_allclose(loud, 1e40 * golden, rtol=1e-4)
    with pytest.raises(ValueError, match=r"noise must be at least 1e-09 .* got 1e-20"):
        cj.LinearRegression(3, 20, noise=1e-20)


def test_longleys_product_at_the_default_bandwidth():
    """Test rows are thousands of bandwidths away from all training rows."""
    product = TABLES["longley"]()[0][:, [1]]
    found = cj.simulate(cj.Replace(), cj.KernelDensity(data=product), 1, 2, progress=False).nll
    np.testing.assert_allclose(found, 2.294e10, rtol=1e-3)


@pytest.mark.parametrize("columns", [[1.0, 1.0, 1.0], [1e-25, 1.0, 1e17], [1e9, 2e30, 1e-6]])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_gaussians_of_own_data_carry_any_scale(columns, offset):
    """The first generation is fitted to all training rows: the truth itself."""
    rows = (np.random.default_rng(0).standard_normal((400, 3)) @ np.tri(3) + offset) * columns
    task = cj.Gaussian(data=rows)
    first = cj.simulate(cj.Replace(), task, 1, 1, progress=False).isel(seed=0, generation=0)
    train, test = split(rows, 0.25, 0)
    assert float(first.trace_ratio) == pytest.approx(1.0, rel=1e-5)
    assert float(first.log_det_ratio) == pytest.approx(0.0, abs=1e-4)
    total = np.sum(train.var(axis=0))
    assert float(first.wasserstein2) < 1e-9 * total
    assert float(first.squared_error_mean) < 1e-9 * total
    standard = lambda x: (x - train.mean(axis=0)) / train.std(axis=0)  # noqa: E731
    correlation = np.corrcoef(train, rowvar=False)
    solved = np.linalg.solve(correlation, standard(test).T).T
    nll = 0.5 * np.mean(np.sum(standard(test) * solved, axis=1)) + 0.5 * (
        3 * np.log(2 * np.pi) + np.linalg.slogdet(correlation)[1]
    )
    assert float(first.nll) == pytest.approx(nll + np.log(train.std(axis=0)).sum(), rel=1e-4)


def test_a_unit_that_float32_cannot_hold_is_refused_where_nothing_else_is_at_hand():
    import jax

    chain = (cj.Replace(), cj.Gaussian(covariance=1e80), 2, jax.random.key(0))
    with pytest.raises(ValueError, match=r"the unit of squared_error_mean is 2\.96e\+79"):
        cj.rollout(*chain)
    assert np.isfinite(cj.rollout(*chain, metrics=["nll", "trace_ratio"])["nll"]).all()


@pytest.mark.parametrize("covariance", [1.0, [1.0, 4.0, 9.0], [1e-6, 1.0, 9.0]])
@pytest.mark.parametrize("n", [10**6, 10**8])
def test_distances_of_huge_samples_are_no_rounding_errors(n, covariance):
    """To first order in 1/n the distance is a sum over pairs of axes."""
    task = cj.Gaussian(dim=3, n_samples=n, covariance=covariance)
    names = ["wasserstein2", "squared_error_mean"]
    ds = cj.simulate(cj.Replace(), task, 1, 4000, metrics=names, progress=False)
    found = (ds.wasserstein2 - ds.squared_error_mean).values[:, 0] * n
    own = np.broadcast_to(covariance, 3)
    pairs = own[:, None] * own / (2 * (own[:, None] + own))
    assert np.all(found > 0.0)
    expected = pairs.sum() + np.trace(pairs)
    assert abs(found.mean() - expected) < 5 * found.std() / 4000**0.5


LOOPS = {
    "Accumulate": cj.Accumulate(),
    "AccumulateSubsample": cj.AccumulateSubsample(),
    "windows": cj.Workflow(cj.Real(keep=3), cj.Synthetic(keep=2)),
    "past": cj.Workflow(synthetic=cj.Synthetic(of=cj.Past())),
    "fresh": cj.Workflow(cj.Real(every=True), fit=cj.Fit(real_weight=0.3)),
}


@pytest.mark.parametrize("n", [4])
@pytest.mark.parametrize(
    ("task", "metric"),
    [
        (lambda n: cj.Gaussian(dim=3, n_samples=n), "log_det_ratio"),
        (lambda n: cj.Gaussian(dim=5, n_samples=n), "trace_ratio"),
        (lambda n: cj.LinearRegression(dim=3, n_samples=n), "test_error"),
        (lambda n: cj.LinearRegression(dim=5, n_samples=n, design="fresh"), "test_error"),
        (lambda n: cj.KernelDensity("blobs", n_samples=n, n_test=50), "nll"),
        (lambda n: cj.Categorical(5, n), "entropy"),
    ],
)
def test_the_first_model_of_a_seed_is_the_same_in_all_loops(task, metric, n):
    first = lambda loop, storage: cj.simulate(  # noqa: E731
        loop, task(n), 1, 20, metrics=[metric], storage=storage, progress=False
    )[metric]
    golden = first(cj.Replace(), "auto")
    np.testing.assert_allclose(first(cj.Replace(), "rows"), golden, rtol=1e-3, atol=1e-5)
    for loop in LOOPS.values():
        np.testing.assert_allclose(first(loop, "auto"), golden, rtol=1e-3, atol=1e-5)
