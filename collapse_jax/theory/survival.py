"""Single outcomes of a categorical chain: which are never seen, and how long rare ones survive.

A rare outcome's count under Replace is close to a critical branching process with Poisson
offspring, and survives at least as well as that. Closed forms for any n; exact values for moderate
n are in `wright_fisher`.
"""

import math

import numpy as np
from scipy.stats import hypergeom

from collapse_jax.theory._checks import (
    FloatArray,
    Number,
    Numbers,
    check_count,
    check_number,
    check_probabilities,
    generations,
    population_counts,
)
from collapse_jax.theory.categorical import Bounds


def branching_survival(n_generations: int) -> FloatArray:
    """The numbers g_t: a Poisson count of mean m is alive at generation t with 1 - exp(-m g_t).

    A count that is redrawn from a Poisson law with itself as mean is a critical branching process:
    g_1 = 1 and g_{t+1} = 1 - exp(-g_t); t g_t tends to 2.

    Returns:
        `[generation]`.

    Raises:
        ValueError: if `n_generations` is below 1.

    Source:
        Suresh et al., arXiv 2412.17646.

    Example:
        >>> print(branching_survival(3).round(6))
        [1.       0.632121 0.468536]
    """
    survival = generations(n_generations)
    for k in range(1, len(survival)):
        survival[k] = -math.expm1(-survival[k - 1])
    return survival


def survival_bounds(probability: Number, n_samples: int, n_generations: int) -> Bounds:
    """Bounds on the probability that an outcome still has draws at generation t, under Replace.

    Args:
        probability: the true probability p of the outcome.
        n_samples: draws n per generation.
        n_generations: number of generations T.

    Returns:
        Lower and upper bounds, `[generation]`. The lower one is exact in generation 1.

    Raises:
        ValueError: if the probability or a size is not valid.

    Source:
        Suresh et al., arXiv 2412.17646. The lower bound is sharpened here to 1 - (1 - p g_t)^n by
        induction over t. The upper bound is theirs; it says something only for n p^2 and t p
        well below 1, and we have checked it against exact values, not proved it again.

    Example:
        >>> lower, upper = survival_bounds(0.001, 1000, 10)
        >>> print(lower[-1].round(4), upper[-1].round(4))
        0.1582 0.186
    """
    p = check_number("probability", probability, maximum=1.0)
    n, t = check_count("n_samples", n_samples), generations(n_generations)
    survival = branching_survival(n_generations)
    lower = 1 - (1 - p * survival) ** n
    factor = np.maximum(1 - 3 * n * p**2 - 3 * t * p, 0)
    return Bounds(lower, 1 - factor * np.exp(-n * p * survival))


def n_unseen(probabilities: Numbers, n_samples: int, *, population: int | None = None) -> float:
    """Exact expected number of outcomes that do not show among n real draws.

    They are lost for good: under Accumulate exactly these are extinct, in every generation.

    Args:
        probabilities: `[outcome]`, the truth.
        n_samples: number of draws n.
        population: number P of rows if they are drawn without replacement from a data set with
            these frequencies; by default draws are independent.

    Raises:
        ValueError: if an argument is out of range, or the population is smaller than n.

    Example:
        >>> print(n_unseen([0.5, 0.5], 2), round(n_unseen([0.5, 0.5], 2, population=4), 6))
        0.5 0.333333
    """
    p, n = check_probabilities(probabilities), check_count("n_samples", n_samples)
    if population is None:
        return float(np.sum((1 - p) ** n))
    check_count("population", population, minimum=n)
    values, copies = np.unique(population_counts(p, population), return_counts=True)
    return float(copies @ hypergeom.pmf(0, population, values, n))


def n_extinct(probabilities: Numbers, n_samples: int, n_generations: int) -> FloatArray:
    """Approximate expected number of outcomes with probability 0 under Replace, any n.

    sum_i (1 - p_i g_t)^n: exact in generation 1, an upper bound in all, and sharp as long as the
    outcomes that are dying out are rare ones. Exact values for moderate n: column 0 of
    `wright_fisher.count_spectrum`.

    Args:
        probabilities: `[outcome]`, the truth; outcomes of probability 0 count as extinct.
        n_samples: draws n per generation.
        n_generations: number of generations T.

    Returns:
        `[generation]`.

    Raises:
        ValueError: if the probabilities or sizes are not valid.

    Source:
        Suresh et al., arXiv 2412.17646, with the sharper factor of `survival_bounds`.

    Example:
        >>> print(n_extinct([0.9, 0.05, 0.05], 20, 3).round(4))
        [0.717  1.0521 1.2449]
    """
    values, copies = np.unique(check_probabilities(probabilities), return_counts=True)
    n = check_count("n_samples", n_samples)
    survival = branching_survival(n_generations)
    return (1 - np.outer(survival, values)) ** n @ copies.astype(np.float64)
