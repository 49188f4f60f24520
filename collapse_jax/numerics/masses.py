"""Probabilities of counts, without cancellation in single precision, and their entropies."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_EACH = 512  # counts below are summed one by one
_NODES = 2048  # of the integral over those above
_LEAST = -100.0  # logarithm of a probability that adds nothing in float32


def poisson(k: Float[Array, "..."], rate: Float[Array, "..."]) -> Float[Array, "..."]:
    """Logarithm of a Poisson probability, without cancellation.

    Source:
        Loader, Fast and accurate computation of binomial probabilities, 2000.
    """
    some = jnp.maximum(k, 0.5)
    mass = -_deviance(k, rate) - _stirling(some) - 0.5 * jnp.log(2.0 * jnp.pi * some)
    return jnp.where(k > 0.0, mass, -rate)


def binomial(
    k: Float[Array, "..."], n: Float[Array, "..."], share: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Logarithm of a binomial probability, without cancellation; `n` need not be whole.

    Source:
        Loader, Fast and accurate computation of binomial probabilities, 2000.
    """
    return _successes(k, n - k, n, share, 1.0 - share)


def negative_binomial(
    k: Float[Array, "..."], size: Float[Array, "..."], mean: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Logarithm of a negative binomial probability, without cancellation.

    Source:
        Loader, Fast and accurate computation of binomial probabilities, 2000.
    """
    total, both = size + k, size + mean
    mass = _successes(k, size, total, mean / both, size / both) + jnp.log(size / total)
    return jnp.where(k > 0.0, mass, -size * jnp.log1p(mean / size))


def entropy(
    log_mass: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    mean: Float[Array, ""],
    variance: Float[Array, ""],
    decay: Float[Array, ""],
    largest: Float[Array, ""],
) -> Float[Array, ""]:
    """Entropy of a law of counts, in nats.

    Small counts are summed one by one, the others integrated on a logarithmic scale.

    Args:
        log_mass: logarithm of the probability of a count.
        mean: its mean.
        variance: its variance.
        decay: by what the logarithm of the probability falls per count, far above the mean.
        largest: the largest possible count.

    Example:
        >>> coin = lambda k: jnp.where(k < 2, jnp.log(0.5), -jnp.inf)
        >>> print(entropy(coin, *map(jnp.float32, (0.5, 0.25, 1.0, 1.0))).round(4))
        0.6931
    """
    reach = 12.0 * jnp.sqrt(variance)
    low = jnp.maximum(mean - reach, _EACH - 0.5)
    high = jnp.maximum(jnp.minimum(mean + reach + 30.0 / decay, largest + 0.5), low)
    step = jnp.log(high / low) / _NODES
    nodes = low * jnp.exp(step * (jnp.arange(_NODES) + 0.5))
    small = jnp.arange(_EACH, dtype=jnp.float32)
    k = jnp.concatenate([small, nodes])
    weight = jnp.concatenate([jnp.where(small <= largest, 1.0, 0.0), step * nodes])
    # Of what plays no part no number is infinite, whose slope times 0 would be none.
    log_p = log_mass(k)
    counts = (weight > 0.0) & (log_p > _LEAST)
    log_p = jnp.where(counts, log_p, 0.0)
    mass = jnp.where(counts, weight * jnp.exp(log_p), 0.0)
    return -jnp.sum(mass * log_p) / jnp.sum(mass)


def _successes(
    k: Float[Array, "..."],
    others: Float[Array, "..."],
    n: Float[Array, "..."],
    share: Float[Array, "..."],
    rest: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Binomial in terms that keep their digits where a share is near to 0 or 1."""
    deviance = _deviance(k, n * share) + _deviance(others, n * rest)
    inside = (k > 0.0) & (others > 0.0)
    a, b = jnp.where(inside, k, 1.0), jnp.where(inside, others, 1.0)
    total = jnp.where(inside, n, 2.0)
    middle = _stirling(total) - _stirling(a) - _stirling(b)
    middle = middle - 0.5 * jnp.log(2.0 * jnp.pi * a * (b / total))
    possible = (k >= 0.0) & (others >= 0.0)
    return jnp.where(possible, jnp.where(inside, middle, 0.0) - deviance, -jnp.inf)


def _deviance(k: Float[Array, "..."], mean: Float[Array, "..."]) -> Float[Array, "..."]:
    """`k log(k / mean) + mean - k`, of the order of the square of `k - mean`."""
    mean = jnp.maximum(mean, 1e-30)
    near = jnp.abs(k - mean) < 0.05 * mean
    t = jnp.where(near, (k - mean) / mean, 0.0)
    series = t * t * (0.5 - t * (1.0 / 6.0 - t * (1.0 / 12.0 - t * 0.05)))
    ratio = jnp.maximum(k, 1e-30) / mean
    direct = jnp.where(k > 0.0, k * jnp.log(ratio) + mean - k, mean)
    return jnp.where(near, mean * series, direct)


def _stirling(k: Float[Array, "..."]) -> Float[Array, "..."]:
    """What Stirling's formula for the logarithm of `k!` lacks."""
    k = jnp.maximum(k, 1e-6)
    square = 1.0 / (k * k)
    series = (1.0 / 12.0 - square * (1.0 / 360.0 - square / 1260.0)) / k
    direct = lax.lgamma(k + 1.0) - (k + 0.5) * jnp.log(k) + k - 0.5 * jnp.log(2.0 * jnp.pi)
    return jnp.where(k < 4.0, direct, series)
