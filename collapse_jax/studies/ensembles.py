"""What a number read off synthetic rows is worth: one generator, or an ensemble of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
import xarray as xr
from jaxtyping import Array, Key

from collapse_jax.basics import checks
from collapse_jax.loop.presets import Replace
from collapse_jax.machines.flags import usual_flags
from collapse_jax.numerics.keys import Role, chain_key, stream
from collapse_jax.run.arguments import checked_seeds
from collapse_jax.studies.chains import Loop, fit, loop_of, run
from collapse_jax.tasks import AbstractTask
from collapse_jax.tasks.base import Rows

Estimator = Callable[[Rows], tuple[Any, Any]]

_NUMBERS = 2**22  # held at a time


def mean_of_rows(rows: Rows) -> tuple[Array, Array]:
    """The mean of the first column of some rows, and its standard error as if they were real.

    Raises:
        TypeError: for rows that are pairs; give another estimate there.
    """
    if not hasattr(rows, "ndim"):
        raise TypeError("estimate must be given where rows are pairs with their labels")
    x = rows.reshape(len(rows), -1)[:, 0].astype(jnp.float32)
    return jnp.mean(x), jnp.std(x, ddof=1) / jnp.sqrt(jnp.float32(len(x)))


@usual_flags()
def ensemble(
    task: AbstractTask,
    seeds: int | Sequence[int],
    *,
    members: int = 20,
    bootstrap: bool = True,
    n_synthetic: int | None = None,
    estimate: Estimator = mean_of_rows,
    level: float = 0.95,
) -> xr.Dataset:
    """An estimate from synthetic rows, with an interval, from several generators or from one.

    Each generator is fitted to `n_samples` real rows of a chain, or to a bootstrap of them, and
    makes a set of rows, from which the estimate is read. An interval from one set takes its rows
    for real ones, and is too narrow. That of an ensemble has `(1 + 1/members)` times the variance
    between its members, which contains what real rows leave open if each has a bootstrap of its
    own.

    Args:
        task: the generator.
        seeds: as for `simulate`; each has real rows of its own.
        members: number of generators; with 1, the interval is that of its one set.
        bootstrap: whether each member is fitted to rows drawn with replacement; the real rows
            themselves otherwise.
        n_synthetic: rows that a member makes; default `n_samples`.
        estimate: a JAX function of rows, as the user knows them (in float32), that returns a
            number and its standard error. Default the mean of the first column.
        level: of the interval.

    Returns:
        `estimate`, `low` and `high`, `[seed]`, and `member` `[seed, member]`.

    Raises:
        ValueError: for arguments outside these ranges, and for one member with a bootstrap, which
            no interval would be right for (`TypeError` for those of another type).

    Source:
        Deep generative ensembles, van Breugel et al., arXiv 2305.09235.

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.Gaussian(dim=1, n_samples=20)
        >>> one = cj.ensemble(task, 400, members=1, bootstrap=False, n_synthetic=200)
        >>> many = cj.ensemble(task, 400, n_synthetic=200)
        >>> [float(((ds.low < 0) & (ds.high > 0)).mean().round(1)) for ds in (one, many)]
        [0.4, 0.9]
    """
    checks.whole_number("members", members)
    if members == 1 and bootstrap:
        raise ValueError("bootstrap must be False with one member, whose interval knows of none")
    if not callable(estimate):
        raise TypeError(f"estimate must be a function of rows, got {estimate!r}")
    loop, chains = loop_of(Replace(), task, 1), checked_seeds(seeds)
    n = task.n_samples if n_synthetic is None else n_synthetic
    checks.whole_number("n_synthetic", n, minimum=2)
    if not 0 < checks.positive_number("level", level) < 1:
        raise ValueError(f"level must be above 0 and below 1, got {level}")
    found = _estimates(loop, jnp.asarray(chains), members, bootstrap, n, estimate)
    value, error = (np.asarray(part, np.float64) for part in found)
    center = value.mean(axis=1)
    between = np.sqrt((1 + 1 / members) * value.var(axis=1, ddof=min(1, members - 1)))
    spread = between if members > 1 else error[:, 0]
    width = scipy.stats.norm.ppf((1 + level) / 2) * spread
    return xr.Dataset(
        {
            "estimate": ("seed", center),
            "low": ("seed", center - width),
            "high": ("seed", center + width),
            "member": (("seed", "member"), value),
        },
        coords={"seed": ("seed", chains.astype(np.int64))},
    )


def _estimates(
    loop: Loop, seeds: Array, members: int, bootstrap: bool, n: int, estimate: Estimator
) -> tuple[Array, Array]:
    """Estimates of all members, and their standard errors. `[seed, member]`"""
    task = loop.task

    def of_seed(seed: Array) -> tuple[Array, Array]:
        key = chain_key(seed)
        chain = run(loop, key)
        n_real = len(jax.tree.leaves(chain.real)[0])

        def of_member(number: Array) -> tuple[Array, Array]:
            own: Key[Array, ""] = jax.random.fold_in(stream(key, 1, Role.FIT), number)
            drawing, fitting, sampling = jax.random.split(own, 3)
            rows = chain.real
            if bootstrap:
                index = jax.random.randint(drawing, (n_real,), 0, n_real)
                rows = jax.tree.map(lambda x: x[index], rows)
            model = fit(task, chain.world, rows, fitting)
            made = task.sample(chain.world, model, sampling, n, temperature=None)
            return estimate(task.shown(chain.world, made) if task.shows_rows else made)

        return jax.vmap(of_member)(jnp.arange(members))

    at_a_time = max(1, _NUMBERS // (members * n))
    return jax.jit(lambda seeds: jax.lax.map(of_seed, seeds, batch_size=at_a_time))(seeds)
