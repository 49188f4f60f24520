"""Logistic regression on labels that the previous fit drew."""

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.basics import checks, fingerprints
from collapse_jax.basics.annotations import Classes, Number, Numbers
from collapse_jax.numerics import draws, threefry
from collapse_jax.numerics.softmax import FAR, best_weights, least_lead
from collapse_jax.tasks.base import AbstractTask, Data, Size, Variable
from collapse_jax.tasks.parts import seen
from collapse_jax.tasks.parts.designs import orthonormal_columns
from collapse_jax.tasks.parts.labels import (
    VARIABLES,
    Classifier,
    FreshRows,
    KnownRows,
    LabelWorld,
    checked_class_mean,
    checked_pair,
    draw_labels,
    mean_loss,
    odds_of,
    on_test_rows,
    split_labels,
)
from collapse_jax.tasks.parts.tables import sample_size
from collapse_jax.views import AbstractView


class LogisticRegression(AbstractTask):
    """Logistic regression by maximum likelihood; with more than two classes, softmax regression.

    Truth: two classes of the same size around `class_mean` and its negative, `x ~ N(+-mu, I)`, so
    that the true weights are `2 mu`, without an intercept. Each model labels rows by its own
    probabilities. Of a fixed design nothing is kept but how often each row had each label.

    Labels that weights can separate have no best fit: weights grow without end, and the next labels
    are the same for certain. Under Replace chains end there. `separable` reports it; weights stay
    finite, and where they separate all rows the least certain label has log-odds of 20. Fits start
    from the model before, which saves time and changes nothing else.

    `accuracy` and `nll` are those of real rows: expectations over the truth, or means over the test
    rows of `data`. At temperature c labels are drawn by the model's log-odds divided by c.

    Args:
        dim: number of weights (taken from `data` where given). Default 10.
        n_samples: rows per generation. Default 100, with `data` all training rows.
        class_mean: `mu`, a number for all coordinates or `[dim]`. Default of length 1.
        design: `"fixed"` uses the same rows in every generation: row j of any batch is row j modulo
            `n_samples`. `"fresh"` draws rows anew from the truth, with `data` from the training
            rows with replacement.
        penalty: l2/2 times the sum of squared weights is added to the loss, which is summed over
            rows. With `data` these are weights of standardised columns, without the intercept.
        data: `(X, y)` with `X` `[rows, columns]` and labels `y` `[rows]` of any kind, two different
            ones or more. Generation 1 fits real labels of `n_samples` training rows drawn without
            replacement. Datasets have the labels, in their order, as `outcomes` (JSON).
        fit_intercept: with `data`, add a column of ones.
        test_fraction: share of the rows of `data` that is kept for tests.
        split_seed: seed of the split of `data` into training and test rows.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        Dey & Donoho, arXiv 2410.22812 (the loops); Albert & Anderson, Biometrika 71:1, 1984
        (separable labels).

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.LogisticRegression(dim=2, n_samples=500, class_mean=[1.0, 0.0])
        >>> ds = cj.simulate(cj.Accumulate(), task, n_generations=3, seeds=20, progress=False)
        >>> print(ds.accuracy.mean().values.round(2))
        0.84
    """

    n_samples: int
    class_mean: Any
    penalty: Any
    ridge: Any
    data_digest: Any
    train_x: Any
    train_y: Any
    test_x: Any
    test_y: Any
    dim: int = eqx.field(static=True)
    design: str = eqx.field(static=True)
    fit_intercept: bool = eqx.field(static=True)
    test_fraction: float = eqx.field(static=True)
    split_seed: int = eqx.field(static=True)
    outcomes: tuple[str, ...] | None = eqx.field(static=True)
    """Names of the classes, in their order, where they are labels of the user's own."""

    takes_temperature: ClassVar[bool] = True
    has_labels: ClassVar[bool] = True
    takes_start: ClassVar[bool] = True
    starts_warm: ClassVar[bool] = True  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def variables(self) -> dict[str, Variable]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The metrics, of which `squared_error` needs true weights."""
        known = self.train_x is None
        return {name: v for name, v in VARIABLES.items() if known or name != "squared_error"}

    def __init__(
        self,
        dim: int | None = None,
        n_samples: int | Array | None = None,
        *,
        class_mean: Numbers = None,
        design: Literal["fixed", "fresh"] = "fixed",
        penalty: Number = 0.0,
        data: Classes = None,
        fit_intercept: bool = True,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.design = checks.one_of("design", design, ("fixed", "fresh"))
        self.penalty = checks.positive_number("penalty", penalty, zero_allowed=True)
        self.test_fraction, self.split_seed = test_fraction, split_seed
        self.fit_intercept = bool(fit_intercept)
        self.train_x = self.train_y = self.test_x = self.test_y = self.outcomes = None
        if data is None:
            n_samples = 100 if n_samples is None else n_samples
            self.dim = checks.whole_number("dim", 10 if dim is None else dim)
            self.class_mean = checked_class_mean(class_mean, self.dim)
            self.ridge, self.data_digest = np.ones(self.dim), None
            self.n_samples = checks.whole_number("n_samples", n_samples)
            return
        if class_mean is not None:
            raise ValueError("class_mean cannot be given together with data")
        x, labels = checked_pair(data)
        self.class_mean, self.dim = None, x.shape[1] + self.fit_intercept
        if dim is not None and dim != self.dim:
            raise ValueError(f"dim must be the {self.dim} columns of the design, got {dim}")
        self.outcomes, *parts = split_labels(x, labels, test_fraction, split_seed)
        (train, train_y), (test, test_y) = parts
        self.n_samples = sample_size(n_samples, len(train))
        self.data_digest = fingerprints.digest_array(train, train_y, test, test_y)
        columns = orthonormal_columns(train, test, self.fit_intercept)
        self.ridge = columns.squares
        self.train_x, self.test_x = (jnp.asarray(z, jnp.float32) for z in columns[:2])
        self.train_y, self.test_y = (jnp.asarray(y, jnp.int32) for y in (train_y, test_y))

    @property
    def n_classes(self) -> int:
        """How many different labels there are."""
        return 2 if self.outcomes is None else len(self.outcomes)

    @property
    def population(self) -> int | None:
        return None if self.train_x is None else len(self.train_x)

    @property
    def keeps_rows(self) -> bool:
        return not self._has_known_rows

    @property
    def scratch_bytes(self) -> int:
        if checks.is_traced(self.n_samples):
            return 2**16
        rows = self.n_samples if self.population is None else self.population
        return 4 * rows * (len(self.ridge) + 4) * (self.n_classes - 1)

    @property
    def _has_known_rows(self) -> bool:
        """Whether all rows are among those of a design or of the user's."""
        return self.design == "fixed" or self.train_x is not None

    @property
    def _mean(self) -> Float[Array, " d"]:
        return jnp.broadcast_to(jnp.asarray(self.class_mean, jnp.float32), (self.dim,))

    def additive(self, grows: bool) -> bool:
        return self._has_known_rows

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> LabelWorld:
        if self.train_x is not None:
            return LabelWorld(None, index if self.design == "fixed" else None, None)
        if self.design == "fresh":
            return LabelWorld(None, None, None)
        x, origin = self._truth_rows(key, self.n_samples)
        return LabelWorld(x, jnp.arange(self.n_samples), origin)

    def _truth_rows(self, key: Key[Array, ""], n: int) -> tuple[Array, Array]:
        """Rows of both classes, each drawn at random, and their classes."""
        drawn = threefry.words(threefry.fold_in(key, 1), (n,))
        sign = jnp.where(draws.to_uniform(drawn) < 0.5, -1.0, 1.0)
        x = sign[:, None] * self._mean + draws.normal(key, (n, self.dim))
        return x, (sign > 0.0).astype(jnp.int32)

    def _rows(self, world: LabelWorld, key: Key[Array, ""], n: int) -> tuple[Any, Any, Any]:
        """Numbers of the rows of a batch, the rows, and classes of those without numbers."""
        if world.order is not None:
            index = jnp.resize(world.order, (n,))  # again and again the same rows, in order
        elif self.train_x is not None:
            index = draws.to_integers(threefry.words(key, (2, n)), len(self.train_x))
        else:
            return None, *self._truth_rows(key, n)
        return index, self._known(world)[index], None

    def _known(self, world: LabelWorld) -> Float[Array, "r d"]:
        return world.x if self.train_x is None else self.train_x

    def real(
        self, world: LabelWorld, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> KnownRows | FreshRows:
        if self.train_x is not None:
            return KnownRows(index, self.train_y[index])
        return self._labelled(world, key, n, 2.0 * self._mean[None])

    def sample(
        self,
        world: LabelWorld,
        model: Classifier,
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> KnownRows | FreshRows:
        return self._labelled(world, key, n, self._weights(model, temperature))

    def _weights(self, model: Classifier, temperature: Any) -> Float[Array, "c d"]:
        return model.weights if temperature is None else model.weights / temperature

    def _labelled(
        self, world: LabelWorld, key: Key[Array, ""], n: int, weights: Float[Array, "c d"]
    ) -> KnownRows | FreshRows:
        index, x, origin = self._rows(world, threefry.fold_in(key, 1), n)
        labels = draw_labels(key, weights @ x.T)
        return FreshRows(x, labels, origin) if index is None else KnownRows(index, labels)

    @property
    def shows_rows(self) -> bool:
        return self.train_x is None

    def shown(self, world: LabelWorld, rows: KnownRows | FreshRows) -> tuple[Array, Array]:
        x = rows.x if isinstance(rows, FreshRows) else self._known(world)[rows.index]
        return x, rows.label

    def seen(self, world: LabelWorld, model: Classifier, rows: Any) -> dict[str, AbstractView]:
        odds = odds_of(model.weights)
        if self.test_x is not None:
            return seen.certainties(odds(self.test_x), self.test_y)
        if self.dim == 2:
            return seen.regions(*self.shown(world, rows), odds, odds_of(2.0 * self._mean[None]))
        x, origin = self._truth_rows(seen.real_key(), seen.ROWS)
        return seen.certainties(odds(x), origin)

    def is_right(self, world: LabelWorld, rows: KnownRows | FreshRows) -> Bool[Array, " n"]:
        """Whether the label is the class that the row came from."""
        if isinstance(rows, FreshRows):
            return rows.label == rows.origin
        return rows.label == (world.origin if self.train_y is None else self.train_y)[rows.index]

    def relabel(
        self,
        world: LabelWorld,
        model: Classifier,
        rows: KnownRows | FreshRows,
        key: Key[Array, ""],
        *,
        temperature: Float[Array, ""] | None,
    ) -> KnownRows | FreshRows:
        x, _ = self.shown(world, rows)
        return rows._replace(label=draw_labels(key, self._weights(model, temperature) @ x.T))

    def summarise(
        self,
        world: LabelWorld,
        rows: KnownRows | FreshRows,
        valid: Bool[Array, " n"] | None,
        *,
        size: Size,
    ) -> Any:
        if isinstance(rows, FreshRows):
            return ()
        once = 1.0 if valid is None else valid.astype(jnp.float32)
        counts = jnp.zeros((self.n_classes, len(self._known(world))))
        return counts.at[rows.label, rows.index].add(once)

    def merge(
        self, world: LabelWorld, parts: tuple[Any, Any], scales: Float[Array, "2"] | None
    ) -> Any:
        if not self._has_known_rows:
            return ()
        first, second = parts
        return first + second if scales is None else scales[0] * first + scales[1] * second

    def fit(self, world: LabelWorld, data: Data) -> Classifier:
        if self._has_known_rows:
            x, counts = self._known(world), data.statistic
            counts = counts * (data.places.total / jnp.sum(counts))  # rows weigh 1 on average
        else:
            x = data.rows.x
            counts = data.weight * jax.nn.one_hot(data.rows.label, self.n_classes, axis=0)
        fresh = Classifier(self._start(counts), jnp.zeros((), bool))
        start = data.start(lambda: fresh)
        # From weights without end no step leads back, but the same labels need none.
        usable = ~start.separable | (least_lead(start.weights @ x.T, counts) >= FAR - 1.0)
        begin = jnp.where(usable, start.weights, fresh.weights)
        ridge = jnp.asarray(self.penalty, jnp.float32) * jnp.asarray(self.ridge, jnp.float32)
        return Classifier(*best_weights(x, counts, ridge, begin))

    def _start(self, counts: Float[Array, "k r"]) -> Float[Array, "c d"]:
        """Nothing is known, but that labels which are not there have no chance."""
        weights = jnp.zeros((self.n_classes - 1, len(self.ridge)))
        if self.train_x is None or not self.fit_intercept:
            return weights
        odds = jnp.where(jnp.any(counts > 0.0, axis=1), 0.0, -FAR)
        return weights.at[:, -1].set(odds[1:] - odds[0])

    def measure(self, world: LabelWorld, model: Classifier) -> dict[str, Float[Array, ""]]:
        found = {"separable": model.separable.astype(jnp.float32)}
        if self.test_x is not None:
            return found | on_test_rows(odds_of(model.weights)(self.test_x), self.test_y)
        weights = model.weights[0]
        # Log-odds of the right label are normal.
        mean, deviation = weights @ self._mean, jnp.sqrt(jnp.sum(weights**2))
        return found | {
            "squared_error": jnp.sum((weights - 2.0 * self._mean) ** 2),
            "nll": mean_loss(mean, deviation),
            "accuracy": ndtr(mean / jnp.where(deviation > 0.0, deviation, 1.0)),
        }
