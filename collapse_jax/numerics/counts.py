"""Random sums, at a cost that does not depend on how much is added: counts and gamma variables.

A count is drawn by inverting its distribution function where its mean is small, by rejection where
it is moderate, and by a normal draw corrected for skewness and kurtosis where it is large. The last
is off by about 1e-6 in distribution; counts beyond 2**24, which float32 does not resolve, are kept
as their distance from the mean.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.numerics import masses
from collapse_jax.numerics.draws import log_chi_square, to_normals, to_uniform, words

_INVERTED = 12.0  # means below are inverted
_TERMS = 48  # a count of mean 12 exceeds that with probability 4e-15
_EXPANDED = 4096.0  # means from here on are expanded around the normal law
_WHOLE = 2.0**24  # whole numbers below are exact in float32
_PROPOSALS = 2


class Count(NamedTuple):
    """A count that is drawn, and its distance from its mean, which keeps more digits if large."""

    number: Float[Array, " m"]
    excess: Float[Array, " m"]

    def log_relative(self, mean: Float[Array, " m"]) -> Float[Array, " m"]:
        """Logarithm of the count relative to its mean; -inf for a count of zero."""
        safe = jnp.where(mean > 0.0, mean, 1.0)
        far = jnp.log(self.number / safe)
        near = jnp.log1p(jnp.maximum(self.excess / safe, -0.75))
        return jnp.where(self.number < 0.5 * mean, far, jnp.where(mean > 0.0, near, -jnp.inf))


class _Law(NamedTuple):
    """A law of counts: what the three ways of drawing need to know of it."""

    mean: Float[Array, " m"]
    variance: Float[Array, " m"]
    skewness: Float[Array, " m"]
    kurtosis: Float[Array, " m"]
    """Excess over the normal law's."""
    share: Float[Array, " m"]
    """Probability of success of a single trial; 0 for Poisson laws."""
    largest: Float[Array, " m"]
    log_none: Float[Array, " m"]
    """Logarithm of the probability of zero."""
    slope: Float[Array, " m"]
    """The probability of k is that of k - 1 times `slope + offset / k`."""
    offset: Float[Array, " m"]


def poisson(key: Key[Array, ""], rate: Float[Array, " m"]) -> Count:
    """Poisson draws.

    Args:
        key: the key of the draws.
        rate: their means, zero allowed. `[m]`

    Source:
        Hormann, J. Stat. Comput. Simul. 46:101, 1993 (BTRS, whose limit for many trials this is).

    Example:
        >>> poisson(jax.random.key(0), jnp.array([0.0])).number.item()
        0.0
    """
    zero, root = jnp.zeros_like(rate), jnp.sqrt(jnp.maximum(rate, 1e-30))
    law = _Law(
        rate,
        rate,
        skewness=1.0 / root,
        kurtosis=1.0 / root**2,
        share=zero,
        largest=jnp.full_like(rate, jnp.inf),
        log_none=-rate,
        slope=zero,
        offset=rate,
    )
    return _draw(key, law, lambda k: masses.poisson(k, law.mean))


def binomial(key: Key[Array, ""], n: Float[Array, " m"], share: Float[Array, " m"]) -> Count:
    """Binomial draws.

    Args:
        key: the key of the draws.
        n: numbers of trials, whole numbers as floats, zero allowed. `[m]`
        share: probabilities of success, at most 1/2. `[m]`

    Source:
        Hormann, J. Stat. Comput. Simul. 46:101, 1993 (BTRS).

    Example:
        >>> binomial(jax.random.key(0), jnp.array([5.0]), jnp.array([0.0])).number.item()
        0.0
    """
    rest = 1.0 - share
    variance = n * share * rest
    safe = jnp.maximum(variance, 1e-30)
    odds = share / rest
    law = _Law(
        n * share,
        variance,
        skewness=(rest - share) / jnp.sqrt(safe),
        kurtosis=(1.0 - 6.0 * share * rest) / safe,
        share=share,
        largest=n,
        log_none=n * jnp.log1p(-share),
        slope=-odds,
        offset=(n + 1.0) * odds,
    )
    return _draw(key, law, lambda k: masses.binomial(k, n, share))


def log_gamma(key: Key[Array, ""], shape: Float[Array, " m"]) -> Float[Array, " m"]:
    """Logarithms of gamma draws of mean 1.

    Args:
        key: the key of the draws.
        shape: their shapes; 0 gives `-inf`. `[m]`

    Source:
        Marsaglia & Tsang, ACM TOMS 26:363, 2000; shapes below 1 by its section 6.

    Example:
        >>> log_gamma(jax.random.key(0), jnp.array([0.0])).item()
        -inf
    """
    below = shape < 1.0
    safe = jnp.maximum(shape, 1e-6)
    log_square, normal = log_chi_square(
        key, 2.0 * jnp.where(below, safe + 1.0, safe), normals=shape.shape[0]
    )
    uniform = to_uniform(words(jax.random.fold_in(key, 1), shape.shape))
    boost = jnp.where(below, jnp.log(uniform) / safe, 0.0)
    exact = log_square - jnp.log(2.0 * safe) + boost
    root = jnp.sqrt(safe)
    expanded = jnp.log1p(jnp.maximum(_expansion(normal, 2.0 / root, 6.0 / safe) / root, -0.75))
    found = jnp.where(shape < _EXPANDED, exact, expanded)
    return jnp.where(shape > 0.0, found, -jnp.inf)


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


def _draw(
    key: Key[Array, ""], law: _Law, log_mass: Callable[[Float[Array, "..."]], Float[Array, "..."]]
) -> Count:
    """A draw of each law, by the way that suits its mean."""
    m = law.mean.shape[0]
    drawn = words(key, (2, m))
    few = _inverted(law, to_uniform(drawn[0]))
    moderate = (law.mean >= _INVERTED) & (law.mean < _EXPANDED)
    number = jnp.where(moderate, _rejected(key, law, log_mass, ~moderate), few)
    many = law.mean >= _EXPANDED
    # A count is the nearest whole number to a continuous variable; Sheppard's 1/12 is its variance.
    deviation = jnp.sqrt(jnp.maximum(law.variance - 1.0 / 12.0, 0.0))
    shift = deviation * _expansion(to_normals(drawn)[:m], law.skewness, law.kurtosis)
    rounded = jnp.clip(jnp.round(law.mean + shift), 0.0, law.largest)
    number = jnp.where(many, rounded, number)
    return Count(number, jnp.where(law.mean < _WHOLE, number - law.mean, shift))


def _inverted(law: _Law, uniform: Float[Array, " m"]) -> Float[Array, " m"]:
    """How many steps of the distribution function a uniform draw is above."""
    mass = jnp.exp(law.log_none)
    below = mass
    number = jnp.zeros_like(uniform)
    for k in range(1, _TERMS + 1):
        number = number + (uniform > below)
        mass = mass * jnp.maximum(law.slope + law.offset / k, 0.0)
        below = below + mass
    return jnp.minimum(number, law.largest)


def _rejected(
    key: Key[Array, ""],
    law: _Law,
    log_mass: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    done: Bool[Array, " m"],
) -> Float[Array, " m"]:
    """Draws by transformed rejection, a few proposals at a time, where they are not done."""
    m = law.mean.shape[0]
    deviation = jnp.sqrt(law.variance)
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * law.share
    mode = jnp.minimum(jnp.floor(law.mean + law.share), law.largest)
    log_height = jnp.log((2.83 + 5.1 / b) * deviation) + log_mass(mode)

    def attempt(state):
        trial, number, done = state
        drawn = to_uniform(words(jax.random.fold_in(key, trial), (2, _PROPOSALS, m)))
        u = drawn[0] - 0.5
        room = 0.5 - jnp.abs(u)
        k = jnp.floor((2.0 * a / room + b) * u + law.mean + 0.5)
        log_v = jnp.log(drawn[1]) - jnp.log(a / (room * room) + b) + log_height
        accepted = (k >= 0.0) & (k <= law.largest) & (log_v <= log_mass(k))
        for i in range(_PROPOSALS):
            number = jnp.where(accepted[i] & ~done, k[i], number)
            done = done | accepted[i]
        return trial + 1, number, done

    start = (jnp.ones((), jnp.int32), jnp.zeros(m), done)
    return lax.while_loop(lambda state: ~jnp.all(state[2]), attempt, start)[1]
