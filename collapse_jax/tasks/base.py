"""What every task provides. Adding a task is writing one such class; see CONTRIBUTING.md."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from collapse_jax.tasks.places import Places

if TYPE_CHECKING:
    from collapse_jax.loop.plan import Plan

# The parts of a task are pytrees of the task's own making; these names say which is meant.
World = PyTree
"""What is fixed for one chain before generation 1: the truth, the test set, a design matrix."""
Statistic = PyTree
"""What a fit needs to know of a data set; statistics of disjoint data sets can be merged."""
Rows = PyTree
"""A data set itself: arrays whose leading axis counts the rows."""
Model = PyTree
"""A fitted model."""
Size = Int[Array, ""] | Float[Array, ""] | int
"""A number of rows, which need not be known when the program is compiled."""


class Data(NamedTuple):
    """What one generation is fitted to, as `AbstractTask.fit` receives it."""

    rows: Any
    """The rows, and perhaps others between them; None where no rows are kept."""
    places: Places
    """Which of the rows they are, and how to draw from them by their weight."""
    statistic: Statistic
    """Statistic of all of them, with their weights."""
    size: Float[Array, ""]
    """Their number; where they do not all weigh the same, as many as would do as well."""
    key: Key[Array, ""] | None = None
    """For the random choices of a fit that makes any."""
    previous: Model | None = None
    """The model of the generation before, where fits start from it; None where they do not."""
    is_first: Bool[Array, ""] | None = None
    """Whether there is no generation before."""

    @property
    def weight(self) -> Float[Array, " n"]:
        """Weight of each of the rows, which is 0 for those that do not count; 1 on average."""
        return self.places.weights(len(jax.tree.leaves(self.rows)[0]))

    def start(self, fresh: Callable[[], Model]) -> Model:
        """What a fit starts from: the previous model where one is to be used, else a fresh one."""
        if self.previous is None:
            return fresh()
        return lax.cond(self.is_first, fresh, lambda: self.previous)


class Laws(NamedTuple):
    """Whether the statistic of a batch is drawn from its own law, so that no row need exist."""

    real: bool
    synthetic: bool


@runtime_checkable
class Coordinates(Protocol):
    """Coordinates that move along with the models, where these may shrink without end."""

    def start(self) -> Model:
        """The model that has the coordinates at hand, in these coordinates."""
        ...

    def compose(self, outer: Model, inner: Model) -> Model:
        """The model that is `inner` in the coordinates of `outer`."""
        ...

    def change(self, model: Model) -> PyTree:
        """What is needed to go to the coordinates of a model, given in those at hand."""
        ...

    def move(self, change: PyTree, data: Any) -> Any:
        """A statistic, or rows, to which that model was fitted, in its coordinates."""
        ...


class Variable(NamedTuple):
    """How a metric is presented in the dataset."""

    long_name: str
    units: str


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

    staged: ClassVar[bool] = False
    """Whether a generation is so long that it is run stage by stage on the host."""

    takes_temperature: ClassVar[bool] = False
    """Whether models can be sampled more or less widely than their own law says."""

    takes_start: ClassVar[bool] = False
    """Whether a fit can start from the previous model, as `Fit(warm_start=True)` asks."""

    starts_warm: ClassVar[bool] = False
    """Whether it always does, because the best fit is one and comes sooner."""

    variables: ClassVar[dict[str, Variable]]
    """The metrics that `measure` returns."""

    on_request: ClassVar[tuple[str, ...]] = ()
    """Those of them that cost so much that they are computed only where they are named."""

    @property
    def units(self) -> dict[str, float]:
        """Factors from the units of `measure` to the user's, which float32 might not hold."""
        return {}

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

    @abstractmethod
    def measure(self, world: World, model: Model) -> dict[str, Float[Array, ""]]:
        """The metrics of a model. Those that nobody asks for are not computed."""
