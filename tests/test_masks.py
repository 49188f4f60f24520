"""Masked batches play no part: some masks are windows, and theory knows the others."""

import dataclasses
import json

import jaxtyping
import numpy as np
import pytest
import xarray as xr
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.loop.inclusion.masks import Mask
from collapse_jax.records.masks import describe_mask, rebuild_mask
from collapse_jax.run import compiled

T, SEEDS = 6, 1000
TASK = cj.Categorical(4, 20)
ALWAYS = cj.Workflow(cj.Real(keep=None), cj.Synthetic(keep=2))


def window(keep, real=True, length=T):
    """The mask that looks like this window."""
    t, batch = np.arange(1, length + 1)[:, None], np.arange(length)
    mask = (batch < t) & (batch >= t - keep)
    mask[:, 0] |= real
    return mask


def run(workflow=None, include=None, seeds=SEEDS, task=TASK, n_generations=T, **options):
    workflow = cj.Accumulate() if workflow is None else workflow
    options = {"progress": False, **options}
    return cj.simulate(workflow, task, n_generations, seeds, include=include, **options)


def check(ds, expected):
    xr.testing.assert_allclose(ds, expected, rtol=2e-4, atol=2e-5)


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.fixture(scope="module")
def recent():
    return run(ALWAYS)


def test_a_mask_is_a_window_where_it_looks_like_one(whole, recent):
    """The same chains, by other storage; each seed may have a mask of its own, in one program."""
    check(run(include=np.ones((T, T), bool)), whole)
    check(run(include=window(2)), recent)
    check(run(include=lambda t, batch: batch == 0 or batch >= t - 2), recent)
    before = compiled._advance._cached._cache_size()
    masks = np.where(np.arange(SEEDS)[:, None, None] % 2, window(2), True)
    odd = run(include=masks)
    assert compiled._advance._cached._cache_size() == before
    check(odd, xr.where(whole.seed % 2, recent, whole))
    np.testing.assert_array_equal(odd.n_train[:2], [20 * np.arange(1, 7), [20, 40, 60, 60, 60, 60]])


def random_mask(seed, length=T):
    mask = np.random.default_rng(seed).random((length, length)) < 0.5
    mask[np.arange(length), np.arange(length)] |= ~np.tril(mask).any(axis=1)
    assert not mask[1:, 0].all()  # some fits are without real rows
    return mask


def test_theory_knows_masks():
    mask = random_mask(0)
    ds, known = run(include=mask), cj.theory.expected(cj.Accumulate(), TASK, T, include=mask)
    for name in ("collision", "squared_error"):
        assert known[name].kind == "exact"
        assert_mean(ds[name], known[name])
    for name in ("n_train", "real_fraction"):
        np.testing.assert_allclose(ds[name][0], known[name], rtol=1e-12)
    full = cj.theory.expected(cj.Accumulate(), TASK, T)
    same = cj.theory.expected(cj.Accumulate(), TASK, T, include=lambda t, batch: True)
    for name in same:
        np.testing.assert_allclose(same[name], full[name], rtol=1e-12)
    assert abs(ds.squared_error.mean("seed") / full.squared_error - 1).max() > 0.5


def test_masks_are_kept_with_the_run(tmp_path):
    """Reruns and folders know them; other masks are other runs."""
    folder = {"checkpoint": tmp_path / "run"}
    ds = run(include=window(2), **folder)
    written = json.loads(ds.attrs["config"])["include"]
    np.testing.assert_array_equal(rebuild_mask(written, [3]), window(2))
    assert {found.largest for found in cj.rerun(ds, progress=False)[1].values()} == {0.0}
    xr.testing.assert_equal(run(include=window(2), **folder), ds)
    with pytest.raises(ValueError, match=r"of another: include.mask.array is .*True, False"):
        run(include=window(1), **folder)
    with pytest.raises(ValueError, match=r"include.mask.array is .* and not given here"):
        run(**folder)
    own = np.arange(3)[:, None, None] < np.ones((T, T))
    written = json.loads(json.dumps(describe_mask(Mask(own, np.array([9, 5, 7], np.uint32)))))
    np.testing.assert_array_equal(rebuild_mask(written, [7, 9]), own[[2, 0]])
    np.testing.assert_array_equal(rebuild_mask(written), own)
    parts = Mask(own, np.array([9, 5, 7], np.uint32)).of(np.array([5, 7, 9, 9], np.uint32))
    np.testing.assert_array_equal(parts, own[[1, 2, 0, 0]])
    large = Mask(np.ones((300, T, T), bool), np.arange(300, dtype=np.uint32))
    with pytest.raises(ValueError, match="used a large array"):
        rebuild_mask(describe_mask(large), [0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: run(include=np.ones((T, T - 1), bool)),
            ValueError,
            r"\(6, 6\) or more .*\(6, 5\)",
        ),
        (lambda: run(include=np.ones((3, T, T), bool)), ValueError, "one mask for each seed"),
        (lambda: run(include=np.ones(T, bool)), ValueError, "include must be .seed, generation"),
        (lambda: run(include=np.ones((T, T))), TypeError, "True and False, .* ndarray of float64"),
        (lambda: run(include=lambda t, batch: 1), TypeError, "got 1 for generation 1, batch 0"),
        (
            lambda: run(include=window(1, real=False) & (np.arange(T) != 3)),
            ValueError,
            r"of all seeds it has none of the batches \[0, 1, 2, 3\] that generation 4 keeps",
        ),
        (
            lambda: run(
                cj.Replace(),
                np.stack([np.ones((T, T), bool), np.tri(T, k=-1, dtype=bool)]),
                seeds=[5, 7],
            ),
            ValueError,
            r"of seed 7 it has none of the batches \[0\] that generation 1 keeps",
        ),
        (lambda: run(include=[[True], [True, True]]), ValueError, "include must be one array"),
        (
            lambda: cj.simulate(
                cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=4, keep=None)),
                cj.GaussianMixture(n_samples=50),
                T,
                3,
                include=lambda t, batch: t == 1 or batch > 0,
            ),
            ValueError,
            "this GaussianMixture 8 rows or more, and of all seeds generation 2 has 4",
        ),
        (
            lambda: run(cj.Ecosystem(cj.Accumulate(), [[1.0]]), window(2)),
            ValueError,
            "include must be None with an Ecosystem",
        ),
        (
            lambda: run(include=window(2), runner="staged"),
            ValueError,
            "include must be None where a Categorical is run stage by stage",
        ),
        (
            lambda: cj.theory.expected(cj.Accumulate(), TASK, T, np.ones((2, T, T), bool)),
            ValueError,
            "the same for all seeds, got 3 dimensions",
        ),
    ],
)
def test_bad_masks_are_refused_before_anything_runs(make, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr(compiled, "start", None)
    with pytest.raises(error, match=message):
        make()


R, S, F = cj.Real, cj.Synthetic, cj.Fit


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("real", "made", "fit", "task", "metric"),
    [
        (R(), S(), F(n=12, real_weight=0.3), TASK, "collision"),
        (
            R(every=True, n=9),
            S(n=[20, 12, 20, 12, 20, 12]),
            F(),
            cj.KernelDensity("moons", n_samples=20, n_test=16),
            "nll",
        ),
        (R(), S(), F(real_weight=0.3), cj.Gaussian(dim=2, n_samples=20), "trace_ratio"),
    ],
    ids=["rows drawn", "sizes, rows kept", "weighted"],
)
def test_masks_are_windows_in_all_loops(real, made, fit, task, metric):
    def of(keep):
        streams = dataclasses.replace(real, keep=None), dataclasses.replace(made, keep=keep)
        return cj.Workflow(*streams, fit)

    options = {"seeds": 4, "task": task, "metrics": [metric, "n_train", "real_fraction"]}
    masked, kept = run(of(None), window(2), **options), run(of(2), **options)
    xr.testing.assert_allclose(masked, kept, rtol=1e-3, atol=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("workflow", "task", "names"),
    [
        (
            cj.Workflow(
                R(keep=None, every=True, n=5), S(keep=3, temperature=0.8), F(real_weight=0.4)
            ),
            cj.Gaussian(dim=1, n_samples=20, estimator="unbiased"),
            ["squared_error_mean", "trace_ratio"],
        ),
        (cj.Accumulate(), cj.LinearRegression(dim=3, n_samples=12), ["test_error"]),
    ],
    ids=["weighted", "regression"],
)
def test_theory_knows_masks_of_other_loops(workflow, task, names):
    mask = random_mask(1)
    mask[:, 0] = np.arange(T) % 2 == 0
    mask[np.arange(T), np.arange(T)] = True  # what the last model made
    known = cj.theory.expected(workflow, task, T, include=mask)
    ds = run(workflow, mask, seeds=4000, task=task, metrics=names)
    for name in names:
        assert known[name].kind == "exact"
        assert_mean(ds[name], known[name])
