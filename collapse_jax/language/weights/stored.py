"""What is in the folder of a checkpoint: its tensors, before they are read, and its JSON files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_READABLE = ("F64", "F32", "F16", "BF16")
_ROWS = 4096  # compared at once: tables of large vocabularies take gigabytes


class Stored(NamedTuple):
    """A tensor of a checkpoint that is not read yet."""

    file: Path
    shape: tuple[int, ...]
    kind: str
    """Its type, as safetensors calls it."""


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """All tensors of a checkpoint by name.

    Raises:
        ValueError: for a folder without safetensors, and for files that are missing or damaged.
    """
    if (folder / WHOLE).is_file():
        names = {WHOLE}
    elif (folder / INDEX).is_file():
        names = _shards(read_json(folder / INDEX).get("weight_map"))
    elif pickles := [name for name in _PICKLES if (folder / name).is_file()]:
        raise ValueError(
            f"weights must be safetensors, and {folder} has {pickles[0]}, a pickle, which may run "
            "any code when it is read; load it in transformers and save it again"
        )
    else:
        raise ValueError(f"{folder} must have {WHOLE} or {INDEX}, and has neither")
    stored = {}
    for name in sorted(names):
        if Path(name).name != name or not (folder / name).is_file():
            raise ValueError(f"{name} of {INDEX} must be in {folder}, and is missing")
        try:
            with safe_open(folder / name, framework="np") as handle:
                for tensor in handle.keys():  # noqa: SIM118 -- not a mapping
                    part = handle.get_slice(tensor)
                    shape = tuple(part.get_shape())
                    stored[tensor] = Stored(folder / name, shape, str(part.get_dtype()))
        except SafetensorError as error:
            raise ValueError(f"{folder / name} is not a whole safetensors file: {error}") from None
    return stored


def safe_tensors(file: Path) -> dict[str, np.ndarray]:
    """All tensors of a file.

    Raises:
        ValueError: for a file that is not there or damaged, and for numbers that are not finite.
    """
    if not file.is_file():
        raise ValueError(f"{file} must be there, and is missing")
    try:
        with safe_open(file, framework="np") as handle:
            found = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file} is not a whole safetensors file: {error}") from None
    for name, tensor in found.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"weights must be finite, and {name} of {file} has NaN or infinity")
    return found


def read_tensor(stored: Mapping[str, Stored], name: str, handle: Any) -> np.ndarray:
    """A tensor from its open file.

    Raises:
        ValueError: for a type that is not one of numbers, and for numbers that are not finite.
    """
    _check_kind(name, stored[name])
    tensor = handle.get_tensor(name)
    if not np.isfinite(tensor).all():
        file = stored[name].file
        raise ValueError(f"weights must be finite, and {name} of {file} has NaN or infinity")
    return tensor


def _check_kind(name: str, tensor: Stored) -> None:
    if tensor.kind not in _READABLE:
        raise ValueError(
            f"tensors of a checkpoint must be one of {', '.join(_READABLE)}, and {name} of "
            f"{tensor.file} is {tensor.kind}; quantized weights cannot be trained"
        )


def differ(stored: Mapping[str, Stored], first: str, second: str) -> bool:
    """Whether two tensors are not the same numbers."""
    one, other = stored[first], stored[second]
    for name in (first, second):
        _check_kind(name, stored[name])
    if one.shape != other.shape:
        return True
    with safe_open(one.file, framework="np") as a, safe_open(other.file, framework="np") as b:
        parts = a.get_slice(first), b.get_slice(second)
        return any(
            not np.array_equal(*(part[row : min(row + _ROWS, one.shape[0])] for part in parts))
            for row in range(0, one.shape[0], _ROWS)
        )


def _shards(weight_map: Any) -> set[str]:
    """The files of an index. Raises `ValueError` for one that names anything else."""
    files = list(weight_map.values()) if isinstance(weight_map, dict) else None
    if not files or not all(isinstance(name, str) for name in files):
        raise ValueError(
            f"weight_map of {INDEX} must name a file for each tensor, got {weight_map!r:.80}"
        )
    return set(files)


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file of a checkpoint holds.

    Raises:
        ValueError: for a file that is not there, not JSON in UTF-8, or holds something else.
    """
    if not path.is_file():
        raise ValueError(f"a checkpoint must have a file {path.name}, and {path.parent} has none")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON, line {error.lineno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error.reason}") from None
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} must be JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold an object, got {type(content).__name__}")
    return content
