"""Language models: transformers trained on documents, which generate documents."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.language import acceptance, defaults, memory, metrics
from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.documents import AnyDocuments, Ragged
from collapse_jax.language.corpora.encoding import LONGER
from collapse_jax.language.corpora.grammar import Grammar
from collapse_jax.language.corpora.surveys import Survey
from collapse_jax.language.corpora.text import AbstractText
from collapse_jax.language.learning import AbstractDecoding, World
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Params
from collapse_jax.language.model.lora import LoRA
from collapse_jax.language.model.loss import evaluate
from collapse_jax.language.model.sampling import Sampling
from collapse_jax.language.model.training import FINETUNING, Optimizer
from collapse_jax.language.prompts import Prompts, check_room
from collapse_jax.language.reading import Reading, find_reading, lasting
from collapse_jax.language.real import is_drawn, real_documents
from collapse_jax.language.surprise import Named
from collapse_jax.language.tokenizers.base import AbstractTokenizer, check_vocabulary
from collapse_jax.language.weights import huggingface, pretrained
from collapse_jax.tasks.base import Acceptance, Variable

PRETRAINING = Optimizer(1e-2, schedule="cosine", warmup=0.05, batch_size=32, epochs=6)
"""What trains the preset `tiny` on the embedded grammar in seconds."""


class LanguageModel(AbstractDecoding):
    """A transformer trained on documents, from which the next generation's documents are sampled.

    Each generation trains anew, from a fresh start (`mode="pretrain"`) or from a checkpoint
    (`mode="finetune"`), unless `start="previous"`. It samples documents from BOS to EOS until
    `n_samples` of them are accepted. Small models train side by side, one replicate per seed.

    The chain runs stage by stage on the host, so `simulate` serves it and `rollout` does not.

    Args:
        corpus: the real documents, from `collapse_jax.corpus`. Default `Grammar()`, an embedded
            language whose entropy is known exactly; none with a checkpoint.
        n_samples: documents per generation. Default 1024 for a grammar, else all training documents
            that fit.
        checkpoint: a folder, or a name on the Hugging Face hub, of a GPT-2, Llama (2 and 3, and
            SmolLM), Mistral, Qwen (2.5 and 3) or Gemma (1, 2, and 3 of text).
        model: name of a preset, whose vocabulary is then the tokenizer's, or an `Architecture`.
            Default `"tiny"`, or the checkpoint's.
        mode: `"pretrain"` or `"finetune"`. Default `"finetune"` with a checkpoint.
        start: where a generation starts: `"base"`, or `"previous"`, the model before it.
        tokenizer: default the checkpoint's tokenizer.json, or the corpus's own.
        optimizer: default `PRETRAINING`, or for fine-tuning the published settings.
        sampling: from which law tokens are drawn. Default the model's own.
        context: most tokens of a document, EOS included. Default what a grammar needs, or 512, but
            no more than the model's context.
        n_test: documents for the test loss. Default 512 for a grammar, else all that there are.
        sample_batch: documents that are sampled together. Default 256.
        max_attempts: documents that are sampled per accepted one before the run is given up.
        dtype: types of the computation and of the parameters, `"float32"` or
            `"bfloat16"`. With `dtype="bfloat16"` the parameters remain float32 by default: in pure
            bfloat16, as in the published runs, small updates are lost to rounding. With `lora` they
            are of the type of the computation, and what is trained is float32.
        param_dtype: see `dtype`.
        remat: compute layers again in the backward pass, to save memory.
        scan: loop over stacked layers. Default for a dozen layers or more.
        longer: what becomes of real documents that do not fit into the context: `"drop"`,
            `"truncate"`, or `"split"` into several, of which the last has an end.
        most_dropped: share of the documents that may be dropped before the run is refused.
        template: what writes chats: `"own"` for the chat template of the checkpoint, with its
            special tokens, or a file `.jinja`. Default the published format, as `corpus.Text` says.
        loss_on: what models learn to write: `"all"` tokens, or only those of `"responses"`. Default
            all.
        generate_from: what models are given to begin with: `"bos"` for nothing, `"prompts"` for
            those of the real chats, whose last responses they write, `"halves"` for the first
            halves of real documents, or `"blocks"` for real documents, of which they write what
            follows, as many tokens as `context`. Default prompts where there is a template or
            the loss is on responses, else nothing.
        learn_from: the `"ids"` of generated documents, or their `"text"`, read again as that of
            real ones. Where it does not fit, its beginning is kept, or with `longer="drop"` none.
        lora: low-rank changes of the checkpoint's weights, which alone are trained, kept and saved;
            the weights are shared by all seeds. Default none, all weights are trained.
        named: texts, `corpus.Text` by name, on which each model is measured: the metric
            `perplexity_NAME`.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type), for
            documents that do not fit, and for what the checkpoint's loader refuses.

    Source:
        arXiv 2410.16713, section 2.3.

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.LanguageModel()
        >>> task.n_samples, task.architecture.vocab_size, task.context
        (1024, 94, 28)
    """

    n_samples: int = eqx.field(static=True)
    corpus: AbstractCorpus | None = eqx.field(static=True)
    checkpoint: str | None = eqx.field(static=True)
    model: str | Architecture | None = eqx.field(static=True)
    architecture: Architecture = eqx.field(static=True)
    mode: str = eqx.field(static=True)
    start: str = eqx.field(static=True)
    tokenizer: AbstractTokenizer | None = eqx.field(static=True)
    optimizer: Optimizer
    sampling: Sampling
    context: int = eqx.field(static=True)
    n_test: int = eqx.field(static=True)
    sample_batch: int = eqx.field(static=True)
    max_attempts: int = eqx.field(static=True)
    dtype: str = eqx.field(static=True)
    param_dtype: str = eqx.field(static=True)
    remat: bool = eqx.field(static=True)
    scan: bool = eqx.field(static=True)
    longer: str = eqx.field(static=True)
    most_dropped: float = eqx.field(static=True)
    template: str | None = eqx.field(static=True)
    loss_on: str = eqx.field(static=True)
    generate_from: str = eqx.field(static=True)
    learn_from: str = eqx.field(static=True)
    reading: Reading = eqx.field(static=True)
    survey: Survey | None = eqx.field(static=True)
    """What became of the real documents; None where they are drawn from a grammar."""
    lora: LoRA | None
    named: Named = eqx.field(static=True)
    named_rows: dict[str, Ragged]
    graphdef: Any = eqx.field(static=True)
    """The structure of the `Decoder`, for use with its parameters."""
    base: pretrained.Weights | None = eqx.field(static=True)
    """The parameters of the checkpoint, from which fine-tuning starts."""
    loaded: Params | None
    """The same on the device if this is `prepared`, else shapes; None where no fit starts there."""
    kept: Ragged | None
    held: Ragged | None
    prompts: Prompts | None
    """Beginnings of the real documents, where others are generated from them."""

    def __init__(
        self,
        corpus: AbstractCorpus | None = None,
        n_samples: int | None = None,
        *,
        checkpoint: str | Path | None = None,
        model: str | Architecture | None = None,
        mode: Literal["pretrain", "finetune"] | None = None,
        start: Literal["base", "previous"] = "base",
        tokenizer: AbstractTokenizer | None = None,
        optimizer: Optimizer | None = None,
        sampling: Sampling | None = None,
        context: int | None = None,
        n_test: int | None = None,
        sample_batch: int = 256,
        max_attempts: int = 20,
        dtype: Literal["float32", "bfloat16"] = "float32",
        param_dtype: Literal["float32", "bfloat16"] | None = None,
        remat: bool = False,
        scan: bool | None = None,
        longer: Literal["drop", "truncate", "split"] = "drop",
        most_dropped: float = 0.5,
        template: str | Path | None = None,
        loss_on: Literal["all", "responses"] = "all",
        generate_from: Literal["bos", "prompts", "halves", "blocks"] | None = None,
        learn_from: Literal["ids", "text"] = "ids",
        lora: LoRA | None = None,
        named: Mapping[str, AbstractText] | None = None,
    ):
        if corpus is not None and not isinstance(corpus, AbstractCorpus):
            raise TypeError(
                f"corpus must be one of collapse_jax.corpus, such as Grammar(), got {corpus!r}"
            )
        defaults.check_parts(tokenizer, optimizer, sampling, lora)
        self.corpus = Grammar() if corpus is None and checkpoint is None else corpus
        self.checkpoint = None if checkpoint is None else huggingface.lasting_name(checkpoint)
        mode = ("pretrain" if checkpoint is None else "finetune") if mode is None else mode
        self.mode = checks.one_of("mode", mode, ("pretrain", "finetune"))
        self.start = checks.one_of("start", start, ("base", "previous"))
        if self.mode == "finetune" and checkpoint is None:
            raise ValueError("checkpoint must be given with mode='finetune'")
        if lora is not None and self.mode == "pretrain":
            raise ValueError(f"lora must be None with mode='pretrain', got {lora}")
        self.lora = lora
        self.dtype = checks.one_of("dtype", dtype, ("float32", "bfloat16"))
        usual = "float32" if lora is None else dtype  # weights that stay need no more digits
        param_dtype = usual if param_dtype is None else param_dtype
        self.param_dtype = checks.one_of("param_dtype", param_dtype, ("float32", "bfloat16"))
        self.remat = bool(remat)
        self.tokenizer = defaults.find_tokenizer(tokenizer, self.corpus, self.checkpoint)
        context = defaults.find_context(context, self.corpus, self.tokenizer)
        self.model = model
        most = 2 * context if generate_from == "blocks" else context
        self.architecture = defaults.find_architecture(model, self.checkpoint, self.tokenizer, most)
        self.context = min(context, self.architecture.context)
        self.scan = self.architecture.depth >= 12 if scan is None else bool(scan)
        if self.tokenizer is not None:
            check_vocabulary(self.tokenizer, self.architecture.vocab_size)
        self.optimizer = optimizer or (PRETRAINING if self.mode == "pretrain" else FINETUNING)
        self.sampling = sampling or Sampling()
        self.sample_batch = checks.whole_number("sample_batch", sample_batch)
        self.max_attempts = checks.whole_number("max_attempts", max_attempts)
        self.longer = checks.one_of("longer", longer, LONGER)
        self.most_dropped = checks.positive_number("most_dropped", most_dropped, zero_allowed=True)
        how = find_reading(template, loss_on, generate_from, learn_from, self.tokenizer)
        self.reading = how._replace(longer=self.longer, most_dropped=self.most_dropped)
        self.template = None if template is None else lasting(template)
        self.loss_on, self.generate_from, self.learn_from = how[1:4]
        check_room(how.generate_from, self.context, self.architecture.context)
        sizes = self.context, n_samples, n_test
        real = real_documents(self.corpus, self.tokenizer, *sizes, self.reading)
        self.n_samples, self.n_test, self.kept, self.held, self.survey, lengths = real
        self.prompts = None if lengths is None else Prompts(lengths, self.kept, self.reading)
        self.named = Named(named)
        self.named_rows = self.named.rows(self.tokenizer, self.context, self.reading)
        self.graphdef = nnx.split(nnx.eval_shape(lambda: self.decoder(nnx.Rngs(0), lora)))[0]
        self.base = self.loaded = None
        if self.checkpoint is not None:
            self.base = pretrained.Weights(
                self.checkpoint, self.architecture, self.param_dtype, scan=self.scan
            )
            if self.mode == "finetune":
                self.loaded = jax.eval_shape(lambda params: params, self.base.params)

    @classmethod
    def from_pretrained(
        cls, checkpoint: str | Path, corpus: AbstractCorpus | None = None, **options: Any
    ) -> "LanguageModel":
        """A task that starts from a checkpoint: `LanguageModel(corpus, checkpoint=checkpoint)`."""
        return cls(corpus, checkpoint=checkpoint, **options)

    @property
    def variables(self) -> dict[str, Variable]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The metrics; some are known of a grammar in its own words alone."""
        of_grammar = metrics.MEASURED_ON_GRAMMAR if self._grammar is not None else {}
        of_base = metrics.MEASURED_BY_BASE if self.loaded is not None else {}
        return metrics.MEASURED | of_base | self.named.variables | of_grammar

    @property
    def _grammar(self) -> Grammar | None:
        """The grammar, where documents are in its own words."""
        drawn = is_drawn(self.corpus, self.tokenizer)
        return self.corpus if drawn else None  # pyright: ignore[reportReturnType]

    @property
    def population(self) -> int | None:
        """Number of real training documents, None where they are drawn from a grammar."""
        return None if self.kept is None else len(self.kept)

    @property
    def scratch_bytes(self) -> int:
        return self.n_trained * sum(memory.bytes_held(self).values())

    def explain_memory(self, rows: bool) -> str:
        return memory.explain_memory(self)

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> World:
        if self.held is None or self.kept is None:
            return World(self._known_grammar.draw(key, self.n_test))
        return World(self.held.rows(), self.prompts and self.prompts.of(self.kept, index))

    def real(
        self, world: World, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> AnyDocuments:
        if self.kept is None:
            return self._known_grammar.draw(key, n)
        return self.kept.rows(index)

    def measure(self, world: World, model: Params) -> dict[str, Float[Array, ""]]:
        """The loss of trained parameters on held-out real documents."""
        bos_id = self.known_tokenizer.bos_id
        loss = evaluate(self.graphdef, self.whole(model), world.test, bos_id=bos_id)
        found = metrics.of_loss(loss, world.test, self._grammar) | self.measure_laws(world, model)
        return found | {
            name: self._perplexity(model, texts.rows()) for name, texts in self.named_rows.items()
        }

    def measure_rows(
        self, world: World, rows: AnyDocuments, *, valid: Any
    ) -> dict[str, Float[Array, ""]]:
        """The metrics of generated documents, of which all count."""
        found = metrics.of_documents(rows, self._grammar)
        if self.loaded is not None:
            found |= {"base_perplexity": self._perplexity(None, rows)}
        return found

    @property
    def acceptance(self) -> Acceptance:
        return Acceptance(
            self.acceptable,
            self.sample_batch,
            self.max_attempts,
            "documents",
            f"A document must end within context={self.context} tokens, and have the form of the "
            "corpus; train for longer, or raise max_attempts",
            None if self.prompts is None else self.n_samples,
            self.learn_from == "text",
        )

    def prepared(self) -> "LanguageModel":
        """The task with the parameters of its checkpoint, where fits start from them."""
        if self.loaded is None or self.base is None:
            return self
        return eqx.tree_at(lambda t: t.loaded, self, self.base.params)

    def acceptable(self, drawn: AnyDocuments) -> tuple[AnyDocuments, Int[np.ndarray, " accepted"]]:
        """Which of the documents drawn may become training data, on the host.

        Returns:
            the acceptable ones as they are to be learned, and their places.
        """
        parts = self.corpus, self.known_tokenizer, self.context, self.reading, self.prompts
        return acceptance.accepted(drawn, *parts)

    @property
    def _known_grammar(self) -> Grammar:
        if self._grammar is None:
            raise ValueError("corpus must be given to simulate a checkpoint's generations")
        return self._grammar
