"""What a decoder is made of: one description for GPT-2, Llama, Mistral, Qwen and Gemma."""

import dataclasses
from typing import Any, Literal

from collapse_jax.basics import checks

Family = Literal["gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"]
ACTIVATIONS = ("gelu", "gelu_tanh", "silu", "relu")

_MOST_LAYERS = 1000  # each is traced and compiled by itself


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How rotary positions are stretched over a longer context than that of the first training.

    Angles are divided by `factor`. With the other three, as in Llama-3, only those are that turn
    fewer than `low` times within `context`; those that turn more than `high` times stay, and
    those in between are interpolated.

    Args:
        factor: what angles are divided by.
        low: turns within `context`. Default none.
        high: turns within `context`, more than `low`. Default none.
        context: the first training's. Default none: all angles are divided.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).
    """

    factor: float
    low: float | None = None
    high: float | None = None
    context: int | None = None

    def __post_init__(self):
        checks.positive_number("factor", self.factor)
        given = [value is not None for value in (self.low, self.high, self.context)]
        if any(given) != all(given):
            raise ValueError(
                "low, high and context must be given together, "
                f"got {self.low}, {self.high} and {self.context}"
            )
        if self.low is not None and self.high is not None:
            checks.positive_number("low", self.low)
            checks.positive_number("high", self.high)
            checks.whole_number("context", self.context)
            if self.high <= self.low:
                raise ValueError(f"high must be above low, {self.low}, got {self.high}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of a decoder-only transformer. Hashable; decides everything that is compiled.

    Args:
        vocab_size: number of different tokens.
        context: greatest number of tokens in a sequence.
        width: size of the residual stream.
        depth: number of layers.
        heads: number of query heads.
        kv_heads: number of key and value heads, a divisor of `heads`. Default `heads`; fewer make
            grouped queries.
        head_dim: size of a head. Default `width / heads`.
        mlp_width: inner size of the MLP. Default `4 * width`.
        positions: `"learned"` adds an embedding per position, `"rotary"` turns queries and keys.
        rope_theta: base of the rotary wavelengths.
        rope_scaling: how they are stretched, a `RopeScaling`. Default not at all.
        local_rope_theta: base in layers that have a window, where nothing is stretched. Default
            those layers are as the others.
        norm: `"layer"` (LayerNorm, with bias) or `"rms"`.
        norm_eps: added to the variance or mean square.
        unit_offset: whether a norm multiplies by `1 + scale` (Gemma) and not by `scale`.
        activation: `"gelu"`, `"gelu_tanh"` (its approximation by tanh), `"silu"` or `"relu"`.
        gated: whether the activated half of the MLP multiplies a linear half (SwiGLU, GeGLU).
        attention_bias: whether the maps to queries, keys and values have biases.
        out_bias: whether the map from attention's heads has one. Default as `attention_bias`.
        mlp_bias: whether the linear maps of the MLP have biases.
        tied_head: whether the token embedding is also the output layer.
        query_scalar: attention scores are divided by its square root. Default `head_dim`.
        attention_cap: soft caps, `cap * tanh(score / cap)`, on the scores of attention
            and on the logits; `None` for none.
        final_cap: see `attention_cap`.
        windows: for each layer the number of latest tokens that a token sees, itself included, or
            `None` for all. Default all, in every layer.
        qk_norm: whether queries and keys are normalised, before they are turned.
        post_norms: whether attention and MLP are also normalised after they have acted.
        scale_embedding: whether token embeddings are multiplied by the square root of `width`.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Example:
        >>> from collapse_jax.language.model.architecture import Architecture
        >>> small = Architecture(vocab_size=100, context=32, width=16, depth=2, heads=4)
        >>> small.head_dim, small.n_parameters
        (4, 8704)
    """

    vocab_size: int
    context: int
    width: int
    depth: int
    heads: int
    kv_heads: int = None  # pyright: ignore[reportAssignmentType] -- resolved below, as the next two
    head_dim: int = None  # pyright: ignore[reportAssignmentType]
    mlp_width: int = None  # pyright: ignore[reportAssignmentType]
    positions: str = "learned"
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    local_rope_theta: float | None = None
    norm: str = "layer"
    norm_eps: float = 1e-5
    unit_offset: bool = False
    activation: str = "gelu_tanh"
    gated: bool = False
    attention_bias: bool = True
    out_bias: bool | None = None
    mlp_bias: bool = True
    tied_head: bool = True
    query_scalar: float = None  # pyright: ignore[reportAssignmentType]
    attention_cap: float | None = None
    final_cap: float | None = None
    windows: tuple[int | None, ...] = ()
    qk_norm: bool = False
    post_norms: bool = False
    scale_embedding: bool = False

    def __post_init__(self):
        for name in ("vocab_size", "context", "width", "heads"):
            checks.whole_number(name, getattr(self, name))
        checks.whole_number("depth", self.depth, maximum=_MOST_LAYERS)
        if self.head_dim is None and self.width % self.heads:
            raise ValueError(
                f"heads must divide the width of {self.width} where head_dim is not given, "
                f"got {self.heads}"
            )
        self._default("kv_heads", self.heads)
        self._default("head_dim", self.width // self.heads)
        self._default("mlp_width", 4 * self.width)
        for name in ("kv_heads", "head_dim", "mlp_width"):
            checks.whole_number(name, getattr(self, name))
        self._default("query_scalar", float(self.head_dim))
        self._default("out_bias", self.attention_bias)
        if self.heads % self.kv_heads:
            raise ValueError(
                f"kv_heads must divide the number of heads, {self.heads}, got {self.kv_heads}"
            )
        checks.one_of("positions", self.positions, ("learned", "rotary"))
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary positions, got {self.head_dim}")
        checks.one_of("norm", self.norm, ("layer", "rms"))
        checks.one_of("activation", self.activation, ACTIVATIONS)
        for name in ("rope_theta", "norm_eps", "query_scalar"):
            checks.positive_number(name, getattr(self, name))
        for name in ("attention_cap", "final_cap", "local_rope_theta"):
            if getattr(self, name) is not None:
                checks.positive_number(name, getattr(self, name))
        self._check_windows()

    def _default(self, name: str, value: int | float) -> None:
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)

    def _check_windows(self) -> None:
        windows = tuple(self.windows) or (None,) * self.depth
        if len(windows) != self.depth:
            raise ValueError(
                f"windows must have one entry for each of the {self.depth} layers, "
                f"got {len(windows)}"
            )
        for window in windows:
            if window is not None:
                checks.whole_number("an entry of windows", window)
        object.__setattr__(self, "windows", windows)

    @property
    def groups(self) -> int:
        """Number of query heads that share a key and value head."""
        return self.heads // self.kv_heads

    @property
    def family(self) -> Family:
        """The family whose checkpoints have this structure."""
        if self.positions == "learned":
            return "gpt2"
        if self.post_norms:
            return "gemma3_text" if self.qk_norm else "gemma2"
        if self.unit_offset:
            return "gemma"
        if self.qk_norm:
            return "qwen3"
        if self.attention_bias and not self.out_bias:
            return "qwen2"
        return "mistral" if any(self.windows) else "llama"

    @property
    def n_parameters(self) -> int:
        """Number of parameters; a tied head counts once."""
        tables = self.vocab_size * (1 if self.tied_head else 2)
        if self.positions == "learned":
            tables += self.context
        norm = self.width * (2 if self.norm == "layer" else 1)
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = 2 * self.width * (queries + keys)
        if self.attention_bias:
            attention += queries + 2 * keys
        if self.out_bias:
            attention += self.width
        if self.qk_norm:
            attention += 2 * self.head_dim
        inner = self.mlp_width * (2 if self.gated else 1)
        mlp = self.width * (inner + self.mlp_width)
        if self.mlp_bias:
            mlp += inner + self.width
        norms = norm * (4 if self.post_norms else 2)
        return tables * self.width + self.depth * (attention + mlp + norms) + norm


_LLAMA = {
    "positions": "rotary",
    "norm": "rms",
    "activation": "silu",
    "gated": True,
    "attention_bias": False,
    "mlp_bias": False,
    "tied_head": False,
}
_GEMMA2 = {
    **_LLAMA,
    "vocab_size": 256_000,
    "context": 8192,
    "norm_eps": 1e-6,
    "unit_offset": True,
    "activation": "gelu_tanh",
    "tied_head": True,
    "attention_cap": 50.0,
    "final_cap": 30.0,
    "post_norms": True,
    "scale_embedding": True,
}


def _alternating(depth: int) -> tuple[int | None, ...]:
    return tuple(None if layer % 2 else 4096 for layer in range(depth))


def _named(**sizes: Any) -> dict[str, Any]:
    return sizes


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": _named(vocab_size=128, context=64, width=64, depth=2, heads=4),
    "gpt2-9m": _named(vocab_size=8000, context=2048, width=256, depth=8, heads=8),
    "llama2-12m": _LLAMA | _named(vocab_size=8000, context=2048, width=256, depth=8, heads=8),
    "llama2-42m": _LLAMA | _named(vocab_size=8000, context=2048, width=512, depth=8, heads=8),
    "llama2-126m": _LLAMA | _named(vocab_size=8000, context=2048, width=768, depth=12, heads=12),
    "gpt2": _named(vocab_size=50_257, context=1024, width=768, depth=12, heads=12),
    "gemma2-2b": _GEMMA2
    | _named(width=2304, depth=26, heads=8, kv_heads=4, head_dim=256, mlp_width=9216)
    | _named(query_scalar=256.0, windows=_alternating(26)),
    "gemma2-9b": _GEMMA2
    | _named(width=3584, depth=42, heads=16, kv_heads=8, head_dim=256, mlp_width=14_336)
    | _named(query_scalar=256.0, windows=_alternating(42)),
    "gemma2-27b": _GEMMA2
    | _named(width=4608, depth=46, heads=32, kv_heads=16, head_dim=128, mlp_width=36_864)
    | _named(query_scalar=144.0, windows=_alternating(46)),
}


def preset(name: str = "tiny", **changes: Any) -> Architecture:
    """A named architecture, with some of its fields replaced.

    Exact are `gpt2` (124M), `gemma2-2b`, `gemma2-9b` and `gemma2-27b`, whose configurations are
    published. Of the paper's four pretrained models only the names and the 8,890,880 parameters of
    `gpt2-9m` are: no other GPT-2 with a vocabulary of 8000, a context that is a power of two and
    an even width has this number (the number of heads is a choice). The shapes of `llama2-12m`
    (12.5M parameters), `llama2-42m` (41.8M) and `llama2-126m` (125.6M) are chosen after it, with
    an MLP of four times the width and an untied head.

    Args:
        name: one of `PRESETS`.
        changes: fields of `Architecture` to use in place of the preset's.

    Raises:
        ValueError: for an unknown name.
        TypeError: for an unknown field.

    Example:
        >>> from collapse_jax.language.model.architecture import preset
        >>> preset("gpt2-9m").n_parameters
        8890880
        >>> preset("tiny", vocab_size=150, context=32).n_parameters
        111744
    """
    checks.one_of("preset", name, PRESETS)
    fields = [field.name for field in dataclasses.fields(Architecture)]
    for change in changes:
        if change not in fields:
            raise TypeError(
                f"a change of a preset must be one of {', '.join(fields)}, got {change}"
            )
    return Architecture(**{**PRESETS[name], **changes})
