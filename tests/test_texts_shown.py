"""Generated texts in datasets, figures and pages."""

import json

import numpy as np
import pytest
import xarray as xr

import collapse_jax as cj

NAMES = "test_loss", "train_loss"


@pytest.fixture
def run(tmp_path):
    """A dataset of a run of five generations, whose documents were written."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for t in range(1, 6):
        texts = [f"first of {t}", f"<b>second</b> of {t} costs $5 and $x$", "", "left out"]
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / f"seed-7-generation-{t}.jsonl").write_text("\n".join(lines) + "\n")
    values = np.arange(10.0).reshape(2, 5)
    about = {"long_name": "a loss", "units": "nat"}
    ds = xr.Dataset(
        dict.fromkeys(NAMES, (("seed", "generation"), values, about)),
        coords={"seed": [7, 9], "generation": np.arange(1, 6)},
        attrs={"workflow": "Replace", "task": "LanguageModel", "config": "{}"},
    )
    return ds, folder


def test_a_dataset_takes_the_first_documents_of_each_generation(run):
    ds, folder = run
    kept = json.loads(cj.with_samples(ds, folder, 2).attrs["samples"])
    assert kept["seed"] == 7
    assert kept["texts"]["5"] == ["first of 5", "<b>second</b> of 5 costs $5 and $x$"]
    assert "samples" not in ds.attrs
    with pytest.raises(ValueError, match=r"lacks .*seed-9-generation-1\.jsonl"):
        cj.with_samples(ds, folder, seed=9)
    with pytest.raises(ValueError, match=r"seed must be one of the run, \[7, 9\], got 8"):
        cj.with_samples(ds, folder, seed=8)
    with pytest.raises(ValueError, match="n must be"):
        cj.with_samples(ds, folder, 0)


def test_a_figure_has_texts_side_by_side_where_a_run_has_some(run):
    ds, folder = run
    plain = cj.plot(ds, theory=False)
    shown = cj.plot(cj.with_samples(ds, folder), theory=False)
    assert len(shown.axes) == len(plain.axes) + 1
    words = [text.get_text() for text in shown.axes[-1].texts]
    heads = [word for word in words if word.startswith("generation")]
    assert (heads[0], heads[-1], len(heads)) == ("generation 1", "generation 5", 4)
    assert "first of 5" in words[-1]
    assert r"\$5" in words[-1]
    assert "(empty)" in words[-1]
    shown.canvas.draw()  # no text is taken for mathematics


def test_a_page_has_all_generations_as_a_table_in_which_texts_are_escaped(run, tmp_path):
    ds, folder = run
    path = cj.write_report(cj.with_samples(ds, folder, 2), tmp_path / "page.html", theory=False)
    page = path.read_text(encoding="utf-8")
    assert "<b>second</b>" not in page
    for t in range(1, 6):
        assert f"<td>first of {t}</td>" in page
        assert f"<td>&lt;b&gt;second&lt;/b&gt; of {t} costs $5 and $x$</td>" in page
    plain = cj.write_report(ds, tmp_path / "plain.html", theory=False)
    assert ">Texts<" not in plain.read_text(encoding="utf-8")
