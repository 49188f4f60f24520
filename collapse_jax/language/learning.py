"""A decoder that learns from documents and writes others: training steps and sampling."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Decoder, Params
from collapse_jax.language.model.sampling import Sampling, sample
from collapse_jax.language.model.training import (
    Optimizer,
    TrainState,
    start_training,
    train_steps,
)
from collapse_jax.language.tokenizers.base import AbstractTokenizer
from collapse_jax.tasks.base import AbstractTask
from collapse_jax.tasks.data import Data, Size, Steps


class World(NamedTuple):
    """What is fixed for one chain: the documents on which it is tested."""

    test: Documents


class AbstractDecoding(AbstractTask):
    """What of a language model is the same whatever the documents are."""

    runner: ClassVar[Any] = "staged"
    takes_start: ClassVar[bool] = True
    takes_weights: ClassVar[bool] = False

    architecture: eqx.AbstractVar[Architecture]
    start: eqx.AbstractVar[str]
    tokenizer: eqx.AbstractVar[AbstractTokenizer | None]
    optimizer: eqx.AbstractVar[Optimizer]
    sampling: eqx.AbstractVar[Sampling]
    context: eqx.AbstractVar[int]
    dtype: eqx.AbstractVar[str]
    param_dtype: eqx.AbstractVar[str]
    remat: eqx.AbstractVar[bool]
    scan: eqx.AbstractVar[bool]
    graphdef: eqx.AbstractVar[Any]
    loaded: eqx.AbstractVar[Params | None]

    @property
    def starts_warm(self) -> bool:
        return self.start == "previous"

    @property
    def known_tokenizer(self) -> AbstractTokenizer:
        """The tokenizer, without which nothing can be trained.

        Raises:
            ValueError: where a checkpoint has none and there is no corpus.
        """
        if self.tokenizer is None:
            raise ValueError("corpus must be given to train a checkpoint on something")
        return self.tokenizer

    def decoder(self, rngs: nnx.Rngs) -> Decoder:
        """A decoder of this architecture."""
        return Decoder(
            self.architecture,
            rngs=rngs,
            dtype=jnp.dtype(self.dtype),
            param_dtype=jnp.dtype(self.param_dtype),
            remat=self.remat,
            scan=self.scan,
        )

    def initialise(self, key: Key[Array, ""]) -> Params:
        """Parameters of a fresh start. Pure."""
        return nnx.split(self.decoder(nnx.Rngs(params=key)))[1]

    def n_steps(self, n_train: Size) -> Size:
        return self.optimizer.n_steps(n_train)

    def begin(self, world: World, data: Data) -> TrainState:
        params = data.start(lambda: self._first_params(data.initial_key))
        return start_training(self.optimizer, params)

    def _first_params(self, key: Key[Array, ""]) -> Params:
        """The checkpoint's parameters, or fresh ones."""
        return self.initialise(key) if self.loaded is None else self.loaded

    def learn(self, world: World, data: Data, state: TrainState, steps: Steps) -> TrainState:
        return train_steps(
            self.graphdef,
            self.optimizer,
            state._replace(step=jnp.asarray(steps.first, jnp.int32)),  # which all chains share
            data.in_order(),
            steps.n_train,
            data.key,
            steps.last - steps.first,
            bos_id=self.known_tokenizer.bos_id,
        )

    def conclude(self, state: TrainState) -> Params:
        return state.params

    def fit(self, world: World, data: Data) -> Params:
        """The parameters after all steps. Pure."""
        n_train = data.places.total
        steps = Steps(0, self.n_steps(n_train), n_train)
        return self.conclude(self.learn(world, data, self.begin(world, data), steps))

    def measure_learning(self, state: TrainState) -> dict[str, Float[Array, ""]]:
        return {"train_loss": state.loss}

    def stays_finite(self, state: TrainState) -> Bool[Array, " seed"]:
        return _finite(state)

    def sample(
        self, world: World, model: Params, key: Key[Array, ""], n: int, *, temperature: Any
    ) -> Documents:
        """`n` documents, of which some may not have ended."""
        if self.dtype != self.param_dtype:  # once, not at each token
            model = jax.tree.map(lambda p: p.astype(self.dtype), model)
        tokenizer = self.known_tokenizer
        return sample(
            self.graphdef,
            model,
            key,
            n,
            self.context,
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            possible=tokenizer.possible(self.architecture.vocab_size),
            settings=self.sampling,
        )[0]


@jax.jit
def _finite(state: TrainState) -> Bool[Array, " seed"]:
    """The losses, and the parameters, which the last step may have spoiled."""

    def of(leaf: Array) -> Array:
        return jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))

    leaves = jax.tree.leaves(state.params)
    return jnp.all(jnp.stack([jnp.isfinite(state.nats), *map(of, leaves)]), axis=0)
