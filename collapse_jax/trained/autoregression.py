"""The laws of a table's columns, each given those before it, from one network of masked weights."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.numerics import draws, threefry
from collapse_jax.trained import networks
from collapse_jax.trained.columns import Columns

_NARROW = 0.01  # least deviation of a component, in deviations of the column
_WIDEST = 3.0  # logarithm of the greatest deviation
_SPREAD = 1.5  # components start so far from the mean
_FAR = 10.0  # what a network sees is within so much of 0
_NEVER = -1e9  # log-odds of a category that a column does not have


class Net(NamedTuple):
    """A perceptron and a linear map beside it, whose weights are masked where they are used."""

    layers: Any
    beside: Any


class Heads(NamedTuple):
    """The laws of all columns of a row; each is right given the columns before it."""

    log_weight: Float[Array, "numbers k"]
    mean: Float[Array, "numbers k"]
    deviation: Float[Array, "numbers k"]
    log_odds: Float[Array, "others m"]


class Autoregression(NamedTuple):
    """The laws of the columns of a row, given those before it and the rows before it."""

    columns: Columns
    window: int
    """Rows before a row that it is given."""
    components: int
    """Normal laws of a column of numbers."""
    width: int
    depth: int

    def parameters(self, key: Key[Array, ""]) -> Net:
        """A fresh network."""
        inputs, outputs = (len(order) for order in self._orders)
        made = Net(
            networks.perceptron(inputs, outputs, self.width, self.depth),
            networks.perceptron(inputs, outputs, 1, 0),
        )
        return networks.fresh(made, key)

    def log_density(self, net: Net, stretch: Float[Array, "w c"]) -> Float[Array, ""]:
        """Of the last row, given the others."""
        heads, row = self.heads(net, stretch), stretch[-1]
        numbers, others = row[self._numbers][:, None], row[self._others][:, None]
        gaps = (numbers - heads.mean) / heads.deviation
        normal = -0.5 * gaps**2 - jnp.log(heads.deviation) - 0.5 * math.log(2.0 * math.pi)
        mixed = jax.nn.logsumexp(heads.log_weight + normal, axis=-1)
        places = jnp.arange(heads.log_odds.shape[1], dtype=jnp.float32)[None]
        chosen = jnp.where(places == others, jax.nn.log_softmax(heads.log_odds, axis=-1), 0.0)
        return jnp.sum(mixed) + jnp.sum(chosen)

    def rows(
        self, net: Net, key: Key[Array, ""], n: int, heat: Float[Array, ""]
    ) -> Float[Array, "n c"]:
        """Rows of a model, with a window one series, before which there is nothing."""
        even_key, normal_key = jax.random.split(key)
        even = draws.to_uniform(threefry.words(even_key, (n, len(self.columns.each))))
        noise = draws.normal(normal_key, (n, len(self.columns.numbers)))
        nothing = [-1.0 if column.categories else 0.0 for column in self.columns.each]
        before = jnp.tile(jnp.asarray([nothing], jnp.float32), (self.window, 1))

        def draw(before: Array, chance: tuple[Array, Array]) -> tuple[Array, Array]:
            row = self._row(net, before, *chance, heat)
            return jnp.concatenate([before, row[None]])[1:], row

        if not self.window:
            return jax.vmap(lambda *chance: draw(before, chance)[1])(even, noise)
        return lax.scan(draw, before, (even, noise))[1]

    def _row(
        self,
        net: Net,
        before: Float[Array, "w c"],
        even: Float[Array, " c"],
        noise: Float[Array, " numbers"],
        heat: Float[Array, ""],
    ) -> Float[Array, " c"]:
        """One row: all columns at a time, so often that the last one has seen those before it."""
        places = np.argsort(np.concatenate([self._numbers, self._others]))

        def again(_: Any, row: Float[Array, " c"]) -> Float[Array, " c"]:
            heads = self.heads(net, jnp.concatenate([before, row[None]]))
            component = _chosen(heads.log_weight, even[self._numbers], heat)
            here = component[:, None] == jnp.arange(self.components, dtype=jnp.float32)[None]
            mean, deviation = (
                jnp.sum(jnp.where(here, x, 0.0), axis=1) for x in (heads.mean, heads.deviation)
            )
            numbers = mean + jnp.sqrt(heat) * deviation * noise
            others = _chosen(heads.log_odds, even[self._others], heat)
            return jnp.concatenate([numbers, others])[places]

        return lax.fori_loop(0, len(places), again, jnp.zeros(len(places)))

    def heads(self, net: Net, stretch: Float[Array, "w c"]) -> Heads:
        """What the network says of the last row, given the others."""
        code = jax.vmap(self.columns.in_code)(stretch)
        made = self._outputs(net, jnp.clip(code, -_FAR, _FAR).reshape(-1))
        shape = (len(self._numbers), 3, self.components)
        parts = made[: math.prod(shape)].reshape(shape)
        odds = made[math.prod(shape) :].reshape(len(self._others), max(self.columns.most, 1))
        sizes = np.asarray([len(self.columns.each[i].categories) for i in self._others], int)
        apart = np.linspace(-_SPREAD, _SPREAD, self.components) if self.components > 1 else [0.0]
        return Heads(
            jax.nn.log_softmax(parts[:, 0], axis=-1),
            parts[:, 1] + jnp.asarray(apart, jnp.float32)[None],
            _NARROW + jnp.exp(jnp.minimum(parts[:, 2], _WIDEST)),
            jnp.where(np.arange(odds.shape[1])[None] < sizes[:, None], odds, _NEVER),
        )

    def _outputs(self, net: Net, x: Float[Array, " i"]) -> Float[Array, " o"]:
        """None depends on an input of its own column or of a later one."""
        inputs, outputs = self._orders
        most = int(outputs.max()) - 1
        hidden = np.round(np.linspace(min(int(not self.window), most), most, self.width))
        before, y = inputs, x
        for layer in net.layers.layers[:-1]:
            y = jax.nn.silu(_product(layer, hidden[:, None] >= before[None], y))
            before = hidden
        made = _product(net.layers.layers[-1], outputs[:, None] > before[None], y)
        return made + _product(net.beside.layers[0], outputs[:, None] > inputs[None], x)

    @property
    def _orders(self) -> tuple[np.ndarray, np.ndarray]:
        """Which column, counted from 1, inputs and outputs belong to; 0 for the rows before."""
        owners, k = self.columns.owners, self.components
        inputs = np.concatenate([np.zeros(self.window * len(owners), int), owners + 1])
        widths = [3 * k] * len(self._numbers) + [self.columns.most] * len(self._others)
        return inputs, np.repeat(np.concatenate([self._numbers, self._others]) + 1, widths)

    @property
    def _numbers(self) -> np.ndarray:
        return np.asarray(self.columns.numbers, int)

    @property
    def _others(self) -> np.ndarray:
        return np.asarray(self.columns.categories, int)


def _product(layer: Any, mask: np.ndarray, x: Float[Array, " i"]) -> Float[Array, " o"]:
    return jnp.where(mask, layer.weight, 0.0) @ x + layer.bias


def _chosen(
    log_odds: Float[Array, "c m"], even: Float[Array, " c"], heat: Float[Array, ""]
) -> Float[Array, " c"]:
    """A number from 0 for each row of log-odds, by an even draw of each."""
    there: Bool[Array, "c m"] = log_odds > 0.5 * _NEVER
    below = jnp.cumsum(jax.nn.softmax(log_odds / heat, axis=-1), axis=-1)[:, :-1]
    return jnp.sum((below < even[:, None]) & there[:, 1:], axis=-1).astype(jnp.float32)
