"""What is worked out before a run begins."""
