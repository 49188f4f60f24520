"""What can be learned: one module per task."""

from collapse_jax.tasks.base import AbstractTask, Data, Laws, Variable
from collapse_jax.tasks.categorical import Categorical
from collapse_jax.tasks.exponential_family import ExponentialFamily
from collapse_jax.tasks.gaussian import Gaussian
from collapse_jax.tasks.gaussian_mixture import GaussianMixture
from collapse_jax.tasks.kernel_density import KernelDensity
from collapse_jax.tasks.linear_regression import LinearRegression
from collapse_jax.tasks.logistic_regression import LogisticRegression
from collapse_jax.tasks.ngram import NGram
from collapse_jax.tasks.parts.tables import Table, read_table
from collapse_jax.tasks.sufficient import AbstractSufficient
from collapse_jax.tasks.trained import AbstractTrained

__all__ = [
    "AbstractSufficient",
    "AbstractTask",
    "AbstractTrained",
    "Categorical",
    "Data",
    "ExponentialFamily",
    "Gaussian",
    "GaussianMixture",
    "KernelDensity",
    "Laws",
    "LinearRegression",
    "LogisticRegression",
    "NGram",
    "Table",
    "Variable",
    "read_table",
]
