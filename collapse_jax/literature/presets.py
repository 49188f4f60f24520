"""Loops of papers that have numbers of their own, as functions; see `bibliography`."""

from collections.abc import Callable
from typing import Any

from collapse_jax.loop.ecosystems.description import Ecosystem
from collapse_jax.loop.workflow import Fit, Mixed, Real, Synthetic, Workflow


def fresh_share(n: int, share: Callable[[int], float]) -> Workflow:
    """A share of each generation's n rows is real and new, the others are the newest model's.

    Args:
        n: rows that a generation is fitted to; those of generation 1 are all real.
        share: of generation t = 2, 3, ...

    Source:
        Fu et al., arXiv 2502.18865.

    Example:
        >>> print(fresh_share(100, lambda t: 1 / t).plan(4, 100).real_size)
        [100  50  33  25]
    """

    def real(t: int) -> int:
        return n if t == 1 else min(max(1, round(share(t) * n)), n - 1)

    return Workflow(Real(n=real, every=True), Synthetic(n=lambda t: n - real(t + 1)))


def rows_that_stay(n: int, share: float) -> Workflow:
    """Every generation adds n rows, a share of them real, and all rows stay.

    Args:
        n: rows that each generation adds; those of generation 1 are all real.
        share: from generation 2 on, above 0 and below 1.

    Source:
        Wang, Niu & Li, arXiv 2602.16065.

    Example:
        >>> plan = rows_that_stay(100, 0.25).plan(3, 100)
        >>> print(plan.n_train, plan.real_size)
        [100 200 300] [100 125 150]
    """
    real = min(max(1, round(share * n)), n - 1)
    return Workflow(
        Real(n=lambda t: n if t == 1 else real, every=True, keep=None),
        Synthetic(n=n - real, keep=None),
    )


def corrected(strength: float) -> Workflow:
    """Rows are corrected towards the truth: one in 1 + 1/strength is a row of the truth.

    Args:
        strength: gamma of the paper, 0 or more.

    Source:
        Gillman et al., arXiv 2402.07087.

    Example:
        >>> corrected(1.0).synthetic.of
        Mixed(truth_share=0.5)
    """
    return Workflow(synthetic=Synthetic(of=Mixed(strength / (1.0 + strength))))


def growing(n: int, power: float) -> Workflow:
    """Each generation is fitted to the newest batch alone, n t^power rows in generation t.

    Args:
        n: rows of generation 1.
        power: 0 is Replace.

    Source:
        Xu et al., arXiv 2505.13947.

    Example:
        >>> print(growing(10, 2.0).plan(4, 10).n_train)
        [ 10  40  90 160]
    """
    return Workflow(Real(n=n), Synthetic(n=lambda t: round(n * (t + 1) ** power)))


def doubling(n: int) -> Workflow:
    """All rows stay, and each model labels all of them once more.

    Args:
        n: real rows.

    Source:
        What the code published with Dey & Donoho, arXiv 2410.22812, does with image features.

    Example:
        >>> print(doubling(10).plan(4, 10).n_train)
        [10 20 40 80]
    """
    return Workflow(Real(n=n, keep=None), Synthetic(n=lambda t: n * 2 ** (t - 1), keep=None))


def itself(outcome: Any) -> Any:
    """The reward of an outcome that is its number."""
    return 1.0 * outcome


def agreement(x: Any, y: Any) -> Any:
    """Minus the distance of a label from that of a verifier whose coefficients are all 1."""
    return -abs(y - x.sum())


def all_of_all(workflow: Workflow, n_models: int) -> Ecosystem:
    """Several models, each of which is fitted to rows of all in equal parts.

    Args:
        workflow: the loop of each.
        n_models: how many.

    Source:
        Vu, Reeves & Wenger, arXiv 2505.21677.

    Example:
        >>> all_of_all(Workflow(), 2).mixing
        ((0.5, 0.5), (0.5, 0.5))
    """
    return Ecosystem(workflow, [[1.0 / n_models] * n_models] * n_models)


def in_phases(parts: int) -> Workflow:
    """Steps on generated rows, and after them on the real ones; in all steps on both for 0 parts.

    Args:
        parts: how often as many steps as the real rows have.

    Source:
        Qraitem, Saenko & Plummer, arXiv 2308.04553.

    Example:
        >>> in_phases(2).fit.phases
        ('synthetic', 'synthetic', 'real')
    """
    phases = (*("synthetic",) * parts, "real") if parts else ()
    return Workflow(Real(keep=None), fit=Fit(phases=phases))
