"""Absurd sizes end in one sentence that names the argument, before anything is compiled."""

from typing import Any

import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.language.model.architecture import preset
from collapse_jax.language.model.training import Optimizer
from collapse_jax.loop.form import columns_of, form_of
from collapse_jax.run import compiled, needs, programs

BILLION = 10**9
SMALL: dict[str, Any] = {"n_samples": 8, "n_test": 8, "batch_size": 4, "steps": 2}
LONG = pytest.mark.thorough


def never(*_, **__):
    raise AssertionError("something was compiled")


def simulate(task):
    return cj.simulate(cj.Replace(), task, 3, 2, progress=False)


CASES = [
    ("n_test", lambda: simulate(cj.KernelDensity("moons", n_samples=10, n_test=BILLION))),
    ("dim", lambda: simulate(cj.LogisticRegression(10**6, 100))),
    ("batch_size", lambda: simulate(cj.LanguageModel(optimizer=Optimizer(batch_size=BILLION)))),
    ("latent_dim", lambda: simulate(cj.Autoencoder("moons", latent_dim=10**8, **SMALL))),
    *(
        pytest.param(*case, marks=LONG)
        for case in (
            ("n_test", lambda: simulate(cj.LanguageModel(n_test=BILLION))),
            ("n_test", lambda: simulate(cj.GaussianMixture(n_samples=10, n_test=BILLION))),
            ("n_test", lambda: simulate(cj.Flow("moons", layers=1, n_test=BILLION))),
            ("batch_size", lambda: simulate(cj.Diffusion("ring", batch_size=BILLION))),
        )
    ),
]


@pytest.mark.parametrize(("name", "call"), CASES)
def test_arrays_that_no_machine_holds(name, call, monkeypatch):
    monkeypatch.setattr(compiled, "start", never)
    monkeypatch.setattr(compiled, "advance", never)
    monkeypatch.setattr(programs, "run", never)
    with pytest.raises(ValueError, match=rf"{name} .*must be smaller: one array .* bytes, and"):
        call()


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("n_outcomes must be between 2 and 16777216, got 2", lambda: cj.Categorical(2 * BILLION)),
        ("dim must be between 1 and 10000, got 20000", lambda: cj.LinearRegression(20_000)),
        ("dim must be between 1 and 10000, got 20000", lambda: cj.Gaussian(20_000)),
        ("layers must be between 1 and 1000, got 1", lambda: cj.Flow("moons", layers=10**6)),
        ("depth must be between 1 and 1000, got 1", lambda: cj.Diffusion("moons", depth=10**6)),
        ("depth must be between 1 and 1000, got 1", lambda: preset("tiny", depth=10**6)),
    ],
)
def test_numbers_that_programs_grow_with(message, call):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_largest_array_is_found():
    """A regression's normal equations; the distances between test rows and kernels."""
    loop = cj.Replace()
    for task, names, least, most in (
        (cj.LinearRegression(300, 50, n_test=7), ("test_error",), 300 * 300, 4 * 300 * 300),
        (cj.KernelDensity("moons", n_samples=50, n_test=70), ("nll",), 50 * 50, 100 * 100),
    ):
        plan = loop.plan(2, task.n_samples)
        form = form_of(loop, task, plan, "auto")
        numbers = columns_of(plan, form, task.population)
        found = needs.largest(task, form, names, numbers.of(1))
        assert least <= np.prod(found.shape) <= most, found


@pytest.mark.thorough
def test_large_numbers_that_make_no_array_run():
    assert simulate(cj.Categorical(3, 2**31 - 1)).n_train.values.max() == 2**31 - 1
