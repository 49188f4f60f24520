"""What theory says about model collapse: closed forms, exact oracles and asymptotic laws.

`expected(workflow, task, n_generations)` predicts the metrics of a simulation. The submodules hold
the formulas, each usable alone, in NumPy and SciPy and double precision:

- `recursion`: moments and risk ratios of any loop of two streams, from its sizes and windows;
  `plans`: reads these off a workflow's plan;
- `moments`: the same for weights of your own, batch by batch;
- `gaussian`: closed-form moments of the three workflows; `wishart`: determinants, spreads and
  likelihoods under Replace; `risk`: universal large-sample ratios; `mixing`: real data mixed in;
- `regression`, `kernel`, `categorical`, `families`: the other tasks; `wright_fisher`: categorical
  models under Replace, exactly, and their single outcomes;
- `curation`: rows that are chosen, verified or edited, and models that are extrapolated;
  `ecosystems`: several models that feed each other; `inclusion`: batches that are masked;
- `predictions`: what is known per task and plan, the layer below `expected`.

Generations are counted t = 1..T, and generation 1 is fitted to real data. Numbers out of range
raise `ValueError`, arguments of the wrong type `TypeError`.
"""

from collapse_jax.theory import (
    categorical,
    curation,
    ecosystems,
    families,
    gaussian,
    inclusion,
    kernel,
    mixing,
    moments,
    plans,
    predictions,
    recursion,
    regression,
    risk,
    wishart,
    wright_fisher,
)
from collapse_jax.theory.expectation import Expected, expected
from collapse_jax.theory.predictions import Prediction

__all__ = [
    "Expected",
    "Prediction",
    "categorical",
    "curation",
    "ecosystems",
    "expected",
    "families",
    "gaussian",
    "inclusion",
    "kernel",
    "mixing",
    "moments",
    "plans",
    "predictions",
    "recursion",
    "regression",
    "risk",
    "wishart",
    "wright_fisher",
]
