"""What every task provides. Adding a task is writing one such class; see CONTRIBUTING.md."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
)

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key

from collapse_jax.tasks.contract import Acceptance, Coordinates, Laws, Variable
from collapse_jax.tasks.data import Data, Model, Rows, Size, State, Statistic, Steps, World

if TYPE_CHECKING:
    from collapse_jax.loop.plan import Plan

_HELD_OUT = 256  # rows of the truth with which generated ones are compared


class AbstractTask(eqx.Module):
    """What is learned: the real distribution, the estimator, the sampler and the metrics.

    A task is a frozen dataclass and a pytree. Numbers that may vary without another compilation
    are leaves; strings and whatever else decides shapes or code are static fields. Every method is
    pure and serves one chain; `jax.vmap` makes it serve many.

    A task of one's own has `n_samples`, `variables`, and four methods: `real`, `sample`, `fit` and
    `measure`. What else is here has defaults for data that are kept as *rows*. A fit that needs to
    know but a *statistic* of them is an `AbstractSufficient`; one made of training steps is an
    `AbstractTrained`.
    """

    n_samples: eqx.AbstractVar[int]
    """Rows of a batch, where the workflow says nothing else."""

    runner: ClassVar[Literal["compiled", "staged"]] = "compiled"
    """How chains are best run: in one program, or, where a generation is long, stage by stage."""

    takes_temperature: ClassVar[bool] = False
    """Whether models can be sampled more or less widely than their own law says."""

    takes_start: ClassVar[bool] = False
    """Whether a fit can start from the previous model, as `Fit(warm_start=True)` asks."""

    takes_weights: ClassVar[bool] = True
    """Whether a fit heeds the weights of rows."""

    takes_phases: ClassVar[bool] = False
    """Whether a fit has steps that learn from one stream of rows and others from the other."""

    has_labels: ClassVar[bool] = False
    """Whether rows have labels that are right or wrong, as `is_right` says."""

    extrapolates: ClassVar[bool] = False
    """Whether a model is a vector of parameters, so that `Extrapolated` can go beyond it."""

    error: ClassVar[str | None] = None
    """The metric that is the squared distance of a model's `point` from the truth's, if any is."""

    variables: ClassVar[dict[str, Variable]]
    """The metrics that `measure` returns."""

    on_request: ClassVar[tuple[str, ...]] = ()
    """Those of them that cost so much that they are computed only where they are named."""

    @property
    def units(self) -> dict[str, float]:
        """Factors from the units of `measure` to the user's, which float32 might not hold."""
        return {}

    @property
    def fewest_rows(self) -> int:
        """How many rows a fit needs at least."""
        return 1

    @property
    def starts_warm(self) -> bool:
        """Whether fits start from the previous model even where the workflow does not ask it."""
        return False

    @property
    def row_unit(self) -> float:
        """What rows as `spaced` returns them are multiples of, in the user's units."""
        return 1.0

    @property
    def population(self) -> int | None:
        """Number of real training rows where the task has data of the user's, else None."""
        return None

    @property
    def keeps_rows(self) -> bool:
        """Whether a model consists of its training rows, so that the pool must keep them."""
        return True

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the largest array that a generation of one chain works on, pools apart.

        Only a hint: so many chains run at a time that these fit the cache.
        """
        return 2**16

    def explain_memory(self, rows: bool) -> str:
        """What to change where a chain does not fit into memory, for the error message."""
        return f"reduce {'n_samples or n_generations' if rows else 'the size of the task'}"

    def laws(self, plan: "Plan") -> Laws:
        """Which statistics are drawn from their own law, and are not worked out from rows."""
        return Laws(real=False, synthetic=False)

    def additive(self, grows: bool) -> bool:
        """Whether statistics of batches can be merged into that of a training set.

        `grows` tells whether training sets have different sizes. False where the statistic of a
        batch depends on the size of the set that it is part of.
        """
        return False

    def summable(self, plan: "Plan") -> bool:
        """Whether statistics have another form, in which it is quick to merge many of them.

        Where they have, all fits are to rows enough that a model spans what is kept, so that
        coordinates may move with it. Used only where the coordinates are good ones for all of it.
        """
        return False

    @property
    def coordinates(self) -> Coordinates | None:
        """Coordinates for chains that forget all they started from; None where it is no matter."""
        return None

    def world(self, key: Key[Array, ""], rows: bool, index: Int[Array, " n"] | None) -> World:
        """Draw what is fixed for one chain.

        Args:
            key: the key of the draws.
            rows: whether rows will be asked for.
            index: which of the user's training rows are the first `n_samples`; None without such.
        """
        return ()

    @abstractmethod
    def real(
        self,
        world: World,
        key: Key[Array, ""],
        n: int,
        *,
        size: Int[Array, ""] | None,
        index: Int[Array, " n"] | None,
    ) -> Rows:
        """`n` real rows.

        Args:
            world: what is fixed for the chain.
            key: the key of the draws.
            n: how many rows to make.
            size: how many of them count, from the first; None for all.
            index: which of the user's training rows they are; None without such.
        """

    @abstractmethod
    def sample(
        self,
        world: World,
        model: Model,
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Rows:
        """`n` rows generated by the model; at a temperature other than 1 where one is given."""

    def is_right(self, world: World, rows: Rows) -> Bool[Array, " n"]:
        """Whether the label of each row is the right one, where `has_labels`."""
        return jnp.ones(len(jax.tree.leaves(rows)[0]), bool)

    def relabel(
        self,
        world: World,
        model: Model,
        rows: Rows,
        key: Key[Array, ""],
        *,
        temperature: Float[Array, ""] | None,
    ) -> Rows:
        """Rows with labels by the model; other rows of the model where they have no labels."""
        n = len(jax.tree.leaves(rows)[0])
        return self.sample(world, model, key, n, temperature=temperature)

    def extrapolate(
        self, world: World, model: Model, before: Model, weight: Float[Array, ""]
    ) -> Model:
        """The model with parameters `(1 + weight) before - weight model`, where `extrapolates`."""
        return jax.tree.map(lambda a, b: a + weight * (a - b), before, model)

    def point(self, world: World, model: Model) -> Float[Array, " k"]:
        """The model as a point, in the coordinates in which the metric `error` is a distance.

        By default all of its numbers.
        """
        return ravel_pytree(model)[0]

    def held_out(self, world: World, key: Key[Array, ""]) -> Rows:
        """Real rows that no fit sees, with which generated ones are compared.

        By default 256 rows of the truth; of data of the user's, `test`.

        Raises:
            ValueError: if there are no such rows.
        """
        if self.population is None:
            return self.real(world, key, _HELD_OUT, size=None, index=None)
        test = getattr(self, "test", None)
        if test is None:
            raise ValueError(
                f"metrics: a {type(self).__name__} with data of the user's keeps no test rows with "
                "which generated ones could be compared; its method held_out has to return them"
            )
        return test

    def spaced(self, rows: Rows) -> Rows:
        """Rows as far apart as the user's are, in multiples of `row_unit`; turned and moved or not.

        For the distances between rows, which float32 might not hold in the user's own units.
        """
        return rows

    @property
    def shows_rows(self) -> bool:
        """Whether `shown` knows rows in the user's units."""
        return True

    def shown(self, world: World, rows: Rows) -> Rows:
        """Rows as the user knows them, in the user's units; a pair with the labels if there are."""
        return self.spaced(rows)

    def each(self, function: Callable[..., Any], world: World, rows: Rows) -> Any:
        """A function of each row, as the user knows it; of a row and its label if there are."""
        shown = self.shown(world, rows)
        return jax.vmap(function)(*shown) if type(shown) is tuple else jax.vmap(function)(shown)

    def summarise(
        self, world: World, rows: Rows, valid: Bool[Array, " n"] | None, *, size: Size
    ) -> Statistic:
        """Statistic of some rows.

        Args:
            world: what is fixed for the chain.
            rows: the rows.
            valid: which of them count; None for all. There may be none.
            size: that of the training set which they are part of.
        """
        return ()

    def merge(
        self, world: World, parts: tuple[Statistic, Statistic], scales: Float[Array, "2"] | None
    ) -> Statistic:
        """Statistic of the union of two disjoint data sets.

        Args:
            world: what is fixed for the chain.
            parts: their statistics. A set may be empty.
            scales: by what the weights of their rows are multiplied; None for 1. Where a scale is
                0 the statistic may be any of the right form.
        """
        return ()

    @abstractmethod
    def fit(self, world: World, data: Data) -> Model:
        """Estimate the model from a training set."""

    # A fit in steps. A closed form is one without any.

    def n_steps(self, n_train: Size) -> Size:
        """How many steps a fit to so many rows takes."""
        return 0

    def begin(self, world: World, data: Data) -> State:
        """The state before the first step."""
        return self.fit(world, data)

    def learn(self, world: World, data: Data, state: State, steps: Steps) -> State:
        """The state after some steps more. Calls in a row do what one call would."""
        return state

    def conclude(self, state: State) -> Model:
        """The model, after the last step."""
        return state

    def measure_learning(self, state: State) -> dict[str, Float[Array, ""]]:
        """The metrics of a fit."""
        return {}

    def stays_finite(self, state: State) -> Bool[Array, " seed"] | None:
        """Of which chains the states, stacked, are finite; None where that need not be asked."""
        return None

    def measure_rows(
        self, world: World, rows: Rows, *, valid: Bool[Array, " n"] | None
    ) -> dict[str, Float[Array, ""]]:
        """The metrics of the rows that a model has generated.

        Args:
            world: what is fixed for the chain.
            rows: the rows.
            valid: which of them count; None for all.
        """
        return {}

    @property
    def acceptance(self) -> Acceptance | None:
        """Which rows may become training data, where not all; such tasks run in stages only."""
        return None

    def prepared(self) -> "AbstractTask":
        """The task with what its programs read and no more, which may be slow to load."""
        return self

    @abstractmethod
    def measure(self, world: World, model: Model) -> Mapping[str, Float[Array, ""]]:
        """The metrics of a model. Those that nobody asks for are not computed."""
