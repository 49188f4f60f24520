"""What is written and read back: configurations, datasets, and chains on disk."""
