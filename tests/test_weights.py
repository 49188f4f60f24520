"""The weight of each row that a fit sees, against how often the row is drawn."""

import jax
import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.loop import generation
from collapse_jax.loop.form import columns_of, form_of
from collapse_jax.numerics.threefry import words

N_DRAWS = 100_000
LOOPS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "windows": cj.Workflow(
        cj.Real(every=True, keep=2),
        cj.Synthetic(n=[3, 5, 2, 4], keep=2),
        cj.Fit(real_weight=0.3),
    ),
    "drawn": cj.Workflow(
        cj.Real(keep=None),
        cj.Synthetic(n=4),
        cj.Fit(n=[3, 4, 5, 6], with_replacement=True, real_weight=0.3),
    ),
}


@pytest.mark.parametrize("name", ["windows", "replace", "accumulate", "drawn"])
def test_rows_are_drawn_as_often_as_their_weights_say(name):
    task, loop, key = (
        cj.KernelDensity("moons", n_samples=7, n_test=10),
        LOOPS[name],
        jax.random.key(0),
    )
    plan = loop.plan(4, 7)
    form = form_of(loop, task, plan)
    columns = columns_of(plan, form, None)
    world = generation.make_world(task, form, key)
    kept = generation.begin(task, form, world, key, columns.of(1))
    for t in range(1, 5):
        now = columns.of(t)
        data = generation.receive(task, form, world, kept, key, now)[1]
        weight = np.asarray(data.weight)
        places = data.places.draw(words(jax.random.key(5), (2, N_DRAWS)), jax.random.key(6))
        found = np.bincount(places, minlength=len(weight)) / N_DRAWS
        expected = weight / weight.sum()
        assert weight.sum() == pytest.approx(int(data.places.total), rel=1e-5)
        assert np.all(np.abs(found - expected) <= 5 * np.sqrt(expected / N_DRAWS))
        kept = generation.step(task, form, world, kept, key, now, [])[0]
