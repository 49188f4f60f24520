"""Batches that are edited, and those of models that are extrapolated."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.cli.options.tasks import find_kind
from collapse_jax.cli.options.workflows import make_workflow
from collapse_jax.run import compiled
from collapse_jax.theory import curation as theory
from collapse_jax.trained import diffusion


def loop(of, **others):
    return cj.Workflow(synthetic=cj.Synthetic(of=of, **others))


def design_mean(share, mask, n=24, d=2, T=8, designs=400):
    """Exact errors of designs, on average over such, and the standard error of that."""
    rng = np.random.default_rng(0)
    errors = [
        theory.edit_error(rng.normal(size=(n, d)), share, T, mask, seed=i) for i in range(designs)
    ]
    return np.mean(errors, axis=0), np.std(errors, axis=0) / np.sqrt(designs)


@pytest.mark.parametrize("design", ["fixed", pytest.param("fresh", marks=pytest.mark.thorough)])
def test_edited_labels_follow_the_exact_recursion(design):
    """Linear growth with independent masks, none with one for all, in one program each."""
    task = cj.LinearRegression(2, 24, design=design)
    before = compiled._advance._cached._cache_size()
    for mask, share in [
        ("independent", 0.5),
        ("fixed", 0.5),
        ("independent", [0.5 ** (t + 1) for t in range(8)]),
    ]:
        ds = cj.simulate(loop(cj.Edit(share, mask)), task, 8, 3000, progress=False)
        expected, error = design_mean(share, mask)
        assert_mean(ds.test_error, expected, rounding=float(np.max(4 * error / expected)))
        growth = ds.test_error.mean("seed").values / expected[0]
        if isinstance(share, float):
            assert (growth[-1] > 4.5) == (mask == "independent")
            assert growth[-1] > 2  # the bound that has been claimed for all masks
    assert compiled._advance._cached._cache_size() <= before + 2


def test_edits_of_all_labels_are_replace_and_of_none_are_nothing():
    task = cj.LinearRegression(3, 20)
    replaced = cj.simulate(cj.Replace(), task, 4, 8, storage="rows", progress=False).test_error
    for mask in ("independent", "fixed"):
        all_new = cj.simulate(loop(cj.Edit(1.0, mask)), task, 4, 8, progress=False).test_error
        np.testing.assert_allclose(all_new, replaced, rtol=1e-4)
    none = cj.simulate(loop(cj.Edit(0.0)), task, 4, 8, progress=False).test_error
    np.testing.assert_allclose(none, np.tile(none[:, :1], (1, 4)), rtol=1e-4)


def test_many_labels_follow_the_ratios():
    for mask, share, ends in (("independent", 0.5, 15.25), ("fixed", 0.5, 8 / 3)):
        assert theory.edit_ratio(share, 20, mask)[-1] == pytest.approx(ends, rel=1e-3)
        x = np.random.default_rng(0).normal(size=(600, 2))
        exact = theory.edit_error(x, share, 6, mask)
        np.testing.assert_allclose(exact / exact[0], theory.edit_ratio(share, 6, mask), rtol=0.12)
    task = cj.LinearRegression(2, 100)
    known = cj.theory.expected(loop(cj.Edit(0.5)), task, 3).test_error
    assert known.attrs["kind"] == "asymptotic"
    np.testing.assert_allclose(known, 2 / 97 * np.array([1, 1.75, 2.5]))


def test_extrapolation_makes_a_covariance_unbiased():
    """At w* = 1/((n - 1)(1 - c)), whose sign flips with that of 1 - c; numbers are data."""
    n, many = 12, 4000
    task = cj.Gaussian(1, n)
    before = compiled._advance._cached._cache_size()
    for c in (0.7, 1.3):
        w = theory.unbiased_weight(n, c)
        of = loop(cj.Extrapolated(w), n=[many] * 3, temperature=[c, 1.0, 1.0])
        ds = cj.simulate(of, task, 3, 6000, metrics=["trace_ratio"], progress=False)
        known = cj.theory.expected(of, task, 3).trace_ratio
        assert_mean(ds.trace_ratio, known)
        assert known.values[2] == pytest.approx(1.0, abs=2e-3)
        assert np.sign(w) == np.sign(1 - c)
    assert compiled._advance._cached._cache_size() == before + 1


@pytest.mark.parametrize("d", [1, 3])
def test_extrapolated_normals_have_the_covariance(d):
    rng = np.random.default_rng(d)
    task = cj.Gaussian(d, 50)
    models = []
    for scale in (1.0, 0.8):
        rows = jnp.float32(scale * rng.normal(size=(50, d)) @ (np.eye(d) + 0.3) + 2.0)
        models.append(task.summarise(None, rows, None, size=50).normal)
    old, new = models
    made = task.extrapolate(None, new, old, jnp.float32(0.4))
    covariance = [np.asarray(m.factor @ m.factor.T) for m in (old, new, made)]
    np.testing.assert_allclose(covariance[2], 1.4 * covariance[0] - 0.4 * covariance[1], atol=1e-4)
    np.testing.assert_allclose(made.mean, 1.4 * old.mean - 0.4 * new.mean, rtol=1e-5)
    broken = task.extrapolate(None, old, new, jnp.float32(50.0))  # no variance is left
    assert np.all(np.isfinite(broken.factor))


def test_other_parameters_are_extrapolated():
    task, weight = cj.Categorical(3, 10), jnp.float32(1.0)
    made = task.extrapolate(None, jnp.array([4, 2, 4]), jnp.array([5, 5, 0]), weight)
    np.testing.assert_allclose(made, [0.6, 0.8, 0.0], atol=1e-6)  # normalised where it is drawn
    task = cj.ExponentialFamily("bernoulli", mean=0.5)
    logs = lambda p: jnp.log(jnp.float32([p / 0.5, (1 - p) / 0.5]))  # noqa: E731
    made = task.extrapolate(None, logs(0.5), logs(0.6), weight)
    np.testing.assert_allclose(made, logs(0.7), rtol=1e-5)
    made = task.extrapolate(None, logs(0.3), logs(0.8), weight)  # no probability is above 1
    np.testing.assert_allclose(np.exp(made), [2.0, 0.0], atol=1e-6)


def test_scores_lead_away_from_the_newer_model(monkeypatch):
    """Of normal models the velocities are known, and so is what the flow makes of them."""

    def velocity(deviation, z, angles):
        sin, cos = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
        return z * sin * cos * (1 - deviation**2) / ((cos * deviation) ** 2 + sin**2)

    monkeypatch.setattr(diffusion, "_velocity", velocity)
    monkeypatch.setattr(cj.Diffusion, "whole", lambda task, model: model)
    task, n = cj.Diffusion(sampling_steps=200), 40_000
    world = task.world(jax.random.key(1), rows=True, index=None)
    for w, deviation in [(0.0, 0.6), (1.0, 0.6**2 / 0.9), (-1.0, 0.9), (0.5, 0.6**1.5 / 0.9**0.5)]:
        made = task.guide(world, 0.9, 0.6, jnp.float32(w))
        rows = np.asarray(task.sample(world, made, jax.random.key(0), n, temperature=None))
        assert_mean(rows**2, np.full(2, deviation**2), rounding=2e-3)


def test_scores_without_weight_are_those_of_the_model_before():
    task = cj.Diffusion(n_samples=30, steps=5, batch_size=8, sampling_steps=3, width=8, depth=1)
    spaces = ("parameters", "scores")
    loops = [
        loop(cj.Extrapolated([0.0, 0.0, w, 0.0], space)) for space in spaces for w in (0.0, 0.5)
    ]
    chains = [cj.simulate(of, task, 4, 2, progress=False).train_loss.values for of in loops]
    np.testing.assert_array_equal(chains[0], chains[2])
    for others in (chains[1], chains[2]):  # only the rows of model 3 differ
        np.testing.assert_array_equal(chains[3][:, :3], others[:, :3])
        assert np.all(chains[3][:, 3] != others[:, 3])


def test_model_one_has_none_before_it():
    """With all weight on the model before, models 1 and 2 both make rows of model 1."""
    task = cj.Gaussian(1, 10)
    ds = cj.simulate(loop(cj.Extrapolated(0.0)), task, 5, 3000, progress=False)
    assert_mean(ds.trace_ratio, np.array([0.9, 0.81, 0.81, 0.729, 0.729]))


WRONG = {
    "share": (lambda: cj.Edit(1.5), cj.LinearRegression(2), "share must be between 0 and 1"),
    "mask": (lambda: cj.Edit(0.5, "none"), cj.LinearRegression(2), "mask must be one of"),
    "weight": (lambda: cj.Extrapolated("w"), cj.Gaussian(), "weight must be a number"),
    "no vector": (
        lambda: cj.Extrapolated(0.1),
        cj.KernelDensity(),
        "must not be Extrapolated.* with a KernelDensity, whose model is no vector",
    ),
    "space": (lambda: cj.Extrapolated(0.1, "rows"), cj.Gaussian(), "space must be one of"),
    "scores": (
        lambda: cj.Extrapolated(0.1, "scores"),
        cj.Gaussian(),
        "space must be 'parameters' with a Gaussian, whose models have no scores",
    ),
    "no source": (lambda: cj.Edit, cj.Gaussian(), "synthetic.of must be one of Latest"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_sources(case, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    make, task, message = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=message):
        cj.simulate(loop(make()), task, 2, 2, progress=False)


def test_edited_batches_are_of_one_size():
    for other in (
        loop(cj.Edit(0.5), n=[100, 90]),
        cj.Workflow(cj.Real(every=True), cj.Synthetic(of=cj.Edit(0.5))),
    ):
        with pytest.raises(ValueError, match="only where all batches have as many rows as the one"):
            cj.simulate(other, cj.LinearRegression(2), 2, 2, progress=False)


LOOPS = {
    "--synthetic.of extrapolated --synthetic.of.weight 0.1": loop(cj.Extrapolated(0.1)),
    "--synthetic.of extrapolated --synthetic.of.weight 1 --synthetic.of.space scores": loop(
        cj.Extrapolated(1.0, "scores")
    ),
    "--synthetic.of edit --synthetic.of.share 0.5 --synthetic.of.mask fixed": loop(
        cj.Edit(0.5, "fixed")
    ),
    "--synthetic.curation nearest:0.5 verify:0.9:0.1": loop(
        cj.Latest(), curation=(cj.Nearest(0.5), cj.Verify(0.9, 0.1))
    ),
}


@pytest.mark.parametrize("options", LOOPS)
def test_the_command_line_and_configurations_know_them(options):
    from collapse_jax.cli import simulation

    given = simulation.parse_simulation(
        "gaussian", find_kind("gaussian", trust=False), options.split()
    )
    assert make_workflow(given) == LOOPS[options]
    assert cj.config.rebuild(cj.config.describe(LOOPS[options])) == LOOPS[options]


def test_the_command_line_imports_rewards_from_the_folder_at_hand(tmp_path, monkeypatch):
    (tmp_path / "some_rewards.py").write_text("def likes(row):\n    return row[0]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["."])
    words = {"synthetic.curation": ["best-of:some_rewards:likes:4"]}
    (operator,) = make_workflow(words).synthetic.curation
    assert (operator.k, operator.reward.__name__) == (4, "likes")
    for wrong, message in {
        "best-of:no_such_module:likes:4": "synthetic.curation must be of a module that can be",
        "best-of:some_rewards:loves:4": "some_rewards has no loves",
        "best-of:some_rewards": "must have the function reward of best-of as module:name",
        "best-off:some_rewards:likes": "did you mean 'best-of'",
        "nearest": "must be written as nearest:keep, got 'nearest'",
        "nearest:near": "must have a number for 'near'",
    }.items():
        with pytest.raises(ValueError, match=message):
            make_workflow({"synthetic.curation": [wrong]})


def test_a_sweep_over_the_settings_of_a_source():
    over = {"synthetic.of.weight": [0.0, 0.2]}
    options = {"metrics": ["trace_ratio"], "progress": False}
    ds = cj.sweep(loop(cj.Extrapolated(0.1)), cj.Gaussian(1, 9), over, 3, 2, **options)
    alone = cj.simulate(loop(cj.Extrapolated(0.2)), cj.Gaussian(1, 9), 3, 2, **options)
    found = ds.trace_ratio.sel({"synthetic.of.weight": 0.2}).values
    np.testing.assert_array_equal(np.ravel(found), np.ravel(alone.trace_ratio))
