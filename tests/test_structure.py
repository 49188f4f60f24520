"""The packages are those of the map in CONTRIBUTING, small, and import downwards only."""

import ast
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from tiers import COSTS, NEEDED

import collapse_jax as cj

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "collapse_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAP = re.findall(r"^\| `(\w+)/` \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
ORDER = [name for name, _ in reversed(MAP)]  # imports point down: each may use those before it
MOST_MODULES, MOST_LINES = 14, 330

every_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)


def test_the_map_is_the_tree_and_its_sentences():
    packages = {path.parent.name: path for path in PACKAGE.glob("*/__init__.py")}
    sentences = {
        name: (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
        for name, path in packages.items()
    }
    assert dict(MAP) == sentences
    assert len(MAP) == len(packages)


def test_the_root_holds_packages_only():
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__init__.pyi", "py.typed"}


def test_no_public_name_hides_a_package():
    packages = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    hidden = {name for name in packages if not inspect.ismodule(getattr(cj, name, inspect))}
    assert hidden == set()


def test_packages_are_small():
    folders = {path.parent for path in MODULES if path.parent != PACKAGE}
    sizes = {str(f.relative_to(PACKAGE)): len([*f.glob("*.py")]) - 1 for f in folders}
    assert {name: n for name, n in sizes.items() if n > MOST_MODULES} == {}


@every_module
def test_modules_are_short(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


@every_module
def test_nothing_has_the_name_of_its_module(path):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    tree = ast.parse(path.read_text())
    assert path.stem not in {node.name for node in tree.body if isinstance(node, kinds)}


def imports(source):
    """Packages that a module imports, and whether in a function; those for annotations do not."""
    found = set()

    def visit(node, late):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        late = late or isinstance(node, ast.FunctionDef)
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "collapse_jax":
            names = [f"collapse_jax.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found.update((n.split(".")[1], late) for n in names if n.startswith("collapse_jax."))
        for child in ast.iter_child_nodes(node):
            visit(child, late)

    visit(ast.parse(source), False)
    return found


@every_module
def test_imports_point_down(path):
    if path.parent == PACKAGE:
        return
    own = path.relative_to(PACKAGE).parts[0]
    allowed = set(ORDER[: ORDER.index(own) + 1])
    used = {(name, late) for name, late in imports(path.read_text()) if name in ORDER}
    up = {(name, late) for name, late in used if name not in allowed}
    assert up == set()


def test_imports_are_found():
    source = """
from typing import TYPE_CHECKING
from collapse_jax import tasks
import collapse_jax.loop.plan
if TYPE_CHECKING:
    from collapse_jax.cli import program
class A:
    def f(self):
        from collapse_jax.run.sweeps import sweep
"""
    assert imports(source) == {("tasks", False), ("loop", False), ("run", True)}


def test_what_was_measured_to_take_long_exists():
    for name in {*json.loads(COSTS.read_text()), *NEEDED}:
        file, *_, function = name.split("::")
        source = (ROOT / file).read_text()
        assert file.startswith("collapse_jax/") or f"\ndef {function}(" in source, name


def test_versions_are_one():
    """What is installed, what its project says, and what is to be cited."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cj.__version__ == project["version"] == str(cited["version"])
    assert cited["license"] == project["license"]


@pytest.mark.parametrize(
    ("code", "needed", "not_needed"),
    [
        ("import collapse_jax", set(), {"jax", "numpy", "xarray"}),
        ("from collapse_jax import Gaussian, simulate", {"jax", "xarray"}, set()),
        ("from collapse_jax.cli.program import main; main(['--help'])", set(), {"jax", "xarray"}),
    ],
    ids=["import", "simulate", "help"],
)
def test_nothing_is_loaded_before_it_is_needed(code, needed, not_needed):
    loaded = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    slow = {"flax", "flowjax", "matplotlib", "rich", "scipy.special", "sklearn", "tokenizers"}
    assert needed <= set(loaded)
    assert not (slow | not_needed) & set(loaded)


def test_public_names_are_those_that_checkers_see():
    stub = ast.parse((ROOT / "collapse_jax/__init__.pyi").read_text())
    (listed,) = (node.value for node in stub.body if isinstance(node, ast.Assign))
    assert sorted(ast.literal_eval(listed)) == cj.__all__
    assert all(hasattr(cj, name) for name in cj.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = cj.nothing
