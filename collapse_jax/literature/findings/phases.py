"""Papers about fits in phases: generated rows first, real rows after them."""

from collections.abc import Iterator

import numpy as np

from collapse_jax.analysis.estimates import at, jackknife
from collapse_jax.literature.cards import Lab, card, curve
from collapse_jax.literature.claims import Claim
from collapse_jax.literature.presets import in_phases
from collapse_jax.loop.workflow import Workflow
from collapse_jax.trained.group_classifier import GroupClassifier

Part = tuple[np.ndarray, np.ndarray, np.ndarray]
_METRIC = "worst_group_accuracy"
_INK = 16.0  # of the darkest point of a digit


def patched_digits(agreement: float, seed: int = 0) -> tuple[Part, Part]:
    """Digits of scikit-learn with a patch on the left or right, which goes with the digit's parity.

    Args:
        agreement: share of the training pictures whose patch is on the side of their parity.
        seed: of the split and of the patches.

    Returns:
        training and test rows `(pictures, digits, sides)`; the test rows are each picture with the
        patch on either side.
    """
    from sklearn.datasets import load_digits  # slow to import

    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    train, test = order[: 2 * len(order) // 3], order[2 * len(order) // 3 :]
    parity = labels[train] % 2
    sides = np.where(rng.random(len(train)) < agreement, parity, 1 - parity)
    both = np.repeat([0, 1], len(test))

    def part(rows: np.ndarray, side: np.ndarray) -> Part:
        pictures = images[rows].reshape(-1, 8, 8).copy()
        pictures[np.arange(len(rows)), 0, np.where(side == 0, 0, 7)] = _INK
        return pictures.reshape(len(rows), -1), labels[rows], side

    return part(train, sides), part(np.tile(test, 2), both)


@card("2308.04553")
def _two_phases(lab: Lab) -> Iterator[Claim]:
    tables, seeds = range(lab.pick(24, 32, 64)), lab.pick(4, 16, 32)
    steps = lab.pick(400, 400, 2000)

    def worst(loop: Workflow) -> np.ndarray:
        """Means of the chains of each table, `[table, generation]`."""
        tasks = (GroupClassifier(data=patched_digits(0.95, i), steps=steps) for i in tables)
        return np.stack([lab.chains(loop, task, 2, seeds, _METRIC).mean(axis=0) for task in tasks])

    joint, short, long = (worst(in_phases(parts)) for parts in (0, 39, 1))
    text = "worst accuracy of a digit with a patch on one side: "
    yield Claim(
        text=text + "balanced generated rows beside real ones, above real ones alone",
        law="joint > real only",
        derived=True,
        relation=">=",
        published=0.0,
        ours=jackknife(lambda mean: mean[1] - mean[0], joint),
        curve=curve(joint, _METRIC),
    )
    for chains, parts in ((short, 40), (long, 2)):
        yield Claim(
            text=text + "first generated rows and then real ones, these in "
            f"1/{parts} of the steps, above both at once",
            law="two phases > joint",
            derived=True,
            relation=">=",
            published=0.0,
            ours=jackknife(at(2), chains - joint),
            fault="a second phase that is long forgets the first: a linear model ends at the fit "
            "to real rows, w_r + exp(-rate steps H) (w_syn - w_r), whatever it starts from"
            if parts == 2
            else "",
            curve=curve(chains, _METRIC),
        )
