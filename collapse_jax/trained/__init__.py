"""What is trained by steps: generators of points, images and tables, and classifiers."""

from collapse_jax.trained.autoencoder import Autoencoder
from collapse_jax.trained.base import AbstractGenerator
from collapse_jax.trained.diffusion import Diffusion
from collapse_jax.trained.flow import Flow
from collapse_jax.trained.group_classifier import GroupClassifier
from collapse_jax.trained.tabular import Tabular

__all__ = [
    "TRAINED",
    "AbstractGenerator",
    "Autoencoder",
    "Diffusion",
    "Flow",
    "GroupClassifier",
    "Tabular",
]

TRAINED = (Autoencoder, Diffusion, Flow, GroupClassifier, Tabular)
"""Those that can be written down and made again."""
