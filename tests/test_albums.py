"""What is seen of generations: the right numbers, drawn tidily, on paper, as films and on pages."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.special import softmax

import collapse_jax as cj
from collapse_jax.basics import sums
from collapse_jax.numerics import kernels
from collapse_jax.records.run_files import read_run
from collapse_jax.report import generations
from collapse_jax.report.generations import save_generations
from collapse_jax.report.page import writing
from collapse_jax.report.pictures import Picture
from collapse_jax.run.on_host import albums
from collapse_jax.tasks.gaussian_mixture import Fitted
from collapse_jax.tasks.parts import family_rows, mixtures, normal, seen
from collapse_jax.tasks.parts.labels import Classifier, FreshRows, LabelWorld
from collapse_jax.views import Curve, Extent, Images, Lines, Masses, Points, Regions, Values

RNG = np.random.default_rng(0)
TASK = cj.Categorical(probabilities=[0.5, 0.3, 0.15, 0.05], n_samples=20)


@pytest.fixture(scope="module")
def album():
    album = cj.Album(seed=1)
    cj.simulate(cj.Replace(), TASK, 6, seeds=3, observe=album, progress=False)
    return album


def test_an_album_keeps_the_models_of_its_chain(album):
    ds = cj.simulate(cj.Replace(), TASK, 6, seeds=[1], progress=False)
    assert list(album.views) == [1, 2, 3, 4, 5, 6]
    for t, views in album.views.items():
        p = views["outcomes"].p
        error = float(ds.squared_error.sel(seed=1, generation=t))
        assert np.sum((p - TASK.probabilities) ** 2) == pytest.approx(error, abs=1e-6)


def test_albums_do_not_change_chains(album):
    ds = cj.simulate(cj.Replace(), TASK, 6, seeds=3, observe=cj.Album(), progress=False)
    alone = cj.simulate(cj.Replace(), TASK, 6, seeds=3, progress=False)
    np.testing.assert_array_equal(ds.squared_error, alone.squared_error)


def test_only_some_generations_are_kept():
    album = cj.Album(generations=[2, 4])
    cj.simulate(cj.Replace(), TASK, 5, seeds=2, observe=album, progress=False)
    assert (album.seed, list(album.views)) == (0, [2, 4])


class _Twice(cj.Categorical):
    def seen(self, world, model, rows):
        (view,) = super().seen(world, model, rows).values()
        return {"second letter": view, "first letter": view}


def test_panels_are_in_the_order_of_the_task():
    album = cj.Album()
    cj.simulate(cj.Replace(), _Twice(3, 9), 2, seeds=1, observe=album, progress=False)
    assert list(album.views[2]) == ["second letter", "first letter"]


def test_what_is_seen_is_compiled_once(monkeypatch):
    traced = []
    monkeypatch.setattr(albums, "see", lambda *parts: traced.append(0) or seen.see(*parts))
    album = cj.Album()
    cj.simulate(cj.Replace(), cj.Categorical(3, 7), 4, seeds=1, observe=album, progress=False)
    assert (len(album.views), len(traced)) == (4, 1)


def _key():
    return jax.random.key(0, impl="threefry2x32")


@eqx.filter_jit
def _world(task):
    return task.world(_key(), True, None)


def test_the_density_of_a_gaussian_is_in_the_users_units():
    task = cj.Gaussian(1, 20, mean=5.0, covariance=4.0)
    model = normal.Normal(jnp.array([0.5]), jnp.eye(1), jnp.log(jnp.array([0.7])))
    view = seen.see(task, None, model, jnp.array([[0.0], [1.0]]))["rows"]
    assert isinstance(view, Values)
    law = stats.norm(5.0 + 2.0 * 0.5, 2.0 * 0.7)
    np.testing.assert_allclose(view.density, law.pdf(np.asarray(view.grid)), rtol=2e-3)
    np.testing.assert_allclose(view.rows, [5.0, 7.0], rtol=1e-6)


def test_the_density_of_a_plane_is_that_of_scipy():
    task = cj.Gaussian(2, 20, mean=[1.0, -1.0], covariance=[[2.0, 1.0], [1.0, 2.0]])
    model = normal.Normal(jnp.zeros(2), jnp.eye(2), jnp.zeros(2))
    view = seen.see(task, None, model, jnp.zeros((3, 2)))["rows"]
    assert isinstance(view, Points)
    law = stats.multivariate_normal([1.0, -1.0], [[2.0, 1.0], [1.0, 2.0]])
    gap = np.asarray(view.log_density) - law.logpdf(np.asarray(view.grid))
    assert np.ptp(gap) < 1e-4  # up to a number that all points share
    np.testing.assert_allclose(view.rows, np.tile([1.0, -1.0], (3, 1)), atol=1e-6)


def test_a_normal_law_without_spread_has_no_density():
    model = normal.Normal(jnp.zeros(2), jnp.eye(2), jnp.array([0.0, -jnp.inf]))
    assert np.all(np.isneginf(model.log_density(jnp.zeros((4, 2)))))


@pytest.mark.parametrize("kernel", ["gaussian", "tophat"])
def test_kernel_densities_are_those_of_a_plain_sum(kernel):
    x, rows, weights = RNG.normal(size=(30, 2)), RNG.normal(size=(9, 2)), np.arange(9.0)
    far = cdist(x, rows) / 0.6
    if kernel == "gaussian":
        each = np.exp(-0.5 * far**2) / (2.0 * np.pi * 0.6**2)
    else:
        each = (far <= 1.0) / (np.pi * 0.6**2)
    found = kernels.log_density(*map(jnp.asarray, (x, rows, weights)), jnp.float32(0.6), kernel)
    np.testing.assert_allclose(np.exp(found), each @ weights / weights.sum(), rtol=1e-4)


LAWS = {
    "poisson": lambda x: stats.poisson.pmf(x, 2.0),
    "gamma": lambda x: stats.gamma.pdf(x, 3.0, scale=2.0 / 3.0),
    "binomial": lambda x: stats.binom.pmf(x, 3.0, 2.0 / 3.0),
    "negative_binomial": lambda x: stats.nbinom.pmf(x, 3.0, 3.0 / 5.0),
}


@pytest.mark.parametrize("kind", LAWS)
def test_laws_of_families_are_those_of_scipy(kind):
    view = family_rows.law_of(kind, 2.0, 3.0, jnp.ones(()))
    assert isinstance(view, Curve)
    there = np.isfinite(view.truth)  # which is where there are such counts
    x, truth = np.asarray(view.x)[there], np.asarray(view.truth)[there]
    np.testing.assert_allclose(truth, LAWS[kind](x), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(view.y, view.truth)
    assert kind == "gamma" or np.sum(truth) > 0.9


@pytest.mark.parametrize("size", [39.0, 40.0, 80.0])
def test_the_largest_count_is_shown(size):
    mean = 0.97 * size
    view = family_rows.law_of("binomial", mean, size, jnp.ones(()))
    (place,) = np.flatnonzero((np.asarray(view.x) == size) & np.isfinite(view.truth))
    assert view.truth[place] == pytest.approx(stats.binom.pmf(size, size, 0.97), rel=1e-3)


def test_an_extinct_law_is_all_at_zero():
    view = seen.see(cj.ExponentialFamily("poisson", 3.0), None, jnp.array([-jnp.inf]), None)["law"]
    np.testing.assert_allclose(view.y, np.asarray(view.x) == 0.0, atol=1e-5)


def test_mixtures_show_centres_and_the_weights_of_modes():
    task = cj.GaussianMixture(means=[[0.0, 0.0], [4.0, 0.0]], n_samples=50)
    law = mixtures.Mixture(
        jnp.array([0.9, 0.1]), jnp.array([[0.1, 0.0], [0.2, 0.1]]), jnp.full((2, 2), 0.1)
    )
    found = Fitted(law, jnp.float32(50))
    views = task.seen(jnp.zeros((9, 2)), found, jnp.zeros((5, 2)))
    np.testing.assert_array_equal(views["rows"].weights, law.weights)
    np.testing.assert_allclose(views["modes"].p, [1.0, 0.0], atol=1e-6)  # both are at the first


def test_decision_lines_are_where_log_odds_are_zero():
    task = cj.LogisticRegression(2, 50, class_mean=[1.0, 0.0])
    rows = FreshRows(jnp.array([[1.0, 2.0], [-1.0, 0.5]]), jnp.array([1, 0]), jnp.array([1, 1]))
    model = Classifier(jnp.array([[1.0, -2.0]]), jnp.zeros((), bool))
    view = seen.see(task, LabelWorld(None, None, None), model, rows)["labels"]
    assert isinstance(view, Regions)
    lead = np.asarray(view.odds[1] - view.odds[0])
    np.testing.assert_allclose(lead, np.asarray(view.grid) @ [1.0, -2.0], atol=1e-5)
    np.testing.assert_allclose(view.true_odds[1], np.asarray(view.grid) @ [2.0, 0.0], atol=1e-5)


def test_classifiers_of_many_columns_show_how_certain_they_are():
    odds = np.array([[0.0, 0.0, 0.0], [2.0, -1.0, 3.0], [1.0, 5.0, -4.0]])
    view = seen.certainties(jnp.asarray(odds), jnp.array([1, 1, 2]))["labels"]
    expected = softmax(odds, axis=0)[[1, 1, 2], [0, 1, 2]]
    np.testing.assert_allclose(view.rows, expected, rtol=1e-5)
    assert view.extent()[:2] == (0.0, 1.0)


def test_regressions_show_their_line_or_their_predictions():
    task = cj.LinearRegression(1, 20)
    world = _world(task)
    rows = task.real(world, _key(), 20, size=None, index=None)
    view = seen.see(task, world, jnp.array([2.0]), rows)["rows"]
    assert isinstance(view, Lines)
    np.testing.assert_allclose(view.fitted, 2.0 * view.ends)
    np.testing.assert_allclose(view.truth, world.weights[0] * view.ends)
    x, y = RNG.normal(size=(40, 2)), RNG.normal(3.0, size=40)
    task = cj.LinearRegression(data=(x, y))
    view = seen.see(task, world, jnp.zeros(task.rank), None)["predictions"]
    np.testing.assert_allclose(view.y, 0.0)
    assert view.names == ("truth", "prediction")


def test_ngrams_are_ranked_by_the_truth():
    task = cj.NGram(1, 3, data="a b a a c a b a a b " * 9, length=3)
    world = _world(task)
    model = jnp.array([[0, 5, 5]])
    view = seen.see(task, world, model, None)["n-grams"]
    assert np.all(np.diff(view.truth) <= 0.0)
    np.testing.assert_allclose(view.y, [0.0, 0.5, 0.5])


def _drawn(view):
    ax = Picture().subplots()
    extent = view.extent()
    ax.set(xlim=extent[:2], ylim=extent[2:])
    view.draw(ax, "black")
    return ax


def test_what_the_truth_never_had_is_not_gone():
    task = cj.NGram(1, 9, data="a b a a c a b a a b " * 9, length=3)
    model = jnp.zeros((1, 9)).at[0, :2].set(1.0)
    view = seen.see(task, _world(task), model, None)["n-grams"]
    assert [text.get_text() for text in _drawn(view).texts] == ["1 of 3 are gone"]
    assert view.extent().right < 4.0
    assert min(_drawn(view).lines[1].get_ydata()) > 0.0
    masses = seen.see(
        cj.Categorical(probabilities=[0.5, 0.5, 0.0]), None, jnp.array([1.0, 0.0, 0.0]), None
    )["outcomes"]
    assert [text.get_text() for text in _drawn(masses).texts] == ["1 of 2 are gone"]


@pytest.mark.parametrize(("family", "last"), [("bernoulli", 1), ("binomial", 3), ("poisson", 5)])
def test_counts_end_where_their_law_does(family, last):
    task = cj.ExponentialFamily(family, 0.4, 9, **({"size": 3} if family == "binomial" else {}))
    view = seen.see(task, (), jnp.zeros(1), None)["law"]
    extent = view.extent()
    assert last < extent.right < last + 1
    assert 0.0 < extent.top <= 1.05
    ax = _drawn(view)
    assert all(float(tick).is_integer() for tick in ax.get_xticks())
    x, y = ax.lines[0].get_data()
    assert x[np.isfinite(y)].max() >= last
    np.testing.assert_allclose(np.sum(y), 1.0, atol=1e-3)


def test_tables_show_each_column():
    table = {"colour": RNG.choice(["blue", "red"], 80), "x": RNG.normal(size=80)}
    task = cj.Tabular(table)
    views = seen.see(task, task.test, None, task.train[:30])
    assert {name: type(view) for name, view in views.items()} == {"colour": Masses, "x": Values}
    share = np.mean(np.asarray(task.train)[:30, -1, 0] == 1.0)
    np.testing.assert_allclose(views["colour"].p[1], share, rtol=1e-5)
    assert views["colour"].names == ("blue", "red")


def test_images_are_drawn_in_a_grid_as_they_are():
    images = RNG.uniform(size=(40, 4, 5))
    task = cj.Diffusion(data=images)
    view = seen.seen_as(task.shown(None, task.train[:9]), images)["rows"]
    assert isinstance(view, Images)
    tiled, shown = view.tiled, np.asarray(task.shown(None, task.train[:9]))
    assert tiled.shape == (2 * 6, 4 * 7)  # a third line would not be full
    np.testing.assert_array_equal(tiled[7:11, 8:13], shown[5])


def test_rows_of_no_known_kind_are_refused():
    with pytest.raises(TypeError, match=r"by a method seen\(world, model, rows\)"):
        seen.seen_as(jnp.zeros((2, 2, 2, 2)), jnp.zeros((2, 2, 2, 2)))


def test_a_task_of_ones_own_is_drawn_by_its_rows():
    class Mine(cj.AbstractTask):
        n_samples: int = 20
        variables = {"mean": cj.Variable("mean", "1")}  # noqa: RUF012

        def real(self, world, key, n, *, size, index):
            return jax.random.normal(key, (n, 1))

        def sample(self, world, model, key, n, *, temperature):
            return model + jax.random.normal(key, (n, 1))

        def fit(self, world, data):
            return data.weight @ data.rows[:, 0] / data.size

        def measure(self, world, model):
            return {"mean": model}

    album = cj.Album()
    cj.simulate(cj.Replace(), Mine(), 2, seeds=1, observe=album, progress=False)
    view = album.views[2]["rows"]
    assert isinstance(view, Values)
    assert (len(view.rows), len(view.real)) == (20, seen.ROWS)


def test_strips_have_a_column_for_each_generation(album):
    figure = cj.plot_generations(album)
    assert [ax.get_title() for ax in figure.axes] == [f"generation {t}" for t in (1, 2, 4, 5, 6)]
    figure = cj.plot_generations({"Replace": album, "again": album}, [1, 6], title="both")
    assert len(figure.axes) == 4
    assert figure.get_suptitle() == "both"
    assert figure.axes[2].get_ylabel() == "again\nprobability"
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    np.testing.assert_allclose(heights, album.views[6]["outcomes"].p, rtol=1e-6)
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1


VIEWS = {
    "points": Points(RNG.normal(size=(50, 2)), RNG.normal(size=(50, 2))),
    "lost": Points(np.full((5, 2), np.inf), RNG.normal(size=(50, 2))),
    "values": Values(RNG.normal(size=50), RNG.normal(size=50), name="x"),
    "one value": Values(np.zeros(50), np.zeros(50)),
    "images": Images(RNG.uniform(size=(3, 4, 4)), RNG.uniform(size=(3, 4, 4))),
    "masses": Masses(np.array([0.0, 1.0]), np.array([0.5, 0.5]), ("a long name", "b")),
    "many": Masses(np.full(50, 0.02), np.full(50, 0.02)),
    "curve": Curve(np.arange(1.0, 9.0), np.zeros(8), np.ones(8) / 8, ("x", "y"), log=True),
    "lines": Lines(*RNG.normal(size=(2, 9)), np.array([-1.0, 1.0]), np.array([-2.0, 2.0])),
}


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_is_drawn_within_its_extent(name, album):
    made = cj.Album()
    made.views, made.task = {1: {"x": VIEWS[name]}, 2: {"x": VIEWS[name]}}, "Task"
    figure = cj.plot_generations(made)
    figure.canvas.draw()
    extent = VIEWS[name].extent()
    assert extent.left < extent.right
    assert figure.axes[0].get_xlim() == pytest.approx(extent[:2])
    words = [text.get_text() for text in figure.axes[0].texts]
    assert (words == ["5 of 5 outside"]) == (name == "lost")


def test_extents_hold_all_and_are_those_of_the_truth():
    real = np.stack([np.linspace(0.0, 1.0, 11), np.linspace(-2.0, 2.0, 11)], axis=1)
    extent = Points(100.0 * real, real).extent()
    assert extent == pytest.approx(Extent(-0.15, 1.15, -2.6, 2.6))


def test_films_have_a_frame_for_each_generation(album, tmp_path):
    path = cj.animate_generations({"a": album, "b": album}, tmp_path / "film.gif", seconds=0.2)
    with Image.open(path) as film:
        assert film.n_frames == 6
        assert film.info["duration"] == 200
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg", "gif"])
def test_pictures_are_written_by_their_suffix(suffix, album, tmp_path):
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "gif": b"GIF8"}
    path = save_generations(album, tmp_path / f"a.{suffix}")
    assert path.read_bytes().startswith(starts[suffix])


BAD = {
    "albums must be an Album, or such by label, got 3|parameter 'albums'": lambda a, p: (
        cj.plot_generations(3)
    ),
    "albums must hold generations, and this one has none": lambda a, p: cj.plot_generations(
        cj.Album()
    ),
    "albums must not be empty": lambda a, p: cj.plot_generations({}),
    r"generations must be of \[1, 2, 3, 4, 5, 6\], got \[9\]": lambda a, p: cj.plot_generations(
        a, [9]
    ),
    "generations must be of": lambda a, p: cj.plot_generations(a, []),
    "the suffix of out must be": lambda a, p: cj.animate_generations(a, p / "film.png"),
    "seconds must be": lambda a, p: cj.animate_generations(a, p / "film.gif", seconds=0.0),
    "seed must be": lambda a, p: cj.Album(seed=-1),
    "generations must be some, or left out": lambda a, p: cj.Album(generations=[]),
    "generations must be between": lambda a, p: cj.Album(generations=[0]),
}


@pytest.mark.parametrize("words", BAD)
def test_what_cannot_be_drawn_is_refused(words, album, tmp_path):
    with pytest.raises((TypeError, ValueError), match=words):
        BAD[words](album, tmp_path)


def test_the_command_line_writes_pictures_and_pages_show_them(command):
    words = "simulate categorical --generations 3 --seeds 2 --n-samples 9 --picture a.png"
    code, out, err = command(f"{words} --out run.nc")
    assert (code, err) == (0, "")
    assert "Picture: a.png" in out
    code, out, err = command("report run.nc --out page.html")
    assert (code, err) == (0, "")
    with open("page.html", encoding="utf-8") as page:
        assert page.read().count("data:image/png;base64") == 1
    code, _, err = command("simulate lm --generations 1 --seeds 1 --picture a.png")
    assert code == 2
    assert "picture must be left out for a LanguageModel" in err
    code, _, err = command("simulate categorical --checkpoint chains --picture a.png")
    assert code == 2
    assert "picture cannot be given with checkpoint" in err


def test_pages_show_a_picture_only_with_its_own_run(command, monkeypatch):
    """Not that of another run, nor what no page shows; the rest of the page is written."""
    words = "simulate categorical --generations 3 --seeds 2 --n-samples {} --picture a.png"
    for n in (9, 8):
        assert command(f"{words.format(n)} --out run{n}.nc")[0] == 0
    code, _, err = command("report run9.nc run8.nc --out page.html")
    assert code == 0
    assert "The picture of run9 is left out: a.png is no longer the picture of this run" in err
    assert "run8" not in err
    with open("page.html", encoding="utf-8") as page:
        assert page.read().count("data:image/png;base64") == 1
    monkeypatch.setattr(writing, "_LARGEST", 1000)
    code, _, err = command("report run8.nc --out page.html")
    assert code == 0
    assert "The picture of run8 is left out: pictures must be PNG or GIF of 1000 bytes" in err


def test_a_run_names_a_picture_only_where_there_is_one(command, monkeypatch):
    """One that cannot be drawn does not take the chains with it."""

    def broken(*_, **__):
        raise ValueError("nothing to draw with")

    monkeypatch.setattr(generations, "save_generations", broken)
    words = "simulate categorical --generations 3 --seeds 2 --n-samples 9 --picture a.png"
    code, _, err = command(f"{words} --out run.nc")
    assert code == 2
    assert "nothing to draw with" in err
    assert "picture" not in read_run("run.nc").attrs


def test_pictures_end_where_a_rule_ends_the_run(command, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        generations, "save_generations", lambda album, path, **_: drawn.extend(album.views)
    )
    monkeypatch.setattr(sums, "sum_of_file", str)
    words = "simulate categorical --generations 9 --seeds 2 --n-samples 9 --picture a.png"
    code, out, err = command(f"{words} --stop-when entropy<100")
    assert (code, err) == (0, "")
    assert "generation 1" in out
    assert drawn == [1]


@pytest.mark.parametrize("most", [5, 40])
def test_of_many_generations_as_many_are_drawn_as_said(most):
    for n in (*range(most + 1, 500), 10_000):
        shown = generations._spread(range(1, n + 1), most)
        assert len(shown) == most
        assert (shown[0], shown[-1], shown) == (1, n, sorted(set(shown)))
