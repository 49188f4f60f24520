"""What generated rows are worth, against exact errors of means and known exchange rates."""

import jaxtyping
import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.studies import exchange

REAL, MADE = [10, 20, 40, 80], [0, 10, 30]


def test_rates_are_those_of_a_known_surface():
    """Two generated rows are worth one real row, in a loss that falls like a power."""
    r, s = np.array(REAL, float)[:, None], np.array(MADE, float)
    loss = 7.0 * (r + s / 2) ** -0.8
    same = exchange._equivalent(loss, REAL, MADE)
    known = np.where(r + s / 2 <= 80, r + s / 2, np.nan)
    np.testing.assert_allclose(same, known, rtol=1e-12)
    rate = exchange._exchange(loss, same, REAL, MADE)
    assert np.isnan(rate[:, 0]).all()
    np.testing.assert_allclose(rate[:3, 1:], 2.0, rtol=1e-9)
    assert np.isnan(rate[3]).all()
    # Rows that do harm are worth nothing, also beyond all losses of real rows.
    worse = exchange._exchange(1.1 * loss, exchange._equivalent(1.1 * loss, REAL, MADE), REAL, MADE)
    np.testing.assert_allclose(worse[:3, 1:], 2.0, rtol=1e-9)
    harm = loss[:, :1] * np.array([1.0, 1.2, 1.5])
    assert np.isinf(exchange._exchange(harm, exchange._equivalent(harm, REAL, MADE), REAL, MADE))[
        :, 1:
    ].all()
    with pytest.warns(UserWarning, match="does not fall"):
        exchange._equivalent(loss[[0, 2, 1, 3]], REAL, MADE)


def test_losses_are_exact_and_so_are_rates():
    """A mean of r real rows and s of a Gaussian fitted to n others."""
    n, seeds = 50, 2000
    found = cj.worth(
        cj.Gaussian(dim=1), [10, 40], [0, 20], seeds, metric="squared_error_mean", generator=n
    )
    r, s = np.array([[10.0], [40.0]]), np.array([0.0, 20.0])
    exact = (r + s * (1 - 1 / n) + s**2 / n) / (r + s) ** 2
    np.testing.assert_allclose(found.expected, exact, rtol=1e-12)
    assert found.known.values.tolist() == [["exact"] * 2] * 2
    gap = np.abs(found.squared_error_mean - exact) / found.error
    assert float(gap.max()) < 5
    alone = 1 / exact[0, 1]  # real rows that do as well
    same = float(found.equivalent[0, 1])
    assert same == pytest.approx(alone, rel=5 * np.sqrt(2 * 2 / seeds))
    assert float(found.exchange[0, 1]) == pytest.approx(20 / (same - 10))


@pytest.mark.thorough
def test_nothing_new_is_in_rows_of_a_fit_to_the_same_rows():
    """The mean of real rows and of their own model's is no better than that of the real ones."""
    task = cj.Categorical(5)
    found = cj.worth(task, [10, 40], [0, 40], 2000, metric="squared_error")
    assert np.isinf(found.exchange.sel(n_synthetic=40)).all()
    gap = np.abs(found.squared_error - found.expected) / found.error
    assert float(gap.max()) < 5


SIZES = [
    ((0, 0, 50), None),
    ((0, 30, None), None),
    ((20, 0, 50), ([20], [1.0])),
    ((20, 30, None), ([20, 50], [1.0, 0.4])),
    ((0, 30, 50), ([50, 30], [1.0, 0.0])),
    ((20, 30, 50), ([50, 50], [1.0, 0.4])),
]


@pytest.mark.parametrize(("cell", "known"), SIZES)
def test_cells_are_loops_of_these_sizes(cell, known):
    found = exchange._cell(*cell)
    assert (found is None) == (known is None)
    if found is not None:
        workflow, last = found
        plan = workflow.plan(last, 7)
        assert (plan.n_train.tolist(), plan.real_fraction.tolist()) == known


BAD = [
    ({"n_synthetic": [5]}, r"n_synthetic must have 0 among its numbers, got \[5\]"),
    ({"n_real": [0, 5]}, "n_real must have two positive numbers"),
    ({"n_real": [5, 5]}, "n_real must be distinct numbers"),
    ({"n_real": [5, -1]}, "n_real must be between 0 and"),
    ({"n_real": 5}, "n_real must be a sequence of numbers of rows, got 5"),
    ({"metric": "loss"}, "metric must be one of"),
    ({"generator": 0}, "generator must be between 1 and"),
    (
        {"metric": "log_det_ratio", "seeds": 200},
        "metric must be positive for two numbers of real rows",
    ),
    ({"task": "gaussian"}, "task must be"),
    ({"seeds": 0}, "seeds must be between 1"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_arguments(arguments, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    usual = {
        "task": cj.Gaussian(dim=1),
        "n_real": [5, 10],
        "n_synthetic": [0, 5],
        "seeds": 3,
        "metric": "nll",
    }
    with pytest.raises((ValueError, TypeError), match=message):
        cj.worth(**(usual | arguments))
