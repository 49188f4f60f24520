"""Low-rank changes of a checkpoint in the format of PEFT, and checkpoints with these changes."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from collapse_jax.basics.files import make_folder, write_atomically
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.model.decoder import Decoder, Params
from collapse_jax.language.model.lora import LoRA, adapters_of, changed_parts
from collapse_jax.language.weights import huggingface, tensors
from collapse_jax.language.weights.stored import read_json, safe_tensors
from collapse_jax.machines import hosts

CONFIG, _TENSORS = "adapter_config.json", "adapter_model.safetensors"
_PLAIN = {"peft_type": "LORA", "use_rslora": False, "use_dora": False, "alpha_pattern": {}}
_STARTS = True, False, "gaussian", "orthogonal", "eva"
_PREFIX = "base_model.model."
_NAME = re.compile(r"base_model\.model\.(?:.*\.)?(?:h|layers)\.\d+\.(.*)\.lora_[AB]\.weight")


def save_changes(
    folder: str | Path,
    architecture: Architecture,
    lora: LoRA,
    trained: Params,
    base: str,
    files: Mapping[str, bytes],
) -> None:
    """Write changes as PEFT does, which reads them. adapter_config.json is written last.

    Args:
        folder: where to; it is made if need be.
        architecture: of the decoder.
        lora: what is changed.
        trained: the changes of one model.
        base: the checkpoint that they change, a folder or a name on the hub.
        files: what else is written, by name.

    Raises:
        ValueError: where `folder` is a file, or holds a whole checkpoint, and where the base is
            itself one with changes, which PEFT could not say.
    """
    folder = Path(folder)
    if changes_another(base):
        raise ValueError(f"merged must be True where {base} is not a whole checkpoint, got False")
    if (folder / "config.json").exists():
        raise ValueError(f"folder must not be a whole checkpoint with merged=False, got {folder}")
    arrays = tensors.host_arrays(trained)
    if hosts.are_shared(trained) and not hosts.is_first():
        return
    make_folder("folder", folder)
    (folder / CONFIG).unlink(missing_ok=True)
    found = {place.name: place.read() for place in _places(architecture, lora, arrays)}
    config = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": architecture.family == "gpt2",
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": [part.module for part in changed_parts(architecture, lora)],
        "task_type": "CAUSAL_LM",
    }
    write_atomically(folder / _TENSORS, lambda name: save_file(found, name, {"format": "pt"}))
    for file, content in files.items():
        write_atomically(folder / file, lambda name, content=content: _write(name, content))
    text = json.dumps(config, indent=2).encode() + b"\n"
    write_atomically(folder / CONFIG, lambda name: _write(name, text))


def base_of(source: str | Path) -> Path:
    """The folder of the whole checkpoint: the source itself, or what it has changes of."""
    folder = huggingface.find(source)
    if not is_adapter(folder):
        return folder
    base = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str):
        raise ValueError(f"base_model_name_or_path must be in {folder / CONFIG}, got {base!r}")
    return huggingface.find(base)


def changes_another(source: str | Path) -> bool:
    """Whether a checkpoint, a folder or a name on the hub, is itself one with changes."""
    return is_adapter(huggingface.find(source))


def is_adapter(folder: Path) -> bool:
    """Whether a folder has changes, and no whole checkpoint."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").exists()


def load(
    source: str | Path, *, param_dtype: Any = "float32", scan: bool = False
) -> tuple[Architecture, Params]:
    """Read a checkpoint as `huggingface.load` does, or changes, which are added to theirs.

    Raises:
        ValueError: as `huggingface.load`, and for changes of another kind than `LoRA`'s.
    """
    folder = huggingface.find(source)
    architecture, params = huggingface.load(base_of(folder), param_dtype=param_dtype, scan=scan)
    if not is_adapter(folder):
        return architecture, params
    return architecture, merge(architecture, *_load_changes(folder, architecture, scan), params)


def merge(architecture: Architecture, lora: LoRA, trained: Params, base: Params) -> Params:
    """All parameters of a model, on the host: sums are worked out in float32."""
    arrays, changes = tensors.host_arrays(base), tensors.host_arrays(trained)
    parts = changed_parts(architecture, lora)
    changed = {(*part.where, "kernel") for part in parts}
    arrays = {p: np.array(x) if p[-3:] in changed else x for p, x in arrays.items()}
    for layer in range(architecture.depth):
        own, factors = (tensors.layer_arrays(found, layer) for found in (arrays, changes))
        for part in parts:
            a, b = (factors[(*part.where, "adapter", "factors", part.name, x)] for x in "ab")
            kernel = own[(*part.where, "kernel")]
            view = kernel if part.rows is None else kernel[..., part.rows, :]
            view[...] = view.astype(np.float32) + lora.scale * np.tensordot(a, b, axes=1)
    return tensors.as_params(arrays)


def _load_changes(folder: Path, architecture: Architecture, scan: bool) -> tuple[LoRA, Params]:
    config, stored = read_json(folder / CONFIG), safe_tensors(folder / _TENSORS)
    for name, value in _PLAIN.items():
        if config.get(name, value) != value:
            raise ValueError(f"{name} of {folder / CONFIG} must be {value!r}, got {config[name]!r}")
    if (start := config.get("init_lora_weights", True)) not in _STARTS:
        raise ValueError(
            f"init_lora_weights of {folder / CONFIG} must be one of {_STARTS}, which leave the "
            f"weights of the checkpoint as they are, got {start!r}"
        )
    named = [_NAME.fullmatch(name) for name in stored]
    targets = dict.fromkeys(match[1] for match in named if match)
    lora = LoRA(config.get("r"), alpha=config.get("lora_alpha"), targets=tuple(targets))  # pyright: ignore
    shapes = nnx.split(
        nnx.eval_shape(lambda: Decoder(architecture, rngs=nnx.Rngs(0), scan=scan, lora=lora))
    )[1]
    flat = nnx.to_flat_state(adapters_of(shapes))
    arrays = {path: np.empty(leaf.shape, np.float32) for path, leaf in flat}
    places = {place.name: place for place in _places(architecture, lora, arrays)}
    wrong = [name for name in {**places, **stored} if not _fits(places, stored, name)]
    if wrong:
        raise ValueError(
            f"tensors of {folder / _TENSORS} must be the factors that {CONFIG} describes, of all "
            f"layers, and {wrong[0]} is missing, of another shape, or none of them"
        )
    for name, place in places.items():
        place.write(np.asarray(stored[name], np.float32))
    return lora, tensors.as_params(arrays)


def _fits(places: Mapping[str, tensors.Place], stored: Mapping[str, Any], name: str) -> bool:
    found = name in places and name in stored
    return found and places[name].shape == stored[name].shape


def _places(
    architecture: Architecture, lora: LoRA, arrays: tensors.Arrays
) -> Iterator[tensors.Place]:
    """Where each factor of a file is among the arrays."""
    start = _PREFIX + tensors.usual_prefix(architecture)
    start += "h." if architecture.family == "gpt2" else "layers."
    for layer in range(architecture.depth):
        own = tensors.layer_arrays(arrays, layer)
        for part in changed_parts(architecture, lora):
            a, b = (own[(*part.where, "adapter", "factors", part.name, x)] for x in "ab")
            if part.module == "attn.c_attn":  # all queries first, then all keys, then all values
                b = b.transpose(0, 2, 1, 3)
            name = f"{start}{layer}.{part.module}.lora_"
            yield tensors.Place(f"{name}A.weight", a, a.ndim - 1, True)
            yield tensors.Place(f"{name}B.weight", b, 1, True)


def _write(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
