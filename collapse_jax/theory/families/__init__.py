"""Exponential families of one parameter, fitted by their mean: exact errors, and extinction.

The variance of a row is a quadratic function of its mean, V(mu) = a + b mu + c mu^2, so that second
moments close: in any loop that is fair on average, E V(mu_t) is V(mu_0) plus c times the squared
error of the mean. With it, `errors` follows the error through every plan that `recursion` can read.
`survival` has the laws of extinction. `logistic`, `mixtures` and `ngrams` are what is known of
models made of such families.
"""

from collapse_jax.theory.families.errors import Curve, curve_of, mean_error, predict_family
from collapse_jax.theory.families.logistic import Information, information, predict_logistic
from collapse_jax.theory.families.mixtures import predict_mixture
from collapse_jax.theory.families.ngrams import predict_ngrams
from collapse_jax.theory.families.survival import binomial_extinction, extinction

__all__ = [
    "Curve",
    "Information",
    "binomial_extinction",
    "curve_of",
    "extinction",
    "information",
    "mean_error",
    "predict_family",
    "predict_logistic",
    "predict_mixture",
    "predict_ngrams",
]
