"""What becomes of real documents before a model learns from them."""

from collections.abc import Sequence
from typing import NamedTuple

from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.encoding import Encoded, decode_documents
from collapse_jax.language.tokenizers.base import AbstractTokenizer

_LOOKED_AT = 200  # documents that are decoded again
_LEAST = 0.5  # share of these that must be acceptable


class Survey(NamedTuple):
    """Numbers of real documents, for training and for tests together."""

    documents: int
    """All that have text."""
    skipped: int
    """Records without text."""
    longer: int
    """Documents that do not fit into the context."""
    duplicated: int
    """Training documents that are the same as an earlier one."""
    leaked: int
    """Training documents that are among those for tests."""
    special: int = 0
    """Chats that hold the text of a special token, which a chat template cannot write."""

    def __str__(self) -> str:
        parts = {
            "without text, left out": self.skipped,
            "longer than the context": self.longer,
            "the same as an earlier one": self.duplicated,
            "among the test documents too": self.leaked,
            "with the text of a special token, left out": self.special,
        }
        told = [f"{number:,} {what}" for what, number in parts.items() if number]
        return f"Documents: {self.documents:,}" + "".join(f"; {part}" for part in told) + "."


def survey(train: Sequence[str], test: Sequence[str], skipped: int, longer: int) -> Survey:
    """Count; nothing is left out."""
    different, tests = set(train), set(test)
    return Survey(
        len(train) + len(test),
        skipped,
        longer,
        len(train) - len(different),
        sum(document in tests for document in train),
    )


def check_dropped(found: Survey, most: float, context: int, *, longer: bool = True) -> None:
    """Refuse a corpus of which too much would be dropped.

    Args:
        found: its numbers.
        most: the largest share.
        context: tokens of a document.
        longer: whether those that are longer are dropped.

    Raises:
        ValueError: if it is.
    """
    n_longer = found.longer if longer else 0
    dropped = n_longer + found.special
    if dropped <= most * found.documents:
        return
    reasons = []
    if n_longer:
        reasons.append(
            f"{n_longer:,} are longer than context={context:,} tokens (a larger context keeps "
            "them, and so does longer='truncate' or longer='split')"
        )
    if found.special:
        reasons.append(f"{found.special:,} have the text of a special token")
    raise ValueError(
        f"most_dropped must be at least {dropped / found.documents:.3g}, got {most:g}: of "
        f"{found.documents:,} documents {' and '.join(reasons)}, which would be dropped"
    )


def check_accepted(rows: Encoded, corpus: AbstractCorpus, tokenizer: AbstractTokenizer) -> None:
    """Check that real documents, written in tokens and read again, would be accepted.

    A model that has learned them perfectly could not make others.

    Raises:
        ValueError: if most would not.
    """
    if not corpus.is_chat:
        return
    texts = decode_documents(rows.tokens[:_LOOKED_AT], rows.lengths[:_LOOKED_AT], tokenizer)
    refused = [text for text in texts if not corpus.accepts(text)]
    if len(texts) - len(refused) < _LEAST * len(texts):
        raise ValueError(
            f"tokenizer must give documents back as they are: of {len(texts)} real ones "
            f"{len(refused)} would not be accepted if a model made them, the first of which is "
            f"{refused[0][:60]!r} in its tokens; one without add_prefix_space, or a larger "
            "context, may help"
        )
