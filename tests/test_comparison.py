"""Distances of generated from real rows, as metrics of any task that makes rows of numbers."""

import json
import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from statistics_helpers import assert_law, assert_mean

import collapse_jax as cj
from collapse_jax.numerics.keys import Role, chain_key, stream
from collapse_jax.tasks.parts.comparison import DISTANCES

ROWS = np.random.default_rng(0).standard_normal((80, 2)) @ [[3.0, 1.0], [0.0, 0.5]] + [5.0, -2.0]
N = 256  # rows that are compared


class Step(cj.AbstractTask):
    """Real rows are standard normal; generation t generates rows that are t steps to the right."""

    n_samples: int = 4
    dim: int = 3
    step: float = 1.0

    variables = {"place": cj.Variable("place", "1")}  # noqa: RUF012

    def real(self, world, key, n, *, size, index):
        return jax.random.normal(key, (n, self.dim))

    def sample(self, world, model, key, n, *, temperature):
        return jax.random.normal(key, (n, self.dim)) + model

    def fit(self, world, data):
        return jnp.round(jnp.mean(data.rows[0])) * 0.0 + self.step

    def measure(self, world, model):
        return {"place": model}


class Owned(Step):
    """The same with data of the user's, and test rows or none."""

    test: object = None

    @property
    def population(self):
        return 10


class Named(Step):
    """A task whose own metric has the name of a distance."""

    variables = {"recall": cj.Variable("recall of its own", "1")}  # noqa: RUF012

    def measure(self, world, model):
        return {"recall": model + 7.0}


def first_two(row):
    return row[:2]


def key_of(seed):
    return chain_key(jnp.asarray(seed, jnp.uint32))


def simulate(task, metrics, n_generations=1, seeds: int | list[int] = 2, workflow=None, **options):
    workflow = cj.Replace() if workflow is None else workflow
    options = {"metrics": metrics, "progress": False} | options
    return cj.simulate(workflow, task, n_generations, seeds, **options)


@pytest.mark.parametrize(
    "names", [("energy",), pytest.param(tuple(DISTANCES), marks=pytest.mark.thorough)], ids=len
)
def test_a_task_has_them_for_nothing_and_they_are_those_of_its_rows(names):
    ds = simulate(Step(), names, n_generations=2, seeds=[3])
    assert {name: ds[name].attrs for name in ds} == {n: DISTANCES[n]._asdict() for n in names}
    key = key_of(3)
    fixed = stream(key, 0, Role.MEASURE)
    real = jax.random.normal(jax.random.fold_in(fixed, 0), (N, 3))
    for t in (1, 2):
        generated = jax.random.normal(stream(key, t, Role.MEASURE), (N, 3)) + 1.0
        for name in names:
            options = {"key": jax.random.fold_in(fixed, 1)} if name.startswith("sliced") else {}
            expected = jax.jit(getattr(cj.distances, name))(real, generated, **options)
            assert float(ds[name][0, t - 1]) == pytest.approx(float(expected), rel=1e-5)


def test_they_change_no_chain_and_cost_nothing_unasked():
    task = cj.Gaussian(2, 30)
    plain = simulate(task, None, n_generations=4)
    asked = simulate(task, ["trace_ratio", "energy"], n_generations=4)
    np.testing.assert_array_equal(plain.trace_ratio, asked.trace_ratio)
    assert not set(DISTANCES) & set(plain)
    text = [
        jax.jit(lambda key, m=m: cj.rollout(cj.Replace(), task, 3, key, metrics=m))
        .lower(key_of(0))
        .as_text()
        for m in (["trace_ratio"], ["trace_ratio", "energy"])
    ]
    assert f"{N}x{N}" not in text[0]
    assert f"{N}x{N}" in text[1]


@pytest.mark.thorough
def test_a_chain_does_not_depend_on_others():
    task = cj.Gaussian(2, 30)
    many = simulate(task, ["energy"], n_generations=3, seeds=5)
    alone = simulate(task, ["energy"], n_generations=3, seeds=[3])
    np.testing.assert_allclose(many.energy[3], alone.energy[0], rtol=1e-5)
    chain = cj.rollout(cj.Replace(), task, 3, key_of(3), metrics=["energy"])
    np.testing.assert_allclose(chain["energy"], alone.energy[0], rtol=1e-5)
    assert len(set(many.energy.values.ravel().tolist())) == 15


def test_both_runners_measure_the_same():
    one, other = (simulate(Step(), ["energy"], runner=name) for name in ("compiled", "staged"))
    np.testing.assert_allclose(one.energy, other.energy, rtol=1e-5)


def test_frechet_of_gaussians_is_their_wasserstein_distance():
    """Plus what 256 rows of each add, which is known in one dimension."""
    names = ["frechet", "wasserstein2", "trace_ratio"]
    ds = simulate(cj.Gaussian(1, 20), names, n_generations=5, seeds=400)
    log_c4 = 0.5 * math.log(2 / (N - 1)) + math.lgamma(N / 2) - math.lgamma((N - 1) / 2)
    spread = np.sqrt(ds.trace_ratio)
    rows_add = (1 + ds.trace_ratio) / N + 2 * spread * (1 - math.exp(2 * log_c4))
    assert_mean(ds.frechet - rows_add - ds.wasserstein2, 0.0)
    assert float(rows_add.mean()) > 5 * float((ds.frechet - ds.wasserstein2).std()) / 20**2


@pytest.mark.parametrize(
    "names",
    [
        ["energy"],
        pytest.param(["frechet", "sliced_wasserstein", "mmd"], marks=pytest.mark.thorough),
    ],
    ids=len,
)
def test_distances_are_in_the_units_of_the_data(names):
    plain = simulate(cj.Gaussian(2, 30), names)
    for unit in (1e-6, 1e6):
        task = cj.Gaussian(2, 30, mean=1e9 * unit, covariance=unit**2)
        ds = simulate(task, list(plain))
        for name in names:
            power = {"energy": 1, "mmd": 0}.get(name, 2)
            np.testing.assert_allclose(ds[name], plain[name] * unit**power, rtol=2e-4)


@pytest.mark.parametrize(
    "task",
    [
        cj.Gaussian(data=ROWS),
        cj.KernelDensity(data=ROWS),
        cj.Gaussian(2, 3000, mean=[1.0, 9.0], covariance=[[2.0, 1.2], [1.2, 1.0]]),
    ],
    ids=["Gaussian of data", "KernelDensity of data", "Gaussian"],
)
def test_rows_come_back_in_data_units(task):
    if task.population is None:
        rows = task.shown(None, task.real(None, key_of(0), 3000, size=None, index=None))
        assert_mean(rows - np.array([1.0, 9.0]), 0.0)
        centred = rows - np.array([1.0, 9.0])
        products = np.einsum("ni,nj->nij", centred, centred)
        assert_mean(products, task.covariance)
        return
    train = np.asarray(task.shown(None, task.train))
    assert cdist(train, ROWS).min(axis=1).max() < 1e-5
    held_out = task.held_out(task.world(key_of(0), True, jnp.arange(60)), key_of(1))
    test = np.asarray(task.shown(None, held_out))
    assert cdist(ROWS, np.concatenate([train, test])).min(axis=1).max() < 1e-5
    apart = np.linalg.norm(train[0] - train[1])
    spaced = task.spaced(task.train)
    assert float(jnp.linalg.norm(spaced[0] - spaced[1])) * task.row_unit == pytest.approx(apart)


@pytest.mark.thorough
def test_features_are_compared_instead():
    task = cj.Gaussian(data=ROWS, n_samples=40)
    whole = simulate(task, ["energy"], seeds=3)
    same = simulate(task, ["energy"], seeds=3, features=lambda row: 2.0 * row[::-1])
    np.testing.assert_allclose(same.energy, 2.0 * whole.energy, rtol=1e-4)
    one = simulate(task, ["energy"], seeds=3, features=lambda row: row[:1])
    assert np.all(one.energy < whole.energy)


def test_features_are_saved_by_their_path(tmp_path):
    ds = simulate(Step(), ["energy"], features=first_two)
    assert json.loads(ds.attrs["config"])["features"]["import"].endswith(":first_two")
    _, differences = cj.rerun(ds, progress=False)
    assert differences["energy"].only_rounding
    assert "features" not in json.loads(simulate(Step(), ["energy"]).attrs["config"])
    with pytest.raises(ValueError, match=r"checkpoint cannot keep .* features"):
        simulate(Step(), ["energy"], features=lambda row: row, checkpoint=tmp_path)


def test_words_can_be_compared_by_features():
    one_hot = lambda outcome: jax.nn.one_hot(outcome, 4)  # noqa: E731
    ds = simulate(cj.Categorical(4, 50), ["energy"], features=one_hot)
    assert np.all((ds.energy > 0.0) & (ds.energy < 0.2))


def test_rows_that_are_no_numbers_are_as_far_as_can_be():
    ds = simulate(Step(step=math.inf), ["energy", "recall"])
    for name, worst in (("energy", np.inf), ("recall", 0.0)):
        assert np.all(ds[name] == worst)


def test_a_task_keeps_a_metric_of_its_own():
    ds = simulate(Named(), ["recall"])
    assert np.all(ds.recall == 8.0)
    assert ds.recall.attrs["long_name"] == "recall of its own"


def test_test_rows_of_a_task_are_used():
    rows = jnp.asarray(np.random.default_rng(1).standard_normal((30, 3)), jnp.float32)
    ds = simulate(Owned(test=rows), ["energy"], seeds=[2])
    generated = jax.random.normal(stream(key_of(2), 1, Role.MEASURE), (30, 3)) + 1.0
    assert float(ds.energy[0, 0]) == pytest.approx(float(cj.distances.energy(rows, generated)))


def test_rows_of_gamma_laws_are_compared_as_they_are():
    task = cj.ExponentialFamily("gamma", 3.0, shape=2.0)
    rows = task.real(None, key_of(0), 4000, size=None, index=None)
    assert_law(task.spaced(rows), stats.gamma(2.0, scale=1.5).cdf)


BAD = [
    (
        lambda: simulate(cj.Categorical(4, 50), ["frechet"]),
        r"metrics: frechet.* compare .* those of a Categorical are \w+\[256\]; give features",
    ),
    (lambda: simulate(Step(), ["fretchet"]), "did you mean 'frechet'"),
    (lambda: simulate(Owned(), ["energy"]), "keeps no test rows .* held_out"),
    (
        lambda: simulate(Owned(test=jnp.zeros((5, 3))), ["coverage"]),
        "metrics: coverage needs more than 5 test rows, got 5",
    ),
    (
        lambda: simulate(Owned(test=jnp.zeros((1, 3))), ["frechet"]),
        "metrics: frechet needs more than 1 test rows, got 1",
    ),
    (lambda: simulate(Step(), ["energy"], features=3), "features must be a function .* got 3"),
    (lambda: simulate(Step(), ["place"], features=first_two), "features serve distances"),
    (lambda: simulate(Step(), None, features=first_two), "features serve distances"),
    (
        lambda: simulate(Step(), ["energy"], features=lambda row: row[0]),
        r"features must map a row to a vector .* got float32\[\] for a row",
    ),
    (
        lambda: simulate(Step(), ["energy"], features=lambda row: row.astype(int)),
        r"features must map a row to a vector .* got int32\[3\] for a row",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_input(call, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr(cj.run.compiled, "start", None)  # before anything compiles
    with pytest.raises((TypeError, ValueError), match=message):
        call()
