"""A loop: two streams of rows, and what of them each generation is fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from collapse_jax.basics import checks
from collapse_jax.loop.curation.words import read_curation
from collapse_jax.loop.plan import Plan, make_plan
from collapse_jax.loop.schedules import Schedule, check_schedule, plain
from collapse_jax.loop.sources import Edit, Extrapolated, Latest, Mixed, Past, Source, check_source

__all__ = [
    "Edit",
    "Extrapolated",
    "Fit",
    "Latest",
    "Mixed",
    "Past",
    "Real",
    "Source",
    "Synthetic",
    "Workflow",
]

_PHASES = ("real", "synthetic", "all")


@dataclass(frozen=True)
class Real:
    """The stream of real rows.

    With data of the user's own, rows that have not been used yet come first, in random order; when
    these run out, all of them are shuffled anew.

    Args:
        n: rows of a batch, a schedule; None for the task's `n_samples`. Where there is a new batch
            before every generation, that before generation t has `n(t)` rows.
        every: whether a new batch comes before every generation, or one before the first only.
        keep: how many generations are fitted to a batch; None for all later ones.

    Raises:
        ValueError: if a size is below 1, or not whole.
    """

    n: Schedule | None = None
    every: bool = False
    keep: int | None = 1

    def __post_init__(self) -> None:
        _check_stream("real", self)


@dataclass(frozen=True)
class Synthetic:
    """The stream of generated rows: model t makes the batch that generation t + 1 is fitted to.

    Args:
        n: rows that model t generates, a schedule; None for the task's `n_samples`.
        keep: how many generations are fitted to a batch; None for all later ones.
        of: where the rows come from: `Latest()`, `Past()`, `Mixed()`, `Extrapolated()` or `Edit()`.
        temperature: how widely models are sampled, a schedule; 1 is the model's own law. What it
            means is the task's to say: a Gaussian multiplies its covariance by it.
        curation: which of the rows make the batch: operators, one after the other, such as
            `BestOf(reward, 4)`. They draw candidates until the batch is full. In words
            `best-of:module:reward:4`.

    Raises:
        ValueError: if a size is below 1 or a temperature not positive.
    """

    n: Schedule | None = None
    keep: int | None = 1
    of: Source = field(default_factory=Latest)
    temperature: Schedule = 1.0
    curation: Annotated[Any, "OPERATOR ..."] = ()

    def __post_init__(self) -> None:
        _check_stream("synthetic", self)
        check_source(self.of)
        _set_schedule(self, "synthetic", "temperature")
        object.__setattr__(self, "curation", read_curation(self.curation))
        if self.curation and self.of.edits:
            raise ValueError(
                "synthetic.curation must be () with synthetic.of Edit(...), whose rows have their "
                f"places, got {self.curation!r}"
            )


@dataclass(frozen=True)
class Fit:
    """What of the rows that are kept a generation is fitted to.

    Args:
        n: rows drawn for the fit, afresh in each generation; `"batch"` for the task's `n_samples`;
            None for all. A schedule. Where there are no more rows than that, all are taken.
        with_replacement: whether a row may be drawn more than once.
        real_weight: the weight that real rows have together, from generation 2 on, the others
            having the rest; a schedule. None gives every row the same weight.
        warm_start: whether the fit starts from the model before, where a task's fit starts from
            anywhere: one that is made of steps.
        phases: which rows the steps of a fit learn from, one part of them after the other:
            `("synthetic", "real")` learns from generated rows in the first half of all steps and
            from real ones in the second. `"all"` is both; repeat a name for a longer part. While
            there are rows of one stream only, as in generation 1, all steps learn from these.
        skill: the chance that a detector knows a generated row for what it is, from 0 to 1, and
            then another row is drawn in its place; it takes no real row for a generated one. A
            schedule, for rows that are drawn with replacement. Without skill rows of both streams
            are mixed as they are, with a skill of 1 only real rows are left.

    Raises:
        ValueError: if a number is outside its range, `with_replacement` is given without `n`,
            `phases` with it, or `skill` without replacement or with `real_weight`.

    Source:
        After Drayson et al., arXiv 2502.15654 (`skill`: resampling by a detector).
    """

    n: Schedule | Literal["batch"] | None = None
    with_replacement: bool = False
    real_weight: Schedule | None = None
    warm_start: bool = False
    phases: Annotated[Sequence[str], "{real,synthetic,all} ..."] = ()
    skill: Schedule | None = None

    def __post_init__(self) -> None:
        words = [self.phases] if isinstance(self.phases, str) else self.phases
        named = tuple(checks.one_of("fit.phases", word, _PHASES) for word in words)
        object.__setattr__(self, "phases", named)
        if named and self.n is not None:
            raise ValueError(
                f"fit.phases must be () where rows are drawn for the fit (fit.n={self.n!r}), got "
                f"{named!r}"
            )
        if isinstance(self.n, str):
            checks.one_of("fit.n", self.n, ("batch",))
        elif self.n is not None:
            _set_schedule(self, "fit", "n")
        elif self.with_replacement:
            raise ValueError("fit.n must be given with with_replacement=True, got None")
        if self.real_weight is not None:
            _set_schedule(self, "fit", "real_weight")
        if self.skill is not None:
            _set_schedule(self, "fit", "skill")
            if not self.with_replacement or self.real_weight is not None:
                raise ValueError(
                    "fit.skill must be None but for rows that are drawn with_replacement=True, "
                    f"without a real_weight, got {self.skill!r}"
                )


@dataclass(frozen=True)
class Workflow:
    """How real and generated rows come together, from generation to generation.

    Args:
        real: the stream of real rows.
        synthetic: the stream of generated rows.
        fit: what of both a generation is fitted to.

    Raises:
        TypeError: if an argument is of another type.

    Example:
        >>> loop = Workflow(Real(every=True), Synthetic(n=400, temperature=0.9))
        >>> print(loop.plan(3, n_samples=100).n_train)
        [100 500 500]
    """

    real: Real = field(default_factory=Real)
    synthetic: Synthetic = field(default_factory=Synthetic)
    fit: Fit = field(default_factory=Fit)

    def __post_init__(self) -> None:
        for name, kind in (("real", Real), ("synthetic", Synthetic), ("fit", Fit)):
            if not isinstance(value := getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {value!r}")
        for name in ("real_weight", "skill"):
            given = getattr(self.fit, name) is not None
            if given and not self.real.every and self.real.keep == 1:
                raise ValueError(
                    f"fit.{name} must be None where no real row is left after generation 1; keep "
                    "real rows with real.keep, or draw new ones with real.every"
                )
        if "real" in self.fit.phases and not self.real.every and self.real.keep == 1:
            raise ValueError(
                "fit.phases cannot have 'real' where no real row is left after generation 1; keep "
                "real rows with real.keep, or draw new ones with real.every"
            )

    def plan(self, n_generations: int, n_samples: int) -> Plan:
        """What happens in each generation, in numbers.

        Args:
            n_generations: number of generations T.
            n_samples: the task's `n_samples`.

        Raises:
            ValueError: if a schedule is too short or has values outside its range.
        """
        return make_plan(self, n_generations, n_samples)

    def __eq__(self, other: object) -> bool:
        """Whether both are the same loop; a subclass adds nothing to what happens."""
        if not isinstance(other, Workflow):
            return NotImplemented
        return (self.real, self.synthetic, self.fit) == (other.real, other.synthetic, other.fit)

    def __hash__(self) -> int:
        return hash(repr((self.real, self.synthetic, self.fit)))


def _check_stream(name: str, stream: Any) -> None:
    if stream.n is not None:
        _set_schedule(stream, name, "n")
    if stream.keep is not None:
        checks.whole_number(f"{name}.keep", stream.keep)


def _set_schedule(part: Any, name: str, field: str) -> None:
    """Check a schedule, and keep it in a form that can be compared."""
    schedule = getattr(part, field)
    check_schedule(f"{name}.{field}", schedule)
    object.__setattr__(part, field, plain(schedule))
