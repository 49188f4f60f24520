"""The parameters of a language model: where they come from, what they compute, where they go."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from collapse_jax.language import surprise
from collapse_jax.language.corpora.documents import AnyDocuments
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Decoder, Params
from collapse_jax.language.model.lora import LoRA, adapters_of
from collapse_jax.language.tokenizers.base import AbstractTokenizer
from collapse_jax.language.weights import pretrained
from collapse_jax.run.staged import Generation
from collapse_jax.tasks.base import AbstractTask


class AbstractParameters(AbstractTask):
    """A decoder, fresh or from a checkpoint, of which all or low-rank changes are trained."""

    architecture: eqx.AbstractVar[Architecture]
    tokenizer: eqx.AbstractVar[AbstractTokenizer | None]
    context: eqx.AbstractVar[int]
    dtype: eqx.AbstractVar[str]
    param_dtype: eqx.AbstractVar[str]
    remat: eqx.AbstractVar[bool]
    scan: eqx.AbstractVar[bool]
    graphdef: eqx.AbstractVar[Any]
    loaded: eqx.AbstractVar[Params | None]
    base: eqx.AbstractVar[pretrained.Weights | None]
    checkpoint: eqx.AbstractVar[str | None]
    lora: eqx.AbstractVar[LoRA | None]

    @property
    def known_tokenizer(self) -> AbstractTokenizer:
        """The tokenizer, without which nothing can be trained.

        Raises:
            ValueError: where a checkpoint has none and there is no corpus.
        """
        if self.tokenizer is None:
            raise ValueError("corpus must be given to train a checkpoint on something")
        return self.tokenizer

    def decoder(self, rngs: nnx.Rngs, lora: LoRA | None = None) -> Decoder:
        """A decoder of this architecture."""
        return Decoder(
            self.architecture,
            rngs=rngs,
            dtype=jnp.dtype(self.dtype),
            param_dtype=jnp.dtype(self.param_dtype),
            remat=self.remat,
            scan=self.scan,
            lora=lora,
        )

    def initialise(self, key: Key[Array, ""]) -> Params:
        """Parameters of a fresh start, of what is trained. Pure."""
        params = nnx.split(self.decoder(nnx.Rngs(params=key), self.lora))[1]
        return params if self.lora is None else adapters_of(params)

    @property
    def n_trained(self) -> int:
        """How many numbers are trained."""
        if self.lora is None:
            return self.architecture.n_parameters
        shapes = jax.eval_shape(self.initialise, jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    def whole(self, model: Params) -> Params:
        """All parameters of a decoder: with `lora` those of the checkpoint and what is trained."""
        return model if self.lora is None else nnx.merge_state(self._loaded_params, model)

    @property
    def _loaded_params(self) -> Params:
        """The checkpoint's parameters on the device."""
        leaves = jax.tree.leaves(self.loaded)
        if leaves and not isinstance(leaves[0], jax.ShapeDtypeStruct):
            return self.loaded
        return jax.tree.map(jnp.asarray, self._base_params)

    def _computed(self, model: Params) -> Params:
        """Parameters in the type in which is computed: changed once, not at each token."""
        whole = self.whole(model)
        return jax.tree.map(lambda p: p.astype(self.dtype), whole)

    def _first_params(self, key: Key[Array, ""]) -> Params:
        """The checkpoint's parameters, or fresh ones."""
        fresh = self.loaded is None or self.lora is not None
        return self.initialise(key) if fresh else self._loaded_params

    def logits(self, token_ids: Int[Any, "batch time"]) -> Float[Array, "batch time vocab"]:
        """Scores of the base model for the token after each, in float32.

        Args:
            token_ids: rows of ids as the checkpoint's tokenizer makes them, BOS included where it
                wants one. `[batch, time]`

        Raises:
            ValueError: for ids outside the vocabulary, and without a checkpoint.
        """
        vocab_size = self.architecture.vocab_size
        return pretrained.logits(self._base_graph, self._base_params, token_ids, vocab_size)

    def perplexity(self, params: Params | None, texts: Sequence[str]) -> float:
        """The perplexity of texts under a model, long ones in several parts.

        Args:
            params: of one model, as `observe` of `simulate` receives them; None for the base model.
            texts: whole documents, whose ends count.
        """
        rows = surprise.read(texts, self.known_tokenizer, self.context)
        return float(self._perplexity(params, rows.rows()))

    def _perplexity(self, params: Params | None, rows: AnyDocuments) -> Float[Array, ""]:
        graphdef = self._base_graph if params is None else self.graphdef
        whole = self._loaded_params if params is None else self.whole(params)
        bos_id = self.known_tokenizer.bos_id
        return surprise.perplexity(graphdef, whole, rows, bos_id=bos_id)

    @property
    def _base_graph(self) -> Any:
        return nnx.split(nnx.eval_shape(lambda: self.decoder(nnx.Rngs(0))))[0]

    def save_pretrained(
        self,
        folder: str | Path,
        params: Params | Generation | None = None,
        *,
        seed: int | None = None,
        merged: bool = True,
    ) -> None:
        """Write a checkpoint that transformers, and `from_pretrained`, can read.

        It has the tokenizer in use, and what else the checkpoint had that the model came from.

        Args:
            folder: where to; it may be the checkpoint itself, which is then replaced.
            params: a generation, as `observe` of `simulate` receives it, or the parameters of one
                model. Default those of the base model.
            seed: which model of a generation. Default the only one.
            merged: with `lora`, whether the whole model is written, or the changes alone, as PEFT
                does, which reads them.

        Raises:
            ValueError: for a generation of several models without a seed, and for a seed it lacks.
        """
        params = pretrained.one_model(self._base_params if params is None else params, seed)
        about = self.architecture, self.tokenizer, self.checkpoint
        if self.lora is None or not adapters_of(params):
            pretrained.save(folder, params, *about)
        else:
            base = self._base_params if merged else None
            pretrained.save_changed(folder, params, self.lora, *about, base)

    @property
    def _base_params(self) -> Params:
        if self.base is None:
            raise ValueError("checkpoint must be given: the task has no base model without one")
        return self.base.params
