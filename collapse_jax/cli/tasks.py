"""The tasks by their name on the command line."""

from collapse_jax.cli.language import LanguageModelOptions
from collapse_jax.cli.options import (
    CategoricalOptions,
    GaussianOptions,
    KernelDensityOptions,
    LinearRegressionOptions,
    Options,
)

TASKS: dict[str, type[Options]] = {
    "gaussian": GaussianOptions,
    "kde": KernelDensityOptions,
    "linear-regression": LinearRegressionOptions,
    "categorical": CategoricalOptions,
    "lm": LanguageModelOptions,
}
