"""Kernel density estimation: a model is its training set, sampling is a smoothed bootstrap."""

import math
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import Number, Table
from collapse_jax.numerics import draws, kernels, threefry
from collapse_jax.numerics.kernels import KernelSums, block_size
from collapse_jax.tasks.base import AbstractTask, Data, Size, Variable
from collapse_jax.tasks.parts import support, toys
from collapse_jax.tasks.parts.bandwidths import Bandwidth, Spread, lost
from collapse_jax.tasks.parts.tables import sample_size, split
from collapse_jax.tasks.places import Places

KERNELS = ("gaussian", "tophat")
_TAIL = 0.05  # share of the real rows, those in the sparsest regions
_REACH = 0.99  # share of the real rows that have another one within the radius
_ROUNDING = 1e-5  # relative, of distances between whole numbers, which are all the same
_FAINT = 0.1  # density of a covered row, in test rows per ball of that radius


class KernelWorld(NamedTuple):
    """The held-out real rows, and the centres of the modes that real rows are drawn from."""

    test: Float[Array, "m d"]
    centers: Float[Array, "k 2"]
    spacing: Float[Array, " m"]
    """Distance of each test row to the nearest different one."""
    probe_key: Key[Array, ""]


_VARIABLES = {
    "nll": Variable("negative log-density of held-out real data under the model", "nat"),
    "variance_ratio": Variable("variance of generated data relative to real data", "1"),
    "tail_coverage": Variable("share of the real tails that the model covers", "1"),
    "hallucinated": Variable("share of generated data outside the real data's support", "1"),
    "entangled": Variable("share of generated data between two modes", "1"),
}


class KernelModel(NamedTuple):
    """A kernel density, together with its values at the test rows."""

    rows: Float[Array, "n d"]
    places: Places
    bandwidth: Float[Array, ""]
    sums: KernelSums


class KernelDensity(AbstractTask):
    """A kernel density with a Gaussian or a tophat kernel.

    The statistic of a data set is its sum of kernels at each test row. With a fixed bandwidth these
    sums add up, so under Accumulate a generation evaluates only its own new rows: O(n_samples) and
    not O(t * n_samples).

    Besides the likelihood there are, where they are named in `metrics`, measures of what is lost
    and what is added, by 64 rows that each model generates, and by the radius within which 99 % of
    the test rows have another one, not at the same place:

    - `variance_ratio`: variance of the generated rows, relative to that of the test rows.
    - `tail_coverage`: share of the tails, the 5 % of test rows farthest from any other, at which
        the model's density is at least a tenth of one test row per ball of the radius.
    - `hallucinated`: share of generated rows without a test row within the radius.
    - `entangled`: share of generated rows that are not at least twice as near to one mode (blob,
        circle, half-moon) as to any other; not for data without known modes.

    Args:
        dataset: `"blobs"`, `"circles"`, `"moons"`, `"swiss_roll"`; modes in a `"ring"` or `"grid"`.
        n_samples: rows per generation. Default 100, with `data` all training rows.
        bandwidth: a positive number in units of the data; scikit-learn's rule `"scott"` or
            `"silverman"`, which depends on the size of the training set and the dimension only; or
            `"scott*spread"`, `"silverman*spread"` or for instance `"0.5*spread"`, which are scaled
            by the spread of each generation's training set, the root of the mean of its columns'
            variances (of divisor n - 1). In one dimension that is `scipy.stats.gaussian_kde`, which
            in more has kernels of the shape of the covariance, and these are round. A chain whose
            spread has fallen below a millionth of its distance from the data's mean, where single
            precision tells no rows apart, is lost: its `nll` is infinite from then on.
        kernel: `"gaussian"` or `"tophat"`.
        n_test: size of the held-out real test set, at least 2 (with `data` its test rows).
        noise: standard deviation of the data set's noise (blobs have their own).
        shared_centers: whether training and test blobs have the same centres. The published code
            draws them independently, so that its blobs curves measure the distance of two unrelated
            mixtures; `False` reproduces that.
        data: rows of real data `[rows, dim]` instead of a data set. Generation 1 draws `n_samples`
            of its training rows without replacement.
        test_fraction: share of the rows of `data` that is kept for tests.
        split_seed: seed of the split of `data` into training and test rows.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        arXiv 2410.16713, section 2.2.

    Example:
        >>> import collapse_jax as cj
        >>> cj.KernelDensity("moons", n_samples=50, bandwidth=0.1).dim
        2
    """

    n_samples: int
    noise: Any
    smoothing: Bandwidth
    log_unit: np.ndarray | Array
    """An array, so that the fingerprint of the user's data tells units apart. `[1]`"""
    origin: Any  # the user's rows are origin + unit * rows
    unit: Any
    train: Array | None
    test: Array | None
    modes: toys.Modes | None
    dim: int = eqx.field(static=True)
    dataset: str = eqx.field(static=True)
    kernel: str = eqx.field(static=True)
    n_test: int = eqx.field(static=True)
    shared_centers: bool = eqx.field(static=True)
    test_fraction: float = eqx.field(static=True)
    split_seed: int = eqx.field(static=True)

    on_request: ClassVar[tuple[str, ...]] = (
        "variance_ratio",
        "tail_coverage",
        "hallucinated",
        "entangled",
    )

    @property
    def variables(self) -> dict[str, Variable]:  # pyright: ignore[reportIncompatibleVariableOverride]
        has_modes = self.modes is not None
        return {name: v for name, v in _VARIABLES.items() if has_modes or name != "entangled"}

    def __init__(
        self,
        dataset: Annotated[str, "{blobs,circles,moons,swiss_roll,ring,grid}"] = "moons",
        n_samples: int | Array | None = None,
        *,
        bandwidth: Annotated[
            Any, "FLOAT|FLOAT*spread|{scott,silverman,scott*spread,silverman*spread}"
        ] = 0.1,
        kernel: Literal["gaussian", "tophat"] = "gaussian",
        n_test: int = 500,
        noise: Number = 0.05,
        shared_centers: bool = True,
        data: Table = None,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.dataset = checks.one_of("dataset", dataset, toys.DIMENSIONS)
        self.kernel = checks.one_of("kernel", kernel, KERNELS)
        smoothing = Bandwidth.read(bandwidth)
        self.noise = checks.positive_number("noise", noise, zero_allowed=True)
        self.shared_centers = bool(shared_centers)
        self.test_fraction, self.split_seed = test_fraction, split_seed
        least = 2 if smoothing.of_spread else 1
        if data is None:
            self.dim, self.modes = toys.DIMENSIONS[dataset], toys.modes_of(dataset)
            n_samples = 100 if n_samples is None else n_samples
            self.n_samples = checks.whole_number("n_samples", n_samples, least)
            self.n_test = checks.whole_number("n_test", n_test, 2)
            self.log_unit, self.train, self.test = np.zeros(1), None, None
            self.origin, self.unit = 0.0, 1.0
            self.smoothing = smoothing.scaled(0, toys.spread(self.noise))
        else:
            rows = checks.finite_array("data", data, ndim=2)
            made = support.centred(rows, split(rows, test_fraction, split_seed))
            self.dim, self.modes = rows.shape[1], None
            self.n_samples = sample_size(n_samples, len(made.train), least)
            self.n_test = len(made.test)
            self.log_unit = np.array([made.exponent * math.log(2.0)])
            self.origin, self.unit = made.origin, np.exp2(float(made.exponent))
            self.smoothing = smoothing.scaled(made.exponent, 1.0)
            self.train, self.test = (jnp.asarray(part, jnp.float32) for part in made[:2])

    def prepared(self) -> "KernelDensity":
        return toys.unnamed(self)

    @property
    def bandwidth(self) -> Any:
        """The bandwidth in units of the data, or the name of its rule."""
        return self.smoothing.written(round(float(self.log_unit[0]) / math.log(2.0)))

    @property
    def row_unit(self) -> Any:
        return self.unit

    @property
    def population(self) -> int | None:
        return None if self.train is None else len(self.train)

    @property
    def scratch_bytes(self) -> int:
        return 4 * block_size(self.n_samples) * self.n_samples

    def additive(self, grows: bool) -> bool:
        return not (grows and self.smoothing.of_size)

    def world(self, key: Key[Array, ""], rows: bool, index: Any) -> KernelWorld:
        # All keys in one call: calls, not draws, are what takes long to compile.
        keys = jax.random.split(key, 4)
        centers = toys.draw_centers(self.modes, keys[0])
        test = self.test
        if test is None:
            own = centers if self.shared_centers else toys.draw_centers(self.modes, keys[2])
            test = toys.draw(self.modes, keys[1], self.n_test, self.noise, own)
        return KernelWorld(test, centers, support.spacing(test), keys[3])

    def merge(
        self,
        world: KernelWorld,
        parts: tuple[KernelSums | Spread, KernelSums | Spread],
        scales: Float[Array, "2"] | None,
    ) -> KernelSums | Spread:
        first, second = parts
        return first.merge(second, scales)  # pyright: ignore[reportArgumentType]

    def real(
        self, world: KernelWorld, key: Key[Array, ""], n: int, *, size: Any, index: Any
    ) -> Float[Array, "n d"]:
        if self.train is not None:
            return self.train[index]
        return toys.draw(self.modes, key, n, self.noise, world.centers, size)

    def held_out(self, world: KernelWorld, key: Key[Array, ""]) -> Float[Array, "m d"]:
        return world.test

    def shown(self, world: Any, rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return jnp.asarray(self.origin, jnp.float32) + self.unit * rows

    def sample(
        self,
        world: KernelWorld,
        model: KernelModel,
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Any,
    ) -> Float[Array, "n d"]:
        return self._generate(model, key, n)

    def _generate(self, model: KernelModel, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        pairs = -(-self.dim * n // 2)
        drawn = threefry.words(key, (3 * n + 2 * pairs,))  # one call: it compiles once
        index = model.places.draw(drawn[: 2 * n].reshape(2, n), threefry.fold_in(key, 1))
        normals = draws.to_normals(drawn[3 * n :].reshape(2, pairs))
        noise = normals[: self.dim * n].reshape(self.dim, n).T
        if self.kernel == "tophat":  # uniform in the unit ball
            radius = draws.to_uniform(drawn[2 * n : 3 * n, None])
            length = jnp.linalg.norm(noise, axis=1, keepdims=True)
            noise = noise / length * radius ** (1.0 / self.dim)
        return model.rows[index] + model.bandwidth * noise

    def log_density(
        self, world: KernelWorld, model: KernelModel, rows: Float[Array, "m d"]
    ) -> Float[Array, " m"]:
        weights = model.places.weights(len(model.rows))
        return kernels.log_density(rows, model.rows, weights, model.bandwidth, self.kernel)

    def summarise(
        self,
        world: KernelWorld,
        rows: Float[Array, "n d"],
        valid: Bool[Array, " n"] | None,
        *,
        size: Size,
    ) -> KernelSums | Spread:
        if self.smoothing.of_spread:
            return Spread.of_rows(rows, valid)
        bandwidth = self.smoothing.of(size, self.dim)
        return KernelSums.of_rows(world.test, rows, valid, bandwidth, self.kernel)

    def fit(self, world: KernelWorld, data: Data) -> KernelModel:
        if not self.smoothing.of_spread:
            bandwidth = self.smoothing.of(data.size, self.dim)
            return KernelModel(data.rows, data.places, bandwidth, data.statistic)
        bandwidth = self.smoothing.of(data.size, self.dim, data.statistic)
        return KernelModel(data.rows, data.places, bandwidth, self._sums(world, data, bandwidth))

    def _sums(self, world: KernelWorld, data: Data, bandwidth: Float[Array, ""]) -> KernelSums:
        """Sums over the whole training set, whose spread has to be known before."""
        places, number = data.places, jnp.arange(len(data.rows))
        rows = data.rows[places.rows(jnp.minimum(number, places.total - 1))]
        kept, real = number < places.total, number < places.real_size

        def sums(valid):
            parts = (rows, valid, bandwidth, self.kernel)
            return KernelSums.of_many(world.test, *parts, at_a_time=self.n_samples)

        if places.real_weight is None:
            return sums(kept)
        weights = jnp.stack([places.real_weight, 1.0 - places.real_weight])
        sizes = jnp.stack([places.real_size, places.synthetic_size])
        return sums(real).merge(sums(kept & ~real), weights / jnp.maximum(sizes, 1))

    def measure(self, world: KernelWorld, model: KernelModel) -> dict[str, Float[Array, ""]]:
        log_ball = 0.5 * self.dim * math.log(math.pi) - math.lgamma(0.5 * self.dim + 1.0)
        volume = 0.5 * self.dim * math.log(2.0 * math.pi) if self.kernel == "gaussian" else log_ball
        log_norm = volume + self.dim * jnp.log(model.bandwidth) + model.sums.log_weight
        log_density = model.sums.log_sums - log_norm
        radius, sparse = jnp.quantile(world.spacing, jnp.array([_REACH, 1.0 - _TAIL]))
        within = log_density + log_ball + self.dim * jnp.log(radius) + math.log(self.n_test)
        in_tail = world.spacing >= (1.0 - _ROUNDING) * sparse
        covered = in_tail & (within >= math.log(_FAINT))

        # The same random numbers in all generations, so that these differ by their models alone.
        probes = self._generate(model, world.probe_key, support.PROBES)
        mode = toys.mode_of(self.modes, len(world.test))
        distance = support.distances(probes, world.test, mode)
        nll = self.dim * self.log_unit[0] - jnp.mean(log_density)
        if self.smoothing.of_spread:
            nll = jnp.where(lost(model.bandwidth), jnp.inf, nll)
        metrics = {
            "nll": nll,
            "variance_ratio": support.variance(probes) / support.variance(world.test),
            "tail_coverage": jnp.sum(covered) / jnp.sum(in_tail),
            "hallucinated": jnp.mean(distance[:, 0] > radius),
        }
        if self.modes is not None:
            metrics["entangled"] = jnp.mean(distance[:, 1] < 2.0 * distance[:, 0])
        return metrics
