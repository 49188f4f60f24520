"""The options of `collapse-jax simulate lm`."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from collapse_jax.cli.corpora import CorpusOptions
from collapse_jax.cli.options import Options

if TYPE_CHECKING:  # loaded by the command, so that help comes quickly
    from jax.sharding import Mesh

    from collapse_jax.tasks.base import AbstractTask

_PRESETS = "{tiny,gpt2-9m,llama2-12m,...}"


def _hint(metavar: str, default: str) -> Any:
    return arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


_Path = Annotated[str | None, arg(metavar="PATH", help_behavior_hint="(optional)")]
_Optional = Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="(optional)")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModelOptions(Options, CorpusOptions):
    """Train a transformer on documents; each generation learns from the last one's documents."""

    n_generations: Annotated[int, arg(name="generations", metavar="INT")] = 5
    """Generations per chain; the first is fitted to real data."""
    seeds: Annotated[int, arg(metavar="INT")] = 3
    """Number of independent chains, whose seeds are 0, 1, 2, ..."""
    corpus: Annotated[str | None, _hint("FILE|hub:NAME", "an embedded grammar")] = None
    """Documents: .txt, .jsonl, .jsonl.gz or .parquet, or a data set of the hub."""
    chat: bool = False
    """Make the embedded grammar's documents prompts and responses."""
    model: _Path = None
    """A checkpoint (folder or name on the hub) of a GPT-2, Llama-2 or Gemma-2."""
    preset: Annotated[str | None, _hint(_PRESETS, "tiny")] = None
    """What to pretrain from scratch."""
    mode: Annotated[str | None, _hint("{pretrain,finetune}", "finetune with a model")] = None
    """Whether generations start from scratch or from the model."""
    start: Annotated[str, arg(metavar="{base,previous}")] = "base"
    """Whether a generation starts anew, or from the generation before."""
    tokenizer: _Path = None
    """A tokenizer.json, or `bytes`; default that of the model or the grammar."""
    n_samples: Annotated[int | None, _hint("INT", "1024; of a corpus, all documents")] = None
    """Documents per generation."""
    n_test: Annotated[int | None, _hint("INT", "512; of a corpus, all test documents")] = None
    """Held-out real documents."""
    context: Annotated[int | None, _hint("INT", "512, or what the grammar needs")] = None
    """Most tokens of a document."""
    epochs: Annotated[int | None, _hint("INT", "6; fine-tuning 1")] = None
    """How often each document is visited."""
    batch_size: Annotated[int | None, _hint("INT", "32; fine-tuning 128")] = None
    """Documents per step."""
    micro_batch: Annotated[int | None, _hint("INT", "the batch size")] = None
    """Documents whose gradient is computed at once."""
    learning_rate: Annotated[float | None, _hint("FLOAT", "0.01; fine-tuning 8e-6")] = None
    """The highest learning rate."""
    temperature: Annotated[float, arg(metavar="FLOAT")] = 1.0
    """Scores are divided by it when tokens are drawn."""
    top_k: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(optional)")] = None
    """Draw from so many of the likeliest tokens."""
    top_p: _Optional = None
    """Draw from the likeliest tokens that together have this probability."""
    sample_batch: Annotated[int, arg(metavar="INT")] = 256
    """Documents that are sampled together."""
    dtype: Annotated[str, arg(metavar="{float32,bfloat16}")] = "float32"
    """Type of the computation."""
    param_dtype: Annotated[str, arg(metavar="{float32,bfloat16}")] = "float32"
    """Type of the parameters."""
    remat: bool = False
    """Compute layers again in the backward pass, to save memory."""
    mesh: Annotated[str | None, arg(metavar="DATAxMODEL", help_behavior_hint="(optional)")] = None
    """Split each model over so many times so many devices, instead of the seeds."""
    samples: _Path = None
    """Write the documents of every generation into this folder, as .jsonl."""

    def make_task(self) -> "AbstractTask":
        from collapse_jax.basics import checks
        from collapse_jax.language.corpora import ByteTokenizer, FileTokenizer, Grammar
        from collapse_jax.language.model.sampling import Sampling
        from collapse_jax.language.model.training import FINETUNING, Optimizer
        from collapse_jax.language.task import PRETRAINING, LanguageModel

        if self.corpus is not None and self.chat:
            raise ValueError("chat is of the embedded grammar; it cannot be given with a corpus")
        if self.model is not None and self.preset is not None:
            raise ValueError(f"preset cannot be given together with a model, got {self.preset!r}")
        finetunes = self.mode == "finetune" or (self.mode is None and self.model is not None)
        usual = FINETUNING if finetunes else PRETRAINING
        changes = {
            name: value
            for name in ("learning_rate", "epochs", "batch_size", "micro_batch")
            if (value := getattr(self, name)) is not None
        }
        settings = {"learning_rate": usual.learning_rate, "schedule": usual.schedule}
        settings |= {"batch_size": usual.batch_size, "epochs": usual.epochs}
        tokenizer = None
        if self.tokenizer is not None:
            is_bytes = self.tokenizer == "bytes"
            tokenizer = ByteTokenizer() if is_bytes else FileTokenizer(self.tokenizer)
        checks.one_of("start", self.start, ("base", "previous"))
        return LanguageModel(
            Grammar(chat=self.chat) if self.corpus is None else self.read(),
            self.n_samples,
            checkpoint=self.model,
            model=self.preset,
            mode=self.mode,  # type: ignore[arg-type]  # checked by the task
            start=self.start,  # type: ignore[arg-type]
            tokenizer=tokenizer,
            optimizer=Optimizer(**(settings | changes)),
            sampling=Sampling(self.temperature, top_k=self.top_k, top_p=self.top_p),
            context=self.context,
            n_test=self.n_test,
            sample_batch=self.sample_batch,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            remat=self.remat,
        )

    def make_mesh(self) -> "Mesh | None":
        import re

        import jax

        if self.mesh is None:
            return None
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.mesh):
            raise ValueError(f"mesh must be two numbers such as 1x8, got {self.mesh!r}")
        data, model = map(int, self.mesh.split("x"))
        if data * model != jax.device_count():
            raise ValueError(
                f"mesh must be of all {jax.device_count()} devices that there are, got {self.mesh}"
            )
        return jax.make_mesh((data, model), ("data", "model"))

    def make_observer(self, task: Any) -> Callable[[Any], None] | None:
        """What writes the documents of each generation, if they are wanted."""
        if self.samples is None:
            return None
        from collapse_jax.language.samples import SampleWriter

        return SampleWriter(self.samples, task.tokenizer)
