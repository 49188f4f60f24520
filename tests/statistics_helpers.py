"""Tolerances for Monte-Carlo comparisons, from the number of replicates and of comparisons."""

import numpy as np
from scipy import stats

# Chance that a correct program fails one of these assertions, whatever number it compares.
FALSE_ALARM = 1e-4


def assert_mean(samples, expected, axis=0, rounding=0.0):
    """Assert that the mean of `samples` over `axis` is `expected`, by z-tests.

    The level is divided by the number of comparisons. `rounding` is a relative error that the
    arithmetic, not the sampling, may make.
    """
    samples = np.asarray(samples, np.float64)
    n = samples.shape[axis]
    mean, error = samples.mean(axis=axis), samples.std(axis=axis, ddof=1) / np.sqrt(n)
    expected = np.broadcast_to(np.asarray(expected, np.float64), np.shape(mean))
    z = stats.norm.isf(FALSE_ALARM / (2 * max(np.size(mean), 1)))
    slack = rounding * np.abs(expected)
    excess = np.abs(mean - expected) - slack
    worst = np.argmax(excess / np.maximum(error, 1e-300))
    assert np.all(excess <= z * error + 1e-12), (
        f"comparison {worst} of {np.size(mean)}: mean {np.ravel(mean)[worst]:.6g}, expected "
        f"{np.ravel(expected)[worst]:.6g}, standard error {np.ravel(error)[worst]:.2g}, "
        f"allowed {z:.1f} of them"
    )


def assert_same_law(first, second, comparisons=1):
    """Assert that two samples come from one distribution, by the Kolmogorov-Smirnov test."""
    result = stats.ks_2samp(np.ravel(first), np.ravel(second))
    assert result.pvalue > FALSE_ALARM / comparisons, result


def assert_law(sample, cdf, comparisons=1):
    """Assert that a sample comes from the distribution with this cdf (Kolmogorov-Smirnov)."""
    result = stats.kstest(np.ravel(sample), cdf)
    assert result.pvalue > FALSE_ALARM / comparisons, result
