"""How far a chain moves where one real row is another one: recursive stability, measured."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from collapse_jax.loop.batches import first_rows
from collapse_jax.loop.workflow import Workflow
from collapse_jax.machines.flags import usual_flags
from collapse_jax.numerics.keys import Role, chain_key, stream
from collapse_jax.run.arguments import checked_seeds
from collapse_jax.studies.chains import Loop, loop_of, run
from collapse_jax.tasks import AbstractTask
from collapse_jax.tasks.base import Model, Rows, World

_OTHER = 2**30  # sets the key of the other rows apart from those that tasks fold into theirs
_NUMBERS = 2**22  # held at a time


@usual_flags()
def sensitivity(
    workflow: Workflow,
    task: AbstractTask,
    n_generations: int,
    seeds: int | Sequence[int],
    *,
    of: Callable[[Any], Any] | None = None,
) -> xr.Dataset:
    """Distances between models of two chains that differ in one row of the first real batch.

    Both chains have the same random numbers in everything else. The other row is drawn from the
    truth as well; with data of the user's it is a training row that the batch has not.

    Args:
        workflow: what each generation is trained on.
        task: what is learned. Draws that jump, such as counts, make distances jump too.
        n_generations: number of fits.
        seeds: as for `simulate`.
        of: what of a model is compared, a function of it; default all of its numbers.

    Returns:
        `distance` `[seed, generation]`, the Euclidean distance of the models' parameters in the
        task's own units, and `ratio`, the same in units of that of generation 1, NaN where this
        is 0.

    Raises:
        ValueError: for arguments outside their range, for loops that choose rows, and where no
            other row is left (`TypeError` for those of another type).

    Source:
        Recursive stability of Fu et al., arXiv 2502.18865: with new real rows in a share a, a mean
        moves by `(1 - a)^(t - 1)` of what it moved by first; with the same real rows in each
        generation, or none, it does not return.

    Example:
        >>> import collapse_jax as cj
        >>> loop = cj.Workflow(cj.Real(every=True), cj.Synthetic(n=100))
        >>> found = cj.sensitivity(
        ...     loop, cj.Gaussian(dim=1, n_samples=100), 4, seeds=50, of=lambda model: model.mean
        ... )
        >>> print(found.ratio.median("seed").values.round(1))
        [1.  0.5 0.3 0.1]
    """
    loop = loop_of(workflow, task, n_generations)
    if of is not None and not callable(of):
        raise TypeError(f"of must be a function of a model, got {of!r}")
    if task.population is not None and task.population <= loop.n_real:
        raise ValueError(
            "n_samples, or real.n, must be below the number of training rows, so that there is "
            f"another row, got {loop.n_real} of {task.population}"
        )
    chains = checked_seeds(seeds)
    distance = np.asarray(_distances(loop, of, jnp.asarray(chains)), np.float64)
    first = distance[:, :1]
    ratio = np.divide(distance, first, out=np.full_like(distance, np.nan), where=first > 0)
    return xr.Dataset(
        {
            "distance": (("seed", "generation"), distance),
            "ratio": (("seed", "generation"), ratio),
        },
        coords={
            "seed": ("seed", chains.astype(np.int64)),
            "generation": ("generation", np.arange(1, n_generations + 1)),
        },
    )


def _distances(
    loop: Loop, of: Callable[[Any], Any] | None, seeds: Array
) -> Float[Array, "seed generation"]:
    task = loop.task

    def of_seed(seed: Array) -> Float[Array, " generation"]:
        key = chain_key(seed)

        def other(world: World, rows: Rows) -> Rows:
            own = jax.random.fold_in(stream(key, 0, Role.REAL), _OTHER)
            index = None if task.population is None else _left_over(task, key, loop.n_real)
            drawn = task.real(world, own, loop.n_real, size=None, index=index)
            return jax.tree.map(lambda x, y: x.at[0].set(y[0]), rows, drawn)

        kept, changed = run(loop, key).models, run(loop, key, other).models
        return jax.vmap(lambda a, b: _apart(of, a, b))(kept, changed)

    n_numbers = loop.form.width * len(loop.columns.generation)
    at_a_time = max(1, _NUMBERS // n_numbers)
    return jax.jit(lambda seeds: jax.lax.map(of_seed, seeds, batch_size=at_a_time))(seeds)


def _left_over(task: AbstractTask, key: Any, n: int) -> Array:
    """Rows of the user's that the first batch has not, the first of which is used."""
    chosen = first_rows(task, key, n + 1)
    return jnp.asarray(chosen)[::-1][:n]


def _apart(of: Callable[[Any], Any] | None, a: Model, b: Model) -> Float[Array, ""]:
    """Euclidean distance of two models, or of parts of them."""
    if of is not None:
        a, b = of(a), of(b)
    squared = jax.tree.map(lambda x, y: jnp.sum((x - y).astype(jnp.float32) ** 2), a, b)
    return jnp.sqrt(sum(jax.tree.leaves(squared)))
