"""Rewards that change from generation to generation, against exact laws."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from rewards import turning
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.run import compiled
from collapse_jax.theory import curation as theory
from collapse_jax.theory.curation.selection import mean_over

TWO = cj.Categorical(2, 9, probabilities=[0.7, 0.3])


def curated(*operators):
    return cj.Workflow(synthetic=cj.Synthetic(curation=operators))


def test_a_drifting_reward_follows_the_exact_chain():
    """Each generation of few rows, whose reward has changed its sign by the third."""
    loop = curated(cj.BestOf(turning, 3))
    known = cj.theory.expected(loop, TWO, 6)
    ds = cj.simulate(loop, TWO, 6, 4000, progress=False)
    assert {"entropy", "collision", "mean_reward", "n_extinct"} <= set(known)
    for name in known:
        assert known[name].attrs["kind"] == "exact"
        assert_mean(ds[name], known[name], rounding=1e-5)
    lasting = cj.theory.expected(curated(cj.BestOf(partial(turning, generation=1), 3)), TWO, 6)
    assert np.all(np.abs(known.entropy - lasting.entropy)[2:] > 0.01)


def test_generations_are_those_of_the_model_that_makes_the_rows():
    rewards = np.array([[0.0, 1.2 - 0.6 * t] for t in range(1, 4)])
    law = theory.selected([0.7, 0.3], rewards, 3, 3)
    np.testing.assert_array_equal(law[0], [0.7, 0.3])
    for t in range(2):
        np.testing.assert_allclose(law[t + 1], theory.best_of(law[t], rewards[t], 3), rtol=1e-12)
    large = cj.Categorical(2, 20_000, probabilities=[0.7, 0.3])
    ds = cj.simulate(curated(cj.BestOf(turning, 3)), large, 3, 4, progress=False)
    np.testing.assert_allclose(ds.collision, np.tile(np.sum(law**2, axis=1), (4, 1)), atol=0.02)
    with pytest.raises(ValueError, match=r"of shape \(2,\) or \(3, 2\)"):
        theory.selected([0.7, 0.3], rewards[:2], 3, 3)


@pytest.mark.parametrize("operator", [cj.Threshold, cj.Filter])
def test_scores_drift_too(operator):
    """Outcomes 0 and 1 are liked in the first generation, 1 and 2 in the second."""

    def score(outcome, *, generation):
        liked = (outcome == generation) | (outcome == generation - 1) | (generation == 3)
        return jnp.where(liked, 1.0, 0.0)

    ds = cj.simulate(curated(operator(score, 0.25)), cj.Categorical(4, 400), 3, 5, progress=False)
    np.testing.assert_array_equal(ds.n_extinct, np.tile([0, 2, 3], (5, 1)))
    np.testing.assert_array_equal(ds.mean_reward, 1.0)


def test_one_program_serves_all_generations_and_configurations_are_exact(tmp_path):
    loop = curated(cj.BestOf(turning, 2))
    before = compiled._advance._cached._cache_size()
    whole = cj.simulate(loop, TWO, 4, 3, progress=False)
    assert compiled._advance._cached._cache_size() == before + 1
    cj.simulate(loop, TWO, 2, 3, checkpoint=tmp_path, progress=False)
    longer = cj.simulate(loop, TWO, 4, 3, checkpoint=tmp_path, progress=False)
    np.testing.assert_array_equal(longer.entropy, whole.entropy)
    assert cj.config.rebuild(cj.config.describe(loop)) == loop


def later(outcome, *, generation):
    return jnp.log(3.0 - generation) * outcome


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (later, r"BestOf.reward of generation 3 must be finite, got .*inf|nan"),
        (
            lambda outcome, *, generation: outcome if generation > 1 else -outcome,
            "BestOf.reward must be a JAX function of one row and its generation",
        ),
        (
            lambda outcome, *, generation=1: generation * outcome,
            "BestOf.reward must have an argument generation without a default.*generation=1",
        ),
        (lambda outcome, *, day: 1.0, "BestOf.reward must be a JAX function of one row.*day"),
    ],
)
def test_refused(reward, message):
    with pytest.raises(ValueError, match=message):
        cj.simulate(curated(cj.BestOf(reward, 2)), TWO, 3, 2, progress=False)


def test_what_is_bound_does_not_drift():
    bound = curated(cj.BestOf(partial(turning, generation=2), 3))
    known = cj.theory.expected(bound, TWO, 3)
    still = theory.best_of_two_outcomes([0.7, 0.3], [0.0, 0.0], 3, 9, 3)
    np.testing.assert_allclose(known.collision, mean_over(still, lambda x: x**2 + (1 - x) ** 2))
