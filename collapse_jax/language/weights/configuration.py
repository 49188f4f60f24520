"""Between an `Architecture` and the config.json of a Hugging Face checkpoint."""

from collections.abc import Mapping
from typing import Any

from collapse_jax.basics import checks
from collapse_jax.language.model.architecture import Architecture

CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
}
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}
# Options that change the function, at values that leave it as it is here. An absent key is fine.
_NEUTRAL = {
    "gpt2": {
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    "llama": {},
    "gemma2": {"use_bidirectional_attention": False},
}


def read_config(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json describes, written by a new or an old transformers.

    Raises:
        ValueError: for another architecture, for an option that would change the function and is
            not supported, for missing entries, and for sizes that do not fit together.

    Example:
        >>> from collapse_jax.language.weights.configuration import read_config
        >>> sizes = {"vocab_size": 50, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}
        >>> read_config({"model_type": "gpt2", **sizes}).n_parameters
        1416
    """
    family = config.get("model_type")
    if family not in CLASSES:
        named = " ".join(config.get("architectures") or [])
        raise ValueError(
            f"the architecture of a checkpoint must be one of {', '.join(CLASSES)} (model_type in "
            f"config.json), got {family!r}" + (f" ({named})" if named else "")
        )
    for key, neutral in (_NEUTRAL[family] | {"quantization_config": None}).items():
        if config.get(key, neutral) not in (neutral, None):
            raise ValueError(f"{key} of config.json must be {neutral!r}, got {config[key]!r}")
    if family == "gpt2":
        return _read_gpt2(config)
    return _read_llama(config) if family == "llama" else _read_gemma2(config)


def write_config(architecture: Architecture) -> dict[str, Any]:
    """The config.json of an architecture, with the keys of old and of new transformers.

    Raises:
        ValueError: if none of the three families has this architecture.
    """
    family = architecture.family
    config = {
        "model_type": family,
        "architectures": [CLASSES[family]],
        "vocab_size": architecture.vocab_size,
        "tie_word_embeddings": architecture.tied_head,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    config |= _write_gpt2(architecture) if family == "gpt2" else _write_rotary(architecture)
    if family == "gemma2":
        config |= _write_gemma2(architecture)
    if read_config(config) != architecture:
        raise ValueError(
            f"an architecture must be one of a {', a '.join(CLASSES)} model to be written as a "
            f"checkpoint; the nearest, {family}, does not fit {architecture}"
        )
    return config


def _read_gpt2(config: Mapping[str, Any]) -> Architecture:
    width = _size(config, "n_embd")
    return Architecture(
        vocab_size=_size(config, "vocab_size"),
        context=_size(config, "n_positions"),
        width=width,
        depth=_size(config, "n_layer"),
        heads=_size(config, "n_head"),
        mlp_width=_size(config, "n_inner", 4 * width),
        norm_eps=float(config.get("layer_norm_epsilon", 1e-5)),
        activation=_activation(config, "activation_function", "gelu_new"),
        tied_head=bool(config.get("tie_word_embeddings", True)),
    )


def _write_gpt2(architecture: Architecture) -> dict[str, Any]:
    names = {"gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "silu", "relu": "relu"}
    return {
        "n_positions": architecture.context,
        "n_embd": architecture.width,
        "n_layer": architecture.depth,
        "n_head": architecture.heads,
        "n_inner": architecture.mlp_width,
        "layer_norm_epsilon": architecture.norm_eps,
        "activation_function": names[architecture.activation],
    }


def _read_llama(config: Mapping[str, Any]) -> Architecture:
    return Architecture(
        **_rotary(config),
        mlp_bias=bool(config.get("mlp_bias", False)),
        activation=_activation(config, "hidden_act", "silu"),
        tied_head=bool(config.get("tie_word_embeddings", False)),
    )


def _read_gemma2(config: Mapping[str, Any]) -> Architecture:
    shared = _rotary(config, head_dim=256)
    depth, window = shared["depth"], config.get("sliding_window", 4096)
    kinds = config.get("layer_types") or [
        "full_attention" if layer % 2 else "sliding_attention" for layer in range(depth)
    ]
    for kind in kinds:
        checks.one_of("layer_types of config.json", kind, ("sliding_attention", "full_attention"))
    name = "hidden_activation" if config.get("hidden_activation") else "hidden_act"
    return Architecture(
        **shared,
        mlp_bias=False,
        unit_offset=True,
        activation=_activation(config, name, "gelu_pytorch_tanh"),
        tied_head=bool(config.get("tie_word_embeddings", True)),
        query_scalar=float(config.get("query_pre_attn_scalar", 256)),
        attention_cap=_number_or_none(config.get("attn_logit_softcapping", 50.0)),
        final_cap=_number_or_none(config.get("final_logit_softcapping", 30.0)),
        windows=tuple(window if kind == "sliding_attention" else None for kind in kinds),
        post_norms=True,
        scale_embedding=True,
    )


def _write_gemma2(architecture: Architecture) -> dict[str, Any]:
    scalar = architecture.query_scalar
    sizes = {window for window in architecture.windows if window is not None}
    if len(sizes) > 1:
        raise ValueError(
            f"windows must all be the same to be written as a checkpoint, got {sorted(sizes)}"
        )
    return {
        "hidden_activation": architecture.activation.replace("gelu_tanh", "gelu_pytorch_tanh"),
        # New versions want an int here.
        "query_pre_attn_scalar": int(scalar) if scalar == int(scalar) else scalar,
        "attn_logit_softcapping": architecture.attention_cap,
        "final_logit_softcapping": architecture.final_cap,
        "sliding_window": sizes.pop() if sizes else None,
        "layer_types": [
            "full_attention" if window is None else "sliding_attention"
            for window in architecture.windows
        ],
    }


def _rotary(config: Mapping[str, Any], head_dim: int | None = None) -> dict[str, Any]:
    """What Llama-2 and Gemma-2 have in common; a default of None leaves it to `Architecture`."""
    heads = _size(config, "num_attention_heads")
    shared = {
        "vocab_size": _size(config, "vocab_size"),
        "context": _size(config, "max_position_embeddings"),
        "width": _size(config, "hidden_size"),
        "depth": _size(config, "num_hidden_layers"),
        "heads": heads,
        "kv_heads": _size(config, "num_key_value_heads", heads),
        "mlp_width": _size(config, "intermediate_size"),
        "positions": "rotary",
        "rope_theta": _rope_theta(config),
        "norm": "rms",
        "norm_eps": float(config.get("rms_norm_eps", 1e-6)),
        "gated": True,
        "attention_bias": bool(config.get("attention_bias", False)),
    }
    if head_dim is not None or config.get("head_dim") is not None:
        shared["head_dim"] = _size(config, "head_dim", head_dim)
    return shared


def _write_rotary(architecture: Architecture) -> dict[str, Any]:
    return {
        "hidden_size": architecture.width,
        "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.kv_heads,
        "head_dim": architecture.head_dim,
        "intermediate_size": architecture.mlp_width,
        "max_position_embeddings": architecture.context,
        "rms_norm_eps": architecture.norm_eps,
        "hidden_act": architecture.activation.replace("gelu_tanh", "gelu_pytorch_tanh"),
        "attention_bias": architecture.attention_bias,
        "mlp_bias": architecture.mlp_bias,
        "rope_theta": architecture.rope_theta,
        "rope_parameters": {"rope_theta": architecture.rope_theta, "rope_type": "default"},
    }


def _rope_theta(config: Mapping[str, Any]) -> float:
    new, old = config.get("rope_parameters") or {}, config.get("rope_scaling") or {}
    for rope in (new, old):
        kind = rope.get("rope_type", rope.get("type", "default"))
        checks.one_of("the type of rotary positions in config.json", kind, ("default",))
    return float(new.get("rope_theta", config.get("rope_theta", 10_000.0)))


def _size(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if value is None:
        raise ValueError(f"config.json must have an entry {key!r}")
    return checks.whole_number(f"{key} of config.json", value)


def _activation(config: Mapping[str, Any], key: str, default: str) -> str:
    name = checks.one_of(f"{key} of config.json", config.get(key) or default, _ACTIVATIONS)
    return _ACTIVATIONS[name]


def _number_or_none(value: Any) -> float | None:
    return None if value is None else float(value)
