"""Solutions of least norm, of equations that may be singular."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from collapse_jax.numerics.linalg import cholesky, triangular_inverse


def minimum_norm_solver(
    gram: Float[Array, "d d"],
) -> Callable[[Float[Array, " d"]], Float[Array, " d"]]:
    """A function that maps `b` to the solution of least norm of `gram @ w = b`.

    `gram` is positive semi-definite, and `b` must lie in its range. By a Cholesky factorisation
    with complete pivoting, whose columns stop at the rank, and a second one of their product.
    """
    diagonal = jnp.diag(gram)
    # Columns of unit length: rank is no matter of anybody's units.
    scale = jnp.sqrt(jnp.where(diagonal > 0.0, diagonal, 1.0))
    factor, live = _pivoted_cholesky(gram / scale / scale[:, None])
    factor = scale[:, None] * factor
    inner = factor.T @ factor + jnp.diag(jnp.where(live, 0.0, 1.0))
    inverse = triangular_inverse(cholesky(inner))
    root = factor @ inverse.T

    def solve(b):
        # With F of full column rank, (F F')^+ = F (F'F)^-1 (F'F)^-1 F'.
        return root @ (inverse @ (inverse.T @ (root.T @ b)))

    return solve


def _pivoted_cholesky(
    a: Float[Array, "d d"],
) -> tuple[Float[Array, "d d"], Bool[Array, " d"]]:
    """`F` with `F F' = a` whose column `k` is zero from the rank on, and which columns are not."""
    d = a.shape[0]
    tolerance = d * jnp.finfo(a.dtype).eps * jnp.max(jnp.diag(a))

    def column(k, state):
        factor, remaining = state
        j = jnp.argmax(remaining)
        live = remaining[j] > tolerance
        c = (a[:, j] - factor @ factor[j]) * jnp.where(
            live, lax.rsqrt(jnp.where(live, remaining[j], 1.0)), 0.0
        )
        taken = jnp.where(live, remaining - c * c, remaining).at[j].set(-jnp.inf)
        c = jnp.where(jnp.isneginf(remaining), 0.0, c)  # rows already eliminated
        return factor.at[:, k].set(c), taken

    factor, _ = lax.fori_loop(0, d, column, (jnp.zeros_like(a), jnp.diag(a)))
    return factor, jnp.any(factor != 0.0, axis=0)
