"""Taking batches out of a fitted model again, and what a fit without them would have been."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import xarray as xr
from jaxtyping import Array

from collapse_jax.basics import checks
from collapse_jax.loop.form import Form
from collapse_jax.loop.plan import Plan
from collapse_jax.loop.workflow import Workflow
from collapse_jax.machines.flags import usual_flags
from collapse_jax.numerics.keys import chain_key
from collapse_jax.run.arguments import checked_seeds
from collapse_jax.studies.additive import Additive, sums_of
from collapse_jax.studies.chains import Fitted, Loop, last_fit, loop_of
from collapse_jax.studies.posteriors import Likelihood, Normal, covering, nearest
from collapse_jax.tasks import AbstractTask, LogisticRegression
from collapse_jax.tasks.base import Model, Rows, World
from collapse_jax.tasks.parts.labels import Classifier

Batches: TypeAlias = Sequence[int] | Mapping[int, Sequence[int]]
Method: TypeAlias = Literal["upper_bound", "reversed"]
Numbers: TypeAlias = npt.NDArray[np.float64]

MODELS = ("full", "unlearned", "retrained")


@usual_flags()
def unlearn(
    workflow: Workflow,
    task: AbstractTask,
    n_generations: int,
    seeds: int | Sequence[int],
    *,
    real: Batches = (),
    synthetic: Batches = (),
    method: Method | None = None,
    cutoff: float = 1e-9,
) -> xr.Dataset:
    """Take batches out of what the last model of a loop was fitted to, without fitting again.

    Where a model follows from sums over rows, those of the batches are subtracted, in double
    precision and on the host: unlearned is then retrained, up to rounding of what was there before.
    `LogisticRegression` with a penalty has a posterior, whose nearest normal law is the model. From
    that law and the likelihood of what is removed another one is made, by either of two bounds.

    What is left keeps its part in the fit: where rows were drawn for it, no others are drawn in
    their place; where real rows have a weight together, those left share it.

    Args:
        workflow: what each generation is trained on.
        task: a `Gaussian`, `Categorical`, `LinearRegression`, `ExponentialFamily`, or a
            `LogisticRegression` with a penalty.
        n_generations: number of fits, of which the last is meant.
        seeds: as for `simulate`.
        real: which real batches to take out, by the generation before which they came, counted
            from 1; or a mapping from these to numbers of rows in the batch, counted from 0.
        synthetic: the same of generated batches, by the model that made them.
        method: for a posterior `"upper_bound"`, the default, which minimises the evidence upper
            bound, or `"reversed"`, which minimises the divergence the other way round.
        cutoff: the likelihood of what is removed counts where the density of the full posterior
            is above this share of its maximum, from 0 to below 1. With many weights nearly all of
            a posterior is where its density is low.

    Returns:
        The task's metrics `[model, seed]` of the `full`, `unlearned` and `retrained` models, and
        their `parameters` `[model, seed, parameter]` in double precision: of a Gaussian mean and
        covariance in coordinates in which the truth is standard normal, else in the user's. With
        sums `difference` `[seed]`, the distance of the parameters of the last two relative to those
        of the greater model; with posteriors `divergence` `[model, seed]`, in nats, from retrained.

    Raises:
        ValueError: for batches that are not in the pool, if nothing is removed or nothing left, and
            if there is no normal law (`TypeError` for tasks with neither way).

    Source:
        Nguyen, Low & Jaillet, arXiv 2010.12883.

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.Gaussian(dim=2, n_samples=50)
        >>> found = cj.unlearn(cj.Accumulate(), task, 10, seeds=5, synthetic=[3, 4])
        >>> bool(found.difference.max() < 1e-10), found.trace_ratio.dims
        (True, ('model', 'seed'))
    """
    loop = loop_of(workflow, task, n_generations)
    posterior = isinstance(task, LogisticRegression)
    _check_method(task, method, cutoff)
    plan, chains = workflow.plan(n_generations, task.n_samples), checked_seeds(seeds)
    # One pool, one set of coordinates.
    loop = loop._replace(form=loop.form._replace(moving=False))
    removed, is_real = _places(plan, loop.form, real, synthetic)
    share = None if plan.real_weight is None else float(plan.real_weight[-1])
    fits = _fits(loop, jnp.asarray(chains))
    parameters, models, apart = [], [], []
    for i, seed in enumerate(chains.tolist()):
        world, rows, times = jax.tree.map(lambda x, i=i: x[i], fits)
        part = _Part(np.asarray(times, np.float64), removed, is_real, share)
        if not np.any(part.left > 0):
            raise ValueError(
                "real and synthetic must leave rows of what was drawn for the fit, and leave none "
                f"with seed {seed}"
            )
        if posterior:
            found = _by_posterior(task, world, rows, part, method or "upper_bound", cutoff)
        else:
            found = _by_sums(sums_of(task.prepared(), world, rows, part.times), part)
        for all_of, one in zip((parameters, models, apart), found, strict=True):
            all_of.append(one)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *models)
    measured = _measured(loop.task, fits.world, stacked)
    return _dataset(task, chains, measured, np.stack(parameters), np.stack(apart))


class _Part(NamedTuple):
    """Which rows of one chain are removed."""

    times: Numbers
    """How often each was in the fit. `[place]`"""
    removed: npt.NDArray[np.bool_]
    is_real: npt.NDArray[np.bool_]
    share: float | None
    """Weight of all real rows together."""

    @property
    def left(self) -> Numbers:
        """How often each is still there."""
        return np.where(self.removed, 0.0, self.times)

    def units(self, times: Numbers) -> tuple[float, float]:
        """What a real row and a generated one weigh, 1 on average."""
        total, n_real = times.sum(), times[self.is_real].sum()
        if self.share is None or not 0 < n_real < total:
            return 1.0, 1.0
        return self.share * total / n_real, (1.0 - self.share) * total / (total - n_real)

    def weights(self, times: Numbers) -> Numbers:
        """What each row weighs. `[place]`"""
        return times * np.where(self.is_real, *self.units(times))

    def size(self, times: Numbers) -> float:
        """How many rows would do as well that weigh the same."""
        unit = np.where(self.is_real, *self.units(times))
        return float((times @ unit) ** 2 / (times @ unit**2))


def _by_sums(known: Additive, part: _Part) -> tuple[Numbers, Model, Any]:
    """Parameters and models of the three fits, and the difference of the last two."""
    streams = part.is_real, ~part.is_real
    sums = [known.total(part.times * stream) for stream in streams]
    gone = [known.total((part.times - part.left) * stream) for stream in streams]
    less = [
        tuple(a - b for a, b in zip(*both, strict=True)) for both in zip(sums, gone, strict=True)
    ]
    anew = [known.total(part.left * stream) for stream in streams]
    found = []
    for times, (real, synthetic) in (
        (part.times, sums),
        (part.left, less),
        (part.left, anew),
    ):
        a, b = part.units(times)
        together = tuple(a * x + b * y for x, y in zip(real, synthetic, strict=True))
        found.append(known.solve(together, part.size(times)))
    apart = max(
        float(np.linalg.norm(a - b) / max(*map(np.linalg.norm, (full, b)), np.finfo(float).tiny))
        for full, a, b in zip(*found, strict=True)
    )
    models = jax.tree.map(lambda *x: jnp.stack(x), *map(known.model, found))
    flat = [np.concatenate([np.ravel(x) for x in parameters]) for parameters in found]
    return np.stack(flat), models, apart


def _by_posterior(
    task: LogisticRegression,
    world: World,
    rows: Rows,
    part: _Part,
    method: Method,
    cutoff: float,
) -> tuple[Numbers, Model, Any]:
    """Parameters and models of the three fits, and how far they are from the last."""
    x, labels = (np.asarray(values) for values in task.shown(world, rows))
    x, c = x.astype(np.float64), task.n_classes - 1
    ridge = float(task.penalty) * np.broadcast_to(np.asarray(task.ridge, np.float64), x.shape[1])
    if np.any(ridge == 0) and len(np.unique(labels[part.left > 0])) <= c:
        raise ValueError("real and synthetic must leave rows of every label with an intercept")

    def of(weights: Numbers) -> Likelihood:
        some = weights != 0
        return Likelihood(x[some], labels[some], weights[some], c + 1)

    alike = np.eye(c) - (1.0 / (c + 1) if c > 1 else 0.0)
    prior = Normal(np.zeros(c * x.shape[1]), np.kron(alike, np.diag(ridge)).astype(float))
    before, after = part.weights(part.times), part.weights(part.left)
    most = np.kron(np.eye(c), 0.25 * (x.T * before) @ x)  # of the curvature
    full = nearest(of(before), prior, 1.0, 0.0, Normal(prior.mean, prior.precision + most))
    gone = of(before - after)
    if method == "upper_bound":
        unlearned = nearest(gone, full, -1.0, cutoff, full)
    else:
        unlearned = covering(gone, full, cutoff)
    retrained = nearest(of(after), prior, 1.0, 0.0, full)
    found = (full, unlearned, retrained)
    means = np.stack([law.mean for law in found])
    weights = jnp.asarray(means.reshape(len(found), c, -1), jnp.float32)
    models = Classifier(weights, jnp.zeros(len(found), bool))
    return means, models, np.array([law.divergence(retrained) for law in found])


def _check_method(task: AbstractTask, method: Any, cutoff: Any) -> None:
    name = type(task).__name__
    if not isinstance(task, LogisticRegression):
        if sums_of.dispatch(type(task)) is sums_of.dispatch(object):
            sums_of(task, (), (), np.zeros(0))  # says which tasks there are
        if method is not None:
            raise ValueError(f"method must be None with a {name}, which is exact, got {method!r}")
        return
    if method is not None:
        checks.one_of("method", method, ("upper_bound", "reversed"))
    if checks.positive_number("cutoff", cutoff, zero_allowed=True) >= 1:
        raise ValueError(f"cutoff must be from 0 to below 1, got {cutoff}")
    if not task.penalty:
        raise ValueError(f"task.penalty must be positive for a posterior, got {task.penalty}")


def _places(
    plan: Plan, form: Form, real: Batches, synthetic: Batches
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which places of the pool are removed, and which are of real rows. `[place]`"""
    last = plan.n_generations
    born = last if form.real.every else 1
    kept = {
        "real": range(born - int(plan.real_batches[-1]) + 1, born + 1),
        "synthetic": range(last - int(plan.synthetic_batches[-1]), last),
    }
    sizes = {"real": plan.real_rows, "synthetic": plan.synthetic_rows}
    removed, is_real = np.zeros((2, form.slots, form.width), bool)
    n_removed = 0
    for (name, batches), stream in zip(
        (("real", real), ("synthetic", synthetic)), (form.real, form.synthetic), strict=True
    ):
        first = form.real.slots if name == "synthetic" and form.storage != "latest" else 0
        slots = {number: first + (number - 1) % stream.slots for number in kept[name]}
        if name == "real":
            is_real[list(slots.values())] = True
        for number, rows in _listed(name, batches).items():
            if number not in slots:
                raise ValueError(
                    f"{name} must be batches that generation {last} is fitted to, "
                    f"{_shown(kept[name])}, got {number}"
                )
            chosen = _rows(f"{name}[{number}]", rows, int(sizes[name][number - 1]))
            removed[slots[number], chosen] = True
            n_removed += len(chosen)
    if not n_removed:
        raise ValueError("real and synthetic must not both be empty")
    if n_removed == plan.size[-1]:
        raise ValueError(
            f"real and synthetic must leave rows, got all {n_removed} of generation {last}"
        )
    return removed.ravel(), is_real.ravel()


def _listed(name: str, batches: Any) -> dict[int, Any]:
    """Numbers of batches, each with those of its rows or None for all."""
    if isinstance(batches, str) or not isinstance(batches, Iterable):
        raise TypeError(
            f"{name} must be numbers of generations, or a mapping from them to numbers of rows, "
            f"got {batches!r}"
        )
    pairs = batches.items() if isinstance(batches, Mapping) else ((b, None) for b in batches)
    return {checks.whole_number(name, number): rows for number, rows in pairs}


def _rows(name: str, rows: Any, size: int) -> npt.NDArray[np.int64]:
    """Numbers of rows of a batch."""
    if rows is None:
        return np.arange(size)
    if isinstance(rows, str) or not isinstance(rows, Iterable):
        raise TypeError(f"{name} must be numbers of rows, got {rows!r}")
    found = [checks.whole_number(name, row, minimum=0, maximum=size - 1) for row in rows]
    return np.unique(np.asarray(found, np.int64))


def _shown(kept: range) -> str:
    return f"{kept[0]} to {kept[-1]}" if kept else "of which there are none"


@eqx.filter_jit
def _fits(loop: Loop, seeds: Array) -> Fitted:
    """What the last models were fitted to. `[seed, ...]`"""
    return jax.lax.map(lambda seed: last_fit(loop, chain_key(seed)), seeds)


@eqx.filter_jit
def _measured(task: AbstractTask, worlds: World, models: Model) -> Mapping[str, Array]:
    """The metrics of models `[seed, model, ...]`."""
    of_chain = jax.vmap(task.measure, in_axes=(None, 0))
    return jax.vmap(of_chain)(worlds, models)


def _dataset(
    task: AbstractTask,
    seeds: Any,
    measured: Mapping[str, Array],
    parameters: Numbers,
    apart: Numbers,
) -> xr.Dataset:
    found: dict[str, Any] = {}
    for name, variable in task.variables.items():
        if name in measured:
            values = np.asarray(measured[name], np.float64).T * task.units.get(name, 1.0)
            found[name] = (("model", "seed"), values, variable._asdict())
    found["parameters"] = (("model", "seed", "parameter"), np.moveaxis(parameters, 1, 0))
    if apart.ndim == 1:
        text = "relative distance of unlearned from retrained parameters"
        found["difference"] = ("seed", apart, {"long_name": text, "units": "1"})
    else:
        text = "divergence from the retrained posterior"
        found["divergence"] = (("model", "seed"), apart.T, {"long_name": text, "units": "nat"})
    coords = {"model": list(MODELS), "seed": ("seed", seeds.astype(np.int64))}
    return xr.Dataset(found, coords=coords)
