"""What a task says of itself: its laws, metrics and coordinates, and which rows it accepts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, PyTree

from collapse_jax.numerics.tokens import TokenEdit
from collapse_jax.tasks.data import Model, Rows
from collapse_jax.views import AbstractView


@dataclass(frozen=True)
class Acceptance:
    """How rows that may become training data are told from others, on the host."""

    accept: Callable[[Rows], tuple[Rows, Int[np.ndarray, " accepted"]]]
    """The acceptable ones as they are to be learned, and their places among those drawn."""
    batch: int
    """How many rows are drawn at a time."""
    most: int
    """Rows drawn for each that is needed before the run is given up."""
    noun: str
    """What a row is."""
    advice: str
    """What to do where there are too few."""
    n_prompts: int | None = None
    """How many prompts rows continue; None where they do not."""
    rewrites: bool = False
    """Whether what is learned is something else than what was drawn."""


@runtime_checkable
class SamplesInParts(Protocol):
    """A task to which it matters which of several draws in a row one is, on the way to enough."""

    def sample_part(
        self, world: Any, model: Model, key: Any, part: Any, places: Any, temperature: Any
    ) -> Rows:
        """Rows of one of the draws, whose keys are parts of this one.

        Where rows continue prompts, each that at one of the places in their order, or as far
        beyond the last one.
        """
        ...


class Laws(NamedTuple):
    """Whether the statistic of a batch is drawn from its own law, so that no row need exist."""

    real: bool
    synthetic: bool


@runtime_checkable
class MeasuresTexts(Protocol):
    """A task whose rows are texts, some of whose metrics are computed on the host."""

    def measure_texts(self, rows: Rows, names: Sequence[str]) -> dict[str, float]:
        """Those of the named metrics that are of this kind, of what a model has generated."""
        ...


@runtime_checkable
class EditsTokens(Protocol):
    """A task whose rows are texts, of which single tokens can be drawn anew."""

    def edit(
        self, world: Any, model: Model, rows: Rows, keys: tuple[Any, Any], how: TokenEdit
    ) -> Rows:
        """Rows with some tokens drawn anew; keys are those of the draws, and of what is drawn."""
        ...


@runtime_checkable
class HasScores(Protocol):
    """A task whose models say in which direction each row is more probable."""

    def guide(self, world: Any, model: Model, before: Model, weight: Any) -> Model:
        """What `sample` makes rows of by `1 + weight` times the scores of the model before, less
        `weight` times those of the model.
        """
        ...


@runtime_checkable
class KnowsDensity(Protocol):
    """A task of points whose models have a density, which pictures show."""

    def log_density(self, world: Any, model: Model, rows: Any) -> Any:
        """Logarithm of the model's density at rows, `[n]`, in the coordinates of the rows."""
        ...


@runtime_checkable
class SaysWhatIsSeen(Protocol):
    """A task of which pictures show something else than its rows."""

    def seen(self, world: Any, model: Model, rows: Rows) -> dict[str, AbstractView]:
        """What is drawn of a model, and of rows that it made, by name; traceable."""
        ...


@runtime_checkable
class Coordinates(Protocol):
    """Coordinates that move along with the models, where these may shrink without end."""

    def start(self) -> Model:
        """The model that has the coordinates at hand, in these coordinates."""
        ...

    def frame(self, model: Model) -> PyTree:
        """What is kept of a model in whose coordinates others are given."""
        ...

    def compose(self, outer: PyTree, inner: Model) -> Model:
        """The model that is `inner` in the coordinates of `outer`."""
        ...

    def change(self, model: Model) -> PyTree:
        """What is needed to go to the coordinates of a model, given in those at hand."""
        ...

    def place(self, outer: PyTree, rows: Any) -> Any:
        """Rows that are in the coordinates of `outer`, in those that `outer` is in."""
        ...

    def move(self, change: PyTree, data: Any) -> Any:
        """A statistic, or rows, to which that model was fitted, in its coordinates."""
        ...


class Variable(NamedTuple):
    """How a metric is presented in the dataset."""

    long_name: str
    units: str
