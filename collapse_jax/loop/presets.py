"""The loops of the literature by name, each a composition of two streams and a fit."""

from collections.abc import Callable

from collapse_jax.loop.workflow import Fit, Real, Synthetic, Workflow


def Replace() -> Workflow:
    """Each generation is trained on the newest synthetic data alone.

    Generation 1 is fitted to `n_samples` real rows, generation `t` to `n_samples` rows that model
    `t - 1` generated. Variances shrink by about `1/n_samples` a generation: models collapse.

    Source:
        Kazdan, Schaeffer et al., arXiv 2410.16713, section 2.

    Example:
        >>> print(Replace() == Workflow(), Replace().plan(3, 10).n_train)
        True [10 10 10]
    """
    return Workflow()


def Accumulate() -> Workflow:
    """Each generation is trained on all real and synthetic data so far.

    Generation `t` is fitted to `t * n_samples` rows, of which `n_samples` are real. The error stays
    below pi^2/6 times that of generation 1, asymptotically.

    Source:
        arXiv 2410.16713, section 2; Gerstgrasser et al., arXiv 2404.01413.

    Example:
        >>> print(Accumulate().plan(3, 10).n_train)
        [10 20 30]
    """
    return Workflow(Real(keep=None), Synthetic(keep=None))


def AccumulateSubsample() -> Workflow:
    """Data accumulate, but each generation is trained on `n_samples` random rows of them.

    A fresh uniform subset without replacement each generation, so the cost of a fit stays constant.
    The error rises slowly to a plateau, pi^2/2 - 2 = 2.93 times that of generation 1
    asymptotically.

    Source:
        arXiv 2410.16713, section 3.

    Example:
        >>> print(AccumulateSubsample().plan(3, 10).n_train)
        [10 10 10]
    """
    return Workflow(Real(keep=None), Synthetic(keep=None), Fit(n="batch"))


PRESETS: dict[str, Callable[[], Workflow]] = {
    "Replace": Replace,
    "Accumulate": Accumulate,
    "AccumulateSubsample": AccumulateSubsample,
}


def name_of(workflow: Workflow) -> str | None:
    """The name under which a workflow is known, if it is one of the presets.

    Example:
        >>> name_of(Workflow(Real(keep=None), Synthetic(keep=None)))
        'Accumulate'
    """
    return next((name for name, make in PRESETS.items() if make() == workflow), None)
