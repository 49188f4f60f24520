"""Several models that feed each other: how far they are from the truth, and from one another.

Each row of model i's batch comes from model j with probability Q_ij. Errors of models then follow a
linear recursion with Q: they stay bounded where its spectral radius is below 1, as where enough
rows are real, and the models become alike. `joint` has the moments of all models, exactly;
`foresight` what they say of the metrics of tasks.
"""

from collapse_jax.theory.ecosystems.foresight import predict_ecosystem, spectral_radius
from collapse_jax.theory.ecosystems.joint import JointMoments, joint_moments

__all__ = ["JointMoments", "joint_moments", "predict_ecosystem", "spectral_radius"]
