"""Between an `Architecture` and the config.json of a Hugging Face checkpoint."""

from collections.abc import Mapping
from typing import Any

from collapse_jax.basics import checks
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.weights.positions import read_rope, write_rope

CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
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
_NEUTRAL: dict[str, Any] = {
    "quantization_config": None,
    "partial_rotary_factor": 1.0,
    "use_bidirectional_attention": False,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
# What transformers takes for entries that are not there, where that differs between families.
_GEMMA = {"head_dim": 256, "tie_word_embeddings": True}
_ABSENT: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28},
    "qwen3": {
        "num_key_value_heads": 32,
        "head_dim": 128,
        "sliding_window": 4096,
        "max_window_layers": 28,
    },
    "gemma": {**_GEMMA, "num_key_value_heads": 16},
    "gemma2": {
        **_GEMMA,
        "num_key_value_heads": 4,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3_text": {**_GEMMA, "num_key_value_heads": 4, "sliding_window": 4096},
}
_ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_PATTERN = {"gemma2": 2, "gemma3_text": 6}  # every so many layers, one sees all tokens


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
    for key, neutral in _NEUTRAL.items():
        if config.get(key, neutral) not in (neutral, None):
            raise ValueError(f"{key} of config.json must be {neutral!r}, got {config[key]!r}")
    if family == "gpt2":
        return _read_gpt2(config)
    return _read_rotary(family, {**_ABSENT[family], **config})


def write_config(
    architecture: Architecture, like: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The config.json of an architecture, with the keys of old and of new transformers.

    Args:
        architecture: what it must describe.
        like: another config.json, whose family and further entries are kept where that describes
            the same architecture.

    Raises:
        ValueError: if no family has this architecture.
    """
    like = like or {}
    if (named := like.get("model_type")) in CLASSES:
        written = _written(architecture, named)
        ends = {name: like[name] for name in _ENDS if name in like}
        for found in ({**like, **written, **ends}, written):
            if _describes(found, architecture):
                return found
    family = architecture.family
    written = _written(architecture, family)
    if not _describes(written, architecture):
        raise ValueError(
            f"an architecture must be one of a {', a '.join(CLASSES)} model to be written as a "
            f"checkpoint; the nearest, {family}, does not fit {architecture}"
        )
    return written


def _describes(config: Mapping[str, Any], architecture: Architecture) -> bool:
    try:
        return read_config(config) == architecture
    except (TypeError, ValueError):
        return False


def _written(architecture: Architecture, family: str) -> dict[str, Any]:
    config = {
        "model_type": family,
        "architectures": [CLASSES[family]],
        "vocab_size": architecture.vocab_size,
        "tie_word_embeddings": architecture.tied_head,
        **dict.fromkeys(_ENDS),
    }
    if family == "gpt2":
        return config | _write_gpt2(architecture)
    return config | _write_rotary(architecture, family) | _write_windows(architecture, family)


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


def _read_rotary(family: str, config: Mapping[str, Any]) -> Architecture:
    """All families but GPT-2."""
    gemma, heads = family.startswith("gemma"), _size(config, "num_attention_heads")
    depth, biased = _size(config, "num_hidden_layers"), bool(config.get("attention_bias", False))
    late = family in ("gemma2", "gemma3_text")
    others: dict[str, Any] = {}
    if config.get("head_dim") is not None:
        others["head_dim"] = _size(config, "head_dim")
    if late:
        others["query_scalar"] = float(config.get("query_pre_attn_scalar", 256))
        others["attention_cap"] = _number_or_none(config.get("attn_logit_softcapping"))
        others["final_cap"] = _number_or_none(config.get("final_logit_softcapping"))
    return Architecture(
        vocab_size=_size(config, "vocab_size"),
        context=_size(config, "max_position_embeddings"),
        width=_size(config, "hidden_size"),
        depth=depth,
        heads=heads,
        kv_heads=_size(config, "num_key_value_heads", heads),
        mlp_width=_size(config, "intermediate_size"),
        positions="rotary",
        **read_rope(config, by_layer=family == "gemma3_text"),
        norm="rms",
        norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        unit_offset=gemma,
        activation=_read_activation(family, config),
        gated=True,
        attention_bias={"mistral": False, "qwen2": True}.get(family, biased),
        out_bias=False if family == "qwen2" else None,
        mlp_bias=family == "llama" and bool(config.get("mlp_bias", False)),
        tied_head=bool(config.get("tie_word_embeddings", False)),
        windows=_read_windows(family, config, depth),
        qk_norm=family in ("qwen3", "gemma3_text"),
        post_norms=late,
        scale_embedding=gemma,
        **others,
    )


def _read_activation(family: str, config: Mapping[str, Any]) -> str:
    gemma = family.startswith("gemma")
    name = "hidden_activation" if gemma and config.get("hidden_activation") else "hidden_act"
    if family == "gemma" and config.get("hidden_act") == "gelu":
        return "gelu_tanh"  # what the published files mean by it
    return _activation(config, name, "gelu_pytorch_tanh" if gemma else "silu")


def _write_rotary(architecture: Architecture, family: str) -> dict[str, Any]:
    activation = architecture.activation.replace("gelu_tanh", "gelu_pytorch_tanh")
    late = family in ("gemma2", "gemma3_text")
    config: dict[str, Any] = {
        "hidden_size": architecture.width,
        "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.kv_heads,
        "head_dim": architecture.head_dim,
        "intermediate_size": architecture.mlp_width,
        "max_position_embeddings": architecture.context,
        "rms_norm_eps": architecture.norm_eps,
        "hidden_activation" if late else "hidden_act": activation,
        "attention_bias": architecture.attention_bias,
        "mlp_bias": architecture.mlp_bias,
        **write_rope(architecture, by_layer=family == "gemma3_text"),
    }
    if late:
        scalar = architecture.query_scalar
        config |= {
            # New versions want an int here.
            "query_pre_attn_scalar": int(scalar) if scalar == int(scalar) else scalar,
            "attn_logit_softcapping": architecture.attention_cap,
            "final_logit_softcapping": architecture.final_cap,
        }
    return config


def _read_windows(family: str, config: Mapping[str, Any], depth: int) -> tuple[int | None, ...]:
    window = config.get("sliding_window")
    if family in ("llama", "gemma"):
        return ()
    if family == "mistral":
        return (window,) * depth
    pattern, first = config.get("sliding_window_pattern", _PATTERN.get(family)), 0
    if pattern is None:  # Qwen: the last layers, if any
        window = window if config.get("use_sliding_window", False) else None
        first, pattern = config.get("max_window_layers", depth), depth + 1
    kinds = config.get("layer_types") or [
        "sliding_attention" if layer >= first and (layer + 1) % pattern else "full_attention"
        for layer in range(depth)
    ]
    for kind in kinds:
        checks.one_of("layer_types of config.json", kind, ("sliding_attention", "full_attention"))
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _write_windows(architecture: Architecture, family: str) -> dict[str, Any]:
    windows = architecture.windows
    sizes = {window for window in windows if window is not None}
    if len(sizes) > 1:
        raise ValueError(
            f"windows must all be the same to be written as a checkpoint, got {sorted(sizes)}"
        )
    if family in ("llama", "gemma"):
        return {}
    window = sizes.pop() if sizes else None
    if family == "mistral":
        return {"sliding_window": window}
    kinds = ["full_attention" if w is None else "sliding_attention" for w in windows]
    config: dict[str, Any] = {"layer_types": kinds}
    if window is not None:  # else it has no meaning, and may stay what it was
        config["sliding_window"] = window
    if family.startswith("qwen"):
        last = (i for i, kind in enumerate(kinds) if kind == "sliding_attention")
        config |= {
            "use_sliding_window": window is not None,
            "max_window_layers": next(last, len(kinds)),
        }
    return config


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
