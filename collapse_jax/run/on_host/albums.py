"""What a person would see of each generation of a chain, kept while it runs."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from collapse_jax.basics import checks
from collapse_jax.loop.generation import make_world
from collapse_jax.machines.flags import usual_flags
from collapse_jax.numerics.keys import Role, chain_key, stream
from collapse_jax.tasks import AbstractTask
from collapse_jax.tasks.contract import MeasuresTexts
from collapse_jax.tasks.parts.seen import ROWS, see
from collapse_jax.views import AbstractView


class Album:
    """Keeps what is to be seen of one chain; give it to `simulate` as `observe`.

    Of points these are rows and densities, of images images, of classifiers their lines, of
    mixtures weights and centres, of tables each column, of counts frequencies; `plot_generations`
    and `animate_generations` draw it, beside the truth.

    With `stop_when` it may have generations after the one at which the run ended. With `share` it
    sees only the seeds that its own process runs, and without a seed keeps the first of these.

    Args:
        seed: of the chain; default the first one of the run.
        generations: which are kept; default all.

    Raises:
        ValueError: for numbers below 0, generations below 1, or none.

    Example:
        >>> import collapse_jax as cj
        >>> album = cj.Album()
        >>> task = cj.Categorical(4, n_samples=20)
        >>> ds = cj.simulate(cj.Replace(), task, 3, seeds=1, observe=album, progress=False)
        >>> list(album.views), list(album.views[3])
        ([1, 2, 3], ['outcomes'])
    """

    def __init__(self, seed: int | None = None, generations: Sequence[int] | None = None):
        self.seed = seed if seed is None else checks.whole_number("seed", seed, 0)
        if generations is not None:
            generations = [checks.whole_number("generations", t) for t in generations]
            if not generations:
                raise ValueError("generations must be some, or left out for all of them, got []")
        self.generations = generations and {*generations}
        self.views: dict[int, dict[str, AbstractView]] = {}
        """By generation, what is to be seen by name."""
        self.task = ""
        """The name of the task's class."""

    def check(self, task: AbstractTask) -> None:
        """Refuse a task of which nothing can be seen.

        Raises:
            ValueError: for one whose rows are texts.
        """
        if isinstance(task, MeasuresTexts):
            raise ValueError(
                f"picture must be left out for a {type(task).__name__}, whose rows are texts; "
                "samples writes them to a folder"
            )

    def __call__(self, made: Any) -> None:
        """Keep what a generation, as `simulate` hands it over, has made of the chain."""
        if self.seed is None:
            self.seed = int(made.seeds[0])
        places = np.flatnonzero(made.seeds == self.seed)
        if not len(places) or (self.generations and made.generation not in self.generations):
            return
        place = int(places[0])
        own = jax.tree.map(lambda x: np.asarray(x[place]), (made.model, made.rows))
        chains = made.chains
        self.task = type(chains.task).__name__
        # As arrays: a number of Python's would be another program.
        numbers = np.uint32(self.seed), np.int32(made.generation)
        views = _seen(chains.task, chains.form, *numbers, *own)
        self.views[made.generation] = {name: jax.tree.map(np.asarray, view) for name, view in views}


@usual_flags()
def _seen(*parts: Any) -> list[tuple[str, AbstractView]]:
    return _compiled(*parts)


@eqx.filter_jit
def _compiled(task: Any, form: Any, seed: Any, generation: Any, model: Any, rows: Any) -> Any:
    key = chain_key(seed)
    world = make_world(task, form, key)
    sizes = [len(x) for x in jax.tree.leaves(rows)]
    if not sizes or not min(sizes):  # where nothing but statistics is drawn, or nothing at all
        key = stream(key, jnp.asarray(generation), Role.MEASURE)
        rows = task.sample(world, model, key, ROWS, temperature=None)
    views = see(task, world, model, jax.tree.map(lambda x: x[:ROWS], rows))
    return list(views.items())  # in their order, which JAX does not keep in dictionaries
