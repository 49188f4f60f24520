"""Pictures of loops show the plan, in boxes that do not overlap, and refuse what is no loop."""

import jax
import jaxtyping
import matplotlib.style
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from test_plot import assert_tidy

import collapse_jax as cj
from collapse_jax.loop.captions import caption
from collapse_jax.report.lanes import REAL
from collapse_jax.report.streams import batches_of

LOOPS = {
    "replace": cj.Replace(),
    "accumulate": cj.Accumulate(),
    "subsample": cj.AccumulateSubsample(),
    "fixed mixing": cj.Workflow(cj.Real(keep=None), fit=cj.Fit(real_weight=0.3)),
    "fresh mixing": cj.Workflow(
        cj.Real(every=True), cj.Synthetic(n=200, temperature=0.9), cj.Fit(real_weight=0.6)
    ),
    "window": cj.Workflow(synthetic=cj.Synthetic(keep=3)),
    "fresh rows that stay": cj.Workflow(cj.Real(every=True, keep=None), cj.Synthetic(keep=None)),
    "past": cj.Workflow(cj.Real(keep=None), cj.Synthetic(of=cj.Past(last=3, equally=True), keep=2)),
    "any past": cj.Workflow(synthetic=cj.Synthetic(of=cj.Past())),
    "mixed": cj.Workflow(synthetic=cj.Synthetic(of=cj.Mixed(0.2))),
    "growing": cj.Workflow(synthetic=cj.Synthetic(n=lambda t: 100 * t)),
    "everything": cj.Workflow(
        cj.Real(n=[9] * 20, every=True, keep=2),
        cj.Synthetic(n=[400, 300, 200, 100] + [20] * 16, of=cj.Past(), keep=None, temperature=0.5),
        cj.Fit(n=250, with_replacement=True, real_weight=0.5),
    ),
}
every_loop = pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)


@every_loop
def test_batches_add_up_to_the_plan(loop):
    plan = loop.plan(9, 10)
    real, synthetic = batches_of(plan)
    for t in range(1, 10):
        for stream, count, size in (
            (real, plan.real_batches, plan.real_size),
            (synthetic, plan.synthetic_batches, plan.synthetic_size),
        ):
            kept = [batch for batch in stream if batch.first <= t <= batch.last]
            assert len(kept) == count[t - 1]
            assert sum(batch.rows for batch in kept) == size[t - 1]
    assert all(sum(batch.sources.values()) == pytest.approx(1.0) for batch in synthetic)


def test_sources_are_those_of_the_plan():
    _, batches = batches_of(LOOPS["past"].plan(5, 10))
    assert [batch.sources for batch in batches] == [
        {0: 0.5, 1: 0.5},
        {0: 0.3, 1: 0.3, 2: 0.4},
        {1: 0.3, 2: 0.3, 3: 0.4},
        {2: 0.3, 3: 0.3, 4: 0.4},
    ]
    _, batches = batches_of(LOOPS["mixed"].plan(3, 10))
    assert batches[1].sources == {0: 0.2, 2: 0.8}
    _, batches = batches_of(LOOPS["any past"].plan(4, 10))
    assert batches[-1].sources == dict.fromkeys(range(4), 0.25)


@every_loop
@pytest.mark.parametrize("n_generations", [1, 7, 20])
def test_pictures_are_tidy(loop, n_generations):
    assert_tidy(cj.plot_plan(loop, n_generations))


@every_loop
def test_fits_are_drawn_by_their_weights(loop):
    figure = cj.plot_plan(loop, 8)
    plan = loop.plan(8, 100)
    boxes = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    fits = [p for p in boxes if p.get_width() == pytest.approx(0.52)]
    for t in range(1, 9):
        parts = [p for p in fits if p.get_x() + 0.26 == pytest.approx(t)]
        real = [p for p in parts if to_hex(p.get_facecolor()) == REAL.lower()]
        heights = [sum(p.get_height() for p in some) for some in (real, parts)]
        weight = plan.row_weights[t - 1, 0] * plan.real_size[t - 1]
        np.testing.assert_allclose(heights[0] / heights[1], weight, atol=1e-12)


def test_a_long_run_says_that_its_beginning_is_shown():
    figure = cj.plot_plan(cj.Accumulate(), 1000)
    assert figure.get_suptitle() == "Accumulate: the first 12 of 1,000 generations"
    assert len(figure.axes[0].get_xticks()) == 12


def test_a_composition_is_called_by_what_differs():
    title = cj.plot_plan(LOOPS["everything"], 3).get_suptitle().replace("\n", " ")
    assert title == caption(LOOPS["everything"])


def test_words_take_the_colour_of_the_style():
    with matplotlib.style.context("dark_background"):
        figure = cj.plot_plan(cj.Replace(), 3)
    assert figure.get_facecolor()[:3] == (0.0, 0.0, 0.0)
    assert to_hex(figure.axes[0].get_yticklabels()[0].get_color()) == "#ffffff"


def test_what_is_refused():
    with pytest.raises(TypeError, match="workflow"):
        cj.plot_plan("Replace", 3)
    with pytest.raises(ValueError, match="n_generations"):
        cj.plot_plan(cj.Replace(), 0)
    with pytest.raises(ValueError, match="n_samples"):
        cj.plot_plan(cj.Replace(), 3, n_samples=0)
    with pytest.raises(ValueError, match="each of the 3 generations"):
        cj.plot_plan(cj.Workflow(synthetic=cj.Synthetic(n=[5, 5])), 3)


@pytest.mark.parametrize("n_generations", [0, -1, 2.5, "3"])
def test_a_plan_is_of_some_generations(n_generations, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((ValueError, TypeError), match="n_generations must be"):
        cj.Replace().plan(n_generations, 10)
    with pytest.raises((ValueError, TypeError), match="n_generations must be"):
        cj.rollout(cj.Replace(), cj.Gaussian(), n_generations, jax.random.key(0))
