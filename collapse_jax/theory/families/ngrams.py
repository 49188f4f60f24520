"""Tables of n-grams, where these are independent draws."""

import dataclasses
from typing import Any

import numpy as np

from collapse_jax.theory import plans, wright_fisher
from collapse_jax.theory._checks import Numbers, check_probabilities
from collapse_jax.theory.predictions import Prediction, Predictions, predict_categorical

_SIZES = ("real_rows", "synthetic_rows", "real_size", "synthetic_size")


def predict_ngrams(
    plan: Any,
    *,
    probabilities: Numbers,
    order: int,
    length: int,
    population: int | None = None,
) -> Predictions:
    """Metrics of tables of n-grams whose rows have one n-gram each, or of order 1.

    Such n-grams are the outcomes of a categorical model, of several draws a row where rows are
    longer. In other rows an n-gram begins with the end of the one before; nothing is known of these
    here, but `wright_fisher.missing_mass` is near where n-grams are rare.

    Args:
        plan: what `workflow.plan(n_generations, n_samples)` returns.
        probabilities: `[ngram]`, the truth.
        order: tokens of an n-gram.
        length: tokens of a row.
        population: rows of the text that real rows are dealt from, if the truth is a text.

    Returns:
        Predictions `[generation]` of what is known.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> plan = Workflow().plan(2, n_samples=5)
        >>> known = predict_ngrams(plan, probabilities=[0.5, 0.5], order=1, length=2)
        >>> print(known["collision"].values)
        [0.55  0.595]
    """
    draws = length - order + 1
    if draws > 1 and (order > 1 or plan.fit_rows is not None or population is not None):
        return {}
    p = check_probabilities(probabilities)
    if draws > 1:
        larger = {name: getattr(plan, name) * draws for name in _SIZES}
        plan = dataclasses.replace(plan, n_samples=plan.n_samples * draws, **larger)
    known = predict_categorical(plan, probabilities=p, population=population)
    known.pop("entropy_ratio", None)
    if order > 1:
        known.pop("entropy", None)  # that of an n-gram; the metric is that of its last token
    replaced, origin = plans.replaced_sizes(plan), "collapse_jax.theory.wright_fisher"
    if replaced is not None and np.all(replaced == replaced[0]) and not plans.is_tempered(plan):
        values = wright_fisher.missing_mass(p, int(replaced[0]), len(replaced))
        known["missing_mass"] = Prediction(values, "bound", f"arXiv 2412.17646; {origin}")
    return known
