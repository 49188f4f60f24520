"""Papers about series: whether a row still depends on the rows before it."""

from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key

from collapse_jax.analysis.estimates import at, jackknife
from collapse_jax.literature.cards import Lab, card, curve
from collapse_jax.literature.claims import Claim, Relation
from collapse_jax.loop.presets import Replace
from collapse_jax.numerics import draws
from collapse_jax.tasks.base import AbstractTask, Data, Variable
from collapse_jax.trained.tabular import Tabular


class AR1(AbstractTask):
    """Series in which each number is a multiple of the one before plus standard normal noise.

    The multiple is fitted by least squares; rows are numbers with the ones before them.

    Args:
        n_samples: rows of a series.
        multiple: of the truth, between -1 and 1.
    """

    n_samples: int = 100
    multiple: float = 0.8

    variables: ClassVar[dict[str, Variable]] = {"coefficient": Variable("fitted multiple", "1")}

    def real(
        self, world: Any, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> Float[Array, "n 2"]:
        return self.sample(world, jnp.float32(self.multiple), key, n, temperature=None)

    def sample(
        self, world: Any, model: Float[Array, ""], key: Key[Array, ""], n: int, *, temperature: Any
    ) -> Float[Array, "n 2"]:
        noise = draws.normal(key, (n + 1,))
        first = noise[0] / jnp.sqrt(jnp.maximum(1.0 - model**2, 1e-3))  # as in the long run

        def follow(x: Array, e: Array) -> tuple[Array, Array]:
            return model * x + e, model * x + e

        after = lax.scan(follow, first, noise[1:])[1]
        return jnp.stack([jnp.concatenate([first[None], after[:-1]]), after], axis=1)

    def fit(self, world: Any, data: Data) -> Float[Array, ""]:
        before, after = jax.tree.leaves(data.rows)[0].T
        squares = jnp.sum(data.weight * before**2)
        return jnp.sum(data.weight * before * after) / jnp.maximum(squares, 1e-30)

    def measure(self, world: Any, model: Float[Array, ""]) -> dict[str, Float[Array, ""]]:
        return {"coefficient": model}


def traffic(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A table of two columns that both have a correlation of 0.8 with the row before, on average.

    Args:
        n: its rows.
        seed: of its random numbers.
    """
    rng = np.random.default_rng(seed)
    kind, size, stays = rng.integers(2, size=n), rng.normal(size=n), rng.random(n) < 0.8
    size[1:] *= 0.6  # so that the variance stays 1
    for i in range(1, n):
        kind[i] = kind[i - 1] if stays[i] else kind[i]
        size[i] += 0.8 * size[i - 1]
    return {"protocol": np.where(kind, "udp", "tcp"), "size": size}


@card("2009.12740")
def _series(lab: Lab) -> Iterator[Claim]:
    table, seeds = traffic(lab.pick(1000, 4000, 4000)), lab.pick(8, 16, 64)
    cases: tuple[tuple[int, Relation, float], ...] = ((5, ">=", 0.4), (0, "=", 0.0))
    for window, relation, claimed in cases:
        task = Tabular(
            table,
            window=window,
            components=1,
            depth=lab.pick(0, 2, 2),
            steps=lab.pick(200, 500, 1000),
        )
        kept = lab.chains(Replace(), task, 1, seeds, "autocorrelation")
        yield Claim(
            text=f"a row given {window or 'no'} rows before it depends on the last one of them "
            + ("at least half as much as real rows" if window else "not at all")
            + "; correlation",
            law="0.8/2" if window else "0",
            derived=True,
            relation=relation,
            published=claimed,
            ours=jackknife(at(1), kept),
            against=None if window else 0.8,
        )
    n, last = 100, 12
    fitted = lab.chains(Replace(), AR1(n), last, lab.pick(4000, 40_000, 40_000), "coefficient")
    known = 0.8 * (1 - 2 / n) ** np.arange(1, last + 1)
    yield Claim(
        text=f"the loop loses it all the same: coefficient of generation {last}, by least squares "
        f"on series of {n} rows",
        law="a (1 - 2/n)^t",
        derived=True,
        published=float(known[-1]),
        ours=jackknife(at(last), fitted),
        against=0.8,
        slack=(last / n) ** 2,  # of the second order
        curve=curve(fitted, "coefficient", known),
    )
