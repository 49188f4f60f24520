"""The categorical chain under Replace, exactly.

Each outcome's count is on its own a Markov chain, binomial with success probability count/n, and
all outcomes share its transition matrix. So the expected number of outcomes with each count
follows from one matrix of (n + 1)^2 numbers, however many outcomes there are, and with it the exact
mean of every statistic that is a sum over outcomes: extinct outcomes, entropy, collision, the
chance that one outcome has taken all. In population genetics this is the Wright-Fisher model
without mutation. Cost: n^2 per generation and n^2 memory (n = 2000: 32 MB).

For any n there are closed forms: a rare outcome's count is close to a critical branching process
with Poisson offspring, and survives at least as well as that.
"""

import math

import numpy as np
import numpy.typing as npt
import scipy

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

_BLOCK = 2_000_000  # numbers held at once when the counts of generation 1 are tabulated


def count_spectrum(
    probabilities: Numbers,
    n_samples: int,
    n_generations: int,
    *,
    population: int | None = None,
) -> FloatArray:
    """Expected number of outcomes that have each count, per generation, under Replace.

    Row t times a vector f(0/n), ..., f(n/n) is the exact E sum_i f(p_{t,i}). In particular column 0
    is the expected number of extinct outcomes, and column n the probability of total collapse.

    Args:
        probabilities: `[outcome]`, the truth.
        n_samples: draws n per generation.
        n_generations: number of generations T.
        population: number P of rows if generation 1 is drawn without replacement from a data set
            with these frequencies; by default its draws are independent.

    Returns:
        `[generation, n + 1]`; each row sums to the number of outcomes.

    Raises:
        ValueError: if an argument is out of range, or the population is smaller than n.

    Source:
        The absorbing chain of Shumailov et al., arXiv 2305.17493, and Seddik et al.,
        arXiv 2404.05090; one outcome at a time it is derived here.

    Example:
        >>> spectrum = count_spectrum([0.5, 0.5], n_samples=2, n_generations=3)
        >>> print(spectrum.round(12))
        [[0.5   1.    0.5  ]
         [0.75  0.5   0.75 ]
         [0.875 0.25  0.875]]
    """
    n = check_count("n_samples", n_samples)
    check_count("n_generations", n_generations)
    spectrum = np.empty((n_generations, n + 1))
    spectrum[0] = _first_counts(check_probabilities(probabilities), n, population)
    if n_generations > 1:
        transition = _transition(n)
        for t in range(1, n_generations):
            spectrum[t] = spectrum[t - 1] @ transition
    return spectrum


def entropy(spectrum: Numbers) -> FloatArray:
    """Exact E of the entropy of each generation, in nats, from `count_spectrum`.

    Args:
        spectrum: `[generation, n + 1]`.

    Returns:
        `[generation]`.

    Example:
        >>> print(entropy(count_spectrum([0.5, 0.5], n_samples=2, n_generations=2)).round(6))
        [0.346574 0.173287]
    """
    counts = np.asarray(spectrum, dtype=np.float64)
    return counts @ scipy.special.entr(np.linspace(0, 1, counts.shape[1]))


def mean_collapse_time(probabilities: Numbers, n_samples: int) -> float:
    """Exact mean of the first generation whose model has a single outcome left, under Replace.

    Cost: a linear system of n - 1 unknowns.

    Args:
        probabilities: `[outcome]`, the truth.
        n_samples: draws n per generation.

    Raises:
        ValueError: if an argument is out of range.

    Source:
        Derived: the sum over t of the probability that generation t has not collapsed, which is
        E sum_i (p_{t,i} - 1{p_{t,i} = 1}), solved with the fundamental matrix of `count_spectrum`'s
        chain. Compare the approximation `categorical.collapse_time`.

    Example:
        >>> print(round(mean_collapse_time([0.5, 0.5], n_samples=2), 6))
        2.0
    """
    n = check_count("n_samples", n_samples)
    first = _first_counts(check_probabilities(probabilities), n, None)
    inner = slice(1, n)
    system = np.eye(n - 1) - _transition(n)[inner, inner]
    waiting = np.linalg.solve(system, np.arange(1, n) / n)
    return float(1 + first[inner] @ waiting)


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
    return float(copies @ scipy.stats.hypergeom.pmf(0, population, values, n))


def n_extinct(probabilities: Numbers, n_samples: int, n_generations: int) -> FloatArray:
    """Approximate expected number of outcomes with probability 0 under Replace, any n.

    sum_i (1 - p_i g_t)^n: exact in generation 1, an upper bound in all, and sharp as long as the
    outcomes that are dying out are rare ones. Exact values for moderate n: column 0 of
    `count_spectrum`.

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


def missing_mass(probabilities: Numbers, n_samples: int, n_generations: int) -> FloatArray:
    """Approximate true probability of all outcomes that have died out, under Replace.

    sum_i p_i (1 - p_i g_t)^n: exact in generation 1, an upper bound in all, and sharp where most of
    it is that of rare outcomes. If the outcome of rank i has a probability like i^-b, it grows like
    (n g_t)^-(1 - 1/b), about (t/n)^(1 - 1/b).

    Args:
        probabilities: `[outcome]`, the truth.
        n_samples: draws n per generation.
        n_generations: number of generations T.

    Returns:
        `[generation]`.

    Raises:
        ValueError: if the probabilities or sizes are not valid.

    Source:
        As `n_extinct`; the exponent is that of Hutter, arXiv 2102.04074, and of "A tale of tails",
        arXiv 2402.07043.

    Example:
        >>> print(missing_mass([0.9, 0.05, 0.05], 20, 3).round(4))
        [0.0358 0.0526 0.0623]
    """
    values, copies = np.unique(check_probabilities(probabilities), return_counts=True)
    n = check_count("n_samples", n_samples)
    survival = branching_survival(n_generations)
    return (1 - np.outer(survival, values)) ** n @ (copies * values)


def _transition(n: int) -> FloatArray:
    counts = np.arange(n + 1)
    return np.asarray(scipy.stats.binom.pmf(counts, n, counts[:, None] / n))


def _first_counts(probabilities: FloatArray, n: int, population: int | None) -> FloatArray:
    """Expected number of outcomes with each count in generation 1, `[n + 1]`."""
    counts = np.arange(n + 1)
    values, copies = np.unique(probabilities, return_counts=True)
    rows: npt.NDArray[np.int64] | None = None
    if population is not None:
        check_count("population", population, minimum=n)
        rows = population_counts(values, population)
    total = np.zeros(n + 1)
    step = max(1, _BLOCK // (n + 1))
    for start in range(0, len(values), step):
        part = slice(start, start + step)
        if rows is None:
            law = scipy.stats.binom.pmf(counts, n, values[part, None])
        else:
            law = scipy.stats.hypergeom.pmf(counts, population, rows[part, None], n)
        total += copies[part] @ np.asarray(law)
    return total
