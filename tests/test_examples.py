"""The examples run, and show what they say they show."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_wine(tmp_path):
    final = load("wine").main(str(tmp_path / "wine.png"), seeds=30)
    assert final["Replace"] > final["AccumulateSubsample"] > final["Accumulate"]
    assert (tmp_path / "wine.png").stat().st_size > 20_000


def test_theory(tmp_path):
    load("theory").main(str(tmp_path / "theory.png"), n_generations=20, seeds=50)
    assert (tmp_path / "theory.png").stat().st_size > 20_000


def test_bandwidths(tmp_path):
    ds = load("bandwidths").main(str(tmp_path / "bandwidths.png"), n_generations=8, seeds=2)
    final = ds.nll.isel(generation=-1).mean("seed")
    narrow = final.sel(bandwidth=0.01)
    assert narrow.sel(workflow="Replace") > 3 * narrow.sel(workflow="Accumulate")
    assert (tmp_path / "bandwidths.png").stat().st_size > 20_000


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_every_example_is_tested(path):
    assert f'load("{path.stem}")' in Path(__file__).read_text()
