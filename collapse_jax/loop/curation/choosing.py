"""What operators, one after the other, take of the rows that a model makes."""

from collections.abc import Sequence
from functools import partial

import jax
from jaxtyping import Array, Float, Key

from collapse_jax.loop.curation.candidates import Candidates, Draw
from collapse_jax.loop.curation.judge import Judge
from collapse_jax.loop.curation.operators import AbstractOperator

_TRAINING = 2**32 - 3  # what sets the keys of rows that detectors are trained on apart


def taken(
    operators: Sequence[AbstractOperator], draw: Draw, judge: Judge, key: Key[Array, ""], n: int
) -> tuple[Candidates, Float[Array, " n"]]:
    """`n` rows, and what the last operator judges them by.

    Args:
        operators: with their numbers, one or more.
        draw: makes the rows that the first one has to choose from.
        judge: what is known of rows.
        key: the key of the draws.
        n: how many rows are wanted.
    """
    trained = operators[0]
    for i, operator in enumerate(operators):
        trained = operator.trained(draw, judge, jax.random.fold_in(key, _TRAINING - i), n)
        draw = partial(trained.curate, draw, judge)
    made = draw(key, n)
    return made, trained.value(judge, made.rows)
