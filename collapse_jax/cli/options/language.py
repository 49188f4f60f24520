"""The options of `collapse-jax simulate lm`, made from those of a language model and its parts."""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax

from collapse_jax.basics import checks
from collapse_jax.cli.options.corpora import corpus_settings, read_corpus, read_named
from collapse_jax.cli.options.settings import Setting, settings_of
from collapse_jax.language.corpora import (
    AbstractTokenizer,
    ByteTokenizer,
    FileTokenizer,
    Grammar,
)
from collapse_jax.language.model.lora import LoRA
from collapse_jax.language.model.sampling import Sampling
from collapse_jax.language.model.training import FINETUNING, Optimizer
from collapse_jax.language.samples import SampleWriter
from collapse_jax.language.saved_models import ModelWriter
from collapse_jax.language.task import PRETRAINING, LanguageModel
from collapse_jax.language.weights import huggingface

if TYPE_CHECKING:
    from jax.sharding import Mesh

DESCRIPTION = (
    "Train a transformer on documents; each generation learns from the last one's documents."
)
USUAL = {"generations": 5, "seeds": 3}
_RENAMED = {"checkpoint": "model", "model": "preset"}
"""Arguments of `LanguageModel` whose options have other names: a folder for a run has its own."""
_LORA = "With it, or another option of these, low-rank changes of the model are trained."
_USUAL = "Default that of the preset, or of fine-tuning with a model."


def settings() -> list[Setting]:
    """Options of the documents, the model, its training and its sampling."""
    of_model = [
        replace(setting, name=_RENAMED.get(setting.name, setting.name))
        for setting in settings_of(LanguageModel)
    ]
    of_optimizer = [
        replace(setting, help=f"{setting.help.partition(' Default')[0]} {_USUAL}", default=None)
        for setting in settings_of(Optimizer)
    ]
    return [
        *corpus_settings("an embedded grammar"),
        Setting(
            "chat",
            "make the embedded grammar's documents prompts and responses.",
            False,
            flag=True,
        ),
        Setting(
            "tokenizer",
            "a tokenizer.json, or bytes. Default that of the model or the grammar.",
            None,
            metavar="PATH",
            text=True,
        ),
        *(
            Setting(
                name,
                f"the token {place} a document. Default what the files of the tokenizer say.",
                None,
                metavar="TOKEN",
                text=True,
            )
            for name, place in (("bos", "in front of"), ("eos", "at the end of"))
        ),
        Setting(
            "perplexity",
            "texts on which each model is measured besides, for the metric perplexity_NAME; they "
            "are read as the corpus is.",
            None,
            metavar="NAME=FILE ...",
            many=True,
            text=True,
        ),
        *of_model,
        *of_optimizer,
        *settings_of(Sampling),
        *(
            replace(setting, help=f"{setting.help} {_LORA}", default=None)
            for setting in settings_of(LoRA, prefix="lora_")
        ),
    ]


def extra_settings() -> list[Setting]:
    """Options of runs of language models alone."""
    return [
        Setting(
            "mesh",
            "split each model over so many times so many devices, instead of the seeds.",
            None,
            metavar="DATAxMODEL",
            text=True,
        ),
        Setting(
            "samples",
            "write the documents of every generation into this folder, as .jsonl.",
            None,
            metavar="FOLDER",
            text=True,
        ),
        Setting(
            "save_models",
            "keep the newest model of each seed in this folder, as a checkpoint.",
            None,
            metavar="FOLDER",
            text=True,
        ),
    ]


def make_task(given: Mapping[str, Any]) -> LanguageModel:
    """The language model of these options."""
    given = dict(given)
    if "corpus" in given and given.get("chat"):
        raise ValueError("chat is of the embedded grammar; it cannot be given with a corpus")
    if "model" in given and "preset" in given:
        raise ValueError(f"preset cannot be given together with a model, got {given['preset']!r}")
    mode = given.get("mode", "finetune" if "model" in given else "pretrain")
    usual = FINETUNING if mode == "finetune" else PRETRAINING
    names = [setting.name for setting in settings_of(Optimizer)]
    optimizer = {name: getattr(usual, name) for name in names if name != "micro_batch"}
    optimizer |= {name: given.pop(name) for name in names if name in given}
    names = [setting.name for setting in settings_of(Sampling)]
    sampling = {name: given.pop(name) for name in names if name in given}
    names = [setting.name for setting in settings_of(LoRA, prefix="lora_")]
    lora = {name.removeprefix("lora_"): given.pop(name) for name in names if name in given}
    named = read_named(given)
    chat, corpus = given.pop("chat", False), read_corpus(given)
    if (tokenizer := _tokenizer(given)) is not None:
        given["tokenizer"] = tokenizer
    names = {option: name for name, option in _RENAMED.items()}
    arguments = {names.get(name, name): value for name, value in given.items()}
    checks.one_of("start", arguments.get("start", "base"), ("base", "previous"))
    task = LanguageModel(
        Grammar(chat=chat) if corpus is None else corpus,
        optimizer=Optimizer(**optimizer),
        sampling=Sampling(**sampling),
        lora=LoRA(**lora) if lora else None,
        named=named,
        **arguments,
    )
    if task.survey is not None:
        _say(str(task.survey))
    return task


@functools.cache
def _say(text: str) -> None:
    """Print it once, however many tasks of a sweep learn from the same documents."""
    print(text)


def _tokenizer(given: dict[str, Any]) -> AbstractTokenizer | None:
    """The tokenizer that options describe, which are taken out of them; None for the default."""
    ends = {name: given.pop(name) for name in ("bos", "eos") if name in given}
    path = given.pop("tokenizer", given.get("model") if ends else None)
    if ends and path in (None, "bytes"):
        raise ValueError(f"{next(iter(ends))} must be given with a model or a tokenizer.json")
    if path is None:
        return None
    if path == "bytes":
        return ByteTokenizer()
    if path == given.get("model"):
        path = huggingface.find(path)
    return FileTokenizer(path, **ends)


def make_mesh(mesh: str) -> "Mesh":
    """The devices over which a model is split, as the option says."""
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", mesh):
        raise ValueError(f"mesh must be two numbers such as 1x8, got {mesh!r}")
    data, model = map(int, mesh.split("x"))
    if data * model != jax.device_count():
        raise ValueError(
            f"mesh must be of all {jax.device_count()} devices that there are, got {mesh}"
        )
    return jax.make_mesh((data, model), ("data", "model"))


def make_observer(given: Mapping[str, str], task: Any) -> Callable[[Any], None] | None:
    """What writes documents and models into folders, where options ask for it."""
    writers: list[Callable[[Any], None]] = []
    templated = getattr(task, "template", None) is not None
    if "samples" in given:
        writers.append(SampleWriter(given["samples"], task.tokenizer, special=templated))
    if "save_models" in given:
        writers.append(ModelWriter(given["save_models"], task))

    def observe(made: Any) -> None:
        for writer in writers:
            writer(made)

    return observe if writers else None
