"""The best of k candidates, one of which is taken with a probability proportional to exp(reward).

For finitely many outcomes the law of what is taken is an integral, exact for every k.
"""

import math
from collections.abc import Callable

import numpy as np

from collapse_jax.theory._checks import (
    FloatArray,
    Number,
    Numbers,
    check_count,
    check_number,
    check_probabilities,
    generations,
)

_STEP = 1 / 16  # of the trapezoidal rule, whose error is about exp(-pi^2 / _STEP)
_BEYOND = 45.0  # -log of what is cut off


def best_of(probabilities: Numbers, rewards: Numbers, k: Number) -> FloatArray:
    """Law of what is taken of k independent candidates.

    With `a = exp(reward)` and `phi(u) = sum_y p(y) exp(-u a(y))`, outcome x has the probability
    `p(x) k a(x) int_0^inf exp(-u a(x)) phi(u)^(k - 1) du`.

    Args:
        probabilities: of the candidates' outcomes. `[outcome]`
        rewards: `[outcome]`
        k: number of candidates, 1 or more; `math.inf` for the limit `p exp(r) / E exp(r)`.

    Returns:
        Probabilities `[outcome]`.

    Raises:
        ValueError: if k is below 1, or rewards are not finite or not one for each outcome.

    Source:
        Ferbach et al., arXiv 2407.09499, section 2; the integral is `1 / s = int exp(-u s) du`.

    Example:
        >>> print(best_of([0.5, 0.5], [0.0, np.log(3.0)], 2).round(6))
        [0.375 0.625]
    """
    p, r = check_probabilities(probabilities), _checked_rewards(rewards, probabilities)
    if k == math.inf:
        weights = p * np.exp(r - r.max())
        return weights / weights.sum()
    count = check_count("k", int(k) if k == int(k) else k)  # pyright: ignore
    possible = p > 0
    a = np.exp(r - r[possible].max())
    smallest = max(float(np.log(a[possible].min())), -700.0)
    v = np.arange(-math.log(count) - _BEYOND, math.log(750.0) - smallest, _STEP)
    decay = np.exp(-np.exp(v) * a[possible][:, None])
    mixed = (p[possible] @ decay) ** (count - 1)
    taken = np.zeros_like(p)
    integral = np.sum(decay * np.exp(v) * mixed, axis=1) * _STEP
    taken[possible] = p[possible] * count * a[possible] * integral
    return taken / taken.sum()


def selected(
    probabilities: Numbers,
    rewards: Numbers,
    k: Number,
    n_generations: int,
    *,
    share: Number = 1.0,
) -> FloatArray:
    """Laws of the models of a loop with many rows: best of k, mixed with rows of the truth.

    Args:
        probabilities: of the truth, which is model 1. `[outcome]`
        rewards: `[outcome]`, or `[generation, outcome]` where they drift; those of generation t
            choose among the rows of model t.
        k: number of candidates; `math.inf` for the limit.
        n_generations: number of generations T.
        share: share of chosen rows; the others come from the truth.

    Returns:
        `[generation, outcome]`.

    Raises:
        ValueError: for arguments outside their range.

    Source:
        arXiv 2407.09499, sections 2 and 3.

    Example:
        >>> print(selected([0.5, 0.5], [0.0, 1.0], np.inf, 3).round(4)[:, 1])
        [0.5    0.7311 0.8808]
    """
    p, mixed = check_probabilities(probabilities), check_number("share", share, 0.0, 1.0)
    laws = [p]
    for r in rewards_in_time(rewards, p, n_generations)[:-1]:
        laws.append((1 - mixed) * p + mixed * best_of(laws[-1], r, k))
    return np.stack(laws)


def fixed_point(probabilities: Numbers, rewards: Numbers, share: Number) -> FloatArray:
    """What `selected` with `k = inf` goes to: `(1 - share) p Z / (Z - share exp(r))`.

    Z is `E exp(r)` there, the root above `share * max exp(r)` of
    `sum (1 - share) p exp(r) / (Z - share exp(r)) = 1`. With `share = 1` all probability is on the
    outcomes of the highest reward.

    Args:
        probabilities: of the truth. `[outcome]`
        rewards: `[outcome]`
        share: share of chosen rows, from 0 to 1.

    Returns:
        Probabilities `[outcome]`.

    Raises:
        ValueError: if the share is outside its range.

    Source:
        After arXiv 2407.09499, section 3.

    Example:
        >>> print(fixed_point([0.5, 0.5], [0.0, np.log(2.0)], 0.5).round(4))
        [0.3596 0.6404]
    """
    from scipy.optimize import brentq

    p, r = check_probabilities(probabilities), _checked_rewards(rewards, probabilities)
    eta = check_number("share", share, 0.0, 1.0)
    a = np.exp(r - r[p > 0].max())
    if eta == 1.0:
        best = np.where((a == 1.0) & (p > 0), p, 0.0)
        return best / best.sum()

    def excess(z: float) -> float:
        return float(np.sum((1 - eta) * p * a / (z - eta * a)) - 1)

    low = eta + (1 - eta) * float(p[a == 1.0].sum()) * (1 - 1e-12)  # where the best alone make 1
    z = brentq(excess, low, 1.0 + 1e-12, xtol=1e-15) if low < 1.0 else 1.0
    z = np.asarray(z, np.float64)
    return (1 - eta) * p * z / (z - eta * a)


def reward_bound(probabilities: Numbers, rewards: Numbers, k: int) -> float:
    """A lower bound of E exp(reward) of what is taken, which is above that of the candidates.

    `E exp(r) + (k - 1)/k Var exp(r) / max exp(r)`.

    Args:
        probabilities: of the candidates' outcomes. `[outcome]`
        rewards: `[outcome]`
        k: number of candidates.

    Source:
        arXiv 2407.09499, lemma 2.2.

    Example:
        >>> p, r = [0.5, 0.5], [0.0, 1.0]
        >>> bool(best_of(p, r, 4) @ np.exp(r) >= reward_bound(p, r, 4) > p @ np.exp(r))
        True
    """
    p, r = check_probabilities(probabilities), _checked_rewards(rewards, probabilities)
    count, a = check_count("k", k), np.exp(r)
    mean = float(p @ a)
    return mean + (count - 1) / count * float(p @ (a - mean) ** 2) / float(a[p > 0].max())


def best_of_two_outcomes(
    probabilities: Numbers,
    rewards: Numbers,
    k: int,
    n: int,
    n_generations: int,
) -> FloatArray:
    """Exact law of the counts of the second of two outcomes under Replace with n rows.

    Given the model, rows that are taken are independent, so that counts are binomial.

    Args:
        probabilities: of the truth. `[2]`
        rewards: `[2]`, or `[generation, 2]` as for `selected`.
        k: number of candidates.
        n: rows of each generation.
        n_generations: number of generations T.

    Returns:
        `[generation, count]`, the count being from 0 to n.

    Raises:
        ValueError: if there are not two outcomes.

    Example:
        >>> law = best_of_two_outcomes([0.5, 0.5], [0.0, 0.0], 3, 4, 2)
        >>> print((law @ np.arange(5)).round(12))  # without a reward no drift
        [2. 2.]
    """
    from scipy.stats import binom

    p = check_probabilities(probabilities)
    if len(p) != 2:
        raise ValueError(f"probabilities must be of two outcomes, got {len(p)}")
    rows = check_count("n", n)
    counts = np.arange(rows + 1)
    in_time = rewards_in_time(rewards, p, n_generations)
    distinct, which = np.unique(in_time, axis=0, return_inverse=True)
    steps = [
        binom.pmf(
            counts[None, :],
            rows,
            np.clip([best_of([1 - x, x], r, k)[1] for x in counts / rows], 0.0, 1.0)[:, None],
        )
        for r in distinct
    ]
    laws = [binom.pmf(counts, rows, p[1])]
    for i in np.ravel(which)[:-1]:
        laws.append(laws[-1] @ steps[i])
    return np.stack(laws)


def mean_over(law: FloatArray, value: Callable[[float], float]) -> FloatArray:
    """Mean of a function of the second outcome's share, `[generation]`.

    Args:
        law: of its counts `[generation, count]`.
        value: the function.

    Example:
        >>> print(mean_over(np.array([[0.25, 0.5, 0.25]]), lambda x: x * x))
        [0.375]
    """
    shares = np.linspace(0.0, 1.0, law.shape[1])
    return law @ np.array([value(float(x)) for x in shares])


def rewards_in_time(rewards: Numbers, probabilities: FloatArray, n_generations: int) -> FloatArray:
    """Rewards of each generation, `[generation, outcome]`, from those or from lasting ones.

    Raises:
        ValueError: if they are of another shape, or not finite.

    Example:
        >>> print(rewards_in_time([0.0, 1.0], np.array([0.5, 0.5]), 2))
        [[0. 1.]
         [0. 1.]]
    """
    r, t = np.asarray(rewards, np.float64), len(generations(n_generations))
    shapes = (len(probabilities),), (t, len(probabilities))
    if r.shape not in shapes or not np.all(np.isfinite(r)):
        raise ValueError(
            f"rewards must be finite and of shape {shapes[0]} or {shapes[1]}, got {rewards!r}"
        )
    return np.broadcast_to(r, shapes[1])


def _checked_rewards(rewards: Numbers, probabilities: Numbers) -> FloatArray:
    r, shape = np.asarray(rewards, np.float64), np.shape(probabilities)
    if r.shape != shape or not np.all(np.isfinite(r)):
        raise ValueError(f"rewards must be finite and of shape {shape}, got {rewards!r}")
    return r
