"""The categorical chain under Replace, exactly.

Each outcome's count is on its own a Markov chain, binomial with success probability count/n, and
all outcomes share its transition matrix. So the expected number of outcomes with each count
follows from one matrix of (n + 1)^2 numbers, however many outcomes there are, and with it the exact
mean of every statistic that is a sum over outcomes: extinct outcomes, entropy, collision, the
chance that one outcome has taken all. In population genetics this is the Wright-Fisher model
without mutation. Cost: n^2 per generation and n^2 memory (n = 2000: 32 MB).
"""

import numpy as np
import numpy.typing as npt
from scipy.special import entr
from scipy.stats import binom, hypergeom

from collapse_jax.theory._checks import (
    FloatArray,
    Numbers,
    check_count,
    check_probabilities,
    population_counts,
)

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
    return counts @ entr(np.linspace(0, 1, counts.shape[1]))


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


def _transition(n: int) -> FloatArray:
    counts = np.arange(n + 1)
    return np.asarray(binom.pmf(counts, n, counts[:, None] / n))


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
            law = binom.pmf(counts, n, values[part, None])
        else:
            law = hypergeom.pmf(counts, population, rows[part, None], n)
        total += copies[part] @ np.asarray(law)
    return total
