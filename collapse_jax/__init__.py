"""A laboratory for model collapse: generative models trained on data that models generated."""

from typing import TYPE_CHECKING, Any

from collapse_jax import config, hosts, tasks, theory
from collapse_jax.analysis import collapse_time
from collapse_jax.devices import use_all_cores
from collapse_jax.diagnose import Diagnosis, diagnose
from collapse_jax.plot import plot
from collapse_jax.rerun import rerun
from collapse_jax.rollout import rollout
from collapse_jax.simulate import simulate
from collapse_jax.sweep import sweep
from collapse_jax.table import summary
from collapse_jax.tasks import Categorical, Gaussian, KernelDensity, LinearRegression
from collapse_jax.verdict import verdict
from collapse_jax.workflows import Accumulate, AccumulateSubsample, Replace

if TYPE_CHECKING:
    from collapse_jax import corpus
    from collapse_jax.grid import real_synthetic_grid
    from collapse_jax.tasks.language_model import LanguageModel

__all__ = [
    "Accumulate",
    "AccumulateSubsample",
    "Categorical",
    "Diagnosis",
    "Gaussian",
    "KernelDensity",
    "LanguageModel",
    "LinearRegression",
    "Replace",
    "collapse_time",
    "config",
    "corpus",
    "diagnose",
    "hosts",
    "plot",
    "real_synthetic_grid",
    "rerun",
    "rollout",
    "simulate",
    "summary",
    "sweep",
    "tasks",
    "theory",
    "use_all_cores",
    "verdict",
]

# Loaded when first asked for: language models need libraries that are slow to import.
_LAZY = {
    "LanguageModel": "collapse_jax.tasks.language_model",
    "corpus": "collapse_jax.corpus",
    "real_synthetic_grid": "collapse_jax.grid",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'collapse_jax' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(_LAZY[name])
    return module if _LAZY[name].endswith(f".{name}") else getattr(module, name)
