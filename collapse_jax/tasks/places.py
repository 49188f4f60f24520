"""Where the rows are that a generation is fitted to."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from collapse_jax.numerics.draws import to_integers, to_uniform
from collapse_jax.numerics.subsets import permuted
from collapse_jax.numerics.threefry import fold_in, words


class Places(eqx.Module):
    """The rows kept, numbered from 0: first the real ones, then the generated ones, by age.

    A pool has slots of equal width for batches, first those of real ones, and each stream takes its
    slots in turn. Nothing here costs more where more rows are kept.
    """

    real_batches: Int[Array, ""]
    synthetic_batches: Int[Array, ""]
    real_first: Int[Array, ""]
    """Slot of the oldest real batch kept."""
    synthetic_first: Int[Array, ""]
    real_size: Int[Array, ""]
    """Rows of all real batches kept."""
    synthetic_size: Int[Array, ""]
    real_weight: Float[Array, ""] | None
    """Weight of all real rows together; None where all rows weigh the same."""
    sizes: Int[Array, " slot"] | None
    """Rows in each slot; None where all slots are full."""
    real_slots: int = eqx.field(static=True)
    synthetic_slots: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    in_order: bool = eqx.field(static=True)
    """Whether rows lie in the order of their numbers, from the first row of the pool."""
    phases: tuple[str, ...] = eqx.field(static=True, default=())
    """Which stream a fit's steps learn from, one part of them after the other; empty for both."""

    @property
    def total(self) -> Int[Array, ""]:
        """How many rows there are."""
        return self.real_size + self.synthetic_size

    def rows(self, numbers: Int[Array, " n"]) -> Int[Array, " n"]:
        """Where the rows of these numbers are in the pool, its slots laid end to end."""
        if self.in_order:
            return numbers
        if self.sizes is None:
            batch = numbers // self.width
            within = numbers - batch * self.width
        else:
            each = jnp.arange(self.real_slots + self.synthetic_slots)
            kept = each < self.real_batches + self.synthetic_batches
            sizes = jnp.where(kept, self.sizes[self.slot(each)], 0)
            ends = jnp.cumsum(sizes)
            batch = jnp.searchsorted(ends, numbers, side="right")
            within = numbers - (ends - sizes)[batch]
        return self.slot(batch) * self.width + within

    def slot(self, batch: Int[Array, "*n"]) -> Int[Array, "*n"]:
        """Slots of batches, numbered like their rows."""
        if self.in_order:
            return batch
        real = (self.real_first + batch) % max(self.real_slots, 1)
        later = self.synthetic_first + batch - self.real_batches
        synthetic = self.real_slots + later % max(self.synthetic_slots, 1)
        return jnp.where(batch < self.real_batches, real, synthetic)

    def weights(self, n: int) -> Float[Array, " {n}"]:
        """Weights of all `n` rows of the pool, its slots laid end to end; 0 for those not kept.

        Their mean over the rows kept is 1.
        """
        place = jnp.arange(n)
        width = self.width or n
        slot, within = place // width, place % width
        batch = jnp.arange(self.real_slots + self.synthetic_slots)
        kept = batch < self.real_batches + self.synthetic_batches
        used = jnp.zeros(len(batch), bool).at[self.slot(batch)].max(kept)[slot]
        if self.sizes is not None:
            used = used & (within < self.sizes[slot])
        elif self.in_order:
            used = place < self.total
        if self.real_weight is None:
            return used.astype(jnp.float32)
        real = place < self.real_size if self.in_order else slot < self.real_slots
        sizes = jnp.stack([self.real_size, self.synthetic_size])
        shares = jnp.stack([self.real_weight, 1.0 - self.real_weight])
        shares = jnp.where(jnp.all(sizes > 0), shares, 1.0)  # one stream has all of the weight
        each = shares * self.total / jnp.maximum(sizes, 1)
        return jnp.where(used, jnp.where(real, each[0], each[1]), 0.0).astype(jnp.float32)

    def during(self, step: Int[Array, ""], n_steps: int) -> "Places":
        """The rows with the weights that they have in one step, counted from 0, of so many."""
        if not self.phases:
            return self
        every = self.real_weight
        if every is None:
            every = self.real_size / jnp.maximum(self.total, 1)
        shares = jnp.stack(
            [{"real": 1.0, "synthetic": 0.0}.get(name, every) for name in self.phases]
        )
        return self.of_two(
            self.real_size, self.synthetic_size, shares[_part(step, n_steps, len(shares))]
        )

    def draw(self, drawn: UInt32[Array, "2 n"], key: Key[Array, ""]) -> Int[Array, " n"]:
        """Places of rows drawn with replacement, each with a probability like its weight.

        Args:
            drawn: random words.
            key: the key of the choice between real and generated rows, where weights differ.
        """
        if self.real_weight is None:
            return self.rows(to_integers(drawn, self.total))
        chosen = to_uniform(words(key, (1, drawn.shape[1])))[0]
        real = (chosen < self.real_weight) | (self.synthetic_size == 0)
        real = real & (self.real_size > 0)
        real_number = to_integers(drawn, self.real_size)
        synthetic_number = to_integers(drawn, self.synthetic_size)
        return self.rows(jnp.where(real, real_number, self.real_size + synthetic_number))

    def chosen(
        self,
        key: Key[Array, ""],
        n: int,
        size: Int[Array, ""],
        with_replacement: bool,
        skill: Float[Array, ""] | None = None,
    ) -> Int[Array, " {n}"]:
        """Numbers of `n` rows drawn uniformly, of which the first `size` count.

        With replacement a generated row may be known for one, and another drawn in its place.
        """
        if with_replacement and skill is not None:
            return self._seen_through(key, n, skill)
        if with_replacement:
            return to_integers(jax.random.bits(key, (n, 2)).T, self.total)
        # A subset of everything is everything, in order.
        within = jnp.minimum(jnp.arange(n), self.total - 1)
        return jnp.where(size == self.total, within, permuted(key, self.total, within))

    def _seen_through(
        self, key: Key[Array, ""], n: int, skill: Float[Array, ""]
    ) -> Int[Array, " {n}"]:
        """Numbers of rows, of which generated ones weigh as much as they are not known for such."""
        real, synthetic = (x.astype(jnp.float32) for x in (self.real_size, self.synthetic_size))
        unknown = jnp.where(real > 0.0, (1.0 - skill) * synthetic, synthetic)
        dart = to_uniform(words(fold_in(key, 1), (1, n)))[0] * (real + unknown)
        drawn = jax.random.bits(key, (n, 2)).T
        generated = self.real_size + to_integers(drawn, self.synthetic_size)
        return jnp.where(dart < real, to_integers(drawn, self.real_size), generated)

    @classmethod
    def first(cls, size: Int[Array, ""]) -> "Places":
        """The first so many rows, all of the same weight."""
        one, none = jnp.ones((), jnp.int32), jnp.zeros((), jnp.int32)
        return cls(none, one, none, none, none, size, None, None, 0, 1, 0, in_order=True)

    def of_two(
        self, n_real: Int[Array, ""], n_synthetic: Int[Array, ""], real_weight: Float[Array, ""]
    ) -> "Places":
        """The same rows, of which the first are real and have a weight together."""
        return eqx.tree_at(
            lambda p: (p.real_size, p.synthetic_size, p.real_weight),
            self,
            (n_real, n_synthetic, real_weight),
            is_leaf=lambda x: x is None,
        )


def _part(step: Int[Array, ""], n_steps: int, n_parts: int) -> Int[Array, ""]:
    """In which of so many parts of about the same length a step is."""
    first = np.ceil(np.arange(1, n_parts) * n_steps / n_parts).astype(np.int32)
    return jnp.sum(step >= jnp.asarray(first), dtype=jnp.int32)
