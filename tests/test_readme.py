"""Every Python block of the README, of CONTRIBUTING and of the documentation runs."""

import re
from pathlib import Path

import pytest

import collapse_jax as cj
from benchmarks import pages

ROOT = Path(__file__).parent.parent


DOCS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
WITHOUT_CODE = tuple(
    f"docs/{name}.md"
    for name in (
        *("benchmark", "diagnose", "gallery", "hosts", "papers", "promises", "reference"),
        "scaling",
    )
)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *DOCS])
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert bool(blocks) != (page in WITHOUT_CODE)
    names = {"cj": cj}
    for block in blocks:
        code = block.replace("cj.use_all_cores()", "")  # the tests have set their devices already
        exec(compile(code, page, "exec"), names)
    if page == "CONTRIBUTING.md":
        ds = cj.simulate(names["accumulate_half"], cj.Categorical(), 3, 2, progress=False)
        assert (ds.n_train == 50).all()


def test_measured_figures_are_those_of_the_results():
    found = pages.figures()
    for name in pages.PAGES:
        page = (ROOT / name).read_text()
        assert "<!-- end -->" in page
        assert pages.fill(page, found) == page


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS:
        assert page.removeprefix("docs/") in navigation
