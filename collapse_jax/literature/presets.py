"""The loops of papers as compositions: a few lines for each.

To add a paper, add an entry to `PAPERS`; a loop with numbers of its own is a function above.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from collapse_jax.loop.curation.operators import BestOf, Nearest, Threshold, Verify
from collapse_jax.loop.ecosystems.description import Ecosystem, Loop
from collapse_jax.loop.presets import Accumulate, AccumulateSubsample, Replace
from collapse_jax.loop.sources import Edit, Extrapolated
from collapse_jax.loop.workflow import Fit, Mixed, Past, Real, Synthetic, Workflow

ROWS = 100
"""Rows of a batch, wherever an entry of `PAPERS` needs a number."""


class Paper(NamedTuple):
    """A paper and its loops."""

    arxiv: str
    """Its number on arXiv."""
    title: str
    """Shortened."""
    authors: str
    loops: dict[str, Loop]
    """By what is special about each, with numbers that fit a batch of `ROWS` rows."""


def fresh_share(n: int, share: Callable[[int], float]) -> Workflow:
    """A share of each generation's n rows is real and new, the others are the newest model's.

    Args:
        n: rows that a generation is fitted to; those of generation 1 are all real.
        share: of generation t = 2, 3, ...

    Source:
        Fu et al., arXiv 2502.18865.

    Example:
        >>> print(fresh_share(100, lambda t: 1 / t).plan(4, 100).real_size)
        [100  50  33  25]
    """

    def real(t: int) -> int:
        return n if t == 1 else min(max(1, round(share(t) * n)), n - 1)

    return Workflow(Real(n=real, every=True), Synthetic(n=lambda t: n - real(t + 1)))


def rows_that_stay(n: int, share: float) -> Workflow:
    """Every generation adds n rows, a share of them real, and all rows stay.

    Args:
        n: rows that each generation adds; those of generation 1 are all real.
        share: from generation 2 on, above 0 and below 1.

    Source:
        Wang, Niu & Li, arXiv 2602.16065.

    Example:
        >>> plan = rows_that_stay(100, 0.25).plan(3, 100)
        >>> print(plan.n_train, plan.real_size)
        [100 200 300] [100 125 150]
    """
    real = min(max(1, round(share * n)), n - 1)
    return Workflow(
        Real(n=lambda t: n if t == 1 else real, every=True, keep=None),
        Synthetic(n=n - real, keep=None),
    )


def corrected(strength: float) -> Workflow:
    """Rows are corrected towards the truth: one in 1 + 1/strength is a row of the truth.

    Args:
        strength: gamma of the paper, 0 or more.

    Source:
        Gillman et al., arXiv 2402.07087.

    Example:
        >>> corrected(1.0).synthetic.of
        Mixed(truth_share=0.5)
    """
    return Workflow(synthetic=Synthetic(of=Mixed(strength / (1.0 + strength))))


def growing(n: int, power: float) -> Workflow:
    """Each generation is fitted to the newest batch alone, n t^power rows in generation t.

    Args:
        n: rows of generation 1.
        power: 0 is Replace.

    Source:
        Xu et al., arXiv 2505.13947.

    Example:
        >>> print(growing(10, 2.0).plan(4, 10).n_train)
        [ 10  40  90 160]
    """
    return Workflow(Real(n=n), Synthetic(n=lambda t: round(n * (t + 1) ** power)))


def doubling(n: int) -> Workflow:
    """All rows stay, and each model labels all of them once more.

    Args:
        n: real rows.

    Source:
        What the code published with Dey & Donoho, arXiv 2410.22812, does with image features.

    Example:
        >>> print(doubling(10).plan(4, 10).n_train)
        [10 20 40 80]
    """
    return Workflow(Real(n=n, keep=None), Synthetic(n=lambda t: n * 2 ** (t - 1), keep=None))


def itself(outcome: Any) -> Any:
    """The reward of an outcome that is its number."""
    return 1.0 * outcome


def agreement(x: Any, y: Any) -> Any:
    """Minus the distance of a label from that of a verifier whose coefficients are all 1."""
    return -abs(y - x.sum())


def all_of_all(workflow: Workflow, n_models: int) -> Ecosystem:
    """Several models, each of which is fitted to rows of all in equal parts.

    Args:
        workflow: the loop of each.
        n_models: how many.

    Source:
        Vu, Reeves & Wenger, arXiv 2505.21677.

    Example:
        >>> all_of_all(Replace(), 2).mixing
        ((0.5, 0.5), (0.5, 0.5))
    """
    return Ecosystem(workflow, [[1.0 / n_models] * n_models] * n_models)


PAPERS = (
    Paper(
        "2305.17493",
        "The Curse of Recursion",
        "Shumailov et al.",
        {"the newest rows alone": Replace()},
    ),
    Paper(
        "2307.01850",
        "Self-Consuming Generative Models Go MAD",
        "Alemohammad et al.",
        {
            "fully synthetic, biased": Workflow(synthetic=Synthetic(temperature=0.8)),
            "synthetic augmentation": Workflow(Real(keep=None), Synthetic(temperature=0.8)),
            "fresh data": Workflow(Real(every=True), Synthetic(temperature=0.8)),
        },
    ),
    Paper(
        "2310.00429",
        "On the Stability of Iterative Retraining",
        "Bertrand et al.",
        {
            "fully synthetic": Replace(),
            "real rows and the newest model's": Workflow(Real(keep=None), Synthetic(n=50)),
        },
    ),
    Paper(
        "2311.00931",
        "Generated Rows Nearest to Real Ones (title in our words)",
        "arXiv 2311.00931",
        {
            "the nearest quarter": Workflow(
                Real(keep=None), Synthetic(temperature=4.0, curation=Nearest(0.25))
            ),
        },
    ),
    Paper(
        "2402.07087",
        "Self-Correcting Self-Consuming Loops",
        "Gillman et al.",
        {"rows corrected with strength 1": corrected(1.0)},
    ),
    Paper(
        "2402.11778",
        "Towards Theoretical Understandings of Self-Consuming Generative Models",
        "Fu et al.",
        {"any amount beside the real rows": Workflow(Real(keep=None), Synthetic(n=4 * ROWS))},
    ),
    Paper(
        "2404.01413",
        "Is Model Collapse Inevitable?",
        "Gerstgrasser et al.",
        {"replace": Replace(), "accumulate": Accumulate()},
    ),
    Paper(
        "2404.05090",
        "How Bad is Training on Synthetic Data?",
        "Seddik et al.",
        {
            "fully synthetic": Replace(),
            "partially synthetic": Workflow(Real(keep=None), Synthetic(n=ROWS)),
            "most recent models": Workflow(synthetic=Synthetic(of=Past(last=3, equally=True))),
            "randomly sampled data": Workflow(synthetic=Synthetic(of=Past())),
        },
    ),
    Paper(
        "2406.07515",
        "Beyond Model Collapse",
        "Feng et al.",
        {
            "labels that a verifier accepts": Workflow(
                synthetic=Synthetic(curation=Verify(right=0.6, wrong=0.3))
            ),
        },
    ),
    Paper(
        "2407.09499",
        "Self-Consuming Generative Models with Curated Data",
        "Ferbach et al.",
        {
            "the best of four": Workflow(synthetic=Synthetic(curation=BestOf(itself, 4))),
            "beside real rows": Workflow(
                Real(keep=None), Synthetic(n=25, curation=BestOf(itself, 4))
            ),
        },
    ),
    Paper(
        "2410.16713",
        "Collapse or Thrive?",
        "Kazdan, Schaeffer et al.",
        {
            "replace": Replace(),
            "accumulate": Accumulate(),
            "accumulate-subsample": AccumulateSubsample(),
        },
    ),
    Paper(
        "2410.22812",
        "Universality of the pi^2/6 Pathway",
        "Dey & Donoho",
        {
            "discard": Replace(),
            "augment": Accumulate(),
            "augment-subsample": AccumulateSubsample(),
            "as its image code runs": doubling(ROWS),
        },
    ),
    Paper(
        "2412.14689",
        "How to Synthesize Text Data without Model Collapse?",
        "Zhu et al.",
        {
            "labels edited with independent masks": Workflow(synthetic=Synthetic(of=Edit(0.5))),
            "labels edited with one mask": Workflow(synthetic=Synthetic(of=Edit(0.5, "fixed"))),
        },
    ),
    Paper(
        "2412.17646",
        "Rate of Model Collapse in Recursive Training",
        "Suresh et al.",
        {"the newest rows alone": Replace()},
    ),
    Paper(
        "2502.18049",
        "Recursive Learning Without Collapse",
        "He, Xu & Cheng",
        {"new real rows with a weight": Workflow(Real(every=True), fit=Fit(real_weight=0.618))},
    ),
    Paper(
        "2502.18865",
        "How to Prevent Model Collapse in Self-consuming Training Loops",
        "Fu et al.",
        {
            "a constant share of new real rows": fresh_share(ROWS, lambda t: 0.1),
            "a vanishing share": fresh_share(ROWS, lambda t: 1 / t),
        },
    ),
    Paper(
        "2505.13947",
        "A Probabilistic Perspective on Model Collapse",
        "Xu et al.",
        {"batches that grow": growing(ROWS, 2.0)},
    ),
    Paper(
        "2505.21677",
        "When Generative AI Models Train on Each Others' Outputs",
        "Vu, Reeves & Wenger",
        {
            "all feed all": all_of_all(Replace(), 3),
            "with real rows that stay": all_of_all(Workflow(Real(keep=None)), 3),
        },
    ),
    Paper(
        "2510.03597",
        "Neon: Negative Extrapolation From Self-Training",
        "Alemohammad et al.",
        {
            "a model beyond the newest one": Workflow(synthetic=Synthetic(of=Extrapolated(0.5))),
        },
    ),
    Paper(
        "2510.16657",
        "Escaping Model Collapse via Synthetic Data Verification",
        "Yi et al.",
        {
            "labels near to a verifier's": Workflow(
                synthetic=Synthetic(curation=Threshold(agreement, -1.0))
            ),
        },
    ),
    Paper(
        "2602.16065",
        "Can Generative AI Survive Data Contamination?",
        "Wang, Niu & Li",
        {"new real rows, and everything stays": rows_that_stay(ROWS, 0.25)},
    ),
)
"""Every paper whose loops can be said, in the order of their numbers."""
