"""The published procedure as plain NumPy and scikit-learn loops, one chain at a time.

These loops have two uses: the package is timed against them, and tests compare the package with
them. They follow arXiv 2410.16713 and its published code step by step: every row is drawn, kept and
fitted again, with the library call that the authors chose. They depart from it in two places:

* Linear regression is solved by `lstsq` instead of `pinv`. The solution is the same (the one of
  minimum norm), it comes sooner, and its cut-off for small singular values also holds for stacked
  copies of a design matrix with fewer rows than columns, where that of `pinv` is too small.
* The test set of "blobs" has the centres of the training set; the authors draw new ones.

Each function runs one chain and returns one array of shape `[n_generations]` per metric. Entry
`t - 1` describes the fit of generation `t`; generation 1 is fitted to real data only. Arithmetic is
float64 throughout.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.datasets import make_blobs, make_circles, make_moons, make_swiss_roll
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity

Workflow = Literal["replace", "accumulate", "accumulate-subsample"]
Family = Literal["poisson", "exponential"]
Dataset = Literal["blobs", "circles", "moons", "swiss_roll"]
Metrics = dict[str, NDArray[np.float64]]
Scalar = TypeVar("Scalar", bound=np.generic)

WORKFLOWS: tuple[Workflow, ...] = get_args(Workflow)
FAMILIES: tuple[Family, ...] = get_args(Family)
DATASETS: tuple[Dataset, ...] = get_args(Dataset)

_NOISE = 0.05  # standard deviation of the noise of "circles", "moons" and "swiss_roll"
_N_TEST_ROWS = 1000  # rows of the test design of the linear regression


def gaussian(
    workflow: Workflow, dim: int, n_samples: int, n_generations: int, seed: int
) -> Metrics:
    """Fit a multivariate normal distribution to its own samples, generation after generation.

    The truth is the standard normal distribution. The fit is the maximum-likelihood one: its
    covariance is the biased one (divided by the number of rows).

    Args:
        workflow: What each generation is trained on.
        dim: Dimension of the data.
        n_samples: Rows drawn by each generation.
        n_generations: Number of fits.
        seed: Seed of the chain.

    Returns:
        `squared_error_mean`, the squared Euclidean distance of the fitted mean from the truth;
        `trace_ratio`, the trace of the fitted covariance over that of the truth; `log_det_ratio`,
        the log-determinant of the fitted covariance minus that of the truth. The last is -inf in
        every generation if `n_samples <= dim` (all rows lie in a proper subspace), and of no value
        once rounding hides the smallest variance: at 1e-15 of the largest one (10 generations of
        "replace" with 31 dimensions and 32 rows), or at 1e-30 of the squared mean.

    Raises:
        ValueError: If `workflow` is not one of `WORKFLOWS`.
    """
    _check("workflow", workflow, WORKFLOWS)
    rng = np.random.default_rng(seed)
    squared_error_mean = np.empty(n_generations)
    trace_ratio = np.empty(n_generations)
    log_det_ratio = np.empty(n_generations)

    pool = rng.multivariate_normal(np.zeros(dim), np.eye(dim), size=n_samples)
    for i in range(n_generations):
        train = pool[_select(workflow, len(pool), n_samples, rng)]
        mean = train.mean(axis=0)
        cov = np.atleast_2d(np.cov(train, rowvar=False, bias=True))  # np.cov is 0-d if dim is 1

        squared_error_mean[i] = np.sum(mean**2)
        trace_ratio[i] = np.trace(cov) / dim
        log_det_ratio[i] = np.linalg.slogdet(cov)[1] if n_samples > dim else -np.inf

        pool = _retain(workflow, pool, rng.multivariate_normal(mean, cov, size=n_samples))
    return {
        "squared_error_mean": squared_error_mean,
        "trace_ratio": trace_ratio,
        "log_det_ratio": log_det_ratio,
    }


def kernel_density(
    workflow: Workflow,
    dataset: Dataset,
    bandwidth: float | Literal["scott", "silverman"],
    n_samples: int,
    n_generations: int,
    seed: int,
    n_test: int = 500,
) -> Metrics:
    """Fit a Gaussian kernel density estimate to its own samples, generation after generation.

    Args:
        workflow: What each generation is trained on.
        dataset: Name of the scikit-learn generator of the real data, with noise of standard
            deviation 0.05; "blobs" has three centres, drawn once per chain. The rows of a set are
            not independent, except for "swiss_roll": the points of "moons" and "circles" are
            evenly spaced before the noise, and the blobs have equal numbers of rows.
        bandwidth: Standard deviation of the kernel, or scikit-learn's rule that derives one from
            the number of rows and the dimension, not from the spread of the data.
        n_samples: Rows drawn by each generation.
        n_generations: Number of fits.
        seed: Seed of the chain.
        n_test: Rows of real data held out to measure the fit.

    Returns:
        `nll`, the mean negative log-density of the held-out rows (nats).

    Raises:
        ValueError: If `workflow` is not one of `WORKFLOWS`, or `dataset` not one of `DATASETS`.
    """
    _check("workflow", workflow, WORKFLOWS)
    _check("dataset", dataset, DATASETS)
    rng = np.random.default_rng(seed)
    legacy_rng = np.random.RandomState(rng.bit_generator)  # the same stream, as sklearn wants it
    nll = np.empty(n_generations)

    centres = rng.uniform(-10.0, 10.0, size=(3, 2))  # of "blobs", as make_blobs draws them
    pool = _real_rows(dataset, n_samples, centres, legacy_rng)
    test = _real_rows(dataset, n_test, centres, legacy_rng)
    kde = KernelDensity(bandwidth=bandwidth)  # pyright: ignore[reportArgumentType]
    for i in range(n_generations):
        kde.fit(pool[_select(workflow, len(pool), n_samples, rng)])

        nll[i] = -np.mean(kde.score_samples(test))

        pool = _retain(workflow, pool, np.asarray(kde.sample(n_samples, random_state=legacy_rng)))
    return {"nll": nll}


def linear_regression(
    workflow: Workflow, dim: int, n_samples: int, noise: float, n_generations: int, seed: int
) -> Metrics:
    """Fit a linear regression to its own noisy predictions, generation after generation.

    The true weights, the rows of the design matrix and the test rows are standard normal. Every
    generation labels the same design matrix anew; what accumulates is copies of it, with labels.

    Args:
        workflow: What each generation is trained on.
        dim: Number of weights.
        n_samples: Rows of the design matrix.
        noise: Variance of the noise of the labels, real and synthetic.
        n_generations: Number of fits.
        seed: Seed of the chain.

    Returns:
        `test_error`, the mean squared error on 1,000 noiseless test rows.

    Raises:
        ValueError: If `workflow` is not one of `WORKFLOWS`.
    """
    _check("workflow", workflow, WORKFLOWS)
    rng = np.random.default_rng(seed)
    test_error = np.empty(n_generations)

    true_weights = rng.standard_normal(dim)
    design = rng.standard_normal((n_samples, dim))
    x_pool = design
    y_pool = design @ true_weights + np.sqrt(noise) * rng.standard_normal(n_samples)
    x_test = rng.standard_normal((_N_TEST_ROWS, dim))
    y_test = x_test @ true_weights
    for i in range(n_generations):
        rows = _select(workflow, len(x_pool), n_samples, rng)
        weights = np.linalg.lstsq(x_pool[rows], y_pool[rows], rcond=None)[0]

        test_error[i] = np.mean((x_test @ weights - y_test) ** 2)

        y_new = design @ weights + np.sqrt(noise) * rng.standard_normal(n_samples)
        x_pool = _retain(workflow, x_pool, design)
        y_pool = _retain(workflow, y_pool, y_new)
    return {"test_error": test_error}


def logistic_regression(
    workflow: Workflow, dim: int, n_samples: int, n_generations: int, seed: int
) -> Metrics:
    """Fit a logistic regression to labels that it drew itself, generation after generation.

    Rows are normal around the means of two classes, at a distance of 1 from the origin. Every
    generation labels the same rows anew; what accumulates is copies of them, with labels. Where the
    labels are separable the solver stops somewhere; where they are all the same, the last model
    stays.

    Args:
        workflow: What each generation is trained on.
        dim: Number of weights.
        n_samples: Rows of the design matrix.
        n_generations: Number of fits.
        seed: Seed of the chain.

    Returns:
        `squared_error` of the weights, `nll` and `accuracy` on 1,000 test rows.

    Raises:
        ValueError: If `workflow` is not one of `WORKFLOWS`.
    """
    _check("workflow", workflow, WORKFLOWS)
    rng = np.random.default_rng(seed)
    squared_error, nll, accuracy = np.empty((3, n_generations))

    mean = np.full(dim, 1.0 / np.sqrt(dim))
    x_test, y_test = _two_classes(mean, _N_TEST_ROWS, rng)
    design, y_pool = _two_classes(mean, n_samples, rng)
    x_pool, weights = design, np.zeros(dim)
    model = LogisticRegression(C=np.inf, fit_intercept=False)
    for i in range(n_generations):
        rows = _select(workflow, len(x_pool), n_samples, rng)
        if np.ptp(y_pool[rows]):
            weights = model.fit(x_pool[rows], y_pool[rows]).coef_[0]

        squared_error[i] = np.sum((weights - 2.0 * mean) ** 2)
        odds = x_test @ weights
        nll[i] = np.mean(np.logaddexp(0.0, np.where(y_test == 1, -odds, odds)))
        accuracy[i] = np.mean((odds > 0.0) == y_test)

        y_new = rng.binomial(1, expit(design @ weights))
        x_pool = _retain(workflow, x_pool, design)
        y_pool = _retain(workflow, y_pool, y_new)
    return {"squared_error": squared_error, "nll": nll, "accuracy": accuracy}


def categorical(
    workflow: Workflow, n_outcomes: int, n_samples: int, n_generations: int, seed: int
) -> Metrics:
    """Fit a categorical distribution to its own samples, generation after generation.

    The truth is uniform; the fit is the frequencies of the outcomes in the training set.

    Args:
        workflow: What each generation is trained on.
        n_outcomes: Number of outcomes.
        n_samples: Outcomes drawn by each generation.
        n_generations: Number of fits.
        seed: Seed of the chain.

    Returns:
        `entropy` (nats) and `collision`, the sum of the squared probabilities, of the fit.

    Raises:
        ValueError: If `workflow` is not one of `WORKFLOWS`.
    """
    _check("workflow", workflow, WORKFLOWS)
    rng = np.random.default_rng(seed)
    entropy = np.empty(n_generations)
    collision = np.empty(n_generations)

    pool = rng.integers(n_outcomes, size=n_samples)
    for i in range(n_generations):
        train = pool[_select(workflow, len(pool), n_samples, rng)]
        probs = np.bincount(train, minlength=n_outcomes) / len(train)

        positive = probs[probs > 0]
        entropy[i] = -np.sum(positive * np.log(positive))
        collision[i] = np.sum(probs**2)

        pool = _retain(workflow, pool, rng.choice(n_outcomes, size=n_samples, p=probs))
    return {"entropy": entropy, "collision": collision}


def exponential_family(
    workflow: Workflow, family: Family, n_samples: int, n_generations: int, seed: int
) -> Metrics:
    """Fit the mean of a one-parameter family to its own samples, generation after generation.

    The true mean is 1.

    Args:
        workflow: What each generation is trained on.
        family: What is drawn.
        n_samples: Numbers drawn by each generation.
        n_generations: Number of fits.
        seed: Seed of the chain.

    Returns:
        `squared_error` of the mean, and `extinct`, which is 1 where it is 0.

    Raises:
        ValueError: If `workflow` is not one of `WORKFLOWS`, or `family` not one of `FAMILIES`.
    """
    _check("workflow", workflow, WORKFLOWS)
    _check("family", family, FAMILIES)
    rng = np.random.default_rng(seed)
    draw = rng.poisson if family == "poisson" else rng.exponential
    squared_error, extinct = np.empty((2, n_generations))

    pool = draw(1.0, n_samples)
    for i in range(n_generations):
        mean = pool[_select(workflow, len(pool), n_samples, rng)].mean()

        squared_error[i] = (mean - 1.0) ** 2
        extinct[i] = mean == 0.0

        pool = _retain(workflow, pool, draw(mean, n_samples))
    return {"squared_error": squared_error, "extinct": extinct}


def _check(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ValueError unless the argument called `name` has an allowed value."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def _select(
    workflow: Workflow, n_pool: int, n_samples: int, rng: np.random.Generator
) -> NDArray[np.int64] | slice:
    """Choose the rows of the pool that the next fit is trained on: all, or a uniform subset."""
    if workflow == "accumulate-subsample":
        return rng.choice(n_pool, size=n_samples, replace=False)
    return slice(None)


def _retain(workflow: Workflow, pool: NDArray[Scalar], new: NDArray[Scalar]) -> NDArray[Scalar]:
    """Put the newly drawn rows in the place of the pool, or behind it."""
    return new if workflow == "replace" else np.concatenate((pool, new))


def _two_classes(
    mean: NDArray[np.float64], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw `n` rows of classes around a mean and its negative, `[n, d]`, and their labels `[n]`."""
    y = rng.integers(2, size=n)
    return np.where(y[:, None] == 1, mean, -mean) + rng.standard_normal((n, len(mean))), y


def _real_rows(
    dataset: Dataset, n: int, centres: NDArray[np.float64], rng: np.random.RandomState
) -> NDArray[np.float64]:
    """Draw `n` rows of real data, of shape `[n, 2]`, or `[n, 3]` for "swiss_roll"."""
    if dataset == "blobs":
        rows = make_blobs(n, centers=centres, random_state=rng)[0]
    elif dataset == "swiss_roll":
        rows = make_swiss_roll(n, noise=_NOISE, random_state=rng)[0]
    else:
        make = make_moons if dataset == "moons" else make_circles
        rows = make(n, noise=_NOISE, random_state=rng)[0]
    return np.asarray(rows, dtype=np.float64)
