"""Tasks whose models are trained by gradient steps on a loss."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key

from collapse_jax.numerics.draws import words
from collapse_jax.tasks.base import AbstractTask
from collapse_jax.tasks.data import Data, Model, Rows, Size, Steps, World


class Training(NamedTuple):
    """All that training carries from one step to the next."""

    model: Model
    moments: optax.OptState
    total: Float[Array, ""]
    """Sum of the losses of all steps so far."""
    n_steps: Int[Array, ""]


class AbstractTrained(AbstractTask):
    """A task with parameters, a loss and a sampler; optimiser and steps come with it.

    A task of one's own has, in place of `fit`, `parameters` and `loss`. Each step draws a batch of
    rows, each with a probability like its weight, so that any workflow can be run. With
    `Fit(warm_start=True)` training goes on from the model before.

    Parameters may be any pytree, such as a module of equinox. Only its floating-point arrays are
    carried along and trained; `whole` puts the rest back.

    Example:
        >>> import jax, jax.numpy as jnp, collapse_jax as cj
        >>> class Location(cj.AbstractTrained):
        ...     n_samples: int = 20
        ...     steps: int = 50
        ...     batch_size: int = 10
        ...     variables = {"squared_error": cj.Variable("of the mean", "1")}
        ...     def parameters(self, key):
        ...         return jnp.zeros(())
        ...     def loss(self, world, model, rows, key):
        ...         return jnp.mean((rows - model) ** 2)
        ...     def real(self, world, key, n, **_):
        ...         return jax.random.normal(key, (n,))
        ...     def sample(self, world, model, key, n, **_):
        ...         return model + jax.random.normal(key, (n,))
        ...     def measure(self, world, model):
        ...         return {"squared_error": model**2}
        >>> cj.simulate(cj.Accumulate(), Location(), 3, seeds=10).squared_error.sizes
        Frozen({'seed': 10, 'generation': 3})
    """

    takes_start: ClassVar[bool] = True
    extrapolates: ClassVar[bool] = True

    steps: eqx.AbstractVar[int]
    """Training steps of a fit."""
    batch_size: eqx.AbstractVar[int]
    """Rows of a step."""

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """How gradients change the parameters: Adam at `learning_rate`, or at 0.01 without."""
        return optax.adam(getattr(self, "learning_rate", 1e-2))

    @abstractmethod
    def parameters(self, key: Key[Array, ""]) -> Any:
        """The parameters of a fresh start."""

    @abstractmethod
    def loss(self, world: World, model: Any, rows: Rows, key: Key[Array, ""]) -> Float[Array, ""]:
        """Mean loss of some rows, as parameters like those of a fresh start have it.

        Args:
            world: what is fixed for the chain.
            model: the parameters, whole.
            rows: the rows of a step. `[batch_size, ...]`
            key: for what is random in a loss.
        """

    def whole(self, model: Model) -> Any:
        """The parameters with what of them is no array, as `parameters` makes them."""
        made = eqx.filter_eval_shape(self.parameters, jax.random.key(0))
        others = eqx.filter(made, _is_trained, inverse=True)
        return eqx.combine(model, others)

    def n_steps(self, n_train: Size) -> Size:
        return self.steps

    def begin(self, world: World, data: Data) -> Training:
        def fresh() -> Model:
            return eqx.filter(self.parameters(data.initial_key), eqx.is_inexact_array)

        model = data.start(fresh)
        moments = self.optimizer.init(model)
        return Training(model, moments, jnp.zeros(()), jnp.zeros((), jnp.int32))

    def learn(self, world: World, data: Data, state: Training, steps: Steps) -> Training:
        rows, optimizer = data.rows, self.optimizer

        def body(step: Int[Array, ""], state: Training) -> Training:
            place, choice, own = jax.random.split(jax.random.fold_in(data.key, step), 3)
            drawn = data.places.draw(words(place, (2, self.batch_size)), choice)
            batch = jax.tree.map(lambda x: x[drawn], rows)

            def loss(model: Model) -> Float[Array, ""]:
                return self.loss(world, self.whole(model), batch, own)

            value, gradient = jax.value_and_grad(loss)(state.model)
            updates, moments = optimizer.update(gradient, state.moments, state.model)
            model = optax.apply_updates(state.model, updates)
            return Training(model, moments, state.total + value, state.n_steps + 1)

        return lax.fori_loop(steps.first, steps.last, body, state)

    def conclude(self, state: Training) -> Model:
        return state.model

    def fit(self, world: World, data: Data) -> Model:
        steps = Steps(0, self.steps, data.places.total)
        return self.conclude(self.learn(world, data, self.begin(world, data), steps))

    def measure_learning(self, state: Training) -> dict[str, Float[Array, ""]]:
        return {"train_loss": state.total / jnp.maximum(state.n_steps, 1)}


def _is_trained(leaf: Any) -> bool:
    """Whether a leaf is trained, or stands for one that is."""
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and jnp.issubdtype(
        leaf.dtype, jnp.inexact
    )
