"""Distances between rows, against SciPy, scikit-learn and plain NumPy in double precision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, stats
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors

import collapse_jax as cj
from collapse_jax.numerics.linalg import nearest_isometry
from collapse_jax.numerics.subsets import smallest

KEY = jax.random.key(3, impl="threefry2x32")
SHAPES = [(50, 30, 2), (40, 40, 1), (30, 61, 3), (25, 20, 40)]
slow = pytest.mark.thorough
POWERS = {"frechet": 2, "sliced_wasserstein": 2, "energy": 1}
"""By what power of the unit of the rows each grows; the others do not."""


def rows_of(n, m, d, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((d, d))
    real = rng.standard_normal((n, d)) @ mix
    generated = 0.7 * rng.standard_normal((m, d)) @ mix + 0.5 * rng.standard_normal(d)
    return real.astype(np.float32), generated.astype(np.float32)


def sliced(a, b, power=2, directions=16):
    return cj.distances.sliced_wasserstein(a, b, KEY, directions, power)


def some(names, always):
    """All of them in thorough runs, and one always: each is another program."""
    return [name if name == always else pytest.param(name, marks=slow) for name in names]


PLAIN = {
    "frechet": cj.distances.frechet,
    "precision": cj.distances.precision,
    "recall": cj.distances.recall,
    "coverage": cj.distances.coverage,
    "mmd": cj.distances.mmd,
    "energy": cj.distances.energy,
    "sliced_wasserstein": sliced,
}
OURS = {name: jax.jit(function) for name, function in PLAIN.items()}


def frechet(a, b):
    root = linalg.sqrtm(np.atleast_2d(np.cov(a.T)) @ np.atleast_2d(np.cov(b.T)))
    gap = np.sum((a.mean(0) - b.mean(0)) ** 2)
    return gap + np.var(a, 0, ddof=1).sum() + np.var(b, 0, ddof=1).sum() - 2 * np.trace(root).real


def reach(rows, k):
    found = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(rows)
    return found.kneighbors()[0][:, -1]  # each row's own other rows


def precision(a, b, k=3):
    return np.mean(np.any(cdist(b, a) <= reach(a, k), axis=1))


def coverage(a, b, k=5):
    nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(b).kneighbors(a)[0][:, 0]
    return np.mean(nearest <= reach(a, k))


def mmd(a, b):
    apart = np.sort(cdist(a, a)[np.triu_indices(len(a), 1)])
    gamma = 0.5 / apart[(len(apart) - 1) // 2] ** 2
    kernel = partial(rbf_kernel, gamma=gamma)
    return kernel(a, a).mean() + kernel(b, b).mean() - 2 * kernel(a, b).mean()


def energy(a, b):
    if a.shape[1] == 1:
        return stats.energy_distance(a[:, 0], b[:, 0]) ** 2
    return 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()


def quantile_gap(x, y, power):
    """By repeating both samples until they have equal sizes."""
    size = np.lcm(len(x), len(y))
    x, y = (np.repeat(np.sort(v), size // len(v)) for v in (x, y))
    return np.mean(np.abs(x - y) ** power)


def sliced_twin(a, b, power=2, directions=16):
    axes = np.asarray(cj.distances.directions_of(KEY, directions, a.shape[1]), np.float64)
    one = stats.wasserstein_distance if power == 1 else partial(quantile_gap, power=2)
    return np.mean([one(a @ axis, b @ axis) for axis in axes])


TWINS = {
    "frechet": frechet,
    "precision": precision,
    "recall": lambda a, b: precision(b, a),
    "coverage": coverage,
    "mmd": mmd,
    "energy": energy,
    "sliced_wasserstein": sliced_twin,
}


@pytest.mark.parametrize(
    "shape", [SHAPES[0], *(pytest.param(shape, marks=slow) for shape in SHAPES[1:])], ids=str
)
@pytest.mark.parametrize("name", OURS)
def test_distances_are_those_of_other_libraries(name, shape):
    a, b = rows_of(*shape)
    expected = TWINS[name](a.astype(np.float64), b.astype(np.float64))
    assert expected > 0.0
    assert float(OURS[name](a, b)) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
@slow
def test_slices_are_scipys_wasserstein_distances(shape):
    a, b = rows_of(*shape)
    expected = sliced_twin(a.astype(np.float64), b.astype(np.float64), power=1)
    assert float(sliced(a, b, power=1)) == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("unit", [1e-6, 1e6, 1e-18, 1e18])
@pytest.mark.parametrize("name", OURS)
def test_units_only_scale(name, unit):
    a, b = rows_of(*SHAPES[0])
    expected = TWINS[name](a.astype(np.float64), b.astype(np.float64))
    expected *= np.float64(unit) ** POWERS.get(name, 0)
    found = float(OURS[name](a * np.float32(unit), b * np.float32(unit)))
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-37)


@pytest.mark.parametrize("offset", [1e6, -1e6])
@pytest.mark.parametrize("name", OURS)
def test_offsets_do_not_matter(name, offset):
    a, b = (rows + np.float32(offset) for rows in rows_of(*SHAPES[0]))  # rounded to 1/16
    expected = TWINS[name](a.astype(np.float64), b.astype(np.float64))
    assert float(OURS[name](a, b)) == pytest.approx(expected, rel=1e-4)


def test_rows_of_double_precision_keep_their_digits():
    a, b = (rows + 1e9 for rows in rows_of(*SHAPES[0]))
    assert float(cj.distances.energy(a, b)) == pytest.approx(energy(a, b), rel=1e-4)


@pytest.mark.parametrize("name", some(OURS, "energy"))
def test_many_at_once_are_the_same(name):
    stacks = [np.stack(part) for part in zip(*map(partial(rows_of, *SHAPES[0]), range(4)))]  # noqa: B905
    found = jax.jit(jax.vmap(PLAIN[name]))(*stacks)
    one_by_one = [float(OURS[name](a, b)) for a, b in zip(*stacks, strict=True)]
    np.testing.assert_allclose(found, one_by_one, rtol=5e-5)


@pytest.mark.parametrize("name", OURS)
def test_the_same_rows(name):
    a, _ = rows_of(*SHAPES[0])
    found = float(OURS[name](a, a))
    if name in ("precision", "recall", "coverage"):
        assert found == 1.0
    else:
        assert 0.0 <= found < 1e-5 * float(np.sum(np.var(a, axis=0)))


@pytest.mark.parametrize("name", OURS)
def test_degenerate_rows_are_no_nan(name):
    a, _ = rows_of(*SHAPES[0])
    dead = np.zeros_like(a)
    for real, generated in ((a, dead), (dead, a), (dead, dead), (a, np.float32(1e30) * a)):
        assert not np.isnan(OURS[name](real, generated))


def test_whole_numbers_are_at_the_same_distance_everywhere():
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 2), -1).reshape(-1, 2).astype(np.float32)
    for scale in (1.0, 0.1, 1.0 / 3.0):
        a, b = np.float32(scale) * grid, np.float32(scale) * (grid + np.array([1.0, 0.0]))
        inside = jax.jit(lambda a, b: cj.distances.precision(a, b, 1))
        assert float(inside(a, b)) == 1.0  # the last column touches the balls


def test_frechet_is_the_wasserstein_distance_of_normals():
    """Of samples with moments that are exact."""
    rng = np.random.default_rng(1)
    raw = rng.standard_normal((400, 3))
    raw = np.linalg.qr(raw - raw.mean(0))[0] * np.sqrt(399)
    first, second = np.diag([1.0, 2.0, 3.0]), np.diag([2.0, 0.5, 0.0])
    found = OURS["frechet"](raw @ first, raw @ second + 1.0)
    assert float(found) == pytest.approx(3.0 + 1.0 + 1.5**2 + 9.0, rel=1e-5)


@pytest.mark.parametrize(
    "name", some(["frechet", "mmd", "energy", "sliced_wasserstein"], "frechet")
)
def test_gradients_are_slopes(name):
    a, b = rows_of(20, 26, 3, seed=4)
    a[1] = a[0]
    step = np.random.default_rng(2).standard_normal(b.shape).astype(np.float32)
    slope = jax.jit(jax.grad(PLAIN[name], argnums=1))(a, b)
    assert np.all(np.isfinite(slope))
    wide = [x.astype(np.float64) for x in (a, b, step)]
    beyond = [TWINS[name](wide[0], wide[1] + h * wide[2]) for h in (1e-5, -1e-5)]
    expected = (beyond[0] - beyond[1]) / 2e-5
    assert float(jnp.sum(slope * step)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", some(OURS, "energy"))
def test_gradients_are_finite(name):
    a, b = rows_of(8, 8, 12)  # and more columns than rows
    slope = jax.jit(jax.grad(PLAIN[name], argnums=1))
    for rows in (b, a, np.zeros_like(b)):
        assert np.all(np.isfinite(slope(a, rows)))


def test_ranks_are_those_of_sorted_values():
    values = np.random.default_rng(0).integers(0, 6, (5, 30)).astype(np.float32)
    values[0, :4] = np.inf
    for rank in (1, 7, 30):
        found = smallest(jnp.asarray(values), rank)
        np.testing.assert_array_equal(found, np.sort(values)[:, rank - 1])


@pytest.mark.parametrize("shape", [(4, 4), (3, 9), (12, 5)])
def test_nearest_isometry(shape):
    matrix = np.random.default_rng(0).standard_normal(shape)
    matrix[:, 0] = matrix[:, 1]
    u, s, v = np.linalg.svd(matrix)
    found = jax.jit(nearest_isometry)(jnp.asarray(matrix, jnp.float32))
    rank = int(np.sum(s > 1e-9))
    np.testing.assert_allclose(u[:, :rank].T @ found @ v[:rank].T, np.eye(rank), atol=1e-5)
    assert float(np.sum(found * matrix)) == pytest.approx(s.sum(), rel=1e-6)


TWO = np.zeros((2, 2))
BAD = [
    (lambda: cj.distances.frechet(TWO[:1], TWO), r"real must be rows \[n, d\], 2 or more, got"),
    (lambda: cj.distances.energy(TWO, TWO[0]), r"generated must be rows .* got shape \(2,\)"),
    (lambda: cj.distances.energy(TWO[:, :1], TWO), "generated must have the 1 columns .* got 2"),
    (lambda: cj.distances.precision(TWO, TWO), "neighbours must be below the number of rows, 2"),
    (lambda: cj.distances.recall(np.zeros((9, 2)), TWO), "neighbours must be below .* got 3"),
    (lambda: cj.distances.coverage(TWO, TWO, 0), "neighbours must be between 1 and"),
    (lambda: cj.distances.mmd(TWO, TWO, bandwidth=0.0), "bandwidth must be a finite positive"),
    (lambda: sliced(TWO, TWO, power=3), "power must be 1 or 2, got 3"),
    (lambda: sliced(TWO, TWO, directions=0), "directions must be between 1 and"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
