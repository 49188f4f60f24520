"""Corpora of language models, their tokenizers, and documents as rows of tokens.

- `Grammar`: the embedded language, of which everything is known exactly.
- `Text`: documents from files.
- `Hub`: documents from the hub of Hugging Face.
- `ByteTokenizer`, `WordTokenizer`, `FileTokenizer`: from text to tokens; `train_bpe` trains one.
- `encode_documents`, `decode_documents`: rows of tokens.
- `format_chat`, `is_chat`, `split_chat`: prompts and responses in one document.
- `distinct_documents`: how many different ones there are.
"""

from collapse_jax.language.corpora.base import AbstractCorpus
from collapse_jax.language.corpora.chat import format_chat, is_chat, split_chat
from collapse_jax.language.corpora.encoding import Encoded, decode_documents, encode_documents
from collapse_jax.language.corpora.grammar import Grammar
from collapse_jax.language.corpora.hub import Hub
from collapse_jax.language.corpora.measures import distinct_documents
from collapse_jax.language.corpora.text import AbstractText, Text
from collapse_jax.language.corpora.variety import measure_texts
from collapse_jax.language.tokenizers.base import (
    AbstractTokenizer,
    ByteTokenizer,
    WordTokenizer,
    check_vocabulary,
)
from collapse_jax.language.tokenizers.bpe import train_bpe
from collapse_jax.language.tokenizers.files import FileTokenizer

__all__ = [
    "AbstractCorpus",
    "AbstractText",
    "AbstractTokenizer",
    "ByteTokenizer",
    "Encoded",
    "FileTokenizer",
    "Grammar",
    "Hub",
    "Text",
    "WordTokenizer",
    "check_vocabulary",
    "decode_documents",
    "distinct_documents",
    "encode_documents",
    "format_chat",
    "is_chat",
    "measure_texts",
    "split_chat",
    "train_bpe",
]
