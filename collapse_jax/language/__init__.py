"""Language models: corpora, tokenizers, transformers, training and sampling."""
