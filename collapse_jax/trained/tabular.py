"""Tables of numbers and categories: each column is drawn given those before it."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import Mixed, Number
from collapse_jax.tasks.base import Model, Variable
from collapse_jax.tasks.parts import seen
from collapse_jax.tasks.parts.tables import sample_size, split
from collapse_jax.tasks.trained import AbstractTrained
from collapse_jax.trained import table_distances
from collapse_jax.trained.autoregression import Autoregression, Net
from collapse_jax.trained.base import LEARNING, MOST_LAYERS
from collapse_jax.trained.columns import Columns, check_varied, read_columns
from collapse_jax.views import AbstractView, Values

_LONGEST = 1.0  # norm of a gradient; longer ones are made shorter
_BEFORE = 100  # rows of a series that come before those that are used


class Tabular(AbstractTrained):
    """An autoregressive model of the rows of a table with numbers and categories.

    The law of each column, given the columns before it in its row, is a mixture of normal laws for
    numbers and a probability of each category for others. One network (SiLU), whose weights are
    masked so that no column sees those after it, has all of them. With `window=5` a row is given
    the 5 rows before it too, and the rows of a batch are one series.

    A row that is kept carries the rows before it along, so that any loop can be run. At temperature
    c the variance of each component is multiplied by c, and probabilities of components and
    categories are p^(1/c), normalised. No component is narrower than 0.01 standard deviations.

    - `nll`: negative log-density of a held-out real row under the model, given the rows before it,
        in units of the data.
    - `marginal_error`: mean over columns of the distance of generated from held-out rows:
        Kolmogorov's of numbers, total variation of categories.
    - `correlation_error`: Frobenius norm of the difference of their matrices of correlations, in
        which every category has a column of 0 and 1.
    - `autocorrelation`: correlation of a column with that of the row before in what is generated,
        mean over columns.
    - `variance_ratio`: variance of generated rows, over all columns in units of their own and all
        categories, relative to that of the held-out ones.
    - `train_loss`: mean negative log-density of the rows of all training steps.
    - `failed_step`: the first training step that was left out since its loss was no finite number;
        0 for none.

    Args:
        data: a data frame, a dictionary of columns or an array `[rows, columns]`. Numbers are
            numbers, also whole ones; texts, truth values and pandas' categories are categories.
            `types` says what each column is taken for. Generation 1 draws `n_samples` of the
            training rows without replacement.
        n_samples: rows per generation. Default all training rows.
        window: how many rows before a row it is given. The test rows are then the last ones of
            `data`, else rows drawn at random. A generated series starts from nothing, and its first
            rows are not used.
        categorical: names of columns of numbers that are categories.
        components: normal laws of the mixture of each column of numbers.
        steps: training steps of a generation.
        batch_size: rows of a step.
        learning_rate: of Adam in the first step; it falls to 0 along a cosine.
        decay: by which share of the learning rate weights become smaller in each step, which keeps
            what is learned of few rows simple.
        width: units of each hidden layer of the network.
        depth: its hidden layers; none for laws that are linear in what is given.
        test_fraction: share of the rows of `data` that is kept for tests.
        split_seed: seed of the split of `data` into training and test rows, without a window.

    Raises:
        ValueError: for arguments outside these ranges, for missing values, for columns that are
            constant or identifiers, and for names that occur twice (`TypeError` for those of
            another type, such as dates).

    Source:
        Xu et al., arXiv 2009.12740; Germain et al., arXiv 1502.03509 (the masks).

    Example:
        >>> import collapse_jax as cj, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> colour = rng.choice(["blue", "red"], 100)
        >>> length = rng.normal(np.where(colour == "red", 1.0, 0.0))
        >>> cj.Tabular({"colour": colour, "length": length}, steps=200).types
        {'colour': '2 categories', 'length': 'numbers'}
    """

    n_samples: int
    steps: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    learning_rate: Any
    decay: Any
    columns: Columns = eqx.field(static=True)
    window: int = eqx.field(static=True)
    categorical: tuple[str, ...] = eqx.field(static=True)
    components: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)
    origin: np.ndarray | Array  # the user's numbers are origin + unit * scale * numbers
    unit: Any
    scale: np.ndarray | Array
    log_volume: np.ndarray | Array
    """Logarithm of the product of the columns' units. `[1]`"""
    train: Array
    """A row and those before it, the newest last. `[stretch, window + 1, column]`"""
    test: Array
    test_fraction: float = eqx.field(static=True)
    split_seed: int = eqx.field(static=True)

    takes_temperature: ClassVar[bool] = True

    variables: ClassVar[dict[str, Variable]] = {
        "nll": Variable("negative log-density of a held-out real row under the model", "nat"),
        "marginal_error": Variable("mean distance of the columns' distributions", "1"),
        "correlation_error": Variable("Frobenius distance of matrices of correlations", "1"),
        "autocorrelation": Variable("correlation of generated rows with those before", "1"),
        **LEARNING,
        "train_loss": Variable("mean negative log-density in training", "nat"),
    }

    def __init__(
        self,
        data: Mixed,
        n_samples: int | Array | None = None,
        *,
        window: int = 0,
        categorical: Annotated[Sequence[str], "NAME ..."] = (),
        components: int = 3,
        steps: int = 500,
        batch_size: int = 128,
        learning_rate: Number = 5e-3,
        decay: Number = 1.0,
        width: int = 64,
        depth: int = 2,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.window = checks.whole_number("window", window, 0)
        self.components = checks.whole_number("components", components)
        self.steps = checks.whole_number("steps", steps)
        self.batch_size = checks.whole_number("batch_size", batch_size)
        self.learning_rate = checks.positive_number("learning_rate", learning_rate)
        self.decay = checks.positive_number("decay", decay, zero_allowed=True)
        self.width = checks.whole_number("width", width)
        self.depth = checks.whole_number("depth", depth, 0, MOST_LAYERS)
        self.test_fraction, self.split_seed = test_fraction, split_seed
        self.categorical = (categorical,) if isinstance(categorical, str) else tuple(categorical)
        self.columns, rows = read_columns(data, self.categorical)
        train, test = self._split(rows)
        check_varied(self.columns, train)
        numbers = np.isin(np.arange(rows.shape[1]), self.columns.numbers)
        self.origin = np.where(numbers, train.mean(axis=0), 0.0)
        deviation = np.where(numbers, train.std(axis=0), 1.0)
        self.unit = float(np.max(deviation[numbers], initial=0.0)) or 1.0
        self.scale = deviation / self.unit
        self.log_volume = np.array([np.sum(np.log(deviation))])
        self.train, self.test = (
            jnp.asarray(self._stretches((part - self.origin) / deviation), jnp.float32)
            for part in (train, test)
        )
        self.n_samples = sample_size(n_samples, len(self.train))

    def _split(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        train, test = split(rows, self.test_fraction, self.split_seed)
        if not self.window:
            return train, test
        least = min(len(train), len(test)) - self.window
        if least < 2:
            raise ValueError(
                f"window must leave at least 2 training and 2 test rows that have {self.window} "
                f"rows before them, and of {len(train)} and {len(test)} rows one side has "
                f"{max(least, 0)}"
            )
        return rows[: len(train)], rows[len(train) :]

    def _stretches(self, rows: Any) -> Any:
        """Each row of a series that has rows enough before it, with these."""
        first = np.arange(len(rows) - self.window)
        return rows[first[:, None] + np.arange(self.window + 1)]

    @property
    def _laws(self) -> Autoregression:
        return Autoregression(self.columns, self.window, self.components, self.width, self.depth)

    @property
    def types(self) -> dict[str, str]:
        """What each column of the data is taken for."""
        return {column.name: column.kind for column in self.columns.each}

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Names of columns and of their categories."""
        return self.columns.names

    @property
    def population(self) -> int:
        return len(self.train)

    @property
    def row_unit(self) -> Any:
        return self.unit

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam with decay; its steps become shorter along a cosine, and long gradients as well."""
        rate = optax.cosine_decay_schedule(self.learning_rate, self.steps)
        adam = optax.adamw(rate, weight_decay=self.decay)
        return optax.chain(optax.clip_by_global_norm(_LONGEST), adam)

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> Float[Array, "m w c"]:
        return self.test

    def real(
        self,
        world: Float[Array, "m w c"],
        key: Key[Array, ""],
        n: int,
        *,
        size: Any,
        index: Int[Array, " n"],
    ) -> Float[Array, "n w c"]:
        return self.train[index]

    def spaced(self, rows: Float[Array, "n w c"]) -> Any:
        """The newest of each stretch; numbers apart from categories where there are both."""
        shown = rows[:, -1] * jnp.asarray(self.scale, jnp.float32)[None]
        if not self.columns.categories:
            return shown
        return shown[:, self.columns.numbers], rows[:, -1, self.columns.categories].astype(
            jnp.int32
        )

    def shown(self, world: Any, rows: Float[Array, "n w c"]) -> dict[str, Array]:
        """Columns by name, categories as their numbers."""
        deviation = self.unit * jnp.asarray(self.scale, jnp.float32)
        found = jnp.asarray(self.origin, jnp.float32)[None] + rows[:, -1] * deviation[None]
        return {
            column.name: rows[:, -1, i].astype(jnp.int32) if column.categories else found[:, i]
            for i, column in enumerate(self.columns.each)
        }

    def seen(
        self, world: Any, model: Model, rows: Float[Array, "n w c"]
    ) -> dict[str, AbstractView]:
        made, real = self.shown(world, rows), self.shown(world, seen.real_rows(self, world))
        return {
            name: seen.shares(made[name], real[name], categories, name)
            if categories
            else Values(made[name], real[name], name=name)
            for name, categories in self.columns.each
        }

    def parameters(self, key: Key[Array, ""]) -> Net:
        """The network of all columns; its weights are not masked yet."""
        return self._laws.parameters(key)

    def loss(
        self,
        world: Float[Array, "m w c"],
        model: Net,
        rows: Float[Array, "n w c"],
        key: Key[Array, ""],
    ) -> Float[Array, ""]:
        found = jax.vmap(lambda stretch: self._laws.log_density(model, stretch))(rows)
        return jnp.asarray(self.log_volume, jnp.float32)[0] - jnp.mean(found)

    def sample(
        self,
        world: Float[Array, "m w c"],
        model: Model,
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Float[Array, "n w c"]:
        heat = jnp.ones(()) if temperature is None else temperature
        if not self.window:
            return self._laws.rows(self.whole(model), key, n, heat)[:, None]
        many = n + self.window
        series = self._laws.rows(self.whole(model), key, _BEFORE + many, heat)
        return self._stretches(series[_BEFORE:])

    def measure(self, world: Float[Array, "m w c"], model: Model) -> dict[str, Float[Array, ""]]:
        return {"nll": self.loss(world, self.whole(model), world, jax.random.key(0))}

    def measure_rows(
        self,
        world: Float[Array, "m w c"],
        rows: Float[Array, "n w c"],
        *,
        valid: Bool[Array, " n"] | None,
    ) -> dict[str, Float[Array, ""]]:
        made, real = rows[:, -1], world[:, -1]
        measures = ("marginal_error", "correlation_error", "variance_ratio")
        found = {
            name: getattr(table_distances, name)(self.columns, made, real, valid)
            for name in measures
        }
        now, before = (made, rows[:, -2]) if self.window else (made[1:], made[:-1])
        both = valid if self.window or valid is None else valid[1:] & valid[:-1]
        found["autocorrelation"] = table_distances.autocorrelation(self.columns, now, before, both)
        return found
