"""A laboratory for model collapse: generative models trained on data that models generated."""

from collapse_jax import config, corpus, hosts, theory
from collapse_jax.analysis import collapse_time
from collapse_jax.devices import use_all_cores
from collapse_jax.plot import plot
from collapse_jax.rerun import rerun
from collapse_jax.rollout import rollout
from collapse_jax.simulate import simulate
from collapse_jax.sweep import sweep
from collapse_jax.table import summary
from collapse_jax.tasks import Categorical, Gaussian, KernelDensity, LinearRegression
from collapse_jax.verdict import verdict
from collapse_jax.workflows import Accumulate, AccumulateSubsample, Replace

__all__ = [
    "Accumulate",
    "AccumulateSubsample",
    "Categorical",
    "Gaussian",
    "KernelDensity",
    "LinearRegression",
    "Replace",
    "collapse_time",
    "config",
    "corpus",
    "hosts",
    "plot",
    "rerun",
    "rollout",
    "simulate",
    "summary",
    "sweep",
    "theory",
    "use_all_cores",
    "verdict",
]
