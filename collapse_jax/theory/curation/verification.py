"""Labels that a verifier has seen: which are left, and where the loop then goes."""

import numpy as np
import scipy

from collapse_jax.theory._checks import FloatArray, Number, check_number, generations


def label_accuracy(accuracy: Number, right: Number, wrong: Number) -> float:
    """Share of right labels among those that are accepted.

    Args:
        accuracy: share of right labels before.
        right: probability with which a right label is accepted.
        wrong: that of a wrong one.

    Raises:
        ValueError: if a share is outside 0 to 1, or nothing is accepted.

    Source:
        Feng et al., arXiv 2406.07515, section 3.

    Example:
        >>> round(label_accuracy(0.5, 0.6, 0.3), 4)
        0.6667
    """
    p = check_number("accuracy", accuracy, 0.0, 1.0)
    phi, psi = check_number("right", right, 0.0, 1.0), check_number("wrong", wrong, 0.0, 1.0)
    accepted = p * phi + (1 - p) * psi
    if accepted == 0:
        raise ValueError(f"right and wrong must not both be 0 where it matters, got {phi}, {psi}")
    return p * phi / accepted


def critical_accuracy(right: Number, wrong: Number) -> float:
    """The accuracy above which most of the accepted labels are right: `wrong / (right + wrong)`.

    Args:
        right: probability with which a right label is accepted.
        wrong: that of a wrong one.

    Raises:
        ValueError: if both are 0, or one is outside 0 to 1.

    Source:
        arXiv 2406.07515, theorem 1.

    Example:
        >>> round(critical_accuracy(0.6, 0.3), 4)
        0.3333
    """
    phi, psi = check_number("right", right, 0.0, 1.0), check_number("wrong", wrong, 0.0, 1.0)
    if phi + psi == 0:
        raise ValueError("right and wrong must not both be 0")
    return psi / (phi + psi)


def limit_accuracy(accuracy: Number, right: Number, wrong: Number, separation: Number) -> float:
    """Accuracy of a linear classifier that is fitted to many verified rows of two normal classes.

    Args:
        accuracy: share of right labels before verification.
        right: probability with which a right label is accepted.
        wrong: that of a wrong one.
        separation: distance of a class mean from the middle, in standard deviations.

    Returns:
        `Phi(separation)`, that of the best classifier, above the critical accuracy; one minus it
        below; one half at it.

    Source:
        arXiv 2406.07515, theorem 1.

    Example:
        >>> [round(limit_accuracy(p, 0.6, 0.3, 1.5), 4) for p in (0.3, 0.4)]
        [0.0668, 0.9332]
    """
    p = check_number("accuracy", accuracy, 0.0, 1.0)
    side = np.sign(p - critical_accuracy(right, wrong))
    return float(scipy.stats.norm.cdf(side * check_number("separation", separation)))


def verified(base: Number, reach: Number, n_generations: int, *, start: Number = 0.0) -> FloatArray:
    """Error of a regression, about its verifier, whose labels are near to the verifier's.

    Labels are accepted within `reach` standard deviations of their noise from what the verifier
    predicts. Of the distance between model and verifier, and of the variance, an accepted label has
    `kappa = 1 - 2 a phi(a) / (2 Phi(a) - 1)`, so that `e[t + 1] = kappa^2 e[t] + kappa base`. To
    first order in that distance: good up to a reach of about 2.

    Args:
        base: error of a fit to labels that nobody verifies; see `theory.regression.noise_error`.
        reach: a, above 0.
        n_generations: number of generations T.
        start: squared distance of the truth from the verifier.

    Returns:
        `[generation]`; it goes to `kappa base / (1 - kappa^2)`.

    Raises:
        ValueError: if the reach is not positive.

    Source:
        After Yi et al., arXiv 2510.16657; derived here.

    Example:
        >>> print(verified(0.02, 1.0, 50)[[0, -1]].round(4))
        [0.02   0.0064]
    """
    a = check_number("reach", reach, strict=True)
    kappa = float(1 - 2 * a * scipy.stats.norm.pdf(a) / (2 * scipy.stats.norm.cdf(a) - 1))
    error = float(start) + check_number("base", base)
    errors = [error]
    for _ in generations(n_generations)[1:]:
        errors.append(kappa**2 * errors[-1] + kappa * base)
    return np.array(errors)
