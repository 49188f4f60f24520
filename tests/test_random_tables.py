"""Tables at random, as difficult as people's: each answer is that of float64, or refused by name.

Generation 1 of all loops is the fit to all training rows, which is worked out again in float64.
"""

from typing import NamedTuple

import numpy as np
import pytest
from scipy import special, stats

import collapse_jax as cj
from collapse_jax.tasks.parts.tables import split

SHAPES = ((10, 2), (48, 3))  # few, so that few programs are compiled
WORKFLOWS = (cj.Replace(), cj.Accumulate(), cj.AccumulateSubsample())
TABLES = 300
NAMED = r"(data|noise|bandwidth) must .*"
_EPS = float(np.finfo(np.float64).eps)


class Random(NamedTuple):
    """A table, and the rounding of its entries relative to the spread of their columns."""

    rows: np.ndarray
    rounding: float


def random_table(seed: int) -> Random:
    """Offsets to 1e9 and scales from 1e-12 to 1e12, ties, repeated rows, columns of no use."""
    rng = np.random.default_rng(seed)
    n, d = SHAPES[seed % 2]
    x = np.column_stack([_column(rng, n) for _ in range(d)])
    if rng.random() < 0.3:  # all but a copy of another column
        x[:, 1] = x[:, 0] + 10.0 ** rng.choice([-1.0, -3.0, -6.0, -np.inf]) * x[:, 1]
    if rng.random() < 0.2:
        x[:, rng.integers(d)] = rng.choice([0.0, 1.0, 0.1])
    if rng.random() < 0.3:
        x = x[rng.integers(0, n, n)]
    size = 1 if rng.random() < 0.5 else d
    if rng.random() < 0.7:
        x = x + rng.choice([-1.0, 1.0], size) * 10.0 ** rng.uniform(0, 9, size)
    kind = rng.choice(["float64", "float32", "int64"])
    if kind == "int64":
        return _rounded(np.round(10.0 * x).astype(np.int64))
    return _rounded((x * 10.0 ** rng.uniform(-12, 12, size)).astype(kind))


def _column(rng, n):
    draw = rng.choice(["normal", "uniform", "counts", "ties", "skewed"])
    if draw == "counts":
        return rng.poisson(2.0, n).astype(float)
    if draw == "skewed":
        return rng.lognormal(0.0, 1.5, n)
    x = rng.uniform(-1.0, 1.0, n) if draw == "uniform" else rng.standard_normal(n)
    return np.round(x) if draw == "ties" else x


def _rounded(rows):
    spread = rows.astype(float).std(axis=0)
    relative = np.abs(rows).max(axis=0) / np.where(spread > 0.0, spread, np.inf)
    return Random(rows, _EPS * max(float(relative.max()), 1.0))


def run(seed, task):
    """Two chains of three generations, in each loop in turn."""
    workflow = WORKFLOWS[seed // 2 % 3]
    found = cj.simulate(workflow, task, 3, 2, progress=False)
    assert not any(np.isnan(found[name]).any() for name in found)
    return found


def first(ds, name):
    """Of generation 1, in which all chains have the same training rows."""
    values = ds[name].values[:, 0]
    np.testing.assert_allclose(values, values[0], rtol=1e-3, atol=1e-4)
    return float(values[0])


def refused(make):
    """Whether the task is refused by the name of an argument."""
    try:
        return make(), False
    except ValueError as error:
        with pytest.raises(ValueError, match=NAMED):
            raise error
        return None, True


def check_gaussian(seed):
    table, rounding = random_table(seed)
    train, test = split(table.astype(float), 0.25, 0)
    spread = train.std(axis=0)
    live = spread > 8 * _EPS * np.abs(train).max(axis=0)
    z = (train - train.mean(axis=0)) / np.where(live, spread, np.inf)
    least = np.linalg.eigvalsh(z.T @ z / len(z))[0]
    task, out = refused(lambda: cj.Gaussian(data=table))
    if out:
        assert least < 1e-9
        return
    assert least > 1e-11
    ds = run(seed, task)
    for name in ("squared_error_mean", "wasserstein2"):
        assert np.all(ds[name].values[:, 0] <= 1e-9 * np.sum(spread**2))
    assert first(ds, "trace_ratio") == pytest.approx(1.0, rel=1e-4)
    assert first(ds, "log_det_ratio") == pytest.approx(0.0, abs=1e-3)
    correlation, other = z.T @ z / len(z), (test - train.mean(axis=0)) / spread
    quadratic = np.mean(np.sum(other * np.linalg.solve(correlation, other.T).T, axis=1))
    constant = table.shape[1] * np.log(2 * np.pi) + np.linalg.slogdet(correlation)[1]
    nll = 0.5 * (quadratic + constant) + np.log(spread).sum()
    loose = 1e-3 + 10 * rounding / least  # means and inverse of a correlation that is rounded
    assert first(ds, "nll") == pytest.approx(nll, rel=loose, abs=loose)
    assert np.all(np.abs(ds.log_det_ratio) < 40.0)
    assert np.all(ds.trace_ratio < 40.0)


def check_regression(seed):
    table, rounding = random_table(seed)
    task, out = refused(lambda: cj.LinearRegression(data=(table[:, :-1], table[:, -1])))
    train, test = split(table.astype(float), 0.25, 0)
    center, spread = train.mean(axis=0), train.std(axis=0)
    live = spread > 8 * _EPS * np.abs(train).max(axis=0)
    scale = np.where(live, spread, np.inf)
    z, other = ((part - center) / scale for part in (train, test))
    left, values, right = np.linalg.svd(z[:, :-1], full_matrices=False)
    known = 1e3 * rounding * np.sqrt(len(z))
    if out:
        rank = int(np.sum(values > known))
    else:
        rank = task.rank - 1  # any that is right up to rounding
        assert np.all(values[:rank] > rounding)
        assert np.all(values[rank:] < known)
    fitted = left[:, :rank].T @ z[:, -1] / values[:rank]
    residual = z[:, -1] - left[:, :rank] @ (values[:rank] * fitted)
    if out:
        assert np.sqrt(np.mean(residual**2)) < known
        return
    assert np.any(live[-1:]) or task.noise == 0.0
    unit = spread[-1] ** 2
    noise = unit * residual @ residual / (len(z) - rank - 1)
    assert task.noise == pytest.approx(noise, rel=1e-3 + known)
    ds = run(seed, task)
    design = other[:, :-1] @ right[:rank].T / values[:rank]
    error = unit * np.mean((design @ (values[:rank] * fitted) - other[:, -1]) ** 2)
    loose = known * np.sqrt(unit) + 1e-5 * np.sqrt(noise)
    found = np.sqrt(ds.test_error.values[:, 0])
    np.testing.assert_allclose(found, np.sqrt(error), rtol=5e-4, atol=loose)
    leverage = np.mean(np.sum(design**2, axis=1) + 1 / len(z))
    assert np.all(ds.test_error < (error**0.5 + (40 * 2 * noise * leverage) ** 0.5) ** 2)


def check_density(seed):
    table, rounding = random_table(seed)
    rows = table.astype(float)
    train, test = split(rows, 0.25, 0)
    rule = ("number", "scott*spread")[seed // 6 % 2]
    deviation = np.sqrt(train.var(axis=0, ddof=1).mean())
    factor = len(train) ** (-1.0 / (rows.shape[1] + 4.0)) if rule == "scott*spread" else 0.3
    bandwidth = factor * deviation
    given = rule if rule.endswith("*spread") else bandwidth
    task, out = refused(lambda: cj.KernelDensity(data=table, bandwidth=given or 1.0))
    if out:
        assert np.all(rows == rows[0]) or (given != rule and bandwidth == 0.0)
        return
    ds = run(seed, task)
    if deviation < 1e-6 * np.ptp(rows, axis=0).max():  # beside a single row far away
        assert first(ds, "nll") == np.inf or given != rule
        return
    gaps = (test[:, None] - train[None]) / bandwidth
    logs = special.logsumexp(-0.5 * np.sum(gaps**2, axis=2), axis=1) - np.log(len(train))
    d = rows.shape[1]
    nll = d * np.log(bandwidth) + 0.5 * d * np.log(2 * np.pi) - logs.mean()
    loose = 1e-3 + 1e3 * rounding
    assert first(ds, "nll") == pytest.approx(nll, rel=loose, abs=loose)
    assert np.all(np.isfinite(ds.nll))


def check_categorical(seed):
    rng = np.random.default_rng(seed)
    names = [[0, 1, 2], ["a", "A", "b "], [-1e-12, 0.0, 1e12], ["7", "007", "7.0"]][seed % 4]
    share = rng.dirichlet(np.ones(3))
    labels = np.array(names)[np.concatenate([range(3), rng.choice(3, 21, p=share)])]
    task, out = refused(lambda: cj.Categorical(data=labels))
    assert not out
    assert task.n_outcomes == 3
    ds = run(seed, task)
    p = np.unique(labels, return_counts=True)[1] / len(labels)
    assert first(ds, "entropy") == pytest.approx(stats.entropy(p), rel=1e-5)
    assert first(ds, "collision") == pytest.approx(np.sum(p**2), rel=1e-5)
    assert first(ds, "squared_error") == pytest.approx(0.0, abs=1e-9)
    assert np.all((ds.entropy >= 0.0) & (ds.entropy <= np.log(3) + 1e-6))


def check_family(seed):
    rng = np.random.default_rng(seed)
    family = ("poisson", "gamma", "geometric")[seed % 3]
    options = {"shape": 2.0} if family == "gamma" else {}
    if family == "gamma":
        rows = rng.lognormal(0.0, rng.uniform(0.0, 3.0), 24) * 10.0 ** rng.uniform(-12, 12)
    else:
        rows = rng.poisson(10.0 ** rng.uniform(-2, 6), 24).astype(rng.choice([int, "float32"]))
    task, out = refused(lambda: cj.ExponentialFamily(family, data=rows, **options))
    train, test = split(np.asarray(rows, float), 0.25, 0)
    mean = train.mean()
    if out:
        assert mean == 0.0
        return
    law = {
        "poisson": stats.poisson(mean),
        "gamma": stats.gamma(2.0, scale=mean / 2.0),
        "geometric": stats.geom(1.0 / (1.0 + mean), loc=-1),
    }[family]
    ds = run(seed, task)
    nll = -np.mean(law.logpdf(test) if family == "gamma" else law.logpmf(test))
    assert first(ds, "nll") == pytest.approx(nll, rel=1e-4, abs=1e-4)
    assert np.all(ds.squared_error.values[:, 0] <= 1e-9 * mean**2)


CHECKS = (check_gaussian, check_regression, check_density, check_categorical, check_family)


@pytest.mark.parametrize("seed", range(0, 48, 12))  # of one shape, in one loop
@pytest.mark.parametrize("check", CHECKS[:3])
def test_some_answers_are_right_or_refused(check, seed):
    check(seed)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(TABLES))
@pytest.mark.parametrize("check", CHECKS)
def test_all_answers_are_right_or_refused(check, seed):
    check(seed)
