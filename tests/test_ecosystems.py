"""Several models that feed each other, against one model, plain loops in NumPy, and theory."""

import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from statistics_helpers import assert_mean, assert_same_law

import collapse_jax as cj
from collapse_jax.records.store import Checkpoint
from collapse_jax.run import compiled
from collapse_jax.theory import plans, recursion
from collapse_jax.theory.ecosystems import joint_moments, spectral_radius

Q = [[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [0.0, 0.3, 0.7]]
PAIR = [[0.6, 0.4], [0.1, 0.9]]
WINDOWS = cj.Workflow(cj.Real(n=8, every=True, keep=2), cj.Synthetic(n=9, keep=3))
thorough = pytest.mark.thorough


def run(loop, task, n_generations=5, seeds=6, **options):
    return cj.simulate(loop, task, n_generations, seeds, progress=False, **options)


def values(ds, name):
    return ds[name].transpose("seed", "model", "generation").values


# One model, and how chains depend on keys


@thorough
@pytest.mark.parametrize("workflow", [WINDOWS, cj.AccumulateSubsample()], ids=range(2))
def test_one_model_is_the_chain_of_its_workflow(workflow):
    task = cj.Gaussian(2, 10)
    plain, one = run(workflow, task), run(cj.Ecosystem(workflow, [[1.0]], shared_real=True), task)
    assert "distance_between" not in one
    for name in plain:
        assert one[name].dims == ("seed", "model", "generation")
        assert np.array_equal(plain[name], one[name].isel(model=0)), name


@pytest.mark.parametrize(
    "loop", [cj.Replace(), pytest.param(WINDOWS, marks=thorough)], ids=range(2)
)
def test_what_a_model_draws_depends_on_its_number_alone(loop):
    """Not on how many models there are, as long as it does not hear of them; bit for bit."""
    task, metrics = cj.Categorical(5, 10), ["entropy", "squared_error"]
    plain = run(loop, task, metrics=metrics)
    two = run(cj.Ecosystem(loop, [[1, 0], [0.3, 0.7]]), task, metrics=metrics)
    three = [[1, 0, 0], [0.3, 0.7, 0], [0, 0, 1]]
    three = run(cj.Ecosystem(loop, three), task, 4, [4, 2], metrics=metrics)
    for name in metrics:
        assert np.array_equal(plain[name], two[name].isel(model=0)), name
        same = two[name].sel(seed=[4, 2], generation=[1, 2, 3, 4])
        assert np.array_equal(same, three[name].isel(model=[0, 1])), name
    assert not np.array_equal(three.entropy[:, 0], three.entropy[:, 2])


@thorough
def test_laws_of_statistics_know_their_own_model_too():
    task, metrics = cj.Gaussian(2, 40), ["trace_ratio", "squared_error_mean"]
    plain = run(cj.Replace(), task, metrics=metrics)
    several = run(cj.Ecosystem(cj.Replace(), np.eye(2)), task, metrics=metrics)
    for name in metrics:
        np.testing.assert_allclose(plain[name], several[name].isel(model=0), rtol=1e-4)


def test_other_numbers_do_not_compile_again():
    before = compiled._advance._cached._cache_size()
    for mixing, truth in ((PAIR, 0.1), ([[0.0, 1.0], [1.0, 0.0]], [0.5, 0.0])):
        run(cj.Ecosystem(cj.Replace(), mixing, truth_share=truth), cj.Categorical(3, 9))
    assert compiled._advance._cached._cache_size() <= before + 1


# Against theory


LOOPS = {
    "replace": (cj.Replace(), {}),
    "windows with the truth": (WINDOWS, {"truth_share": (0.2, 0.0, 0.0), "shared_real": True}),
    "sizes": (cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=[9, 5, 7, 6, 8], keep=2)), {}),
    "accumulate": (cj.Accumulate(), {}),
    "weights": (
        cj.Workflow(cj.Real(every=True), cj.Synthetic(n=20), cj.Fit(real_weight=0.3)),
        {"shared_real": True},
    ),
    "all": (cj.Workflow(cj.Real(n=7, every=True, keep=None), cj.Synthetic(keep=None)), {}),
}
TASKS = {
    "gaussian": cj.Gaussian(2, 12, covariance=[1.0, 3.0]),
    "categorical": cj.Categorical(n_samples=12, probabilities=[0.5, 0.3, 0.2]),
    "unbiased": cj.Gaussian(1, 12, covariance=4.0, estimator="unbiased"),
    "gamma": cj.ExponentialFamily("gamma", 2.0, 12, shape=1.5),
    "poisson": cj.ExponentialFamily("poisson", 3.0, 12),
    "bernoulli": cj.ExponentialFamily("bernoulli", 0.3, 12),
}
DAILY = {("windows with the truth", "categorical")}
CASES = [
    pytest.param(loop, task, id=f"{loop}-{task}", marks=() if (loop, task) in DAILY else thorough)
    for loop in LOOPS
    for task in TASKS
]


@pytest.mark.parametrize(("loop", "task_name"), CASES)
def test_moments_of_all_models_are_exact(loop, task_name):
    workflow, options = LOOPS[loop]
    ecosystem, task = cj.Ecosystem(workflow, Q, **options), TASKS[task_name]
    known = cj.theory.expected(ecosystem, task, 5)
    names = [name for name in known if name not in ("n_train", "real_fraction")]
    assert {"distance_between", task.error} <= set(names)
    ds = run(ecosystem, task, seeds=6000, metrics=[*names, "n_train", "real_fraction"])
    for name in names:
        assert known[name].attrs["kind"] == "exact"
        assert_mean(values(ds, name), known[name].values, rounding=1e-5)
    for name in ("n_train", "real_fraction"):
        np.testing.assert_allclose(ds[name].mean("seed"), known[name], rtol=1e-6)
    if loop == "replace" or (loop, task_name) in DAILY:  # that a fault is seen: who hears of whom
        other = np.array(Q).T / np.sum(Q, axis=0)[:, None]
        known = cj.theory.expected(cj.Ecosystem(workflow, other, **options), task, 5)
        with pytest.raises(AssertionError, match="standard error"):
            assert_mean(values(ds, task.error), known[task.error].values, rounding=1e-5)


@thorough
@pytest.mark.parametrize("shared", [False, True])
def test_rows_and_statistics_have_one_law(shared):
    ecosystem = cj.Ecosystem(WINDOWS, Q, truth_share=0.1, shared_real=shared)
    task = cj.Gaussian(2, 12)
    known = cj.theory.expected(ecosystem, task, 5)
    for storage in ("rows", "auto"):
        ds = run(ecosystem, task, seeds=6000, storage=storage)
        for name in ("trace_ratio", "squared_error_mean", "distance_between"):
            assert_mean(values(ds, name), known[name].values, rounding=1e-5)


@thorough
@pytest.mark.parametrize("design", ["fixed", "fresh"])
def test_regressions_have_large_sample_values(design):
    task = cj.LinearRegression(2, 200, design=design)
    ecosystem = cj.Ecosystem(cj.Workflow(cj.Real(every=True), cj.Synthetic()), PAIR)
    ds = run(ecosystem, task, seeds=2000)
    known = cj.theory.expected(ecosystem, task, 5)
    for name in ("test_error", "distance_between"):
        assert known[name].attrs["kind"] == "asymptotic"
        error = ds[name].std("seed") / np.sqrt(ds.sizes["seed"])
        assert np.all(np.abs(ds[name].mean("seed") - known[name]) < 5 * error + 0.03 * known[name])


@thorough
@pytest.mark.parametrize("shared", [False, True])
def test_data_of_the_users_own(shared):
    """Each model deals the rows in an order of its own, or all in one."""
    rows = np.random.default_rng(0).gamma(2.0, size=(40, 1))
    task = cj.Gaussian(data=rows, n_samples=12)
    loop = cj.Workflow(cj.Real(keep=None), cj.Synthetic(keep=2))
    ecosystem = cj.Ecosystem(loop, PAIR, shared_real=shared)
    ds = run(ecosystem, task, seeds=4000, metrics=["trace_ratio", "squared_error_mean"])
    known = cj.theory.expected(ecosystem, task, 5)
    for name in ds:
        assert_mean(values(ds, name), known[name].values, rounding=1e-4)
    first = values(ds, "trace_ratio")[:, :, 0]
    assert np.array_equal(first[:, 0], first[:, 1]) == shared


@thorough
@pytest.mark.parametrize("name", ["test_error", "distance_between"])
def test_regression_on_the_users_rows(name):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 2))
    task = cj.LinearRegression(data=(x, x @ [1.0, 2.0] + rng.normal(size=60)), n_samples=20)
    ds = run(cj.Ecosystem(cj.Accumulate(), PAIR), task, seeds=20)
    assert np.all(np.isfinite(ds[name]))
    assert len(np.unique(values(ds, name)[:, :, -1])) >= 20  # distances are those of both models


# Against plain loops


def plain_chain(rng, n_models, n, n_generations, shares):
    """The means and variances of models of one column that all keep their real rows."""
    real = rng.normal(size=(n_models, n))
    pool = [list(rows) for rows in real]
    found = np.empty((2, n_models, n_generations))
    for t in range(n_generations):
        models = [(np.mean(rows), np.std(rows)) for rows in pool]
        found[:, :, t] = np.transpose(models)
        models.append((0.0, 1.0))
        for i in range(n_models):
            source = rng.choice(n_models + 1, size=n, p=shares[i])
            mean, std = np.transpose([models[j] for j in source])
            pool[i] = [*real[i], *rng.normal(mean, std)]
    return found


@pytest.mark.parametrize("storage", ["auto", pytest.param("rows", marks=thorough)])
def test_agrees_in_law_with_a_plain_loop(storage):
    loop = cj.Ecosystem(cj.Workflow(cj.Real(keep=None)), Q, truth_share=[0.0, 0.3, 0.0])
    metrics = ["squared_error_mean", "trace_ratio", "distance_between"]
    ds = run(loop, cj.Gaussian(1, 6), 4, 3000, storage=storage, metrics=metrics)
    rng = np.random.default_rng(3)
    plain = np.stack([plain_chain(rng, 3, 6, 4, loop.shares) for _ in range(3000)])
    mean, std = plain[:, 0], plain[:, 1]
    others = (mean.sum(axis=1, keepdims=True) - mean) / 2
    expected = {
        "squared_error_mean": mean**2,
        "trace_ratio": std**2,
        "distance_between": (mean - others) ** 2,
    }
    for name, found in expected.items():
        for model in range(3):
            assert_same_law(values(ds, name)[:, model, -1], found[:, model, -1], comparisons=9)


# The theory itself


@pytest.mark.parametrize("loop", LOOPS)
def test_a_model_alone_has_the_moments_of_its_loop(loop):
    workflow = LOOPS[loop][0]
    streams = plans.streams_of(workflow.plan(5, 12))
    for estimator in ("mle", "unbiased"):
        known = recursion.exact_moments(streams, estimator)
        found = joint_moments(streams, [[1.0, 0.0]], estimator=estimator)
        np.testing.assert_allclose(found.mean_error[0], known.mean_error, rtol=1e-12)
        np.testing.assert_allclose(found.covariance[0], known.covariance, rtol=1e-12)
    found = joint_moments(streams, np.eye(3, 4), fixed_noise=True).mean_error
    np.testing.assert_allclose(found, [recursion.noise_variance(streams)] * 3, rtol=1e-12)
    assert np.all(found[0] == found[1])


def test_errors_are_bounded_exactly_where_the_spectral_radius_is_below_one():
    """A model that hears of the truth keeps all that hear of it; those that do not walk away."""
    star = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    apart = [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5]]
    streams = plans.streams_of(cj.Replace().plan(400, 100))
    for mixing, bounded in ((star, [True] * 3), (apart, [True, False, False])):
        ecosystem = cj.Ecosystem(cj.Replace(), mixing, truth_share=[0.1, 0.0, 0.0])
        radius = spectral_radius(ecosystem, 400, 100)[-1]
        assert (radius < 1 - 1e-9) == all(bounded)
        error = joint_moments(streams, ecosystem.shares, fixed_noise=True).mean_error
        m = ecosystem.shares[:, :-1]
        direct = np.zeros((3, 3))
        for t in range(400):
            np.testing.assert_allclose(error[:, t], np.diag(direct) + 0.01, rtol=1e-9)
            direct = m @ (direct + 0.01 * np.eye(3)) @ m.T
        assert [bool(growth < 1e-9) for growth in error[:, -1] - error[:, -2]] == bounded


def test_models_become_alike():
    streams = plans.streams_of(cj.Replace().plan(100, 50))
    found = joint_moments(streams, np.full((4, 5), 0.25) * [1, 1, 1, 1, 0])
    ratio = found.apart / found.mean_error
    assert np.all(np.diff(ratio) < 0)
    assert np.all(ratio[:, -1] < 0.1)
    alone = joint_moments(streams, np.eye(4, 5))
    np.testing.assert_allclose(alone.apart / alone.mean_error, 4 / 3, rtol=1e-12)


# Everything around


@pytest.fixture(scope="module")
def small():
    loop = cj.Workflow(cj.Real(keep=None))
    ecosystem = cj.Ecosystem(loop, Q, [0.1, 0.0, 0.2], shared_real=True)
    metrics = ["distance_between", "collision", "entropy_ratio"]
    return ecosystem, run(ecosystem, cj.Categorical(3, 9), metrics=metrics)


def test_rerun_and_description(small):
    ecosystem, ds = small
    assert cj.config.rebuild(json.loads(ds.attrs["config"])["workflow"]) == ecosystem
    assert ds.attrs["workflow"] == (
        "Ecosystem(3 x real.keep=None, truth_share=[0.1, 0, 0.2], shared_real)"
    )
    assert ds.distance_between.attrs["units"] == "1"
    assert np.all(ds.distance_between.sel(generation=1) < 1e-12)
    part = ds.isel(model=1, seed=[2, 0])
    again, differences = cj.rerun(part, progress=False)
    assert again.collision.dims == ("seed", "generation")
    assert all(found.only_rounding for found in differences.values())
    assert cj.rerun(ds, progress=False)[1]["collision"].largest == 0.0


def test_a_folder_goes_on_and_knows_its_matrix(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    monkeypatch.setattr("collapse_jax.run.simulation._CHUNK", 2)
    ecosystem, task = cj.Ecosystem(cj.Accumulate(), PAIR), cj.Categorical(3, 9)
    options = {"checkpoint": tmp_path / "kept", "checkpoint_seconds": 0.0}
    run(ecosystem, task, 3, 4, **options)
    longer = run(ecosystem, task, 5, 6, **options)
    whole = run(ecosystem, task, 5, 6)
    for name in whole:
        assert np.array_equal(whole[name], longer[name]), name
    for mixing in ([[0.6, 0.4], [0.2, 0.8]], np.eye(3), [[1.0]]):
        with pytest.raises(ValueError, match=r"of another: .*workflow.mixing"):
            run(cj.Ecosystem(cj.Accumulate(), mixing), task, 5, 6, **options)


def test_figures_have_a_curve_per_model(small):
    ecosystem, ds = small
    figure = cj.plot(ds, variables=["collision", "distance_between"])
    labels = [line.get_label() for line in figure.axes[0].lines]
    assert labels == [*(f"model {i}" for i in range(3)), *["_exact"] * 3]
    known = cj.theory.expected(ecosystem, cj.Categorical(3, 9), 5)
    np.testing.assert_allclose(figure.axes[0].lines[4].get_ydata(), known.collision[1])
    for refused in (cj.verdict, cj.diagnose):
        with pytest.raises(ValueError, match=r"of several models one: ds.sel\(model=0\)"):
            refused(ds)
    assert cj.verdict(ds.sel(model=1)).variable == "entropy_ratio"


@thorough
@pytest.mark.parametrize(
    "task",
    [
        cj.KernelDensity("blobs", n_samples=10, n_test=20),
        cj.LogisticRegression(dim=2, n_samples=10),
        cj.GaussianMixture("ring", 2, 10, covariance="diag", n_test=10),
    ],
    ids=lambda task: type(task).__name__,
)
@pytest.mark.parametrize("loop", [cj.Replace(), cj.AccumulateSubsample(), WINDOWS], ids=range(3))
def test_other_tasks_run(task, loop):
    ds = run(cj.Ecosystem(loop, PAIR, truth_share=0.1), task, 4, 3)
    assert ds[next(iter(task.variables))].dims == ("seed", "model", "generation")
    assert "distance_between" not in ds
    assert not any(ds[name].isnull().any() for name in ds)


WRONG = {
    "not square": ({"mixing": [[0.5, 0.5]]}, "mixing must have as many columns as rows"),
    "negative": (
        {"mixing": [[1, 0], [1.5, -0.5]]},
        "must not be negative, got -0.5 in row 1, col",
    ),
    "sum": ({"mixing": [[1, 0], [0.5, 0.4]]}, "rows that sum to 1, got a sum of 0.9 in row 1"),
    "nan": ({"mixing": [[1, 0], [0.5, np.nan]]}, "mixing must be finite, got nan at row 1"),
    "text": ({"mixing": "uniform"}, "mixing must be an array of numbers"),
    "truth": ({"truth_share": [0.1, 1.2]}, "between 0 and 1, got 1.2 for model 1"),
    "truths": ({"truth_share": [0.1, 0.2, 0.3]}, "one for each of the 2 models, got 3"),
    "shared": ({"shared_real": "yes"}, "shared_real must be True or False"),
    "workflow": ({"workflow": "Replace"}, "workflow must be a Workflow, got 'Replace'"),
    "source": (
        {"workflow": cj.Workflow(synthetic=cj.Synthetic(of=cj.Past()))},
        r"workflow.synthetic.of must be Latest\(\) in an Ecosystem, .* got Past",
    ),
    "curation": (
        {"workflow": cj.Workflow(synthetic=cj.Synthetic(curation=cj.Nearest(0.5)))},
        r"workflow.synthetic.curation must be \(\) in an Ecosystem",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_ecosystems(case, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    given, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message):
        cj.Ecosystem(**{"workflow": cj.Replace(), "mixing": PAIR, **given})


def test_what_several_models_cannot_do_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr(compiled, "start", None)
    pair, task = cj.Ecosystem(cj.Replace(), PAIR), cj.Categorical(3, 9)
    for options, message in (
        ({"observe": print}, "observe must be None with an Ecosystem"),
        ({"runner": "staged"}, "runner must be 'compiled' with an Ecosystem"),
        ({"mesh": "mesh"}, "mesh must be None with an Ecosystem"),
        ({"metrics": ["distance"]}, "metrics must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            run(pair, task, **options)
    with pytest.raises(ValueError, match="metrics must be one of"):
        run(cj.Replace(), task, metrics=["distance_between"])
    with pytest.raises(ValueError, match="task must not be a LanguageModel in an Ecosystem"):
        run(pair, cj.LanguageModel(cj.corpus.Grammar(), n_samples=4))
    for refused in (
        lambda: cj.rollout(pair, task, 3, None),
        lambda: cj.sweep(pair, task, {"n_samples": [3]}, 3, 2),
        lambda: cj.plot_plan(pair, 3),
    ):
        with pytest.raises(TypeError, match=r"must be (a Workflow|workflows)"):
            refused()


RARE = cj.Categorical(probabilities=[0.94, 0.02, 0.02, 0.02], n_samples=400)


@pytest.mark.parametrize(
    "loop",
    [cj.Workflow(synthetic=cj.Synthetic(of=cj.Mixed(0.5))), cj.Ecosystem(cj.Replace(), PAIR, 0.4)],
    ids=["mixed", "ecosystem"],
)
def test_sources_of_rare_outcomes_are_independent(loop):
    """Counts of two sources must share no random numbers, or their sum varies too much."""
    known = cj.theory.expected(loop, RARE, 2)
    ds = run(loop, RARE, 2, 20_000, metrics=["squared_error"])
    assert_mean(ds.squared_error, known.squared_error, rounding=1e-5)


def test_a_step_left_out_is_told_with_seed_model_and_generation():
    class Bad(cj.AbstractTrained):
        n_samples: int = 4
        steps: int = 3
        batch_size: int = 2
        variables: ClassVar = {"error": cj.Variable("of the mean", "1")}

        def parameters(self, key):
            return jnp.zeros(())

        def loss(self, world, model, rows, key):
            return jnp.mean(jnp.log(rows - model))  # no number for most rows

        def real(self, world, key, n, **_):
            return jax.random.normal(key, (n,))

        def sample(self, world, model, key, n, **_):
            return model + jax.random.normal(key, (n,))

        def measure(self, world, model):
            return {"error": model**2}

    with pytest.warns(UserWarning, match="seed 0 in generation 1 left out step"):
        ds = run(cj.Replace(), Bad(), 2, 2)
    assert "failed_step" not in ds
    with pytest.warns(UserWarning, match="seed 0, model 0, in generation 1 left out step"):
        run(cj.Ecosystem(cj.Replace(), PAIR), Bad(), 2, 2)
