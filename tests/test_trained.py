"""Flows, diffusion models and autoencoders against exact densities, and how training goes."""

import itertools
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from scipy import stats
from sklearn.datasets import load_digits
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.numerics.keys import Role, stream
from collapse_jax.trained import networks
from collapse_jax.trained.autoencoder import Coder
from collapse_jax.trained.base import RealWorld
from collapse_jax.trained.diffusion import _LEAST

thorough = pytest.mark.thorough
IMAGES = load_digits().images[:120]
WINDOWS = cj.Workflow(
    cj.Real(every=True, keep=2), cj.Synthetic(n=6, keep=3, temperature=0.8), cj.Fit(real_weight=0.3)
)
CURATED = cj.Workflow(synthetic=cj.Synthetic(of=cj.Past(2), curation=cj.Nearest(0.5)))
WARM = cj.Workflow(cj.Real(keep=None), fit=cj.Fit(warm_start=True))
TINY = {"n_samples": 8, "steps": 5, "batch_size": 4, "width": 4, "depth": 1, "n_test": 10}
FLOW = cj.Flow("moons", layers=2, knots=3, **TINY)
DIFFUSION = cj.Diffusion("ring", sampler="stochastic", sampling_steps=3, **TINY)
CODER = cj.Autoencoder("grid", **TINY)


def run(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options)


def key(seed=0):
    return jax.random.key(seed, impl="threefry2x32")


def world_of(test):
    test = jnp.asarray(test, jnp.float32)
    return RealWorld(test, jnp.zeros((3, 2)), key(1))


WORLD = world_of(np.zeros((3, 2)))


def model_of(made):
    """What a chain carries of a module."""
    return eqx.filter(made, eqx.is_inexact_array)


@eqx.filter_jit
def drawn(task, model, seed, n, temperature=None):
    """Rows of a model."""
    heat = None if temperature is None else jnp.float32(temperature)
    return task.sample(WORLD, model, key(seed), n, temperature=heat)


@eqx.filter_jit
def measured(task, world, model):
    return task.measure(world, model)


# What all generators promise.


@pytest.mark.parametrize(
    ("task", "loop"),
    [
        (CODER, WARM),
        *(
            pytest.param(task, loop, marks=thorough)
            for task, loop in (
                (FLOW, WINDOWS),
                (FLOW, cj.Accumulate()),
                (DIFFUSION, WARM),
                (DIFFUSION, cj.AccumulateSubsample()),
                (CODER, WINDOWS),
                (
                    CODER,
                    CURATED,
                ),
            )
        ),
    ],
    ids=lambda x: type(x).__name__ if not isinstance(x, cj.Workflow) else "",
)
def test_chains_are_the_same_both_ways(task, loop):
    names = list(task.variables)
    ds = run(loop, task, 3, [2, 5], metrics=names)
    assert set(ds) == set(names)
    assert not ds.to_array().isnull().any()
    assert np.isfinite(ds.to_array()).all()
    staged = run(loop, task, 3, [2, 5], metrics=names, runner="staged")
    for name in names:
        np.testing.assert_allclose(ds[name], staged[name], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(
    "task",
    [pytest.param(FLOW, marks=thorough), pytest.param(DIFFUSION, marks=thorough), CODER],
    ids=lambda x: type(x).__name__,
)
def test_programs_are_free_of_lapack(task):
    keys = jax.random.split(key(), 2)
    chain = jax.jit(jax.vmap(lambda key: cj.rollout(cj.Replace(), task, 2, key)))
    text = chain.lower(keys).as_text()
    for name in ("lapack", "cholesky", "triangular_solve", "eigh", "Qr"):
        assert name not in text


@pytest.mark.parametrize("task", [FLOW, DIFFUSION, CODER], ids=lambda x: type(x).__name__)
def test_configurations_make_the_same_task(task):
    config = cj.config.describe(task)
    again = cj.config.rebuild(config)
    assert type(again) is type(task)
    assert cj.config.describe(again) == config
    assert jax.tree.structure(again) == jax.tree.structure(task)


@thorough
@pytest.mark.parametrize("name", ["flow", "diffusion", "autoencoder"])
def test_command_line(name, command):
    options = "--steps 2 --width 2 --depth 1 --n-samples 6 --batch-size 3 --n-test 5"
    code, out, _ = command(
        f"simulate {name} --workflow replace --generations 2 --seeds 2 {options} --out ds.nc"
    )
    assert code == 0, out


# Rows of the user's, in the user's units.


@pytest.mark.parametrize(
    ("kind", "name", "sign"),
    [pytest.param(cj.Flow, "nll", 1.0, marks=thorough), (cj.Autoencoder, "elbo", -1.0)],
)
def test_units_are_the_users(kind, name, sign):
    rows = np.random.default_rng(0).standard_normal((80, 2)) @ [[1.0, 0.5], [0.0, 2.0]]
    other = 1e4 * rows * [1.0, 1e-3] + [3e6, -5.0]
    small, names = {"steps": 30, "width": 4}, [name, "train_loss", "variance_ratio"]
    task, seen = kind(data=other, **small), []
    first, second = (
        run(cj.Replace(), made, 1, 4, metrics=names, observe=seen.append)
        for made in (kind(data=rows, **small), task)
    )
    volume = math.log(1e4) + math.log(10.0)
    np.testing.assert_allclose(sign * (second[name] - first[name]), volume, atol=2e-3)
    np.testing.assert_allclose(second.train_loss - first.train_loss, volume, atol=2e-3)
    train, test = other[task_order(80)[20:]], other[task_order(80)[:20]]
    shown = np.asarray(task.shown(None, task.train), np.float64)
    np.testing.assert_allclose(shown, train, rtol=1e-6, atol=1e-3)
    generated = np.asarray(jax.vmap(lambda rows: task.shown(None, rows))(seen[1].rows), np.float64)
    ratio = generated.var(axis=1, ddof=1).sum(axis=1) / test.var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(second.variance_ratio[:, 0], ratio, rtol=1e-3)
    apart = np.linalg.norm(test[0] - test[1])
    spaced = np.asarray(task.spaced(task.test), np.float64) * task.row_unit
    np.testing.assert_allclose(np.linalg.norm(spaced[0] - spaced[1]), apart, rtol=1e-4)


def task_order(n):
    return np.random.default_rng(0).permutation(n)


def test_images_are_shown_as_images():
    task = cj.Diffusion(data=IMAGES, steps=2, sampling_steps=2, width=4)
    shown = task.shown(None, task.train)
    assert shown.shape == (90, 8, 8)
    np.testing.assert_allclose(shown, IMAGES[task_order(120)[30:]], atol=1e-4)
    assert float(jnp.var(task.train, axis=0).sum()) == pytest.approx(64.0, rel=1e-4)
    seen = []

    def middle(image):
        seen.append(image.shape)
        return image[3:5, 3]

    options = {"metrics": ["energy"], "features": middle}
    eqx.filter_eval_shape(lambda own: cj.rollout(cj.Replace(), task, 1, own, **options), key())
    assert set(seen) == {(8, 8)}


def test_only_rows_that_count_have_a_variance():
    x = np.random.default_rng(1).standard_normal((30, 2)).astype(np.float32)
    found = FLOW.measure_rows(world_of(x), jnp.asarray(x), valid=jnp.arange(30) < 12)
    scale = np.asarray(FLOW.scale)
    expected = (scale**2 * x[:12].var(axis=0, ddof=1)).sum() / (
        scale**2 * x.var(axis=0, ddof=1)
    ).sum()
    np.testing.assert_allclose(found["variance_ratio"], expected, rtol=1e-5)


def test_networks_are_drawn_as_those_of_equinox():
    made = networks.fresh(networks.perceptron(3, 5, 400, 2), key())
    for layer, inputs in zip(made.layers, (3, 400, 400), strict=True):
        reach = 1.0 / math.sqrt(inputs)
        flat = np.r_[np.ravel(layer.weight), np.ravel(layer.bias)]
        assert stats.kstest(flat, stats.uniform(-reach, 2 * reach).cdf).pvalue > 1e-4
    both = np.r_[np.ravel(made.layers[0].weight)[:400], np.ravel(made.layers[1].weight)[:400]]
    assert len(np.unique(both)) > 790


# Training: averages of parameters, and losses that are no numbers.


class Walk(cj.AbstractTrained):
    """One parameter, which each step moves by 1; its average is the model."""

    n_samples: int = 4
    steps: int = 5
    batch_size: int = 2
    variables: ClassVar = {"place": cj.Variable("of the model", "1")}
    averaging: ClassVar = 0.4

    @property
    def optimizer(self):
        return optax.sgd(1.0)

    def parameters(self, key):
        return jnp.zeros(())

    def loss(self, world, model, rows, key):
        return -model

    def real(self, world, key, n, **_):
        return jnp.zeros(n)

    def sample(self, world, model, key, n, **_):
        return jnp.zeros(n)

    def measure(self, world, model):
        return {"place": model}


@pytest.mark.parametrize("warm", [False, True])
def test_the_model_is_the_average_of_parameters(warm):
    ds = run(cj.Workflow(fit=cj.Fit(warm_start=warm)), Walk(), 2, 1)
    expected, start = [], 0.0
    for _ in range(2):
        place = average = start
        for made in range(1, 6):
            place += 1.0
            decay = min(0.4, (1 + made) / (10 + made))
            average = decay * average + (1 - decay) * place
        expected.append(average)
        start = average if warm else 0.0
    np.testing.assert_allclose(ds.place[0], expected, rtol=1e-6)


class Fragile(Walk):
    """Its loss is no number for rows of 1, and its slope none for rows of 2."""

    variables: ClassVar = {
        "place": cj.Variable("of the model", "1"),
        "train_loss": cj.Variable("mean loss", "1"),
        "failed_step": cj.Variable("first step left out", "steps"),
    }
    averaging: ClassVar = None
    batch_size: int = 1

    def loss(self, world, model, rows, key):
        return jnp.where(rows[0] == 1.0, jnp.nan, jnp.sqrt(2.0 - rows[0] + 0.0 * model) - model)

    def real(self, world, key, n, **_):
        return jnp.full(n, jax.random.randint(key, (), 0, 3).astype(jnp.float32))


def test_steps_without_a_finite_loss_are_left_out_and_named():
    loop = cj.Workflow(cj.Real(), cj.Synthetic())
    with pytest.warns(UserWarning, match=r"training of seed \d+ in generation 1 left out step 1"):
        ds = run(loop, Fragile(), 2, 30)
    failed = ds.failed_step[:, 0].values == 1.0
    assert 5 < failed.sum() < 28
    np.testing.assert_array_equal(ds.place[:, 0], np.where(failed, 0.0, 5.0))
    np.testing.assert_array_equal(ds.place[:, 1], 5.0)
    assert np.isinf(ds.train_loss[failed, 0]).all()
    assert not ds.to_array().isnull().any()
    np.testing.assert_array_equal(ds.failed_step[:, 1], 0.0)


# Flows.


@pytest.fixture(scope="module")
def bent():
    """A flow, and what a chain carries of it; even new ones bend."""
    task = cj.Flow("moons", layers=3, knots=5, width=16)
    return task, model_of(task.parameters(key(3)))


@eqx.filter_jit
def backwards(flow, x):
    """The noise that rows come from, and the slopes of the rows by it."""
    noise = jax.vmap(flow.bijection.inverse)(x)
    return noise, jax.vmap(jax.jacfwd(flow.bijection.transform))(noise)


def test_densities_are_those_of_the_samples(bent):
    """They integrate to 1, and are what the change of variables by the sampler gives."""
    task, model = bent
    flow, log_density = task.whole(model), eqx.filter_jit(lambda flow, x: flow.log_prob(x))
    edges = np.linspace(-8.0, 8.0, 401)
    grid = np.stack(np.meshgrid(edges, edges), axis=2).reshape(-1, 2).astype(np.float32)
    density = np.exp(np.asarray(log_density(flow, grid), np.float64))
    assert density.sum() * (edges[1] - edges[0]) ** 2 == pytest.approx(1.0, abs=2e-3)
    x = drawn(task, model, 5, 50)
    noise, slopes = backwards(flow, x)
    assert np.std(slopes[:, 0, 0]) > 0.1  # it is bent
    volumes = np.log(np.abs(np.linalg.det(np.asarray(slopes, np.float64))))
    expected = stats.norm.logpdf(noise).sum(axis=1) - volumes
    np.testing.assert_allclose(log_density(flow, x), expected, atol=2e-3)
    nll = measured(task, world_of(x), model)["nll"]
    np.testing.assert_allclose(nll, math.log(0.87 * 0.5) - expected.mean(), atol=2e-3)


def test_temperature_scales_the_noise_of_flows(bent):
    task, model = bent
    x = drawn(task, model, 6, 4000, 0.25)
    noise = np.asarray(backwards(task.whole(model), x)[0], np.float64)
    assert_mean(noise, 0.0)
    assert_mean(noise**2, 0.25, rounding=1e-3)


@thorough
def test_flows_are_as_good_as_those_that_flowjax_trains():
    from flowjax.train import fit_to_data

    task = cj.Flow("moons", 1000, n_test=2000)
    ds = run(cj.Replace(), task, 1, 2)
    for seed in range(2):
        world = task.world(stream(key(seed), 0, Role.WORLD), True, None)
        rows = task.real(world, stream(key(seed), 0, Role.REAL), 1000, size=None, index=None)
        theirs, _ = fit_to_data(
            key(9), task.parameters(key(5)), rows, learning_rate=5e-3, show_progress=False
        )
        expected = task.loss(world, theirs, world.test, key())
        assert float(ds.nll[seed, 0]) < float(expected) + 0.05


# Diffusion models of normal rows, whose velocity is known.

DEVIATIONS = np.array([0.5, 2.0])


class Exact(cj.Diffusion):
    """One that knows the velocity of independent normal columns."""

    def whole(self, model):
        def network(seen):
            z, angle = seen[:2], jnp.arctan(jnp.exp(5.0 * seen[2]))
            cos, sin, squared = jnp.cos(angle), jnp.sin(angle), jnp.float32(DEVIATIONS**2)
            return cos * sin * (1.0 - squared) / (cos**2 * squared + sin**2) * z

        return network


def exact(**options):
    return Exact(data=np.array([[1.0, 1.0], [-1.0, -1.0]] * 4), **options)


def test_the_bound_of_normal_rows_is_their_likelihood():
    rows, task = np.random.default_rng(0).standard_normal((500, 2)) * DEVIATIONS, exact()
    expected = stats.norm.logpdf(rows, scale=DEVIATIONS).sum(axis=1).mean() - task.log_volume[0]
    world = world_of(rows)
    bound = jax.jit(jax.vmap(lambda own: task.measure(world._replace(key=own), ())["elbo"]))
    found = bound(jax.random.split(key(), 40))
    assert_mean(found, expected, rounding=1e-3)
    assert np.std(found) < 0.15  # that of one estimate, with as many test rows as by default


@pytest.mark.parametrize("sampler", ["deterministic", "stochastic"])
@pytest.mark.parametrize(
    ("temperature", "guidance"), [(None, 1.0), (0.5, 1.3), pytest.param(0.5, 1.0, marks=thorough)]
)
def test_samples_of_normal_rows_have_the_exact_variance(sampler, temperature, guidance):
    """That of the midpoint rule, and without guidance, up to 1 %, that of the data."""
    task, heat = exact(sampler=sampler, guidance=guidance), temperature or 1.0
    x = np.asarray(drawn(task, (), 2, 20_000, temperature), np.float64)
    angles = np.linspace(math.sqrt(math.pi / 2 - _LEAST), math.sqrt(_LEAST), 26) ** 2

    def velocity(angle):
        cos, sin = np.cos(angle), np.sin(angle)
        return guidance * cos * sin * (1 - DEVIATIONS**2) / (cos**2 * DEVIATIONS**2 + sin**2)

    variance = np.full(2, heat)
    for k, (angle, after) in enumerate(itertools.pairwise(angles)):
        until = angles[min(k + 2, 25)] if sampler == "stochastic" else after
        way = until - angle
        factor = 1 + way * velocity(angle + way / 2) * (1 + way / 2 * velocity(angle))
        shrunk = np.cos(after) / np.cos(until)
        new = np.sin(after) ** 2 - (shrunk * np.sin(until)) ** 2
        variance = (shrunk * factor) ** 2 * variance + heat * new
    variance = (1 - _LEAST / 2 * velocity(angles[-1])) ** 2 * variance
    assert_mean(x, 0.0)
    assert_mean(x**2, variance, rounding=1e-4)
    if guidance == 1.0:
        np.testing.assert_allclose(variance, heat * DEVIATIONS**2, rtol=0.01)


def test_without_guidance_rows_are_normal():
    task = cj.Diffusion("moons", guidance=0.0)
    model = model_of(task.parameters(key()))
    x = np.asarray(drawn(task, model, 1, 5000), np.float64)
    assert_mean(x, 0.0)
    assert_mean(x**2, 1.0, rounding=1e-4)


@thorough
def test_diffusion_learns_normal_rows():
    rows = np.random.default_rng(0).standard_normal((4000, 2)) @ [[1.0, 0.8], [0.0, 0.4]]
    task = cj.Diffusion(data=rows, sampler="stochastic", sampling_steps=100)
    ds = run(cj.Replace(), task, 1, 4)
    known = stats.multivariate_normal(rows[task_order(4000)[1000:]].mean(0), np.cov(rows.T))
    expected = known.logpdf(rows[task_order(4000)[:1000]]).mean()
    assert np.all(np.abs(ds.elbo - expected) < 0.15)
    np.testing.assert_allclose(ds.variance_ratio, 1.0, atol=0.15)


# Autoencoders with linear decoders, whose likelihood is known.

WEIGHT, OFFSET, NOISE = np.array([[1.5, 0.0], [0.0, -0.7], [0.0, 0.4]]), [0.3, 0.0, -1.0], 0.2


class Linear(cj.Autoencoder):
    """One with a linear decoder, orthogonal columns and the exact posterior, or a worse one."""

    off: float = 0.0

    def whole(self, model):
        weight, offset = jnp.float32(WEIGHT), jnp.float32(OFFSET)
        precision = 1.0 + jnp.sum(weight**2, axis=0) / NOISE

        def encoder(x):
            mean = (x - offset) @ weight / NOISE / precision + model
            return jnp.concatenate([mean, -jnp.log(precision)])

        return Coder(encoder, lambda z: weight @ z + offset, jnp.float32(math.log(NOISE)))


def test_the_bound_of_a_linear_autoencoder():
    task = Linear(data=np.random.default_rng(0).standard_normal((8, 3)), latent_dim=2)
    covariance = WEIGHT @ WEIGHT.T + NOISE * np.eye(3)
    known = stats.multivariate_normal(OFFSET, covariance)
    rows = np.float32(known.rvs(8000, random_state=1))
    volume = task.log_volume[0]
    expected = known.logpdf(rows).mean() - volume
    exact_bound = measured(task, world_of(rows), jnp.float32(0.0))["elbo"]
    np.testing.assert_allclose(exact_bound, expected, atol=0.02)
    precision = 1.0 + (WEIGHT**2).sum(axis=0) / NOISE
    worse = measured(task, world_of(rows), jnp.float32(0.5))["elbo"]
    divergence = 0.5 * (0.25 * precision).sum()  # of codes half a unit off
    np.testing.assert_allclose(worse, expected - divergence, atol=0.06)
    for heat in (None, 0.3):
        x = drawn(task, jnp.float32(0.0), 4, 20_000, heat)
        apart = np.asarray(x, np.float64) - OFFSET
        assert_mean(apart, 0.0)
        found = (apart[:, :, None] * apart[:, None]).reshape(-1, 9)
        assert_mean(found, (heat or 1.0) * covariance.ravel(), rounding=1e-3)


class Bits(cj.Autoencoder):
    """One that decodes all codes to the same log-odds."""

    def whole(self, model):
        odds = jnp.array([0.0, 1.0, -2.0])
        return Coder(lambda x: jnp.zeros(2), lambda z: odds, jnp.zeros(()))


def test_bits():
    rows = np.random.default_rng(0).integers(0, 2, (40, 3))
    task = Bits(data=rows, latent_dim=1)
    assert task.likelihood == "bernoulli"
    odds = np.array([0.0, 1.0, -2.0])
    p = 1.0 / (1.0 + np.exp(-odds))
    expected = stats.bernoulli.logpmf(rows, p).sum(axis=1).mean()
    np.testing.assert_allclose(measured(task, world_of(rows), ())["elbo"], expected, rtol=1e-5)
    for heat in (None, 0.5):
        x = drawn(task, (), 4, 20_000, heat)
        assert_mean(x, 1.0 / (1.0 + np.exp(-odds / (heat or 1.0))))
    assert cj.Autoencoder(data=2 * rows).likelihood == "gaussian"


# What generators make of data sets, and bad input.


@thorough
@pytest.mark.parametrize(
    ("task", "least"),
    [
        (cj.Flow("ring"), {"precision": 0.75, "coverage": 0.85}),
        (cj.Diffusion("moons"), {"precision": 0.8, "coverage": 0.9}),
        (cj.Diffusion("ring"), {"precision": 0.75, "coverage": 0.85}),
        (cj.Autoencoder("circles"), {"precision": 0.5, "coverage": 0.8}),
    ],
    ids=lambda x: type(x).__name__,
)
def test_first_models_are_like_the_data(task, least):
    ds = run(cj.Replace(), task, 1, 2, metrics=["precision", "coverage"])
    for name, bound in least.items():
        assert ds[name].min() > bound, name


RAGGED = np.array([IMAGES[0], IMAGES[1][:5], None], object)[:2]
BAD = [
    ({"steps": 0}, "steps must be between 1"),
    ({"batch_size": 0}, "batch_size must be between 1"),
    ({"learning_rate": 0.0}, "learning_rate must be a finite positive number, got 0"),
    ({"width": 0}, "width must be between 1"),
    ({"dataset": "moon"}, "dataset must be one of .*did you mean 'moons'"),
    ({"data": [IMAGES[0], IMAGES[1][:5]]}, r"one shape, got \(8, 8\) in row 0 and \(5, 8\) in row"),
    (
        {"data": [[[1.0], [2.0]], [[1.0], [2.0], [3.0]]]},
        r"got \(2, 1\) in row 0 and \(3, 1\) in row",
    ),
    (
        {"data": [[[1.0, 2.0]], [[1.0], [2.0, 3.0]]]},
        r"got \(1, 2\) in row 0 and lines of unequal le",
    ),
    ({"data": RAGGED}, r"one shape, got \(8, 8\) in row 0 and \(5, 8\) in row 1"),
    ({"data": [[1.0, None]] * 9}, "data must be finite, got nan"),
    ({"data": np.ones(9)}, "data must have 2 or 3 dimensions"),
    ({"data": np.ones((9, 0))}, "data must have rows"),
    ({"data": np.full((9, 2), 5)}, "column 0 is constant"),
    ({"data": np.full((9, 2, 2), 5)}, "every image is constant"),
    ({"data": IMAGES, "n_samples": 91}, "n_samples must not exceed the 90 training rows"),
    ({"data": IMAGES, "test_fraction": 1.0}, "test_fraction must be below 1"),
]


@pytest.mark.parametrize("kind", [cj.Flow, cj.Diffusion, cj.Autoencoder])
@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input(kind, arguments, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((ValueError, TypeError), match=message):
        kind(**arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cj.Flow(layers=0), "layers must be between 1"),
        (lambda: cj.Flow(knots=1), "knots must be between 2"),
        (lambda: cj.Flow(data=IMAGES), r"a density for a Flow, and pixel \(0, 0\) is the same"),
        (lambda: cj.Flow(data=np.arange(9.0)[:, None]), "2 columns or more for a Flow, got 1"),
        (lambda: cj.Diffusion(ema=1.0), "ema must be below 1, got 1"),
        (lambda: cj.Diffusion(guidance=-1.0), "guidance must be a finite number of zero or more"),
        (lambda: cj.Diffusion(sampler="random"), "sampler must be one of 'deterministic'"),
        (lambda: cj.Diffusion(sampling_steps=0), "sampling_steps must be between 1"),
        (lambda: cj.Autoencoder(latent_dim=0), "latent_dim must be between 1"),
        (lambda: cj.Autoencoder(likelihood="normal"), "likelihood must be one of 'gaussian'"),
        (lambda: cj.Autoencoder(likelihood="bernoulli"), "0 and 1, got the data set 'moons'"),
        (
            lambda: cj.Autoencoder(data=IMAGES, likelihood="bernoulli"),
            "'bernoulli' for data of 0 and 1, got data with other numbers",
        ),
    ],
)
def test_bad_input_of_one_kind(make, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((ValueError, TypeError), match=message):
        make()
