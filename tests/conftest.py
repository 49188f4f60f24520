"""Shared by all tests: two CPU devices, shapes checked at run time, and quick compilation."""

import os
from importlib.metadata import version

# Before JAX is imported. Most of the time is the compiler's: these flags halve it. Tests that run
# processes of their own as a user would leave them out.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    # Newer ones have no others.
    + " --xla_cpu_use_fusion_emitters=false" * (version("jaxlib").split(".")[:2] == ["0", "10"]),
)

import jax
import jaxtyping
import pytest
import tiers

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_compilation_cache", False)  # the command line would have one

_hook = jaxtyping.install_import_hook("collapse_jax", "beartype.beartype")
_hook.__enter__()


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Drop compiled programs: hundreds of them in one process exhaust its memory mappings."""
    yield
    jax.clear_caches()


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs the command line in an empty folder; its exit code and both of its streams."""
    from collapse_jax.cli import program

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)

    def run(text):
        code = program.main(text.split())
        return code, *capsys.readouterr()

    return run


def pytest_addoption(parser):
    parser.addoption("--costs", action="store_true", help="write down what the tests take")


def pytest_configure(config):
    if config.getoption("--costs"):
        config.pluginmanager.register(tiers.Clock())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    tiers.mark(items)
