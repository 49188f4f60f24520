"""Seeds in blocks, which processes share, and whose metrics may go to disk."""
