"""Papers and their loops: to add one, add an entry to `PAPERS`."""

from typing import NamedTuple

from collapse_jax.literature.presets import (
    agreement,
    all_of_all,
    corrected,
    doubling,
    fresh_share,
    growing,
    in_phases,
    itself,
    rows_that_stay,
)
from collapse_jax.loop.curation.operators import BestOf, Nearest, Threshold, Verify
from collapse_jax.loop.ecosystems.description import Loop
from collapse_jax.loop.presets import Accumulate, AccumulateSubsample, Replace
from collapse_jax.loop.sources import Edit, Extrapolated
from collapse_jax.loop.workflow import Fit, Past, Real, Synthetic, Workflow

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


PAPERS = (
    Paper(
        "2009.12740",
        "STAN: Synthetic Network Traffic Generation",
        "Xu et al.",
        {"a generator of rows of tables": Replace()},
    ),
    Paper(
        "2010.12883",
        "Variational Bayesian Unlearning",
        "Nguyen et al.",
        {"a pool of all batches": Accumulate(), "real rows alone": Replace()},
    ),
    Paper(
        "2202.00622",
        "Datamodels: Predicting Predictions from Training Data",
        "Ilyas et al.",
        {"a pool of all batches": Replace()},
    ),
    Paper(
        "2305.09235",
        "Synthetic Data, Real Errors",
        "van Breugel et al.",
        {"one generation": Replace()},
    ),
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
        "2308.04553",
        "From Fake to Real",
        "Qraitem, Saenko & Plummer",
        {"generated rows, then real ones": in_phases(39), "both at once": in_phases(0)},
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
            "tokens of texts edited": Workflow(
                synthetic=Synthetic(of=Edit(threshold=0.99, top_k=8, beta=1.5))
            ),
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
