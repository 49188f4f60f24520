"""What a person sees of a generation, by the kind of rows that a task has, or as the task says."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from collapse_jax.tasks.contract import KnowsDensity, SaysWhatIsSeen
from collapse_jax.tasks.data import Model, Rows, World
from collapse_jax.views import AbstractView, Curve, Images, Lines, Masses, Points, Regions, Values

ROWS = 300
"""Real rows beside which those of a model are drawn."""
_GRID = 48  # points a side, at which densities and classifiers are looked at
_MARGIN = 0.2  # share of the range of real rows by which the grid is wider than they are
_RANKS = 1000
_PLAIN = "rows"  # the name of what a task has but one of


def see(task: Any, world: World, model: Model, rows: Rows) -> dict[str, AbstractView]:
    """What is drawn of a model and of rows that it made, by name.

    A task of which something else is to be seen than its rows `SaysWhatIsSeen`. Those of points
    have the density drawn where the task `KnowsDensity`.

    Raises:
        TypeError: for rows that are no numbers, images, tables or labelled points.

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.Categorical(3, n_samples=20)
        >>> view = see(task, None, jnp.array([14, 6, 0]), None)["outcomes"]
        >>> [round(float(p), 2) for p in view.p]
        [0.7, 0.3, 0.0]
    """
    if isinstance(task, SaysWhatIsSeen):
        return task.seen(world, model, rows)
    real = real_rows(task, world)
    found = seen_as(task.shown(world, rows), task.shown(world, real))
    if not isinstance(task, KnowsDensity):
        return found
    return {name: _with_density(view, task, world, model, real) for name, view in found.items()}


def real_rows(task: Any, world: World, n: int = ROWS) -> Rows:
    """Some of the real rows, always the same ones."""
    population = task.population
    n = n if population is None else min(n, population)
    index = None if population is None else jnp.arange(n)
    return task.real(world, real_key(), n, size=None, index=index)


def real_key() -> Key[Array, ""]:
    """The key of real rows beside which those of a model are drawn."""
    return jax.random.key(0, impl="threefry2x32")


def seen_as(rows: Any, real: Any) -> dict[str, AbstractView]:
    """Views of rows by their kind: a table's columns, points or labelled ones, numbers, images."""
    if isinstance(rows, dict):
        pairs = {name: (jnp.asarray(rows[name]), jnp.asarray(real[name])) for name in rows}
        return {name: Values(*pair, name=name) for name, pair in pairs.items()}
    if type(rows) is tuple:
        rows, real = rows[0], real[0]
    if not hasattr(rows, "ndim") or rows.ndim not in (1, 2, 3):
        raise TypeError(
            "a picture can be made of rows that are numbers, points, images or columns by name; a "
            "task with others has to say what is seen, by a method seen(world, model, rows)"
        )
    if rows.ndim == 3:
        return {_PLAIN: Images(rows, real)}
    if rows.ndim == 1 or rows.shape[1] == 1:
        return {_PLAIN: Values(rows.reshape(-1), real.reshape(-1))}
    return {_PLAIN: Points(rows[:, :2], real[:, :2])}


def _with_density(
    view: AbstractView, task: Any, world: World, model: Model, real: Any
) -> AbstractView:
    """The view with the density of the model, where rows are of one column or of two."""
    low, high = jnp.min(real, axis=0), jnp.max(real, axis=0)
    axes = [_line(low[i], high[i]) for i in range(real.shape[1])] if real.shape[1] <= 2 else []
    if isinstance(view, Values) and len(axes) == 1:
        z = jnp.linspace(axes[0][0], axes[0][-1], 8 * _GRID)[:, None]
        x = task.shown(world, z)[:, 0]
        density = jnp.exp(task.log_density(world, model, z)) * (z[1, 0] - z[0, 0]) / (x[1] - x[0])
        return Values(view.rows, view.real, x, density, view.name)
    if isinstance(view, Points) and len(axes) == 2:
        z = square(*axes)
        logs = task.log_density(world, model, z.reshape(-1, 2)).reshape(_GRID, _GRID)
        grid = task.shown(world, z.reshape(-1, 2)).reshape(_GRID, _GRID, 2)
        return Points(view.rows, view.real, grid, logs)
    return view


def _line(low: Float[Array, ""], high: Float[Array, ""]) -> Float[Array, " g"]:
    wider = _MARGIN * (high - low)
    return jnp.linspace(low - wider, high + wider, _GRID)


def square(x: Float[Array, " g"], y: Float[Array, " g"]) -> Float[Array, "g g 2"]:
    """The points of a grid."""
    return jnp.stack(jnp.meshgrid(x, y), axis=-1)


def regions(
    rows: Float[Array, "n 2"],
    label: Int[Array, " n"],
    odds: Callable[[Any], Float[Array, "k m"]],
    true_odds: Callable[[Any], Float[Array, "k m"]] | None = None,
) -> dict[str, AbstractView]:
    """Labelled rows of two columns, and where a classifier draws its lines.

    Args:
        rows: the rows.
        label: their labels.
        odds: log-odds of each label at points `[m, 2]`, of the model.
        true_odds: those of the truth.
    """
    reach = 1.1 * jnp.max(jnp.abs(rows))
    line = jnp.linspace(-reach, reach, _GRID)
    grid = square(line, line)

    def on_grid(function: Any) -> Any:
        return function(grid.reshape(-1, 2)).reshape(-1, _GRID, _GRID)

    truth = None if true_odds is None else on_grid(true_odds)
    return {"labels": Regions(rows, label, grid, on_grid(odds), truth)}


def certainties(odds: Float[Array, "k n"], label: Int[Array, " n"]) -> dict[str, AbstractView]:
    """How probable the right label of real rows is to a model."""
    own = jax.nn.softmax(odds, axis=0)[label, jnp.arange(len(label))]
    name = "probability of the right label"
    return {"labels": Values(own, name=name, limits=(0.0, 1.0), at=1.0 / len(odds))}


def lines(
    x: Float[Array, " n"],
    y: Float[Array, " n"],
    names: tuple[str, str] = ("truth", "prediction"),
    *slopes: Any,
) -> dict[str, AbstractView]:
    """Rows by two numbers, and lines through 0.

    Args:
        x: the first ones.
        y: the second ones.
        names: their names.
        slopes: that of the model's line, and that of the true one; without them the second numbers
            are the model's, and the truth is where both are the same.
    """
    ends = jnp.stack([jnp.min(x), jnp.max(x)])
    if not slopes:
        return {"predictions": Lines(x, y, ends, ends, names=names)}
    fitted, true = slopes
    return {"rows": Lines(x, y, ends, true * ends, fitted * ends, names)}


def ranked(p: Float[Array, "..."], truth: Float[Array, "..."], names: tuple[str, str]) -> Curve:
    """Frequencies by the rank of what is so frequent in the truth, of the first thousand."""
    p, truth = p.ravel(), truth.ravel()
    order = jnp.argsort(-truth)[:_RANKS]
    return Curve(1.0 + jnp.arange(len(order)), p[order], truth[order], names, log=True, most=1.0)


def shares(
    rows: Int[Array, " n"], real: Int[Array, " m"], names: tuple[str, ...], title: str
) -> Masses:
    """How often each category occurs."""
    p, truth = (jnp.mean(jax.nn.one_hot(x, len(names)), axis=0) for x in (rows, real))
    return Masses(p, truth, names, title)
