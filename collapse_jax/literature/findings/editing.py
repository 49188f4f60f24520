"""Papers about labels that are edited, and about models beyond the newest one."""

from collections.abc import Iterator

import numpy as np

from collapse_jax.analysis.estimates import FloatArray, at, jackknife
from collapse_jax.literature.cards import Lab, card, curve
from collapse_jax.literature.claims import Claim
from collapse_jax.loop.sources import Edit, Extrapolated
from collapse_jax.loop.workflow import Real, Synthetic, Workflow
from collapse_jax.tasks.gaussian import Gaussian
from collapse_jax.tasks.linear_regression import LinearRegression
from collapse_jax.tasks.ngram import NGram
from collapse_jax.theory import curation as theory


def _ratio(error: FloatArray) -> float:
    """The last error in units of the first."""
    return float(error[-1] / error[0])


@card("2412.14689")
def _edits(lab: Lab) -> Iterator[Claim]:
    dim, n, last, seeds = 8, 512, 20, lab.pick(400, 2000, 4000)
    task, share = LinearRegression(dim, n), 0.5
    fixed = lab.chains(
        Workflow(synthetic=Synthetic(of=Edit(share, "fixed"))), task, last, seeds, "test_error"
    )
    known = theory.edit_ratio(share, last, "fixed")
    fault = (
        "The bound leaves out that new labels contain the error of the model that makes them; it "
        "holds where the shares of edits sum to something small. What holds for a fixed mask is "
        "the limit 1/(1 - f) + f/(1 - f^2)."
    )
    yield Claim(
        text=f"half of the labels edited: error ratio of generation {last}, at most",
        law="2",
        relation="<=",
        published=2.0,
        ours=jackknife(_ratio, fixed),
        fault=fault,
    )
    yield Claim(
        text="the same rows in each generation: the error stays bounded; its ratio",
        law="1/(1 - f) + f/(1 - f^2)",
        derived=True,
        published=float(known[-1]),
        ours=jackknife(_ratio, fixed),
        against=float(last),
        slack=2 * dim / n * float(known[-1]),
        curve=curve(fixed, "test error", known * float(fixed[:, 0].mean())),
    )
    other = lab.chains(
        Workflow(synthetic=Synthetic(of=Edit(share))), task, last, seeds, "test_error"
    )
    known = theory.edit_ratio(share, last)
    yield Claim(
        text=f"other rows in each generation: the error grows linearly; its ratio in {last}",
        law="1 + (t - 1) f (2 - f)",
        derived=True,
        published=float(known[-1]),
        ours=jackknife(_ratio, other),
        against=2.0,
        slack=2 * dim / n * float(known[-1]),
        curve=curve(other, "test error", known * float(other[:, 0].mean())),
    )
    yield from _edited_texts(lab, last)


def _edited_texts(lab: Lab, last: int) -> Iterator[Claim]:
    """Of independent tokens, whose diversity 1 - sum p^2 is known exactly at any share."""
    weights = 1.0 / np.arange(1, 11)
    p, n, share = weights / weights.sum(), 40, 0.5
    task = NGram(1, transitions=p, n_samples=5, length=8)
    seeds = lab.pick(2000, 10_000, 40_000)

    def diversity(edit: Edit) -> FloatArray:
        return lab.chains(Workflow(synthetic=Synthetic(of=edit)), task, last, seeds, "collision")

    replaced = (1 - 1 / n) ** (last - 1)
    yield Claim(
        text="texts, tokens above a probability of 0.99 edited: the loop is held, as none is that "
        f"probable here; diversity of generation {last} in units of the first",
        law="1",
        derived=True,
        published=1.0,
        ours=jackknife(_remaining, diversity(Edit(threshold=0.99, top_k=8, beta=1.5))),
        against=replaced,
    )
    known = theory.edit_collision(p, n, share, last)
    yield Claim(
        text="texts, half of all tokens edited, however probable: diversity falls, as without "
        "editing but slower",
        law="(1 - f (2 - f)/n)^(t - 1)",
        derived=True,
        published=_remaining(known),
        ours=jackknife(_remaining, diversity(Edit(share))),
        against=1.0,
    )


def _remaining(collision: FloatArray) -> float:
    """The last diversity in units of the first."""
    return float((1 - collision[-1]) / (1 - collision[0]))


@card("2510.03597")
def _neon(lab: Lab) -> Iterator[Claim]:
    n, many, seeds = 11, 10**7, lab.pick(20_000, 100_000, 200_000)
    for cold in (0.8, 1.25):
        weight = theory.unbiased_weight(n, cold)
        task, found = Gaussian(1, n), {}
        for w in (weight, 0.0, -weight):
            loop = Workflow(
                Real(n=n),
                Synthetic(
                    n=many, of=Extrapolated(w), temperature=lambda t, c=cold: c if t == 1 else 1.0
                ),
            )
            found[w] = lab.chains(loop, task, 3, seeds, "trace_ratio")
        base = 1 - 1 / n
        yield Claim(
            text=f"self-training at temperature {cold:g}, then away from it with w = {weight:.2g}: "
            "the variance is right on average",
            law="w = 1/((n - 1)(1 - c))",
            derived=True,
            published=1.0,
            ours=jackknife(at(3), found[weight]),
            against=base,
            curve=curve(found[weight], "variance ratio"),
        )
        yield Claim(
            text=f"temperature {cold:g}: a weight of the other sign makes it worse",
            law="1 - 2/n",
            derived=True,
            published=1 - 2 / n,
            ours=jackknife(at(3), found[-weight]),
            against=base,
        )
