"""Loops whose rows are chosen, verified or edited, or come from models that are extrapolated.

`selection` has the law of the best of k candidates on finitely many outcomes, exactly, and what it
leads to; `verification` labels that a verifier has seen; `editing` labels that are made anew in
part, and models beyond the newest one. `foresight` reads these off a plan.
"""

from collapse_jax.theory.curation.editing import (
    edit_collision,
    edit_error,
    edit_ratio,
    extrapolated_covariance,
    unbiased_weight,
)
from collapse_jax.theory.curation.foresight import predict_curated, predict_edited
from collapse_jax.theory.curation.selection import (
    best_of,
    best_of_two_outcomes,
    fixed_point,
    reward_bound,
    selected,
)
from collapse_jax.theory.curation.verification import (
    critical_accuracy,
    label_accuracy,
    limit_accuracy,
    verified,
)

__all__ = [
    "best_of",
    "best_of_two_outcomes",
    "critical_accuracy",
    "edit_collision",
    "edit_error",
    "edit_ratio",
    "extrapolated_covariance",
    "fixed_point",
    "label_accuracy",
    "limit_accuracy",
    "predict_curated",
    "predict_edited",
    "reward_bound",
    "selected",
    "unbiased_weight",
    "verified",
]
