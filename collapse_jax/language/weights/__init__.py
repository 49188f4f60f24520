"""Checkpoints of published models: their configuration, their tensors, both ways."""
