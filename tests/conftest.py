"""Shared by all tests: two CPU devices, shapes checked at run time, and quick compilation."""

import os

# Before JAX is imported. Half of the suite's time would be the optimiser of machine code; the tests
# of the command line run in processes of their own without this.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_compilation_cache", False)  # the command line would have one

_hook = install_import_hook("collapse_jax", "beartype.beartype")
_hook.__enter__()


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Drop compiled programs: hundreds of them in one process exhaust its memory mappings."""
    yield
    jax.clear_caches()
