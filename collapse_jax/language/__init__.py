"""Language models: transformers that are trained on, and generate, text."""
