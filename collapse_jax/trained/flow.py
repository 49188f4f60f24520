"""Normalising flows: densities that are known exactly, and fitted to their own samples."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import Number, Table
from collapse_jax.machines.flags import usual_flags
from collapse_jax.numerics import draws
from collapse_jax.tasks.base import Model, Variable
from collapse_jax.trained import networks
from collapse_jax.trained.base import LEARNING, MOST_LAYERS, AbstractGenerator, RealWorld

_REACH = 4.0  # standard deviations within which splines bend


class Flow(AbstractGenerator):
    """A normalising flow of coupling layers with rational-quadratic splines, from flowjax.

    Half of a row's numbers, another one in each layer, are bent by splines whose knots a network
    (ReLU) makes of the other half. Trained by maximum likelihood. At temperature c the normal
    noise that the flow starts from has the covariance c.

    - `nll`: negative log-density of held-out real rows under the model, in units of the data.
    - `variance_ratio`: variance of the rows that the model generates, over all columns, relative to
        that of the held-out ones.
    - `train_loss`: mean negative log-density of the rows of all training steps.
    - `failed_step`: the first training step that was left out since its loss was no finite number;
        0 for none.

    Args:
        dataset: `"blobs"`, `"circles"`, `"moons"`, `"swiss_roll"`; modes in a `"ring"` or `"grid"`.
        n_samples: rows per generation. Default 1000, with `data` all training rows.
        steps: training steps of a generation.
        batch_size: rows of a step.
        learning_rate: of Adam in the first step; it falls to 0 along a cosine.
        layers: coupling layers.
        knots: bins of a spline.
        width: units of each hidden layer of the networks.
        depth: their hidden layers.
        noise: standard deviation of the data set's noise (blobs have their own).
        n_test: size of the held-out real test set (with `data` its test rows).
        data: points `[rows, dim]` or images `[rows, height, width]` instead of a data set, no
            column or pixel of which may be constant. Generation 1 draws `n_samples` of the training
            rows without replacement.
        test_fraction: share of the rows of `data` that is kept for tests.
        split_seed: seed of the split of `data` into training and test rows.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        Durkan et al., arXiv 1906.04032; Dinh et al., arXiv 1605.08803.

    Example:
        >>> import collapse_jax as cj
        >>> cj.Flow("moons", n_samples=500, steps=200).dim
        2
    """

    layers: int = eqx.field(static=True)
    knots: int = eqx.field(static=True)

    variables: ClassVar[dict[str, Variable]] = {
        "nll": Variable("negative log-density of held-out real data under the model", "nat"),
        **LEARNING,
        "train_loss": Variable("mean negative log-density in training", "nat"),
    }

    def __init__(
        self,
        dataset: Annotated[str, "{blobs,circles,moons,swiss_roll,ring,grid}"] = "moons",
        n_samples: int | Array | None = None,
        *,
        steps: int = 500,
        batch_size: int = 128,
        learning_rate: Number = 5e-3,
        layers: int = 6,
        knots: int = 8,
        width: int = 32,
        depth: int = 1,
        noise: Number = 0.05,
        n_test: int = 500,
        data: Table = None,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.dataset, self.noise, self.n_test = dataset, noise, n_test
        self.test_fraction, self.split_seed = test_fraction, split_seed
        self._set_training(steps, batch_size, learning_rate, width, depth)
        self.layers = checks.whole_number("layers", layers, maximum=MOST_LAYERS)
        self.knots = checks.whole_number("knots", knots, 2)
        if data is None:
            self._set_truth(dataset, n_samples, noise, n_test)
        else:
            self._set_data(data, n_samples)
            self._check_density()

    def _check_density(self) -> None:
        if self.dim < 2:
            raise ValueError("data must have 2 columns or more for a Flow, got 1")
        same = np.ptp(np.asarray(self.train), axis=0).reshape(self.shape) == 0.0
        if np.any(same):
            pixel = tuple(map(int, np.argwhere(same)[0]))
            raise ValueError(
                f"data must have a density for a Flow, and pixel {pixel} is the same in all "
                "training images; add some noise to them, or crop them"
            )

    def parameters(self, key: Key[Array, ""]) -> Any:
        """A flow of flowjax; the weights of its networks are what is trained."""
        return networks.fresh(self._architecture, key)

    def whole(self, model: Model) -> Any:
        return networks.completed(model, self._architecture)

    @property
    def _architecture(self) -> Any:
        return _made(self.dim, self.layers, self.knots, self.width, self.depth)

    def loss(
        self, world: RealWorld, model: Any, rows: Float[Array, "n d"], key: Key[Array, ""]
    ) -> Float[Array, ""]:
        volume = jnp.asarray(self.log_volume, jnp.float32)[0]
        return volume - jnp.mean(model.log_prob(rows))

    def sample(
        self,
        world: RealWorld,
        model: Model,
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Float[Array, "n d"]:
        noise = draws.normal(key, (n, self.dim))
        noise = noise if temperature is None else jnp.sqrt(temperature) * noise
        return jax.vmap(self.whole(model).bijection.transform)(noise)

    def log_density(
        self, world: RealWorld, model: Model, rows: Float[Array, "n d"]
    ) -> Float[Array, " n"]:
        return self.whole(model).log_prob(rows)

    def measure(self, world: RealWorld, model: Model) -> dict[str, Float[Array, ""]]:
        return {"nll": self.loss(world, self.whole(model), world.test, world.key)}


@functools.cache
def _made(dim: int, layers: int, knots: int, width: int, depth: int) -> Any:
    """A flow of flowjax with weights of no use."""

    @usual_flags()
    def make() -> Any:
        from flowjax import bijections, distributions, flows  # slow to import

        return flows.coupling_flow(
            jax.random.key(0, impl="threefry2x32"),
            base_dist=distributions.StandardNormal((dim,)),
            transformer=bijections.RationalQuadraticSpline(knots=knots, interval=_REACH),
            flow_layers=layers,
            nn_width=width,
            nn_depth=depth,
        )

    with ThreadPoolExecutor(1) as other:  # where nothing is traced: a flow has arrays of its own
        return other.submit(make).result()
