"""Language models: corpora, tokenizers, and what is learned from them."""
