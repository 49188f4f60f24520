"""Procedures around loops: many masked, changed or resampled copies of one."""
