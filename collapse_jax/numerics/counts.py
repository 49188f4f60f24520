"""Random sums, at a cost that does not depend on how much is added: counts and gamma variables.

A count is drawn by inverting its distribution function where its mean is small, by rejection where
it is moderate, and by a normal draw corrected for skewness and kurtosis where it is large. The last
is off by about 1e-6 in distribution; counts beyond 2**24, which float32 does not resolve, are kept
as their distance from the mean.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.numerics.draws import log_chi_square, normal, to_normals, to_uniform
from collapse_jax.numerics.needed import until_accepted, where_needed
from collapse_jax.numerics.threefry import fold_in, pairs, words

_INVERTED = 12.0  # means below are inverted
_EPS = 2.0**-24
_TERMS = 48  # a count of mean 12 exceeds that with probability 4e-15
_EXPANDED = 4096.0  # means from here on are expanded around the normal law
_WHOLE = 2.0**24  # whole numbers below are exact in float32
_STEPS = 4
_PROPOSALS = 2


class Count(NamedTuple):
    """A count that is drawn, and its distance from its mean, which keeps more digits if large."""

    number: Float[Array, " m"]
    excess: Float[Array, " m"]

    def log_relative(self, mean: Float[Array, " m"]) -> Float[Array, " m"]:
        """Logarithm of the count relative to its mean; -inf for a count of zero."""
        safe = jnp.where(mean > 0.0, mean, 1.0)
        none = self.number == 0.0
        far = jnp.where(none, -jnp.inf, jnp.log(jnp.where(none, 1.0, self.number) / safe))
        near = jnp.log1p(jnp.maximum(self.excess / safe, -0.75))
        return jnp.where(self.number < 0.5 * mean, far, jnp.where(mean > 0.0, near, -jnp.inf))


class _Law(NamedTuple):
    """A law of counts: what the three ways of drawing need to know of it."""

    mean: Float[Array, " m"]
    variance: Float[Array, " m"]
    skewness: Float[Array, " m"]
    kurtosis: Float[Array, " m"]
    """Excess over the normal law's."""
    largest: Float[Array, " m"]
    log_none: Float[Array, " m"]
    """Logarithm of the probability of zero."""
    slope: Float[Array, " m"]
    """The probability of k is that of k - 1 times `slope + offset / k`."""
    offset: Float[Array, " m"]
    log_mass: Callable[..., Float[Array, "..."]]
    """Logarithm of the probability of a count, which comes first, up to a constant, for means that
    are moderate. A function of these and nothing else:"""
    parameters: tuple[Float[Array, " m"], ...]


def poisson(key: Key[Array, ""], rate: Float[Array, " m"]) -> Count:
    """Poisson draws.

    Args:
        key: the key of the draws.
        rate: their means, zero allowed. `[m]`

    Source:
        Hormann, J. Stat. Comput. Simul. 46:101, 1993 (BTRS, whose limit for many trials this is).

    Example:
        >>> import jax
        >>> poisson(jax.random.key(0), jnp.array([0.0])).number.item()
        0.0
    """
    mean, rate = rate, lax.stop_gradient(rate)
    zero, root = jnp.zeros_like(rate), jnp.sqrt(jnp.maximum(rate, 1e-30))

    infinite = jnp.full_like(rate, jnp.inf)
    moments = (rate, rate, 1.0 / root, 1.0 / root**2)
    law = _Law(*moments, infinite, -rate, zero, rate, _log_mass_poisson, (rate,))
    return _draw(key, law, mean)


def _log_mass_poisson(k, rate):
    return (k - rate) - _log_factorial(k, rate)


def binomial(key: Key[Array, ""], n: Float[Array, " m"], share: Float[Array, " m"]) -> Count:
    """Binomial draws.

    Args:
        key: the key of the draws.
        n: numbers of trials, whole numbers as floats, zero allowed. `[m]`
        share: probabilities of success, at most 1/2. `[m]`

    Source:
        Hormann, J. Stat. Comput. Simul. 46:101, 1993 (BTRS).

    Example:
        >>> import jax
        >>> binomial(jax.random.key(0), jnp.array([5.0]), jnp.array([0.0])).number.item()
        0.0
    """
    known, (n, share) = n * share, lax.stop_gradient((n, share))
    mean, rest, odds = n * share, 1.0 - share, share / (1.0 - share)
    safe = jnp.maximum(mean * rest, 1e-30)

    law = _Law(
        mean,
        mean * rest,
        skewness=(rest - share) / jnp.sqrt(safe),
        kurtosis=(1.0 - 6.0 * share * rest) / safe,
        largest=n,
        log_none=n * jnp.log1p(-share),
        slope=-odds,
        offset=(n + 1.0) * odds,
        log_mass=_log_mass_binomial,
        parameters=(n, mean, n * rest),
    )
    return _draw(key, law, known)


def _log_mass_binomial(k, n, mean, mean_of_rest):
    return -_log_factorial(k, mean) - _log_factorial(n - k, mean_of_rest, mean - k)


def log_gamma(key: Key[Array, ""], shape: Float[Array, " m"]) -> Float[Array, " m"]:
    """Logarithms of gamma draws of mean 1.

    Args:
        key: the key of the draws.
        shape: their shapes; 0 gives `-inf`. `[m]`

    Source:
        Marsaglia & Tsang, ACM TOMS 26:363, 2000; shapes below 1 by its section 6.

    Example:
        >>> import jax
        >>> log_gamma(jax.random.key(0), jnp.array([0.0])).item()
        -inf
    """
    below, many = shape < 1.0, shape >= _EXPANDED
    safe = jnp.maximum(shape, 1e-6)
    log_square, _ = log_chi_square(key, 2.0 * jnp.where(below, safe + 1.0, safe))
    exact = log_square - jnp.log(2.0 * safe)

    def boosted(logs):
        uniform = to_uniform(words(fold_in(key, 1), shape.shape))
        return logs + jnp.where(below, jnp.log(uniform) / safe, 0.0)

    def expanded(logs):
        root = jnp.sqrt(safe)
        shift = _expansion(normal(fold_in(key, 2), shape.shape), 2.0 / root, 6.0 / safe)
        return jnp.where(many, jnp.log1p(jnp.maximum(shift / root, -0.75)), logs)

    # Mostly all chains have the same shapes, and these are neither small nor large.
    found = lax.cond(jnp.any(below), boosted, lambda logs: logs, exact)
    found = lax.cond(jnp.any(many), expanded, lambda logs: logs, found)
    return jnp.where(shape <= 0.0, -jnp.inf, found)


def _expansion(
    z: Float[Array, " m"], skewness: Float[Array, " m"], kurtosis: Float[Array, " m"]
) -> Float[Array, " m"]:
    """Cornish and Fisher's: a standardised draw of these cumulants from a standard normal one."""
    square = z * z
    return z + (
        skewness * (square - 1.0) / 6.0
        + kurtosis * z * (square - 3.0) / 24.0
        - skewness**2 * z * (2.0 * square - 5.0) / 36.0
    )


def _log_factorial(
    k: Float[Array, "..."], unit: Float[Array, " m"], beyond: Float[Array, "..."] | None = None
) -> Float[Array, "..."]:
    """`log(k! / unit**k)`, up to `k` and a constant, by Stirling's formula.

    `beyond` is `k - unit`, where that is known with more digits.
    """
    beyond = k - unit if beyond is None else beyond
    inverse = 1.0 / (k + 1.0)
    lacking = inverse * (1.0 / 12.0 - inverse * inverse / 360.0)
    return (k + 0.5) * jnp.log1p((beyond + 1.0) / unit) + lacking


def _draw(key: Key[Array, ""], law: _Law, mean: Float[Array, " m"]) -> Count:
    """A draw of each law, by the way that suits its mean.

    Counts have no slope: only the `mean` that they are compared with may be differentiated.
    """
    drawn = pairs(key, law.mean.shape[0])
    few, many = law.mean < _INVERTED, law.mean >= _EXPANDED
    small = _inverted(law, to_uniform(drawn[0]), few)
    moderate = (law.mean >= _INVERTED) & ~many  # not a mean that is no number
    number = jnp.where(few, small, _rejected(key, law, ~moderate))
    moments = law.variance, law.skewness, law.kurtosis
    shift = where_needed(many, _shift, jnp.zeros_like(law.mean), drawn, *moments)
    rounded = jnp.clip(jnp.round(law.mean + shift), 0.0, law.largest)
    number = jnp.where(many, rounded, number)
    return Count(number, jnp.where(law.mean < _WHOLE, number - mean, shift))


def _shift(drawn, variance, skewness, kurtosis):
    """Distance of a large count from its mean."""
    # A count is the nearest whole number to a continuous variable; Sheppard's 1/12 is its variance.
    deviation = jnp.sqrt(jnp.maximum(variance - 1.0 / 12.0, 0.0))
    return deviation * _expansion(to_normals(drawn)[: len(variance)], skewness, kurtosis)


def _inverted(
    law: _Law, uniform: Float[Array, " m"], wanted: Bool[Array, " m"]
) -> Float[Array, " m"]:
    """How many steps of the distribution function a uniform draw is above."""
    uniform = jnp.where(wanted, uniform, 0.0)

    def higher(mass, below):
        # A sum of float32 stops growing somewhere below 1, and perhaps below the draw.
        return (uniform > below) & (mass > _EPS * below)

    def climb(state):
        k, number, mass, below = state
        for _ in range(_STEPS):
            number = jnp.where(higher(mass, below), k, number)
            mass = mass * jnp.maximum(law.slope + law.offset / k, 0.0)
            below, k = below + mass, k + 1.0
        return k, number, mass, below

    def above(state):
        k, _, mass, below = state
        return jnp.any(higher(mass, below)) & (k <= _TERMS)

    mass = jnp.exp(law.log_none)
    start = (jnp.ones(()), jnp.zeros_like(uniform), mass, mass)
    return jnp.minimum(lax.while_loop(above, climb, start)[1], law.largest)


class _Hat(NamedTuple):
    """What proposals are made from, and how they are judged. Each `[m]`."""

    a: Float[Array, " m"]
    b: Float[Array, " m"]
    height: Float[Array, " m"]
    log_most: Float[Array, " m"]
    mean: Float[Array, " m"]
    largest: Float[Array, " m"]
    parameters: tuple[Float[Array, " m"], ...]


def _rejected(key: Key[Array, ""], law: _Law, done: Bool[Array, " m"]) -> Float[Array, " m"]:
    """Draws by transformed rejection, a few proposals at a time, where they are not done."""
    deviation = jnp.sqrt(jnp.where(done, 1.0, law.variance))
    b = 1.15 + 2.53 * deviation
    share = 1.0 - law.variance / jnp.maximum(law.mean, 1e-30)
    a = -0.0873 + 0.0248 * b + 0.01 * share
    height = (2.83 + 5.1 / b) * deviation
    log_most = law.log_mass(jnp.floor(law.mean + share), *law.parameters)
    hat = _Hat(a, b, height, log_most, law.mean, law.largest, law.parameters)
    attempt = partial(_attempt, law.log_mass)
    return until_accepted(attempt, key, hat, law.mean, done)


def _attempt(
    log_mass: Callable[..., Float[Array, "..."]], key: Key[Array, ""], hat: _Hat
) -> tuple[Float[Array, " m"], Bool[Array, " m"]]:
    """The first of some proposals that is accepted, and whether there is one."""
    m = hat.mean.shape[0]
    u, v = (to_uniform(word).reshape(_PROPOSALS, m) for word in pairs(key, _PROPOSALS * m))
    room = 0.5 - jnp.abs(u - 0.5)
    k = jnp.floor((2.0 * hat.a / room + hat.b) * (u - 0.5) + hat.mean + 0.5)
    log_v = jnp.log(v * hat.height / (hat.a / (room * room) + hat.b)) + hat.log_most
    below = log_v <= log_mass(jnp.maximum(k, 0.0), *hat.parameters)
    accepted = (k >= 0.0) & (k <= hat.largest) & below
    number = k[-1]
    for i in reversed(range(_PROPOSALS - 1)):
        number = jnp.where(accepted[i], k[i], number)
    return number, jnp.any(accepted, axis=0)
