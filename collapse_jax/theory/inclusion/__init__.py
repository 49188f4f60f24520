"""Loops whose models are fitted to some of the batches that are kept, by a mask."""

from collapse_jax.theory.inclusion.foresight import MaskedStreams, masked_streams, predict_masked

__all__ = ["MaskedStreams", "masked_streams", "predict_masked"]
