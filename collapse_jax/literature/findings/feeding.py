"""Papers about several models that feed each other."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from collapse_jax.analysis.estimates import at, jackknife
from collapse_jax.literature.cards import Lab, card, curve
from collapse_jax.literature.claims import Claim
from collapse_jax.literature.presets import all_of_all
from collapse_jax.loop.ecosystems.description import Ecosystem
from collapse_jax.loop.presets import Accumulate, Replace
from collapse_jax.tasks.categorical import Categorical
from collapse_jax.tasks.exponential_family import ExponentialFamily
from collapse_jax.theory import expected

_MODELS, _SHARE = 3, 0.2
_LINE = ((1, 0, 0), (1, 0, 0), (0, 1, 0))  # model 0 hears of the truth, 1 of 0, and 2 of 1
_APART = ((1, 0, 0), (0, 0.5, 0.5), (0, 0.5, 0.5))


@card("2505.21677")
def _several_models(lab: Lab) -> Iterator[Claim]:
    n, last, seeds = 1000, 40, lab.pick(4000, 40_000, 40_000)
    task, metrics = ExponentialFamily("poisson", None, n), ("squared_error", "distance_between")

    def run(
        loop: Ecosystem, model: int | None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Errors and distances of a model, or on average, and the law of errors; in one fit's."""
        ds, known = lab.simulate(loop, task, last, seeds, metrics), expected(loop, task, last)
        ds, known = (
            part.mean("model") if model is None else part.isel(model=model) for part in (ds, known)
        )
        return tuple(
            n * found.values.astype(np.float64)
            for found in (ds.squared_error, ds.distance_between, known.squared_error)
        )

    anchored = 1 / (1 - (1 - _SHARE) ** 2)
    lines = {
        "a model hears of the truth through two others (spectral radius 0.8): bounded": (
            _LINE,
            anchored + 2,
            "1/(1 - (1 - s)^2) + 2",
            float(last),
        ),
        "two models hear of each other alone, beside one that hears of the truth (spectral radius "
        "1): not bounded": (_APART, 1 + (last - 1) / 2, "1 + (t - 1)/2", anchored),
    }
    for text, (mixing, level, law, otherwise) in lines.items():
        error, _, known = run(Ecosystem(Replace(), mixing, (_SHARE, 0.0, 0.0)), 2)
        yield Claim(
            text=f"{text}; error of generation {last}, in errors of one fit",
            law=law,
            derived=True,
            published=level,
            ours=jackknife(at(last), error),
            against=otherwise,
            slack=0.01 * level,  # what models differ in adds to the variance of rows
            curve=curve(error, "error ratio", known),
        )
    error, apart, known = run(all_of_all(Replace(), _MODELS), None)
    yield Claim(
        text=f"{_MODELS} models that all feed all: errors grow {_MODELS} times as slowly as alone",
        law="1 + (t - 1)/3",
        derived=True,
        published=1 + (last - 1) / _MODELS,
        ours=jackknife(at(last), error),
        against=float(last),
        slack=0.01 * last / _MODELS,
        curve=curve(error, "error ratio", known),
    )
    yield Claim(
        text="they become alike: distance from the others over the error, alone 3/2",
        law="(3/2)/(1 + (t - 1)/3)",
        derived=True,
        published=1.5 / (1 + (last - 1) / _MODELS),
        ours=jackknife(lambda far, off: far[-1] / off[-1], apart, error),
        against=1.5,
        slack=0.002,
    )
    yield _missed_by_one(lab)


def _missed_by_one(lab: Lab) -> Claim:
    """What real rows of one model lack comes with rows of the others."""
    last, seeds = 10, lab.pick(1000, 10_000, 10_000)
    task = Categorical(50, 40)
    lost = [
        lab.simulate(loop, task, last, seeds, ("n_extinct",)).n_extinct.mean("model").values
        for loop in (all_of_all(Accumulate(), _MODELS), Ecosystem(Accumulate(), np.eye(_MODELS)))
    ]
    return Claim(
        text="all data stay: models learn from each other what their own real rows lack; outcomes "
        f"that they miss in generation {last}, relative to models alone",
        law="fewer",
        relation="<=",
        published=1.0,
        ours=jackknife(lambda fed, alone: fed[-1] / alone[-1], *lost),
    )
