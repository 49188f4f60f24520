"""Variational autoencoders: rows are decoded from a few normal numbers."""

import math
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from collapse_jax.basics import checks
from collapse_jax.basics.annotations import Number, Table
from collapse_jax.numerics import draws, threefry
from collapse_jax.tasks.base import Model, Variable
from collapse_jax.trained import networks
from collapse_jax.trained.base import LEARNING, AbstractGenerator, RealWorld, as_rows

_LIKELIHOODS = ("gaussian", "bernoulli")
_SAMPLES = 8  # codes by which the bound of each test row is estimated
_START = -4.0  # such noise that codes are worth their cost from the first step
_FAR = 10.0  # logarithms of variances are within so much of 0


class Coder(NamedTuple):
    """Both networks, and the noise of a row that is decoded."""

    encoder: Any
    decoder: Any
    log_variance: Float[Array, ""]
    """Of the noise of all columns; without meaning for bits."""


class Autoencoder(AbstractGenerator):
    """A variational autoencoder of points or small images.

    A row is decoded from `latent_dim` independent normal numbers by a network (SiLU), with normal
    noise of one variance that is learned, or as the probabilities of bits. Another network has mean
    and variances of the code of a row. Trained by the evidence lower bound. At temperature c code
    and noise have the variance c, and the log-odds of bits are divided by c.

    - `elbo`: evidence lower bound of the log-density, or of the log-probability of bits, of
        held-out real rows, in units of the data.
    - `variance_ratio`: variance of the rows that the model generates, over all columns, relative to
        that of the held-out ones.
    - `train_loss`: mean negative bound of the rows of all training steps.
    - `failed_step`: the first training step that was left out since its loss was no finite number;
        0 for none.

    Args:
        dataset: `"blobs"`, `"circles"`, `"moons"`, `"swiss_roll"`; modes in a `"ring"` or `"grid"`.
        n_samples: rows per generation. Default 1000, with `data` all training rows.
        latent_dim: numbers of a code.
        likelihood: `"gaussian"`; `"bernoulli"`, for data of 0 and 1. Default what the data allow.
        steps: training steps of a generation.
        batch_size: rows of a step.
        learning_rate: of Adam in the first step; it falls to 0 along a cosine.
        width: units of each hidden layer of both networks.
        depth: their hidden layers.
        noise: standard deviation of the data set's noise (blobs have their own).
        n_test: size of the held-out real test set (with `data` its test rows).
        data: points `[rows, dim]` or images `[rows, height, width]` instead of a data set.
            Generation 1 draws `n_samples` of the training rows without replacement.
        test_fraction: share of the rows of `data` that is kept for tests.
        split_seed: seed of the split of `data` into training and test rows.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        Kingma & Welling, arXiv 1312.6114; Rybkin et al., arXiv 2006.13202 (the learned variance).

    Example:
        >>> import collapse_jax as cj
        >>> cj.Autoencoder("circles", n_samples=500, latent_dim=2).likelihood
        'gaussian'
    """

    latent_dim: int = eqx.field(static=True)
    likelihood: str = eqx.field(static=True)

    variables: ClassVar[dict[str, Variable]] = {
        "elbo": Variable("evidence lower bound of held-out real data", "nat"),
        **LEARNING,
        "train_loss": Variable("mean negative evidence lower bound in training", "nat"),
    }

    def __init__(
        self,
        dataset: Annotated[str, "{blobs,circles,moons,swiss_roll,ring,grid}"] = "moons",
        n_samples: int | Array | None = None,
        *,
        latent_dim: int = 2,
        likelihood: Literal["gaussian", "bernoulli"] | None = None,
        steps: int = 1000,
        batch_size: int = 128,
        learning_rate: Number = 1e-2,
        width: int = 64,
        depth: int = 2,
        noise: Number = 0.05,
        n_test: int = 500,
        data: Table = None,
        test_fraction: float = 0.25,
        split_seed: int = 0,
    ):
        self.dataset, self.noise, self.n_test = dataset, noise, n_test
        self.test_fraction, self.split_seed = test_fraction, split_seed
        self._set_training(steps, batch_size, learning_rate, width, depth)
        self.latent_dim = checks.whole_number("latent_dim", latent_dim)
        is_bits = data is not None and bool(np.all(np.isin(as_rows(data), (0.0, 1.0))))
        if likelihood is None:
            likelihood = "bernoulli" if is_bits else "gaussian"
        self.likelihood = checks.one_of("likelihood", likelihood, _LIKELIHOODS)
        if likelihood == "bernoulli" and not is_bits:
            raise ValueError(
                "likelihood can only be 'bernoulli' for data of 0 and 1, got "
                + (f"the data set {dataset!r}" if data is None else "data with other numbers")
            )
        if data is None:
            self._set_truth(dataset, n_samples, noise, n_test)
        else:
            self._set_data(data, n_samples, standardised=likelihood == "gaussian")
            if likelihood == "bernoulli" and np.ptp(np.asarray(self.train)) == 0.0:
                raise ValueError("data must vary, and all training rows are the same number")

    def parameters(self, key: Key[Array, ""]) -> Coder:
        """Both networks, and the noise that they start with."""
        encoder = networks.perceptron(self.dim, 2 * self.latent_dim, self.width, self.depth)
        decoder = networks.perceptron(self.latent_dim, self.dim, self.width, self.depth)
        encoder, decoder = networks.fresh((encoder, decoder), key)
        return Coder(encoder, decoder, jnp.full((), _START))

    def loss(
        self, world: RealWorld, model: Coder, rows: Float[Array, "n d"], key: Key[Array, ""]
    ) -> Float[Array, ""]:
        mean, log_variance = jnp.split(jax.vmap(model.encoder)(rows), 2, axis=1)
        log_variance = _within(log_variance)
        noise = draws.normal(key, mean.shape)
        code = mean + jnp.exp(0.5 * log_variance) * noise
        away = 0.5 * jnp.sum(mean**2 + jnp.exp(log_variance) - 1.0 - log_variance, axis=1)
        decoded = jax.vmap(model.decoder)(code)
        if self.likelihood == "bernoulli":
            lost = jnp.sum(jax.nn.softplus(decoded) - rows * decoded, axis=1)
        else:
            spread = _within(model.log_variance)
            gaps = (rows - decoded) ** 2 * jnp.exp(-spread)
            lost = 0.5 * jnp.sum(gaps + spread + math.log(2.0 * math.pi), axis=1)
        return jnp.mean(lost + away) + jnp.asarray(self.log_volume, jnp.float32)[0]

    def sample(
        self,
        world: RealWorld,
        model: Model,
        key: Key[Array, ""],
        n: int,
        *,
        temperature: Float[Array, ""] | None,
    ) -> Float[Array, "n d"]:
        coder, heat = self.whole(model), 1.0 if temperature is None else temperature
        code_key, row_key = jax.random.split(key)
        code = jnp.sqrt(heat) * draws.normal(code_key, (n, self.latent_dim))
        decoded = jax.vmap(coder.decoder)(code)
        if self.likelihood == "bernoulli":
            even = draws.to_uniform(threefry.words(row_key, decoded.shape))
            return (even < jax.nn.sigmoid(decoded / heat)).astype(jnp.float32)
        deviation = jnp.exp(0.5 * _within(coder.log_variance)) * jnp.sqrt(heat)
        return decoded + deviation * draws.normal(row_key, decoded.shape)

    def measure(self, world: RealWorld, model: Model) -> dict[str, Float[Array, ""]]:
        rows = jnp.repeat(world.test, _SAMPLES, axis=0)
        return {"elbo": -self.loss(world, self.whole(model), rows, world.key)}


def _within(log_variance: Array) -> Array:
    return jnp.clip(log_variance, -_FAR, _FAR)
