"""Numerical blocks, each usable alone: keys, draws, subsets, linear algebra, kernels, distances."""
