"""Draws against SciPy's distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats
from statistics_helpers import assert_law, assert_mean

from collapse_jax.numerics import draws, keys, threefry


@pytest.mark.parametrize("degrees", [1, 2, 3, 9, 99, 10_000])
def test_log_chi_square_has_its_law(degrees):
    draw = jax.jit(lambda key: draws.log_chi_square(key, jnp.full(20_000, float(degrees)))[0])
    sample = np.exp(np.asarray(draw(jax.random.key(degrees)), np.float64))
    assert_law(sample, stats.chi2(degrees).cdf, comparisons=6)


def test_chi_square_without_degrees_of_freedom_is_zero():
    log_draw, normals = draws.log_chi_square(jax.random.key(0), jnp.array([0.0, -3.0]), normals=4)
    assert np.all(np.isneginf(log_draw))
    assert normals.shape == (4,)


@pytest.mark.parametrize("bound", [1, 2, 3, 77, 2**16 - 1, 2**16, 10**7 + 1, 2**31 - 1])
def test_whole_numbers_of_random_words(bound):
    """Exactly the whole part of a 64-bit fraction times the bound."""
    ends = np.array([0, 1, 2**16 - 1, 2**16, 2**31, 2**32 - 2, 2**32 - 1], np.uint32)
    ends = np.stack(np.meshgrid(ends, ends)).reshape(2, -1)
    drawn = jnp.concatenate([ends, threefry.words(jax.random.key(bound), (2, 5000))], axis=1)
    expected = [bound * (high << 32 | low) >> 64 for high, low in np.asarray(drawn).T.tolist()]
    np.testing.assert_array_equal(draws.to_integers(drawn, bound), expected)


@pytest.mark.parametrize(("n", "d"), [(5, 3), (2, 4), (40, 1)])
def test_bartlett_factor_gives_a_wishart_matrix(n, d):
    def scatter(key):
        log_diag, below, _ = draws.bartlett(key, float(n), d)
        factor = below + jnp.diag(jnp.exp(log_diag))
        return factor @ factor.T, factor

    keys = jax.random.split(jax.random.key(n + d), 40_000)
    matrix, factor = jax.vmap(scatter)(keys)
    assert_mean(matrix, n * np.eye(d))
    # Var W_ij = n (1 + [i = j]) for the standard Wishart law.
    centred = np.asarray(matrix) - n * np.eye(d)
    assert_mean(centred**2, n * (1 + np.eye(d)))
    assert np.all(np.asarray(factor)[:, :, n:] == 0.0)


def test_strictly_lower_places_every_entry_once():
    for d in range(1, 8):
        m = d * (d - 1) // 2
        matrix = draws._strictly_lower(jnp.arange(1.0, m + 1), d)
        assert sorted(np.asarray(matrix)[np.tril_indices(d, -1)]) == list(range(1, m + 1))
        assert np.all(np.triu(matrix) == 0.0)


@pytest.mark.parametrize(
    ("n", "p"),
    [
        (7, [0.5, 0.3, 0.15, 0.05]),
        (7, [1.0]),
        (100_000, [0.2, 0.0, 0.8]),
        (1_000_000, [1e-5, 1 - 1e-5]),
    ],
)
def test_multinomial_moments(n, p):
    p = np.array(p)
    keys = jax.random.split(jax.random.key(n), 4000)
    counts = np.asarray(
        jax.jit(jax.vmap(lambda key: draws.multinomial(key, n, jnp.asarray(p, jnp.float32))))(keys)
    )
    assert np.all(counts.sum(axis=1) == n)
    assert np.all(counts[:, p == 0.0] == 0.0)
    assert_mean(counts, n * p, rounding=1e-6)
    deviations = (counts - n * p)[:, :, None] * (counts - n * p)[:, None, :]
    # float32 probabilities are off by up to 6e-8, which shows in n p only for huge n.
    assert_mean(deviations, n * (np.diag(p) - np.outer(p, p)), rounding=1e-3)


def test_multinomial_marginal_is_binomial():
    keys = jax.random.split(jax.random.key(1), 20_000)
    p = jnp.array([0.1, 0.2, 0.3, 0.4])
    counts = np.asarray(jax.jit(jax.vmap(lambda key: draws.multinomial(key, 50, p)))(keys))
    for j in range(4):
        observed = np.bincount(counts[:, j].astype(int), minlength=51)
        expected = stats.binom(50, float(p[j])).pmf(np.arange(51)) * len(keys)
        keep = expected > 5
        table = np.append(observed[keep], observed[~keep].sum())
        theory = np.append(expected[keep], expected[~keep].sum())
        assert stats.chisquare(table, theory * table.sum() / theory.sum()).pvalue > 1e-5


def test_bootstrap_labels_follow_counts():
    counts = jnp.array([3, 0, 5, 2, 0])
    labels = np.asarray(draws.bootstrap_labels(jax.random.key(0), 100_000, counts))
    observed = np.bincount(labels, minlength=5)
    assert observed[1] == observed[4] == 0
    assert stats.chisquare(observed[[0, 2, 3]], 1e4 * np.array([3, 5, 2])).pvalue > 1e-4


@pytest.mark.parametrize("k", [2, 3, 10, 1000, 100_000])
def test_categorical_labels_follow_probabilities(k):
    weights = np.random.default_rng(k).exponential(size=k)
    weights[-1] = 0.0 if k > 2 else weights[-1]
    p = weights / weights.sum()
    labels = draws.categorical_labels(jax.random.key(k), 200_000, jnp.asarray(p, jnp.float32))
    observed = np.bincount(labels, minlength=k)
    assert np.all(observed[p == 0.0] == 0)
    groups = np.arange(k) * min(k, 50) // k  # so that every expected count is large
    observed = np.bincount(groups, weights=observed)
    expected = 200_000 * np.bincount(groups, weights=p)
    possible = expected > 0
    assert stats.chisquare(observed[possible], expected[possible]).pvalue > 1e-5


def test_uniform_numbers_fill_the_open_interval():
    words = np.array([0, 2**9 - 1, 2**9, 2**31, 2**32 - 1], np.uint32)
    uniform = np.asarray(jax.jit(draws.to_uniform)(jnp.asarray(words)), np.float64)
    step = 2.0**-23
    np.testing.assert_array_equal(
        uniform, [step / 2, step / 2, 1.5 * step, 0.5 + step / 2, 1 - step / 2]
    )


def test_normals_are_box_and_mullers():
    """Against the textbook's formula in double precision, in all quarters and at all ends."""
    ends = [0, 1, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 1]
    rng = np.random.default_rng(0)
    some = rng.integers(0, 2**32, 1000, dtype=np.uint32)
    first, second = np.meshgrid(np.array(ends, np.uint32), np.array([*ends, *some], np.uint32))
    words = np.stack([first.ravel(), second.ravel()])
    uniform = ((words[0] >> 9) + 0.5) / 2.0**23
    quarter = (words[1] >> 30).astype(int)
    place = ((words[1] << np.uint32(2)).view(np.int32) // 256 + 0.5) / 2.0**24 * np.pi / 2
    sign = np.where(quarter >= 2, -1.0, 1.0)
    radius = sign * np.sqrt(-2.0 * np.log(uniform))
    sine, cosine = radius * np.sin(place), radius * np.cos(place)
    odd = quarter % 2 == 1
    expected = np.concatenate([np.where(odd, cosine, sine), np.where(odd, sine, cosine)])
    drawn = np.asarray(jax.jit(draws.to_normals)(jnp.asarray(words)))
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)
    assert np.all(drawn != 0.0)


FOLDS = threefry.fold_in, jax.random.fold_in


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_words_are_threefry_of_the_key(size):
    """Against JAX's own implementation of the cipher, block by block."""
    key = keys.chain_key(jnp.uint32(3))
    padded = np.arange(size + size % 2, dtype=np.uint32)
    padded[size:] = 0

    def expected(key):
        return threefry_2x32(jax.random.key_data(key), jnp.asarray(padded))[:size]

    np.testing.assert_array_equal(threefry.words(key, (size,)), expected(key))
    many = jax.random.split(key, 9)
    mapped = jax.jit(jax.vmap(lambda key: threefry.words(key, (size,))))(many)
    np.testing.assert_array_equal(mapped, [expected(key) for key in many])


@pytest.mark.parametrize("data", [0, 5, 2**31, 2**32 - 1, jnp.int32(-4), jnp.uint32(7)])
def test_keys_are_folded_as_jax_folds_them(data):
    made = jax.random.split(jax.random.key(6), 5)
    ours, theirs = (jax.vmap(lambda key, f=f: f(key, data))(made) for f in FOLDS)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))


@pytest.mark.parametrize("n", [1, 7, 1000])
def test_pairs_are_two_rows_of_words(n):
    key = jax.random.key(n)
    np.testing.assert_array_equal(jnp.stack(threefry.pairs(key, n)), threefry.words(key, (2, n)))


def test_other_processors_than_cpus_have_the_cipher_of_jax():
    """Branches are what makes it fast on a CPU, and what would stop a GPU."""
    traced = jax.jit(lambda key: threefry.words(key, (8,))).trace(jax.random.key(0))
    lowered = [traced.lower(lowering_platforms=(platform,)) for platform in ("cpu", "cuda", "tpu")]
    hidden = ["optimization_barrier" in program.as_text() for program in lowered]
    assert hidden == [True, False, False]
    first, second = jnp.arange(12, dtype=jnp.uint32).reshape(2, 6)
    parts = lambda: (first, second), jnp.arange(2, dtype=jnp.uint32)
    written, rolled = threefry._written_out(*parts), threefry._as_jax_does(*parts)
    np.testing.assert_array_equal(written, rolled)


def test_normals_have_their_law():
    draw = np.asarray(draws.normal(jax.random.key(8), (1000, 200)))
    assert_law(draw, stats.norm.cdf)
    assert_law(draw.mean(axis=1) * np.sqrt(200), stats.norm.cdf)
    # Neither neighbours nor the two halves of the counter are correlated.
    flat = draw.ravel()
    for lag in (1, 2, flat.size // 2):
        assert abs(np.corrcoef(flat[:-lag], flat[lag:])[0, 1]) < 4.5 / np.sqrt(flat.size - lag)


def test_streams_are_distinct():
    key = keys.chain_key(jnp.uint32(7))
    words = {
        tuple(jax.random.key_data(keys.stream(key, t, role)).tolist())
        for t in range(50)
        for role in keys.Role
    }
    assert len(words) == 50 * len(keys.Role)


def test_chain_keys_are_threefry():
    assert str(jax.random.key_impl(keys.chain_key(jnp.uint32(3)))) == "threefry2x32"
