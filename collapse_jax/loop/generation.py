"""The pure layer: one generation, and one chain as a scan over generations."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from collapse_jax.basics.checks import is_traced
from collapse_jax.basics.returned import asked_for, checked_numbers
from collapse_jax.loop import pool as pools
from collapse_jax.loop.batches import Batch, first_rows, rows_that_count, synthetic_batch
from collapse_jax.loop.checks import check_compiled, check_loop
from collapse_jax.loop.form import Columns, Form, Storage, columns_of, form_of
from collapse_jax.loop.plan import CURATION, SIZES, Plan, host_sizes
from collapse_jax.loop.pool import Pool
from collapse_jax.loop.workflow import Latest, Workflow
from collapse_jax.machines.flags import usual_flags
from collapse_jax.numerics.keys import Role, check_threefry, stream
from collapse_jax.tasks.base import AbstractTask, Data, Model, Rows, State, Steps, World
from collapse_jax.tasks.parts import comparison
from collapse_jax.tasks.parts.comparison import Features
from collapse_jax.tasks.sufficient import lawful

Metrics = dict[str, Float[Array, "..."]]


@usual_flags()
def rollout(
    workflow: Workflow,
    task: AbstractTask,
    n_generations: int,
    key: Key[Array, ""],
    *,
    metrics: Sequence[str] | None = None,
    storage: Storage = "auto",
    features: Features | None = None,
) -> Metrics:
    """One chain, as a pure JAX function.

    May be jitted, and vmapped over the key, over the numeric fields of the task and over weights,
    shares and temperatures of the workflow, and be a part of a larger program.
    `collapse_jax.simulate` runs many chains and labels the result.

    Derivatives are those of the same random numbers, with what is drawn of whole numbers held
    fixed. Where a fit or a draw iterates, by `LogisticRegression`, `GaussianMixture` and the shape
    of a gamma law, they are had forwards only (`jax.jvp`, `jax.jacfwd`).

    Args:
        workflow: what each generation is trained on.
        task: what is learned.
        n_generations: number of fits; generation 1 is fitted to real data only.
        key: a Threefry key. `simulate` uses `jax.random.key(seed, impl="threefry2x32")`.
        metrics: names of the variables to compute, default all of the task's but those
            `on_request`.
        storage: `"auto"` keeps data in their smallest sufficient form, `"rows"` keeps rows even
            where a statistic would do (the same in law, slower; for checks).
        features: what distances compare of each row, as for `simulate`.

    Returns:
        The metrics by name, each `[n_generations]`.

        With a curation `acceptance_rate` is 0 where too few rows were accepted to fill a batch, and
        `mean_reward` NaN where a reward was not finite; what comes later is of no use then.

    Raises:
        TypeError: for an `Ecosystem`.
        ValueError: for a key of another generator than Threefry, for a workflow that the task
            cannot run, for a task that runs on the host only, and for metrics in units that
            float32 cannot hold.

    Example:
        >>> import jax, collapse_jax as cj
        >>> chain = lambda noise: cj.rollout(
        ...     cj.Replace(), cj.LinearRegression(dim=3, noise=noise), 10, jax.random.key(0)
        ... )["test_error"]
        >>> jax.vmap(chain)(jax.numpy.array([0.1, 1.0, 10.0])).shape
        (3, 10)
    """
    if not isinstance(workflow, Workflow):
        raise TypeError(f"workflow must be a Workflow, of one model, got {workflow!r}")
    check_threefry(key)
    check_compiled(task)
    task = task.prepared()
    workflow, task = (jax.tree.map(_single, part) for part in (workflow, task))
    unknown = is_traced(task.n_samples)
    plan = workflow.plan(n_generations, 1 if unknown else task.n_samples)
    check_loop(workflow, task, plan)
    form = form_of(workflow, task, _of_any_size(workflow, plan) if unknown else plan, storage)
    names = metric_names(task, metrics, curated=bool(plan.curation))
    sizes: dict[str, Any] = dict(host_sizes(plan))
    columns = columns_of(plan, form, task.population).part(1, n_generations)
    columns = jax.tree.map(jnp.asarray, columns)
    if unknown:
        columns = _multiplied(columns, form, task.n_samples)
        sizes["n_train"] = plan.n_train * task.n_samples
    world = make_world(task, form, key)
    first = jax.tree.map(lambda x: x[0], columns)
    pool = begin(task, form, world, key, first)

    def body(pool, now):
        wanted = [n for n in names if n not in sizes]
        return step(task, form, world, pool, key, now, wanted, features)

    found = jax.lax.scan(body, pool, columns)[1]
    units = comparison.single_units(task, names, features)
    return {
        name: jnp.asarray(sizes[name], jnp.float32) if name in sizes else found[name] * units[name]
        for name in names
    }


def _single(leaf: Any) -> Any:
    """A leaf in float32, where it is of double precision and traced."""
    return leaf.astype(jnp.float32) if is_traced(leaf) and leaf.dtype == jnp.float64 else leaf


def _of_any_size(workflow: Workflow, plan: Plan) -> Plan:
    """The plan where `n_samples` is traced, as what is compiled in has to serve it.

    Raises:
        TypeError: if the workflow has numbers of rows of its own, or draws rows.
    """
    if not (workflow.real.n is workflow.synthetic.n is workflow.fit.n is None):
        raise TypeError("n_samples must be a known number where the workflow has numbers of rows")
    return workflow.plan(plan.n_generations, 2**30)


def _multiplied(columns: Columns, form: Form, n: Any) -> Columns:
    """The numbers of a loop for `n_samples` of 1 as those for another."""
    if form.rows or form.synthetic.by_rows:
        raise TypeError("n_samples must be a known number where rows are drawn one by one")
    sizes = ("real_rows", "synthetic_rows", "real_size", "synthetic_size", "drawn")
    found = {name: getattr(columns, name) * n for name in (*sizes, "effective_size")}
    if form.weighted:
        scales = ("real_scale", "synthetic_scale")
        found |= {name: getattr(columns, name) / n for name in scales}
    return columns._replace(**found)


def begin(task: AbstractTask, form: Form, world: World, key: Key[Array, ""], now: Columns) -> Pool:
    """What a chain has before generation 1, whose numbers these are."""
    pool = pools.begin(task, form, world, key, now)
    if not form.history:
        return pool

    def first_model() -> Model:
        _, data, _ = receive(task, form, world, pool, key, now)
        return task.conclude(start(task, form, world, pool, data, key, now))

    return pools.with_history(pool, jax.eval_shape(first_model), form)


def step(
    task: AbstractTask,
    form: Form,
    world: World,
    pool: Pool,
    key: Key[Array, ""],
    now: Columns,
    names: Sequence[str],
    features: Features | None = None,
) -> tuple[Pool, Metrics]:
    """One generation: real data arrive, a fit, its metrics, and what the model generates.

    The functions below in a row; a runner on the host calls them one by one.
    """
    pool, inner, data, found = fitted(task, form, world, pool, key, now, names, features)
    pool, made, _ = generate(task, form, world, pool, inner, data, key, now)
    asked = asked_for(task, found | made, names)
    return pool, {name: jnp.asarray(value, jnp.float32) for name, value in asked.items()}


def fitted(
    task: AbstractTask,
    form: Form,
    world: World,
    pool: Pool,
    key: Key[Array, ""],
    now: Columns,
    names: Sequence[str] = (),
    features: Features | None = None,
    real_key: Key[Array, ""] | None = None,
) -> tuple[Pool, Model, Data, Metrics]:
    """A generation up to its model: that, what it was fitted to, and its metrics."""
    pool, data, n_real = receive(task, form, world, pool, key, now, real_key)
    state = start(task, form, world, pool, data, key, now)
    steps = Steps(0, task.n_steps(now.drawn), now.drawn)
    state = learn(task, world, data, state, steps, key, now)
    pool, inner, found = finish(task, form, world, pool, state, key, now, names, features)
    return pool, inner, data, found | {"real_fraction": n_real / jnp.maximum(now.drawn, 1)}


def receive(
    task: AbstractTask,
    form: Form,
    world: World,
    pool: Pool,
    key: Key[Array, ""],
    now: Columns,
    real_key: Key[Array, ""] | None = None,
) -> tuple[Pool, Data, Array]:
    """Real data arrive where they do; what a generation is fitted to, and its real rows."""
    pool = pools.add_real(task, form, world, pool, key if real_key is None else real_key, now)
    choice = stream(key, now.generation, Role.SELECT)
    return pool, *pools.select(task, form, world, pool, choice, now)


def start(
    task: AbstractTask,
    form: Form,
    world: World,
    pool: Pool,
    data: Data,
    key: Key[Array, ""],
    now: Columns,
) -> State:
    """A fit before its first step; all of it where it has none."""
    data = _with_keys(data, key, now)._replace(
        previous=pools.latest(pool, now) if form.warm else None, is_first=now.generation == 1
    )
    return task.begin(world, data)


def learn(
    task: AbstractTask,
    world: World,
    data: Data,
    state: State,
    steps: Steps,
    key: Key[Array, ""],
    now: Columns,
) -> State:
    """A fit after some steps more."""
    return task.learn(world, _with_keys(data, key, now), state, steps)


def _with_keys(data: Data, key: Key[Array, ""], now: Columns) -> Data:
    return data._replace(
        key=stream(key, now.generation, Role.FIT),
        initial_key=stream(key, now.generation, Role.INITIALISE),
    )


def finish(
    task: AbstractTask,
    form: Form,
    world: World,
    pool: Pool,
    state: State,
    key: Key[Array, ""],
    now: Columns,
    names: Sequence[str],
    features: Features | None,
) -> tuple[Pool, Model, Metrics]:
    """The pool that remembers the new model where it has to, the model, and its metrics."""
    inner = task.conclude(state)
    model = task.coordinates.compose(pool.frame, inner) if form.moving else inner  # pyright: ignore
    measured = {
        **checked_numbers(task, task.measure(world, model), names),
        **checked_numbers(task, task.measure_learning(state), names),
        **comparison.compare(task, world, model, key, now.generation, names, features),
    }
    pool = pools.remember(pool, model, form, now)
    return *pools.move(task, form, pool, model, inner, now), measured


def generate(
    task: AbstractTask,
    form: Form,
    world: World,
    pool: Pool,
    model: Model,
    data: Data,
    key: Key[Array, ""],
    now: Columns,
) -> tuple[Pool, Metrics, Rows | None]:
    """The pool after the model has generated a batch, the metrics of the batch, and its rows."""
    own_fit = form.storage == "total" and isinstance(form.source, Latest) and form.statistic
    if own_fit and not form.synthetic.by_rows:
        statistic = lawful(task).extend_statistic(
            world,
            pool.statistic,
            model,
            stream(key, now.generation, Role.SAMPLE),
            now.synthetic_rows,
            temperature=now.temperature if form.tempered else None,
        )
        return pool._replace(statistic=statistic), {}, None
    batch, chosen = synthetic_batch(task, form, world, model, pool, key, now)
    pool, found = retain(task, form, world, pool, batch, now)
    return pool, chosen | found, batch.rows


def retain(
    task: AbstractTask, form: Form, world: World, pool: Pool, batch: Batch, now: Columns
) -> tuple[Pool, Metrics]:
    """The pool with a generated batch, and the metrics of the batch."""
    found = {}
    if batch.rows is not None:
        valid = rows_that_count(form.synthetic, now.synthetic_rows, batch.rows)
        found = checked_numbers(task, task.measure_rows(world, batch.rows, valid=valid))
    return pools.add_synthetic(task, form, world, pool, batch, now), found


def make_world(
    task: AbstractTask, form: Form, key: Key[Array, ""], own: Key[Array, ""] | None = None
) -> World:
    """What is fixed for a chain before generation 1; its real rows may have a key of their own."""
    real = key if own is None else own
    index = first_rows(task, real, task.n_samples) if task.population is not None else None
    return task.world(
        stream(key, 0, Role.WORLD), rows=form.rows or form.synthetic.by_rows, index=index
    )


def metric_names(
    task: AbstractTask, metrics: Sequence[str] | None, curated: bool = False, between: Any = ()
) -> tuple[str, ...]:
    """The variables to compute, in the order of the task; for None all but those on request."""
    distances = comparison.distances_among(task, [*comparison.DISTANCES])
    curation = [name for name in CURATION if curated and name not in task.variables]
    known = (*SIZES, *curation, *task.variables, *between, *distances)
    usual = set(known) - {*task.on_request, *distances}
    wanted = usual if metrics is None else set(metrics)
    return tuple(name for name in known if name in wanted)
