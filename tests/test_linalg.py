"""Linear algebra against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from collapse_jax.numerics import linalg
from collapse_jax.numerics.minimum_norm import minimum_norm_solver

SIZES = [1, 2, 7, 8, 9, 31, 100]


def random_rows(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize("d", SIZES)
def test_cholesky(d):
    rows = random_rows(3 * d, d)
    gram = rows.T @ rows / d
    factor = jax.jit(linalg.cholesky)(jnp.asarray(gram, jnp.float32))
    np.testing.assert_allclose(factor, np.linalg.cholesky(gram), atol=2e-5 * np.sqrt(d))


def test_cholesky_reads_the_lower_triangle_only():
    gram = jnp.array([[4.0, 99.0], [2.0, 5.0]])
    np.testing.assert_allclose(linalg.cholesky(gram), [[2.0, 0.0], [1.0, 2.0]], rtol=1e-6)


def test_cholesky_of_a_singular_matrix_has_columns_of_zeros():
    rows = random_rows(3, 6)
    gram = (rows.T @ rows).astype(np.float32)
    factor = np.asarray(linalg.cholesky(jnp.asarray(gram)))
    np.testing.assert_allclose(factor @ factor.T, gram, atol=1e-4)
    assert np.all(factor[:, 3:] == 0.0)


@pytest.mark.parametrize("d", SIZES)
def test_triangular_inverse(d):
    lower = np.tril(random_rows(d, d)) / np.sqrt(d) + 2.0 * np.eye(d)
    inverse = jax.jit(linalg.triangular_inverse)(jnp.asarray(lower, jnp.float32))
    np.testing.assert_allclose(inverse @ lower, np.eye(d), atol=1e-4)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (5, 1), (4, 7), (7, 7), (30, 7), (150, 31)])
def test_qr_lower(n, d):
    rows = random_rows(n, d)
    lower = np.asarray(jax.jit(linalg.qr_lower)(jnp.asarray(rows, jnp.float32)))
    np.testing.assert_allclose(lower @ lower.T, rows.T @ rows, rtol=1e-4, atol=1e-4 * n)
    assert np.all(np.diag(lower) >= 0.0)
    assert np.all(np.triu(lower, 1) == 0.0)
    assert np.all(lower[:, n:] == 0.0)


def test_qr_lower_keeps_small_directions():
    """Where the variances span 12 orders of magnitude the product has lost the small ones."""
    scales = np.array([1.0, 1e-2, 1e-4, 1e-6])
    rows = random_rows(20, 4) * scales
    lower = linalg.qr_lower(jnp.asarray(rows, jnp.float32))
    exact = np.abs(np.diag(np.linalg.qr(rows)[1]))
    np.testing.assert_allclose(np.diag(lower), exact, rtol=1e-4)


@pytest.mark.parametrize(("n", "d"), [(4, 7), (7, 7), (20, 7)])
def test_a_dead_column_uses_up_no_row(n, d):
    rows = random_rows(n, d)
    rows[:, 1], rows[:, 3] = 2.0 * rows[:, 0], rows[:, 0] - rows[:, 2]
    lower = np.asarray(jax.jit(linalg.qr_lower)(jnp.asarray(rows, jnp.float32)))
    np.testing.assert_allclose(lower @ lower.T, rows.T @ rows, rtol=1e-4, atol=1e-4 * n)
    alive = np.linalg.matrix_rank(rows)
    assert np.sum(np.diag(lower) > 0.0) == alive == min(n, d - 2)
    assert not lower[:, [1, 3]].any()


@pytest.mark.parametrize(("n", "d"), [(93, 31), (92, 31), (300, 100), (12, 31)])
def test_gram_lower_is_as_good_as_single_precision_with_three_rows_to_a_column(n, d):
    rows = random_rows(n, d).astype(np.float32)
    lower = np.asarray(jax.jit(linalg.gram_lower)(rows))
    exact = np.linalg.qr(rows.astype(np.float64))[1].T
    exact = exact * np.sign(np.diag(exact))
    np.testing.assert_allclose(lower[:, : len(rows)], exact, rtol=1e-5, atol=1e-5 * n**0.5)
    logs = [2.0 * np.sum(np.log(np.diag(x)[:n])) for x in (lower, exact)]
    assert logs[0] == pytest.approx(logs[1], abs=2e-4)


def test_gram_lower_agrees_with_qr_lower():
    rows = jnp.asarray(random_rows(200, 10), jnp.float32)
    np.testing.assert_allclose(linalg.gram_lower(rows), linalg.qr_lower(rows), atol=1e-4)


@pytest.mark.parametrize("d", SIZES)
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_singular_values(d, decay):
    a = np.tril(random_rows(d, d)) * np.exp(-decay * np.arange(d))
    values = jax.jit(linalg.singular_values)(jnp.asarray(a, jnp.float32))
    exact = np.sort(np.linalg.svd(a, compute_uv=False))
    np.testing.assert_allclose(values, exact, atol=3e-6 * exact[-1] * np.sqrt(d))


def test_singular_values_of_singular_matrices():
    a = np.zeros((5, 5))
    np.testing.assert_allclose(linalg.singular_values(jnp.asarray(a, jnp.float32)), 0.0, atol=1e-30)
    a[:, 0] = 2.0
    exact = [0.0, 0.0, 0.0, 0.0, 2.0 * np.sqrt(5.0)]
    np.testing.assert_allclose(
        linalg.singular_values(jnp.asarray(a, jnp.float32)), exact, atol=1e-5
    )


@pytest.mark.parametrize(("n", "d"), [(1, 1), (40, 5), (12, 10), (3, 10), (30, 100)])
def test_minimum_norm_solution(n, d):
    x, y = random_rows(n, d, 1), random_rows(n, 1, 2)[:, 0]
    x32, y32 = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    w = jax.jit(lambda x, y: minimum_norm_solver(x.T @ x)(x.T @ y))(x32, y32)
    exact = np.linalg.lstsq(x, y)[0]
    np.testing.assert_allclose(w, exact, atol=2e-3 * np.linalg.norm(exact))


def test_minimum_norm_solution_with_repeated_rows():
    x = np.repeat(random_rows(4, 6, 3), 3, axis=0)
    y = random_rows(12, 1, 4)[:, 0]
    x32, y32 = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    w = minimum_norm_solver(x32.T @ x32)(x32.T @ y32)
    np.testing.assert_allclose(w, np.linalg.lstsq(x, y)[0], atol=1e-4)


@pytest.mark.parametrize("d", [3, 12])
@pytest.mark.parametrize("factor", [linalg.qr_lower, linalg.gram_lower])
def test_dependent_columns_are_columns_of_zeros(factor, d):
    """Columns 1 and 2 depend on the first, and are followed by others that do not."""
    rows = random_rows(5 * d, d)
    rows[:, 1], rows[:, 2] = 3.0 * rows[:, 0], 0.0
    lower = np.asarray(factor(jnp.asarray(rows, jnp.float32)))
    live = np.diag(lower) > 0.0
    assert live.tolist() == [True, False, False, *[True] * (d - 3)]
    np.testing.assert_allclose(lower @ lower.T, rows.T @ rows, atol=1e-4 * 5 * d)


def test_rank_of_small_counts_is_exact():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (3000, 5, 3)).astype(float)
    mixed = counts @ np.array([[1.0, 0.3, 0.1], [0.0, 0.8, -0.2], [0.0, 0.0, 1.3]]) - 0.7

    def lower(rows):
        reference = jnp.linalg.norm(rows, axis=0)
        return linalg.qr_lower(rows - rows.mean(axis=0), 4, reference)

    found = np.asarray(jax.jit(jax.vmap(lower))(jnp.asarray(mixed, jnp.float32)))
    ranks = np.linalg.matrix_rank(counts - counts.mean(axis=1, keepdims=True))
    assert np.sum(ranks < 3) > 100
    np.testing.assert_array_equal(np.sum(np.einsum("nii->ni", found) > 0.0, axis=1), ranks)
