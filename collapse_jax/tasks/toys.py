"""The toy data sets of the paper, as scikit-learn's generators draw them, drawn on the device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from collapse_jax.numerics import draws

DIMENSIONS = {"blobs": 2, "circles": 2, "moons": 2, "swiss_roll": 3}
"""The data sets by name, with their dimension."""

_N_CENTERS = 3
_CENTER_BOX = 10.0
_INNER_RADIUS = 0.8


def blob_centers(key: Key[Array, ""]) -> Float[Array, "3 2"]:
    """Centres of the blobs, uniform on the square [-10, 10]^2."""
    return jax.random.uniform(key, (_N_CENTERS, 2), minval=-_CENTER_BOX, maxval=_CENTER_BOX)


def draw(
    dataset: str,
    key: Key[Array, ""],
    n: int,
    noise: Float[Array, ""] | float,
    centers: Float[Array, "3 2"],
) -> Float[Array, "n d"]:
    """`n` points of a data set, in the order of their position on it.

    As in scikit-learn, points lie on circles and moons at equal distances before noise is added,
    and blobs have equal sizes up to one point.

    Args:
        dataset: `"blobs"`, `"circles"`, `"moons"` or `"swiss_roll"`.
        key: the key of the draw.
        n: number of points.
        noise: standard deviation of the noise (blobs have their own, 1).
        centers: centres of the blobs; the others have none.
    """
    pairs = -(-DIMENSIONS[dataset] * n // 2)
    drawn = draws.words(key, (2 * n + 2 * pairs,))
    normals = draws.to_normals(drawn[2 * n :].reshape(2, pairs))
    normals = normals[: DIMENSIONS[dataset] * n].reshape(n, -1)
    if dataset == "blobs":
        points = jnp.repeat(
            centers, jnp.asarray(mode_sizes(dataset, n)), axis=0, total_repeat_length=n
        )
        return points + normals
    if dataset == "swiss_roll":
        angle, height = draws.to_uniform(drawn[: 2 * n].reshape(2, n))
        t = 1.5 * jnp.pi * (1.0 + 2.0 * angle)
        points = jnp.stack([t * jnp.cos(t), 21.0 * height, t * jnp.sin(t)], axis=1)
    elif dataset == "circles":
        outer = _arc(jnp.linspace(0.0, 2.0 * jnp.pi, n // 2, endpoint=False))
        inner = _arc(jnp.linspace(0.0, 2.0 * jnp.pi, n - n // 2, endpoint=False))
        points = jnp.concatenate([outer, _INNER_RADIUS * inner])
    else:
        upper = _arc(jnp.linspace(0.0, jnp.pi, n // 2))
        lower = jnp.array([1.0, 0.5]) - _arc(jnp.linspace(0.0, jnp.pi, n - n // 2))
        points = jnp.concatenate([upper, lower])
    return points + noise * normals


def _arc(angle: Float[Array, " n"]) -> Float[Array, "n 2"]:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)


def mode_sizes(dataset: str, n: int) -> tuple[int, ...]:
    """Sizes of the modes (blobs, circles, half-moons) in `draw`'s order, one of `n` if only one."""
    if dataset == "blobs":
        return tuple(n // _N_CENTERS + (i < n % _N_CENTERS) for i in range(_N_CENTERS))
    return (n,) if dataset == "swiss_roll" else (n // 2, n - n // 2)
