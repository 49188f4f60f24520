"""Both runners make the same chains: one compiled program, and a program for each stage."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import collapse_jax as cj

WINDOWS = cj.Workflow(
    cj.Real(every=True, keep=2), cj.Synthetic(n=6, keep=3), cj.Fit(real_weight=0.3)
)
LOOPS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "subsample": cj.AccumulateSubsample(),
    "windows": WINDOWS,
    "past": cj.Workflow(cj.Real(keep=None), cj.Synthetic(of=cj.Past(last=2))),
}


class Regressor(cj.AbstractTrained):
    """A network of equinox that learns y = sin(x) and generates rows of its own."""

    n_samples: int = 16
    steps: int = 40
    batch_size: int = 8
    learning_rate: float = 3e-2
    variables: ClassVar = {
        "error": cj.Variable("squared error", "1"),
        "train_loss": cj.Variable("loss in training", "1"),
        "spread": cj.Variable("of the generated rows", "1"),
    }

    def parameters(self, key):
        return eqx.nn.MLP(1, 1, 8, 1, activation=jnp.tanh, key=key)

    def loss(self, world, model, rows, key):
        return jnp.mean((jax.vmap(model)(rows[:, :1])[:, 0] - rows[:, 1]) ** 2)

    def real(self, world, key, n, **_):
        x = jax.random.uniform(key, (n, 1), minval=-2.0, maxval=2.0)
        return jnp.concatenate([x, jnp.sin(x)], axis=1)

    def sample(self, world, model, key, n, **_):
        x = jax.random.uniform(key, (n, 1), minval=-2.0, maxval=2.0)
        return jnp.concatenate([x, jax.vmap(self.whole(model))(x)], axis=1)

    def measure(self, world, model):
        x = jnp.linspace(-2.0, 2.0, 21)[:, None]
        return {"error": jnp.mean((jax.vmap(self.whole(model))(x) - jnp.sin(x)) ** 2)}

    def measure_rows(self, world, rows, **_):
        return {"spread": jnp.std(rows[:, 1])}


def both(loop, task, **options):
    return [
        cj.simulate(loop, task, 4, 6, progress=False, runner=runner, **options)
        for runner in ("compiled", "staged")
    ]


def assert_same(first, second):
    assert list(first) == list(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("windows", cj.Gaussian(dim=2, n_samples=5)),
        ("subsample", cj.KernelDensity("moons", n_samples=6, n_test=20)),
        ("past", cj.Categorical(4, 8)),
        ("windows", cj.Categorical(4, 8)),
        ("accumulate", cj.LinearRegression(dim=2, n_samples=5)),
    ],
)
def test_closed_forms_run_both_ways(name, task):
    assert_same(*both(LOOPS[name], task))


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    "name", [*LOOPS][:1] + [pytest.param(n, marks=pytest.mark.thorough) for n in [*LOOPS][1:]]
)
def test_trained_tasks_run_both_ways(name, warm):
    loop = LOOPS[name]
    loop = cj.Workflow(loop.real, loop.synthetic, cj.Fit(loop.fit.n, warm_start=warm))
    ds, staged = both(loop, Regressor())
    assert_same(ds, staged)
    assert np.all(ds.error[:, 0] < 0.2)
    assert np.all(ds.spread > 0.1)


def test_warm_starts_go_on_where_the_model_before_was():
    loops = [cj.Workflow(fit=cj.Fit(warm_start=warm)) for warm in (False, True)]
    cold, warm = (cj.simulate(x, Regressor(steps=20), 4, 8, progress=False) for x in loops)
    np.testing.assert_array_equal(cold.train_loss[:, 0], warm.train_loss[:, 0])
    assert float(warm.train_loss[:, 3].mean()) < 0.5 * float(cold.train_loss[:, 3].mean())


class Share(cj.AbstractTrained):
    """Learns the mean of rows that are 1 where they are real and 0 where they are not."""

    n_samples: int = 4
    steps: int = 400
    batch_size: int = 16
    variables: ClassVar = {"share": cj.Variable("weight of real rows", "1")}

    @property
    def optimizer(self):
        return optax.sgd(lambda step: 0.5 / (step + 1.0))  # the mean of all that was seen

    def parameters(self, key):
        return jnp.zeros(())

    def loss(self, world, model, rows, key):
        return jnp.mean((rows - model) ** 2)

    def real(self, world, key, n, **_):
        return jnp.ones(n)

    def sample(self, world, model, key, n, **_):
        return jnp.zeros(n)

    def measure(self, world, model):
        return {"share": model}


def test_training_heeds_weights():
    loop = cj.Workflow(cj.Real(every=True, n=5), cj.Synthetic(keep=3), cj.Fit(real_weight=0.3))
    ds = cj.simulate(loop, Share(), 4, 50, progress=False)
    error = 5 * np.sqrt(0.3 * 0.7 / (400 * 16 * 50))
    np.testing.assert_allclose(ds.share.mean("seed"), [1.0, 0.3, 0.3, 0.3], atol=error)


class Counted(Share):
    """Counts the generated rows, which are 2."""

    steps: int = 1
    variables: ClassVar = {"count": cj.Variable("rows", "rows")}

    def sample(self, world, model, key, n, **_):
        return jnp.full(n, 2.0)

    def measure(self, world, model):
        return {}

    def measure_rows(self, world, rows, *, valid):
        counted = rows if valid is None else jnp.where(valid, rows, 0.0)
        return {"count": jnp.sum(counted) / 2.0}


@pytest.mark.parametrize("loop", [cj.Synthetic(n=[3, 5, 2, 7]), cj.Synthetic(n=5)])
def test_only_rows_that_count_are_measured_and_seen(loop):
    seen, workflow = [], cj.Workflow(synthetic=loop)
    expected = workflow.plan(4, 4).synthetic_rows
    for observe in (None, seen.append):
        ds = cj.simulate(workflow, Counted(), 4, 2, progress=False, observe=observe)
        np.testing.assert_array_equal(ds["count"], np.broadcast_to(expected, (2, 4)))
    assert [made.rows.shape for made in seen] == [(2, n) for n in expected]


def test_any_task_can_be_observed():
    seen = []
    task = cj.KernelDensity("moons", n_samples=6, n_test=20)
    ds = cj.simulate(cj.Accumulate(), task, 3, [4, 9], progress=False, observe=seen.append)
    assert [made.generation for made in seen] == [1, 2, 3]
    assert all(set(made.seeds.tolist()) == {4, 9} for made in seen)
    assert seen[0].rows.shape == (2, 6, 2)
    xr_again = cj.simulate(cj.Accumulate(), task, 3, [4, 9], progress=False)
    assert_same(ds, xr_again)


@pytest.mark.parametrize(("first", "then"), [("compiled", "staged"), ("staged", "compiled")])
def test_one_runner_goes_on_where_the_other_stopped(first, then, tmp_path):
    loop, task = cj.Workflow(fit=cj.Fit(warm_start=True)), Regressor(steps=5)
    run = lambda n, runner: cj.simulate(  # noqa: E731
        loop, task, n, 3, progress=False, runner=runner, checkpoint=tmp_path / "chains"
    )
    run(2, first)
    assert_same(run(4, then), cj.simulate(loop, task, 4, 3, progress=False))
