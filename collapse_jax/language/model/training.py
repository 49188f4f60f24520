"""Training of decoders: AdamW over epochs of documents, in chunks of steps."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.language.corpora.documents import AnyDocuments, n_counted
from collapse_jax.language.model.decoder import Params
from collapse_jax.language.model.loss import document_loss
from collapse_jax.language.model.widths import by_length, narrowed
from collapse_jax.numerics.subsets import permuted

SCHEDULES = ("cosine", "constant")


class Optimizer(eqx.Module):
    """AdamW with clipping, and a learning rate that warms up. Numbers that are no sizes may vary.

    The defaults train the preset `tiny` from scratch; `FINETUNING` has the published values.

    Args:
        learning_rate: the highest. Default 6e-3.
        schedule: after the warm-up, `"constant"`, or `"cosine"` down to zero. Default cosine.
        warmup: share of the steps, rounded up, in which the rate rises linearly from zero.
        batch_size: documents per step.
        micro_batch: documents whose gradient is computed at once, a divisor of `batch_size`;
            gradients add up in float32. They are put together by their lengths, so that short
            ones are less padded. Default all.
        epochs: how often each document is visited.
        clip: greatest norm of the gradient of all parameters; `None` for none.
        weight_decay: decoupled, of all parameters, scaled by the learning rate.
        b1: of Adam.
        b2: of Adam.
        eps: of Adam.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Example:
        >>> Optimizer(batch_size=8, epochs=2).n_steps(20)
        6
    """

    learning_rate: Any
    warmup: Any
    clip: Any
    weight_decay: Any
    b1: Any
    b2: Any
    eps: Any
    schedule: str = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    micro_batch: int = eqx.field(static=True)
    epochs: int = eqx.field(static=True)

    def __init__(
        self,
        learning_rate: float = 6e-3,
        *,
        schedule: str = "cosine",
        warmup: float = 0.05,
        batch_size: int = 16,
        micro_batch: int | None = None,
        epochs: int = 1,
        clip: float | None = 1.0,
        weight_decay: float = 0.0,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-8,
    ):
        self.learning_rate = checks.positive_number("learning_rate", learning_rate)
        self.schedule = checks.one_of("schedule", schedule, SCHEDULES)
        self.batch_size = checks.whole_number("batch_size", batch_size)
        micro_batch = batch_size if micro_batch is None else micro_batch
        self.micro_batch = checks.whole_number("micro_batch", micro_batch)
        if self.batch_size % self.micro_batch:
            raise ValueError(
                f"micro_batch must divide the batch_size of {batch_size}, got {micro_batch}"
            )
        self.epochs = checks.whole_number("epochs", epochs)
        self.clip = None if clip is None else checks.positive_number("clip", clip)
        self.weight_decay = checks.positive_number("weight_decay", weight_decay, zero_allowed=True)
        self.eps = checks.positive_number("eps", eps)
        shares = {}
        for name, share in (("warmup", warmup), ("b1", b1), ("b2", b2)):
            shares[name] = checks.positive_number(name, share, zero_allowed=True)
            if not checks.is_traced(share) and (share > 1 if name == "warmup" else share >= 1):
                allowed = "at most 1" if name == "warmup" else "below 1"
                raise ValueError(f"{name} must be {allowed}, got {share}")
        self.warmup, self.b1, self.b2 = shares["warmup"], shares["b1"], shares["b2"]

    def n_steps(self, n_train: Any) -> Any:
        """Number of steps for so many documents, which may be a traced number."""
        return self.epochs * self.steps_per_epoch(n_train)

    def steps_per_epoch(self, n_train: Any) -> Any:
        """Number of batches of so many documents, the last of which may be partial."""
        return -(-n_train // self.batch_size)

    def rate(self, step: Int[Array, ""], n_steps: Int[Array, ""]) -> Float[Array, ""]:
        """The learning rate of a step, the first being 0; that one has rate 0 after a warm-up."""
        # The product may be rounded up to just above a whole number.
        warmup = jnp.ceil(self.warmup * n_steps * (1.0 - 1e-6))
        rising = step / jnp.maximum(warmup, 1.0)
        falling = 1.0
        if self.schedule == "cosine":
            done = (step - warmup) / jnp.maximum(n_steps - warmup, 1.0)
            falling = 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        return self.learning_rate * jnp.where(step < warmup, rising, falling)

    def transformation(self, n_steps: Any) -> optax.GradientTransformation:
        """The optax transformation for a training of so many steps."""
        clip = optax.identity() if self.clip is None else optax.clip_by_global_norm(self.clip)
        adamw = optax.adamw(
            lambda step: self.rate(jnp.asarray(step), n_steps),
            self.b1,
            self.b2,
            self.eps,
            weight_decay=self.weight_decay,
        )
        return optax.chain(clip, adamw)


FINETUNING = Optimizer(8e-6, schedule="constant", warmup=0.05, batch_size=128, clip=1.0)
"""What the published runs on Gemma-2 used: one epoch, no weight decay."""


class TrainState(NamedTuple):
    """All that training carries from one step to the next."""

    params: Params
    moments: Any  # optax's state
    step: Int[Array, ""]
    nats: Float[Array, ""]
    tokens: Float[Array, ""]

    @property
    def loss(self) -> Float[Array, "*replicates"]:
        """Mean loss of the tokens seen so far, each when it was seen, in nats."""
        return self.nats / self.tokens


STATE_AXES: Any = TrainState(0, 0, None, 0, 0)  # pyright: ignore[reportArgumentType]
"""Axes to vmap a state over replicates, of which all are at the same step."""


def start_training(settings: Optimizer, params: Params) -> TrainState:
    """The state before the first step. Pure; can be vmapped with `out_axes=STATE_AXES`."""
    zero = jnp.zeros(())
    moments = settings.transformation(1).init(params)
    return TrainState(params, moments, jnp.zeros((), jnp.int32), zero, zero)


def train_steps(
    graphdef: Any,
    settings: Optimizer,
    state: TrainState,
    documents: AnyDocuments,
    n_train: Int[Array, ""] | int,
    key: Key[Array, ""],
    steps: Int[Array, ""] | int,
    *,
    bos_id: int,
    chunk: int | None = None,
    frozen: Params | None = None,
) -> TrainState:
    """Train for some steps, at most to the end. Pure.

    Calls in a row give exactly what one call would, so that it can be interrupted. The number of
    steps and of documents may be traced: more data make more steps, not another program. To vmap
    over replicates leave both unbatched, and use `STATE_AXES` for the state.

    Each epoch visits every document once, in an order that the key and the epoch decide. Each step
    minimises the mean loss per token of its batch. The update is computed in float32; parameters
    and moments are stored in the parameters' type.

    Args:
        graphdef: of the `Decoder` whose parameters are in the state.
        settings: what to do in a step.
        state: where training is.
        documents: rows of tokens, of which the first `n_train` are used.
        n_train: number of documents, at least 1.
        key: the key of the whole training.
        steps: how many steps to make now.
        bos_id: as for `document_loss`.
        chunk: as for `document_loss`.
        frozen: further parameters of the decoder, which are not trained.

    Returns:
        the state after these steps.
    """
    n_train = jnp.asarray(n_train, jnp.int32)
    total = settings.n_steps(n_train)
    optimizer = settings.transformation(total)

    def body(step: Array, state: TrainState) -> TrainState:
        batch = _batch(settings, documents, n_train, key, step)
        nats, tokens, gradient = _gradient(
            graphdef, settings, state.params, frozen, batch, bos_id, chunk
        )
        wide = (_float32(tree) for tree in (gradient, state.moments, state.params))
        updates, moments = optimizer.update(*wide)
        params = optax.apply_updates(_float32(state.params), updates)
        return TrainState(
            _types_of(state.params, params),
            _types_of(state.moments, moments),
            step + 1,
            state.nats + nats,
            state.tokens + tokens,
        )

    last = jnp.minimum(state.step + steps, total)
    return lax.fori_loop(state.step, last, body, state)


def _batch(
    settings: Optimizer,
    documents: AnyDocuments,
    n_train: Int[Array, ""],
    key: Key[Array, ""],
    step: Int[Array, ""],
) -> AnyDocuments:
    """The documents of a step; in an incomplete batch the last rows are of length 0."""
    per_epoch = settings.steps_per_epoch(n_train)
    epoch, first = step // per_epoch, step % per_epoch * settings.batch_size
    place = first + jnp.arange(settings.batch_size)
    epoch_key = jax.random.fold_in(key, epoch)
    rows = permuted(epoch_key, n_train, jnp.minimum(place, n_train - 1))
    batch = jax.tree.map(lambda x: x[rows], documents)
    return batch._replace(lengths=jnp.where(place < n_train, batch.lengths, 0))


def _gradient(
    graphdef: Any,
    settings: Optimizer,
    params: Params,
    frozen: Params | None,
    batch: AnyDocuments,
    bos_id: int,
    chunk: int | None,
) -> tuple[Array, Array, Params]:
    """Summed loss and number of tokens of a batch, and the gradient of the mean loss."""
    total = n_counted(batch)

    def mean(params: Params, part: AnyDocuments) -> tuple[Array, Array]:
        whole = params if frozen is None else nnx.merge_state(frozen, params)
        loss = document_loss(graphdef, whole, part, bos_id=bos_id, chunk=chunk)
        return loss.nats / total, loss.nats

    def gradient(params: Params, part: AnyDocuments) -> tuple[Params, Array]:
        return narrowed(lambda rows: jax.grad(mean, has_aux=True)(params, rows), part)

    if settings.micro_batch == settings.batch_size:
        found, nats = gradient(params, batch)
        return nats, total, found

    def add(carry: tuple[Params, Array], part: AnyDocuments) -> tuple[tuple[Params, Array], None]:
        found, nats = gradient(params, part)
        return (jax.tree.map(jnp.add, carry[0], _float32(found)), carry[1] + nats), None

    split = (settings.batch_size // settings.micro_batch, settings.micro_batch)
    parts = jax.tree.map(lambda x: x.reshape(*split, *x.shape[1:]), by_length(batch))
    zeros = jax.tree.map(jnp.zeros_like, _float32(params))
    (found, nats), _ = lax.scan(add, (zeros, jnp.zeros(())), parts)
    return nats, total, found


def _float32(tree: Any) -> Any:
    """The tree with its floating-point arrays in float32."""

    def widen(x: Array) -> Array:
        return x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(widen, tree)


def _types_of(old: Any, new: Any) -> Any:
    return jax.tree.map(lambda a, b: b.astype(a.dtype), old, new)
