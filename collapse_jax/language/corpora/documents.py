"""Documents as arrays: what corpora draw, models are trained on, and sampling returns."""

from typing import NamedTuple

from jaxtyping import Array, Int


class Documents(NamedTuple):
    """Documents as rows of token ids; what lies beyond a row's length means nothing.

    A whole document ends with EOS, which its length counts; BOS is not in the row. A row of length
    0 is no document.
    """

    tokens: Int[Array, "n time"]
    lengths: Int[Array, " n"]
