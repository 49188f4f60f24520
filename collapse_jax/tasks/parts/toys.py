"""Toy data sets: those of the paper, as scikit-learn's generators draw them, and some of modes."""

import copy
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.numerics import draws, threefry

Task = TypeVar("Task")
_EIGHTH = np.pi / 4.0 * np.arange(8)
MODES: dict[str, np.ndarray] = {
    "ring": 2.0 * np.stack([np.cos(_EIGHTH), np.sin(_EIGHTH)], axis=1),
    "grid": np.stack(np.meshgrid(*[np.arange(-4.0, 5.0, 2.0)] * 2), axis=2).reshape(-1, 2),
}
"""Data sets of round modes: 8 on a circle of radius 2, and 5 x 5 on a square of side 8."""
DIMENSIONS = {"blobs": 2, "circles": 2, "moons": 2, "swiss_roll": 3, "ring": 2, "grid": 2}
"""The data sets by name, with their dimension."""

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


class Modes(NamedTuple):
    """A data set in the plane, whose modes are arcs of circles, or points.

    Arrays, so that data sets share programs; that is why there may be room for more modes.
    """

    exist: np.ndarray
    """Which of them there are, the first ones. `[k]`"""
    centers: np.ndarray
    """`[k, 2]`"""
    drawn: np.ndarray
    """Whether the centres are drawn instead, for each chain."""
    radii: np.ndarray
    """0 for points; negative for the opposite arc. `[k]`"""
    angle: np.ndarray
    """How far arcs go."""
    open: np.ndarray
    """1 where an arc's last place is its end, 0 where that is its beginning again."""
    rest_first: np.ndarray
    """Whether the first modes have a row more where rows cannot be divided, or the last."""
    noise: np.ndarray
    """Standard deviation of its own noise, 0 if it has none."""


_K = 3  # modes of the data sets of the paper, at most


def _modes(
    centers: Any, radii: Any = 0.0, angle: float = 0.0, *, open: bool = False, drawn: bool = False
) -> Modes:
    """The modes, where what is drawn has centres and a noise of its own."""
    centers = np.asarray(centers, np.float32)
    real = len(centers)
    k = max(real, _K)
    missing = ((0, k - real), (0, 0))
    return Modes(
        np.arange(k) < real,
        np.pad(centers, missing),
        np.array(drawn),
        np.pad(np.broadcast_to(np.float32(radii), real), missing[0]),
        np.array(angle, np.float32),
        np.array(open, np.int32),
        np.array(angle == 0.0),
        np.array(drawn, np.float32),
    )


_PLANE = {
    "blobs": _modes(np.zeros((_K, 2)), drawn=True),
    "circles": _modes(np.zeros((2, 2)), (1.0, _INNER_RADIUS), 2.0 * np.pi),
    "moons": _modes([[0.0, 0.0], [1.0, 0.5]], (1.0, -1.0), np.pi, open=True),
    **{name: _modes(centers) for name, centers in MODES.items()},
}


def modes_of(dataset: str) -> Modes | None:
    """The modes of a data set, if it has any: there are none of the Swiss roll."""
    return _PLANE.get(dataset)


def unnamed(task: Task) -> Task:
    """A task without the name of its `dataset`: programs know its modes only, and serve others.

    One of a class of the user's, whose methods may read the name, keeps it.
    """
    if type(task).__module__.partition(".")[0] != __name__.partition(".")[0]:
        return task
    other = copy.copy(task)
    object.__setattr__(other, "dataset", "")
    return other


def draw_centers(modes: Modes | None, key: Key[Array, ""]) -> Float[Array, "k 2"]:
    """Centres of the modes: those of blobs are uniform on the square [-10, 10]^2."""
    if modes is None:
        return jnp.zeros((0, 2))
    shape, most = modes.centers.shape, _CENTER_BOX
    drawn = jax.random.uniform(key, shape, minval=-most, maxval=most)
    return jnp.where(modes.drawn, drawn, modes.centers)


def draw(
    modes: Modes | None,
    key: Key[Array, ""],
    n: int,
    noise: Float[Array, ""] | float,
    centers: Float[Array, "k 2"],
    size: Int[Array, ""] | None = None,
) -> Float[Array, "n d"]:
    """`n` points of a data set, in the order of their position on it.

    As in scikit-learn, points lie on circles and moons at equal distances before noise is added,
    and blobs and other modes have equal sizes up to one point.

    Args:
        modes: those of the data set; None for the Swiss roll.
        key: the key of the draw.
        n: number of points.
        noise: standard deviation of the noise (blobs have their own, 1).
        centers: centres of the modes.
        size: how many points count, from the first; they are spread as if there were no others.
            Default all.
    """
    dim = 3 if modes is None else 2
    pairs = -(-dim * n // 2)
    drawn = threefry.words(key, (2 * n + 2 * pairs,))
    normals = draws.to_normals(drawn[2 * n :].reshape(2, pairs))
    normals = normals[: dim * n].reshape(n, -1)
    if modes is None:
        angle, height = draws.to_uniform(drawn[: 2 * n].reshape(2, n))
        t = 1.5 * jnp.pi * (1.0 + 2.0 * angle)
        points = jnp.stack([t * jnp.cos(t), 21.0 * height, t * jnp.sin(t)], axis=1)
        return points + noise * normals
    mode, place, length = _in_mode(modes, n, n if size is None else size)
    angle = modes.angle * place / jnp.maximum(length - modes.open, 1)
    arc = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    points = centers[mode] + jnp.asarray(modes.radii)[mode][:, None] * arc
    return points + jnp.where(modes.noise > 0.0, modes.noise, noise) * normals


def mode_of(modes: Modes | None, n: int) -> Int[Array, " n"]:
    """The mode of each of `n` points in `draw`'s order; one for all where there are none."""
    return jnp.zeros(n, jnp.int32) if modes is None else _in_mode(modes, n, n)[0]


def _in_mode(modes: Modes, n: int, size: Int[Array, ""] | int):
    """Mode of each of `n` points, of which `size` count, its place there, and the mode's size."""
    number = jnp.sum(modes.exist)
    each = jnp.arange(len(modes.exist))
    less = jnp.where(modes.rest_first, each, number - 1 - each)
    sizes = jnp.where(modes.exist, size // number + (less < size % number), 0)
    ends = jnp.cumsum(sizes)
    point = jnp.arange(n)
    mode = jnp.minimum(jnp.searchsorted(ends, point, side="right"), number - 1)
    return mode, point - (ends - sizes)[mode], jnp.maximum(sizes[mode], 1)
