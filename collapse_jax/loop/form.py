"""What of a loop is compiled in, and the numbers that the compiled program reads."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from collapse_jax.loop.curation.operators import AbstractOperator
from collapse_jax.loop.plan import Plan
from collapse_jax.loop.schedules import is_constant
from collapse_jax.loop.sources import Latest, Past, Source
from collapse_jax.loop.workflow import Real, Synthetic, Workflow
from collapse_jax.tasks.base import Laws

if TYPE_CHECKING:
    from collapse_jax.tasks.base import AbstractTask

Storage = Literal["auto", "rows"]

_MOST = 2**31 - 1
_LASTING = 1e-3  # share of real rows that keeps a training set as wide as the truth, nearly


class Stream(NamedTuple):
    """One of the two streams, as far as it is compiled in."""

    keep: int | None
    """How many generations a batch is kept; None for all later ones."""
    every: bool
    """Whether a batch is added before or after every generation."""
    slots: int
    """For how many batches there is room."""
    by_rows: bool
    """Whether a batch is drawn row by row, and not as a statistic."""
    width: int
    """Most rows of a batch; 0 where none is drawn by rows."""
    sizes: tuple[int, ...] | None
    """Sizes in which batches are drawn by rows, ascending; None where there is one only."""


class Form(NamedTuple):
    """A loop without its numbers: one program is compiled for each."""

    storage: Literal["latest", "total", "apart"]
    """Whether one batch is kept, everything is, or what the streams keep, each by itself."""
    statistic: bool
    """Whether the statistic of what is kept is carried along, or else worked out from rows."""
    rows: bool
    """Whether rows are kept."""
    summed: bool
    """Whether statistics are kept in the form of summands."""
    moving: bool
    """Whether what is kept is in coordinates of a model of the chain."""
    real: Stream
    synthetic: Stream
    drawn: int
    """Most rows that are drawn for a fit; 0 where all are used."""
    drawn_varies: bool
    with_replacement: bool
    weighted: bool
    phases: tuple[str, ...]
    tempered: bool
    source: Source
    """Which models rows come from, without its numbers."""
    curation: tuple[AbstractOperator, ...]
    """What rows are chosen by, without its numbers."""
    history: int
    """How many models are remembered."""
    warm: bool
    """Whether a fit starts from the model before."""
    models: int = 0
    """How many models feed each other; 0 for a chain of one model, without an axis of them."""
    shared_real: bool = False
    """Whether they have the same real rows."""
    masked: bool = False
    """Whether fits may leave out some of the batches that are kept."""

    @property
    def models_axis(self) -> tuple[int, ...]:
        """The axis of models of a metric of one generation, as a shape."""
        return (self.models,) if self.models else ()

    @property
    def slots(self) -> int:
        """For how many batches of rows there is room."""
        return 1 if self.storage == "latest" else self.real.slots + self.synthetic.slots

    @property
    def width(self) -> int:
        """Rows of a slot."""
        return max(self.real.width, self.synthetic.width)

    @property
    def sizes_vary(self) -> bool:
        """Whether slots may be full in part."""
        if self.masked:
            return True
        if self.storage == "latest":
            return bool(self.synthetic.sizes or self.real.sizes) or not self._equal_widths
        return bool(self.real.sizes or self.synthetic.sizes) or not self._equal_widths

    @property
    def _equal_widths(self) -> bool:
        return self.real.width == self.synthetic.width


class Columns(NamedTuple):
    """Numbers of generations, `[generation]` or those of one; the same in all chains."""

    generation: Any
    real_rows: Any
    synthetic_rows: Any
    real_batches: Any
    synthetic_batches: Any
    real_size: Any
    synthetic_size: Any
    drawn: Any
    effective_size: Any
    real_weight: Any
    real_scale: Any
    """By what the weight of a real row is multiplied where streams are merged."""
    synthetic_scale: Any
    temperature: Any
    skill: Any
    source: dict[str, Any]
    """The numbers of the source."""
    curation: tuple[dict[str, Any], ...]
    """The numbers of each operator of the curation."""
    first_real: Any
    """Rows of the first real batch."""
    epoch: Any
    """How often the user's rows have been used up before the real batch of this generation."""
    start: Any
    """How many of the user's rows have been used since then."""
    slot_sizes: Any
    """Rows in each slot of the pool. `[..., slot]`"""


def form_of(
    workflow: Workflow,
    task: "AbstractTask",
    plan: Plan,
    storage: Storage = "auto",
    masked: bool = False,
) -> Form:
    """The smallest form that serves this workflow and task, perhaps with masked batches."""
    real, synthetic, fit = workflow.real, workflow.synthetic, workflow.fit
    weighted = fit.real_weight is not None
    if masked:
        stored = "apart"
    elif not real.every and real.keep == synthetic.keep == 1:
        stored = "latest"
    elif real.keep is synthetic.keep is None and not weighted and not real.every:
        stored = "total"
    else:
        stored = "apart"
    steady = stored == "latest" and is_constant(synthetic.n) and is_constant(real.n)
    by_rows = storage == "rows" or fit.n is not None
    rows = by_rows or task.keeps_rows
    last = plan.n_generations
    # Batches without a law are summarised, and so are those that they are merged with.
    laws = Laws(real=False, synthetic=False) if plan.by_rows else task.laws(plan)
    statistic = not by_rows and task.additive(grows=not steady)
    forgets = not real.every and real.keep is not None and synthetic.keep is not None
    # All that is kept must lie where the models do, in full or at least in all directions.
    spans = (fit.n is None and not weighted) or task.summable(plan)
    known = isinstance(plan.source, Latest) and task.coordinates is not None
    moves = forgets and spans and known and not masked
    # Where data of the truth, or not far from it, stay, what is kept is as wide as the truth.
    lasts = synthetic.keep is None or bool(np.all(_real_share(plan) >= _LASTING))
    warm = plan.warm_start or task.starts_warm
    summed = statistic and stored == "apart" and (moves or lasts) and task.summable(plan)
    summed = summed and not masked  # each batch has a statistic of its own
    return Form(
        storage=stored,
        statistic=statistic,
        rows=rows,
        summed=summed,
        moving=moves and (by_rows or plan.by_rows or (statistic and stored == "apart")),
        real=_stream(real, plan.real_rows, last if real.every else 1, rows or not laws.real),
        synthetic=_stream(synthetic, plan.synthetic_rows, last, rows or not laws.synthetic),
        drawn=0 if plan.fit_rows is None else int(plan.fit_rows.max()),
        drawn_varies=plan.fit_rows is not None and (masked or len(np.unique(plan.fit_rows)) > 1),
        with_replacement=fit.with_replacement,
        weighted=weighted,
        phases=tuple(fit.phases),
        tempered=plan.temperature is not None,
        source=plan.source.without_numbers(),
        curation=tuple(operator.without_numbers() for operator in plan.curation),
        history=_remembered(plan, warm),
        warm=warm,
        masked=masked,
    )


def _real_share(plan: Plan) -> Any:
    """Share of the weight that real rows have. `[generation]`"""
    if plan.real_weight is None:
        return plan.real_fraction
    return np.where(plan.synthetic_size == 0, 1.0, plan.real_weight)


def _remembered(plan: Plan, warm: bool) -> int:
    """How many models later generations may need."""
    if isinstance(plan.source, Past):
        return min(plan.source.last or plan.n_generations, plan.n_generations)
    before = plan.source.models if plan.source.models > 1 else 0
    return max(before, int(warm))


def _stream(given: Real | Synthetic, rows: Any, births: int, by_rows: bool) -> Stream:
    every = given.every if isinstance(given, Real) else True
    slots = births if given.keep is None else min(given.keep, births)
    stream = Stream(given.keep, every, slots, by_rows, 0, None)
    if not by_rows:
        return stream
    stream = stream._replace(width=int(rows.max()))
    if not every or is_constant(given.n):
        return stream
    return stream._replace(sizes=_branches(rows))


def _branches(rows: Any) -> tuple[int, ...]:
    """Sizes that serve all batches, each drawn in the next of a coarse scale.

    So a batch's rows depend on its own size, and not on the sizes of others in a longer run.
    """
    return tuple(sorted({_coarse(int(n)) for n in np.unique(rows)}))


def _coarse(n: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, ... that is not below `n`."""
    power = 2 ** max(math.ceil(math.log2(n)), 0)
    return 3 * power // 4 if power >= 4 and 3 * power // 4 >= n else power


def columns_of(plan: Plan, form: Form, population: int | None) -> "Numbers":
    """All numbers of a run."""
    used = np.cumsum(plan.real_rows) - plan.real_rows
    people = max(int(used[-1]), 1) + 1 if population is None else population
    real_scale, synthetic_scale = _scales(plan)
    one = np.ones(plan.n_generations)
    return Numbers(
        plan,
        form,
        Columns(
            generation=np.arange(1, plan.n_generations + 1),
            real_rows=plan.real_rows,
            synthetic_rows=plan.synthetic_rows,
            real_batches=plan.real_batches,
            synthetic_batches=plan.synthetic_batches,
            real_size=plan.real_size,
            synthetic_size=plan.synthetic_size,
            drawn=plan.n_train,
            effective_size=plan.effective_size,
            real_weight=one if plan.real_weight is None else plan.real_weight,
            real_scale=real_scale,
            synthetic_scale=synthetic_scale,
            temperature=one if plan.temperature is None else plan.temperature,
            skill=plan.skill,
            source=plan.source_numbers,
            curation=plan.curation_numbers,
            first_real=np.full(plan.n_generations, plan.real_rows[0]),
            epoch=used // people,
            start=used % people,
            slot_sizes=None,
        ),
    )


@dataclass(frozen=True, eq=False)
class Numbers:
    """The numbers of all generations of a run, on the host."""

    plan: Plan
    form: Form
    table: Columns

    def part(self, first: int, steps: int) -> Columns:
        """The numbers of generations `first`, `first + 1`, ... (`steps` of them).

        The last one's are repeated beyond it. Arrays of NumPy, but for what is traced.
        """
        index = np.minimum(np.arange(first - 1, first - 1 + steps), self.plan.n_generations - 1)

        def chosen(values: Any) -> Any:
            if isinstance(values, np.ndarray) and values.dtype.kind == "i":
                return np.minimum(values[index], _MOST).astype(np.int32)
            return values[index].astype(np.float32)

        found = jax.tree.map(chosen, self.table)
        if self.form.masked or (self.form.rows and self.form.sizes_vary):
            sizes = _slot_sizes(self.plan, self.form, index)
            found = found._replace(slot_sizes=sizes.astype(np.int32))
        return found

    def of(self, generation: int) -> Columns:
        """The numbers of one generation, of JAX."""
        return jax.tree.map(lambda x: jnp.asarray(x[0]), self.part(generation, 1))


def _scales(plan: Plan) -> tuple[Any, Any]:
    """Factors of the weights of rows that are kept: 1 where all weigh the same, 0 if none are.

    With a weight of real rows, such that all rows together weigh 1.
    """
    if plan.real_weight is None:
        return np.float64(plan.real_size > 0), np.float64(plan.synthetic_size > 0)
    weights = plan.row_weights
    return weights[:, 0] * (plan.real_size > 0), weights[:, 1] * (plan.synthetic_size > 0)


def _slot_sizes(plan: Plan, form: Form, index: Any) -> Any:
    """Rows in each slot in each of some generations. `[generation, slot]`"""
    table = np.zeros((len(index), form.slots), np.int64)
    for row, i in enumerate(index.tolist()):
        real_born, made = (i + 1 if form.real.every else 1), i  # batches so far
        if form.storage == "latest":
            table[row, 0] = plan.real_rows[0] if i == 0 else plan.synthetic_rows[i - 1]
            continue
        real = np.arange(real_born - int(plan.real_batches[i]), real_born)
        synthetic = np.arange(made - int(plan.synthetic_batches[i]), made)
        table[row, real % form.real.slots] = plan.real_rows[real]
        table[row, form.real.slots + synthetic % form.synthetic.slots] = plan.synthetic_rows[
            synthetic
        ]
    return table
