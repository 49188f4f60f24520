"""Which of the data that are kept a model is fitted to: masks of batches, and rows drawn."""
