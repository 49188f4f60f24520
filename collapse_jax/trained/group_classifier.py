"""Classifiers that may learn what goes with a label, and not what makes it one: rows in groups."""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import Number
from collapse_jax.numerics import draws, linalg, threefry
from collapse_jax.tasks.base import Data, Variable
from collapse_jax.tasks.parts import seen
from collapse_jax.tasks.parts.groups import read_groups
from collapse_jax.tasks.parts.tables import sample_size, spread_of
from collapse_jax.tasks.trained import AbstractTrained, Training
from collapse_jax.trained import networks
from collapse_jax.trained.base import LEARNING
from collapse_jax.views import AbstractView

_RIDGE = 1e-3  # rows' worth of prior on the means of labels and groups that nothing is seen of


class GroupedRows(NamedTuple):
    """Rows with their labels and groups."""

    x: Float[Array, "n d"]
    label: Int[Array, " n"]
    group: Int[Array, " n"]


class Generator(NamedTuple):
    """Normal rows, whose mean is that of the label plus that of the group."""

    means: Float[Array, "k d"]
    shifts: Float[Array, "g d"]
    """By which rows of a group differ from those of the first one."""
    root: Float[Array, "d d"]
    """Of the covariance that all rows have: `root @ root.T`."""
    shares: Float[Array, "k g"]
    """Of the rows of each label in each group."""


class Grouped(NamedTuple):
    """A fitted model."""

    network: Any
    generator: Generator


class GroupClassifier(AbstractTrained):
    """A classifier of rows in groups, with a generator of such rows beside it.

    Rows have a label and a group, such as a digit and the place of a patch in its picture. Among
    real rows some groups go with some labels, so that a classifier may learn the group in the
    label's place; then it fails where they do not go together. The generator is normal: the mean
    of a row is that of its label plus that of its group, the covariance that of all rows (least
    squares, in closed form), so that it can make what is hardly ever seen. With `balanced` it makes
    as many rows of each label in each group. At temperature c its covariance is multiplied by c.

    - `accuracy`: share of the test rows whose label the classifier gives.
    - `worst_group_accuracy`: that among rows of one label and one group, where it is least.
    - `nll`: mean negative log-probability of the labels of test rows.
    - `train_loss`: that of the rows of all training steps.
    - `failed_step`: the first training step that was left out since its loss was no finite number;
        0 for none.

    Truth, without `data`: two labels and two groups. Columns are normal with variance 1 around
    `+-core` by the label in column 0, around `+-spurious` by the group in column 1, and around 0 in
    others; group and label are the same with probability `agreement`. Test rows are as many of each
    label in each group.

    Args:
        n_samples: rows per generation. Default 500, with `data` all training rows.
        dim: columns (taken from `data` where given). Default 2.
        agreement: how often real rows are in the group of their label.
        core: how far apart labels are.
        spurious: how far apart groups are.
        balanced: whether generated rows are as many of each label in each group; else as many as
            in what the generator was fitted to.
        steps: training steps of a generation.
        batch_size: rows of a step.
        learning_rate: of Adam.
        width: units of each hidden layer of the classifier (SiLU).
        depth: its hidden layers; none for a linear one.
        n_test: test rows (with `data` those that it says).
        data: `(X, y, group)` with `X` `[rows, columns]`, labels and groups `[rows]` of any kind,
            each two different ones or more; or two of these, training rows and test rows, such as
            balanced ones. Generation 1 draws `n_samples` of the training rows without replacement.
        test_fraction: share of the rows of `data` that is kept for tests where it has none.
        split_seed: seed of the split of `data` into training and test rows.

    Raises:
        ValueError: for arguments outside these ranges, and for labels or groups that training rows
            do not have (`TypeError` for those of another type).

    Source:
        Qraitem, Saenko & Plummer, arXiv 2308.04553 (two phases, balanced generated rows).

    Example:
        >>> import collapse_jax as cj
        >>> loop = cj.Workflow(cj.Real(keep=None), fit=cj.Fit(phases=("synthetic", "real")))
        >>> task = cj.GroupClassifier(steps=100)
        >>> ds = cj.simulate(loop, task, n_generations=2, seeds=4, progress=False)
        >>> worst = ds.worst_group_accuracy.mean("seed")
        >>> bool(worst[1] > worst[0])
        True
    """

    n_samples: int
    agreement: Any
    core: Any
    spurious: Any
    learning_rate: Any
    origin: np.ndarray | Array  # the user's rows are origin + unit * rows
    unit: np.ndarray | Array
    train: Any
    test: Any
    dim: int = eqx.field(static=True)
    n_labels: int = eqx.field(static=True)
    n_groups: int = eqx.field(static=True)
    outcomes: tuple[str, ...] | None = eqx.field(static=True)
    """Names of the labels, in their order, where they are of the user's own."""
    balanced: bool = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)
    n_test: int = eqx.field(static=True)
    test_fraction: float = eqx.field(static=True)
    split_seed: int = eqx.field(static=True)

    takes_temperature: ClassVar[bool] = True
    extrapolates: ClassVar[bool] = False

    variables: ClassVar[dict[str, Variable]] = {
        "accuracy": Variable("share of test rows whose label is right", "1"),
        "worst_group_accuracy": Variable("the least of those of a label in a group", "1"),
        "nll": Variable("negative log-likelihood of test labels", "nat"),
        **{name: LEARNING[name] for name in ("train_loss", "failed_step")},
    }

    def __init__(
        self,
        n_samples: int | Array | None = None,
        *,
        dim: int | None = None,
        agreement: Number = 0.95,
        core: Number = 1.0,
        spurious: Number = 2.0,
        balanced: bool = True,
        steps: int = 500,
        batch_size: int = 64,
        learning_rate: Number = 1e-2,
        width: int = 32,
        depth: int = 0,
        n_test: int = 1000,
        data: Any = None,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.agreement = checks.positive_number("agreement", agreement, zero_allowed=True)
        if not checks.is_traced(agreement) and self.agreement > 1.0:
            raise ValueError(f"agreement must be a probability, got {agreement!r}")
        self.core = checks.positive_number("core", core, zero_allowed=True)
        self.spurious = checks.positive_number("spurious", spurious, zero_allowed=True)
        self.balanced = bool(balanced)
        self.steps = checks.whole_number("steps", steps)
        self.batch_size = checks.whole_number("batch_size", batch_size)
        self.learning_rate = checks.positive_number("learning_rate", learning_rate)
        self.width = checks.whole_number("width", width)
        self.depth = checks.whole_number("depth", depth, 0)
        self.test_fraction, self.split_seed = test_fraction, split_seed
        if data is None:
            self.dim = checks.whole_number("dim", 2 if dim is None else dim, 2)
            n_samples = 500 if n_samples is None else n_samples
            self.n_samples = checks.whole_number("n_samples", n_samples)
            self.n_test = checks.whole_number("n_test", n_test, 4)
            self.n_labels = self.n_groups = 2
            self.train = self.test = self.outcomes = None
            self.origin, self.unit = np.zeros(self.dim), np.ones(self.dim)
            return
        parts = read_groups(data, test_fraction, split_seed)
        self.dim = parts.train[0].shape[1]
        if dim is not None and dim != self.dim:
            raise ValueError(f"dim must be the {self.dim} columns of data, got {dim}")
        self.n_samples = sample_size(n_samples, len(parts.train[0]))
        self.n_test = len(parts.test[0])
        self.outcomes, self.n_labels = parts.labels, len(parts.labels)
        self.n_groups = parts.n_groups
        x = parts.train[0]
        self.origin, deviation = spread_of(x)
        self.unit = np.where(deviation > 0.0, deviation, 1.0)
        self.train, self.test = (
            GroupedRows(
                jnp.asarray((x - self.origin) / self.unit, jnp.float32),
                jnp.asarray(label, jnp.int32),
                jnp.asarray(group, jnp.int32),
            )
            for x, label, group in (parts.train, parts.test)
        )

    @property
    def population(self) -> int | None:
        return None if self.train is None else len(self.train.x)

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> GroupedRows:
        if self.test is not None:
            return self.test
        cell = jnp.arange(self.n_test) % 4  # as many of each
        return self._truth(key, cell // 2, cell % 2)

    def real(
        self, world: GroupedRows, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> GroupedRows:
        if self.train is not None:
            return jax.tree.map(lambda part: part[index], self.train)
        label, same = draws.to_uniform(threefry.words(jax.random.fold_in(key, 1), (2, n)))
        label = (label < 0.5).astype(jnp.int32)
        group = jnp.where(same < self.agreement, label, 1 - label)
        return self._truth(key, label, group)

    def _truth(
        self, key: Key[Array, ""], label: Int[Array, " n"], group: Int[Array, " n"]
    ) -> GroupedRows:
        x = draws.normal(key, (len(label), self.dim))
        means = jnp.stack([self.core * (2 * label - 1), self.spurious * (2 * group - 1)], axis=1)
        x = x.at[:, :2].add(means.astype(jnp.float32))
        return GroupedRows(x, label, group)

    def parameters(self, key: Key[Array, ""]) -> Grouped:
        """A new classifier, and a generator that is fitted before the first step."""
        made = networks.perceptron(self.dim, self.n_labels, self.width, self.depth)
        shapes = (self.n_labels, self.dim), (self.n_groups, self.dim), (self.dim, self.dim)
        parts = map(jnp.zeros, (*shapes, (self.n_labels, self.n_groups)))
        return Grouped(networks.fresh(made, key), Generator(*parts))

    def begin(self, world: GroupedRows, data: Data) -> Training:
        training = super().begin(world, data)
        model = training.model._replace(generator=self._generator(data.rows, data.weight))
        return training._replace(model=model)

    def _generator(self, rows: GroupedRows, weight: Float[Array, " n"]) -> Generator:
        """Least squares of rows on their labels and groups, each row with its weight."""
        label = jax.nn.one_hot(rows.label, self.n_labels)
        group = jax.nn.one_hot(rows.group, self.n_groups)
        design = jnp.concatenate([label, group[:, 1:]], axis=1)
        weighed = weight[:, None] * design
        squares = weighed.T @ design + _RIDGE * jnp.eye(design.shape[1])
        inverse = linalg.triangular_inverse(linalg.cholesky(squares))
        means = inverse.T @ (inverse @ (weighed.T @ rows.x))
        apart = rows.x - design @ means
        size, n = jnp.sum(weight), design.shape[1]
        covariance = apart.T @ (weight[:, None] * apart) / jnp.maximum(size - n, 1.0)
        return Generator(
            means[: self.n_labels],
            jnp.pad(means[self.n_labels :], ((1, 0), (0, 0))),
            linalg.cholesky(covariance),
            (weight[:, None] * label).T @ group / jnp.maximum(size, 1.0),
        )

    def loss(
        self, world: GroupedRows, model: Grouped, rows: GroupedRows, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        return jnp.mean(_surprise(self._log_odds(model, rows.x), rows.label))

    def _log_odds(self, model: Grouped, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        return jax.nn.log_softmax(jax.vmap(model.network)(x), axis=1)

    def sample(
        self,
        world: GroupedRows,
        model: Grouped,
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> GroupedRows:
        generator = model.generator
        cell_key, key = jax.random.split(key)
        drawn = threefry.words(cell_key, (2, n))
        if self.balanced:
            cell = draws.to_integers(drawn, self.n_labels * self.n_groups)
        else:
            ends = jnp.cumsum(generator.shares.ravel())
            cell = jnp.searchsorted(ends, draws.to_uniform(drawn[0]) * ends[-1], side="right")
            cell = jnp.minimum(cell, len(ends) - 1).astype(jnp.int32)
        label, group = cell // self.n_groups, cell % self.n_groups
        noise = draws.normal(key, (n, self.dim)) @ generator.root.T
        if temperature is not None:
            noise = noise * jnp.sqrt(temperature)
        return GroupedRows(generator.means[label] + generator.shifts[group] + noise, label, group)

    def held_out(self, world: GroupedRows, key: Key[Array, ""]) -> GroupedRows:
        return world

    def spaced(self, rows: GroupedRows) -> Float[Array, "n d"]:
        return rows.x

    def shown(self, world: GroupedRows, rows: GroupedRows) -> tuple[Array, Array]:
        x = jnp.asarray(self.origin, jnp.float32) + jnp.asarray(self.unit, jnp.float32) * rows.x
        return x, rows.label

    def seen(
        self, world: GroupedRows, model: Grouped, rows: GroupedRows
    ) -> dict[str, AbstractView]:
        def odds(x: Any) -> Any:
            return self._log_odds(self.whole(model), x).T

        if self.dim == 2:
            return seen.regions(rows.x, rows.label, odds)
        return seen.certainties(odds(world.x), world.label)

    def measure(self, world: GroupedRows, model: Grouped) -> dict[str, Float[Array, ""]]:
        odds = self._log_odds(self.whole(model), world.x)
        right = (jnp.argmax(odds, axis=1) == world.label).astype(jnp.float32)
        cell = jnp.zeros((2, self.n_labels, self.n_groups))
        cell = cell.at[:, world.label, world.group].add(jnp.stack([jnp.ones_like(right), right]))
        shares = jnp.where(cell[0] > 0.0, cell[1] / jnp.maximum(cell[0], 1.0), jnp.inf)
        return {
            "accuracy": jnp.mean(right),
            "worst_group_accuracy": jnp.min(shares),
            "nll": jnp.mean(_surprise(odds, world.label)),
        }


def _surprise(odds: Float[Array, "n k"], label: Int[Array, " n"]) -> Float[Array, " n"]:
    return -jnp.take_along_axis(odds, label[:, None], axis=1)[:, 0]
