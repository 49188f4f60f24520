"""What theory says about model collapse: closed forms, exact oracles and asymptotic laws.

`expected(workflow, task, n_generations)` predicts the metrics of a simulation. The submodules hold
the formulas, each usable alone, in NumPy and SciPy and double precision:

- `moments`: exact second moments for any workflow with fixed weights, and its risk ratios;
- `gaussian`: closed-form moments of the three workflows; `wishart`: determinants, spreads and
  likelihoods under Replace; `risk`: universal large-sample ratios; `mixing`: real data mixed in;
- `regression`, `kernel`, `categorical`: the other tasks; `survival`: single outcomes of the latter;
  `wright_fisher`: categorical models under Replace, exactly;
- `predictions`: what is known per task and workflow, the layer below `expected`.

Generations are counted t = 1..T, and generation 1 is fitted to real data. Numbers out of range
raise `ValueError`, arguments of the wrong type `TypeError`.
"""

from collapse_jax.theory import (
    categorical,
    gaussian,
    kernel,
    mixing,
    moments,
    predictions,
    regression,
    risk,
    survival,
    wishart,
    wright_fisher,
)
from collapse_jax.theory._expected import Expected, expected, regime_of
from collapse_jax.theory.predictions import Prediction, Regime

__all__ = [
    "Expected",
    "Prediction",
    "Regime",
    "categorical",
    "expected",
    "gaussian",
    "kernel",
    "mixing",
    "moments",
    "predictions",
    "regime_of",
    "regression",
    "risk",
    "survival",
    "wishart",
    "wright_fisher",
]
