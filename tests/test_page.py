"""The report page: complete in itself, escaped, and with the numbers of the files."""

import base64
import builtins
import html.parser
import json
import re
import shutil
import time

import jaxtyping
import numpy as np
import pytest
import xarray as xr
from test_plot import REGRESSION, WORKFLOWS, dataset
from test_show import PUBLISHED

import collapse_jax as cj
from collapse_jax.report.page import bundle

TASK = cj.Categorical(4, 30)
VOID = {"input", "meta", "img", "br"}
HOSTILE = "<img src=x onerror=alert(1)>\"'&.[0]"


class Reader(html.parser.HTMLParser):
    """What an HTML parser sees: elements, their attributes, and what is inside scripts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.scripts, self.text = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open[-1:] == ["script"] else self.text).append(data)


def sweep():
    parts = [
        xr.concat(
            [dataset(w, TASK, 12, {"entropy": s * np.ones(12)}) for w in WORKFLOWS], "workflow"
        )
        for s in (1.0, 2.0, 3.0)
    ]
    names = {"workflow": [type(w).__name__ + str(i) for i, w in enumerate(WORKFLOWS)]}
    ds = xr.concat(parts, "n_samples").assign_coords(n_samples=[10, 30, 90], **names)
    return ds.assign_attrs(config="{}")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    runs = {"a": REGRESSION[0], HOSTILE: REGRESSION[1], "c": REGRESSION[2], "grid": sweep()}
    cj.write_report(runs, path, title=HOSTILE)
    return path


@pytest.fixture(scope="module")
def page(written):
    return Reader(written.read_text())


def numbers(page):
    return json.loads(page.scripts[0])["studies"]


def test_is_well_formed_and_small(written, page):
    assert page.open == []
    assert written.stat().st_size < 3_000_000
    ids = [attrs["id"] for _, attrs in page.seen if "id" in attrs]
    assert len(set(ids)) == len(ids)
    levels = [int(tag[1]) for tag, _ in page.seen if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert max(np.diff(levels)) <= 1
    assert all(attrs.get("scope") for tag, attrs in page.seen if tag == "th")
    assert all(attrs.get("alt") for tag, attrs in page.seen if tag == "img")


def test_nothing_is_fetched(page):
    for tag, attrs in page.seen:
        for name in ("src", "href", "action", "srcset", "data"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs)
        if attrs.get("src", "").startswith("data:image/svg+xml"):
            picture = base64.b64decode(attrs["src"].partition(",")[2]).decode()
            assert not re.search(r"(href|src)=\"(?!#)|url\((?!#)", picture)
    assert not {tag for tag, _ in page.seen} & {"link", "iframe", "object", "base"}
    policy = next(a["content"] for _, a in page.seen if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_names_of_strangers_are_escaped(written, page):
    assert HOSTILE not in written.read_text()
    assert all("onerror" not in attrs for _, attrs in page.seen)
    assert any(HOSTILE in text for text in page.text)


def test_numbers_are_those_of_the_file(page):
    study = numbers(page)[0]
    assert len(study["curves"]) == len(REGRESSION)
    for ds, run in zip(REGRESSION, study["cells"][0], strict=True):
        assert set(run["of"]) == set(ds.data_vars)
        for name, found in run["of"].items():
            chains = ds[name].values
            expected = {
                "mean": chains.mean(0),
                "median": np.median(chains, 0),
                "low": np.quantile(chains, 0.1, axis=0),
                "high": np.quantile(chains, 0.9, axis=0),
                "chains": chains[: len(found["chains"])],
            }
            for part, values in expected.items():
                np.testing.assert_allclose(found[part], values, rtol=2e-6)
        workflow = cj.config.rebuild(json.loads(ds.attrs["config"])["workflow"])
        known = cj.theory.expected(workflow, cj.LinearRegression(4, 50), 30)
        np.testing.assert_allclose(run["of"]["test_error"]["theory"], known.test_error, rtol=2e-6)


def test_sweeps_have_their_cells(page):
    study = numbers(page)[1]
    assert study["axes"] == [{"name": "n_samples", "values": [10, 30, 90]}]
    found = [np.mean(cell[0]["of"]["entropy"]["mean"]) for cell in study["cells"]]
    np.testing.assert_allclose(found, [1.0, 2.0, 3.0], rtol=0.02)


def test_cells_of_a_sweep_have_their_own_theory(tmp_path):
    ds = xr.load_dataset(PUBLISHED / "sweep.nc", engine="h5netcdf")
    cj.write_report(ds, tmp_path / "a.html")
    (study,) = numbers(Reader((tmp_path / "a.html").read_text(encoding="utf-8")))
    assert [curve["label"] for curve in study["curves"]] == ["Replace", "Accumulate"]
    for n, cell in zip([9, 30], study["cells"], strict=True):
        for workflow, run in zip([cj.Replace(), cj.Accumulate()], cell, strict=True):
            known = cj.theory.expected(workflow, cj.Categorical(3, n), 6)
            np.testing.assert_allclose(run["of"]["collision"]["theory"], known.collision, rtol=2e-6)


def test_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="suffix of out"):
        cj.write_report(REGRESSION[0], tmp_path / "a.pdf")
    with pytest.raises(TypeError, match="runs must be"):
        cj.write_report([1], tmp_path / "a.html")
    with pytest.raises(ValueError, match="at least one"):
        cj.write_report([], tmp_path / "a.html")
    real = builtins.__import__

    def without(name, *rest):
        if name == "vl_convert":
            raise ImportError(name)
        return real(name, *rest)

    bundle.library.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"collapse_jax\[report\]"):
        cj.write_report(REGRESSION[0], tmp_path / "a.html")


def test_command(command, tmp_path):
    ds = xr.load_dataset(PUBLISHED / "regression.nc", engine="h5netcdf")
    made = ds.assign_attrs(command="collapse-jax simulate '<script>'")
    made.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    code, out, _ = command("report a.nc --out b.html")
    assert code == 0
    assert "b.html" in out
    page = (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "collapse-jax simulate &#x27;&lt;script&gt;&#x27;" in page
    code, _, error = command("report a.nc a.nc --out b.html")
    assert code == 2
    assert "files must be different" in error


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium")
    if path is None:  # the gate installs it
        pytest.skip("needs Chromium")
    driving = pytest.importorskip("playwright.sync_api")
    with driving.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


CURVES = "#plot-0-0 g.mark-line path"


@pytest.mark.thorough
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_works_in_a_browser(browser, written, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(written.as_uri())
    _use_switches(page)
    _use_choices(page)
    _use_slider(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(22, 22, 26)") == (scheme == "dark")
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.close()


def _until(holds):
    """Wait for the page; its policy lets no driver wait inside of it."""
    for _ in range(200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("the page did not change as it should")


def _settled(page, count, marks=CURVES):
    _until(lambda: page.locator(marks).count() == count)


def _path(page):
    found = page.locator(CURVES)
    return found.first.get_attribute("d") if found.count() else ""


def _use_switches(page):
    """Each changes how many curves and bands there are."""
    study, bands = page.locator("article").first, "#plot-0-0 g.mark-area path"
    _settled(page, 6)  # three means, three theories
    study.locator("input[value=theory]").uncheck()
    _settled(page, 3)
    study.locator("input[data-kind=curve]").first.focus()
    page.keyboard.press("Space")
    _settled(page, 2)
    study.locator("input[value=chains]").check()
    _settled(page, 2 + 2 * 20)
    study.locator("input[value=chains]").uncheck()
    _settled(page, 2, bands)
    study.locator("input[value=band]").uncheck()
    _settled(page, 0, bands)
    study.locator("input[data-kind=metric]").first.uncheck()
    study.locator("figure[data-metric='0']").wait_for(state="hidden")
    study.locator("input[data-kind=metric]").first.check()
    _settled(page, 2)


def _use_choices(page):
    """Each moves a curve; the values are there as a table."""
    study = page.locator("article").first
    for change in (
        lambda: study.locator("input[value=logX]").click(),
        lambda: study.locator("select[data-kind=scale]").select_option("linear"),
        lambda: study.locator("select[data-kind=scale]").select_option("logarithmic"),
        lambda: study.locator("select[data-kind=centre]").select_option("median"),
        lambda: study.locator("select[data-kind=centre]").select_option("mean"),
    ):
        before = _path(page)
        change()
        _until(lambda before=before: _path(page) not in ("", before))
    study.locator("figure[data-metric='0'] summary").click()
    rows = study.locator("figure[data-metric='0'] tbody tr")
    rows.last.wait_for()
    assert rows.count() == 2 * 30


def _use_slider(page):
    """By keyboard; another cell is drawn and told."""
    slider = page.locator("article").nth(1).locator("input[type=range]")
    words = page.locator("#plot-1-0").get_attribute("aria-label")
    slider.focus()
    page.keyboard.press("ArrowRight")
    _until(lambda: page.locator("#plot-1-0").get_attribute("aria-label") != words)
    assert slider.get_attribute("aria-valuetext") == "30"
