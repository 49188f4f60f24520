"""Generators that are trained: flows, diffusion models, autoencoders, and rows of tables."""

from collapse_jax.trained.autoencoder import Autoencoder
from collapse_jax.trained.base import AbstractGenerator
from collapse_jax.trained.diffusion import Diffusion
from collapse_jax.trained.flow import Flow
from collapse_jax.trained.tabular import Tabular

__all__ = ["GENERATORS", "AbstractGenerator", "Autoencoder", "Diffusion", "Flow", "Tabular"]

GENERATORS: tuple[type[AbstractGenerator], ...] = (Autoencoder, Diffusion, Flow)
"""Those that can be written down and made again."""
