"""Papers about what happens to rows between a model and the next: chosen, verified, edited."""

from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float, Key
from scipy.stats import norm

from collapse_jax.analysis.estimates import at, jackknife
from collapse_jax.literature.cards import Lab, card, curve
from collapse_jax.literature.claims import Claim
from collapse_jax.literature.presets import agreement
from collapse_jax.loop.curation.operators import BestOf, Nearest, Threshold, Verify
from collapse_jax.loop.presets import Replace
from collapse_jax.loop.workflow import Real, Synthetic, Workflow
from collapse_jax.tasks.base import AbstractTask, Data, Variable
from collapse_jax.tasks.categorical import Categorical
from collapse_jax.tasks.gaussian import Gaussian
from collapse_jax.tasks.linear_regression import LinearRegression
from collapse_jax.theory import curation as theory
from collapse_jax.theory import regression

_LEVELS = 5


def _level(outcome: Array) -> Array:
    """The reward of an outcome: 0 for the first, 1 for the last."""
    return outcome / (_LEVELS - 1.0)


@card("2407.09499")
def _preferences(lab: Lab) -> Iterator[Claim]:
    n, k, last, seeds = lab.pick(2000, 10_000, 50_000), 4, 40, lab.pick(50, 200, 400)
    truth, rewards = np.full(_LEVELS, 1 / _LEVELS), np.linspace(0.0, 1.0, _LEVELS)
    task, best = Categorical(_LEVELS, n), BestOf(_level, k)
    alone = lab.chains(
        Workflow(synthetic=Synthetic(curation=best)), task, last, seeds, "mean_reward"
    )
    laws = theory.selected(truth, rewards, k, last + 1)[1:]
    yield Claim(
        text=f"the best of {k}, alone: mean reward of the first batch",
        law="sum r p H_K, with the integral for H_K",
        derived=True,
        published=float(laws[0] @ rewards),
        ours=jackknife(at(1), alone),
        against=float(truth @ rewards),
        slack=1 / n,
        curve=curve(alone, "mean reward", laws @ rewards),
    )
    yield Claim(
        text=f"alone: all probability goes to the highest reward; mean reward of batch {last}",
        law="max r",
        published=1.0,
        ours=jackknife(at(last), alone),
        against=float(truth @ rewards),
        slack=1 - float(laws[-1] @ rewards) + 0.01,
    )
    share = 0.2  # of chosen rows: lambda = 1/4, below 1/(k - 1)
    mixed = Workflow(Real(keep=None), Synthetic(n=n // 4, curation=best))
    ds = lab.simulate(mixed, task, last, seeds, ("mean_reward", "entropy"))
    reward = ds.mean_reward.transpose("seed", "generation").values.astype(np.float64)
    laws = theory.selected(truth, rewards, k, last, share=share)
    taken = [float(theory.best_of(law, rewards, k) @ rewards) for law in laws]
    yield Claim(
        text=f"beside four times as many real rows: mean reward of batch {last}",
        law="p = (1 - s) p_ref + s p H_K at the fixed point",
        derived=True,
        published=taken[-1],
        ours=jackknife(at(last), reward),
        against=1.0,
        slack=2 * _LEVELS / n,
        curve=curve(reward, "mean reward", np.array(taken)),
    )
    distance = np.log(_LEVELS) - ds.entropy.transpose("seed", "generation").values.astype(float)
    yield Claim(
        text=f"beside real rows: KL divergence from the truth in generation {last}, at most",
        law="-log(1 - l (K - 1)), l = 1/4",
        relation="<=",
        published=float(-np.log(1 - (k - 1) / 4)),
        ours=jackknife(at(last), distance),
    )


class Labelled(AbstractTask):
    """Two normal classes, real and generated labels that are right with a given probability."""

    n_samples: int
    accuracy: float
    separation: float
    has_labels: ClassVar[bool] = True
    variables: ClassVar[dict[str, Variable]] = {
        "test_accuracy": Variable("share of new rows that are classified right", "1")
    }

    def real(self, world: Any, key: Key[Array, ""], n: int, **_: Any) -> Any:
        return self.sample(world, None, key, n)

    def sample(self, world: Any, model: Any, key: Key[Array, ""], n: int, **_: Any) -> Any:
        keys = jax.random.split(key, 3)
        side = jax.random.rademacher(keys[0], (n,), jnp.float32)
        right = jax.random.uniform(keys[1], (n,)) < self.accuracy
        x = jax.random.normal(keys[2], (n, 2)).at[:, 0].add(self.separation * side)
        return x, jnp.where(right, side, -side), side

    def is_right(self, world: Any, rows: Any) -> Bool[Array, " n"]:
        return rows[1] == rows[2]

    def fit(self, world: Any, data: Data) -> Float[Array, "2"]:
        x, y, _ = data.rows
        return jnp.mean(x * y[:, None], axis=0)

    def measure(self, world: Any, model: Float[Array, "2"]) -> dict[str, Float[Array, ""]]:
        length = jnp.sqrt(jnp.sum(model**2) + 1e-30)
        return {"test_accuracy": ndtr(self.separation * model[0] / length)}


@card("2406.07515")
def _verifier(lab: Lab) -> Iterator[Claim]:
    n, seeds, separation = lab.pick(20_000, 50_000, 200_000), lab.pick(40, 100, 200), 1.5
    right, wrong = 0.6, 0.3
    loop = Workflow(synthetic=Synthetic(curation=Verify(right, wrong)))
    best = float(norm.cdf(separation))
    for accuracy in (0.25, 0.42, 0.7):
        task = Labelled(n, accuracy, separation)
        ds = lab.simulate(loop, task, 2, seeds, ("test_accuracy", "mean_reward"))
        found = ds.test_accuracy.transpose("seed", "generation").values.astype(np.float64)
        kept = ds.mean_reward.transpose("seed", "generation").values.astype(np.float64)
        limit = theory.limit_accuracy(accuracy, right, wrong, separation)
        where = "above" if accuracy > theory.critical_accuracy(right, wrong) else "below"
        yield Claim(
            text=f"{accuracy:.0%} of labels right, {where} p* = 1/3: accuracy after verification",
            law="Phi(|mu|)" if where == "above" else "1 - Phi(|mu|)",
            published=limit,
            ours=jackknife(at(2), found),
            against=1 - limit,
            slack=0.01,  # of the limit of many rows
        )
        yield Claim(
            text=f"{accuracy:.0%} of labels right: share of right ones among those verified",
            law="p phi/(p phi + (1 - p) psi)",
            published=theory.label_accuracy(accuracy, right, wrong),
            ours=jackknife(at(1), kept),
            against=accuracy,
        )
    task = Labelled(n, 0.42, separation)
    found = lab.chains(Replace(), task, 2, seeds, "test_accuracy")
    yield Claim(
        text="without a verifier p* is 1/2: accuracy with 42% of labels right",
        law="1 - Phi(|mu|)",
        published=1 - best,
        ours=jackknife(at(2), found),
        against=best,
        slack=0.01,
    )


@card("2311.00931")
def _realistic(lab: Lab) -> Iterator[Claim]:
    n, seeds = 100, lab.pick(400, 4000, 4000)
    task = Gaussian(2, n, mean=0.0)
    batches = {  # too widely spread, as unrealistic rows are
        "all rows": Synthetic(n=4 * n, temperature=4.0),
        "a random quarter": Synthetic(n=n, temperature=4.0),
        "the nearest quarter": Synthetic(n=n, temperature=4.0, curation=Nearest(0.25)),
    }
    loss = {
        name: lab.chains(Workflow(Real(keep=None), stream), task, 2, seeds, "nll")
        for name, stream in batches.items()
    }
    for other in ("all rows", "a random quarter"):
        yield Claim(
            text=f"unrealistic rows beside real ones: loss of {other} minus that of the nearest "
            "quarter, on real rows",
            law="more",
            derived=True,
            relation=">=",
            published=0.0,
            ours=jackknife(
                lambda some, near: some[1] - near[1], loss[other], loss["the nearest quarter"]
            ),
            curve=curve(loss[other], "loss on real rows"),
        )


class Known(LinearRegression):
    """A regression whose true coefficients are all 1, so that a verifier can know them."""

    def __init__(self, dim: int, n_samples: int) -> None:
        super().__init__(dim, n_samples, design="fresh")

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> Any:
        return super().world(key, rows, index)._replace(weights=jnp.ones(self.dim))


def _biased(x: Float[Array, " d"], y: Float[Array, ""]) -> Float[Array, ""]:
    """Minus the distance of a label from that of a verifier whose coefficients are 1.2."""
    return -jnp.abs(y - 1.2 * jnp.sum(x))


@card("2510.16657")
def _knowledge_centre(lab: Lab) -> Iterator[Claim]:
    dim, n, last, seeds = 4, 200, 15, lab.pick(200, 2000, 4000)
    task, base = Known(dim, n), regression.noise_error(n, dim)
    plain = lab.chains(Replace(), task, last, seeds, "test_error")
    known = theory.verified(base, 1.0, last)
    loops = {
        score: Workflow(synthetic=Synthetic(curation=Threshold(score, -1.0)))
        for score in (agreement, _biased)
    }
    true = lab.chains(loops[agreement], task, last, seeds, "test_error")
    yield Claim(
        text="a verifier that knows the truth: no collapse; error of the last generation",
        law="kappa B/(1 - kappa^2), to first order",
        derived=True,
        published=float(known[-1]),
        ours=jackknife(at(last), true),
        against=float(last * base),
        slack=0.1 * float(known[-1]),
        curve=curve(true, "test error", known),
    )
    yield Claim(
        text="the verified error falls below that of the real rows (near-term improvement)",
        law="less",
        relation="<=",
        published=0.0,
        ours=jackknife(lambda mean: mean[2] - mean[0], true),
    )
    biased = lab.chains(loops[_biased], task, last, seeds, "test_error")
    centre = dim * 0.2**2
    yield Claim(
        text="a verifier with other coefficients: the model goes to its knowledge centre; error",
        law="|w_c - w|^2 + kappa B/(1 - kappa^2)",
        derived=True,
        published=centre + float(known[-1]),
        ours=jackknife(at(last), biased),
        against=float(known[-1]),
        slack=0.1 * float(known[-1]),
        curve=curve(biased, "test error"),
    )
    yield Claim(
        text=f"without a verifier the error grows linearly: generation {last} against the first",
        law="t",
        published=float(last),
        ours=jackknife(lambda mean: mean[-1] / mean[0], plain),
        against=1.0,
    )
