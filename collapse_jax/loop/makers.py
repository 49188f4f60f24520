"""How the rows of a generated batch are made, whichever models they come from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, Key

from collapse_jax.basics.returned import checked_rows
from collapse_jax.loop.form import Columns, Form
from collapse_jax.loop.sources import Exchange, Extrapolated, Mixed, Past
from collapse_jax.numerics import draws, threefry
from collapse_jax.numerics.keys import Role, either, stream
from collapse_jax.tasks.base import AbstractTask, Model, Rows, Statistic, World
from collapse_jax.tasks.sufficient import lawful

_OTHERS = 2**32 - 2  # what sets the keys of other sources apart from those of a model's own rows


class Maker(NamedTuple):
    """Makes rows of this generation's batch, or their statistic."""

    task: AbstractTask
    form: Form
    world: World
    newest: Model
    history: Any
    key: Key[Array, ""]
    """That of the chain."""
    now: Columns

    @property
    def n(self) -> Int[Array, ""]:
        """How many rows are wanted."""
        return self.now.synthetic_rows

    @property
    def keys(self) -> tuple[Key[Array, ""], Key[Array, ""]]:
        """The key of the rows, and that of the choice of their models."""
        generation = self.now.generation
        return stream(self.key, generation, Role.SAMPLE), stream(self.key, generation, Role.SOURCE)

    def rows(self, own: Key[Array, ""], choice: Key[Array, ""], n: int) -> Rows:
        """`n` rows."""
        return self._drawing(own, choice).rows(self._generated)(n)

    def statistic(self, own: Key[Array, ""], choice: Key[Array, ""]) -> Statistic:
        """Statistic of as many rows as are wanted, by its law."""
        return self._drawing(own, choice).statistic(self._law)()

    def _drawing(self, own: Key[Array, ""], choice: Key[Array, ""]) -> Any:
        kind = self.form.source
        parts = (self.task, self.form, self.world, self._model, own, choice, self.now)
        if isinstance(kind, Past):
            return _Past(*parts, self.history)
        if isinstance(kind, Exchange):
            return _Exchanged(*parts, self.history)
        return _Mixed(*parts) if isinstance(kind, Mixed) else _One(self._model, own, self.now)

    @property
    def _model(self) -> Model:
        """The newest model, or what it leads to."""
        if not isinstance(self.form.source, Extrapolated):
            return self.newest
        generation = self.now.generation
        before = jax.tree.map(
            lambda kept, newest: jnp.where(
                generation > 1, kept[(generation - 2) % self.form.history], newest
            ),
            self.history,
            self.newest,
        )
        parts = self.world, self.newest, before, self.now.source["weight"]
        if self.form.source.space == "scores":
            return self.task.guide(*parts)  # pyright: ignore
        return self.task.extrapolate(*parts)

    @property
    def temperature(self) -> Any:
        """That of the rows, None where it is 1."""
        return self.now.temperature if self.form.tempered else None

    def _generated(self, model: Model, key: Key[Array, ""], n: int) -> Rows:
        rows = self.task.sample(self.world, model, key, n, temperature=self.temperature)
        return checked_rows(self.task, "sample", rows, n)

    def _law(self, model: Model, key: Key[Array, ""], n: Any) -> Statistic:
        return lawful(self.task).sample_statistic(
            self.world, model, key, n, temperature=self.temperature
        )


def _apart(own: Key[Array, ""]) -> Key[Array, ""]:
    """The key of rows that are not the newest model's own.

    Samplers fold small numbers into theirs, so that `fold_in(own, 0)` might be used twice.
    """
    return threefry.fold_in(own, _OTHERS)


class _One(NamedTuple):
    """Rows of one model."""

    model: Model
    own: Key[Array, ""]
    now: Columns

    def rows(self, generated: Callable[..., Rows]) -> Callable[[int], Rows]:
        return lambda n: generated(self.model, self.own, n)

    def statistic(self, law: Callable[..., Statistic]) -> Callable[[], Statistic]:
        return lambda: law(self.model, self.own, self.now.synthetic_rows)


class _Mixed(NamedTuple):
    """Rows of the truth with a given probability, else of the newest model."""

    task: AbstractTask
    form: Form
    world: World
    model: Model
    own: Key[Array, ""]
    choice: Key[Array, ""]
    now: Columns

    def rows(self, generated: Callable[..., Rows]) -> Callable[[int], Rows]:
        def make(n: int) -> Rows:
            truth = jax.random.uniform(self.choice, (n,)) < self.now.source["truth_share"]
            real = _truth_rows(self.task, self.world, _apart(self.own), n)
            return chosen_rows(truth, real, generated(self.model, self.own, n))

        return make

    def statistic(self, law: Callable[..., Statistic]) -> Callable[[], Statistic]:
        def make() -> Statistic:
            n = jnp.asarray(self.now.synthetic_rows, jnp.float32)
            n_real = jax.random.binomial(self.choice, n, self.now.source["truth_share"])
            real = lawful(self.task).real_statistic(self.world, _apart(self.own), n_real)
            synthetic = law(self.model, self.own, n - n_real)
            return self.task.merge(self.world, (real, synthetic), None)

        return make


class _Past(NamedTuple):
    """Rows of models of the past; source s is the s-th newest, and the oldest may be the truth."""

    task: AbstractTask
    form: Form
    world: World
    model: Model
    own: Key[Array, ""]
    choice: Key[Array, ""]
    now: Columns
    history: Any

    @property
    def _count(self) -> Int[Array, ""]:
        last = self.form.source.last  # pyright: ignore
        sources = self.now.generation + 1
        return sources if last is None else jnp.minimum(sources, last)

    def _from(self, s: Int[Array, ""], truth: Callable, model: Callable) -> Any:
        """What source `s` gives: `truth(key)` or `model(model, key)`."""
        g = self.now.generation - s
        key = threefry.fold_in(self.own, g)
        kept = jax.tree.map(lambda x: x[(g - 1) % self.form.history], self.history)
        return lax.cond(g == 0, lambda: truth(key), lambda: model(kept, key))

    def rows(self, generated: Callable[..., Rows]) -> Callable[[int], Rows]:
        def make(n: int) -> Rows:
            source = self._source_of(jnp.arange(n))

            def add(s, rows):
                new = self._from(
                    s,
                    lambda key: _truth_rows(self.task, self.world, key, n),
                    lambda model, key: generated(model, key, n),
                )
                return chosen_rows(source == s, new, rows)

            empty = jax.tree.map(
                lambda x: jnp.zeros(x.shape, x.dtype),
                jax.eval_shape(lambda: generated(self.model, self.own, n)),
            )
            return lax.fori_loop(0, self._count, add, empty)

        return make

    def _source_of(self, row: Int[Array, " n"]) -> Int[Array, " n"]:
        """Which source each row of the batch comes from."""
        if not self.form.source.equally:  # pyright: ignore
            bits = jax.random.bits(self.choice, (row.shape[0], 2))
            return draws.to_integers(bits.T, self._count)
        each, more = self._shares
        edge = more * (each + 1)  # the newest sources give the rows that are left over
        late = more + (row - edge) // jnp.maximum(each, 1)
        return jnp.where(row < edge, row // (each + 1), late)

    @property
    def _shares(self) -> tuple[Int[Array, ""], Int[Array, ""]]:
        n = self.now.synthetic_rows
        each = n // self._count
        return each, n - each * self._count

    def statistic(self, law: Callable[..., Statistic]) -> Callable[[], Statistic]:
        def of_source(s: Any, left: Array) -> tuple[Statistic, Array]:
            if self.form.source.equally:  # pyright: ignore
                each, more = self._shares
                n = (each + (s < more)).astype(jnp.float32)
            else:
                share = 1.0 / (self._count - s).astype(jnp.float32)
                drawn = jax.random.binomial(threefry.fold_in(self.choice, s), left, share)
                n = jnp.where(share < 1.0, drawn, left)
            new = self._from(
                s,
                lambda key: lawful(self.task).real_statistic(self.world, key, n),
                lambda model, key: law(model, key, n),
            )
            return new, left - n

        def make() -> Statistic:
            def add(s, state):
                total, left = state
                new, left = of_source(s, left)
                return self.task.merge(self.world, (total, new), None), left

            n = jnp.asarray(self.now.synthetic_rows, jnp.float32)
            return lax.fori_loop(1, self._count, add, of_source(jnp.asarray(0), n))[0]

        return make


class _Exchanged(NamedTuple):
    """Rows of models that feed each other, each of one that is picked with given probabilities."""

    task: AbstractTask
    form: Form
    world: World
    model: Model
    own: Key[Array, ""]
    choice: Key[Array, ""]
    now: Columns
    models: Any
    """The newest ones. `[model, ...]`"""

    def _from(self, j: Int[Array, ""]) -> tuple[Model, Key[Array, ""]]:
        """Model `j`, and the key of the rows that it makes for this one."""
        other = threefry.fold_in(_apart(self.own), j + 1)
        key = either(j == self.now.source["own"], self.own, other)
        return jax.tree.map(lambda x: x[j], self.models), key

    @property
    def _truth_key(self) -> Key[Array, ""]:
        return threefry.fold_in(_apart(self.own), 0)

    def rows(self, generated: Callable[..., Rows]) -> Callable[[int], Rows]:
        def make(n: int) -> Rows:
            edges = jnp.cumsum(self.now.source["shares"])
            u = jax.random.uniform(self.choice, (n,)) * edges[-1]
            source = jnp.sum(u[:, None] >= edges[None, :-1], axis=1, dtype=jnp.int32)

            def add(j: Int[Array, ""], rows: Rows) -> Rows:
                return chosen_rows(source == j, generated(*self._from(j), n), rows)

            first = generated(*self._from(jnp.zeros((), jnp.int32)), n)
            rows = lax.fori_loop(1, self.form.models, add, first)
            if not self.form.source.truth:  # pyright: ignore
                return rows
            truth = _truth_rows(self.task, self.world, self._truth_key, n)
            return chosen_rows(source == self.form.models, truth, rows)

        return make

    def statistic(self, law: Callable[..., Statistic]) -> Callable[[], Statistic]:
        k, own = self.form.models, self.now.source["own"]
        # The model itself first, and the truth last.
        order = jnp.append((own + jnp.arange(k)) % k, k)
        shares = self.now.source["shares"][order]
        rest = jnp.cumsum(shares[::-1])[::-1]
        given = jnp.where(shares > 0.0, shares / jnp.where(rest > 0.0, rest, 1.0), 0.0)

        def count(s: Any, left: Array) -> Array:
            """How many of the rows that are left come from the source at place `s`."""
            drawn = jax.random.binomial(threefry.fold_in(self.choice, order[s]), left, given[s])
            return jnp.where(given[s] < 1.0, drawn, left)

        def merged(total: Statistic, new: Statistic) -> Statistic:
            return self.task.merge(self.world, (total, new), None)

        def add(s: Any, state: tuple[Statistic, Array]) -> tuple[Statistic, Array]:
            total, left = state
            n = count(s, left)
            return merged(total, law(*self._from(order[s]), n)), left - n

        def make() -> Statistic:
            n = jnp.asarray(self.now.synthetic_rows, jnp.float32)
            n_own = count(0, n)
            state = law(*self._from(own), n_own), n - n_own
            total, left = lax.fori_loop(1, k, add, state)
            if not self.form.source.truth:  # pyright: ignore
                return total
            truth = lawful(self.task).real_statistic(self.world, self._truth_key, left)
            return merged(total, truth)

        return make


def _truth_rows(task: AbstractTask, world: World, key: Key[Array, ""], n: int) -> Rows:
    """Independent rows of the truth: of the user's data with replacement."""
    index = None
    if task.population is not None:
        bits = jax.random.bits(threefry.fold_in(key, 1), (n, 2))
        index = draws.to_integers(bits.T, task.population)
    return task.real(world, key, n, size=None, index=index)


def chosen_rows(which: Bool[Array, " n"], yes: Rows, no: Rows) -> Rows:
    """Rows of one set where `which`, else of the other."""
    return jax.tree.map(
        lambda a, b: jnp.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b), yes, no
    )
