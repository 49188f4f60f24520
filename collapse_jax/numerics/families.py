"""Exponential families of one parameter, by their means relative to a reference.

Means are held as logarithms of their ratio to the mean of a reference law, so that they can shrink
without end, and lie near to the reference without loss of digits.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.numerics import counts, masses
from collapse_jax.numerics.threefry import fold_in

Kind = Literal["poisson", "gamma", "binomial", "negative_binomial"]


@dataclass(frozen=True)
class Family:
    """A family and its reference. Logarithms of means are of one number, or of two if bounded.

    Example:
        >>> bernoulli = Family("binomial", 1, 0.5)
        >>> print(bernoulli.divergence(jnp.zeros(2), 0.5))
        -0.0
    """

    kind: Kind
    copies: Any
    """Shape, or size: how many rows of the simplest law of the kind one row is the sum of."""
    mean: Any
    """Mean of the reference."""

    @property
    def bounded(self) -> bool:
        """Whether rows cannot exceed `copies`; then `copies` minus the mean is held as well."""
        return self.kind == "binomial"

    @property
    def rest(self) -> Any:
        """Distance of the reference from the largest value."""
        return self.copies - self.mean

    @property
    def reference(self) -> Float[Array, " k"]:
        """The reference as a mean."""
        return jnp.zeros(2 if self.bounded else 1)

    @property
    def ends(self) -> Float[Array, " k"]:
        """The largest means, as ratios to the reference; infinite where there is no end."""
        if not self.bounded:
            return jnp.full(1, jnp.inf)
        return jnp.stack(
            [jnp.asarray(self.copies / x, jnp.float32) for x in (self.mean, self.rest)]
        )

    def draw(
        self, key: Key[Array, ""], logs: Float[Array, " k"], n: Float[Array, " m"]
    ) -> tuple[Float[Array, " m"], Float[Array, "k m"]]:
        """Sums of rows, drawn from their own law.

        Args:
            key: the key of the draws.
            logs: the mean of the rows. `[k]`
            n: how many rows each is the sum of, whole numbers or zero. `[m]`

        Returns:
            the sums `[m]`, of a gamma law the logarithms of the relative means in their place;
            and these relative means as logarithms, -inf for 0 rows. `[k, m]`
        """
        if self.kind == "gamma":
            drawn = logs + counts.log_gamma(key, n * self.copies)
            return drawn, drawn[None]
        if self.kind == "binomial":
            return self._draw_binomial(key, logs, n * self.copies)
        rate, spread = n * self.mean * jnp.exp(logs[0]), jnp.zeros_like(n)
        if self.kind == "negative_binomial":  # Poisson of a gamma variable
            spread = counts.log_gamma(fold_in(key, 1), n * self.copies)
            rate = rate * jnp.exp(jnp.where(n > 0.0, spread, 0.0))
        count = counts.poisson(key, rate)
        return count.number, (logs[0] + spread + count.log_relative(rate))[None]

    def _draw_binomial(
        self, key: Key[Array, ""], logs: Float[Array, "2"], trials: Float[Array, " m"]
    ) -> tuple[Float[Array, " m"], Float[Array, "2 m"]]:
        # The rarer outcome is drawn: its probability keeps its digits, however small.
        both = jnp.exp(logs) * jnp.stack([jnp.asarray(self.mean), jnp.asarray(self.rest)])
        swapped = both[0] > both[1]
        share = jnp.minimum(jnp.min(both) / jnp.sum(both), 0.5)
        rarer = counts.binomial(key, trials, jnp.broadcast_to(share, trials.shape))
        other = counts.Count(trials - rarer.number, -rarer.excess)
        relative = jnp.stack(
            [rarer.log_relative(trials * share), other.log_relative(trials * (1.0 - share))]
        )
        relative = jnp.where(swapped, relative[::-1], relative)
        number = jnp.where(swapped, other.number, rarer.number)
        return number, logs[:, None] + relative

    def summarise(self, rows: Float[Array, " n"], valid: Bool[Array, " n"]) -> Float[Array, " k"]:
        """Mean of rows, in the form in which `draw` returns those of a single row."""
        count = jnp.maximum(jnp.sum(valid, dtype=jnp.float32), 1.0)
        if self.kind == "gamma":
            most = jnp.max(jnp.where(valid, rows, -jnp.inf), initial=-jnp.inf)
            most = jnp.where(jnp.isneginf(most), 0.0, most)
            total = jnp.sum(jnp.where(valid, jnp.exp(rows - most), 0.0))
            return (most + jnp.log(total / count))[None]
        sums = [jnp.sum(jnp.where(valid, rows, 0.0)) / self.mean]
        if self.bounded:
            sums.append(jnp.sum(jnp.where(valid, self.copies - rows, 0.0)) / self.rest)
        return jnp.log(jnp.stack(sums) / count)

    def relative_error(self, logs: Float[Array, " k"]) -> Float[Array, ""]:
        """Distance from the reference, in units of its own from the nearer end of the range."""
        error = jnp.expm1(logs[0])
        if not self.bounded:
            return error
        return jnp.where(self.mean <= self.rest, error, jnp.expm1(logs[1]))

    def divergence(self, logs: Float[Array, " k"], mean: Any) -> Float[Array, ""]:
        """Expected logarithm of the ratio of the reference's density to that of another mean.

        Args:
            logs: the other mean. `[k]`
            mean: that of the rows over which the expectation is.
        """
        log = logs[0]
        if self.kind == "gamma":
            return self.copies * (mean / self.mean * jnp.expm1(-log) + log)
        if self.kind == "binomial":
            return -_times(mean, log) - _times(self.copies - mean, logs[1])
        gained = self.mean * jnp.expm1(log)
        if self.kind == "negative_binomial":
            gained = (self.copies + mean) * jnp.log1p(gained / (self.copies + self.mean))
        return gained - _times(mean, log)

    def entropy(self) -> Float[Array, ""]:
        """Entropy of a row of the reference, in nats."""
        mean, copies = (jnp.asarray(x, jnp.float32) for x in (self.mean, self.copies))
        one, endless = jnp.ones(()), jnp.full((), jnp.inf)
        if self.kind == "gamma":
            exact = copies + lax.lgamma(copies) + (1.0 - copies) * digamma(copies)
            large = 0.5 * jnp.log(2.0 * jnp.pi * jnp.e * copies) - 1.0 / (3.0 * copies)
            return jnp.where(copies < 100.0, exact, large) + jnp.log(mean) - jnp.log(copies)
        if self.kind == "poisson":
            return masses.entropy(lambda k: masses.poisson(k, mean), mean, mean, one, endless)
        if self.kind == "binomial":
            less = jnp.minimum(mean, jnp.asarray(self.rest, jnp.float32))
            share = less / copies
            return masses.entropy(
                lambda k: masses.binomial(k, copies, share), less, less, one, copies
            )
        return masses.entropy(
            lambda k: masses.negative_binomial(k, copies, mean),
            mean,
            mean + mean**2 / copies,
            jnp.log1p(copies / mean),
            endless,
        )


def pooled(
    first: Float[Array, " k"], second: Float[Array, " k"], weight: Float[Array, ""]
) -> Float[Array, " k"]:
    """Logarithm of an average of two numbers given by theirs, `weight` for the second.

    Example:
        >>> print(pooled(jnp.log(jnp.array([1.0])), jnp.log(jnp.array([3.0])), jnp.array(0.5)))
        [0.6931472]
    """
    # From the greater one downwards: where both are near to 0, so is the result, with its digits.
    most, least = jnp.maximum(first, second), jnp.minimum(first, second)
    share = jnp.where(first < second, 1.0 - weight, weight)
    lacking = jnp.where(jnp.isneginf(least), -1.0, jnp.expm1(least - most))
    inside = most + jnp.log1p(share * lacking)
    return jnp.where(weight <= 0.0, first, jnp.where(weight >= 1.0, second, inside))


def _times(mean: Any, log: Float[Array, ""]) -> Float[Array, ""]:
    """A product that is 0 where the mean is, whatever the logarithm."""
    none = jnp.asarray(mean) == 0.0
    return jnp.where(none, 0.0, mean * jnp.where(none, 0.0, log))
