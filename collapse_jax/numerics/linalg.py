"""Small dense linear algebra in plain JAX, batched by `vmap`.

LAPACK's routines can hang for ever inside a program that runs on several CPU devices (seen with
jaxlib 0.10.2), and one call per small matrix is slow besides. Recursion turns nearly all the work
into matrix products.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from collapse_jax.basics.entries import diagonal, entry, with_entry

# Size at which recursion stops. Cuts are at multiples of 8, which was the fastest of 8, 16 and 25
# at d = 31 and 100; a matrix of 9 to 12 is as fast in one piece, and quicker to compile.
_BASE = 12
MOST = 10_000
"""Largest size: programs grow with it, and take minutes to compile beyond."""
_ENOUGH = 3  # random rows per column, for their product to be as good as they are
_DEAD = 1e-6  # share of a diagonal entry that is taken for the rounding errors of a Gram matrix


def _half(d: int) -> int:
    """Where to cut a matrix of size `d`: near the middle, at a multiple of 8."""
    return (d // 2 + 7) // 8 * 8


def _stack_lower(top, bottom_left, bottom_right):
    corner = jnp.zeros((top.shape[0], bottom_right.shape[0]), top.dtype)
    return jnp.block([[top, corner], [bottom_left, bottom_right]])


def cholesky(
    a: Float[Array, "d d"], floor: Float[Array, " d"] | float = 0.0
) -> Float[Array, "d d"]:
    """Lower Cholesky factor of a positive semi-definite matrix; only its lower triangle is read.

    A pivot at rounding level of its diagonal entry is a direction without variance, and gives a
    column of zeros.

    Args:
        a: the matrix.
        floor: pivots that are not above this are taken for rounding too.
    """
    return _cholesky(a, jnp.maximum(_DEAD * diagonal(a), floor), with_inverse=False)[0]


@partial(jax.jit, static_argnames="with_inverse")
def _cholesky(a, floor, with_inverse):
    """Factor and, where a caller further up needs it, its inverse."""
    d = a.shape[0]
    if d <= _BASE:
        return _cholesky_columns(a, floor, with_inverse)
    m = _half(d)
    top, top_inverse = _cholesky(a[:m, :m], floor[:m], with_inverse=True)
    below = a[m:, :m] @ top_inverse.T
    corner, corner_inverse = _cholesky(a[m:, m:] - below @ below.T, floor[m:], with_inverse)
    factor = _stack_lower(top, below, corner)
    if not with_inverse:
        return factor, None
    return factor, _stack_lower(
        top_inverse, -corner_inverse @ (below @ top_inverse), corner_inverse
    )


def _cholesky_columns(a, floor, with_inverse):
    rows = jnp.arange(a.shape[0])

    def column(j, state):
        factor, inverse = state
        c = entry(a, j, 1) - factor @ entry(factor, j)
        pivot = entry(c, j)
        positive = pivot > entry(floor, j)
        scale = jnp.where(positive, lax.rsqrt(jnp.where(positive, pivot, 1.0)), 0.0)
        factor = with_entry(factor, jnp.where(rows >= j, c * scale, 0.0), j, 1)
        return factor, inverse if inverse is None else _with_row(inverse, factor, j)

    empty = jnp.zeros_like(a)
    return lax.fori_loop(0, a.shape[0], column, (empty, empty if with_inverse else None))


def _with_row(inverse, lower, j):
    """The inverse of a lower triangular matrix with its row `j`, where it has those before."""
    columns, row = jnp.arange(len(lower)), entry(lower, j)
    pivot = entry(row, j)
    reciprocal = jnp.where(pivot == 0.0, 0.0, 1.0 / jnp.where(pivot == 0.0, 1.0, pivot))
    earlier = jnp.where(columns < j, row, 0.0) @ inverse
    return with_entry(inverse, ((columns == j) - earlier) * reciprocal, j)


@jax.jit
def triangular_inverse(lower: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Inverse of a lower triangular matrix; a zero on the diagonal gives a row of zeros."""
    d = lower.shape[0]
    if d <= _BASE:
        return _inverse_rows(lower)
    m = _half(d)
    top, corner = triangular_inverse(lower[:m, :m]), triangular_inverse(lower[m:, m:])
    return _stack_lower(top, -corner @ (lower[m:, :m] @ top), corner)


def _reflector(
    x: Float[Array, " m"], k, live: Bool[Array, " m"]
) -> tuple[Float[Array, " m"], Float[Array, ""]]:
    """Unit `v`, zero but where `live`, for which `I - 2vv'` maps these of `x` to a multiple of e_k.

    Together with their length.
    """
    tail = jnp.where(live, x, 0.0)
    greatest = jnp.max(jnp.abs(tail))
    tail = tail / jnp.maximum(greatest, jnp.finfo(x.dtype).tiny)  # no underflow below
    length = jnp.linalg.norm(tail)
    v = tail.at[k].add(jnp.where(tail[k] < 0.0, -1.0, 1.0) * length)
    return v / jnp.maximum(jnp.linalg.norm(v), 0.5), length * greatest  # 0 for a tail of zeros


def _inverse_rows(lower):
    """`triangular_inverse`, row by row."""
    return lax.fori_loop(
        0, len(lower), lambda j, inverse: _with_row(inverse, lower, j), jnp.zeros_like(lower)
    )


@partial(jax.jit, static_argnames="rank")
def qr_lower(
    rows: Float[Array, "n d"],
    rank: int | None = None,
    reference: Float[Array, " d"] | None = None,
) -> Float[Array, "d d"]:
    """Lower triangular `L` with `L L' = rows' rows` and a diagonal that is not negative.

    By Householder reflections of the rows, so that small directions keep their relative accuracy
    where the Cholesky factor of the product would lose them. What is left of a column that is a
    combination of earlier ones is rounding errors; they are known, and give a column of zeros.

    Args:
        rows: any number of rows. `[n, d]`
        rank: how many columns are not zero at most; default `min(n, d)`.
        reference: lengths of columns to whose digits the rows have been rounded; default none.
    """
    n, d = rows.shape
    rank = min(n, d) if rank is None else min(rank, n, d)
    noise = jnp.zeros(d, rows.dtype) if reference is None else reference**2
    tolerance = 4.0 * jnp.finfo(rows.dtype).eps * max(n, d) ** 0.5

    def reflect(k, state):
        a, used, noise, lower = state  # a dead column uses up no row
        own = entry(noise, k)
        v, length = _reflector(entry(a, k, 1), used, jnp.arange(n) >= used)
        alive = (length > tolerance * jnp.sqrt(own)) & (used < rank)
        v = jnp.where(alive, v, 0.0)
        step = v @ a
        a = a - 2.0 * v[:, None] * step[None, :]
        row = jnp.where(alive & (jnp.arange(d) >= k), a[used], 0.0)
        pivot = jnp.where(alive, entry(row, k), 1.0)
        # Other rows have the rounding errors of what was taken from them, and of the pivot's share.
        noise = noise + 4.0 * (1.0 - v[used] ** 2) * step**2 + (row / pivot) ** 2 * own
        lower = with_entry(lower, jnp.where(pivot < 0.0, -row, row), k, 1)
        return a, used + alive, noise, lower

    state = (rows, jnp.zeros((), jnp.int32), noise, jnp.zeros((d, d), rows.dtype))
    return lax.fori_loop(0, d, reflect, state)[3]


def gram_lower(
    rows: Float[Array, "n d"],
    rank: int | None = None,
    reference: Float[Array, " d"] | None = None,
) -> Float[Array, "d d"]:
    """`qr_lower`, by the cheaper Cholesky factor of the product where there are rows enough.

    With so many random rows the condition number of the product is about 14.
    """
    n, d = rows.shape
    if n < _ENOUGH * d:
        return qr_lower(rows, rank, reference)
    floor = 0.0
    if reference is not None:
        floor = (4.0 * jnp.finfo(rows.dtype).eps * n**0.5 * reference) ** 2
    return cholesky(rows.T @ rows, floor)


def orthonormal(
    rows: Float[Array, "n d"], rank: Int[Array, ""] | int | None = None
) -> Float[Array, "n d"]:
    """An orthonormal basis of the columns, each in the span of itself and the columns before it.

    Args:
        rows: of independent columns. `[n, d]`
        rank: columns from this one on are left out, and are zero; default `n`, which is the most
            there can be.
    """
    n, d = rows.shape
    few = rank is not None and not isinstance(rank, int)  # they may be
    rank = n if rank is None else rank
    rows = jnp.where(jnp.arange(d) < rank, rows, 0.0)

    # In small programs: this is done once in a chain.
    def inverse(rows):
        if few or n < _ENOUGH * d:  # see `gram_lower`
            return _inverse_rows(qr_lower(rows))
        gram = rows.T @ rows
        return _cholesky_columns(gram, _DEAD * diagonal(gram), with_inverse=True)[1]

    def turned(_, rows):
        return rows @ inverse(rows).T

    return lax.fori_loop(0, 2, turned, rows)  # again, for rounding errors


def singular_values(a: Float[Array, "d d"]) -> Float[Array, " d"]:
    """Singular values of a square matrix, in ascending order.

    Reduction to a bidiagonal, then bisection on Golub and Kahan's tridiagonal form, whose
    eigenvalues are the singular values and their negatives.
    """
    d = a.shape[0]
    if d == 1:
        return jnp.abs(a[0])
    scale = jnp.maximum(jnp.max(jnp.abs(a)), jnp.finfo(a.dtype).tiny)
    each = jnp.arange(d)

    def reduce(k, b):
        left, _ = _reflector(b[:, k], k, each >= k)
        b = b - 2.0 * left[:, None] * (left @ b)[None, :]
        after = jnp.minimum(k + 1, d - 1)
        right = jnp.where(k < d - 1, _reflector(b[k], after, each >= after)[0], 0.0)
        return b - 2.0 * (b @ right)[:, None] * right[None, :]

    bidiagonal = lax.fori_loop(0, d, reduce, a / scale)
    diagonal, above = jnp.diag(bidiagonal), jnp.diag(bidiagonal, 1)
    squares = jnp.zeros(2 * d - 1, a.dtype).at[::2].set(diagonal**2).at[1::2].set(above**2)
    floor = jnp.finfo(a.dtype).tiny * 1e4

    def count_below(x):
        """How many eigenvalues of the tridiagonal form lie below `x`: negative pivots of T - x."""

        def pivot(q, square):
            q = -x - square / q
            q = jnp.where(jnp.abs(q) < floor, -floor, q)
            return q, q < 0.0

        q = jnp.where(x < floor, -floor, -x)
        _, negative = lax.scan(pivot, q, squares)
        return jnp.sum(negative, axis=0) + (q < 0.0)

    index = d + jnp.arange(d)  # the d positive ones come last

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        below = count_below(middle) > index
        return jnp.where(below, low, middle), jnp.where(below, middle, high)

    bound = jnp.sqrt(jnp.sum(squares))
    low, high = lax.fori_loop(0, 30, halve, (jnp.zeros(d), jnp.full(d, 1.0) * bound))
    return scale * 0.5 * (low + high)


def nearest_isometry(a: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The partial isometry Q that is nearest to any matrix; `tr(Q'a)` is its nuclear norm.

    That is the sum of its singular values, and it is found to rounding errors of the greatest one.
    By Newton and Schulz's iteration, which needs products of matrices only.
    """
    a = a / jnp.maximum(jnp.max(jnp.abs(a)), jnp.finfo(a.dtype).tiny)
    a = a / jnp.maximum(jnp.sqrt(jnp.sum(a**2)), 0.5)  # 0 for a matrix of zeros

    def approach(_, q):
        return 1.5 * q - 0.5 * q @ (q.T @ q)

    # Singular values grow by half in each step until they are 1: all of 1e-7 or more in 40.
    return lax.fori_loop(0, 40, approach, a)


def solve_positive(
    a: Float[Array, "d d"], b: Float[Array, " d"], floor: float = 0.0
) -> tuple[Float[Array, " d"], Bool[Array, ""]]:
    """The solution of `a x = b` for a positive definite matrix, by Gauss and Jordan's elimination.

    A pivot at rounding level of its diagonal entry, or not above the floor, is a direction of which
    nothing is known: `x` is 0 there.

    Args:
        a: the matrix; it is read in full.
        b: the right-hand side.
        floor: see above.

    Returns:
        the solution, and whether there is such a direction.
    """
    least = jnp.maximum(_DEAD * diagonal(a), floor)
    each = jnp.arange(a.shape[0])

    def eliminate(k, state):
        table, dead = state
        pivot = table[k, k]
        alive = pivot > least[k]
        row = jnp.where(alive, table[k] / jnp.where(alive, pivot, 1.0), 0.0)
        table = jnp.where((each == k)[:, None], row, table - table[:, k][:, None] * row)
        return table, dead | ~alive

    table, dead = lax.fori_loop(
        0, a.shape[0], eliminate, (jnp.concatenate([a, b[:, None]], axis=1), jnp.zeros((), bool))
    )
    return table[:, -1], dead
