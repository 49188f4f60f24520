"""Where generated rows come from: the newest model, past ones, the truth, or two models at once."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from collapse_jax.basics import checks
from collapse_jax.loop.schedules import SHARE, Numbered, Range, Schedule


class Source(Numbered):
    """What the rows of a batch come from, before they are curated."""

    of_one_model: ClassVar[bool] = False
    """Whether they are independent rows of one model."""
    plain: ClassVar[bool] = True
    """Whether each is a row of some model or of the truth, as it comes."""
    edits: ClassVar[bool] = False
    """Whether a batch is the one before with some rows made anew."""
    models: ClassVar[int] = 1
    """How many models rows come from, the newest included; 0 where that is a setting."""

    def __post_init__(self) -> None:
        self.check_numbers("synthetic.of")


@dataclass(frozen=True)
class Latest(Source):
    """Rows come from the newest model."""

    of_one_model: ClassVar[bool] = True


@dataclass(frozen=True)
class Past(Source):
    """Each row comes from a model that is picked at random among the past ones.

    The truth counts as the model before the first, so that model 1's successor is trained on rows
    of model 1 and of the truth in equal parts on average.

    Args:
        last: how many models there are to choose from, the newest ones; None for all.
        equally: whether every model gives the same number of rows instead of a random one; those
            that are left over come from the newest models. Needs `last`.

    Raises:
        ValueError: if `last` is below 1, or missing with `equally`.

    Source:
        Seddik et al., arXiv 2404.05090 ("randomly sampled data", "most recent K models").
    """

    last: int | None = None
    equally: bool = False
    models: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.last is not None:
            checks.whole_number("synthetic.of.last", self.last)
        elif self.equally:
            raise ValueError("synthetic.of.last must be given with equally=True, got None")


@dataclass(frozen=True)
class Mixed(Source):
    """Each row comes from the truth with a given probability, else from the newest model.

    Args:
        truth_share: the probability, from 0 to 1; a schedule.

    Raises:
        ValueError: if it is outside these limits.

    Source:
        Gillman et al., arXiv 2402.07087 (gamma/(1 + gamma) is the probability); Kanabar & Gastpar.
    """

    truth_share: Schedule
    numbers: ClassVar = {"truth_share": SHARE}


@dataclass(frozen=True)
class Extrapolated(Source):
    """Rows come from a model beyond the newest one, seen from the one before, or on this side.

    Model t is fitted to rows of model t - 1. Where that has made it worse, a step in the opposite
    direction makes it better: rows come from the parameters `(1 + w) theta[t - 1] - w theta[t]`,
    those of the model before for `w = 0`. Model 1 has none before it and is used as it is.

    Parameters are a Gaussian's mean and covariance, a categorical's probabilities and the
    coefficients of a regression; variances and probabilities below 0 become 0. Diffusion models can
    be extrapolated by what they say of each row instead, their scores: then rows are led away from
    what model t has made of model t - 1.

    Args:
        weight: the weight w, of either sign; a schedule.
        space: what is extrapolated, `"parameters"` or `"scores"`.

    Raises:
        ValueError: if the weight is not finite, or `space` another word.

    Source:
        Neon, arXiv 2510.03597 (parameters); SIMS, arXiv 2408.16333 (scores);
        `collapse_jax.theory.curation.extrapolated_covariance`.
    """

    weight: Schedule
    space: Literal["parameters", "scores"] = "parameters"
    of_one_model: ClassVar[bool] = True
    plain: ClassVar[bool] = False
    models: ClassVar[int] = 2
    numbers: ClassVar = {"weight": Range()}

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of("synthetic.of.space", self.space, ("parameters", "scores"))


@dataclass(frozen=True)
class Edit(Source):
    """The batch before, in which some rows have labels of the newest model, or some tokens are new.

    Row j of the new batch has a new label where a random mask is 1, and else the label that it had;
    the real batch is the first that is edited. Where rows have no labels, the whole row is made
    anew.

    Of texts, those of a `LanguageModel` or an `NGram`, tokens are edited one by one: those that the
    newest model finds more probable than `threshold`, given the old tokens before them, are
    drawn anew. Documents stay as long as they are. As published: `Edit(threshold=0.99, top_k=8,
    beta=1.5)`.

    Args:
        share: the probability of a new label, from 0 to 1, or of a new token where the old one is
            above the threshold; a schedule.
        mask: `"independent"` draws a mask in every generation, `"fixed"` one for all: then row j
            has a new label in those generations whose share is above its uniform number.
        threshold: of texts, the probability from which on a token is drawn anew; a schedule.
        top_k: of texts, how many of the most probable tokens a new one may be; None for all.
        beta: of texts, new tokens have probabilities like `p ** (1 / beta)`; a schedule.

    Raises:
        ValueError: if a number is outside these limits, or `mask` is another word.

    Source:
        Zhu et al., arXiv 2412.14689; `collapse_jax.theory.curation.edit_ratio`.
    """

    share: Schedule = 1.0
    mask: Literal["independent", "fixed"] = "independent"
    threshold: Schedule = 0.0
    top_k: int | None = None
    beta: Schedule = 1.0
    plain: ClassVar[bool] = False
    edits: ClassVar[bool] = True
    numbers: ClassVar = {
        "share": SHARE,
        "threshold": SHARE,
        "beta": Range(0.0, math.inf, open=True),
    }

    @property
    def of_tokens(self) -> bool:
        """Whether it says something of tokens that it could not say of labels."""
        return self.top_k is not None or (self.threshold, self.beta) != (0.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k is not None:
            checks.whole_number("synthetic.of.top_k", self.top_k)
        checks.one_of("synthetic.of.mask", self.mask, ("independent", "fixed"))


@dataclass(frozen=True)
class Exchange(Source):
    """Each row comes from a model picked at random among several that feed each other.

    What `Ecosystem` makes of a loop. Its numbers are `shares`, the probabilities of all models and
    of the truth, and `own`, which of them is the model whose batch it is.

    Args:
        truth: whether rows may come from the truth.
    """

    truth: bool = False
    plain: ClassVar[bool] = False
    models: ClassVar[int] = 0


KINDS: tuple[type[Source], ...] = (Latest, Past, Mixed, Extrapolated, Edit)


def check_source(of: Any) -> None:
    """Check that this is a source of rows.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(of, KINDS):
        names = ", ".join(f"{kind.__name__}(...)" for kind in KINDS)
        raise TypeError(f"synthetic.of must be one of {names}, got {of!r}")
