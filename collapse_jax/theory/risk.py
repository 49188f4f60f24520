"""Risk ratios of the three workflows in the limit of large samples.

For every smooth parametric family and every asymptotically linear estimator, the error covariance
of generation t is c_t times that of a single fit on n real rows, and the number c_t depends on the
workflow alone. Any other workflow: `recursion.noise_variance`.
"""

import math
from typing import Final

import numpy as np

from collapse_jax.theory._checks import FloatArray, generations

ACCUMULATE_LIMIT: Final = math.pi**2 / 6
"""Limit of `accumulate_risk_ratio`."""
ACCUMULATE_SUBSAMPLE_LIMIT: Final = math.pi**2 / 2 - 2
"""Limit of `accumulate_subsample_risk_ratio`."""
ACCUMULATE_BOOTSTRAP_LIMIT: Final = math.pi**2 / 3
"""Limit of `accumulate_subsample_risk_ratio` with replacement."""


def replace_risk_ratio(n_generations: int) -> FloatArray:
    """Risk ratio t of Replace, `[generation]`.

    Raises:
        ValueError: if `n_generations` is below 1.

    Source:
        Dey & Donoho, arXiv 2410.22812 ("discard").

    Example:
        >>> print(replace_risk_ratio(3))
        [1. 2. 3.]
    """
    return generations(n_generations)


def accumulate_risk_ratio(n_generations: int) -> FloatArray:
    """Risk ratio 1 + 1/4 + ... + 1/t^2 of Accumulate, `[generation]`; tends to pi^2/6.

    Raises:
        ValueError: if `n_generations` is below 1.

    Source:
        Gerstgrasser et al., arXiv 2404.01413; Dey & Donoho, arXiv 2410.22812 ("augment").

    Example:
        >>> print(accumulate_risk_ratio(3).round(4))
        [1.     1.25   1.3611]
    """
    return np.cumsum(1 / generations(n_generations) ** 2)


def accumulate_subsample_risk_ratio(
    n_generations: int, *, with_replacement: bool = False
) -> FloatArray:
    """Risk ratio c_t of Accumulate-Subsample, `[generation]`; tends to pi^2/2 - 2 = 2.93...

    The pool's error grows by (2k - 1)/(k (k + 1)^2) per generation; drawing n of its t n rows adds
    1 - 1/t on top. In partial fractions this is 3 (1 + 1/4 + ... + 1/t^2) - 2. With replacement
    every draw costs one full unit more, as does the first one: twice the ratio of Accumulate.

    Args:
        n_generations: number of generations T.
        with_replacement: whether a row may be drawn more than once (then also in generation 1).

    Raises:
        ValueError: if `n_generations` is below 1.

    Source:
        Derived here as the limit of `gaussian.accumulate_subsample_moments`; the workflow is that
        of Kazdan et al., arXiv 2410.16713, sec. 3.

    Example:
        >>> print(accumulate_subsample_risk_ratio(5).round(4))
        [1.     1.75   2.0833 2.2708 2.3908]
    """
    if with_replacement:
        return 2 * accumulate_risk_ratio(n_generations)
    return 3 * accumulate_risk_ratio(n_generations) - 2
