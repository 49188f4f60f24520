"""Checkpoints in the format of Hugging Face: read what transformers wrote, and the reverse."""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from collapse_jax.basics import checks
from collapse_jax.basics.files import write_atomically
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Params
from collapse_jax.language.model.layers import floating_type
from collapse_jax.language.weights import tensors
from collapse_jax.language.weights.companions import COMPANIONS
from collapse_jax.language.weights.configuration import read_config, write_config
from collapse_jax.language.weights.stored import (
    INDEX,
    WHOLE,
    Stored,
    differ,
    read_json,
    read_tensor,
    stored_tensors,
)
from collapse_jax.machines import hosts

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
# Buffers that old checkpoints have beside the parameters.
_BUFFER = re.compile(r".*(\.attn\.(bias|masked_bias)|rotary_emb\.inv_freq)")


def load(
    source: str | Path, *, param_dtype: Any = jnp.float32, scan: bool = False
) -> tuple[Architecture, Params]:
    """Read a checkpoint of a family of `configuration.CLASSES`.

    Args:
        source: a folder with config.json and safetensors, or a name on the Hugging Face hub.
        param_dtype: type of the parameters: float32, bfloat16 or float16.
        scan: whether they are for a decoder with stacked layers.

    Returns:
        the architecture, and the parameters of a `Decoder` of it. They are arrays on the
        host, so that the caller decides where they go (`jax.device_put`).

    Raises:
        ValueError: for a folder that is not there or incomplete, a family that is not supported,
            missing or extra tensors, and shapes that do not fit config.json; all before a tensor is
            read. For hub names see `find`.
    """
    dtype = floating_type("param_dtype", param_dtype)
    folder = find(source)
    config = read_config(read_json(folder / "config.json"))
    stored = stored_tensors(folder)
    architecture = _with_stored_head(config, stored)
    arrays = tensors.allocate(architecture, dtype, scan=scan)
    places = list(tensors.places(architecture, arrays))
    names = _match(folder, architecture, places, stored)
    by_file: dict[Path, list[tensors.Place]] = {}
    for place in places:
        by_file.setdefault(stored[names[place.name]].file, []).append(place)
    for file, inside in by_file.items():
        with safe_open(file, framework="np") as handle:
            for place in inside:
                place.write(read_tensor(stored, names[place.name], handle))
    return architecture, tensors.as_params(arrays)


def load_architecture(source: str | Path) -> Architecture:
    """The architecture of a checkpoint, before its weights are read. Raises as `load` does.

    It is that of config.json. Where that says that the embedding is the head as well, and the
    weights have a head that differs, the model has a head of its own, as in transformers.
    """
    folder = find(source)
    architecture = read_config(read_json(folder / "config.json"))
    if not any((folder / name).is_file() for name in (WHOLE, INDEX)):
        return architecture  # `load` says that they are missing
    return _with_stored_head(architecture, stored_tensors(folder))


def _with_stored_head(architecture: Architecture, stored: Mapping[str, Stored]) -> Architecture:
    embedding = tensors.embedding(architecture, stored)
    tied = architecture.tied_head and tensors.HEAD in stored and embedding in stored
    if tied and differ(stored, embedding, tensors.HEAD):
        return dataclasses.replace(architecture, tied_head=False)
    return architecture


def save(
    folder: str | Path,
    architecture: Architecture,
    params: Params,
    *,
    entries: Mapping[str, Any] | None = None,
    like: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    max_shard_bytes: int = 5_000_000_000,
) -> None:
    """Write a checkpoint that transformers, and `load`, can read.

    config.json is written last: a folder that has it is whole. Weights and tokenizers of an earlier
    checkpoint in the folder are removed. Where several processes hold parts of the parameters, all
    of them make the call, and the first one writes.

    Args:
        folder: where to; it is made if need be.
        architecture: of a `Decoder`, with layers stacked or not. The parameters keep
            their type.
        params: see `architecture`.
        entries: further entries of config.json, such as `bos_token_id` and `eos_token_id`.
        like: the config.json of the checkpoint from which the parameters came: its family, and its
            entries that do not say what the architecture is, are kept.
        files: what else is written, by name.
        max_shard_bytes: weights beyond this are split over several files.

    Raises:
        ValueError: if no family has this architecture, or if `folder` is a file.
    """
    checks.whole_number("max_shard_bytes", max_shard_bytes, maximum=2**63 - 1)
    config = write_config(architecture, like or {})
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder must be a folder, and {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    arrays = tensors.host_arrays(params)
    if hosts.are_shared(params) and not hosts.is_first():
        return
    (folder / "config.json").unlink(missing_ok=True)
    dtype = next(iter(arrays.values())).dtype.name
    config |= {"dtype": dtype, "torch_dtype": dtype, **(entries or {})}
    prefix = tensors.usual_prefix(architecture)
    shards = _shards(tensors.places(architecture, arrays), max_shard_bytes)
    index, total = {}, 0
    for number, shard in enumerate(shards, start=1):
        name = WHOLE
        if len(shards) > 1:
            name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        found = {_full_name(prefix, place.name): place.read() for place in shard}
        write_atomically(folder / name, lambda path, found=found: _save(path, found))
        index |= dict.fromkeys(found, name)
        total += sum(tensor.nbytes for tensor in found.values())
    if len(shards) > 1:
        _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": index})
    for name, content in (files or {}).items():
        write_atomically(folder / name, lambda path, content=content: _write(path, content))
    kept = {*index.values(), *(files or {}), *([INDEX] if len(shards) > 1 else [])}
    _remove_others(folder, kept, () if files is None else COMPANIONS)
    _write_json(folder / "config.json", config)


def find(source: str | Path) -> Path:
    """The folder of a checkpoint, which is fetched if `source` is a name on the hub.

    A string of the form `name` or `owner/name` is one, unless there is such a folder here; a
    `Path`, and a string that begins with `.`, `~` or `/`, is always a folder.

    Raises:
        ValueError: for a folder that is not there and for an unknown hub name.
        ImportError: for a hub name without the extra `[hub]`.
        ConnectionError: without a network.
        PermissionError: where the hub wants a licence to be accepted first.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ValueError(f"a checkpoint must be a folder, and {source} is a file")
    if isinstance(source, Path) or not _HUB_NAME.fullmatch(source):
        raise ValueError(f"a checkpoint must be a folder or a name on the hub, got {str(source)!r}")
    return _fetch(source)


def lasting_name(source: str | Path) -> str:
    """The name by which a checkpoint is found from any folder: that of the hub, or a whole path."""
    folder = Path(source).expanduser()
    return str(folder.absolute()) if folder.exists() else str(source)


def _fetch(name: str) -> Path:
    try:
        import huggingface_hub as hub  # pyright: ignore[reportMissingImports]
        from huggingface_hub import errors  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            f"there is no folder {name!r}, and to look for it on the Hugging Face hub the extra is "
            "needed: pip install 'collapse_jax[hub]'"
        ) from None
    wanted = ["*.json", "*.safetensors", "tokenizer*", "merges.txt", "*.jinja"]
    try:
        return Path(hub.snapshot_download(name, allow_patterns=wanted))
    except errors.GatedRepoError:
        raise PermissionError(
            f"{name!r} is given to those who have accepted its licence: accept it on its page on "
            "the hub and log in with `hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ValueError(
            f"a checkpoint must be a folder or a name on the hub, and {name!r} is neither"
        ) from None
    except (errors.LocalEntryNotFoundError, OSError) as error:
        raise ConnectionError(
            f"there is no folder {name!r}, and the Hugging Face hub cannot be reached to fetch it: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _match(
    folder: Path,
    architecture: Architecture,
    places: list[tensors.Place],
    stored: Mapping[str, Stored],
) -> dict[str, str]:
    """Names in the checkpoint of all places, or an error that says what does not fit."""
    prefix = tensors.prefix(architecture, stored)
    names = {place.name: _full_name(prefix, place.name) for place in places}
    found = {name for name in stored if not _BUFFER.fullmatch(name)}
    if architecture.tied_head:
        found.discard(tensors.HEAD)
    missing = [name for name in names.values() if name not in found]
    extra = sorted(found.difference(names.values()))
    for what, which in (("lacks", missing), ("has, beyond what config.json describes,", extra)):
        if which:
            raise ValueError(f"the checkpoint in {folder} {what} {_first(which)}")
    wrong = [
        f"{names[place.name]} {list(stored[names[place.name]].shape)} for {list(place.shape)}"
        for place in places
        if stored[names[place.name]].shape != place.shape
    ]
    if wrong:
        raise ValueError(f"tensors in {folder} do not fit its config.json: {_first(wrong)}")
    return names


def _full_name(prefix: str, name: str) -> str:
    return name if name == tensors.HEAD else prefix + name


def _first(names: list[str], count: int = 4) -> str:
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


def _shards(places: Iterable[tensors.Place], max_bytes: int) -> list[list[tensors.Place]]:
    shards, size = [[]], 0
    for place in places:
        if shards[-1] and size + place.view.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(place)
        size += place.view.nbytes
    return shards


def _save(path: str, found: dict[str, np.ndarray]) -> None:
    save_file(found, path, metadata={"format": "pt"})  # without it transformers refuses the file


def _write(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


def _remove_others(folder: Path, kept: set[str], others: Iterable[str]) -> None:
    for name in os.listdir(folder):
        ours = name in (WHOLE, INDEX, *others) or _SHARD.fullmatch(name)
        if ours and name not in kept:
            (folder / name).unlink()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2) + "\n"
    write_atomically(path, lambda name: Path(name).write_text(text, encoding="utf-8"))
