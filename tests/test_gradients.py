"""Gradients of chains with respect to every numeric field of a task, against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import collapse_jax as cj
from collapse_jax.numerics.families import Family

KEY = jax.random.key(1, impl="threefry2x32")
ROWS = np.random.default_rng(0).standard_normal((40, 2))


def moons(**options):
    return cj.KernelDensity("moons", n_samples=12, n_test=20, **options)


# Each with the value of the field, and the metrics that are smooth in it: shares of rows jump.
FIELDS = {
    "KernelDensity bandwidth": (lambda x: moons(bandwidth=x), 0.4, ("nll", "variance_ratio")),
    "KernelDensity bandwidth, data": (
        lambda x: cj.KernelDensity(data=ROWS, bandwidth=x),
        0.4,
        ("nll", "variance_ratio"),
    ),
    "KernelDensity noise": (
        lambda x: moons(bandwidth=0.4, noise=x),
        0.1,
        ("nll", "variance_ratio"),
    ),
    "KernelDensity noise, spread": (
        lambda x: moons(bandwidth="0.5*spread", noise=x),
        0.1,
        ("nll", "variance_ratio"),
    ),
    "KernelDensity tophat": (
        lambda x: moons(bandwidth=x, kernel="tophat"),
        0.4,
        ("variance_ratio",),
    ),
    "Gaussian mean": (lambda x: cj.Gaussian(2, 20, mean=x), 0.7, None),
    "Gaussian covariance": (lambda x: cj.Gaussian(2, 20, covariance=x), 1.5, None),
    "Gaussian covariance, d=1": (lambda x: cj.Gaussian(1, 20, covariance=x), 1.5, None),
    "Gaussian variances": (
        lambda x: cj.Gaussian(2, 20, covariance=x * jnp.array([1.0, 2.0])),
        1.5,
        None,
    ),
    "Gaussian covariance matrix": (
        lambda x: cj.Gaussian(2, 20, covariance=x * jnp.array([[1.0, 0.3], [0.3, 2.0]])),
        1.5,
        None,
    ),
    "LinearRegression noise": (lambda x: cj.LinearRegression(3, n_samples=20, noise=x), 0.5, None),
    "LinearRegression noise, fresh": (
        lambda x: cj.LinearRegression(3, n_samples=20, noise=x, design="fresh"),
        0.5,
        None,
    ),
    "ExponentialFamily mean": (lambda x: cj.ExponentialFamily("geometric", x, 30), 0.4, None),
    "Categorical probabilities": (
        lambda x: cj.Categorical(3, 20, probabilities=jnp.stack([x, 0.5 - x, jnp.array(0.5)])),
        0.2,
        None,
    ),
}
WORKFLOWS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "subsample": cj.AccumulateSubsample(),
    "weight": cj.Workflow(cj.Real(every=True), fit=cj.Fit(real_weight=0.3)),
}


DAILY = {("LinearRegression noise", "subsample"), ("Gaussian covariance matrix", "accumulate")}


def _marked(field, workflow):
    """One workflow is enough for every day, and what is written into pools and factors."""
    daily = workflow == "replace" or (field, workflow) in DAILY
    return pytest.param(field, workflow, marks=[] if daily else [pytest.mark.thorough])


@pytest.mark.parametrize(("field", "workflow"), [_marked(f, w) for f in FIELDS for w in WORKFLOWS])
def test_gradients_are_finite_and_those_of_differences(field, workflow):
    make, value, names = FIELDS[field]

    @jax.jit
    def last(x):
        found = cj.rollout(WORKFLOWS[workflow], make(x), 3, KEY, metrics=names)
        return {name: values[-1] for name, values in found.items()}

    slopes = jax.jacrev(last)(value)
    step = (1e-3 if "Exponential" in field else 0.01) * value  # small enough for equal counts
    above, below = last(value + step), last(value - step)
    for name, slope in slopes.items():
        difference = (above[name] - below[name]) / (2 * step)
        assert float(slope) == pytest.approx(float(difference), rel=0.01, abs=1e-3), name


FORWARDS = {
    "penalty": (lambda x: cj.LogisticRegression(2, 200, penalty=x), 1.0, "nll"),
    "shape": (lambda x: cj.ExponentialFamily("gamma", 2.0, 30, shape=x), 2.0, "squared_error"),
}


@pytest.mark.parametrize("field", FORWARDS)
def test_fits_and_draws_that_iterate_have_derivatives_forwards(field):
    make, value, name = FORWARDS[field]

    @jax.jit
    def last(x):
        return cj.rollout(cj.Replace(), make(x), 3, KEY, metrics=[name])[name][-1]

    slope, step = jax.jacfwd(last)(value), 0.01 * value
    difference = (last(value + step) - last(value - step)) / (2 * step)
    assert float(slope) == pytest.approx(float(difference), rel=0.01)


LAWS = {"poisson": stats.poisson, "binomial": stats.binom, "negative_binomial": stats.nbinom}


@pytest.mark.parametrize("mean", [0.3, 5.0, 40.0])
@pytest.mark.parametrize("kind", LAWS)
def test_counts_have_no_slope_and_their_laws_have(kind, mean):
    """Whether they are inverted or drawn by rejection; entropies against SciPy's differences."""
    copies = 60

    def entropy(m):
        shares = {"poisson": (m,), "binomial": (copies, m / copies)}
        return float(LAWS[kind](*shares.get(kind, (copies, copies / (copies + m)))).entropy())

    @jax.jit
    @jax.grad
    def slopes(m, which):
        law = Family(kind, copies, m)
        number, logs = law.draw(KEY, law.reference, jnp.full(1, 20.0))
        return jnp.stack([number[0], logs[0, 0], law.entropy()])[which]

    assert float(slopes(1e-6, 1)) == 0.0  # of a count of zero
    number, relative, slope = (float(slopes(mean, which)) for which in range(3))
    assert number == 0.0
    assert relative == pytest.approx(-1.0 / mean, rel=1e-5)
    step = 1e-4 * mean
    expected = (entropy(mean + step) - entropy(mean - step)) / (2 * step)
    assert slope == pytest.approx(expected, rel=1e-3, abs=1e-5)
