"""Which rows each model is fitted to: rows that bear the number of the model that made them."""

from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from compositions import HAND_PICKED, N, T
from jaxtyping import Array

import collapse_jax as cj

LOOPS = {
    name: HAND_PICKED[name]
    for name in (
        "fresh real rows that stay a while",
        "windows of their own",
        "window, subset",
        "growing batches",
        "subsample",
        "real rows that leave, weight",
        "replace, sizes",
        "fresh real rows, bootstrap",
    )
}
DRAWN_AND_WEIGHTED = cj.Workflow(
    cj.Real(keep=None), cj.Synthetic(n=6, keep=2), cj.Fit(n=5, real_weight=0.3)
)


class Counts(NamedTuple):
    number: Array
    weights: Array
    """Of the rows of each model that it was fitted to, real ones first. `[T]`"""
    size: Array


class Numbered(cj.AbstractTask):
    """Rows are the number of the model that made them, 0 for real ones; models count them."""

    n_samples: int = N
    takes_start: ClassVar[bool] = True
    variables: ClassVar[dict[str, cj.Variable]] = {
        "number": cj.Variable("number of the model", "1"),
        "size": cj.Variable("rows of equal weight that would do as well", "rows"),
        **{f"of_{b}": cj.Variable(f"weight of rows of model {b}", "rows") for b in range(T)},
    }

    def real(self, world, key, n, *, size, index):
        return jnp.zeros(n, jnp.int32)

    def sample(self, world, model, key, n, *, temperature):
        return jnp.full(n, model.number, jnp.int32)

    def fit(self, world, data):
        before = data.start(lambda: Counts(jnp.int32(0), jnp.zeros(T), jnp.float32(0)))
        weights = jnp.zeros(T).at[data.rows].add(data.weight)
        return Counts(before.number + 1, weights, data.size)

    def measure(self, world, model):
        of = {f"of_{b}": model.weights[b] for b in range(T)}
        return {"number": jnp.float32(model.number), "size": model.size, **of}


def kept(loop):
    """Rows of each model that are in the pool. `[generation, model]`"""
    plan = loop.plan(T, N)
    found = np.zeros((T, T))
    found[:, 0] = plan.real_size
    for t in range(1, T):
        for b in range(t - plan.synthetic_batches[t] + 1, t + 1):
            found[t, b] = plan.synthetic_rows[b - 1]
    return found


def counted(loop):
    fit = cj.Fit(**{**vars(loop.fit), "warm_start": True})  # so that models know their number
    loop = cj.Workflow(loop.real, loop.synthetic, fit)
    ds = cj.simulate(loop, Numbered(), T, 3, progress=False)
    return ds, np.stack([ds[f"of_{b}"].values for b in range(T)], axis=-1)


@pytest.mark.parametrize("name", LOOPS)
def test_models_see_the_rows_that_are_kept(name):
    loop = LOOPS[name]
    ds, found = counted(loop)
    plan, rows = loop.plan(T, N), kept(loop)
    np.testing.assert_array_equal(ds.number, np.tile(np.arange(1, T + 1), (3, 1)))
    if plan.fit_rows is not None:
        np.testing.assert_array_equal(found.sum(axis=-1), np.tile(plan.n_train, (3, 1)))
        assert np.all(found[:, rows == 0] == 0)
        if not plan.with_replacement:
            assert np.all(found <= rows)
        np.testing.assert_allclose(ds.real_fraction, found[..., 0] / plan.n_train, rtol=1e-6)
        return
    weights = plan.row_weights * plan.size[:, None]
    expected = rows * np.where(np.arange(T) == 0, weights[:, :1], weights[:, 1:])
    np.testing.assert_allclose(found, np.tile(expected, (3, 1, 1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ds["size"], np.tile(plan.effective_size, (3, 1)), rtol=1e-5)


def test_real_rows_that_are_drawn_have_their_weight_together():
    ds, found = counted(DRAWN_AND_WEIGHTED)
    share = found[..., 0] / found.sum(axis=-1)
    some = (ds.real_fraction.values > 0) & (ds.real_fraction.values < 1)
    assert some.any()
    np.testing.assert_allclose(share[some], 0.3, rtol=1e-5)
    np.testing.assert_allclose(share[~some], ds.real_fraction.values[~some])
    real = ds.real_fraction * ds.n_train
    kish = 1 / (0.3**2 / real + 0.7**2 / (ds.n_train - real))
    np.testing.assert_allclose(ds["size"].values[some], kish.values[some], rtol=1e-5)


def test_the_model_before_is_known_among_several():
    ds, found = counted(cj.Workflow(synthetic=cj.Synthetic(n=7, of=cj.Past(3, equally=True))))
    np.testing.assert_array_equal(ds.number, np.tile(np.arange(1, T + 1), (3, 1)))
    # Of 7 rows each of three models gives two, and the newest one more.
    np.testing.assert_array_equal(found[:, -1], np.tile([0, 0, 2, 2, 3], (3, 1)))
