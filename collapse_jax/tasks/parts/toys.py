"""Toy data sets: those of the paper, as scikit-learn's generators draw them, and some of modes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.numerics import draws, threefry

_EIGHTH = np.pi / 4.0 * np.arange(8)
MODES: dict[str, np.ndarray] = {
    "ring": 2.0 * np.stack([np.cos(_EIGHTH), np.sin(_EIGHTH)], axis=1),
    "grid": np.stack(np.meshgrid(*[np.arange(-4.0, 5.0, 2.0)] * 2), axis=2).reshape(-1, 2),
}
"""Data sets of round modes: 8 on a circle of radius 2, and 5 x 5 on a square of side 8."""
DIMENSIONS = {"blobs": 2, "circles": 2, "moons": 2, "swiss_roll": 3, "ring": 2, "grid": 2}
"""The data sets by name, with their dimension."""

_N_CENTERS = 3
_CENTER_BOX = 10.0
_INNER_RADIUS = 0.8
_MOST_NOISE = 1e15


def spread(noise: Any) -> float:
    """About that of a data set, in float32.

    Raises:
        ValueError: for noise whose square float32 cannot hold.
    """
    if checks.is_traced(noise):
        return 1.0
    if noise > _MOST_NOISE:
        raise ValueError(f"noise must be at most {_MOST_NOISE:g}, got {noise:g}")
    return max(1.0, noise)


def blob_centers(key: Key[Array, ""]) -> Float[Array, "3 2"]:
    """Centres of the blobs, uniform on the square [-10, 10]^2."""
    return jax.random.uniform(key, (_N_CENTERS, 2), minval=-_CENTER_BOX, maxval=_CENTER_BOX)


def draw(
    dataset: str,
    key: Key[Array, ""],
    n: int,
    noise: Float[Array, ""] | float,
    centers: Float[Array, "3 2"],
    size: Int[Array, ""] | None = None,
) -> Float[Array, "n d"]:
    """`n` points of a data set, in the order of their position on it.

    As in scikit-learn, points lie on circles and moons at equal distances before noise is added,
    and blobs and other modes have equal sizes up to one point.

    Args:
        dataset: one of `DIMENSIONS`.
        key: the key of the draw.
        n: number of points.
        noise: standard deviation of the noise (blobs have their own, 1).
        centers: centres of the blobs; the others have none.
        size: how many points count, from the first; they are spread as if there were no others.
            Default all.
    """
    pairs = -(-DIMENSIONS[dataset] * n // 2)
    drawn = threefry.words(key, (2 * n + 2 * pairs,))
    normals = draws.to_normals(drawn[2 * n :].reshape(2, pairs))
    normals = normals[: DIMENSIONS[dataset] * n].reshape(n, -1)
    if dataset == "swiss_roll":
        angle, height = draws.to_uniform(drawn[: 2 * n].reshape(2, n))
        t = 1.5 * jnp.pi * (1.0 + 2.0 * angle)
        points = jnp.stack([t * jnp.cos(t), 21.0 * height, t * jnp.sin(t)], axis=1)
        return points + noise * normals
    mode, place, length = _in_mode(dataset, n, n if size is None else size)
    if dataset == "blobs":
        return centers[mode] + normals
    if dataset in MODES:
        return jnp.asarray(MODES[dataset], jnp.float32)[mode] + noise * normals
    if dataset == "circles":
        radius = jnp.where(mode == 0, 1.0, _INNER_RADIUS)
        points = radius[:, None] * _arc(2.0 * jnp.pi * place / length)
    else:
        arc = _arc(jnp.pi * place / jnp.maximum(length - 1, 1))
        points = jnp.where(mode[:, None] == 0, arc, jnp.array([1.0, 0.5]) - arc)
    return points + noise * normals


def _arc(angle: Float[Array, " n"]) -> Float[Array, "n 2"]:
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)


def _in_mode(dataset: str, n: int, size: Int[Array, ""] | int):
    """Mode of each of `n` points, of which `size` count, its place there, and the mode's size."""
    sizes = jnp.stack([jnp.asarray(s) for s in mode_sizes(dataset, size)])
    ends = jnp.cumsum(sizes)
    point = jnp.arange(n)
    mode = jnp.minimum(jnp.searchsorted(ends, point, side="right"), len(sizes) - 1)
    return mode, point - (ends - sizes)[mode], jnp.maximum(sizes[mode], 1)


def mode_sizes(dataset: str, n: Any) -> tuple[Any, ...]:
    """Sizes of the modes (blobs, circles, half-moons) in `draw`'s order, one of `n` if only one."""
    if dataset == "blobs" or dataset in MODES:
        k = _N_CENTERS if dataset == "blobs" else len(MODES[dataset])
        return tuple(n // k + (i < n % k) for i in range(k))
    return (n,) if dataset == "swiss_roll" else (n // 2, n - n // 2)
