"""Figures and tables: what they show, that nothing overlaps, and what they refuse."""

import io
import json
import re

import jaxtyping
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

import collapse_jax as cj
from collapse_jax.analysis.runs import collect, title
from collapse_jax.loop.captions import caption
from collapse_jax.records.config import describe
from collapse_jax.report import demonstration
from collapse_jax.report.axes import PALETTE
from collapse_jax.report.figures import plot
from collapse_jax.report.tables import summary

WORKFLOWS = (cj.Replace(), cj.Accumulate(), cj.AccumulateSubsample())


def dataset(workflow, task, n_generations=30, values=None, n_chains=20, **others):
    """A dataset as `simulate` makes it, but with made-up chains, by default around the theory."""
    if values is None:
        known = cj.theory.expected(workflow, task, n_generations)
        values = {n: known[n].values for n in task.variables if n in known} or {"nll": np.ones(30)}
    noise = np.random.default_rng(0).gamma(100.0, 0.01, (n_chains, n_generations))
    variables = {
        name: (("seed", "generation"), curve * noise, task.variables[name]._asdict())
        for name, curve in {**values, **others}.items()
    }
    attributes = {
        "config": json.dumps({"workflow": describe(workflow), "task": describe(task)}),
        "workflow": caption(workflow),
        "task": type(task).__name__,
    }
    coordinates = {"seed": np.arange(n_chains), "generation": np.arange(1, n_generations + 1)}
    return xr.Dataset(variables, coordinates, attributes)


REGRESSION = [dataset(w, cj.LinearRegression(4, 50)) for w in WORKFLOWS]


def lines(ax, theory=False):
    """The lines of a panel by their colour: those of the chains, or those of the theory."""
    return {
        line.get_color(): line
        for line in ax.lines
        if line.get_label().startswith("_") == theory and line.get_label() != "_nolegend_"
    }


def boxes(figure):
    """All words of a figure with their boxes, in pixels; no numbers of ticks."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = figure.findobj(lambda a: isinstance(a, mpl.text.Text) and a.get_visible())
    words = [text for text in texts if re.match(r"[^$]*[a-z]{2}", text.get_text())]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in words]


def assert_tidy(figure):
    """No text leaves the figure, and titles and labels of axes and legend do not overlap."""
    width, height = figure.bbox.width, figure.bbox.height
    words = boxes(figure)
    assert len(words) >= 4
    for text, box in words:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text!r} leaves the figure"
    for i, (text, box) in enumerate(words):
        for other, another in words[i + 1 :]:
            assert not box.overlaps(another), f"{text!r} overlaps {other!r}"


@pytest.mark.parametrize(
    ("value", "limits"), [(0.0, (-0.05, 1.05)), (10.0, (0.0, 11.55)), (-10.0, (-11.55, 0.55))]
)
def test_a_metric_that_never_changes_does_not_look_as_if_it_did(value, limits):
    ds = dataset(cj.Replace(), cj.Categorical(4, 9), values={"entropy_ratio": np.ones(30)})
    (ax,) = plot(ds * 0.0 + value, variables=["entropy_ratio"], theory=False).axes
    assert ax.get_ylim() == pytest.approx(limits)


def test_each_workflow_has_its_colour_and_its_theory():
    figure = plot(REGRESSION)
    (ax,) = figure.axes
    assert set(lines(ax)) == set(lines(ax, theory=True)) == set(PALETTE.values())
    for ds in REGRESSION:
        colour = PALETTE[ds.attrs["workflow"]]
        known = cj.theory.expected(
            getattr(cj, ds.attrs["workflow"])(), cj.LinearRegression(4, 50), 30
        )
        np.testing.assert_allclose(lines(ax)[colour].get_ydata(), ds.test_error.mean("seed"))
        np.testing.assert_allclose(lines(ax, theory=True)[colour].get_ydata(), known.test_error)
    assert ax.get_ylabel().replace("\n", " ") == "mean squared error on test rows [label units²]"
    assert [label.get_text() for label in figure.legends[0].texts] == [
        *PALETTE,
        "mean of chains",
        "10 to 90 % of chains",
        "theory (exact)",
        "theory (large samples)",
    ]
    assert (
        figure.get_suptitle().replace("\n", " ") == "LinearRegression: dim=4, n_samples=50, noise=1"
    )
    assert_tidy(figure)


@pytest.mark.parametrize(
    "task",
    [
        cj.Gaussian(2, 30, covariance=[1.0, 2.0], estimator="unbiased"),
        cj.Categorical(3, 20),
        cj.KernelDensity("swiss_roll", kernel="tophat", bandwidth="silverman", noise=0.123456),
    ],
    ids=lambda task: type(task).__name__,
)
@pytest.mark.parametrize("n_generations", [30, 7, 1])
def test_every_metric_has_a_tidy_panel(task, n_generations):
    values = {name: np.linspace(0.5, 9.0, n_generations) for name in task.variables}
    figure = plot([dataset(w, task, n_generations, values) for w in WORKFLOWS])
    panels = [ax for ax in figure.axes if ax.axison]
    assert len(panels) == len(task.variables)
    assert all(ax.get_xscale() == ("log" if n_generations >= 20 else "linear") for ax in panels)
    assert_tidy(figure)


def test_labels_and_colours_of_runs_that_share_a_workflow():
    small, large = (dataset(cj.Replace(), cj.Categorical(3, n)) for n in (10, 100))
    runs = collect([small, large])
    assert [run.label for run in runs] == ["n_samples=10", "n_samples=100"]
    assert title(runs) == "Categorical, Replace: n_outcomes=3"
    assert len(lines(plot([small, large]).axes[0])) == 2
    assert [run.label for run in collect({"a": small, "b": large})] == ["a", "b"]
    assert [run.label for run in collect([small, small])] == ["run 1", "run 2"]
    assert [run.label for run in collect([small, REGRESSION[1], large])][1].startswith("Accumulate")


def test_notebooks_show_figures_without_a_window():
    figure = plot(REGRESSION, theory=False)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_titles_leave_out_what_cannot_be_made_again():
    class Local(cj.Categorical):
        pass

    assert (
        title(collect(dataset(cj.Replace(), Local(3, 20))))
        == "Local, Replace: n_outcomes=3, n_samples=20"
    )


def test_titles_tell_several_parts_by_their_names(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n".join("a" * n for n in range(1, 20)))
    texts = [cj.corpus.Text(path, test_fraction=share) for share in (0.25, 0.5)]
    task = cj.LanguageModel(
        texts[0], 8, n_test=4, named=dict(zip(("own", "b"), texts, strict=True))
    )
    values = {"test_loss": np.ones(30)}
    found = title(collect(dataset(cj.Replace(), task, values=values)))
    assert found.endswith("named=own/b")
    assert found.count("a.txt") == 1


def test_theory_of_runs_on_data_of_the_users_own():
    task = cj.Gaussian(data=np.random.default_rng(0).normal(size=(40, 2)))
    known = cj.theory.expected(cj.Replace(), task, 30)
    values = {name: known[name].values for name in ("trace_ratio", "squared_error_mean")}
    ds = dataset(cj.Replace(), task, values=values)
    assert not lines(plot(ds).axes[0], theory=True)  # the data are not at hand
    assert lines(plot(ds, theory=known).axes[0], theory=True)
    assert lines(plot({"mine": ds}, theory={"mine": known}).axes[0], theory=True)
    assert not lines(plot({"mine": ds}, theory={"other": known}).axes[0], theory=True)
    assert not lines(plot(REGRESSION, theory=False).axes[0], theory=True)
    assert "data of 30 rows, dim=2, n_samples=30" in title(collect(ds))
    rounded = plot(ds, variables=["squared_error_mean"])
    assert rounded.axes[0].get_yscale() == "linear"  # although generation 1 is 0 up to rounding


def test_generations_can_be_cut_out():
    part = REGRESSION[0].sel(generation=slice(5, 12))
    (line,) = lines(plot(part).axes[0], theory=True).values()
    known = cj.theory.expected(cj.Replace(), cj.LinearRegression(4, 50), 12)
    np.testing.assert_allclose(line.get_ydata(), known.test_error[4:])


def test_infinite_values_do_not_break_the_axes():
    task, rising = cj.KernelDensity(), np.linspace(1.0, 2.0, 30)
    mixed = np.where(np.arange(30) > 20, np.inf, rising)
    figure = plot(dataset(cj.Replace(), task, values={"nll": mixed}))
    assert 0 < figure.axes[0].get_ylim()[0] < figure.axes[0].get_ylim()[1] < 4
    assert figure.axes[0].get_ylabel().endswith("median [nat]")
    dead = plot(dataset(cj.Replace(), task, values={"nll": np.full(30, np.inf)}))
    assert any(text == "infinite" for text, _ in boxes(dead))
    minus = {"log_det_ratio": np.full(30, -np.inf)}
    for found in (dead, plot(dataset(cj.Replace(), cj.Gaussian(3, 2), values=minus))):
        assert np.all(np.isfinite(found.axes[0].get_ylim()))
        assert_tidy(found)


def test_scales_of_the_vertical_axis():
    def scale(curve):
        values = {"nll": np.asarray(curve, float)}
        return plot(dataset(cj.Replace(), cj.KernelDensity(), values=values)).axes[0].get_yscale()

    t = np.arange(1, 31)
    assert scale(1e-3 * 10 ** (t / 8)) == "log"
    assert scale(t) == "linear"
    assert scale(t - 2.0) == "linear"
    assert scale(np.zeros(30)) == "linear"
    assert scale(np.full(30, 5.0)) == "linear"


def test_lines_are_medians_where_rare_chains_carry_the_mean():
    ds = dataset(cj.Replace(), cj.KernelDensity(), values={"nll": np.ones(30)}, n_chains=100)
    ds.nll[0, 10:] = 1e6
    ax = plot(ds).axes[0]
    assert ax.get_ylabel().endswith("median [nat]")
    (line,) = lines(ax).values()
    np.testing.assert_allclose(line.get_ydata(), ds.nll.median("seed"))


def test_own_axes_and_own_style():
    figure = Figure(layout="constrained")
    axes = figure.subplots(1, 2)
    before = dict(mpl.rcParams)
    assert plot(REGRESSION, variables=["test_error"], axes=axes[0]) is figure
    axes[0].legend()
    assert dict(mpl.rcParams) == before
    assert [text.get_text() for text in axes[0].get_legend().texts] == list(PALETTE)
    assert not axes[1].lines
    with mpl.rc_context({"text.color": "white", "figure.facecolor": "black"}):
        dark = plot(REGRESSION)
    assert dark.get_facecolor() == (0, 0, 0, 1)
    assert dark.legends[0].texts[0].get_color() == "white"


def test_the_figure_of_the_demonstration():
    groups = {
        name: [dataset(w, task, values={name: np.linspace(1.0, 99.0, 30)}) for w in WORKFLOWS]
        for name, task in demonstration.tasks().items()
    }
    figure = demonstration.figure(groups)
    assert [ax.get_title(loc="left").strip() for ax in figure.axes] == [
        "Gaussian",
        "KernelDensity",
        "LinearRegression",
        "Categorical",
    ]
    assert_tidy(figure)
    three = demonstration.figure(dict(list(groups.items())[:3]))
    assert [ax.axison for ax in three.axes] == [True, True, True, False]


def test_files_of_every_kind():
    for suffix in ("png", "pdf", "svg"):
        file = io.BytesIO()
        plot(REGRESSION).savefig(file, format=suffix)
        assert len(file.getvalue()) > 5000


def printed(*groups, width=80, **options):
    console = Console(file=io.StringIO(), width=width)
    console.print(summary(*groups, **options))
    return console.file.getvalue()


def test_table():
    text = printed(REGRESSION)
    assert "LinearRegression: dim=4, n_samples=50, noise=1" in text
    rows = {words[0]: words for line in text.splitlines() if (words := line.split())}
    assert rows["test_error"][1:] == ["generation", "1", "generation", "30", "theory"]
    assert rows["Replace"][-2:] == ["2.67", "collapse"]
    assert rows["Accumulate"][-2:] == ["0.143", "stable"]
    assert rows["AccumulateSubsample"][-2:] == ["~0.252", "plateau"]
    assert text.rstrip().endswith("Mean ± standard error over 20 chains; ~ in large samples.")
    assert max(map(len, text.splitlines())) <= 80


def test_table_leaves_out_what_is_not_of_generations():
    ds = cj.simulate(cj.Replace(), cj.Categorical(3, 9), 2, 2, metrics=["entropy"], progress=False)
    assert "halves" not in printed(ds.assign(halves=("seed", [1.0, 2.0])))


def test_table_shows_what_was_asked_for():
    """By name, which leaves the sizes out; and else what there is of texts that were named."""
    error = REGRESSION[0].test_error
    long = "perplexity_" + "name_" * 12
    named = REGRESSION[0].assign({"self_bleu": error, long: 2 * error})
    shown = printed(named)
    assert max(map(len, shown.splitlines())) <= 80
    found = [line.split() for line in shown.splitlines() if line.startswith("   ")]
    assert found[1][0] == "self_bleu"
    assert long.startswith(found[2][0])
    for words, values in ((found[1], error), (found[2], 2 * error)):
        first, last = float(words[1]), float(words[4])
        ends = values.isel(generation=[0, -1]).mean("seed").values
        np.testing.assert_allclose([first, last], ends, rtol=0.01)
    whole = printed(named.assign(n_train=error, real_fraction=error), width=160)
    assert long in whole
    assert "self_bleu" not in whole


def test_table_of_what_cannot_be_judged():
    sizes = REGRESSION[0].rename(test_error="n_train").isel(seed=[0])
    assert "n_train" in printed(sizes)
    assert printed(sizes).rstrip().endswith("over 1 chain.")
    dead = dataset(cj.Replace(), cj.KernelDensity(), values={"nll": np.full(30, np.inf)})
    assert printed(dead, REGRESSION).count("inf") == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot([]), "ds must hold at least one dataset"),
        (lambda: plot("run.nc"), "ds must be a dataset, or .*'run.nc'"),
        (lambda: plot([REGRESSION[0], 3]), "ds must hold xarray datasets, got int"),
        (lambda: plot(REGRESSION[0].mean("seed")), "ds must have the dimensions 'seed' and .*'gen"),
        (
            lambda: plot(REGRESSION, variables=["test_eror"]),
            "variables .*did you mean 'test_error'",
        ),
        (lambda: plot(REGRESSION, variables=[]), "variables must be a list of names"),
        (lambda: plot(REGRESSION, variables="nll"), "variables must be a list of names, got 'nll'"),
        (
            lambda: plot(REGRESSION, quantiles=(0.9, 0.1)),
            "quantiles must be two numbers .*in order",
        ),
        (
            lambda: plot(REGRESSION, quantiles=(0.1, 90)),
            "quantiles must be two numbers from 0 to 1",
        ),
        (lambda: plot(REGRESSION, quantiles=(0.1,)), "quantiles must be two numbers"),
        (lambda: plot(REGRESSION, axes=[None, None]), "axes must be one per variable, 1 in all"),
        (lambda: plot(REGRESSION, theory=xr.Dataset()), "theory must be a mapping by label"),
        (
            lambda: plot(REGRESSION, theory="yes"),
            "theory must be True, False or datasets, got 'yes'",
        ),
        (lambda: summary(REGRESSION, REGRESSION, theory={}), "theory must be True or False"),
    ],
)
def test_refused(call, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_run_without_the_metric_keeps_its_shade_and_its_mark():
    """So panels that leave some out can share a legend."""
    sizes = (20, 50, 100)
    runs = {f"n = {n}": dataset(WORKFLOWS[0], cj.LinearRegression(4, n)) for n in sizes}
    looks = []
    for left_out in ((), ("n = 20",), ("n = 50", "n = 100")):
        shown = {k: ds.drop_vars("test_error") if k in left_out else ds for k, ds in runs.items()}
        ax = Figure().subplots()
        plot(shown, variables=["test_error"], axes=ax)
        drawn = {line.get_label(): line for line in lines(ax).values()}
        assert sorted(drawn) == sorted(set(runs) - set(left_out))
        looks.append({k: (line.get_color(), line.get_marker()) for k, line in drawn.items()})
    assert len(set(looks[0].values())) == len(sizes)
    assert all(found.items() <= looks[0].items() for found in looks)
