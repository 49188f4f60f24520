"""What is measured of language models and of their documents."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from collapse_jax.language.corpora.documents import AnyDocuments
from collapse_jax.language.corpora.grammar import Grammar
from collapse_jax.language.corpora.measures import distinct_documents
from collapse_jax.language.corpora.variety import VARIETY
from collapse_jax.tasks.base import Variable

MEASURED = {
    "test_loss": Variable("cross-entropy on held-out real documents", "nat per token"),
    "train_loss": Variable("mean cross-entropy during training", "nat per token"),
    "acceptance_rate": Variable("share of the generated documents that are accepted", "1"),
    "distinct_documents": Variable("different documents among those generated", "documents"),
    "next_entropy": Variable("entropy of the next token on real documents", "nat per token"),
    **VARIETY,
}
MEASURED_BY_BASE = {
    "base_perplexity": Variable("perplexity of generated documents under the checkpoint", "1"),
}
MEASURED_ON_GRAMMAR = {
    "excess_loss": Variable("test loss minus that of the true distribution", "nat per token"),
    "malformed": Variable("share of generated documents that the grammar cannot make", "1"),
    "tail_survival": Variable("share of the rare words' frequency that survives", "1"),
}


def of_loss(
    loss: Float[Array, ""], test: AnyDocuments, grammar: Grammar | None
) -> dict[str, Float[Array, ""]]:
    """The metrics of a model with this loss on test documents."""
    if grammar is None:
        return {"test_loss": loss}
    truth = -jnp.sum(grammar.log_probabilities(*test[:2])) / jnp.sum(test.lengths)
    return {"test_loss": loss, "excess_loss": loss - truth}


def of_documents(documents: AnyDocuments, grammar: Grammar | None) -> dict[str, Float[Array, ""]]:
    """The metrics of generated documents."""
    found = {"distinct_documents": distinct_documents(*documents[:2]).astype(jnp.float32)}
    if grammar is not None:
        log_probabilities = grammar.log_probabilities(*documents[:2])
        found |= {
            "malformed": jnp.mean(jnp.isneginf(log_probabilities)),
            "tail_survival": grammar.tail_survival(*documents[:2]),
        }
    return found
