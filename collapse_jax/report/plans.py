"""Pictures of loops: streams, batches and fits over the generations, drawn from the plan alone."""

import itertools
import textwrap
from typing import TYPE_CHECKING, Any

from collapse_jax.basics import checks
from collapse_jax.loop.captions import caption
from collapse_jax.loop.plan import Plan
from collapse_jax.loop.workflow import Edit, Extrapolated, Mixed, Past, Workflow
from collapse_jax.report.axes import legend_columns
from collapse_jax.report.figures import STYLE
from collapse_jax.report.lanes import GREY, REAL, TRUTH, Drawing, model_shades
from collapse_jax.report.streams import batches_of

if TYPE_CHECKING:  # loaded when a figure is made, so that importing the package stays quick
    import matplotlib.figure

_PHASES = {"real": "real rows", "synthetic": "generated rows", "all": "both"}
_MOST = 12  # generations that are shown


def plot_plan(
    workflow: Workflow, n_generations: int, n_samples: int = 100
) -> "matplotlib.figure.Figure":
    """Draw a loop: which rows come when, how long they are kept, what each fit is made of.

    A bar is a batch of rows. It lies over all generations that are fitted to it and is thicker, the
    more rows it has. A generation's fit is what crosses its column. The stacked bar below shows by
    how much each batch counts in it, in the colour of the model that made the rows. Long runs are
    shown up to generation 12.

    Args:
        workflow: the loop.
        n_generations: number of generations.
        n_samples: rows of a batch where the workflow does not say; the task's `n_samples`.

    Returns:
        the figure, which belongs to no window. Colours of text and background are those of the
        current matplotlib style.

    Raises:
        TypeError: if the workflow is of another type.
        ValueError: for numbers below 1 and schedules that do not fit the number of generations.

    Example:
        >>> import collapse_jax as cj
        >>> figure = plot_plan(cj.Workflow(cj.Real(every=True), cj.Synthetic(keep=3)), 6)
        >>> figure.axes[0].get_xlabel()
        'generation'
    """
    import matplotlib

    from collapse_jax.report.pictures import Picture

    if not isinstance(workflow, Workflow):
        raise TypeError(f"workflow must be a Workflow, got {workflow!r}")
    checks.whole_number("n_generations", n_generations)
    checks.whole_number("n_samples", n_samples)
    plan = workflow.plan(n_generations, n_samples)
    shown = min(n_generations, _MOST)
    real, synthetic = batches_of(plan)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Picture(figsize=(1.5 + 0.62 * max(shown, 6), 1.0), layout="constrained")
        ax = figure.subplots()
        height = Drawing(ax, plan, shown, real, synthetic).draw()
        heading = textwrap.wrap(_heading(workflow, plan, shown), int(11 * figure.get_figwidth()))
        words = [line for text in words_of(workflow, plan) for line in _wrapped(text, figure)]
        figure.suptitle("\n".join(heading))
        ax.set_title("\n".join(words), loc="left", fontsize=8.5, pad=6)
        figure.set_figheight(height + 0.75 + 0.19 * len(heading) + 0.15 * len(words))
        _legend(figure, plan, shown)
    return figure


def _wrapped(text: str, figure: "matplotlib.figure.Figure") -> list[str]:
    return textwrap.wrap(text, int(11.5 * figure.get_figwidth()), subsequent_indent="    ")


def _heading(workflow: Workflow, plan: Plan, shown: int) -> str:
    name = caption(workflow)
    if shown == plan.n_generations:
        return name
    return f"{name}: the first {shown} of {plan.n_generations:,} generations"


def words_of(workflow: Workflow, plan: Plan) -> list[str]:
    """The loop in words: a sentence for each stream and one for the fit."""
    real, synthetic, fit = workflow.real, workflow.synthetic, workflow.fit
    when = "new rows before every generation" if real.every else "once, before generation 1"
    makers = "model t makes rows for generation t + 1"
    if isinstance(synthetic.of, Mixed):
        makers += ", some of them drawn from the truth"
    elif isinstance(synthetic.of, Past):
        last = "" if synthetic.of.last is None else f"the last {synthetic.of.last} of "
        how = "in equal parts" if synthetic.of.equally else "each from one at random"
        makers = f"before generation t + 1 they come from {last}the truth and models 1 to t, {how}"
    elif isinstance(synthetic.of, Extrapolated):
        beyond = "the scores of model t" if synthetic.of.space == "scores" else "model t"
        makers = f"for generation t + 1 they come from beyond {beyond}, seen from the model before"
    elif isinstance(synthetic.of, Edit):
        makers = "generation t + 1 sees the batch before, some rows made anew by model t"
    if synthetic.curation:
        names = ", then ".join(type(operator).__name__ for operator in synthetic.curation)
        makers += f", chosen by {names}"
    what = "all rows that are kept"
    if fit.n is not None:
        how = "with" if fit.with_replacement else "without"
        what = f"random rows of those that are kept, {how} replacement"
    if fit.skill is not None:
        what += " and without the generated ones that a detector knows"
    weighed = "" if fit.real_weight is None else "; real rows have a fixed weight together"
    if fit.phases:
        parts = [(_PHASES[name], len(list(same))) for name, same in itertools.groupby(fit.phases)]
        phases = [f"from {rows} ({n}/{len(fit.phases)})" for rows, n in parts]
        weighed += f"; its steps learn {', then '.join(phases)}"
    return [
        f"Real rows: {when}, {_kept(real.keep)}.",
        f"Generated rows: {makers}, {_kept(synthetic.keep)}.",
        f"Fit: {what}{weighed}.",
    ]


def _kept(keep: int | None) -> str:
    if keep is None:
        return "kept for good"
    return "kept for one generation" if keep == 1 else f"kept for {keep} generations"


def _legend(figure: "matplotlib.figure.Figure", plan: Plan, shown: int) -> None:
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    models = model_shades(shown)
    handles: list[Any] = [Patch(color=REAL, lw=0)]
    labels = ["real rows"]
    if shown > 1:
        picked = [models[0], models[len(models) // 2], models[-1]] if shown > 2 else models
        handles.append(tuple(Patch(color=colour, lw=0) for colour in picked))
        labels.append("rows of models, first to last")
    if isinstance(plan.source, Mixed | Past) and shown > 1:
        handles.append(Patch(color=TRUTH, lw=0))
        labels.append("rows of the truth in generated batches")
    if shown > 1:
        handles.append(Line2D([], [], color=GREY, lw=1.1))
        labels.append("what a model generates")
    columns = legend_columns(labels, figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + 0.2 * -(-len(handles) // columns))
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0.0)},
    )
