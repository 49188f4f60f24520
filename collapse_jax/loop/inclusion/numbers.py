"""The numbers of a generation that is fitted to some of the batches that are kept."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool

from collapse_jax.loop.form import Columns, Form


def including(form: Form, now: Columns, included: Bool[Array, " slot"] | None) -> Columns:
    """The numbers of a generation where masked batches have no rows.

    Args:
        form: the loop.
        now: the numbers with all batches.
        included: which slots of the pool count; None for all.
    """
    if included is None:
        return now
    sizes = jnp.where(included, now.slot_sizes, 0)
    real = jnp.sum(sizes[: form.real.slots], dtype=jnp.int32)
    synthetic = jnp.sum(sizes[form.real.slots :], dtype=jnp.int32)
    total = real + synthetic
    drawn = total
    if form.drawn:
        drawn = now.drawn if form.with_replacement else jnp.minimum(now.drawn, total)
    rows = real.astype(jnp.float32), synthetic.astype(jnp.float32)
    scales = _scales(form, now.real_weight, *rows)
    squares = scales[0] ** 2 * rows[0] + scales[1] ** 2 * rows[1]
    return now._replace(
        real_size=real,
        synthetic_size=synthetic,
        drawn=drawn,
        effective_size=1.0 / squares if form.weighted else total.astype(jnp.float32),
        real_scale=scales[0],
        synthetic_scale=scales[1],
        slot_sizes=sizes,
    )


def _scales(form: Form, weight: Any, real: Any, synthetic: Any) -> tuple[Any, Any]:
    """See `form.columns_of`: factors of the weights of real and of generated rows."""
    has_real, has_synthetic = (real > 0).astype(jnp.float32), (synthetic > 0).astype(jnp.float32)
    if not form.weighted:
        return has_real, has_synthetic
    both, equal = (real > 0) & (synthetic > 0), 1.0 / jnp.maximum(real + synthetic, 1.0)
    return (
        jnp.where(both, weight / jnp.maximum(real, 1.0), equal) * has_real,
        jnp.where(both, (1.0 - weight) / jnp.maximum(synthetic, 1.0), equal) * has_synthetic,
    )
