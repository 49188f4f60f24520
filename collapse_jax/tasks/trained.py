"""Tasks whose models are trained by gradient steps on a loss."""

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key

from collapse_jax.numerics.threefry import words
from collapse_jax.tasks.base import AbstractTask
from collapse_jax.tasks.data import Data, Model, Rows, Size, Steps, World

FAILED = "failed_step"
"""The metric that says which training step was left out, the first of them."""


class Training(NamedTuple):
    """All that training carries from one step to the next."""

    model: Model
    moments: optax.OptState
    total: Float[Array, ""]
    """Sum of the losses of all steps that were made."""
    n_steps: Int[Array, ""]
    """How many were made, those left out apart."""
    failed: Int[Array, ""]
    """The first step that was left out, counted from 1; 0 for none."""
    average: Model | None
    """The moving average of parameters where that is the model."""


class AbstractTrained(AbstractTask):
    """A task with parameters, a loss and a sampler; optimiser and steps come with it.

    A task of one's own has, in place of `fit`, `parameters` and `loss`. Each step draws a batch of
    rows, each with a probability like its weight, so that any workflow can be run. With
    `Fit(warm_start=True)` training goes on from the model before. A step whose loss or slope is no
    finite number changes nothing: the chain goes on, and `failed_step`, a metric for tasks that
    have it among their `variables`, is the first such step of a generation, or 0.

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
    takes_phases: ClassVar[bool] = True
    extrapolates: ClassVar[bool] = True

    steps: eqx.AbstractVar[int]
    """Training steps of a fit."""
    batch_size: eqx.AbstractVar[int]
    """Rows of a step."""

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """How gradients change the parameters: Adam at `learning_rate`, or at 0.01 without."""
        return optax.adam(getattr(self, "learning_rate", 1e-2))

    @property
    def averaging(self) -> float | None:
        """Decay of the moving average of parameters that is the model; None for the last ones."""
        return None

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
        moments, none = self.optimizer.init(model), jnp.zeros((), jnp.int32)
        average = None if self.averaging is None else model
        return Training(model, moments, jnp.zeros(()), none, none, average)

    def learn(self, world: World, data: Data, state: Training, steps: Steps) -> Training:
        rows, optimizer = data.rows, self.optimizer

        def body(step: Int[Array, ""], state: Training) -> Training:
            place, choice, own = jax.random.split(jax.random.fold_in(data.key, step), 3)
            places = data.places.during(step, self.steps)
            drawn = places.draw(words(place, (2, self.batch_size)), choice)
            batch = jax.tree.map(lambda x: x[drawn], rows)

            def loss(model: Model) -> Float[Array, ""]:
                return self.loss(world, self.whole(model), batch, own)

            value, gradient = jax.value_and_grad(loss)(state.model)
            updates, moments = optimizer.update(gradient, state.moments, state.model)
            model = optax.apply_updates(state.model, updates)
            made = state.n_steps + 1
            average = self._average(state.average, model, made)
            after = Training(model, moments, state.total + value, made, state.failed, average)
            leaves = [value, *jax.tree.leaves(gradient)]
            good = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
            failed = jnp.where(state.failed == 0, step + 1, state.failed).astype(jnp.int32)
            left_out = state._replace(failed=failed)
            return jax.tree.map(lambda new, old: jnp.where(good, new, old), after, left_out)

        return lax.fori_loop(steps.first, steps.last, body, state)

    def _average(self, average: Model | None, model: Model, made: Int[Array, ""]) -> Model | None:
        """The moving average after so many steps, of which the first few forget quickly."""
        if average is None:
            return None
        decay = jnp.minimum(jnp.float32(self.averaging), (1.0 + made) / (10.0 + made))
        return jax.tree.map(lambda old, new: new + decay * (old - new), average, model)

    def conclude(self, state: Training) -> Model:
        return state.model if state.average is None else state.average

    def fit(self, world: World, data: Data) -> Model:
        steps = Steps(0, self.steps, data.places.total)
        return self.conclude(self.learn(world, data, self.begin(world, data), steps))

    def measure_learning(self, state: Training) -> dict[str, Float[Array, ""]]:
        loss = state.total / jnp.maximum(state.n_steps, 1)
        lost = (state.n_steps == 0) & (state.failed > 0)
        return {
            "train_loss": jnp.where(lost, jnp.inf, loss),
            FAILED: state.failed.astype(jnp.float32),
        }


def _is_trained(leaf: Any) -> bool:
    """Whether a leaf is trained, or stands for one that is."""
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and jnp.issubdtype(
        leaf.dtype, jnp.inexact
    )
