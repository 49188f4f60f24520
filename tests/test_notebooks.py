"""The notebooks run, and are kept with what they show."""

import re
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def shown(notebook):
    """The kinds of what each cell of code shows."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        sorted(kind for output in cell.outputs for kind in output.get("data", {"text": ""}))
        for cell in cells
    ]


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@every_notebook
def test_notebooks_are_kept_with_their_outputs(path):
    text = path.read_text()
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert any("image/png" in kinds for kinds in shown(notebook))
    assert all(output.output_type != "error" for output in outputs(notebook))
    assert all(output.get("name") != "stderr" for output in outputs(notebook))
    assert len(text) < 400_000
    assert not [part for part in ("site-packages", "/tmp/", "/home/", "/root/") if part in text]
    versions = {version("collapse_jax")}  # of which they are executed
    assert {*re.findall(r"collapse_jax_version: *([\w.]+)", text)} <= versions
    assert f"notebooks/{path.name}" in (ROOT / "mkdocs.yml").read_text()
    lines = [line for c in notebook.cells if c.cell_type == "code" for line in c.source.split("\n")]
    assert max(map(len, lines)) <= 92  # what a page has room for


@pytest.mark.thorough
@every_notebook
def test_notebooks_run(path, tmp_path):
    from nbclient import NotebookClient

    kept = nbformat.read(path, as_version=4)
    again = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(again, timeout=120, kernel_name="python3", resources=where).execute()
    assert shown(again) == shown(kept)
    assert all(output.get("name") != "stderr" for output in outputs(again))
