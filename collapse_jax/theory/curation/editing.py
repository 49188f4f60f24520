"""Batches that are edited instead of made anew, and models beyond the newest one."""

from typing import Literal

import numpy as np

from collapse_jax.theory._checks import (
    FloatArray,
    Number,
    Numbers,
    check_choice,
    check_count,
    check_number,
    check_probabilities,
    check_sizes,
    check_temperature,
)

Mask = Literal["independent", "fixed"]


def edit_ratio(share: Numbers, n_generations: int, mask: Mask = "independent") -> FloatArray:
    """Error of a regression on edited labels, as a ratio to that of generation 1, for many rows.

    With independent masks a generation adds `f (2 - f)`: growth is linear, unless shares sum to
    something finite. With one mask for all generations it is
    `(1 - f) ((1 - f^t)/(1 - f))^2 + f (1 - f^(2t))/(1 - f^2)`, bounded by
    `1/(1 - f) + f/(1 - f^2)`. The bound of 2 that has been claimed for all masks holds for neither
    at `f = 1/2`.

    Args:
        share: probability f that a label is made anew: a number or, with independent masks,
            `[generation]`, entry t - 1 being for the batch that model t edits.
        n_generations: number of generations T.
        mask: `"independent"` or `"fixed"`.

    Returns:
        `[generation]`.

    Raises:
        ValueError: if a share is outside 0 to 1, or varies with a fixed mask.

    Source:
        Zhu et al., arXiv 2412.14689, section 4 (the loop); derived here.

    Example:
        >>> print(edit_ratio(0.5, 4), edit_ratio(1.0, 4, "fixed"))
        [1.   1.75 2.5  3.25] [1. 2. 3. 4.]
    """
    length = check_count("n_generations", n_generations)
    f = _shares(share, length)
    if check_choice("mask", mask, ("independent", "fixed")) == "independent":
        return 1 + np.concatenate([[0.0], np.cumsum(f * (2 - f))[:-1]])
    if np.any(f != f[0]):
        raise ValueError(f"share must be one number with a fixed mask, got {share!r}")
    powers = f[0] ** np.arange(length)
    return (1 - f[0]) * np.cumsum(powers) ** 2 + f[0] * np.cumsum(powers**2)


def edit_collision(
    probabilities: Numbers, n_samples: int, share: Numbers, n_generations: int
) -> FloatArray:
    """E sum_i p_{t,i}^2 of a categorical model whose draws are edited, with independent masks.

    Exact: `1 - sum p^2` falls by `1 - f (2 - f) / n` with each edit, by `1 - 1 / n` with f = 1, as
    under Replace. Also of the tokens of a text that are independent of each other.

    Args:
        probabilities: `[outcome]`, the truth.
        n_samples: draws n.
        share: probability f that a draw is made anew, a number or `[generation]`.
        n_generations: number of generations T.

    Returns:
        `[generation]`.

    Raises:
        ValueError: if a share is outside 0 to 1, or the probabilities are none.

    Source:
        Derived here: a draw that is made anew is independent of the old one given all draws.

    Example:
        >>> print(edit_collision([0.5, 0.5], 10, 1.0, 3), edit_collision([0.5, 0.5], 10, 0.0, 3))
        [0.55   0.595  0.6355] [0.55 0.55 0.55]
    """
    p, n = check_probabilities(probabilities), check_count("n_samples", n_samples)
    f = _shares(share, check_count("n_generations", n_generations))
    kept = np.concatenate([[1 - 1 / n], 1 - f[:-1] * (2 - f[:-1]) / n])
    return 1 - (1 - p @ p) * np.cumprod(kept)


def edit_error(
    design: Numbers,
    share: Numbers,
    n_generations: int,
    mask: Mask = "independent",
    *,
    noise: Number = 1.0,
    seed: int = 0,
) -> FloatArray:
    """Expected squared error of the coefficients on edited labels of a given design, exactly.

    Args:
        design: X `[rows, columns]`, of full column rank.
        share: probability that a label is made anew, a number or `[generation]`.
        n_generations: number of generations T.
        mask: `"independent"` for an expectation over all masks, `"fixed"` for one that is drawn
            here.
        noise: variance of the labels.
        seed: of the mask that is drawn.

    Returns:
        `[generation]`.

    Raises:
        ValueError: if a share is outside 0 to 1.

    Source:
        Second moments of `R[t+1] = M (H R[t] + E) + (1 - M) R[t]`, with `H = X X^+`; derived here
        for the loop of arXiv 2412.14689.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(30, 2))
        >>> print((edit_error(x, 1.0, 3) / edit_error(x, 1.0, 1)).round(12))  # Replace
        [1. 2. 3.]
    """
    x = np.asarray(design, np.float64)
    n, pinv = len(x), np.linalg.pinv(x)
    length = check_count("n_generations", n_generations)
    f, rest = _shares(share, length), np.eye(n) - x @ pinv
    uniform = np.random.default_rng(seed).uniform(size=n)
    variance, errors = check_number("noise", noise), []
    moments = variance * np.eye(n)  # of the labels' deviations from the truth
    for t in range(length):
        errors.append(float(np.trace(pinv @ moments @ pinv.T)))
        if mask == "fixed":
            m = (uniform < f[t]).astype(np.float64)
            step = np.eye(n) - m[:, None] * rest
            moments = step @ moments @ step.T + variance * np.diag(m)
            continue
        moved = rest @ moments @ rest
        half = f[t] * rest @ moments
        both = f[t] ** 2 * moved + f[t] * (1 - f[t]) * np.diag(np.diag(moved))
        moments = moments - half - half.T + both + f[t] * variance * np.eye(n)
    return np.array(errors)


def unbiased_weight(n: int, temperature: Number) -> float:
    """The weight with which an extrapolated Gaussian has the right covariance, on average.

    Model 1 is fitted to n real rows, model 2 to very many rows of it at another temperature c; then
    it is `1 / ((n - 1) (1 - c))`, which is negative for temperatures above 1.

    Args:
        n: number of real rows, 2 or more.
        temperature: c, positive and not 1.

    Raises:
        ValueError: for arguments outside their range.

    Source:
        After Neon, arXiv 2510.03597; derived here.

    Example:
        >>> round(unbiased_weight(11, 0.8), 12), round(unbiased_weight(11, 1.2), 12)
        (0.5, -0.5)
    """
    rows, c = check_count("n", n, 2), check_number("temperature", temperature, strict=True)
    if c == 1:
        raise ValueError("temperature must not be 1, where no weight is right")
    return 1 / ((rows - 1) * (1 - c))


def extrapolated_covariance(
    sizes: Numbers,
    weight: Numbers,
    n_generations: int,
    *,
    temperature: Numbers = 1.0,
) -> FloatArray:
    """Expected covariance of Gaussian models, fitted by maximum likelihood, under Replace.

    Batch t comes from the covariance `(1 + w) S[t - 1] - w S[t]`. Exact as long as this is never
    negative.

    Args:
        sizes: rows of each fit, a number or `[generation]`.
        weight: w, a number or `[generation]`, entry t - 1 being for the batch of model t.
        n_generations: number of generations T.
        temperature: with which model t is sampled, a number or `[generation]`.

    Returns:
        Multiples of the true covariance, `[generation]`.

    Raises:
        ValueError: for arguments of another shape or outside their range.

    Source:
        After Neon, arXiv 2510.03597; derived here.

    Example:
        >>> w = unbiased_weight(10, 0.5)
        >>> sizes, cold = [10, 10**9, 10**9], [0.5, 1, 1]
        >>> print(extrapolated_covariance(sizes, w, 3, temperature=cold).round(6))
        [0.9  0.45 1.  ]
    """
    length = check_count("n_generations", n_generations)
    n, w = check_sizes("sizes", sizes, length), np.broadcast_to(np.asarray(weight, float), length)
    before = check_temperature(temperature, length)
    found: list[float] = [1 - 1 / n[0]]
    for t in range(1, length):
        older = found[t - 2] if t > 1 else found[0]
        source = (1 + w[t - 1]) * older - w[t - 1] * found[t - 1]
        found.append(float((1 - 1 / n[t]) * before[t] * source))
    return np.array(found)


def _shares(share: Numbers, length: int) -> FloatArray:
    f = np.asarray(share, np.float64)
    if f.shape not in ((), (length,)) or not np.all((f >= 0) & (f <= 1)):
        raise ValueError(f"share must be from 0 to 1, of shape () or ({length},), got {share!r}")
    return np.broadcast_to(f, (length,))
