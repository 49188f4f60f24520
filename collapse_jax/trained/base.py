"""What trained generators share: rows of points or images, in units that suit a network."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.basics import checks
from collapse_jax.tasks.base import Variable
from collapse_jax.tasks.parts import toys
from collapse_jax.tasks.parts.tables import sample_size, split, spread_of
from collapse_jax.tasks.trained import AbstractTrained

# Mean and standard deviation of the columns of each data set, about.
_UNITS: dict[str, tuple[Any, Any]] = {
    "blobs": (0.0, 5.8),
    "circles": (0.0, 0.64),
    "moons": ([0.5, 0.25], [0.87, 0.5]),
    "swiss_roll": ([2.0, 10.5, 0.2], [6.6, 6.1, 7.0]),
    "ring": (0.0, 1.4),
    "grid": (0.0, 2.8),
}
_LONGEST = 1.0  # norm of a gradient; longer ones are made shorter

LEARNING: dict[str, Variable] = {
    "variance_ratio": Variable("variance of generated data relative to real data", "1"),
    "train_loss": Variable("mean loss in training", "1"),
    "failed_step": Variable("first step left out, as its loss was no finite number", "steps"),
}
"""Metrics that all trained generators have."""

MOST_LAYERS = 1000
"""Each is traced and compiled by itself."""


class RealWorld(NamedTuple):
    """What is fixed for a chain."""

    test: Float[Array, "m d"]
    """The held-out real rows."""
    centers: Float[Array, "k 2"]
    """The centres of the modes."""
    key: Key[Array, ""]
    """For metrics that are estimates: the same random numbers in all generations."""


class AbstractGenerator(AbstractTrained):
    """A trained generator of points, of a data set or of the user's, or of the user's images.

    Networks see rows `[n, dim]` less their mean, in units of their standard deviation. Points have
    a unit of each column, images one of all pixels, some of which may be the same in all images.
    """

    n_samples: int
    steps: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    learning_rate: Any
    noise: Any
    origin: np.ndarray | Array  # the user's rows are origin + unit * scale * rows
    unit: Any
    scale: np.ndarray | Array
    log_volume: np.ndarray | Array
    """Logarithm of the product of the columns' units. `[1]`"""
    train: Array | None
    test: Array | None
    modes: toys.Modes | None
    """Those of the data set, where points are drawn from one that has any."""
    width: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    """Of one row of the user's."""
    dataset: str = eqx.field(static=True)
    n_test: int = eqx.field(static=True)
    test_fraction: float = eqx.field(static=True)
    split_seed: int = eqx.field(static=True)

    takes_temperature: ClassVar[bool] = True

    def _set_training(
        self, steps: int, batch_size: int, learning_rate: Any, width: int, depth: int
    ) -> None:
        self.steps = checks.whole_number("steps", steps)
        self.batch_size = checks.whole_number("batch_size", batch_size)
        self.learning_rate = checks.positive_number("learning_rate", learning_rate)
        self.width = checks.whole_number("width", width)
        self.depth = checks.whole_number("depth", depth, maximum=MOST_LAYERS)

    def _set_truth(self, dataset: str, n_samples: Any, noise: Any, n_test: int) -> None:
        self.dataset = checks.one_of("dataset", dataset, toys.DIMENSIONS)
        self.noise = checks.positive_number("noise", noise, zero_allowed=True)
        toys.spread(self.noise)
        self.n_samples = checks.whole_number("n_samples", 1000 if n_samples is None else n_samples)
        self.n_test = checks.whole_number("n_test", n_test, 2)
        self.shape, self.train, self.test = (toys.DIMENSIONS[dataset],), None, None
        self.modes = toys.modes_of(dataset)
        self._set_units(*_UNITS[dataset])

    def _set_data(self, data: Any, n_samples: Any, *, standardised: bool = True) -> None:
        rows = as_rows(data)
        self.shape, self.modes = rows.shape[1:], None
        train, test = (
            part.reshape(len(part), -1) for part in split(rows, self.test_fraction, self.split_seed)
        )
        self.n_samples, self.n_test = sample_size(n_samples, len(train)), len(test)
        self._set_units(*(units_of(train, self.shape) if standardised else (0.0, 1.0)))
        unit = self.unit * self.scale
        self.train, self.test = (
            jnp.asarray((part - self.origin) / unit, jnp.float32) for part in (train, test)
        )

    def _set_units(self, mean: Any, deviation: Any) -> None:
        deviation = np.broadcast_to(np.float64(deviation), self.dim)
        self.origin = np.broadcast_to(np.float64(mean), self.dim)
        self.unit = float(np.max(deviation))
        self.scale = deviation / self.unit
        self.log_volume = np.array([np.sum(np.log(deviation))])

    @property
    def dim(self) -> int:
        """Numbers of a row."""
        return int(np.prod(self.shape))

    def prepared(self) -> "AbstractGenerator":
        return toys.unnamed(self)

    @property
    def population(self) -> int | None:
        return None if self.train is None else len(self.train)

    @property
    def row_unit(self) -> Any:
        return self.unit

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, of which the steps become shorter along a cosine, and long gradients as well."""
        rate = optax.cosine_decay_schedule(self.learning_rate, self.steps)
        return optax.chain(optax.clip_by_global_norm(_LONGEST), optax.adam(rate))

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> RealWorld:
        keys = jax.random.split(key, 3)
        centers = toys.draw_centers(self.modes, keys[0])
        if self.test is not None:
            return RealWorld(self.test, centers, keys[2])
        test = toys.draw(self.modes, keys[1], self.n_test, self.noise, centers)
        return RealWorld(self._standardised(test), centers, keys[2])

    def real(
        self, world: RealWorld, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> Float[Array, "n d"]:
        if self.train is not None:
            return self.train[index]
        drawn = toys.draw(self.modes, key, n, self.noise, world.centers, size)
        return self._standardised(drawn)

    def held_out(self, world: RealWorld, key: Key[Array, ""]) -> Float[Array, "m d"]:
        return world.test

    def _standardised(self, rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
        origin, scale = (jnp.asarray(x, jnp.float32) for x in (self.origin, self.scale))
        return (rows - origin) / (self.unit * scale)

    def spaced(self, rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return rows * jnp.asarray(self.scale, jnp.float32)

    def shown(self, world: Any, rows: Float[Array, "n d"]) -> Float[Array, "n *shape"]:
        found = jnp.asarray(self.origin, jnp.float32) + self.unit * self.spaced(rows)
        return found.reshape(len(rows), *self.shape)

    def measure_rows(
        self, world: RealWorld, rows: Float[Array, "n d"], *, valid: Bool[Array, " n"] | None
    ) -> dict[str, Float[Array, ""]]:
        generated, real = self.spaced(rows), self.spaced(world.test)
        least = jnp.finfo(jnp.float32).tiny  # of test rows that are all the same
        ratio = _variance(generated, valid) / jnp.maximum(_variance(real, None), least)
        return {"variance_ratio": ratio}


def as_rows(data: Any) -> np.ndarray:
    """The user's points `[rows, dim]` or images `[rows, height, width]` as finite numbers.

    Raises:
        ValueError: for other shapes, images of unequal sizes and numbers that are not finite.
        TypeError: for what is no array of numbers.
    """
    of_objects = isinstance(data, np.ndarray) and data.dtype.kind == "O" and data.ndim > 0
    if isinstance(data, list | tuple) or of_objects:
        shapes = [_shape(row) for row in data]
        other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
        if other is not None:
            raise ValueError(
                f"data must be rows or images of one shape, got {shapes[0]} in row 0 and "
                f"{shapes[other]} in row {other}"
            )
    rows = checks.finite_array("data", data, ndim=(2, 3))
    if not rows.size:
        raise ValueError(f"data must have rows, got shape {rows.shape}")
    return rows


def _shape(row: Any) -> Any:
    """The shape of a row, or in words that it has none."""
    try:
        return np.shape(row)
    except ValueError:
        return "lines of unequal lengths"


def units_of(train: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unit of each column of training rows `[n, d]`; images have one unit.

    Raises:
        ValueError: if a column, or all images, are constant.
    """
    mean, deviation = spread_of(train)
    if len(shape) > 1:
        deviation = np.full_like(deviation, np.sqrt(np.mean(deviation**2)))
    if np.any(deviation == 0.0):
        what = f"column {int(np.argmin(deviation))}" if len(shape) == 1 else "every image"
        raise ValueError(
            f"data must vary in every column, images anywhere; {what} is constant in the training "
            "rows"
        )
    return mean, deviation


def _variance(rows: Float[Array, "n d"], valid: Bool[Array, " n"] | None) -> Float[Array, ""]:
    """The sum of the columns' variances, of the rows that count."""
    weight = jnp.ones(len(rows)) if valid is None else valid.astype(jnp.float32)
    size = jnp.maximum(jnp.sum(weight), 1.0)
    apart = rows - weight @ rows / size
    return weight @ jnp.sum(apart**2, axis=1) / jnp.maximum(size - 1.0, 1.0)
