"""Shared by all tests: two CPU devices, and shapes checked at run time."""

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 2)

_hook = install_import_hook("collapse_jax", "beartype.beartype")
_hook.__enter__()
