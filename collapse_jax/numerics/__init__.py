"""Numerical blocks, each usable alone: keys, draws, subsets, small linear algebra, kernel sums, distances."""
