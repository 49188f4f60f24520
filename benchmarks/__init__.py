"""Benchmarks of collapse_jax, and the plain loops that they are measured against."""
