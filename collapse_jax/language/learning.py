"""A decoder that learns from documents and writes others: training steps and sampling."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from collapse_jax.basics.fingerprints import digest
from collapse_jax.language.corpora.documents import AnyDocuments, Ragged
from collapse_jax.language.corpora.encoding import decode_documents
from collapse_jax.language.corpora.variety import VARIETY, measure_texts
from collapse_jax.language.model.decoder import Params
from collapse_jax.language.model.editing import edit_documents
from collapse_jax.language.model.entropies import next_entropy
from collapse_jax.language.model.sampling import Sampling, joined, sample
from collapse_jax.language.model.training import (
    Optimizer,
    TrainState,
    start_training,
    train_steps,
)
from collapse_jax.language.prompts import Prompts, in_turn
from collapse_jax.language.reading import Reading
from collapse_jax.language.weights.parameters import AbstractParameters
from collapse_jax.numerics.tokens import TokenEdit
from collapse_jax.tasks.data import Data, Size, Steps


class World(NamedTuple):
    """What is fixed for one chain."""

    test: AnyDocuments
    """The documents on which it is tested."""
    prompts: AnyDocuments | None = None
    """Beginnings of the first real documents, where others are generated from them."""


class AbstractDecoding(AbstractParameters):
    """What of a language model is the same whatever the documents are."""

    runner: ClassVar[Any] = "staged"
    takes_start: ClassVar[bool] = True
    takes_weights: ClassVar[bool] = False
    on_request: ClassVar[tuple[str, ...]] = ("next_entropy", "base_perplexity", *VARIETY)

    start: eqx.AbstractVar[str]
    optimizer: eqx.AbstractVar[Optimizer]
    sampling: eqx.AbstractVar[Sampling]
    reading: eqx.AbstractVar[Reading]
    generate_from: eqx.AbstractVar[str]
    prompts: eqx.AbstractVar[Prompts | None]
    kept: eqx.AbstractVar[Ragged | None]
    held: eqx.AbstractVar[Ragged | None]

    @property
    def train(self) -> AnyDocuments | None:
        """The real training documents, where they are not drawn."""
        return None if self.kept is None else self.kept.rows()

    @property
    def test(self) -> AnyDocuments | None:
        """The real test documents, where they are not drawn."""
        return None if self.held is None else self.held.rows()

    @property
    def fingerprint(self) -> str | None:
        """A short name of the checkpoint's weights, by which a run remembers where it started.

        With a chat template it is one of both.
        """
        weights = None if self.base is None else self.base.fingerprint
        if self.reading.template is None:
            return weights
        written = f"{weights} {sorted(self.reading.template.tokens.items())} "
        return digest(np.frombuffer((written + self.reading.template.source).encode(), np.uint8))

    @property
    def starts_warm(self) -> bool:
        return self.start == "previous"

    def each(
        self, function: Callable[[str], Any], world: Any, rows: AnyDocuments
    ) -> Float[np.ndarray, " n"]:
        """A function of the text of each document, in Python."""
        tokens, lengths = np.asarray(rows.tokens), np.asarray(rows.lengths)
        texts = decode_documents(tokens, lengths, self.known_tokenizer)
        return np.array([function(text) for text in texts], np.float32)

    def measure_texts(self, rows: AnyDocuments, names: Sequence[str]) -> dict[str, float]:
        """How varied generated documents are, as far as these metrics are named."""
        wanted = [name for name in names if name in VARIETY]
        if not wanted:
            return {}
        tokens, lengths = np.asarray(rows.tokens), np.asarray(rows.lengths)
        return measure_texts(decode_documents(tokens, lengths, self.known_tokenizer), wanted)

    def measure_laws(self, world: World, model: Params) -> dict[str, Float[Array, ""]]:
        """How sure a model is of the next token of the test documents."""
        bos_id = self.known_tokenizer.bos_id
        whole = self.whole(model)
        return {"next_entropy": next_entropy(self.graphdef, whole, world.test, bos_id=bos_id)}

    def edit(
        self, world: World, model: Params, rows: AnyDocuments, keys: tuple[Any, Any], how: TokenEdit
    ) -> AnyDocuments:
        """Documents of which some tokens are new."""
        tokenizer = self.known_tokenizer
        return edit_documents(
            *(self.graphdef, self._computed(model), rows, keys, how),
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            possible=tokenizer.possible(self.architecture.vocab_size),
        )

    def n_steps(self, n_train: Size) -> Size:
        return self.optimizer.n_steps(n_train)

    def begin(self, world: World, data: Data) -> TrainState:
        params = data.start(lambda: self._first_params(data.initial_key))
        return start_training(self.optimizer, params)

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
            frozen=None if self.lora is None else self._loaded_params,
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
    ) -> AnyDocuments:
        """`n` documents, of which some may not have ended."""
        return self._generate(world, model, key, key, jnp.arange(n))

    def sample_part(
        self,
        world: World,
        model: Params,
        key: Key[Array, ""],
        part: Size,
        places: Int[Array, " n"],
        temperature: Any,
    ) -> AnyDocuments:
        """Documents of one of several draws, from the prompts at these places."""
        return self._generate(world, model, jax.random.fold_in(key, part), key, places)

    def _generate(
        self,
        world: World,
        model: Params,
        key: Key[Array, ""],
        order: Key[Array, ""],
        places: Int[Array, " n"],
    ) -> AnyDocuments:
        """Documents; where there are prompts, from those at these places in the order of a key."""
        tokenizer = self.known_tokenizer
        draw = functools.partial(
            sample,
            self.graphdef,
            self._computed(model),
            key,
            len(places),
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            possible=tokenizer.possible(self.architecture.vocab_size),
            settings=self.sampling,
        )
        if self.prompts is None or world.prompts is None:
            return draw(self.context)[0]
        chosen = in_turn(world.prompts, order, places)
        if self.generate_from == "blocks":
            return draw(self.context, prompts=chosen)[0]
        most = self.context - self.prompts.shortest
        following, _ = draw(most, prompts=chosen, whole=self.context)
        return joined(chosen, following, self.context)


@jax.jit
def _finite(state: TrainState) -> Bool[Array, " seed"]:
    """The losses, and the parameters, which the last step may have spoiled."""

    def of(leaf: Array) -> Array:
        return jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))

    leaves = jax.tree.leaves(state.params)
    return jnp.all(jnp.stack([jnp.isfinite(state.nats), *map(of, leaves)]), axis=0)
