"""Rotary positions in a config.json: their base, how they are stretched, and local ones."""

from collections.abc import Mapping
from typing import Any

from collapse_jax.basics import checks
from collapse_jax.language.model.architecture import Architecture, RopeScaling

_GLOBAL, _LOCAL = "full_attention", "sliding_attention"
_KINDS = ("default", "linear", "llama3")


def read_rope(config: Mapping[str, Any], *, by_layer: bool) -> dict[str, Any]:
    """Arguments of `Architecture`, from the keys of a new or an old transformers.

    Args:
        config: the config.json.
        by_layer: whether layers with a window have positions of their own, as in Gemma-3.

    Raises:
        ValueError: for a kind of positions that is not supported.
    """
    new, old = config.get("rope_parameters") or {}, config.get("rope_scaling") or {}
    if not by_layer:
        found = {"rope_theta": config.get("rope_theta", 10_000.0), **(old or new)}
        return {"rope_theta": float(found["rope_theta"]), "rope_scaling": _scaling(found, config)}
    far = {"rope_theta": config.get("rope_theta", 1e6), **(new.get(_GLOBAL) or {}), **old}
    near = {"rope_theta": config.get("rope_local_base_freq", 1e4), **(new.get(_LOCAL) or {})}
    if _scaling(near, config) is not None:
        raise ValueError(f"rotary positions within windows must not be scaled, got {near!r}")
    return {
        "rope_theta": float(far["rope_theta"]),
        "rope_scaling": _scaling(far, config),
        "local_rope_theta": float(near["rope_theta"]),
    }


def _scaling(rope: Mapping[str, Any], config: Mapping[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if _GLOBAL in rope or _LOCAL in rope:
        kind = "one per kind of layer"
    checks.one_of("the type of rotary positions in config.json", kind, _KINDS)
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"partial_rotary_factor must be 1.0, got {rope['partial_rotary_factor']}")
    if kind == "default":
        return None
    wanted = ["factor"] + (["low_freq_factor", "high_freq_factor"] if kind == "llama3" else [])
    for name in wanted:
        if rope.get(name) is None:
            raise ValueError(f"rotary positions in config.json must have {name}, got {dict(rope)}")
    if kind == "linear":
        return RopeScaling(float(rope["factor"]))
    context = rope.get("original_max_position_embeddings") or config["max_position_embeddings"]
    factor, low, high = (float(rope[name]) for name in wanted)
    return RopeScaling(factor, low, high, context)


def write_rope(architecture: Architecture, *, by_layer: bool) -> dict[str, Any]:
    """The entries of a config.json, with the keys of old and of new transformers."""
    theta, scaling = architecture.rope_theta, architecture.rope_scaling
    written: dict[str, Any] = {"rope_type": "default"}
    if scaling is not None:
        written = {"rope_type": "linear", "factor": scaling.factor}
    if scaling is not None and scaling.context is not None:
        written = {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low,
            "high_freq_factor": scaling.high,
            "original_max_position_embeddings": scaling.context,
        }
    config: dict[str, Any] = {
        "rope_theta": theta,
        "rope_scaling": None if scaling is None else written,
        "rope_parameters": {"rope_theta": theta, **written},
    }
    if not by_layer:
        return config
    local = architecture.local_rope_theta
    config["rope_local_base_freq"] = local
    config["rope_parameters"] = {
        _GLOBAL: {"rope_theta": theta, **written},
        _LOCAL: {"rope_theta": local, "rope_type": "default"},
    }
    return config
