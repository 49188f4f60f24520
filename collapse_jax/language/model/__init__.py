"""Transformers: their shape, their layers, how they are trained and sampled."""
